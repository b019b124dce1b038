//! What init needs from the host: sources of bind mounts as detached mounts, id mappings, a true /dev/null.
//!
//! Opened by the runtime before init exists, because after the clone they may be out of reach (another user
//! namespace has no rights over the host's directories) or be another thing. Where the runtime can't make detached
//! mounts init does it, who has the right in namespaces of its own.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType};

use super::idmap;
use super::locate::{self, Place};
use crate::error::{Context, Error, Kind, Result};
use crate::plan::Plan;
use crate::plan::devices::Node;
use crate::plan::mounts::{MountStep, What};
use crate::sys::again::again;
use crate::sys::mount::{MountAttr, copy_mount, mount_setattr};
use crate::sys::process::in_user_namespace;

/// The opened things.
#[derive(Debug)]
pub struct Sources {
    /// For each mount step that binds something: that.
    pub binds: Vec<Option<Source>>,
    /// For each mount step that init has to map the ids of: the user namespace that lends the mapping.
    pub idmaps: Vec<Option<OwnedFd>>,
    /// A detached mount of the host's /dev/null, proved to be that: what masked files become.
    pub null: OwnedFd,
    /// Detached mounts of the host's nodes of `plan.devices`, for user namespaces, which may not make any.
    pub devices: Vec<Option<OwnedFd>>,
    /// Whether the kernel shows its memory, to which there is a link in /dev then (as runc).
    pub has_kcore: bool,
}

/// What a bind mount shows.
#[derive(Debug)]
pub enum Source {
    /// Something of the host: a detached mount, and whether it is a directory.
    Host(OwnedFd, bool),
    /// This path of the container's own root, which init opens when it is its turn.
    Inside(PathBuf),
}

/// Whether this process may make detached mounts: it takes CAP_SYS_ADMIN in the user namespace that owns the mount
/// namespace, which root of another one has not.
pub fn can_open() -> bool {
    copy_mount(CWD, "/", false).is_ok()
}

/// Opens all, or nothing where this process may not make detached mounts. Told by the first that it makes: one only to
/// ask would have to be dissolved again, for which the kernel waits until all processors have seen it.
pub fn open_if_permitted(plan: &Plan) -> Result<Option<Sources>> {
    match open_null() {
        Err(error) if error.errno() == Some(libc::EPERM) => Ok(None),
        null => open_others(plan, null?).map(Some),
    }
}

/// Opens all.
pub fn open(plan: &Plan) -> Result<Sources> {
    open_others(plan, open_null()?)
}

fn open_others(plan: &Plan, null: OwnedFd) -> Result<Sources> {
    let in_user_namespace = plan.namespaces.has(libc::CLONE_NEWUSER) || in_user_namespace();
    let host_node = |node: &Node| {
        (in_user_namespace && node.file_type != libc::S_IFIFO)
            .then(|| copy_of(CWD, &node.path, false, libc::MS_PRIVATE).ok())
            .flatten()
    };
    let mut sources = Sources {
        binds: Vec::new(),
        idmaps: Vec::new(),
        null,
        devices: plan.devices.iter().map(host_node).collect(),
        has_kcore: Path::new("/proc/kcore").exists(),
    };
    for step in &plan.mounts {
        sources.add(step, plan)?;
    }
    Ok(sources)
}

impl Sources {
    /// All the descriptors in it.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let binds = self.binds.iter().flatten().filter_map(|source| match source {
            Source::Host(mount, _) => Some(mount),
            Source::Inside(_) => None,
        });
        let others = self.idmaps.iter().chain(&self.devices).flatten();
        binds.chain(others).chain([&self.null]).map(AsRawFd::as_raw_fd)
    }

    /// Opens what one mount step needs.
    pub fn add(&mut self, step: &MountStep, plan: &Plan) -> Result<()> {
        let field = format!("mounts[{}]", step.index);
        let mapping = step.idmap.as_ref().map(|map| idmap::namespace(&map.ids));
        let mut mapping = mapping.transpose().in_field(format!("{field}.uidMappings"))?;
        let mut opened = None;
        if let What::Bind { source, recursive, inside } = &step.what {
            let found = match inside {
                Some(path) => Ok(Source::Inside(path.clone())),
                None => bind(source, *recursive, plan),
            };
            let found = found.on("bind source", source).in_field(format!("{field}.source"))?;
            if let (Source::Host(mount, _), Some(map)) = (&found, &step.idmap)
                && let Some(namespace) = mapping.take()
            {
                idmap::map(mount, map.recursive, &namespace)
                    .on("bind source", source)
                    .in_field(format!("{field}.uidMappings"))?;
            }
            opened = Some(found);
        }
        self.binds.push(opened);
        self.idmaps.push(mapping);
        Ok(())
    }
}

fn bind(source: &Path, recursive: bool, plan: &Plan) -> rustix::io::Result<Source> {
    let file = match locate::find(source, &plan.rootfs)? {
        Place::Inside(path) => return Ok(Source::Inside(path)),
        Place::Host(file) => file,
    };
    let tree = copy_of(&file, Path::new(""), recursive, plan.root_propagation.inherited)?;
    let is_directory =
        FileType::from_raw_mode(again(|| rustix::fs::fstat(&tree))?.st_mode) == FileType::Directory;
    Ok(Source::Host(tree, is_directory))
}

fn copy_of(at: impl AsFd, path: &Path, recursive: bool, propagation: u64) -> rustix::io::Result<OwnedFd> {
    let tree = copy_mount(at, path, recursive)?;
    keep_apart(&tree, recursive, propagation)?;
    Ok(tree)
}

/// A copy of a shared mount is shared with the host until told otherwise.
pub fn keep_apart(tree: &OwnedFd, recursive: bool, propagation: u64) -> rustix::io::Result<()> {
    if propagation == libc::MS_SHARED {
        return Ok(());
    }
    mount_setattr(tree.as_fd(), recursive, MountAttr { propagation, ..Default::default() })
}

fn open_null() -> Result<OwnedFd> {
    let path = "/dev/null";
    let null = copy_of(CWD, Path::new(path), false, libc::MS_PRIVATE).on("open", path)?;
    let stat = again(|| rustix::fs::fstat(&null)).context("look at /dev/null")?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    if is_null {
        Ok(null)
    } else {
        Err(Error::new(Kind::System, "/dev/null of the host is not the null device"))
    }
}
