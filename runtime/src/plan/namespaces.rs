//! Which namespaces are created and which are joined (config-linux.md, "Namespaces").

use std::path::PathBuf;

use crate::error::{Error, Kind, Result};
use crate::spec::{IdMapping, Linux};

/// The container's namespaces. A kind that is in neither list is the runtime's own.
#[derive(Debug, Clone, Default)]
pub struct Namespaces {
    /// `CLONE_NEW*` of those to create, but for the cgroup namespace.
    pub create: u64,
    /// Whether to create a cgroup namespace: after the process is in its cgroup, not by clone.
    pub create_cgroup: bool,
    /// `CLONE_NEW*` and path of those to join, the user namespace first.
    pub join: Vec<(i32, PathBuf)>,
    /// User ids of a new user namespace.
    pub uid_map: Vec<IdMapping>,
    /// Its group ids.
    pub gid_map: Vec<IdMapping>,
}

/// The specification's names and the kernel's numbers.
pub const KINDS: [(&str, i32); 7] = [
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("ipc", libc::CLONE_NEWIPC),
    ("mount", libc::CLONE_NEWNS),
    ("network", libc::CLONE_NEWNET),
    ("pid", libc::CLONE_NEWPID),
    ("user", libc::CLONE_NEWUSER),
    ("uts", libc::CLONE_NEWUTS),
];

impl Namespaces {
    /// Resolves `linux.namespaces` and the id mappings.
    pub fn resolve(linux: &Linux) -> Result<Namespaces> {
        let mut result = Namespaces::default();
        let mut seen = 0;
        for (index, wish) in linux.namespaces.iter().enumerate() {
            let field = format!("linux.namespaces[{index}]");
            if wish.kind == "time" {
                return Err(Error::new(
                    Kind::Unsupported,
                    format!("{field}: time namespaces are not supported yet"),
                ));
            }
            let Some((_, flag)) = KINDS.iter().find(|(name, _)| *name == wish.kind) else {
                return Err(Error::invalid(format!("{field}.type: unknown namespace {:?}", wish.kind)));
            };
            if seen & flag != 0 {
                return Err(Error::invalid(format!("{field}.type: duplicate namespace {:?}", wish.kind)));
            }
            seen |= flag;
            if !wish.path.is_empty() {
                if !wish.path.starts_with('/') {
                    return Err(Error::invalid(format!("{field}.path: {:?} is not absolute", wish.path)));
                }
                result.join.push((*flag, wish.path.clone().into()));
            } else if *flag == libc::CLONE_NEWCGROUP {
                result.create_cgroup = true;
            } else {
                result.create |= *flag as u64;
            }
        }
        // Joining the user namespace first gives the rights to join those that it owns.
        result.join.sort_by_key(|(flag, _)| *flag != libc::CLONE_NEWUSER);
        result.uid_map = linux.uid_mappings.clone();
        result.gid_map = linux.gid_mappings.clone();
        result.check_maps(seen)?;
        Ok(result)
    }

    fn check_maps(&self, seen: i32) -> Result<()> {
        let mapped = !self.uid_map.is_empty() || !self.gid_map.is_empty();
        if mapped && seen & libc::CLONE_NEWUSER == 0 {
            return Err(Error::invalid("linux.uidMappings: id mappings need a user namespace"));
        }
        if self.creates(libc::CLONE_NEWUSER) && (self.uid_map.is_empty() || self.gid_map.is_empty()) {
            return Err(Error::invalid(
                "linux.uidMappings: a new user namespace needs uidMappings and gidMappings",
            ));
        }
        Ok(())
    }

    /// Whether the container gets a new namespace of this kind.
    pub fn creates(&self, flag: i32) -> bool {
        self.create & flag as u64 != 0 || (flag == libc::CLONE_NEWCGROUP && self.create_cgroup)
    }

    /// Whether the container is in another namespace of this kind than the runtime.
    pub fn has(&self, flag: i32) -> bool {
        self.creates(flag) || self.join.iter().any(|(joined, _)| *joined == flag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Namespace;

    fn resolve(list: &[(&str, &str)]) -> Result<Namespaces> {
        let namespaces = list
            .iter()
            .map(|(kind, path)| Namespace { kind: (*kind).into(), path: (*path).into() })
            .collect();
        Namespaces::resolve(&Linux { namespaces, ..Default::default() })
    }

    #[test]
    fn user_namespace_is_joined_first() {
        let joined = resolve(&[("pid", "/p"), ("user", "/u"), ("cgroup", "")]).unwrap();
        assert_eq!(joined.join[0].0, libc::CLONE_NEWUSER);
        assert!(joined.create_cgroup && joined.create == 0);
    }

    #[test]
    fn duplicates_unknown_kinds_and_relative_paths_are_refused() {
        for (list, text) in [
            (&[("pid", ""), ("pid", "")][..], "linux.namespaces[1].type: duplicate"),
            (&[("moon", "")][..], "unknown namespace \"moon\""),
            (&[("ipc", "rel")][..], "not absolute"),
            (&[("user", "")][..], "needs uidMappings"),
        ] {
            let error = resolve(list).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
