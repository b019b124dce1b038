//! The record of a container on disk: one folder below the root, one state.json in it.
//!
//! The record is written *before* anything else is made and lists what is about to be made, so that
//! `delete --force` finds everything after a kill at any instant. Status is never stored: it is read off the
//! world each time (see [`status`]).
//!
//! A [`Container`] is the folder itself, not its name: so what a command does to it can't hit a later container of the
//! same ID. See [`lock`] for what commands must not do at the same time.

pub mod births;
pub mod fifo;
pub mod id;
pub mod lock;
pub mod notify;
pub mod processes;
pub mod record;
pub mod status;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Context, Error, Kind, Result};
use crate::sys::again::again;
use crate::sys::files;
use id::ContainerId;
use lock::Lock;
use record::Record;

/// Of the folder of all containers. The sticky bit keeps what clears XDG_RUNTIME_DIR of old files away (XDG Base
/// Directory Specification).
const ROOT_MODE: u32 = 0o1700;

/// A container's folder.
#[derive(Debug)]
pub struct Container {
    /// Its name.
    pub id: ContainerId,
    /// `<root>/<id>`.
    pub dir: PathBuf,
    /// The folder, which may by now have no name any more.
    pub folder: OwnedFd,
}

/// How often somebody may delete the folder that we have just made, before there is a record in it.
const ATTEMPTS: usize = 20;

impl Container {
    /// Takes the ID: makes the folder, which fails if it is there. The lock is to be held until the record is written.
    pub fn reserve(root: &Path, id: &ContainerId) -> Result<(Container, Lock)> {
        files::create_dir_all(root, ROOT_MODE).on("create", root)?;
        let dir = root.join(id.as_str());
        let taken = || {
            let message = format!("container with given ID already exists: {id:?}", id = id.as_str());
            Error::new(Kind::AlreadyExists, message)
        };
        for _ in 0..ATTEMPTS {
            match files::create_dir_with(&dir, 0o700) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Err(taken()),
                other => other.on("create", &dir)?,
            }
            // Until it is locked, others may delete it and may make another one.
            match Container::take_new(root, id) {
                Ok(Some((_, _, true))) => return Err(taken()),
                Ok(Some((container, lock, false))) => return Ok((container, lock)),
                Ok(None) => {}
                Err(error) => {
                    // Only if it is empty, and then it is ours, or somebody else has just made it and tries again.
                    files::remove_dir(&dir).ok();
                    return Err(error);
                }
            }
        }
        Err(Error::new(Kind::System, "the container is deleted again and again while it is made"))
    }

    /// Opens and locks a folder that was just made, and looks whether there is a record all the same; nothing if it is
    /// gone or somebody else has it.
    fn take_new(root: &Path, id: &ContainerId) -> Result<Option<(Container, Lock, bool)>> {
        let take = || {
            let container = Container::open(root, id)?;
            let Some(lock) = container.try_lock()? else { return Ok(None) };
            let has_record = container.has_record()?;
            Ok(Some((container, lock, has_record)))
        };
        take().or_else(|error: Error| if error.kind() == Kind::NotFound { Ok(None) } else { Err(error) })
    }

    /// The container of this ID, which must be there.
    pub fn open(root: &Path, id: &ContainerId) -> Result<Container> {
        let dir = root.join(id.as_str());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match again(|| rustix::fs::open(&dir, flags, Mode::empty())) {
            Ok(folder) => Ok(Container { id: id.clone(), dir, folder }),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(does_not_exist(id)),
            Err(errno) => Err(errno).on("open", &dir),
        }
    }

    /// All containers below `root`, sorted by ID; none when `root` is not there.
    pub fn all(root: &Path) -> Result<Vec<Container>> {
        let entries = match files::entries(root) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.on("read", root)?,
        };
        let mut result = Vec::new();
        for entry in entries {
            let id = entry.name.to_str().and_then(|name| name.parse::<ContainerId>().ok());
            let Some(id) = id else { continue };
            match Container::open(root, &id) {
                Ok(container) => result.push(container),
                Err(error) if error.kind() == Kind::NotFound => {} // deleted by now, or no folder
                Err(error) => return Err(error),
            }
        }
        result.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
        Ok(result)
    }

    /// Reads the record.
    pub fn load(&self) -> Result<Record> {
        match Record::load(&self.folder, &self.dir) {
            Err(error) if error.errno() == Some(libc::ENOENT) && !self.is_there()? => {
                Err(self.does_not_exist())
            }
            Err(error) if error.errno() == Some(libc::ENOENT) => {
                let id = self.id.as_str();
                let message =
                    format!("container {id:?} has no record: it is being created, or that was cut short");
                Err(Error::new(Kind::WrongStatus, message))
            }
            other => other.with_context(|| format!("container {:?}", self.id.as_str())),
        }
    }

    /// That there is no such container.
    pub fn does_not_exist(&self) -> Error {
        does_not_exist(&self.id)
    }

    /// Whether there is a record.
    pub fn has_record(&self) -> Result<bool> {
        Record::is_in(&self.folder, &self.dir)
    }

    /// Whether this folder, and no other, is where the ID leads.
    pub fn is_there(&self) -> Result<bool> {
        let ours = again(|| rustix::fs::fstat(&self.folder)).on("look at", &self.dir)?;
        match again(|| rustix::fs::lstat(&self.dir)) {
            Ok(there) => Ok((ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(errno).on("look for", &self.dir),
        }
    }

    /// Removes the folder; fine if it is gone.
    pub fn remove(&self) -> Result<()> {
        // What is in it almost always, by name: a look into the folders costs four times as many system calls, and a
        // descriptor, which may be what there is none of.
        record::remove(&self.dir);
        fifo::remove(&self.dir);
        births::remove(&self.dir);
        if files::remove_dir(&self.dir).is_ok() {
            return Ok(());
        }
        match files::remove_dir_all(&self.dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.with_context(|| format!("remove {}", self.dir.display())),
        }
    }
}

/// That its processes have ended, or have not begun.
pub fn not_running() -> Error {
    Error::new(Kind::WrongStatus, "container not running")
}

fn does_not_exist(id: &ContainerId) -> Error {
    let message = format!("container {:?} does not exist: container does not exist", id.as_str());
    Error::new(Kind::NotFound, message)
}
