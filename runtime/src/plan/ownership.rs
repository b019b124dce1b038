//! Who owns the container's control group (config-linux.md, "Cgroup ownership"): the user that its process runs
//! as, so that a systemd in there can make groups of its own. Only on cgroup v2, in a new cgroup namespace and
//! with a writable cgroup mount; everywhere else it would be of no use, or not safe.

use std::path::Path;

use crate::spec::{IdMapping, Mount, Spec};

/// The host's user id that gets the control group, if somebody does. Of a user namespace that is joined the
/// mapping is not ours to know, so it stays with us there.
pub fn cgroup_owner(spec: &Spec) -> Option<u32> {
    let linux = spec.linux.as_ref()?;
    let uid = spec.process.as_ref()?.user.uid;
    let namespace = |kind: &str| linux.namespaces.iter().find(|namespace| namespace.kind == kind);
    let has_own = |kind: &str| namespace(kind).is_some_and(|namespace| namespace.path.is_empty());
    if !has_own("cgroup") || !spec.mounts.iter().any(is_writable_cgroup) {
        return None;
    }
    match namespace("user") {
        None => Some(uid),
        Some(_) if has_own("user") => on_host(uid, &linux.uid_mappings),
        Some(_) => None,
    }
}

fn is_writable_cgroup(mount: &Mount) -> bool {
    let writes = |option: &String| match option.as_str() {
        "ro" | "rro" => Some(false),
        "rw" | "rrw" => Some(true),
        _ => None,
    };
    mount.source == "cgroup"
        && mount.destination.components().eq(Path::new("/sys/fs/cgroup").components())
        && mount.options.iter().rev().find_map(writes).unwrap_or(true)
}

pub(crate) fn on_host(uid: u32, maps: &[IdMapping]) -> Option<u32> {
    let offset = |map: &IdMapping| uid.checked_sub(map.container_id).filter(|offset| *offset < map.size);
    maps.iter().find_map(|map| map.host_id.checked_add(offset(map)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_is_the_processes_user_where_all_conditions_hold() {
        let owner = |uid: u32, namespaces: &str, options: &str| {
            let text = format!(
                r#"{{"ociVersion":"1.0.2","process":{{"user":{{"uid":{uid},"gid":0}},"cwd":"/"}},
                "mounts":[{{"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup","options":[{options}]}}],
                "linux":{{"namespaces":[{namespaces}],
                "uidMappings":[{{"containerID":0,"hostID":5000,"size":1}},{{"containerID":1,"hostID":7000,"size":9}}]}}}}"#
            );
            cgroup_owner(&serde_json::from_str(&text).unwrap())
        };
        let (own, user) = (r#"{"type":"cgroup"}"#, r#"{"type":"cgroup"},{"type":"user"}"#);
        assert_eq!(owner(0, user, ""), Some(5000));
        assert_eq!(owner(3, user, r#""ro","rw""#), Some(7002));
        assert_eq!(owner(10, user, ""), None);
        assert_eq!(owner(3, own, ""), Some(3));
        assert_eq!(owner(3, own, r#""nosuid","ro""#), None);
        assert_eq!(owner(3, r#"{"type":"user"}"#, ""), None);
        assert_eq!(owner(3, r#"{"type":"cgroup","path":"/proc/1/ns/cgroup"}"#, ""), None);
        assert_eq!(owner(3, r#"{"type":"cgroup"},{"type":"user","path":"/proc/1/ns/user"}"#, ""), None);
    }
}
