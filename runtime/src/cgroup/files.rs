//! Reading and writing the files of a control group's directory.
//!
//! They are the kernel's: there is no making them, a write is one wish, and a directory can vanish under a reader.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::{Context, Result};
use crate::sys::again::again;
use crate::sys::{file, files};

/// A directory and all below it, parents first; empty when it is not there.
pub(super) fn tree(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = match files::entries(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.on("read", path)?,
    };
    let mut result = vec![path.to_owned()];
    for entry in entries.iter().filter(|entry| entry.is_dir) {
        result.extend(tree(&path.join(&entry.name))?);
    }
    Ok(result)
}

/// The processes of one directory. Those of a PID namespace that we can't see read as 0 and are left out.
pub(super) fn read_pids(dir: &Path) -> Result<Vec<i32>> {
    let text = match again(|| file::read_text(dir.join("cgroup.procs"))) {
        Err(Errno::NOENT | Errno::NODEV) => return Ok(Vec::new()),
        // A threaded cgroup lists no processes; its domain, above it, does.
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        other => other.on("read", dir.join("cgroup.procs"))?,
    };
    Ok(text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect())
}

/// Writes in one call. No O_CREAT: in a cgroup there is either the kernel's file or none.
pub(super) fn write_file(path: &Path, value: &str) -> Result<()> {
    files::write(path, value).with_context(|| format!("write {value:?} to {}", path.display()))
}

/// Opens a file that takes more than one wish.
pub(super) fn open_for_writing(path: &Path) -> Result<std::fs::File> {
    again(|| std::fs::OpenOptions::new().write(true).open(path)).on("open", path)
}

/// The whole text, without the last newline; `None` when there is no such file or no such controller any more.
pub(super) fn read_file(path: &Path) -> Result<Option<String>> {
    match again(|| file::read_text(path)) {
        Ok(text) => Ok(Some(text.trim_end().to_owned())),
        Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno).on("read", path),
    }
}
