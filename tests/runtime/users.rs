//! Namespaces created and joined, and user namespaces (config-linux.md, "Namespaces").

use serde_json::json;
use wharf_tests::{Sandbox, is_ours};

#[test]
fn user_namespace_maps_ids_and_binds_devices() {
    let sandbox = Sandbox::shell(
        "id -u; cat /proc/self/uid_map | tr -s ' '; echo x > /dev/null && echo null; hostname",
        |c| {
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            let map = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
            c["linux"]["uidMappings"] = map.clone();
            c["linux"]["gidMappings"] = map;
        },
    );
    for folder in ["", "dev", "proc", "sys", "tmp"] {
        std::os::unix::fs::chown(sandbox.rootfs().join(folder), Some(100_000), Some(100_000)).unwrap();
    }
    let parents = sandbox.bundle().ancestors().next().unwrap();
    std::fs::set_permissions(parents, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(sandbox.run().ok(), "0\n 0 100000 65536\nnull\nbox\n");
    sandbox.assert_nothing_left();
}

/// "If a namespace type is not specified ... the container MUST inherit the runtime namespace of that type."
#[test]
fn namespace_is_created_joined_or_inherited() {
    let holder = Sandbox::new(&["sleep", "1000"], |_| ());
    holder.start();
    let pid = holder.state()["pid"].clone();
    let sandbox = Sandbox::shell("readlink /proc/self/ns/net; readlink /proc/self/ns/ipc", |c| {
        c["linux"]["namespaces"] = json!([{"type": "pid"}, {"type": "mount"}, {"type": "uts"},
            {"type": "network", "path": format!("/proc/{pid}/ns/net")}]);
    });
    let link = |who: &str, kind: &str| {
        std::fs::read_link(format!("/proc/{who}/ns/{kind}")).unwrap().display().to_string()
    };
    let expected = format!("{}\n{}\n", link(&pid.to_string(), "net"), link("self", "ipc"));
    assert_eq!(sandbox.run().ok(), expected);
}

#[test]
fn path_of_another_kind_and_duplicates_are_refused() {
    let wrong = Sandbox::shell("true", |c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "network");
        c["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .push(json!({"type": "network", "path": "/proc/self/ns/ipc"}));
    });
    assert_eq!(wrong.run().code, 1);
    wrong.assert_nothing_left();
    let twice = Sandbox::shell("true", |c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "pid"}))
    });
    assert_eq!(twice.run().code, 1);
}

#[test]
fn new_network_namespace_has_loopback_up() {
    let sandbox = Sandbox::shell("ip link show lo | head -1 | grep -o 'LOOPBACK,UP'", |_| ());
    assert_eq!(sandbox.run().ok(), "LOOPBACK,UP\n");
}

/// Joined are a user namespace of another container and a network namespace that it has no power over.
#[test]
fn namespaces_of_different_owners_are_joined_together() {
    if !is_ours() {
        return; // runc can since 1.3
    }
    let holder = Sandbox::new(&["sleep", "1000"], |c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        c["linux"]["uidMappings"] = map.clone();
        c["linux"]["gidMappings"] = map;
    });
    searchable(&holder);
    holder.start();
    let pid = holder.state()["pid"].clone();
    let sandbox = Sandbox::new(&["sleep", "1000"], |c| {
        c["mounts"].as_array_mut().unwrap().retain(|mount| mount["type"] != "sysfs");
        c["linux"]["namespaces"] = json!([{"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"},
            {"type": "user", "path": format!("/proc/{pid}/ns/user")},
            {"type": "network", "path": "/proc/self/ns/net"}]);
    });
    searchable(&sandbox);
    let link = |who: &str, kind: &str| std::fs::read_link(format!("/proc/{who}/ns/{kind}")).unwrap();
    let (user, net) = (link(&pid.to_string(), "user"), link("self", "net"));
    sandbox.start();
    let init = sandbox.state()["pid"].to_string();
    assert_eq!((link(&init, "user"), link(&init, "net")), (user.clone(), net.clone()));
    let shown = sandbox.exec("id -u; readlink /proc/self/ns/user; readlink /proc/self/ns/net").ok();
    assert_eq!(shown, format!("0\n{}\n{}\n", user.display(), net.display()));
}

fn searchable(sandbox: &Sandbox) {
    std::fs::set_permissions(sandbox.bundle(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
}

/// The kernel lets nobody but its user in; the runtime has lost its power when it tries.
#[test]
fn working_directory_of_another_user_is_entered_by_power_and_own_one_without() {
    let sandbox = Sandbox::shell("pwd", |c| {
        c["process"]["cwd"] = json!("/closed");
        c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        c["process"]["capabilities"] = json!({});
    });
    let closed = sandbox.rootfs().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(sandbox.run().ok(), "/closed\n");
}
