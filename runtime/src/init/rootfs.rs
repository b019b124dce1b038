//! The container's root: a copy of the bundle's tree as a mount of its own, then the only thing there is.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags};

use crate::error::{Context, Result};
use crate::plan::Plan;
use crate::sys::again::again;
use crate::sys::files;
use crate::sys::mount::{MountAttr, copy_mount, mount_setattr};
use crate::sys::mountinfo::{self, Mount};

/// Puts the root file system's tree on itself as a mount, so that it can become the root, and returns it.
///
/// Without a mount namespace of its own, the container's tree is attached nowhere: it exists through this
/// descriptor and the processes in it, so that the host sees none of its mounts and nothing is left of them
/// (mounts upon such a tree: Linux 6.15).
pub fn attach(plan: &Plan) -> Result<OwnedFd> {
    let open = || copy_mount(CWD, &plan.rootfs, true).on("open root file system", &plan.rootfs);
    if !plan.namespaces.has(libc::CLONE_NEWNS) {
        let tree = open()?;
        let change = MountAttr { propagation: libc::MS_PRIVATE, ..Default::default() };
        mount_setattr(tree.as_fd(), true, change).context("make the root file system private")?;
        return Ok(tree);
    }
    #[expect(clippy::cast_possible_truncation, reason = "the flags of propagation are in the lower half")]
    let inherited = MountPropagationFlags::from_bits_retain(plan.root_propagation.inherited as u32);
    again(|| rustix::mount::mount_change("/", inherited | MountPropagationFlags::REC))
        .context("set propagation of /")?;
    if plan.root_propagation.inherited == libc::MS_SHARED {
        make_parent_private(&plan.rootfs)?;
    }
    let tree = open()?;
    let onto = again(|| rustix::fs::open(&plan.rootfs, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()));
    let onto = onto.on("open root file system", &plan.rootfs)?;
    move_onto(&tree, &onto).on("attach root file system", &plan.rootfs)?;
    Ok(tree)
}

/// Attaches the detached mount `tree` at the place `onto`, both by descriptor: no name is looked up again.
pub fn move_onto(tree: &OwnedFd, onto: &OwnedFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    again(|| rustix::mount::move_mount(tree.as_fd(), "", onto.as_fd(), "", flags))
}

/// pivot_root(2) refuses a parent mount that is shared. Which directory is that mount's root is not known,
/// so each one upwards is tried; EINVAL says "not a mount point".
fn make_parent_private(rootfs: &Path) -> Result<()> {
    for path in rootfs.ancestors() {
        match again(|| rustix::mount::mount_change(path, MountPropagationFlags::PRIVATE)) {
            Err(rustix::io::Errno::INVAL) => {}
            other => return other.with_context(|| format!("make the mount {} private", path.display())),
        }
    }
    Ok(())
}

/// Makes `root` the root directory and lets go of the host's mounts.
pub fn switch_to(root: &OwnedFd, plan: &Plan, no_pivot: bool) -> Result<()> {
    let old = open_current()?;
    again(|| rustix::process::fchdir(root)).context("enter the root file system")?;
    if !plan.namespaces.has(libc::CLONE_NEWNS) {
        again(|| rustix::process::chroot(".")).context("change root")?;
    } else if no_pivot {
        hide_kernel_file_systems(&plan.rootfs)?;
        again(|| rustix::process::fchdir(root)).context("enter the root file system")?;
        again(|| rustix::mount::mount_move(".", "/")).context("move the root file system to /")?;
        again(|| rustix::process::chroot(".")).context("change root")?;
    } else {
        again(|| nix::unistd::pivot_root(".", ".")).context("pivot root")?;
        // The old root now lies on top of the new one: take it off, with all below it. Made a slave first, so
        // that the unmounting is not propagated to the host. By its descriptor: a path would find the new one.
        again(|| rustix::process::fchdir(&old)).context("enter the old root")?;
        let down = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        again(|| rustix::mount::mount_change(".", down)).context("cut the old root off the host")?;
        again(|| rustix::mount::unmount(".", UnmountFlags::DETACH)).context("unmount the old root")?;
    }
    again(|| rustix::process::chdir("/")).context("enter /")
}

/// With a moved root the host's mounts stay, out of reach but there, and the kernel lets a user namespace of the
/// container mount a procfs or sysfs of its own as long as it sees one that is whole (mount_too_revealing). So
/// those of the host are taken off, or covered where they can't be.
fn hide_kernel_file_systems(rootfs: &Path) -> Result<()> {
    // As the kernel names it, whatever links the bundle's path goes by.
    let rootfs = files::canonicalize(rootfs).on("find", rootfs)?;
    let whole = |mount: &Mount| {
        matches!(mount.kind.as_str(), "proc" | "sysfs")
            && mount.root == Path::new("/")
            && !mount.point.starts_with(&rootfs)
    };
    for mount in mountinfo::read()?.into_iter().filter(whole) {
        let hide = || {
            let down = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
            again(|| rustix::mount::mount_change(&mount.point, down))?; // the host keeps its own
            again(|| rustix::mount::unmount(&mount.point, UnmountFlags::DETACH)).or_else(|_| {
                again(|| rustix::mount::mount("tmpfs", &mount.point, "tmpfs", MountFlags::empty(), None))
            })
        };
        match hide() {
            // One that lay below another went with it.
            Ok(()) | Err(Errno::NOENT | Errno::INVAL | Errno::NOTDIR) => {}
            Err(errno) => return Err(errno).on("hide the host's", &mount.point),
        }
    }
    Ok(())
}

/// The root directory as it is now.
pub fn open_current() -> Result<OwnedFd> {
    again(|| rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()))
        .context("open /")
}

/// The last changes to the root mount: read-only, and its own propagation.
pub fn finish(plan: &Plan) -> Result<()> {
    // Opened anew: the descriptor must stand on the mount, which a read-only bind below would not change.
    let root = open_current()?;
    if let Some(propagation) = plan.root_propagation.last {
        let change = MountAttr { propagation, ..Default::default() };
        mount_setattr(root.as_fd(), false, change).context("set propagation of the root")?;
    }
    if plan.readonly_root {
        let change = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..Default::default() };
        mount_setattr(root.as_fd(), false, change).context("make the root read-only")?;
    }
    Ok(())
}
