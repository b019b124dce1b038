//! A private procfs: mounted for us alone and attached nowhere, so that nothing that the container or its
//! image put over /proc is ever asked (CVE-2019-16884, CVE-2025-52881).
//!
//! In a user namespace the kernel allows that only as long as a /proc that is whole is in sight
//! (mount_too_revealing, Linux 4.2). So init mounts it while the host still is; what then has none takes the
//! container's own, once it is proved to be procfs, and whoever has none at all can do without until he needs it.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::error::{Context, Error, Kind, Result};
use crate::sys::again::again;
use crate::sys::path::open_plain_in_root;

/// That of the root of every procfs.
pub const ROOT_INODE: u64 = 1;

/// An open procfs, or why there is none.
#[derive(Debug)]
pub struct Proc(std::result::Result<OwnedFd, String>);

/// Mounts a private instance, as this process's PID namespace sees it; `None` where that is not allowed.
pub fn mount() -> Result<Option<OwnedFd>> {
    let attempt = || {
        let context = again(|| rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC))?;
        again(|| rustix::mount::fsconfig_create(context.as_fd()))?;
        again(|| {
            again(|| {
                rustix::mount::fsmount(
                    context.as_fd(),
                    FsMountFlags::FSMOUNT_CLOEXEC,
                    MountAttrFlags::empty(),
                )
            })
        })
    };
    match attempt() {
        Ok(proc) => Ok(Some(proc)),
        Err(Errno::PERM) => Ok(None),
        Err(errno) => Err(errno).context("mount a private /proc"),
    }
}

impl Proc {
    /// The one that was mounted, or the one of the container whose root this is.
    pub fn new(mounted: Option<OwnedFd>, root: &OwnedFd) -> Proc {
        Proc(mounted.map_or_else(|| open_visible(root), Ok).map_err(|error| error.to_string()))
    }

    /// Opens a file of it: no links, no other mounts on the way.
    pub fn open_file(&self, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        let proc = self.0.as_ref().map_err(|cause| Error::new(Kind::System, cause))?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        again(|| rustix::fs::openat2(proc, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve))
            .on("open in a private procfs", path)
    }
}

fn open_visible(root: &OwnedFd) -> Result<OwnedFd> {
    let proc = open_plain_in_root(root, Path::new("/proc"), OFlags::PATH | OFlags::DIRECTORY)
        .context("open /proc")?;
    // The whole of it: a folder of one could have been put there instead.
    let is_proc = again(|| rustix::fs::fstatfs(&proc)).context("look at /proc")?.f_type
        == libc::PROC_SUPER_MAGIC
        && again(|| rustix::fs::fstat(&proc)).context("look at /proc")?.st_ino == ROOT_INODE;
    if is_proc { Ok(proc) } else { Err(Error::new(Kind::System, "/proc of the container is not procfs")) }
}
