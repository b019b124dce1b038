//! One tar entry becomes one file. The layer is hostile: names go through [`Tree`], every file is
//! made new in a directory held by a handle, and nothing that exists is written to or followed.
//! Deletions turn into what overlayfs understands: `.wh.x` into a whiteout, `.wh..wh..opq` into an
//! opaque directory. Source: image-spec layer.md.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Uid, chownat, fchmod, fchown, futimens, linkat, makedev,
    mkdirat, mknodat, openat, statat, symlinkat,
};
use rustix::io::Errno;

use super::tree::{
    Directory, Tree, both, copy_attributes, is_whiteout, modified, reopen, set_times_at, through_proc,
};
use super::xattr;
use crate::error::{Context, Result};
use crate::tar::{Archive, Entry, EntryKind, malformed};

const WHITEOUT: &[u8] = b".wh.";
/// Names with this prefix belong to the union file system that whiteouts come from.
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What a layer may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the uncompressed archive.
    pub bytes: u64,
    /// Number of entries.
    pub entries: u64,
}

impl Default for Limits {
    /// More than any layer that people use, less than what hurts.
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 10_000_000 }
    }
}

/// Unpacks an archive into the tree. Returns the number of bytes in files, and the reader, which
/// stands behind the archive's end.
pub fn extract<R: Read>(reader: R, mut tree: Tree, limits: Limits) -> Result<(u64, R)> {
    let mut archive = Archive::new(reader);
    let (mut bytes, mut entries) = (0u64, 0u64);
    while let Some(entry) = archive.next_entry()? {
        entries += 1;
        if entries > limits.entries {
            return Err(malformed(&format!("more than {} entries", limits.entries)));
        }
        let name = || format!("unpack {:?}", OsStr::from_bytes(&entry.path));
        place(&mut tree, &entry, &mut archive).with_context(name)?;
        bytes = bytes.saturating_add(entry.size);
    }
    tree.finish()?;
    Ok((bytes, archive.into_inner()))
}

/// Puts one entry where its name says.
fn place(tree: &mut Tree, entry: &Entry, bytes: &mut impl Read) -> Result<()> {
    let path = clean(&entry.path);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return place_root(tree, entry);
    };
    if path.iter().any(|part| part.as_bytes().starts_with(WHITEOUT_META) && part.as_bytes() != OPAQUE) {
        return Ok(());
    }
    let here = tree.directory(parent)?;
    if name.as_bytes() == OPAQUE {
        return tree.hide_below(&here);
    }
    if let Some(name) = name.as_bytes().strip_prefix(WHITEOUT) {
        return whiteout(tree, &here, OsStr::from_bytes(name));
    }
    if entry.kind == EntryKind::HardLink {
        return hard_link(tree, entry, (&here, name));
    }
    let existing = existing(&here, name)?;
    if entry.kind == EntryKind::Directory {
        return directory(tree, entry, (&here, name, existing));
    }
    if existing.is_some() {
        tree.clear(&here, name)?;
    }
    match entry.kind {
        EntryKind::File => file(entry, (&here, name), bytes),
        _ => special(entry, (&here, name)),
    }
}

/// The name as if it were absolute, with `.`, `..` and doubled slashes taken out by the letter.
fn clean(name: &[u8]) -> PathBuf {
    let mut path = PathBuf::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                path.pop();
            }
            part => path.push(OsStr::from_bytes(part)),
        }
    }
    path
}

fn place_root(tree: &mut Tree, entry: &Entry) -> Result<()> {
    if entry.kind != EntryKind::Directory {
        return Err(malformed("it replaces the root by something else"));
    }
    let root = tree.root();
    directory_attributes(tree, entry, &root)
}

/// What of ours is at a name. A whiteout counts as something: it has to go.
fn existing(here: &Directory, name: &OsStr) -> Result<Option<rustix::fs::Stat>> {
    match statat(&*here.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error).context("look up the name"),
    }
}

type Place<'a> = (&'a Directory, &'a OsStr);

fn whiteout(tree: &mut Tree, here: &Directory, name: &OsStr) -> Result<()> {
    if matches!(name.as_bytes(), b"" | b"." | b"..") {
        return Err(malformed("a whiteout of no name"));
    }
    tree.clear(here, name)?;
    if tree.below(&here.path.join(name))?.is_none() {
        // Shown by overlayfs where it hides nothing.
        return Ok(());
    }
    mknodat(&*here.fd, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
        .context("create a whiteout")
}

fn directory(
    tree: &mut Tree,
    entry: &Entry,
    (here, name, existing): (&Directory, &OsStr, Option<rustix::fs::Stat>),
) -> Result<()> {
    let is_dir = |stat: &rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let path = here.path.join(name);
    if !existing.as_ref().is_some_and(is_dir) {
        if existing.is_some() {
            tree.clear(here, name)?;
        }
        mkdirat(&*here.fd, name, Mode::from(0o700)).context("create the directory")?;
        if existing.is_some() {
            // It came after a file or a deletion: nothing from below is in it.
            tree.hide_below(&tree.open(&path)?)?;
        }
    }
    let made = tree.open(&path)?;
    directory_attributes(tree, entry, &made)
}

fn directory_attributes(tree: &mut Tree, entry: &Entry, directory: &Directory) -> Result<()> {
    attributes(entry, directory.fd.as_fd())?;
    tree.keep_time(&directory.path, time(entry))
}

/// Owner before mode before attributes: a change of owner takes setuid bits and capabilities away.
fn attributes(entry: &Entry, fd: std::os::fd::BorrowedFd<'_>) -> Result<()> {
    fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))).context("set the owner")?;
    fchmod(fd, Mode::from_raw_mode(entry.mode)).context("set the mode")?;
    for (name, value) in entry.xattrs.iter().filter(|(name, _)| xattr::is_allowed(name)) {
        xattr::set(fd, name, value)?;
    }
    Ok(())
}

