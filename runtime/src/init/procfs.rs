//! A private procfs: mounted for us alone and attached nowhere, so that nothing that the container or its
//! image put over /proc is ever asked (CVE-2019-16884, CVE-2025-52881).

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::error::{Context, Error, Kind, Result};
use crate::sys::path::open_plain_in_root;

/// Opens a private instance, as this process's PID namespace sees it.
pub fn open(root: &OwnedFd) -> Result<OwnedFd> {
    match mount_detached() {
        // In a user namespace the kernel refuses when the visible /proc is masked (mount_too_revealing,
        // Linux 4.2): then the container's own one has to do, once it is proved to be procfs.
        Err(Errno::PERM) => open_visible(root),
        other => other.context("mount a private /proc"),
    }
}

fn mount_detached() -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(context.as_fd())?;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

fn open_visible(root: &OwnedFd) -> Result<OwnedFd> {
    let proc = open_plain_in_root(root, Path::new("/proc"), OFlags::PATH | OFlags::DIRECTORY)
        .context("open /proc")?;
    let is_proc = rustix::fs::fstatfs(&proc)?.f_type == libc::PROC_SUPER_MAGIC;
    if is_proc { Ok(proc) } else { Err(Error::new(Kind::System, "/proc of the container is not procfs")) }
}

/// Opens a file of it: no links, no other mounts on the way.
pub fn open_file(proc: &OwnedFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(proc, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}
