//! The container's root: a copy of the bundle's tree as a mount of its own, then the only thing there is.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::error::{Context, Result};
use crate::plan::Plan;
use crate::sys::mount::{MountAttr, mount_setattr};

/// Puts the root file system's tree on itself as a mount, so that it can become the root, and returns it.
pub fn attach(plan: &Plan) -> Result<OwnedFd> {
    let inherited = MountPropagationFlags::from_bits_retain(plan.root_propagation.inherited as u32);
    rustix::mount::mount_change("/", inherited | MountPropagationFlags::REC)
        .context("set propagation of /")?;
    if plan.root_propagation.inherited == libc::MS_SHARED {
        make_parent_private(&plan.rootfs)?;
    }
    let context = || format!("open root file system {}", plan.rootfs.display());
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(CWD, &plan.rootfs, flags).with_context(context)?;
    let onto = rustix::fs::open(&plan.rootfs, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .with_context(context)?;
    move_onto(&tree, &onto).with_context(context)?;
    Ok(tree)
}

/// Attaches the detached mount `tree` at the place `onto`, both by descriptor: no name is looked up again.
pub fn move_onto(tree: &OwnedFd, onto: &OwnedFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree.as_fd(), "", onto.as_fd(), "", flags)
}

/// pivot_root(2) refuses a parent mount that is shared. Which directory is that mount's root is not known,
/// so each one upwards is tried; EINVAL says "not a mount point".
fn make_parent_private(rootfs: &Path) -> Result<()> {
    for path in rootfs.ancestors() {
        match rustix::mount::mount_change(path, MountPropagationFlags::PRIVATE) {
            Err(rustix::io::Errno::INVAL) => {}
            other => return other.with_context(|| format!("make the mount {} private", path.display())),
        }
    }
    Ok(())
}

/// Makes `root` the root directory and lets go of the host's mounts.
pub fn switch_to(root: &OwnedFd, no_pivot: bool) -> Result<()> {
    let old = open_current()?;
    rustix::process::fchdir(root).context("enter the root file system")?;
    if no_pivot {
        rustix::mount::mount_move(".", "/").context("move the root file system to /")?;
        rustix::process::chroot(".").context("change root")?;
    } else {
        nix::unistd::pivot_root(".", ".").context("pivot root")?;
        // The old root now lies on top of the new one: take it off, with all below it. Made a slave first, so
        // that the unmounting is not propagated to the host. By its descriptor: a path would find the new one.
        rustix::process::fchdir(&old).context("enter the old root")?;
        let down = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        rustix::mount::mount_change(".", down).context("cut the old root off the host")?;
        rustix::mount::unmount(".", UnmountFlags::DETACH).context("unmount the old root")?;
    }
    rustix::process::chdir("/").context("enter /")
}

/// The root directory as it is now.
pub fn open_current() -> Result<OwnedFd> {
    rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).context("open /")
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
