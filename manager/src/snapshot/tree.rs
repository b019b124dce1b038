//! The folder that a layer is unpacked into, as a root that no name leads out of. Every look-up
//! goes through `openat2` below the root's handle, with symlinks resolved as if it were `/`.
//!
//! A layer holds only what changed, yet its entries mean the whole file system: `tmp/x` is to lie
//! in the `/tmp` of the layers below, with that folder's mode. So a parent that the layer lacks is
//! copied up from below when it is there, symlinks included, and made new only otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, fchmod, fchown,
    fstat, futimens, mkdirat, openat2, readlinkat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::xattr;
use crate::error::{Context, Result};
use crate::remove::remove_tree;
use crate::tar::malformed;

/// The kernel's own limit for symlinks in one path.
const LINKS: u32 = 40;
/// Times of directories are set at the end; the memory that their paths take is bounded.
const PATH_BYTES: usize = 64 << 20;

/// Where names are looked up below, without leaving or following a symlink.
const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory of the tree: a handle, and the path that leads there without a symlink.
#[derive(Debug, Clone)]
pub struct Directory {
    /// The handle.
    pub fd: Rc<OwnedFd>,
    /// Relative to the root; empty for the root itself.
    pub path: PathBuf,
}

/// The tree of one layer over the layers below.
#[derive(Debug)]
pub struct Tree {
    root: Rc<OwnedFd>,
    /// The layers below, topmost first.
    below: Vec<OwnedFd>,
    /// The last directory that was asked for: archives are sorted by directory.
    last: Option<(PathBuf, Directory)>,
    times: BTreeMap<PathBuf, Timespec>,
    path_bytes: usize,
    /// Directories that hide what is below them.
    opaque: BTreeSet<PathBuf>,
}

impl Tree {
    /// An empty folder over the layers below, topmost first, whose root's attributes it takes.
    pub fn new(root: OwnedFd, below: Vec<OwnedFd>) -> Result<Self> {
        let (times, opaque) = (BTreeMap::new(), BTreeSet::new());
        let mut tree = Self { root: Rc::new(root), below, last: None, times, path_bytes: 0, opaque };
        match tree.below(Path::new(""))? {
            Some((_, below)) => {
                let stat = copy_attributes(&reopen(&below)?, tree.root.as_fd())
                    .context("copy the root's attributes")?;
                tree.times.insert(PathBuf::new(), modified(&stat));
            }
            None => fchmod(&*tree.root, Mode::from(0o755)).context("set the root's mode")?,
        }
        Ok(tree)
    }

    /// The root.
    pub fn root(&self) -> Directory {
        Directory { fd: Rc::clone(&self.root), path: PathBuf::new() }
    }

    /// The directory at a path as an archive spells it, made or copied up where it is missing.
    pub fn directory(&mut self, path: &Path) -> Result<Directory> {
        if let Some((known, directory)) = &self.last
            && known == path
        {
            return Ok(directory.clone());
        }
        let directory = self.walk(path)?;
        self.last = Some((path.to_owned(), directory.clone()));
        Ok(directory)
    }

