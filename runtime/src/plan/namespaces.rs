//! Which namespaces are created and which are joined (config-linux.md, "Namespaces").

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::findings::Findings;
use crate::error::{Error, Result};
use crate::place::Place;
use crate::spec::{IdMapping, Linux, TimeOffset};

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
    /// What to write to /proc/PID/timens_offsets of a new time namespace; may be empty.
    pub time_offsets: String,
}

/// The specification's names and the kernel's numbers.
pub const KINDS: [(&str, i32); 8] = [
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("ipc", libc::CLONE_NEWIPC),
    ("mount", libc::CLONE_NEWNS),
    ("network", libc::CLONE_NEWNET),
    ("pid", libc::CLONE_NEWPID),
    ("time", libc::CLONE_NEWTIME),
    ("user", libc::CLONE_NEWUSER),
    ("uts", libc::CLONE_NEWUTS),
];

impl Namespaces {
    /// Those of `create` that the new process is born into. An IPC namespace has a file system for message queues,
    /// whose root belongs to whoever makes it: in a user namespace that is to be its root, not an id without a name.
    pub fn at_birth(&self) -> u64 {
        let later = if self.has(libc::CLONE_NEWUSER) { libc::CLONE_NEWIPC as u64 } else { 0 };
        self.create & !later
    }

