//! /dev: the nodes, and the links that programs expect there (config-linux.md, "Default Devices";
//! runtime-linux.md, "Dev symbolic links").
//!
//! Everything is made relative to a directory opened below the root, so that a /dev that the image made a
//! link is followed inside the root at most (CVE-2026-41579).

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::mounts::refuse_over_proc;
use super::rootfs::move_onto;
use crate::error::{Context, Error, Kind, Result};
use crate::launch::sources::Sources;
use crate::plan::Plan;
use crate::plan::devices::Node;
use crate::plan::mounts::What;
use crate::sys::again::again;
use crate::sys::mount::{MountAttr, mount_setattr};
use crate::sys::path::{chmod, create_file_in_root, parent_in_root};

const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// The container's own `pts/ptmx`, by the name that programs know.
const PTMX: &str = "/dev/ptmx";

/// Makes all nodes and links, unless the container's /dev is the host's own, bound: that is left alone.
pub fn create(root: &OwnedFd, plan: &Plan, sources: &Sources) -> Result<()> {
    let bound = |what: &What| matches!(what, What::Bind { .. });
    if plan.mounts.iter().any(|step| bound(&step.what) && step.destination == Path::new("/dev")) {
        return Ok(());
    }
    // Some engines ask for this one, which the link below takes the place of.
    let is_made = |path: &Path| path != Path::new(PTMX);
    for (node, host) in plan.devices.iter().zip(&sources.devices).filter(|(node, _)| is_made(&node.path)) {
        let result = match host {
            Some(host) => bind_node(root, node, host),
            None => make_node(root, node),
        };
        result.with_context(|| node.path.display().to_string()).about("linux.devices")?;
    }
    for (path, target) in LINKS {
        link(root, path, target).context(path)?;
    }
    if sources.has_kcore {
        link(root, "/dev/core", "/proc/kcore").context("/dev/core")?; // as runc, only where the kernel has it
    }
    make_ptmx(root).context(PTMX)
}

fn make_node(root: &OwnedFd, node: &Node) -> Result<()> {
    let (parent, name) = parent_in_root(root, &node.path).context("open its folder")?;
    let kind = FileType::from_raw_mode(node.file_type);
    let device = rustix::fs::makedev(node.device.0, node.device.1);
    match again(|| rustix::fs::mknodat(&parent, name, kind, Mode::from_raw_mode(node.mode), device)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno).context("create"),
    }
    let opened = again(|| {
        rustix::fs::openat(&parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    })
    .context("open it again")?;
    // The specification wants an error when something else is there, and none when it is the same.
    let stat = again(|| rustix::fs::fstat(&opened)).context("look at it")?;
    let same =
        FileType::from_raw_mode(stat.st_mode) == kind && (kind == FileType::Fifo || stat.st_rdev == device);
    if !same {
        return Err(Error::new(Kind::AlreadyExists, "something else is there already"));
    }
    // The umask does not apply, and the owner may be one of the container's.
    let owner = node.owner;
    if owner != (stat.st_uid, stat.st_gid) {
        let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
        again(|| rustix::fs::chownat(&opened, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH))
            .context("change owner")?;
    }
    if stat.st_mode & 0o7777 != node.mode & 0o7777 {
        chmod(&opened, node.mode).context("change mode")?;
    }
    Ok(())
}

/// In a user namespace nodes can't be made: the host's are bound, as mounts that give no more than the node.
fn bind_node(root: &OwnedFd, node: &Node, host: &OwnedFd) -> Result<()> {
    use std::os::fd::AsFd as _;
    let stat = again(|| rustix::fs::fstat(host)).context("look at the host's")?;
    if stat.st_rdev != rustix::fs::makedev(node.device.0, node.device.1) {
        return Err(Error::new(
            Kind::Unsupported,
            "the host has another device there, and in a user namespace none can be made",
        ));
    }
    let onto = create_file_in_root(root, &node.path).context("create mount point")?;
    refuse_over_proc(&onto, &node.path)?;
    let set = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
    mount_setattr(host.as_fd(), false, MountAttr { set, ..Default::default() }).context("set attributes")?;
    move_onto(host, &onto).context("attach")
}

fn link(root: &OwnedFd, path: &str, target: &str) -> Result<()> {
    let (parent, name) = parent_in_root(root, Path::new(path)).context("open its folder")?;
    match again(|| rustix::fs::symlinkat(target, &parent, name)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno).context("link"),
    }
}

/// Makes the link, whatever the image had there; an image that can't be written to may have the same.
fn make_ptmx(root: &OwnedFd) -> Result<()> {
    const TARGET: &str = "pts/ptmx";
    let (parent, name) = parent_in_root(root, Path::new(PTMX)).context("open its folder")?;
    if again(|| rustix::fs::readlinkat(&parent, name, Vec::new()))
        .is_ok_and(|found| found.as_bytes() == TARGET.as_bytes())
    {
        return Ok(());
    }
    match again(|| rustix::fs::unlinkat(&parent, name, AtFlags::empty())) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno).context("remove what is there"),
    }
    again(|| rustix::fs::symlinkat(TARGET, &parent, name)).context("link")
}
