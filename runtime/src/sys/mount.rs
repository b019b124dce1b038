//! mount_setattr(2): the one call of the mount API that no library wraps (Linux 5.12).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::again::{again, done};

/// What to change on a mount: `MOUNT_ATTR_*` bits to set and to clear, and `MS_PRIVATE`, `MS_SLAVE`,
/// `MS_SHARED` or `MS_UNBINDABLE` (0: leave as is).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear.
    pub clear: u64,
    /// Propagation.
    pub propagation: u64,
}

impl MountAttr {
    /// Whether there is nothing to change.
    pub fn is_empty(self) -> bool {
        self == MountAttr::default()
    }
}

/// Changes the mount whose root `mount` refers to, and those below it when `recursive`.
pub fn mount_setattr(mount: BorrowedFd<'_>, recursive: bool, change: MountAttr) -> rustix::io::Result<()> {
    let mut clear = change.clear;
    if change.set & libc::MOUNT_ATTR__ATIME != 0 {
        clear |= libc::MOUNT_ATTR__ATIME; // the kernel wants the whole field cleared before one is set
    }
    let attr = libc::mount_attr {
        attr_set: change.set,
        attr_clr: clear,
        propagation: change.propagation,
        userns_fd: 0,
    };
    call(mount, recursive, &attr)
}

/// Makes a detached mount id-mapped, with the mapping of a user namespace (MOUNT_ATTR_IDMAP, Linux 5.12; which
/// file systems allow it differs by version).
pub fn set_idmap(
    mount: BorrowedFd<'_>,
    recursive: bool,
    namespace: BorrowedFd<'_>,
) -> rustix::io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: namespace.as_raw_fd() as u64,
    };
    call(mount, recursive, &attr)
}

/// A detached copy of the mount that `path` lies in, from there on, with the mounts below if `recursive`; an empty path
/// is `at` itself (open_tree(2), `OPEN_TREE_CLONE`, Linux 5.2).
pub fn copy_mount(at: impl AsFd, path: impl AsRef<Path>, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let path = path.as_ref();
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    flags.set(OpenTreeFlags::AT_EMPTY_PATH, path.as_os_str().is_empty());
    again(|| rustix::mount::open_tree(at.as_fd(), path, flags))
}

fn call(mount: BorrowedFd<'_>, recursive: bool, attr: &libc::mount_attr) -> rustix::io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated literal, `attr` is borrowed across the call, its true size is given.
    done(|| unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<libc::mount_attr>(),
        )
    })
}

pub(super) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
