//! A mount of type `cgroup`: the container's own part of the control groups, in the host's layout.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode as FileMode, OFlags};

use super::mounts::{attach, create_filesystem, refuse_over_proc, set_attributes};
use super::rootfs::move_onto;
use crate::cgroup::{Dir, Mode, Shown};
use crate::error::{Context, Error, Kind, Result};
use crate::plan::mounts::MountStep;
use crate::sys::again::again;
use crate::sys::mount::{MountAttr, copy_mount, mount_setattr};
use crate::sys::path::{mkdir_all_in_root, open_plain_in_root};

/// What every cgroup mount has, asked for or not (as runc).
const SAFE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;

/// Where they are mounted, and which.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The container's root.
    pub root: &'a OwnedFd,
    /// The root is attached nowhere, so that what is attached in it can't be changed any more.
    pub detached: bool,
    /// The unified hierarchy alone, whatever else the host has.
    pub unified: bool,
}

/// Mounts the container's cgroups at the step's destination. With a cgroup namespace of its own the container
/// mounts the real file system, whose root is then its own cgroup; without one, its own part is bound.
pub fn mount(place: Place<'_>, step: &MountStep, shown: &Shown, own_namespace: bool) -> Result<()> {
    let onto = mkdir_all_in_root(place.root, &step.destination).context("create mount point")?;
    refuse_over_proc(&onto, &step.destination)?;
    let unified = shown.dirs.iter().find(|(dir, _)| dir.unified);
    if place.unified && unified.is_none() {
        return Err(Error::new(Kind::Unsupported, "this host has no unified hierarchy"));
    }
    if let Some(dir) = unified.filter(|_| place.unified || shown.mode == Mode::V2) {
        let mount = one(dir, own_namespace)?;
        set_attributes(&mount, step.flags.of_new(), step)?;
        return attach(&mount, &onto, step);
    }
    let mode = [("mode".to_owned(), Some("755".to_owned()))];
    let tmpfs = create_filesystem("tmpfs", "tmpfs", &mode)?;
    let read_only = step.flags.set & libc::MOUNT_ATTR_RDONLY;
    // Mounts upon a mount that is attached nowhere: Linux 6.15. So that is kept for where it can't be helped.
    if !place.detached {
        move_onto(&tmpfs, &onto).context("attach tmpfs")?;
    }
    // On v1 the container's own directory is the root of a new mount as well as of a copy, which takes one call, not
    // five, for each of a dozen hierarchies. In a user namespace the copy would have the host's flags locked on it.
    let anew = own_namespace && crate::sys::process::in_user_namespace();
    // Nor does a new mount follow what is mounted below one of the host's.
    let propagation = if own_namespace { libc::MS_PRIVATE } else { 0 };
    for dir in shown.dirs.iter().filter(|(dir, _)| !dir.unified) {
        let mount = one(dir, anew)?;
        let (dir, _) = dir;
        let change = MountAttr { set: SAFE | read_only, propagation, ..Default::default() };
        mount_setattr(mount.as_fd(), false, change).context("set attributes")?;
        move_onto(&mount, &subdirectory(&tmpfs, &dir.name)?)
            .with_context(|| format!("attach {}", dir.name))?;
        for controller in dir.controllers.iter().filter(|c| **c != dir.name && dir.name.contains(c.as_str()))
        {
            again(|| rustix::fs::symlinkat(&dir.name, &tmpfs, controller))
                .with_context(|| format!("link {controller}"))?;
        }
    }
    let attr = step.flags.of_new();
    set_attributes(&tmpfs, MountAttr { set: SAFE | attr.set, ..attr }, step)?;
    if place.detached {
        return attach(&tmpfs, &onto, step);
    }
    for (propagation, recursive) in &step.propagation {
        let change = MountAttr { propagation: *propagation, ..Default::default() };
        mount_setattr(tmpfs.as_fd(), *recursive, change).context("set propagation")?;
    }
    Ok(())
}

/// One hierarchy, detached. Where the container has no cgroup of its own it sees the runtime's, which is not its
/// to change.
fn one((dir, is_own): &(Dir, bool), own_namespace: bool) -> Result<OwnedFd> {
    let context = || format!("cgroup {}", dir.path.display());
    let mount = open_one(dir, own_namespace).with_context(context)?;
    if !is_own {
        let change = MountAttr { set: SAFE | libc::MOUNT_ATTR_RDONLY, ..Default::default() };
        mount_setattr(mount.as_fd(), false, change).with_context(context)?;
    }
    Ok(mount)
}

fn open_one(dir: &Dir, own_namespace: bool) -> Result<OwnedFd> {
    if own_namespace {
        let flags: Vec<(String, Option<String>)> = match dir.unified {
            true => Vec::new(),
            false => dir.controllers.iter().flat_map(|c| v1_option(c)).collect(),
        };
        let kind = if dir.unified { "cgroup2" } else { "cgroup" };
        return create_filesystem(kind, "cgroup", &flags);
    }
    copy_mount(CWD, &dir.path, false).context("copy")
}

fn v1_option(controller: &str) -> Vec<(String, Option<String>)> {
    match controller.strip_prefix("name=") {
        Some(name) => vec![("none".to_owned(), None), ("name".to_owned(), Some(name.to_owned()))],
        None => vec![(controller.to_owned(), None)],
    }
}

/// Opens a directory below `directory` that is really there, making it if need be.
fn subdirectory(directory: &OwnedFd, name: &str) -> Result<OwnedFd> {
    match again(|| rustix::fs::mkdirat(directory, name, FileMode::from_raw_mode(0o755))) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(errno).on("create", name),
    }
    open_plain_in_root(directory, Path::new(name), OFlags::PATH | OFlags::DIRECTORY).on("open", name)
}
