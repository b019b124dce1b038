//! Where a container is in its life, read off the world: processes, the start pipe, the freezer.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use super::record::{Identity, Record};
use super::{Container, fifo};
use crate::error::{Context, Error, Kind, Result};
use crate::spec::state::Status;

impl Identity {
    /// The identity of a process that exists now.
    pub fn of(pid: i32) -> Option<Identity> {
        let pidfd = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        Some(Identity { pid, start_time: Stat::read(pid)?.start_time, inode: inode(&pidfd) })
    }

    /// A pidfd of that very process; an error if it is gone, also when another has its number now.
    pub fn open(self) -> Result<OwnedFd> {
        self.pin()?.ok_or_else(|| Error::new(Kind::WrongStatus, "container not running"))
    }

    /// The same, with nothing for a process that is gone.
    pub fn pin(self) -> Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(None),
            other => other.context("open pidfd")?,
        };
        // Its number is asked about only now that the pidfd pins it.
        Ok(self.stat_of(&pidfd).filter(Stat::is_alive).map(|_| pidfd))
    }

    /// Whether that very process still runs (a zombie does not).
    pub fn is_alive(self) -> bool {
        self.stat().is_some_and(|stat| stat.is_alive())
    }

    /// Whether it does and is not on the way to its end, as a PID namespace's init is until all others have gone.
    pub fn is_running(self) -> bool {
        self.stat().is_some_and(|stat| stat.is_alive() && stat.flags & PF_EXITING == 0)
    }

    /// Whether it has been sent a SIGKILL that it has not died of yet.
    pub fn is_killed(self) -> bool {
        let pending = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let killed = pending.lines().filter_map(|line| line.strip_prefix("SigPnd:")).any(|mask| {
            u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 << (libc::SIGKILL - 1) != 0)
        });
        killed && self.is_alive() // whoever has the number still was it when we read
    }

    fn stat(self) -> Option<Stat> {
        if self.inode == 0 {
            return Stat::read(self.pid).filter(|stat| stat.start_time == self.start_time);
        }
        self.stat_of(&rustix::process::pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?)
    }

    fn stat_of(self, pidfd: &OwnedFd) -> Option<Stat> {
        if self.inode != 0 && inode(pidfd) != self.inode {
            return None;
        }
        Stat::read(self.pid).filter(|stat| stat.start_time == self.start_time)
    }
}

/// linux/magic.h
const PID_FS_MAGIC: i64 = 0x5049_4446;

/// linux/sched.h
const PF_EXITING: u64 = 4;

/// What tells a process from all others since boot; 0 where this kernel has nothing of the kind.
fn inode(pidfd: &OwnedFd) -> u64 {
    let of_its_own = rustix::fs::fstatfs(pidfd).is_ok_and(|found| found.f_type == PID_FS_MAGIC);
    let stat = rustix::fs::fstat(pidfd).ok().filter(|_| of_its_own);
    stat.map_or(0, |stat| stat.st_ino)
}

/// What proc(5) stat says of a process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    state: char,
    flags: u64,
    start_time: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Stat> {
        Stat::parse(&crate::sys::file::read_text(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The second field is a name that can hold anything, so fields are counted from its last parenthesis.
    pub(crate) fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        Some(Stat {
            state: fields.first()?.chars().next()?,
            flags: fields.get(6)?.parse().ok()?,
            start_time: fields.get(19)?.parse().ok()?,
        })
    }

    fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

/// The status of the container that `record` describes.
pub fn derive(container: &Container, record: &Record) -> Status {
    if !record.complete {
        return if record.creator.is_alive() { Status::Creating } else { Status::Stopped };
    }
    // Asked first: an init that ends lets go of the pipe before it is gone.
    let parked = fifo::is_parked(&container.folder);
    if !record.init.is_some_and(Identity::is_running) {
        Status::Stopped
    } else if parked {
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
        let stat = Stat { state: 'S', flags: 4194560, start_time: 4242 };
        assert_eq!(Stat::parse(line), Some(stat));
    }

    #[test]
    fn recycled_pid_is_not_the_same_process() {
        let me = Identity::of(std::process::id() as i32).unwrap();
        assert!(me.is_alive());
        assert!(!Identity { start_time: me.start_time + 1, ..me }.is_alive());
        assert!(me.inode == 0 || !Identity { inode: me.inode + 1, ..me }.is_alive());
        assert!(Identity { inode: 0, ..me }.is_alive());
    }
}
