//! Going into control groups without waiting.
//!
//! Before a process is moved by somebody else, the kernel waits until no processor can be in the middle of a fork or
//! exit any more (cgroup_threadgroup_rwsem, an RCU grace period): 5 to 30 ms of wall time, most of what `run` took
//! and all of its tail. It does not for a single thread that moves itself by v1's `tasks` (Linux 5.5; older kernels
//! wait as ever), nor for one that is born in a cgroup (CLONE_INTO_CGROUP, Linux 5.7). So the runtime opens the doors
//! and the new process goes in by itself, while the runtime does other things.

use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::PathBuf;

use rustix::fs::{Mode as FileMode, OFlags};

use super::{Below, Cgroup, Dir, Driver, allow_every_cpu};
use crate::error::{Context, Result};
use crate::sys::again::again;

/// Opened by the runtime, for a process that still has a single thread.
#[derive(Debug)]
pub struct Doors {
    /// `tasks` in every v1 hierarchy.
    tasks: Vec<(PathBuf, OwnedFd)>,
    /// Whether it takes every processor that it finds there.
    widen: bool,
}

impl Cgroup {
    /// Opens those of an init that is about to be made. `None` where only the runtime can see to it: where systemd
    /// moves processes, and where an ordinary user may not.
    pub fn doors(&self) -> Result<Option<Doors>> {
        self.open_doors(|dir| dir.path.clone(), true)
    }

    /// The same for an exec'd process, which may go further down, and whose processors stay as they are. Where one
    /// is not there the runtime has to look for another place.
    pub fn doors_below(&self, below: &Below) -> Option<Doors> {
        self.open_doors(|dir| below.path_in(dir), false).ok().flatten()
    }

    fn open_doors(&self, path: impl Fn(&Dir) -> PathBuf, widen: bool) -> Result<Option<Doors>> {
        if self.driver != Driver::Cgroupfs || self.tolerant {
            return Ok(None);
        }
        let open = |dir: &Dir| -> Result<(PathBuf, OwnedFd)> {
            let path = path(dir).join("tasks");
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let door = again(|| rustix::fs::open(&path, flags, FileMode::empty())).on("open", &path)?;
            Ok((path, door))
        };
        let tasks = self.dirs.iter().filter(|dir| !dir.unified).map(open).collect::<Result<_>>()?;
        Ok(Some(Doors { tasks, widen }))
    }

    /// The directory of the unified hierarchy to be born in.
    pub fn birthplace(&self) -> Option<OwnedFd> {
        let dir = self.unified().filter(|_| self.driver == Driver::Cgroupfs && !self.tolerant)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        again(|| rustix::fs::open(&dir.path, flags, FileMode::empty())).ok()
    }
}

impl Doors {
    /// All of them.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.tasks.iter().map(|(_, door)| door.as_raw_fd())
    }

    /// Goes in.
    pub fn enter(&self) -> Result<()> {
        for (path, door) in &self.tasks {
            again(|| rustix::io::write(door, b"0")).on("enter the control group of", path)?;
        }
        if self.widen { allow_every_cpu(0) } else { Ok(()) }
    }
}
