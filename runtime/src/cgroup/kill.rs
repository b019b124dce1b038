//! Signals for all processes of a container, and its freezer.
//!
//! A process that forks while its cgroup is being read could leave a child unsignalled, and a number that was
//! read could belong to another process when it is used. A frozen cgroup does neither: so it is frozen, read,
//! signalled and thawed. `cgroup.kill` (Linux 5.14) does all that in the kernel.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags};

use super::files::{tree, write_file};
use super::{Cgroup, Dir, pids_below, v1, v2};
use crate::deadline::Deadline;
use crate::error::{Context, Error, Kind, Result};

/// How long new processes may keep appearing while all are being killed.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Sends a signal, 1 to 64, to every process in the container's directories and below; never above. SIGKILL
    /// is made final: what is frozen is thawed, and no fork escapes.
    pub fn kill(&self, signal: i32) -> Result<()> {
        if signal == libc::SIGKILL { self.kill_all() } else { self.signal_all(signal) }
    }

    fn kill_all(&self) -> Result<()> {
        let unified = self.unified().map(|dir| dir.path.join("cgroup.kill")).filter(|path| path.exists());
        if let Some(path) = &unified {
            gone_is_fine(write_file(path, "1"))?;
        }
        let deadline = Deadline::after(KILL_DEADLINE);
        let mut killed = BTreeSet::new();
        loop {
            let frozen =
                unified.is_none() && self.freeze(true).inspect_err(|error| log::debug!("{error}")).is_ok();
            let fresh: Vec<i32> = self.everybody()?.into_iter().filter(|pid| !killed.contains(pid)).collect();
            let sent = fresh.iter().try_for_each(|pid| send(*pid, libc::SIGKILL));
            self.thaw_tree()?;
            sent?;
            if fresh.is_empty() || (frozen && self.pids()?.is_empty()) {
                return Ok(());
            }
            if deadline.is_over() {
                return Err(Error::new(Kind::System, "kill: new processes keep appearing"));
            }
            killed.extend(fresh);
        }
    }

    fn signal_all(&self, signal: i32) -> Result<()> {
        let was_frozen = self.is_frozen()?;
        if !was_frozen && let Err(error) = self.freeze(true) {
            log::debug!("signal without freezing: {error}");
        }
        let sent = self.everybody().and_then(|pids| pids.iter().try_for_each(|pid| send(*pid, signal)));
        if !was_frozen {
            self.freeze(false)?;
        }
        sent
    }

    /// The processes in those hierarchies that a container can't leave by itself, and in the unified one.
    fn everybody(&self) -> Result<Vec<i32>> {
        let mut pids = BTreeSet::from_iter(self.pids()?);
        for dir in self.dirs.iter().filter(|dir| dir.unified || dir.has("freezer") || dir.has("pids")) {
            pids.extend(pids_below(dir)?);
        }
        pids.remove(&(std::process::id() as i32));
        Ok(pids.into_iter().collect())
    }

    /// Thaws the container's freezer and those that it may have made below: what is frozen on v1 does not die.
    fn thaw_tree(&self) -> Result<()> {
        let Some(dir) = self.freezer() else { return Ok(()) };
        let file = if dir.unified { ("cgroup.freeze", "0") } else { ("freezer.state", "THAWED") };
        for path in tree(&dir.path)? {
            gone_is_fine(write_file(&path.join(file.0), file.1))?;
        }
        Ok(())
    }

    /// Freezes or thaws, and waits until it is so.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        match self.freezer() {
            Some(dir) if dir.unified => v2::freeze(dir, frozen),
            Some(dir) if dir.path.exists() => v1::freeze(dir, frozen),
            _ => Ok(()),
        }
    }

    /// Whether there is anything to freeze them by.
    pub fn can_freeze(&self) -> bool {
        self.freezer().is_some_and(|dir| dir.path.exists())
    }

    /// Whether they are frozen, by their own state or by that of a directory above.
    pub fn is_frozen(&self) -> Result<bool> {
        match self.freezer() {
            Some(dir) if dir.unified => v2::is_frozen(dir),
            Some(dir) => v1::is_frozen(dir),
            None => Ok(false),
        }
    }

    pub(super) fn freezer(&self) -> Option<&Dir> {
        self.with("freezer").or_else(|| self.unified())
    }
}

fn gone_is_fine(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENODEV)) => Ok(()),
        other => other,
    }
}

fn send(pid: i32, signal: i32) -> Result<()> {
    let Some(number) = Pid::from_raw(pid) else { return Ok(()) };
    let context = || format!("kill process {pid}");
    // A process that is gone, or a thread whose leader is: nothing is left to signal.
    let pidfd = match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(()),
        other => other.with_context(context)?,
    };
    match crate::sys::process::pidfd_send_signal(&pidfd, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        other => other.with_context(context),
    }
}