    /// Resolves `linux.namespaces`, the id mappings and the clock offsets.
    pub fn resolve(linux: &Linux, findings: &mut Findings) -> Namespaces {
        let mut result = Namespaces::default();
        let mut seen = 0;
        for (index, wish) in linux.namespaces.iter().enumerate() {
            let field = |name: &str| format!("linux.namespaces[{index}].{name}");
            let Some((_, flag)) = KINDS.iter().find(|(name, _)| *name == wish.kind) else {
                findings.push(Error::at(field("type"), format_args!("unknown namespace {:?}", wish.kind)));
                continue;
            };
            if seen & flag != 0 {
                findings.push(Error::at(field("type"), format_args!("duplicate namespace {:?}", wish.kind)));
            }
            seen |= flag;
            if !wish.path.is_empty() {
                if !wish.path.starts_with('/') {
                    findings.push(Error::at(field("path"), format_args!("{:?} is not absolute", wish.path)));
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
        findings.keep(result.check_maps(seen));
        check_ranges("linux.uidMappings", &result.uid_map, findings);
        check_ranges("linux.gidMappings", &result.gid_map, findings);
        result.time_offsets = result.resolve_offsets(&linux.time_offsets, findings);
        result
    }

    fn check_maps(&self, seen: i32) -> Result<()> {
        let mapped = !self.uid_map.is_empty() || !self.gid_map.is_empty();
        if mapped && seen & libc::CLONE_NEWUSER == 0 {
            return Err(Error::at("linux.uidMappings", "id mappings need a user namespace"));
        }
        if self.creates(libc::CLONE_NEWUSER) && (self.uid_map.is_empty() || self.gid_map.is_empty()) {
            return Err(Error::at(
                "linux.uidMappings",
                "a new user namespace needs uidMappings and gidMappings",
            ));
        }
        Ok(())
    }

    /// The text for /proc/PID/timens_offsets (time_namespaces(7)): they can only be set while the namespace is
    /// empty, so only in a new one.
    fn resolve_offsets(&self, offsets: &BTreeMap<String, TimeOffset>, findings: &mut Findings) -> String {
        if !offsets.is_empty() && !self.creates(libc::CLONE_NEWTIME) {
            findings.push(Error::at("linux.timeOffsets", "needs a new time namespace"));
        }
        let mut text = String::new();
        for (clock, offset) in offsets {
            let place = Place::parse("linux.timeOffsets").key(clock);
            if !matches!(clock.as_str(), "monotonic" | "boottime") {
                findings.push(Error::at(place.to_string(), "is neither monotonic nor boottime"));
            } else if offset.nanosecs >= 1_000_000_000 {
                findings.push(Error::at(place.key("nanosecs").to_string(), "is a second or more"));
            }
            text += &format!("{clock} {} {}\n", offset.secs, offset.nanosecs);
        }
        text
    }

    /// Whether the owner that an option of a file system names exists in the container; the words are runc's.
    pub fn check_owner(&self, (key, value): &(String, Option<String>)) -> Result<()> {
        let map = match key.as_str() {
            "uid" => &self.uid_map,
            "gid" => &self.gid_map,
            _ => return Ok(()),
        };
        let id = value.as_deref().and_then(|value| value.parse().ok());
        if self.creates(libc::CLONE_NEWUSER) && id.is_some_and(|id| !is_mapped(map, id)) {
            let message = format!("cannot specify {key}= mount options for unmapped {key}");
            return Err(Error::invalid(message));
        }
        Ok(())
    }

    /// Whether the ids of `process.user` exist in the container, as far as it is known before.
    pub fn check_user(&self, user: (u32, u32), groups: &[u32]) -> Result<()> {
        if !self.creates(libc::CLONE_NEWUSER) {
            return Ok(());
        }
        let refuse = |field: &str, id: u32| {
            let message = format_args!("{id} is not mapped into the container's user namespace");
            Err(Error::at(format!("process.user.{field}"), message))
        };
        if !is_mapped(&self.uid_map, user.0) {
            return refuse("uid", user.0);
        }
        if !is_mapped(&self.gid_map, user.1) {
            return refuse("gid", user.1);
        }
        groups
            .iter()
            .find(|id| !is_mapped(&self.gid_map, **id))
            .map_or(Ok(()), |id| refuse("additionalGids", *id))
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

/// The most lines that uid_map and gid_map take (user_namespaces(7), Linux 4.15).
const MOST_RANGES: usize = 340;

/// A mapping as uid_map and gid_map take it.
pub fn map_text(ranges: &[IdMapping]) -> String {
    ranges.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect()
}

/// What the kernel asks of a mapping: it fits into a page, and no range is empty or overlaps another, on either side.
pub fn check_ranges(field: &str, ranges: &[IdMapping], findings: &mut Findings) {
    if ranges.len() > MOST_RANGES {
        findings.push(Error::at(field, format_args!("has more than {MOST_RANGES} ranges")));
        return;
    }
    let (length, page) = (map_text(ranges).len(), rustix::param::page_size());
    if length >= page {
        let message =
            format_args!("is a text of {length} bytes, and the kernel takes one of less than {page}");
        findings.push(Error::at(field, message));
        return;
    }
    for (index, range) in ranges.iter().enumerate() {
        let place = format!("{field}[{index}]");
        let last = |first: u32| first.checked_add(range.size);
        if range.size == 0 {
            findings.push(Error::at(format!("{place}.size"), "is 0"));
        } else if last(range.container_id).is_none() || last(range.host_id).is_none() {
            findings.push(Error::at(format!("{place}.size"), "reaches beyond the last id"));
        }
        let meets = |a: u32, b: u32, other: &IdMapping| {
            let end = |first: u32, of: &IdMapping| u64::from(first).saturating_add(of.size.into());
            u64::from(a) < end(b, other) && u64::from(b) < end(a, range)
        };
        let earlier = ranges.iter().take(index).position(|other| {
            meets(range.container_id, other.container_id, other) || meets(range.host_id, other.host_id, other)
        });
        if let Some(other) = earlier {
            findings.push(Error::at(place, format_args!("overlaps {field}[{other}]")));
        }
    }
}

fn is_mapped(map: &[IdMapping], id: u32) -> bool {
    map.iter().any(|range| id.checked_sub(range.container_id).is_some_and(|offset| offset < range.size))
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
        let mut findings = Findings::default();
        let result = Namespaces::resolve(&Linux { namespaces, ..Default::default() }, &mut findings);
        findings.into_result().map(|()| result)
    }

    #[test]
    fn user_namespace_is_joined_first() {
        let joined = resolve(&[("pid", "/p"), ("user", "/u"), ("cgroup", "")]).unwrap();
        assert_eq!(joined.join[0].0, libc::CLONE_NEWUSER);
        assert!(joined.create_cgroup && joined.create == 0);
    }

    #[test]
    fn ranges_are_what_the_kernel_takes() {
        let range = |container_id, host_id, size| IdMapping { container_id, host_id, size };
        for (ranges, expected) in [
            (vec![range(0, 1000, 10), range(10, 1010, 10)], None),
            (vec![range(0, 0, u32::MAX)], None),
            (vec![range(0, 1, 0)], Some("m[0].size: is 0")),
            (vec![range(1, 0, u32::MAX)], Some("m[0].size: reaches beyond the last id")),
            (vec![range(0, 0, 10), range(5, 100, 1)], Some("m[1]: overlaps m[0]")),
            (vec![range(0, 0, 10), range(10, 9, 5)], Some("m[1]: overlaps m[0]")),
        ] {
            let mut findings = Findings::default();
            check_ranges("m", &ranges, &mut findings);
            let found: Vec<String> = findings.into_all().iter().map(ToString::to_string).collect();
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{ranges:?}");
        }
    }

    #[test]
    fn mapping_of_a_page_is_refused() {
        let page = rustix::param::page_size();
        let ranges = |count: u32| -> Vec<IdMapping> {
            (0..count)
                .map(|id| IdMapping { container_id: id, host_id: 1_000_000 + id * 2, size: 1 })
                .collect()
        };
        let count = (0..).find(|count| map_text(&ranges(*count)).len() >= page).unwrap();
        let found = |count: u32| {
            let mut findings = Findings::default();
            check_ranges("m", &ranges(count), &mut findings);
            findings.into_all().first().map(ToString::to_string)
        };
        assert_eq!(found(count - 1), None);
        assert!(found(count).is_some_and(|text| text.contains("the kernel takes one of less than")));
        assert!(found(341).is_some_and(|text| text.contains("more than 340 ranges")));
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
