//! Ranges of ids, and the options of mounts.

use std::path::Path;

use libc::{
    MOUNT_ATTR__ATIME as ATIME, MOUNT_ATTR_NOATIME as NOATIME, MOUNT_ATTR_STRICTATIME as STRICTATIME,
};

use super::choices::Choices;
use crate::plan::findings::Findings;
use crate::plan::mounts::idmap::parse_idmap;
use crate::plan::mounts::{Ids, Places, resolve_all};
use crate::plan::namespaces::{Namespaces, check_ranges};
use crate::plan::ownership::on_host;
use crate::spec::{IdMapping, Linux, Mount, Namespace};
use crate::sys::mount::MountAttr;

/// Id mappings: what passes is what the kernel takes, and ids go through it as through the kernel's.
pub fn id_maps(input: &[u8]) {
    let mut choices = Choices(input);
    let uid_mappings = ranges(&mut choices);
    let gid_mappings = ranges(&mut choices);
    for map in [&uid_mappings, &gid_mappings] {
        let mut findings = Findings::default();
        check_ranges("linux.uidMappings", map, &mut findings);
        assert_eq!(findings.into_all().is_empty(), kernel_takes_map(map), "{map:?}");
    }
    let linux = Linux {
        namespaces: vec![Namespace { kind: "user".into(), path: String::new() }],
        uid_mappings,
        gid_mappings,
        ..Linux::default()
    };
    let mut findings = Findings::default();
    let namespaces = Namespaces::resolve(&linux, &mut findings);
    if findings.into_result().is_err() {
        return;
    }
    for id in [choices.id(), choices.id(), 0, u32::MAX] {
        let outside = map_id(&namespaces.uid_map, id);
        assert_eq!(on_host(id, &namespaces.uid_map), outside);
        let group = map_id(&namespaces.gid_map, id);
        let is_mapped = namespaces.check_user((id, id), &[id]).is_ok();
        assert_eq!(is_mapped, outside.is_some() && group.is_some(), "{id} {namespaces:?}");
    }
    // The rest is the text of an option.
    let text = String::from_utf8_lossy(choices.0);
    if let Ok(Ids::Ranges(uids, gids)) = parse_idmap(&text, &namespaces) {
        assert!(!uids.is_empty() && !gids.is_empty());
    }
}

fn ranges(choices: &mut Choices<'_>) -> Vec<IdMapping> {
    let count = match choices.byte() {
        255 => 341,
        many => u16::from(many) % 6,
    };
    let one = |_| IdMapping { container_id: choices.id(), host_id: choices.id(), size: choices.id() };
    (0..count).map(one).collect()
}

/// kernel/user_namespace.c, map_write and mappings_overlap.
fn kernel_takes_map(map: &[IdMapping]) -> bool {
    let last = |first: u32, size: u32| u64::from(first) + u64::from(size) - 1;
    let apart = |a: u32, n: u32, b: u32, m: u32| u64::from(a) > last(b, m) || u64::from(b) > last(a, n);
    let fits = |range: &IdMapping| {
        let (from, to, size) = (range.container_id, range.host_id, range.size);
        size > 0 && from.checked_add(size).is_some() && to.checked_add(size).is_some()
    };
    map.len() <= 340
        && map.iter().all(fits)
        && map.iter().enumerate().all(|(at, one)| {
            map[..at].iter().all(|other| {
                apart(one.container_id, one.size, other.container_id, other.size)
                    && apart(one.host_id, one.size, other.host_id, other.size)
            })
        })
}

/// kernel/user_namespace.c, map_id_down.
fn map_id(map: &[IdMapping], id: u32) -> Option<u32> {
    let range = map.iter().find(|range| {
        let (first, id) = (u64::from(range.container_id), u64::from(id));
        (first..first + u64::from(range.size)).contains(&id)
    })?;
    Some(range.host_id + (id - range.container_id))
}

/// The options of a mount, a line each: whatever comes out is what mount_setattr(2) and fsmount(2) take.
pub fn mount_options(input: &[u8]) {
    let mut choices = Choices(input);
    let kind = choices.one(&["tmpfs", "none", "", "proc", "cgroup", "bind", "overlay", "ext4"]).to_owned();
    let existing = u64::from(choices.byte());
    let text = String::from_utf8_lossy(choices.0);
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default().to_owned();
    let (destination, source) = (next().into(), next());
    let options = lines.map(str::to_owned).collect();
    let mount = Mount { destination, kind, source, options, ..Mount::default() };
    let namespaces = Namespaces { create: libc::CLONE_NEWNS as u64, ..Namespaces::default() };
    let places = Places { bundle: Path::new("/bundle"), rootfs: Path::new("/bundle/rootfs") };
    for step in resolve_all(&[mount], places, &namespaces, &mut Findings::default()) {
        assert!(step.destination.is_absolute());
        // fs/namespace.c, fsmount: one way to keep access times.
        let new = step.flags.of_new();
        assert!(matches!(new.set & ATIME, 0 | NOATIME | STRICTATIME), "{new:?}");
        assert_eq!(new.clear, 0);
        kernel_takes(step.flags.of_existing());
        kernel_takes(step.recursive_attr);
        if let Some(attr) = step.flags.of_locked(existing) {
            kernel_takes(attr);
            let locked = libc::MOUNT_ATTR_RDONLY
                | libc::MOUNT_ATTR_NOSUID
                | libc::MOUNT_ATTR_NODEV
                | libc::MOUNT_ATTR_NOEXEC;
            assert_eq!(attr.clear & existing & locked, 0, "{attr:?} takes a lock off {existing:#x}");
        }
    }
}

/// fs/namespace.c, build_mount_kattr; our call clears the whole field of access times where one is set.
fn kernel_takes(attr: MountAttr) {
    let (set, clear) = (attr.set & ATIME, attr.clear & ATIME);
    assert!(matches!(set, 0 | NOATIME | STRICTATIME), "{attr:?}");
    assert!(clear == 0 || clear == ATIME || set != 0, "{attr:?}");
    assert_eq!(attr.set & attr.clear & !ATIME, 0, "{attr:?}");
}
