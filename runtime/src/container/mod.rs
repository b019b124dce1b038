//! The record of a container on disk: one folder below the root, one state.json in it.
//!
//! The record is written *before* anything else is made and lists what is about to be made, so that
//! `delete --force` finds everything after a kill at any instant. Status is never stored: it is read off the
//! world each time (see [`status`]).

pub mod fifo;
pub mod id;
pub mod notify;
pub mod processes;
pub mod record;
pub mod status;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Kind, Result};
use id::ContainerId;
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
}

impl Container {
    /// Takes the ID: makes the folder, which fails if it is there.
    pub fn reserve(root: &Path, id: &ContainerId) -> Result<Container> {
        DirBuilder::new().recursive(true).mode(ROOT_MODE).create(root).on("create", root)?;
        let dir = root.join(id.as_str());
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => Ok(Container { id: id.clone(), dir }),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(Error::new(
                Kind::AlreadyExists,
                format!("container with given ID already exists: {id:?}", id = id.as_str()),
            )),
            Err(e) => Err(e).on("create", &dir),
        }
    }

    /// The container of this ID, which must be there.
    pub fn open(root: &Path, id: &ContainerId) -> Result<Container> {
        let dir = root.join(id.as_str());
        if dir.is_dir() {
            Ok(Container { id: id.clone(), dir })
        } else {
            Err(Error::new(
                Kind::NotFound,
                format!("container {:?} does not exist: container does not exist", id.as_str()),
            ))
        }
    }

    /// All containers below `root`, sorted by ID; none when `root` is not there.
    pub fn all(root: &Path) -> Result<Vec<Container>> {
        let entries = match std::fs::read_dir(root) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.on("read", root)?,
        };
        let mut result = Vec::new();
        for entry in entries {
            let entry = entry?;
            let id = entry.file_name().to_str().and_then(|name| name.parse::<ContainerId>().ok());
            if let (Some(id), true) = (id, entry.file_type()?.is_dir()) {
                result.push(Container { id, dir: entry.path() });
            }
        }
        result.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
        Ok(result)
    }

    /// Reads the record.
    pub fn load(&self) -> Result<Record> {
        Record::load(&self.dir).with_context(|| format!("container {:?}", self.id.as_str()))
    }

    /// Removes the folder; fine if it is gone.
    pub fn remove(&self) -> Result<()> {
        // What is in it almost always, by name: a look into the folders costs four times as many system calls.
        record::remove(&self.dir);
        fifo::remove(&self.dir);
        if std::fs::remove_dir(&self.dir).is_ok() {
            return Ok(());
        }
        match std::fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.with_context(|| format!("remove {}", self.dir.display())),
        }
    }
}
