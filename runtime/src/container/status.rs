//! Where a container is in its life, read off the world: processes, the start pipe, the freezer.

use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags};

use super::fifo;
use super::record::{Identity, Record};
use crate::error::{Context, Error, Kind, Result};
use crate::spec::state::Status;

impl Identity {
    /// The identity of a process that exists now.
    pub fn of(pid: i32) -> Option<Identity> {
        let (start_time, _) = read_stat(pid)?;
        Some(Identity { pid, start_time })
    }

    /// A pidfd of that very process; an error if it is gone, also when another has its number now.
    pub fn open(self) -> Result<OwnedFd> {
        let gone = || Error::new(Kind::WrongStatus, "container not running");
        let pid = Pid::from_raw(self.pid).ok_or_else(gone)?;
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Err(gone()),
            other => other.context("open pidfd")?,
        };
        // Asked once more now that the pidfd pins it.
        if self.is_alive() { Ok(pidfd) } else { Err(gone()) }
    }

    /// Whether that very process still runs (a zombie does not).
    pub fn is_alive(self) -> bool {
        read_stat(self.pid)
            .is_some_and(|(start, state)| start == self.start_time && !matches!(state, 'Z' | 'X'))
    }
}

/// Start time and state letter out of proc(5) stat. The second field is a name that can hold anything, so
/// fields are counted from its last parenthesis.
fn read_stat(pid: i32) -> Option<(u64, char)> {
    parse_stat(&crate::sys::file::read_text(format!("/proc/{pid}/stat")).ok()?)
}

pub(crate) fn parse_stat(text: &str) -> Option<(u64, char)> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.nth(18)?.parse().ok()?, state))
}

/// The status of the container that `record` in `dir` describes.
pub fn derive(dir: &std::path::Path, record: &Record) -> Status {
    let alive = record.init.is_some_and(Identity::is_alive);
    if !record.complete {
        return if record.creator.is_alive() { Status::Creating } else { Status::Stopped };
    }
    if !alive {
        Status::Stopped
    } else if fifo::is_parked(dir) {
        Status::Created
    } else if record.cgroup.is_frozen().unwrap_or(false) {
        Status::Paused
    } else {
        Status::Running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_parsed_though_the_name_is_hostile() {
        let line = "7 (a) S 1 ) Z) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        assert_eq!(parse_stat(line), Some((4242, 'S')));
    }

    #[test]
    fn recycled_pid_is_not_the_same_process() {
        let me = Identity::of(std::process::id() as i32).unwrap();
        assert!(me.is_alive());
        assert!(!Identity { start_time: me.start_time + 1, ..me }.is_alive());
    }
}
