//! Where a container is in its life, read off the world: processes, the start pipe, the freezer.

use std::os::fd::OwnedFd;

use super::record::{Identity, Record};
use super::{Container, fifo, not_running};
use crate::error::{Context, Error, Kind, Result};
use crate::spec::state::Status;
use crate::sys::again::again;
use crate::sys::files;
use crate::sys::process::pidfd_open;

impl Identity {
    /// The identity of a process that exists now.
    pub fn of(pid: i32) -> Result<Identity> {
        let gone = || Error::new(Kind::System, format!("process {pid} is gone"));
        let pidfd = pidfd(pid)?.ok_or_else(gone)?;
        let stat = Stat::read(pid)?.ok_or_else(gone)?;
        Ok(Identity { pid, start_time: stat.start_time, inode: inode(&pidfd)? })
    }

    /// A pidfd of that very process; an error if it is gone, also when another has its number now.
    pub fn open(self) -> Result<OwnedFd> {
        self.pin()?.ok_or_else(not_running)
    }

    /// The same, with nothing for a process that is gone.
    pub fn pin(self) -> Result<Option<OwnedFd>> {
        let Some(pidfd) = pidfd(self.pid)? else { return Ok(None) };
        // Its number is asked about only now that the pidfd pins it.
        Ok(self.stat_of(&pidfd)?.filter(Stat::is_alive).map(|_| pidfd))
    }

    /// Whether that very process still runs (a zombie does not).
    pub fn is_alive(self) -> Result<bool> {
        Ok(self.stat()?.is_some_and(|stat| stat.is_alive()))
    }

    /// Whether it does and is not on the way to its end, as a PID namespace's init is until all others have gone.
    pub fn is_running(self) -> Result<bool> {
        Ok(self.stat()?.is_some_and(|stat| stat.is_alive() && stat.flags & PF_EXITING == 0))
    }

    /// Whether it has been sent a SIGKILL that it has not died of yet.
    pub fn is_killed(self) -> Result<bool> {
        let Some(pending) = read(self.pid, "status")? else { return Ok(false) };
        let killed = pending.lines().filter_map(|line| line.strip_prefix("SigPnd:")).any(|mask| {
            u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & 1 << (libc::SIGKILL - 1) != 0)
        });
        Ok(killed && self.is_alive()?) // whoever has the number still was it when we read
    }

    fn stat(self) -> Result<Option<Stat>> {
        if self.inode == 0 {
            return Ok(Stat::read(self.pid)?.filter(|stat| stat.start_time == self.start_time));
        }
        pidfd(self.pid)?.map_or(Ok(None), |pidfd| self.stat_of(&pidfd))
    }

    fn stat_of(self, pidfd: &OwnedFd) -> Result<Option<Stat>> {
        if self.inode != 0 && inode(pidfd)? != self.inode {
            return Ok(None);
        }
        Ok(Stat::read(self.pid)?.filter(|stat| stat.start_time == self.start_time))
    }
}

/// linux/magic.h
const PID_FS_MAGIC: i64 = 0x5049_4446;

/// linux/sched.h
const PF_EXITING: u64 = 4;

/// Nothing for a process that is gone.
fn pidfd(pid: i32) -> Result<Option<OwnedFd>> {
    pidfd_open(pid).context("open pidfd")
}

/// What tells a process from all others since boot; 0 where this kernel has nothing of the kind.
fn inode(pidfd: &OwnedFd) -> Result<u64> {
    if again(|| rustix::fs::fstatfs(pidfd)).context("look at a pidfd")?.f_type != PID_FS_MAGIC {
        return Ok(0);
    }
    Ok(again(|| rustix::fs::fstat(pidfd)).context("look at a pidfd")?.st_ino)
}

/// A file of a process's folder in /proc; `None` when there is no such process. That it can't be read is not to be
/// taken for that: whoever is thought dead is not killed.
fn read(pid: i32, name: &str) -> Result<Option<String>> {
    let path = format!("/proc/{pid}/{name}");
    match files::read(&path) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        Err(e) => Err(e).on("read", path),
    }
}

/// What proc(5) stat says of a process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    state: char,
    flags: u64,
    start_time: u64,
}

impl Stat {
    fn read(pid: i32) -> Result<Option<Stat>> {
        let unknown = || Error::new(Kind::System, format!("/proc/{pid}/stat is of an unknown form"));
        read(pid, "stat")?.map(|text| Stat::parse(&text).ok_or_else(unknown)).transpose()
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
pub fn derive(container: &Container, record: &Record) -> Result<Status> {
    if !record.complete {
        return Ok(if record.creator.is_alive()? { Status::Creating } else { Status::Stopped });
    }
    // Asked first: an init that ends lets go of the pipe before it is gone.
    let parked = fifo::is_parked(&container.folder)?;
    let running = record.init.map_or(Ok(false), Identity::is_running)?;
    Ok(if !running {
        Status::Stopped
    } else if parked {
        Status::Created
    } else if record.cgroup.is_frozen()? {
        Status::Paused
    } else {
        Status::Running
    })
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
        assert!(me.is_alive().unwrap());
        assert!(!Identity { start_time: me.start_time + 1, ..me }.is_alive().unwrap());
        assert!(me.inode == 0 || !Identity { inode: me.inode + 1, ..me }.is_alive().unwrap());
        assert!(Identity { inode: 0, ..me }.is_alive().unwrap());
    }
}
