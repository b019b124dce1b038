//! Where a container's root stands while it is restored.
//!
//! criu wants the new root to be a mount point, and the places that will be mounted on to be there. Both are
//! made in a mount namespace that criu and nobody else is in, so that the host sees nothing of it and nothing
//! can be left behind.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, MoveMountFlags};

use crate::error::{Context, Result};
use crate::plan::Plan;
use crate::plan::mounts::What;
use crate::sys::again::again;
use crate::sys::files;
use crate::sys::mount::copy_mount;
use crate::sys::path::{create_file_in_root, mkdir_all_in_root};

/// Runs `story` in a new mount namespace that hears of the host's mounts but tells nothing of its own; then
/// returns to the old one. What `story` starts stays in the new one and keeps it alive.
pub fn in_private_mounts<T>(story: impl FnOnce() -> Result<T>) -> Result<T> {
    let home = files::open("/proc/self/ns/mnt").context("open own mount namespace")?;
    let folder =
        again(|| rustix::fs::open(".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()))
            .context("open working directory")?;
    again(|| nix::sched::unshare(CloneFlags::CLONE_NEWNS)).context("create mount namespace")?;
    let cut = again(|| {
        rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
    });
    let result = cut.context("cut mounts off the host").and_then(|()| story());
    again(|| nix::sched::setns(home.as_fd(), CloneFlags::CLONE_NEWNS))
        .context("return to own mount namespace")?;
    again(|| rustix::process::fchdir(&folder)).context("return to working directory")?;
    result
}

/// Puts the root file system at `place`, with what is mounted below it.
pub fn attach_root(rootfs: &Path, place: &Path) -> Result<()> {
    let onto = again(|| rustix::fs::open(place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()))
        .with_context(|| format!("open {}", place.display()))?;
    let tree = copy_mount(CWD, rootfs, true)
        .with_context(|| format!("open root file system {}", rootfs.display()))?;
    attach(&tree, &onto).with_context(|| format!("attach root file system to {}", place.display()))
}

/// Makes the places that the config mounts something on, as `create` does: for a container that moved here,
/// the root file system may never have seen them. What lies in a new file system comes with its content.
pub fn make_mount_points(plan: &Plan, place: &Path) -> Result<()> {
    attach_root(&plan.rootfs, place)?;
    let root =
        again(|| rustix::fs::open(place, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()))
            .with_context(|| format!("open {}", place.display()))?;
    let mut covered: Vec<&PathBuf> = Vec::new();
    for step in &plan.mounts {
        if covered.iter().any(|above| step.destination.starts_with(above)) {
            continue;
        }
        let context = || format!("mounts[{}]: make {}", step.index, step.destination.display());
        match &step.what {
            What::Bind { source, recursive, .. } => {
                let tree = copy_mount(CWD, source, *recursive).with_context(context)?;
                let kind = FileType::from_raw_mode(
                    again(|| rustix::fs::fstat(&tree)).context("look at a mount source")?.st_mode,
                );
                let onto = match kind {
                    FileType::Directory => mkdir_all_in_root(&root, &step.destination),
                    _ => create_file_in_root(&root, &step.destination),
                };
                // Places of later mounts may lie in this one.
                attach(&tree, &onto.with_context(context)?).with_context(context)?;
            }
            What::New(_) | What::Cgroup { .. } => {
                mkdir_all_in_root(&root, &step.destination).with_context(context)?;
                covered.push(&step.destination);
            }
            What::Remount(_) => {}
        }
    }
    Ok(())
}

fn attach(tree: &OwnedFd, onto: &OwnedFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    again(|| rustix::mount::move_mount(tree.as_fd(), "", onto.as_fd(), "", flags))
}
