//! Finds the host's cgroup hierarchies among its mounts.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::sys::mountinfo::Mount;

/// Which version holds the controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// v1, or hybrid: v1 hierarchies beside a unified one without them.
    V1,
    /// v2 alone.
    V2,
}

/// The container's directory in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dir {
    /// Last part of the mount point: `cpu,cpuacct`, `memory`.
    pub name: String,
    /// v1 controllers, or `name=systemd` of a hierarchy without any; empty for the unified one.
    pub controllers: Vec<String>,
    /// Whether it is cgroup2.
    pub unified: bool,
    /// The hierarchy's mount point.
    pub mount_point: PathBuf,
    /// The container's directory.
    pub path: PathBuf,
    /// What we made of it, parents first: noted before it is made. A name stays here though somebody else
    /// was quicker.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub created: Vec<PathBuf>,
    /// When it was there already: itself and what was below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<PathBuf>,
}

impl Dir {
    /// Whether this v1 hierarchy has the controller.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
}

/// Super block options of cgroup v1 that are no controllers.
const NOT_CONTROLLERS: [&str; 7] =
    ["rw", "ro", "xattr", "noprefix", "clone_children", "none", "favordynmods"];

/// The hierarchies, each with its mount point as `path`. A hierarchy mounted twice counts once.
pub(crate) fn among(mounts: Vec<Mount>) -> (Mode, Vec<Dir>) {
    let mut v1: Vec<Dir> = Vec::new();
    let mut v2: Vec<Dir> = Vec::new();
    for Mount { point: mount_point, kind, options, .. } in mounts {
        if kind != "cgroup" && kind != "cgroup2" {
            continue;
        }
        let unified = kind == "cgroup2";
        let is_controller =
            |option: &&str| !NOT_CONTROLLERS.contains(option) && !option.starts_with("release_agent=");
        let controllers: Vec<String> = match unified {
            true => Vec::new(),
            false => options.split(',').filter(is_controller).map(str::to_owned).collect(),
        };
        let list = if unified { &mut v2 } else { &mut v1 };
        if list.iter().any(|dir| dir.controllers == controllers) {
            continue;
        }
        let name = mount_point.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        list.push(Dir {
            name,
            controllers,
            unified,
            path: mount_point.clone(),
            mount_point,
            created: Vec::new(),
            found: Vec::new(),
        });
    }
    let has_controllers = v1.iter().any(|dir| dir.controllers.iter().any(|c| !c.starts_with("name=")));
    if has_controllers {
        v1.extend(v2);
        (Mode::V1, v1)
    } else {
        (Mode::V2, v2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::mountinfo;

    #[test]
    fn hybrid_has_the_v1_hierarchies_and_the_unified_one() {
        let text = "25 21 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                    26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
                    27 25 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                    28 25 0:25 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n";
        let (mode, dirs) = among(mountinfo::parse(text.as_bytes()));
        assert_eq!(mode, Mode::V1);
        assert_eq!(dirs.len(), 3);
        assert_eq!((dirs[0].name.as_str(), dirs[0].controllers.len()), ("cpu,cpuacct", 2));
        assert!(dirs[1].has("name=systemd") && dirs[2].unified);
    }

    #[test]
    fn unified_alone_is_v2() {
        let (mode, dirs) =
            among(mountinfo::parse(b"30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"));
        assert_eq!((mode, dirs.len()), (Mode::V2, 1));
    }
}
