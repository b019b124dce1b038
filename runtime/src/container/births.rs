//! Processes of a container that are not in its control groups yet, where `delete` could not find them.
//!
//! Whoever makes one, `create` or `exec`, holds a shared lock on a file in the container's folder, and the clone holds
//! it too, by the same open file, until it is told that it has been put where it belongs. The kernel lets go for
//! who dies. So when `delete` has got that lock for itself, nobody is on the way any more; and as long as it keeps it,
//! nobody sets out.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::deadline::Deadline;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::again::again;
use crate::sys::files;

const NAME: &str = "births";

/// The longest that processes on the way may take to arrive or to die.
const DEADLINE: Duration = Duration::from_secs(10);

/// The lock, which ends with it.
#[derive(Debug)]
pub struct Births(File);

impl AsRawFd for Births {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Births {
    /// Says that a process is about to be made. An error if the container is being deleted.
    pub fn announce(dir: &Path) -> Result<Births> {
        let births = Births::open(dir)?;
        match again(|| flock(&births.0, FlockOperation::NonBlockingLockShared)) {
            Ok(()) if births.is_there()? => Ok(births),
            Ok(()) | Err(Errno::WOULDBLOCK) => {
                Err(Error::new(Kind::WrongStatus, "the container is being deleted"))
            }
            Err(errno) => Err(errno).on("lock", dir.join(NAME)),
        }
    }

    /// Lets no more processes be made, once those that are on the way have arrived or are gone; `busy` is called if there
    /// are any. `None`: somebody else has deleted the container meanwhile.
    pub fn end(dir: &Path, busy: impl FnOnce()) -> Result<Option<Births>> {
        let births = match Births::open(dir) {
            Err(error) if error.kind() == Kind::NotFound => return Ok(None),
            other => other?,
        };
        let mut pauses = Deadline::after(DEADLINE).pauses();
        let mut busy = Some(busy);
        // There is no waiting for a lock with a deadline, so it is asked again, at growing intervals.
        while let Err(errno) = flock(&births.0, FlockOperation::NonBlockingLockExclusive) {
            if !matches!(errno, Errno::WOULDBLOCK | Errno::INTR) {
                return Err(errno).on("lock", dir.join(NAME));
            }
            busy.take().into_iter().for_each(|busy| busy());
            if !pauses.wait() {
                return Err(Error::new(
                    Kind::System,
                    "a process on its way into the container does not get there",
                ));
            }
        }
        Ok(births.is_there()?.then_some(births))
    }

    fn open(dir: &Path) -> Result<Births> {
        let path = dir.join(NAME);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = again(|| options.open(&path));
        file.map(Births).on("open", &path)
    }

    /// Whether the file has not been removed before we had the lock.
    fn is_there(&self) -> Result<bool> {
        Ok(again(|| self.0.metadata()).context("look at the container's lock")?.nlink() > 0)
    }
}

/// Removes the file, if it is there and can be; who has the lock keeps it.
pub(super) fn remove(dir: &Path) {
    files::remove_file(dir.join(NAME)).ok(); // whoever removes the folder says what is wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delete_and_those_on_the_way_keep_each_other_out() {
        let dir = std::env::temp_dir().join(format!("wharf-births-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let first = Births::announce(&dir).unwrap();
        let mut second = Some(Births::announce(&dir).unwrap());
        drop(first);
        // The last one arrives as soon as it is waited for.
        let sole = Births::end(&dir, || drop(second.take())).unwrap();
        assert!(sole.is_some());
        assert!(second.is_none());
        assert_eq!(Births::announce(&dir).unwrap_err().kind(), Kind::WrongStatus);
        let waits = Births::end(&dir, || {
            std::fs::remove_dir_all(&dir).unwrap();
            drop(sole);
        });
        assert!(waits.unwrap().is_none(), "it was removed by the one that had the lock before");
        assert!(Births::end(&dir, || ()).unwrap().is_none());
    }
}
