//! Paths hidden and paths made read-only (config-linux.md, "Masked Paths", "Readonly Paths"), kernel
//! parameters, and the copying of a directory into the tmpfs that covers it.

use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::mounts::create_filesystem;
use super::procfs::Proc;
use super::rootfs::move_onto;
use crate::error::{Context, Error, Kind, Result};
use crate::launch::sources::Sources;
use crate::place::bracketed;
use crate::plan::Plan;
use crate::sys::again::again;
use crate::sys::mount::{MountAttr, copy_mount, mount_setattr};
use crate::sys::path::{chmod, open_in_root};
use crate::sys::stream::Stream;

/// Hides the masked paths and makes the others read-only. What is not there needs neither.
pub fn protect(root: &OwnedFd, plan: &Plan, sources: &Sources) -> Result<()> {
    for path in &plan.readonly_paths {
        make_read_only(root, path).on("make read-only", path).in_field("linux.readonlyPaths")?;
    }
    let mut masks = Masks { null: &sources.null, null_is_used: false, empty: None };
    for (index, path) in plan.masked_paths.iter().enumerate() {
        if !plan.masked_paths.iter().take(index).any(|earlier| earlier == path) {
            masks.hide(root, path).on("mask", path).in_field("linux.maskedPaths")?;
        }
    }
    Ok(())
}

/// What masked paths become: a file the null device, a directory an empty one.
struct Masks<'a> {
    /// The host's null device, proved to be it: the container's may be anything (CVE-2025-31133). Its mount can be
    /// attached once; from then on it is one of ours, and copies are made of it.
    null: &'a OwnedFd,
    null_is_used: bool,
    /// One file system for all directories.
    empty: Option<OwnedFd>,
}

fn open_if_there(root: &OwnedFd, path: &Path) -> Result<Option<OwnedFd>> {
    match open_in_root(root, path, OFlags::PATH) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno).context("open"),
    }
}

fn make_read_only(root: &OwnedFd, path: &Path) -> Result<()> {
    let Some(target) = open_if_there(root, path)? else { return Ok(()) };
    let tree = copy_mount(&target, "", true).context("copy")?;
    let change = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..Default::default() };
    mount_setattr(tree.as_fd(), true, change).context("set attributes")?;
    move_onto(&tree, &target).context("attach")
}

impl Masks<'_> {
    fn hide(&mut self, root: &OwnedFd, path: &Path) -> Result<()> {
        let Some(target) = open_if_there(root, path)? else { return Ok(()) };
        let is_directory =
            FileType::from_raw_mode(again(|| rustix::fs::fstat(&target)).context("look at it")?.st_mode)
                == FileType::Directory;
        if is_directory {
            let first = match &self.empty {
                Some(first) => {
                    return move_onto(&copy_mount(first, "", false).context("copy")?, &target)
                        .context("attach");
                }
                None => create_filesystem("tmpfs", "tmpfs", &[("ro".to_owned(), None)])?,
            };
            let change = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..Default::default() };
            mount_setattr(first.as_fd(), false, change).context("set attributes")?;
            move_onto(&first, &target).context("attach")?;
            self.empty = Some(first);
        } else if self.null_is_used {
            move_onto(&copy_mount(self.null, "", false).context("copy")?, &target).context("attach")?;
        } else {
            move_onto(self.null, &target).context("attach")?;
            self.null_is_used = true;
        }
        Ok(())
    }
}

/// Writes kernel parameters through the private procfs.
pub fn write_sysctl(proc: &Proc, parameters: &[(PathBuf, String)]) -> Result<()> {
    for (path, value) in parameters {
        let write = || -> Result<()> {
            let file = proc.open_file(&Path::new("sys").join(path), OFlags::WRONLY)?;
            Stream(file).write_all(value.as_bytes()).context("write")
        };
        let doing = format!("write {value:?} to");
        let name = path.display().to_string().replace('/', ".");
        write().on(&doing, path).in_field(format!("linux.sysctl{}", bracketed(&name)))?;
    }
    Ok(())
}

/// No deeper than this goes `tmpcopyup`: each step down takes descriptors and stack.
const MAX_DEPTH: u32 = 256;

/// Copies what `from` holds into the root of the detached mount `to`: `tmpcopyup`. Sockets are left out.
pub fn copy_tree(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    copy_level(from, to, MAX_DEPTH)
}

fn copy_level(from: &OwnedFd, to: &OwnedFd, depth: u32) -> Result<()> {
    let deeper = depth.checked_sub(1);
    let deeper =
        deeper.ok_or_else(|| Error::new(Kind::System, format!("more than {MAX_DEPTH} folders deep")))?;
    for entry in Dir::read_from(from).context("read folder")? {
        let entry = entry.context("read folder")?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let context = || name.to_string_lossy().into_owned();
        let stat =
            again(|| rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)).with_context(context)?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        let plain = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                again(|| rustix::fs::mkdirat(to, name, mode)).with_context(context)?;
                let open = |at: &OwnedFd| {
                    again(|| rustix::fs::openat(at, name, plain | OFlags::DIRECTORY, Mode::empty()))
                };
                copy_level(&open(from).with_context(context)?, &open(to).with_context(context)?, deeper)
                    .map_err(|error| match depth {
                        MAX_DEPTH => error.prefixed(context()),
                        _ => error, // one name is enough
                    })?;
            }
            FileType::RegularFile => {
                let source =
                    again(|| rustix::fs::openat(from, name, plain | OFlags::NONBLOCK, Mode::empty()));
                let flags = plain | OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
                let target = again(|| rustix::fs::openat(to, name, flags, mode)).with_context(context)?;
                std::io::copy(&mut Stream(source.with_context(context)?), &mut Stream(target))
                    .with_context(context)?;
            }
            FileType::Symlink => {
                let target =
                    again(|| rustix::fs::readlinkat(from, name, Vec::new())).with_context(context)?;
                again(|| rustix::fs::symlinkat(&target, to, name)).with_context(context)?;
            }
            FileType::Socket => continue,
            kind => {
                again(|| rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev)).with_context(context)?
            }
        }
        copy_owner(to, name, &stat).with_context(context)?;
    }
    Ok(())
}

fn copy_owner(to: &OwnedFd, name: &std::ffi::CStr, stat: &rustix::fs::Stat) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    again(|| rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return Ok(());
    }
    // chown takes set-user-ID away, and mkdir and open obey the umask.
    let file = again(|| {
        rustix::fs::openat(to, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    })?;
    chmod(&file, stat.st_mode & 0o7777)
}