fn create(here: &Directory, name: &OsStr) -> Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(&*here.fd, name, flags, Mode::from(0o600)).context("create the file")?;
    Ok(File::from(fd))
}

fn file(entry: &Entry, (here, name): Place<'_>, bytes: &mut impl Read) -> Result<()> {
    let mut file = create(here, name)?;
    std::io::copy(bytes, &mut file).context("write the file")?;
    attributes(entry, file.as_fd())?;
    futimens(&file, &both(time(entry))).context("set the time")
}

/// Symlinks, devices and pipes: nothing of them is ever opened but their place.
fn special(entry: &Entry, (here, name): Place<'_>) -> Result<()> {
    let dir = here.fd.as_fd();
    let node = |kind, device| mknodat(dir, name, kind, Mode::empty(), device).context("create the node");
    let (major, minor) = entry.device;
    match entry.kind {
        EntryKind::CharDevice if (major, minor) == (0, 0) => {
            return Err(malformed("a device with number 0:0, which is a whiteout in disguise"));
        }
        EntryKind::CharDevice => node(FileType::CharacterDevice, makedev(major, minor))?,
        EntryKind::BlockDevice => node(FileType::BlockDevice, makedev(major, minor))?,
        EntryKind::Fifo => node(FileType::Fifo, 0)?,
        _ => symlinkat(entry.link.as_slice(), dir, name).context("create the symlink")?,
    }
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).context("set the owner")?;
    if entry.kind != EntryKind::Symlink {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = openat(dir, name, flags, Mode::empty()).context("open the node")?;
        rustix::fs::chmod(through_proc(node.as_fd()), Mode::from_raw_mode(entry.mode))
            .context("set the mode")?;
    }
    let at = (dir, Path::new(name));
    for (attribute, value) in entry.xattrs.iter().filter(|(attribute, _)| xattr::is_allowed(attribute)) {
        // The kernel keeps attributes of users for files and directories.
        if !attribute.starts_with(b"user.") {
            xattr::set_at(at, attribute, value)?;
        }
    }
    set_times_at(at, time(entry))
}

/// Links to a file of this layer, or to a copy of one from below. The link's own name is never
/// resolved further, so a link to a symlink is a second symlink and leads nowhere else.
fn hard_link(tree: &mut Tree, entry: &Entry, (here, name): Place<'_>) -> Result<()> {
    let target = clean(&entry.link);
    let (Some(parent), Some(target_name)) = (target.parent(), target.file_name()) else {
        return Err(malformed("a hard link to the root"));
    };
    let there = tree.directory(parent)?;
    let mut source = existing(&there, target_name)?;
    if source.is_none() && copy_up(tree, (&there, target_name))? {
        source = existing(&there, target_name)?;
    }
    let Some(source) = source else {
        return Err(malformed(&format!("a hard link to {target:?}, which is not there")));
    };
    if FileType::from_raw_mode(source.st_mode) == FileType::Directory || is_whiteout(&source) {
        return Err(malformed(&format!("a hard link to {target:?}, which is no file")));
    }
    if let Some(old) = existing(here, name)? {
        if (old.st_dev, old.st_ino) == (source.st_dev, source.st_ino) {
            return Ok(());
        }
        tree.clear(here, name)?;
    }
    let linked = linkat(&*there.fd, target_name, &*here.fd, name, AtFlags::empty());
    linked.with_context(|| format!("link to {target:?}"))
}

/// Copies a regular file from below, so that it can be linked to. False if there is none.
fn copy_up(tree: &Tree, (here, name): Place<'_>) -> Result<bool> {
    let path = here.path.join(name);
    let Some((stat, below)) = tree.below(&path)? else { return Ok(false) };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(false);
    }
    let mut source = File::from(reopen(&below)?);
    let mut file = create(here, name)?;
    std::io::copy(&mut source, &mut file).context("copy a file up")?;
    copy_attributes(&OwnedFd::from(source), file.as_fd())?;
    futimens(&file, &both(modified(&stat))).context("set the time")?;
    Ok(true)
}

fn time(entry: &Entry) -> Timespec {
    Timespec { tv_sec: entry.mtime.seconds, tv_nsec: i64::from(entry.mtime.nanoseconds) }
}