    /// One component after the other. The tree is ours alone, so what a step has seen stays.
    fn walk(&mut self, path: &Path) -> Result<Directory> {
        let mut here = self.root();
        let mut todo: Vec<PathBuf> = components(path);
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == Path::new("..") {
                let parent = here.path.parent().map(Path::to_owned).unwrap_or_default();
                here = self.open(&parent)?;
                continue;
            }
            let next = here.path.join(&name);
            match self.look(&here, &name)? {
                FileType::Directory => here = self.open(&next)?,
                FileType::Symlink => {
                    links += 1;
                    if links > LINKS {
                        return Err(malformed("a path through more than 40 symlinks"));
                    }
                    let target = readlinkat(&*here.fd, &name, Vec::new()).context("read a symlink")?;
                    let target = Path::new(OsStr::from_bytes(target.to_bytes())).to_owned();
                    if target.is_absolute() {
                        here = self.root();
                    }
                    todo.extend(components(&target));
                }
                _ => return Err(malformed(&format!("{:?} is no directory, but has entries below", next))),
            }
        }
        Ok(here)
    }

    /// What is at a name; if nothing of ours is, what lies below is copied up, or a directory made.
    fn look(&mut self, here: &Directory, name: &Path) -> Result<FileType> {
        match statat(&*here.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_whiteout(&stat) => {
                // Deleted by this layer, then made again: nothing from below shows through.
                unlinkat(&*here.fd, name, AtFlags::empty()).context("remove a whiteout")?;
                mkdirat(&*here.fd, name, Mode::from(0o755)).context("create a directory")?;
                let made = self.open(&here.path.join(name))?;
                self.hide_below(&made)?;
                Ok(FileType::Directory)
            }
            Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode)),
            Err(Errno::NOENT) => self.copy_up_parent(here, name),
            Err(error) => Err(error).context("look up a directory"),
        }
    }

    fn copy_up_parent(&mut self, here: &Directory, name: &Path) -> Result<FileType> {
        let path = here.path.join(name);
        match self.below(&path)? {
            Some((stat, below)) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                let target = readlinkat(&below, "", Vec::new()).context("read a symlink below")?;
                symlinkat(&target, &*here.fd, name).context("copy up a symlink")?;
                let at = (here.fd.as_fd(), name);
                chown_at(at, &stat)?;
                set_times_at(at, modified(&stat))?;
                Ok(FileType::Symlink)
            }
            Some((stat, below)) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                mkdirat(&*here.fd, name, Mode::from(0o700)).context("create a directory")?;
                let made = self.open(&path)?;
                copy_attributes(&reopen(&below)?, made.fd.as_fd()).context("copy up a directory")?;
                self.keep_time(&path, modified(&stat))?;
                Ok(FileType::Directory)
            }
            // Of a file below nothing can be a child: the directory replaces it.
            _ => {
                mkdirat(&*here.fd, name, Mode::from(0o755)).context("create a directory")?;
                fchmod(&*self.open(&path)?.fd, Mode::from(0o755)).context("set a directory's mode")?;
                Ok(FileType::Directory)
            }
        }
    }

    /// Makes a directory hide what the layers below have there.
    pub fn hide_below(&mut self, directory: &Directory) -> Result<()> {
        if self.below(&directory.path)?.is_some() {
            xattr::set_opaque(directory.fd.as_fd())?;
            self.opaque.insert(directory.path.clone());
        }
        Ok(())
    }

    /// What the layers below have at a path without symlinks, as far as it shows: a handle that
    /// only names it.
    pub fn below(&self, path: &Path) -> Result<Option<(Stat, OwnedFd)>> {
        if path.ancestors().skip(1).any(|above| self.opaque.contains(above)) {
            return Ok(None);
        }
        for layer in &self.below {
            match look_in(layer.as_fd(), path).with_context(|| format!("look up {path:?} below"))? {
                Below::Found(stat, fd) => return Ok(Some((stat, fd))),
                Below::Hidden => return Ok(None),
                Below::Absent => {}
            }
        }
        Ok(None)
    }

    /// Opens a directory of ours by a path without symlinks.
    pub fn open(&self, path: &Path) -> Result<Directory> {
        if path.as_os_str().is_empty() {
            return Ok(self.root());
        }
        let fd =
            open_beneath(self.root.as_fd(), path, DIRECTORY).with_context(|| format!("open {path:?}"))?;
        Ok(Directory { fd: Rc::new(fd), path: path.to_owned() })
    }

    /// Removes what is at a name, whatever it is; nothing there is fine.
    pub fn clear(&mut self, here: &Directory, name: &OsStr) -> Result<()> {
        self.last = None;
        remove_tree(here.fd.as_fd(), name).with_context(|| format!("replace {:?}", here.path.join(name)))
    }

    /// Keeps a directory's time for the end, when nothing is put into it any more.
    pub fn keep_time(&mut self, path: &Path, time: Timespec) -> Result<()> {
        self.path_bytes += path.as_os_str().len();
        if self.path_bytes > PATH_BYTES {
            return Err(malformed("the paths of its directories take more than 64 MiB"));
        }
        self.times.insert(path.to_owned(), time);
        Ok(())
    }

    /// Sets the times of all directories that are still there.
    pub fn finish(self) -> Result<()> {
        for (path, time) in self.times.iter().rev() {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            match open_beneath(self.root.as_fd(), path, DIRECTORY) {
                Ok(fd) => futimens(&fd, &both(*time)).with_context(|| format!("set the time of {path:?}"))?,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error).with_context(|| format!("open {path:?}")),
            }
        }
        Ok(())
    }
}

