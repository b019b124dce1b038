//! config-linux.md: "Namespaces" and "User namespace mappings".

use serde_json::{Value, json};

use crate::container::{
    Container, accepted, add, add_namespace, add_user_namespace, inside, refused, remove_namespace, required,
};
use crate::requirement::Tried;
use crate::world::{Holder, namespace, need};

section! { SECTION = "config-linux.md" # "configLinuxNamespaces";
    "type (string, REQUIRED) - namespace type." => [namespace_without_a_type_is_refused],
    "The following namespace types SHOULD be supported:" => [
        pid_namespace_hides_other_processes, network_namespace_has_its_own_devices,
        mount_namespace_has_its_own_mounts, ipc_namespace_has_its_own_queues, uts_namespace_has_its_own_name,
        user_namespace_maps_ids, cgroup_namespace_hides_the_path, time_namespace_has_its_own_clocks],
    "This value MUST be an absolute path in the runtime mount namespace." => [relative_namespace_path_is_refused],
    "The runtime MUST place the container process in the namespace associated with that path." => [
        container_joins_the_namespace_of_a_path, container_joins_a_pid_namespace, container_joins_a_user_namespace],
    "The runtime MUST generate an error if path is not associated with a namespace of type type." => [
        path_of_another_type_is_refused, path_of_no_namespace_is_refused],
    "If path is not specified, the runtime MUST create a new container namespace of type type." => [
        namespaces_without_a_path_are_new],
    "If a namespace type is not specified in the namespaces array, the container MUST inherit the runtime namespace of that type." => [
        namespaces_that_are_not_listed_are_the_runtimes],
    "If a namespaces field contains duplicated namespaces with same type, the runtime MUST generate an error." => [
        duplicate_namespaces_are_refused],
}

section! { MAPPINGS = "config-linux.md" # "configLinuxUserNamespaceMappings";
    "containerID (uint32, REQUIRED) - is the starting uid/gid in the container." => [mapping_without_a_container_id_is_refused],
    "hostID (uint32, REQUIRED) - is the starting uid/gid on the host to be mapped to containerID." => [mapping_without_a_host_id_is_refused],
    "size (uint32, REQUIRED) - is the number of ids to be mapped." => [mapping_without_a_size_is_refused],
    "The runtime SHOULD NOT modify the ownership of referenced filesystems to realize the mapping." => [
        mapping_leaves_the_owners_of_files_alone],
}

