//! Runs this program from a copy that the container can't write to.
//!
//! A container can get hold of the program that makes it: its entry point may be a link to /proc/self/exe, or
//! a script that names it as interpreter, and then open it for writing (CVE-2019-5736). So before a container
//! is entered, the program executes itself through an overlay of its own folder that has no layer to write to: no
//! bytes are copied, what the container can get hold of is not even the host's inode (which it could lock), and
//! the mount is attached nowhere, so that it can't be made writable again. Where overlays are not to be had, a
//! read-only clone of the mount that the file is on comes close to it; where neither is permitted (no
//! CAP_SYS_ADMIN), a sealed copy in memory does the same.
//!
//! The first of these means is also tried before the program has really started, see `sys/early.rs`.

use std::ffi::{CString, OsStr};
use std::io::Seek as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, Stat, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::error::{Context, Error, Kind, Result};
use crate::sys::again::again;
use crate::sys::mount::{MountAttr, copy_mount, mount_setattr};
use crate::sys::process::fexecve;
use crate::sys::stream::Stream;

/// linux/magic.h
const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// What argv[0] of the copy ends with, by which it knows that it need not try again.
pub const MARK: &str = ":sealed";

/// Executes the copy, or returns if this is it.
pub fn ensure() -> Result<()> {
    let own = again(|| rustix::fs::open("/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
        .context("open /proc/self/exe")?;
    if is_sealed(&own)? {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let mut name = arguments.next().unwrap_or_default();
    if name.as_encoded_bytes().ends_with(MARK.as_bytes()) {
        return Err(Error::new(Kind::System, "the protected copy of this program is writable"));
    }
    let c_string = |text: std::ffi::OsString| {
        CString::new(text.into_vec()).map_err(|_| Error::invalid("an argument holds a NUL"))
    };
    name.push(MARK);
    let arguments: Vec<CString> =
        std::iter::once(name).chain(arguments).map(c_string).collect::<Result<_>>()?;
    let pairs = std::env::vars_os().map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='));
    let environment: Vec<CString> = pairs.filter_map(|pair| CString::new(pair).ok()).collect();
    let copy = match overlay(&own).or_else(|_| read_only_mount()) {
        Ok(file) => file,
        Err(Errno::PERM | Errno::NOSYS | Errno::INVAL) => sealed_copy(own)?,
        Err(errno) => return Err(errno).context("mount own program read-only"),
    };
    Err(fexecve(copy.as_fd(), &arguments, &environment)).context("execute the protected copy of this program")
}

fn is_sealed(own: &OwnedFd) -> Result<bool> {
    let file_system =
        again(|| rustix::fs::fstatvfs(own)).context("look at the file system of /proc/self/exe")?;
    if file_system.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    // Only files in memory have seals; for others the question itself is EINVAL.
    Ok(again(|| rustix::fs::fcntl_get_seals(own)).is_ok_and(|seals| seals.contains(SealFlags::WRITE)))
}

/// How this program is protected, once [`ensure`] has returned.
pub fn means() -> &'static str {
    let file_system = again(|| rustix::fs::statfs("/proc/self/exe")).map(|found| found.f_type);
    match file_system {
        Ok(OVERLAYFS_SUPER_MAGIC) => "using overlayfs for sealed /proc/self/exe",
        Ok(TMPFS_MAGIC) => "using a sealed memory file for /proc/self/exe",
        _ => "using a read-only mount for /proc/self/exe",
    }
}

/// An overlay needs two lower layers that do not contain one another. This one is always there and, as the lower
/// of the two, never seen.
pub const SECOND_LAYER: &str = "/sys/fs";

/// Opens the program's file in an overlay.
fn overlay(own: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let path = again(|| rustix::fs::readlink("/proc/self/exe", Vec::new()))?;
    let path = Path::new(OsStr::from_bytes(path.as_bytes()));
    let (Some(folder), Some(name)) = (path.parent().and_then(Path::to_str), path.file_name()) else {
        return Err(Errno::NOENT);
    };
    if folder.contains([':', '\\', ',']) {
        return Err(Errno::INVAL); // would have to be escaped
    }
    let context = again(|| rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC))?;
    again(|| rustix::mount::fsconfig_set_string(&context, "source", "wharf-runtime"))?;
    again(|| rustix::mount::fsconfig_set_string(&context, "lowerdir", format!("{folder}:{SECOND_LAYER}")))?;
    again(|| rustix::mount::fsconfig_create(&context))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = again(|| rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes))?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = again(|| rustix::fs::openat(&mount, name, flags, Mode::empty()))?;
    // A file that is mounted on its name is not in the folder's file system, and another may be there.
    match (again(|| rustix::fs::fstat(own))?, again(|| rustix::fs::fstat(&file))?) {
        (a, b) if change(&a) == change(&b) => Ok(file),
        _ => Err(Errno::STALE),
    }
}

/// What an overlay does not change of a file's status and no two files have in common.
fn change(stat: &Stat) -> (i64, u64, i64) {
    (stat.st_ctime, stat.st_ctime_nsec, stat.st_size)
}

fn read_only_mount() -> rustix::io::Result<OwnedFd> {
    let mount = copy_mount(CWD, "/proc/self/exe", false)?;
    mount_setattr(mount.as_fd(), false, MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..Default::default() })?;
    Ok(mount)
}

fn sealed_copy(own: OwnedFd) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy: std::fs::File =
        again(|| rustix::fs::memfd_create(c"wharf-runtime", flags)).context("create memory file")?.into();
    std::io::copy(&mut Stream(own), &mut Stream(&copy)).context("copy own program")?;
    again(|| copy.rewind()).context("rewind the copy")?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    again(|| rustix::fs::fcntl_add_seals(&copy, seals)).context("seal the copy")?;
    Ok(copy.into())
}