/// What one layer says of a path.
enum Below {
    Found(Stat, OwnedFd),
    /// It is not there, and no deeper layer shows through.
    Hidden,
    Absent,
}

fn look_in(layer: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<Below> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let (mut here, mut missing) = (PathBuf::new(), Below::Absent);
    for name in path {
        here.push(name);
        let fd = match open_beneath(layer, &here, flags) {
            Err(Errno::NOENT) => return Ok(missing),
            fd => fd?,
        };
        let stat = fstat(&fd)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_whiteout(&stat) || (!is_directory && here != path) {
            return Ok(Below::Hidden);
        }
        if here == path {
            return Ok(Below::Found(stat, fd));
        }
        if xattr::is_opaque(&fd)? {
            missing = Below::Hidden;
        }
    }
    let root = open_beneath(layer, Path::new("."), OFlags::PATH | OFlags::CLOEXEC)?;
    Ok(Below::Found(fstat(&root)?, root))
}

/// Opens for reading what a handle only names.
pub fn reopen(named: &OwnedFd) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(through_proc(named.as_fd()), flags, Mode::empty()).context("open a file below")
}

/// Opens below a directory, without leaving it and without following a symlink.
fn open_beneath(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    openat2(root, path, flags, Mode::empty(), BENEATH)
}

/// The components of a path, last first; `.` and slashes don't count.
fn components(path: &Path) -> Vec<PathBuf> {
    let bytes = path.as_os_str().as_bytes();
    let parts = bytes.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let mut parts: Vec<PathBuf> = parts.map(|part| Path::new(OsStr::from_bytes(part)).to_owned()).collect();
    parts.reverse();
    parts
}

/// Overlayfs's mark of a deleted file: a character device with number 0:0.
pub fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// The time of modification, as calls take it.
pub fn modified(stat: &Stat) -> Timespec {
    Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

/// The same time for access and modification.
pub fn both(time: Timespec) -> Timestamps {
    Timestamps { last_access: time, last_modification: time }
}

/// Owner, mode and attributes, in this order: a change of owner takes setuid bits and file
/// capabilities away.
pub fn copy_attributes(source: &OwnedFd, target: BorrowedFd<'_>) -> Result<Stat> {
    let stat = fstat(source).context("look at a file below")?;
    fchown(target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
        .context("set the owner")?;
    fchmod(target, Mode::from_raw_mode(stat.st_mode & 0o7777)).context("set the mode")?;
    xattr::copy(source.as_fd(), target)?;
    Ok(stat)
}

/// A name in a directory.
pub type At<'a> = (BorrowedFd<'a>, &'a Path);

/// Sets the owner of what is at a name, be it a symlink.
pub fn chown_at((dir, name): At<'_>, stat: &Stat) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).context("set the owner")
}

/// Sets the times of what is at a name, be it a symlink.
pub fn set_times_at((dir, name): At<'_>, time: Timespec) -> Result<()> {
    utimensat(dir, name, &both(time), AtFlags::SYMLINK_NOFOLLOW).context("set the time")
}

/// The path of an open file through procfs, for calls that take no handle of its kind.
pub fn through_proc(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}