/// Types of the config and their files in /proc/PID/ns.
const FILES: [(&str, &str); 8] = [
    ("pid", "pid"),
    ("network", "net"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("user", "user"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

/// A container with all eight namespaces.
fn everything(c: &mut Value) {
    add_user_namespace(c);
    add_namespace(c, json!({"type": "cgroup"}));
    add_namespace(c, json!({"type": "time"}));
}

fn namespace_without_a_type_is_refused() {
    refused(|c| add(&mut c["linux"]["namespaces"], json!({})));
    refused(|c| add(&mut c["linux"]["namespaces"], json!({"path": "/proc/self/ns/net"})));
}

fn pid_namespace_hides_other_processes() {
    assert_eq!(inside("echo $$; ls -d /proc/[0-9]* | wc -l", |_| ()).lines().next().unwrap(), "1");
    let out = inside("for p in /proc/[0-9]*; do echo $p; done", |_| ());
    assert_eq!(out, "/proc/1\n");
}

fn network_namespace_has_its_own_devices() {
    assert_eq!(inside("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '", |_| ()), "lo\n");
}

fn mount_namespace_has_its_own_mounts() {
    let container = Container::sleeping(|_| ()).started();
    let own = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!own.contains(container.rootfs().to_str().unwrap()), "{own}");
    let theirs = std::fs::read_to_string(format!("/proc/{}/mountinfo", container.pid())).unwrap();
    assert!(!theirs.contains(" /sys/fs/cgroup/"), "mounts of the host: {theirs}");
}

fn ipc_namespace_has_its_own_queues() {
    let out = inside("cd /proc/sys/kernel; echo 7 > msgmni; cat msgmni; wc -l < /proc/sysvipc/shm", |_| ());
    assert_eq!(out, "7\n1\n");
    assert_ne!(std::fs::read_to_string("/proc/sys/kernel/msgmni").unwrap(), "7\n");
}

fn uts_namespace_has_its_own_name() {
    let before = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let out = inside("hostname; hostname other; hostname", |c| {
        c["hostname"] = json!("uts-of-its-own");
        for set in ["bounding", "permitted", "effective"] {
            c["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
        }
    });
    assert_eq!(out, "uts-of-its-own\nother\n");
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before);
}

fn user_namespace_maps_ids() {
    let script = "cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '; id -u; id -g";
    let container = Container::shell(script, add_user_namespace).give_away();
    assert_eq!(container.run().ok(), " 0 100000 65536\n 0 100000 65536\n0\n0\n");
}

fn cgroup_namespace_hides_the_path() {
    let out =
        inside("cut -d: -f3 /proc/self/cgroup | sort -u", |c| add_namespace(c, json!({"type": "cgroup"})));
    assert_eq!(out, "/\n");
}

/// Of the property `timeOffsets` too.
pub fn time_namespace_has_its_own_clocks() -> Tried {
    need("/proc/self/timens_offsets", "no time namespaces (CONFIG_TIME_NS)")?;
    let out = inside("cut -d. -f1 /proc/uptime; tr -s ' ' < /proc/self/timens_offsets", |c| {
        add_namespace(c, json!({"type": "time"}));
        c["linux"]["timeOffsets"] = json!({
            "boottime": {"secs": 1_000_000, "nanosecs": 250_000_000},
            "monotonic": {"secs": -1},
        });
    });
    let lines: Vec<&str> = out.lines().map(str::trim).collect();
    assert!(lines[0].parse::<u64>().unwrap() >= 1_000_000, "{out}");
    assert_eq!(lines[1..], ["monotonic -1 0", "boottime 1000000 250000000"]);
    Ok(())
}

fn relative_namespace_path_is_refused() {
    let holder = Holder::of(&["--net"]);
    let relative = format!("../../../../../..{}", holder.path("net"));
    refused(|c| add_namespace(c, json!({"type": "network", "path": relative})));
}

fn container_joins_the_namespace_of_a_path() {
    let holder = Holder::of(&["--net", "--ipc", "--uts", "--cgroup"]);
    let files = ["net", "ipc", "uts", "cgroup"];
    let out = inside("for n in net ipc uts cgroup; do readlink /proc/self/ns/$n; done", |c| {
        c.as_object_mut().unwrap().remove("hostname");
        for (kind, file) in FILES.iter().filter(|(_, file)| files.contains(file)) {
            add_namespace(c, json!({"type": kind, "path": holder.path(file)}));
        }
    });
    let expected: Vec<String> = files.iter().map(|file| namespace(&holder.path(file))).collect();
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
}

/// The process is one of those there, and not the first.
fn container_joins_a_pid_namespace() {
    let holder = Holder::of(&["--pid", "--fork", "--kill-child"]);
    let path = holder.path("pid_for_children");
    let out = inside("readlink /proc/self/ns/pid; echo $$", |c| {
        add_namespace(c, json!({"type": "pid", "path": path}))
    });
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], namespace(&path));
    assert_ne!(lines[1], "1");
}

fn container_joins_a_user_namespace() {
    let holder = Holder::of(&["--user"]).with_mapped_ids();
    let path = holder.path("user");
    let container = Container::shell("readlink /proc/self/ns/user; id -u", |c| {
        add_namespace(c, json!({"type": "user", "path": path}));
    });
    let said = container.give_away().run();
    assert_eq!(said.ok(), format!("{}\n0\n", namespace(&path)));
}

fn path_of_another_type_is_refused() {
    let holder = Holder::of(&["--net", "--uts"]);
    refused(|c| add_namespace(c, json!({"type": "network", "path": holder.path("uts")})));
    refused(|c| {
        c.as_object_mut().unwrap().remove("hostname");
        add_namespace(c, json!({"type": "uts", "path": holder.path("net")}));
    });
}

