//! Signals for all processes of a container, and its freezer.
//!
//! A process that forks while its cgroup is being read could leave a child unsignalled, so it is read until nobody is
//! found who is new. Who forks faster than we read is killed frozen, where the kernel does not do it itself by
//! `cgroup.kill` (Linux 5.14).

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::io::Errno;

use super::files::{tree, write_file};
use super::{Cgroup, Dir, pids_below, v1, v2};
use crate::deadline::Deadline;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::files;
use crate::sys::process::{pidfd_open, pidfd_send_signal};

/// How long new processes may keep appearing while all are being killed.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Sends a signal, 1 to 64, to every process in the container's directories and below; never above. SIGKILL
    /// is made final: what is frozen is thawed, and no fork escapes.
    pub fn kill(&self, signal: i32) -> Result<()> {
        if signal == libc::SIGKILL { self.kill_all() } else { self.signal_all(signal) }
    }

    fn kill_all(&self) -> Result<()> {
        let unified = match self.unified().map(|dir| dir.path.join("cgroup.kill")) {
            Some(path) if files::exists(&path).on("look for", &path)? => Some(path),
            _ => None,
        };
        if let Some(path) = &unified {
            gone_is_fine(write_file(path, "1"))?;
        }
        let deadline = Deadline::after(KILL_DEADLINE);
        let mut killed = BTreeSet::new();
        loop {
            let frozen =
                unified.is_none() && self.freeze(true).inspect_err(|error| log::debug!("{error}")).is_ok();
            let sent = self.signal_others(libc::SIGKILL, &mut killed);
            self.thaw_tree()?;
            let fresh = sent?;
            if fresh == 0 || (frozen && self.pids()?.is_empty()) {
                return Ok(());
            }
            if deadline.is_over() {
                return Err(Error::new(Kind::System, "kill: new processes keep appearing"));
            }
        }
    }

    /// Whoever is forked while we signal is found in the next round, until one finds nobody new. Nothing need be
    /// frozen for that, which would look to others as if the container were paused.
    fn signal_all(&self, signal: i32) -> Result<()> {
        let deadline = Deadline::after(KILL_DEADLINE);
        let mut signalled = BTreeSet::new();
        while self.signal_others(signal, &mut signalled)? > 0 {
            if deadline.is_over() {
                return Err(Error::new(Kind::System, "kill: new processes keep appearing"));
            }
        }
        Ok(())
    }

    /// Signals all but those in `done`, adds them, and says how many they were.
    fn signal_others(&self, signal: i32, done: &mut BTreeSet<i32>) -> Result<usize> {
        let fresh: Vec<i32> = self.everybody()?.into_iter().filter(|pid| !done.contains(pid)).collect();
        let pinned = fresh.iter().filter_map(|pid| Some((*pid, pidfd_open(*pid).transpose()?)));
        let pinned = pinned
            .map(|(pid, pidfd)| Ok((pid, pidfd.with_context(|| format!("open process {pid}"))?)))
            .collect::<Result<Vec<_>>>()?;
        // A number that was read can have become another process's before it was pinned. What is pinned and still is
        // among them is one of them: or it has died, and then the signal reaches nobody.
        let members = BTreeSet::from_iter(self.everybody()?);
        for (pid, pidfd) in pinned.iter().filter(|(pid, _)| members.contains(pid)) {
            match pidfd_send_signal(pidfd, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(errno).with_context(|| format!("kill process {pid}")),
            }
        }
        done.extend(&fresh);
        Ok(fresh.len())
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
            Some(dir) if files::exists(&dir.path).on("look for", &dir.path)? => v1::freeze(dir, frozen),
            _ => Ok(()),
        }
    }

    /// Whether there is anything to freeze them by.
    pub fn can_freeze(&self) -> bool {
        self.freezer().is_some_and(|dir| files::exists(&dir.path).unwrap_or(true))
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
