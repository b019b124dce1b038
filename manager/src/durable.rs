//! Files that are there whole or not at all, whenever the power goes: written to a temporary name
//! in the same folder, synced, renamed, and the folder synced. And the locks that keep two commands
//! from doing so at once.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::{Context, Result};

/// Writes a file so that readers see the old bytes or the new. Callers hold a lock: the temporary
/// name is the same for all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .with_context(|| format!("create {}", temporary.display()))?;
    let written =
        file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
    written.with_context(|| format!("write {}", path.display()))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes a folder's entries last.
pub fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|dir| dir.sync_all()).with_context(|| format!("sync {}", path.display()))
}

/// The bytes of a file; `None` if there is none.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// A lock on a file, given back when dropped and by the kernel when its holder dies.
#[derive(Debug)]
pub struct Lock {
    _file: OwnedFd,
}

impl Lock {
    /// Waits until nobody else has it.
    pub fn exclusive(path: &Path) -> Result<Self> {
        Self::take(path, FlockOperation::LockExclusive)
    }

    /// Waits until nobody has it for themselves.
    pub fn shared(path: &Path) -> Result<Self> {
        Self::take(path, FlockOperation::LockShared)
    }

    fn take(path: &Path, operation: FlockOperation) -> Result<Self> {
        let phrase = || format!("lock {}", path.display());
        let file =
            OpenOptions::new().create(true).append(true).mode(0o600).open(path).with_context(phrase)?;
        rustix::io::retry_on_intr(|| flock(&file, operation)).with_context(phrase)?;
        Ok(Self { _file: file.into() })
    }
}
