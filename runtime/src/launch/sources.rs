//! What init needs from the host, opened before it exists: sources of bind mounts as detached mounts, the
//! root file system, a true /dev/null.
//!
//! Opened here, in the runtime's namespaces, because after the clone they may be out of reach (another user
//! namespace has no rights over the host's directories) or be another thing.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType};
use rustix::mount::OpenTreeFlags;

use crate::error::{Context, Error, Kind, Result};
use crate::plan::Plan;
use crate::plan::devices::Node;
use crate::plan::mounts::What;
use crate::sys::mount::{MountAttr, mount_setattr};

/// The opened things.
#[derive(Debug)]
pub struct Sources {
    /// For each mount step that binds: the detached mount and whether it is a directory.
    pub binds: Vec<Option<(OwnedFd, bool)>>,
    /// A detached mount of the host's /dev/null, proved to be that: what masked files become.
    pub null: OwnedFd,
    /// Detached mounts of the host's nodes of `plan.devices`, for user namespaces, which may not make any.
    pub devices: Vec<Option<OwnedFd>>,
}

/// Opens all.
pub fn open(plan: &Plan) -> Result<Sources> {
    if !plan.rootfs.is_dir() {
        let message =
            format!("root.path: {} is not a directory: no such file or directory", plan.rootfs.display());
        return Err(Error::new(Kind::NotFound, message));
    }
    let propagation = plan.root_propagation.inherited;
    let open_bind = |step: &crate::plan::mounts::MountStep| match &step.what {
        What::Bind { source, recursive } => bind(source, *recursive, propagation)
            .with_context(|| format!("mounts[{}]: bind source {}", step.index, source.display()))
            .map(Some),
        _ => Ok(None),
    };
    let in_user_namespace = plan.namespaces.has(libc::CLONE_NEWUSER);
    let host_node = |node: &Node| {
        in_user_namespace
            .then(|| bind(&node.path, false, libc::MS_PRIVATE).ok())
            .flatten()
            .map(|(mount, _)| mount)
    };
    Ok(Sources {
        binds: plan.mounts.iter().map(open_bind).collect::<Result<_>>()?,
        null: open_null()?,
        devices: plan.devices.iter().map(host_node).collect(),
    })
}

fn bind(source: &Path, recursive: bool, propagation: u64) -> Result<(OwnedFd, bool)> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = rustix::mount::open_tree(CWD, source, flags)?;
    if propagation != libc::MS_SHARED {
        // A copy of a shared mount is shared with the host until told otherwise.
        mount_setattr(tree.as_fd(), recursive, MountAttr { propagation, ..Default::default() })?;
    }
    let is_directory = FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode) == FileType::Directory;
    Ok((tree, is_directory))
}

fn open_null() -> Result<OwnedFd> {
    let (null, _) = bind(Path::new("/dev/null"), false, libc::MS_PRIVATE).context("open /dev/null")?;
    let stat = rustix::fs::fstat(&null)?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if is_null {
        Ok(null)
    } else {
        Err(Error::new(Kind::System, "/dev/null of the host is not the null device"))
    }
}
