//! One at a time: who acts on a container's control groups by their paths, removes its folder or changes its record,
//! holds the lock on its folder.
//!
//! The lock is the kernel's (flock(2)) and ends with its holder, however that ends. A folder is removed only by who
//! holds its lock, so as long as one does, no other container can have taken the ID and with it the control groups.
//! Nobody holds it while waiting for a hook, a program or an answer: waiting for it is short, and bounded.
//!
//! `create` holds it only until the record is written: who wants to delete a container that is being created ends its
//! creator first.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::Container;
use crate::deadline::Deadline;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::again::again;

/// How long others may hold it.
const DEADLINE: Duration = Duration::from_secs(10);

/// The lock, until it is dropped.
#[derive(Debug)]
pub struct Lock(OwnedFd);

impl Container {
    /// Waits for the lock. An error if the container was deleted meanwhile, whether or not there is another one.
    pub fn lock(&self) -> Result<Lock> {
        let mut pauses = Deadline::after(DEADLINE).pauses();
        loop {
            if let Some(lock) = self.try_lock()? {
                return Ok(lock);
            }
            if !pauses.wait() {
                let message = format!("container {:?} is held by another command", self.id.as_str());
                return Err(Error::new(Kind::WrongStatus, message));
            }
        }
    }

    /// The lock, if nobody has it.
    pub(super) fn try_lock(&self) -> Result<Option<Lock>> {
        // Let go of by hand, for a process that is cloned meanwhile would have it too, and keep it.
        let folder = again(|| self.folder.try_clone()).on("open again", &self.dir)?;
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(None),
            Err(errno) => return Err(errno).on("lock", &self.dir),
        }
        let lock = Lock(folder);
        if self.is_there()? { Ok(Some(lock)) } else { Err(self.does_not_exist()) }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The descriptor is open, so it can only be interrupted.
        again(|| rustix::fs::flock(&self.0, FlockOperation::Unlock)).ok();
    }
}
