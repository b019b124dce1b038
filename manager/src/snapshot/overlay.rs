//! Overlayfs mounts by file descriptor. Layers are given one by one (`lowerdir+`, Linux 6.5), so
//! neither their number nor a colon in a path matters; an older kernel gets them in one string of
//! short names through procfs. The mount options close what a forged layer could ask for.
//! Source: Documentation/filesystems/overlayfs.rst.

use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, mount, move_mount, unmount,
};

use super::tree::through_proc;
use crate::error::{Context, Error, Kind, Result};

/// No hard-link index, no data that lies elsewhere, no redirects: a layer can't ask for them.
const OPTIONS: [(&str, &str); 3] = [("index", "off"), ("metacopy", "off"), ("redirect_dir", "nofollow")];
/// mount(2) takes one page of options.
const PAGE: usize = 4096;

/// The folders of a mount.
#[derive(Debug, Clone)]
pub struct Overlay {
    /// Read-only layers, topmost first.
    pub lower: Vec<PathBuf>,
    /// Where changes go, and overlayfs's scratch folder beside it.
    pub upper: Option<(PathBuf, PathBuf)>,
}

impl Overlay {
    /// A mount that is nowhere in the tree: its root directory.
    pub fn detached(&self) -> Result<OwnedFd> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).context("open overlayfs")?;
        let set = |key: &str, value: &str| fsconfig_set_string(&context, key, value);
        for lower in &self.lower {
            set("lowerdir+", text(lower)?).with_context(|| format!("add layer {}", lower.display()))?;
        }
        if let Some((upper, work)) = &self.upper {
            set("upperdir", text(upper)?).with_context(|| format!("add {}", upper.display()))?;
            set("workdir", text(work)?).with_context(|| format!("add {}", work.display()))?;
        }
        for (key, value) in OPTIONS {
            set(key, value).with_context(|| format!("set overlay option {key}={value}"))?;
        }
        fsconfig_create(context.as_fd()).context("create the overlay")?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).context("mount the overlay")
    }

    /// Mounts at a folder, in the caller's mount namespace.
    pub fn mount_at(&self, target: &Path) -> Result<()> {
        if !knows_single_layers()? {
            return self.mount_by_string(target);
        }
        let detached = self.detached()?;
        move_mount(&detached, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .context("attach the overlay")
    }

    /// For kernels before 6.5. A name through procfs is short and holds no colon.
    fn mount_by_string(&self, target: &Path) -> Result<()> {
        let open = |path: &PathBuf| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).with_context(|| format!("open {}", path.display()))
        };
        let mut layers = Vec::new();
        for lower in &self.lower {
            layers.push(open(lower)?);
        }
        let name = |fd: &OwnedFd| through_proc(fd.as_fd()).display().to_string();
        let names: Vec<String> = layers.iter().map(name).collect();
        let mut options = format!("lowerdir={}", names.join(":"));
        let mut held = Vec::new();
        if let Some((upper, work)) = &self.upper {
            let (upper, work) = (open(upper)?, open(work)?);
            let written = write!(options, ",upperdir={},workdir={}", name(&upper), name(&work));
            written.map_err(|error| Error::new(Kind::System, error.to_string()))?;
            held.extend([upper, work]);
        }
        for (key, value) in OPTIONS {
            options.extend([",", key, "=", value]);
        }
        if options.len() >= PAGE {
            return Err(Error::new(Kind::System, "mount the overlay: too many layers for this kernel"));
        }
        let options =
            std::ffi::CString::new(options).map_err(|error| Error::new(Kind::System, error.to_string()))?;
        mount("overlay", target, "overlay", MountFlags::empty(), &*options).context("mount the overlay")
    }
}

/// Whether `lowerdir+` exists (Linux 6.5).
fn knows_single_layers() -> Result<bool> {
    let context = match fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(Errno::NOSYS) => return Ok(false),
        context => context.context("open overlayfs")?,
    };
    match fsconfig_set_string(&context, "lowerdir+", "/") {
        Ok(()) => Ok(true),
        Err(Errno::INVAL) => Ok(false),
        Err(error) => Err(error).context("ask overlayfs for its options"),
    }
}

/// Takes a mount away, now or when its last user has gone; none there is fine.
pub fn unmount_at(target: &Path) -> Result<()> {
    match unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("unmount {}", target.display())),
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::new(Kind::InvalidInput, format!("{} is not UTF-8", path.display())))
}
