//! Files by path, as `std::fs` has them, but that a call that was interrupted is made again ([`again`]), that whether
//! something is there is a question which can fail, and that reading a directory can't panic (the library's does
//! when closing one fails).

use std::ffi::OsString;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{ErrorKind, Result, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};

use super::again::again;

/// The whole file.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    Ok(again(|| super::file::read(&path))?)
}

/// The whole file, which is text.
pub fn read_to_string(path: impl AsRef<Path>) -> Result<String> {
    Ok(again(|| super::file::read_text(&path))?)
}

/// Opens for reading.
pub fn open(path: impl AsRef<Path>) -> Result<File> {
    again(|| File::open(&path))
}

/// Opens a file that is there and writes to it once, as files of the kernel want it: a write is one wish.
pub fn write(path: impl AsRef<Path>, text: impl AsRef<[u8]>) -> Result<()> {
    again(|| OpenOptions::new().write(true).open(&path)?.write_all(text.as_ref()))
}

/// Where a symbolic link leads.
pub fn read_link(path: impl AsRef<Path>) -> Result<PathBuf> {
    again(|| std::fs::read_link(&path))
}

/// The path without links and dots.
pub fn canonicalize(path: impl AsRef<Path>) -> Result<PathBuf> {
    again(|| std::fs::canonicalize(&path))
}

/// What is known of a file.
pub fn metadata(path: impl AsRef<Path>) -> Result<Metadata> {
    again(|| std::fs::metadata(&path))
}

/// The same of a link itself.
pub fn symlink_metadata(path: impl AsRef<Path>) -> Result<Metadata> {
    again(|| std::fs::symlink_metadata(&path))
}

fn there(path: &Path) -> Result<Option<Metadata>> {
    match metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether there is anything.
pub fn exists(path: impl AsRef<Path>) -> Result<bool> {
    Ok(there(path.as_ref())?.is_some())
}

/// Whether there is a directory.
pub fn is_dir(path: impl AsRef<Path>) -> Result<bool> {
    Ok(there(path.as_ref())?.is_some_and(|found| found.is_dir()))
}

/// Makes a directory, as far as the umask allows with mode 0777.
pub fn create_dir(path: impl AsRef<Path>) -> Result<()> {
    again(|| std::fs::create_dir(&path))
}

/// Makes a directory with this mode.
pub fn create_dir_with(path: impl AsRef<Path>, mode: u32) -> Result<()> {
    again(|| DirBuilder::new().mode(mode).create(&path))
}

/// Makes a directory and those above it with this mode; fine if it is there.
pub fn create_dir_all(path: impl AsRef<Path>, mode: u32) -> Result<()> {
    let (path, mut missing) = (path.as_ref(), Vec::new());
    for folder in path.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
        match create_dir_with(folder, mode) {
            Ok(()) => break,
            // It asks for what is above only where that is not there: others may make the same.
            Err(e) if e.kind() == ErrorKind::NotFound => missing.push(folder),
            Err(_) if is_dir(folder)? => break,
            Err(e) => return Err(e),
        }
    }
    for folder in missing.into_iter().rev() {
        match create_dir_with(folder, mode) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists && is_dir(folder)? => {}
            made => made?,
        }
    }
    Ok(())
}

/// Removes an empty directory.
pub fn remove_dir(path: impl AsRef<Path>) -> Result<()> {
    again(|| std::fs::remove_dir(&path))
}

/// Gives a file another name.
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    again(|| std::fs::rename(&from, &to))
}

/// Removes a file's name.
pub fn remove_file(path: impl AsRef<Path>) -> Result<()> {
    again(|| std::fs::remove_file(&path))
}

/// What is in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: OsString,
    /// Whether it is a directory itself.
    pub is_dir: bool,
}

/// Reads a whole directory, in whatever order.
pub fn entries(path: impl AsRef<Path>) -> Result<Vec<Entry>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    entries_of(again(|| rustix::fs::open(path.as_ref(), flags, Mode::empty()))?)
}

fn entries_of(folder: impl AsFd) -> Result<Vec<Entry>> {
    again(|| {
        let mut result = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let is_dir = match entry.file_type() {
                FileType::Unknown => match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(rustix::io::Errno::NOENT) => continue,
                    found => FileType::from_raw_mode(found?.st_mode) == FileType::Directory,
                },
                known => known == FileType::Directory,
            };
            result.push(Entry { name: OsString::from_vec(name.to_bytes().to_vec()), is_dir });
        }
        Ok(result)
    })
}

/// Removes a directory and all that is in it; links are removed, not followed.
pub fn remove_dir_all(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let folder = open_folder(rustix::fs::CWD, path)?;
    empty(&folder)?;
    remove_dir(path)
}

fn open_folder(at: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    again(|| rustix::fs::openat(at.as_fd(), path, flags, Mode::empty()))
}

/// Whoever fills it faster than this empties it gets an error at the end, from the removal of the directory itself.
fn empty(folder: &OwnedFd) -> Result<()> {
    for entry in entries_of(folder)? {
        let flags = if entry.is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        if entry.is_dir {
            empty(&open_folder(folder, Path::new(&entry.name))?)?;
        }
        match again(|| rustix::fs::unlinkat(folder, entry.name.as_bytes(), flags)) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_removed_and_links_are_not_followed() {
        let base = std::env::temp_dir().join(format!("wharf-files-{}", std::process::id()));
        let (tree, other) = (base.join("tree"), base.join("other"));
        create_dir_all(tree.join("a/b/c"), 0o755).unwrap();
        create_dir(&other).unwrap();
        std::fs::write(other.join("kept"), "").unwrap();
        std::fs::write(tree.join("a/b/file"), "").unwrap();
        std::os::unix::fs::symlink(&other, tree.join("a/link")).unwrap();
        assert!(is_dir(tree.join("a/link")).unwrap() && exists(tree.join("a/b/file")).unwrap());
        let mut inside = entries(tree.join("a")).unwrap();
        inside.sort_by(|a, b| a.name.cmp(&b.name));
        let entry = |name: &str, is_dir| Entry { name: name.into(), is_dir };
        assert_eq!(inside, [entry("b", true), entry("link", false)]);
        remove_dir_all(&tree).unwrap();
        assert!(!exists(&tree).unwrap() && exists(other.join("kept")).unwrap());
        assert!(!exists(other.join("kept/below")).unwrap());
        std::fs::remove_dir_all(base).unwrap();
    }
}
