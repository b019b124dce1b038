//! Control groups: where the container's are, making them, filling them, freezing, killing, removing.
//!
//! One [`Cgroup`] stands for the container's directory in every hierarchy of the host: several on cgroup v1,
//! one on v2, and on a hybrid host the v1 ones plus one in the unified hierarchy, which brings `cgroup.kill`.
//! It goes into the container's record before any directory is made. What is done with it is one file each;
//! `v1` and `v2` have what only one version knows.

mod apply;
mod doors;
mod files;
pub(crate) mod hierarchy;
pub(crate) mod join;
mod kill;
mod lacking;
mod make;
mod oom;
mod own;
mod rootless;
pub mod stats;
pub(crate) mod systemd;
mod update;
mod v1;
mod v2;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::sys::mountinfo;
use files::{read_pids, tree};

pub use doors::Doors;
pub use hierarchy::{Dir, Mode};
pub use join::{Below, allow_every_cpu};
pub use oom::OomWatch;
pub use rootless::Shown;
pub use systemd::{ANNOTATION as UNIT_ANNOTATION, Unit};
pub use update::Undo;

/// The container's control groups.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cgroup {
    /// Which version holds the limits.
    pub mode: Mode,
    /// One directory for each hierarchy.
    pub dirs: Vec<Dir>,
    /// Who makes them.
    #[serde(default)]
    pub driver: Driver,
    /// Whether directories that may not be made are done without, as long as no limit is asked for.
    #[serde(default)]
    pub tolerant: bool,
    /// Whether the config says where they are.
    #[serde(default)]
    pub explicit: bool,
}

/// Who makes the control groups, with what it must remember.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Driver {
    /// We, in the file system.
    #[default]
    Cgroupfs,
    /// systemd, as this transient unit.
    Systemd(Unit),
    /// Nobody: the container stays in its caller's.
    Disabled,
}

/// The drivers by name, as `--cgroup-manager` takes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DriverName {
    /// `cgroupfs`.
    #[default]
    Cgroupfs,
    /// `systemd`.
    Systemd,
    /// `disabled`.
    Disabled,
}

impl std::str::FromStr for DriverName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "cgroupfs" => Ok(DriverName::Cgroupfs),
            "systemd" => Ok(DriverName::Systemd),
            "disabled" => Ok(DriverName::Disabled),
            other => Err(Error::invalid(format!("--cgroup-manager: unknown driver {other:?}"))),
        }
    }
}

impl Cgroup {
    /// Finds the container's place: `cgroups_path` below each hierarchy's mount point, `/<id>` when empty.
    /// A relative path is taken from the mount point too, so that equal values name equal places.
    pub fn resolve(driver: DriverName, cgroups_path: &str, id: &str) -> Result<Cgroup> {
        let (mode, mut dirs) = hierarchy::among(mountinfo::read()?);
        let driver = match driver {
            DriverName::Cgroupfs => {
                let path = if cgroups_path.is_empty() { id } else { cgroups_path };
                let relative = check_path(path)?;
                dirs.iter_mut().for_each(|dir| dir.path.push(relative));
                Driver::Cgroupfs
            }
            DriverName::Systemd => {
                let (unit, relative) = systemd::resolve(cgroups_path, id)?;
                dirs.iter_mut().for_each(|dir| dir.path.push(&relative));
                Driver::Systemd(unit)
            }
            DriverName::Disabled => {
                dirs.clear();
                Driver::Disabled
            }
        };
        Ok(Cgroup { mode, dirs, driver, tolerant: false, explicit: !cgroups_path.is_empty() })
    }

    /// Refuses directories that hold tasks, in themselves or below, and frozen ones. Asked before anything is
    /// recorded: what was refused must never be cleaned up, for that would kill tasks that are not the container's.
    pub fn refuse_used(&self) -> Result<()> {
        for dir in &self.dirs {
            let context = || format!("create cgroup {}", dir.path.display());
            let there = self.tolerant && crate::sys::files::is_dir(&dir.path).with_context(context)?;
            if there && self.check_usable(dir).is_err_and(|error| self.bears(dir, &error)) {
                continue; // somebody else's, and done without
            }
            for path in tree(&dir.path)? {
                if !read_pids(&path).with_context(context)?.is_empty() {
                    return Err(Error::invalid("container's cgroup is not empty")).with_context(context);
                }
            }
        }
        if self.is_frozen()? {
            return Err(Error::invalid("container's cgroup unexpectedly frozen"));
        }
        Ok(())
    }

    /// All processes in them and below, as the runtime's PID namespace numbers them.
    pub fn pids(&self) -> Result<Vec<i32>> {
        self.dirs.first().map_or(Ok(Vec::new()), pids_below)
    }

    /// The directory in the v1 hierarchy that has this controller.
    fn with(&self, controller: &str) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.has(controller))
    }

    /// The directory in the unified hierarchy.
    fn unified(&self) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.unified)
    }
}

fn pids_below(dir: &Dir) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    for path in tree(&dir.path)? {
        pids.extend(read_pids(&path).with_context(|| format!("read tasks of {}", path.display()))?);
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

pub(crate) fn check_path(path: &str) -> Result<&Path> {
    let refuse = |why: &str| Err(Error::at("linux.cgroupsPath", format_args!("{path:?} {why}")));
    if path.len() > 4000 || path.contains('\0') {
        return refuse("is not a path");
    }
    if path.split('/').any(|part| part == "..") {
        return refuse("must not hold \"..\"");
    }
    let relative = path.trim_start_matches('/');
    if relative.split('/').all(|part| matches!(part, "" | ".")) {
        return refuse("is the root of the hierarchy");
    }
    Ok(Path::new(relative))
}

#[cfg(test)]
mod tests;
