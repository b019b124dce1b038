//! A mount of type `cgroup`: the container's own part of the control groups, in the host's layout.

use std::os::fd::OwnedFd;

use rustix::fs::CWD;
use rustix::mount::OpenTreeFlags;

use super::mounts::{attach, create_filesystem, subdirectory};
use super::rootfs::move_onto;
use crate::cgroup::{Cgroup, Dir, Mode};
use crate::error::{Context, Result};
use crate::plan::mounts::{MountStep, What};
use crate::sys::mount::{MountAttr, mount_setattr};
use crate::sys::path::mkdir_all_in_root;
use std::os::fd::AsFd as _;

/// What every cgroup mount has, asked for or not (as runc).
const SAFE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;

/// Mounts the container's cgroups at the step's destination. With a cgroup namespace of its own the container
/// mounts the real file system, whose root is then its own cgroup; without one, its own part is bound.
pub fn mount(root: &OwnedFd, step: &MountStep, cgroup: &Cgroup, own_namespace: bool) -> Result<()> {
    let onto = mkdir_all_in_root(root, &step.destination)?;
    if let (Mode::V2, Some(dir)) = (cgroup.mode, cgroup.dirs.first()) {
        return attach(&one(dir, own_namespace)?, &onto, step);
    }
    let mode = [("mode".to_owned(), Some("755".to_owned()))];
    let tmpfs = create_filesystem("tmpfs", "tmpfs", &mode)?;
    let read_only = step.attr.set & libc::MOUNT_ATTR_RDONLY;
    // Made while the tmpfs is detached: it is attached, read-only if asked for, once it is filled.
    move_onto(&tmpfs, &onto).context("attach tmpfs")?;
    for dir in cgroup.dirs.iter().filter(|dir| !dir.unified) {
        let mount = one(dir, own_namespace)?;
        let change = MountAttr { set: SAFE | read_only, ..Default::default() };
        mount_setattr(mount.as_fd(), false, change)?;
        move_onto(&mount, &subdirectory(&tmpfs, &dir.name)?)
            .with_context(|| format!("attach {}", dir.name))?;
        for controller in dir.controllers.iter().filter(|c| **c != dir.name && dir.name.contains(c.as_str()))
        {
            rustix::fs::symlinkat(&dir.name, &tmpfs, controller)
                .with_context(|| format!("link {controller}"))?;
        }
    }
    let step = MountStep {
        attr: MountAttr { set: SAFE | step.attr.set, ..step.attr },
        what: What::Cgroup,
        ..step.clone()
    };
    mount_setattr(tmpfs.as_fd(), false, step.attr).context("set attributes")?;
    for (propagation, recursive) in &step.propagation {
        let change = MountAttr { propagation: *propagation, ..Default::default() };
        mount_setattr(tmpfs.as_fd(), *recursive, change).context("set propagation")?;
    }
    Ok(())
}

fn one(dir: &Dir, own_namespace: bool) -> Result<OwnedFd> {
    let context = || format!("cgroup {}", dir.path.display());
    if own_namespace {
        let flags: Vec<(String, Option<String>)> = match dir.unified {
            true => Vec::new(),
            false => dir.controllers.iter().flat_map(|c| v1_option(c)).collect(),
        };
        let kind = if dir.unified { "cgroup2" } else { "cgroup" };
        return create_filesystem(kind, "cgroup", &flags).with_context(context);
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, &dir.path, flags).with_context(context)
}

fn v1_option(controller: &str) -> Vec<(String, Option<String>)> {
    match controller.strip_prefix("name=") {
        Some(name) => vec![("none".to_owned(), None), ("name".to_owned(), Some(name.to_owned()))],
        None => vec![(controller.to_owned(), None)],
    }
}
