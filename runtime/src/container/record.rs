//! state.json: what `create` was asked and what it made. Written to a temporary name and renamed, so that a
//! reader sees the old one or the new one and never half.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Kind, Result};
use crate::rdt::Group;
use crate::spec::Spec;
use crate::spec::state::{State, Status};
use crate::sys::again::again;
use crate::sys::files;
use crate::sys::stream::Stream;

const NAME: &str = "state.json";

/// A process that can be told from a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// PID in the runtime's namespace.
    pub pid: i32,
    /// Field 22 of proc(5) stat: clock ticks between boot and the process's start.
    pub start_time: u64,
    /// The inode of its pidfds, which no two processes have, as a tick can be (Linux 6.9 on); 0 where pidfds have none.
    #[serde(default)]
    pub inode: u64,
}

/// The record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The container's ID.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system.
    pub rootfs: PathBuf,
    /// RFC 3339, UTC.
    pub created: String,
    /// The runtime process that is making it.
    pub creator: Identity,
    /// The container's init, once there is one.
    pub init: Option<Identity>,
    /// Whether `create` went through.
    pub complete: bool,
    /// Its control groups: written before they are made.
    pub cgroup: Cgroup,
    /// What the program's standard input, output and error were, as /proc/PID/fd names them: `pipe:[7]`. A
    /// restored program gets others in place of those that were pipes.
    #[serde(default)]
    pub standard_streams: Vec<String>,
    /// Its class of service in resctrl, likewise.
    #[serde(default)]
    pub rdt: Option<Group>,
    /// Whether it stays in its caller's session keyring.
    #[serde(default)]
    pub no_new_keyring: bool,
    /// The config as `create` read it; later edits of the bundle change nothing (runtime.md, "Create").
    pub config: Spec,
}

impl Record {
    /// Reads the record in `folder`, which was opened as `dir`. One that is torn is [`Kind::Invalid`].
    pub fn load(folder: &OwnedFd, dir: &Path) -> Result<Record> {
        let path = dir.join(NAME);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = again(|| rustix::fs::openat(folder, NAME, flags, Mode::empty()));
        let mut text = Vec::new();
        Stream(File::from(file.on("read", &path)?)).read_to_end(&mut text).on("read", &path)?;
        serde_json::from_slice(&text).map_err(|e| Error::invalid(e.to_string())).on("parse", &path)
    }

    /// Whether there is one in `folder`.
    pub fn is_in(folder: &OwnedFd, dir: &Path) -> Result<bool> {
        match again(|| rustix::fs::statat(folder, NAME, AtFlags::SYMLINK_NOFOLLOW)) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno).on("look for", dir.join(NAME)),
        }
    }

    /// Writes `dir/state.json` atomically.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|e| Error::new(Kind::System, e.to_string()))?;
        write_atomically(&dir.join(NAME), &text)
    }

    /// The state document that hooks read, with the given status and pid.
    pub fn state(&self, status: Status, pid: i32) -> State {
        State {
            oci_version: crate::spec::VERSION.to_owned(),
            id: self.id.clone(),
            status,
            pid,
            bundle: self.bundle.clone(),
            annotations: self.config.annotations.clone(),
        }
    }
}

/// Removes `dir/state.json`, if it is there and can be.
pub(super) fn remove(dir: &Path) {
    files::remove_file(dir.join(NAME)).ok(); // whoever removes the folder says what is wrong
}

/// Writes a file under a temporary name beside `path` and renames it.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    let name =
        path.file_name().ok_or_else(|| Error::invalid(format!("{} is not a file path", path.display())))?;
    let temporary = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file: File =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&temporary)?;
        file.write_all(content)
    };
    let written = again(write).and_then(|()| files::rename(&temporary, path));
    if written.is_err() {
        files::remove_file(&temporary).ok(); // it may not be there, and the first error is the one to tell
    }
    written.on("write", path)
}