fn path_of_no_namespace_is_refused() {
    for path in ["/nosuch", "/etc/passwd", "/proc/self/ns"] {
        refused(|c| add_namespace(c, json!({"type": "network", "path": path})));
    }
}

fn namespaces_without_a_path_are_new() -> Tried {
    need("/proc/self/ns/time", "no time namespaces (CONFIG_TIME_NS)")?;
    let container = Container::shell("for n in $N; do readlink /proc/self/ns/$n; done", |c| {
        everything(c);
        let names = FILES.map(|(_, file)| file).join(" ");
        c["process"]["env"] = json!(["PATH=/bin", format!("N={names}")]);
    });
    let out = container.give_away().run().ok();
    for ((kind, file), seen) in FILES.iter().zip(out.lines()) {
        assert_ne!(seen, namespace(&format!("/proc/self/ns/{file}")), "{kind}");
    }
    assert_eq!(out.lines().count(), FILES.len());
    Ok(())
}

fn namespaces_that_are_not_listed_are_the_runtimes() {
    let container = Container::sleeping(|c| {
        for kind in ["network", "ipc", "uts", "pid"] {
            remove_namespace(c, kind);
        }
        c.as_object_mut().unwrap().remove("hostname");
    });
    let container = container.started();
    for file in ["net", "ipc", "uts", "pid", "user", "cgroup"] {
        let theirs = namespace(&format!("/proc/{}/ns/{file}", container.pid()));
        assert_eq!(theirs, namespace(&format!("/proc/self/ns/{file}")), "{file}");
    }
    container.stop();
}

fn duplicate_namespaces_are_refused() {
    for kind in ["pid", "network", "mount", "ipc", "uts"] {
        refused(|c| add(&mut c["linux"]["namespaces"], json!({"type": kind})));
    }
}

#[track_caller]
fn mapping_without(field: &str) {
    let half = || {
        let mut entry = json!({"containerID": 70_000, "hostID": 200_000, "size": 1});
        entry.as_object_mut().unwrap().remove(field);
        entry
    };
    let whole = json!({"containerID": 70_000, "hostID": 200_000, "size": 1});
    accepted_mapping(&whole, &whole);
    for (uids, gids) in [(half(), whole.clone()), (whole, half())] {
        let container = Container::shell("true", |c| map(c, &uids, &gids)).give_away();
        assert_ne!(container.create().code, 0, "{field} is not missed in {uids} {gids}");
        container.is_gone();
    }
}

fn map(c: &mut Value, uids: &Value, gids: &Value) {
    add_user_namespace(c);
    add(&mut c["linux"]["uidMappings"], uids.clone());
    add(&mut c["linux"]["gidMappings"], gids.clone());
}

#[track_caller]
fn accepted_mapping(uids: &Value, gids: &Value) {
    Container::shell("true", |c| map(c, uids, gids)).give_away().run().ok();
}

fn mapping_without_a_container_id_is_refused() {
    mapping_without("containerID");
}

fn mapping_without_a_host_id_is_refused() {
    mapping_without("hostID");
}

fn mapping_without_a_size_is_refused() {
    mapping_without("size");
}

fn mapping_leaves_the_owners_of_files_alone() {
    use std::os::unix::fs::MetadataExt as _;
    let container = Container::shell("stat -c %u /etc/passwd", add_user_namespace).give_away();
    let owner = || {
        let file = container.rootfs().join("etc/passwd").metadata().unwrap();
        (file.uid(), file.gid())
    };
    container.command(); // from here on an ordinary user has the bundle
    let before = owner();
    assert_eq!(container.run().ok(), "65534\n");
    assert_eq!(owner(), before);
    accepted(|_| ());
}

/// Of the property `uidMappings`: both fields of an entry may be anything, and there may be several.
pub fn several_mappings_are_as_configured() {
    let container = Container::shell("tr -s ' ' < /proc/self/uid_map", |c| {
        let entry = json!({"containerID": 70_000, "hostID": 300_000, "size": 10});
        map(c, &entry, &entry);
    });
    assert_eq!(container.give_away().run().ok(), " 0 100000 65536\n 70000 300000 10\n");
    required("/linux/namespaces/0/type", |_| ());
}
