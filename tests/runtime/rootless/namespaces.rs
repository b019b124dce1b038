//! User namespaces that are there already: somebody else's, the caller's own, and a container's around us.

use serde_json::{Value, json};
use wharf_tests::user::USER;
use wharf_tests::{fill_rootfs, is_ours};

use super::{Home, map_ranges};

fn push_namespace(config: &mut Value, kind: &str, pid: i64) {
    let file = match kind {
        "mount" => "mnt",
        "network" => "net",
        other => other,
    };
    let list = config["linux"]["namespaces"].as_array_mut().unwrap();
    list.retain(|namespace| namespace["type"] != kind);
    list.push(json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")}));
}

/// They are the joined namespace's. runc 1.1 insists on some all the same.
fn leave_out_mappings(config: &mut Value) {
    if is_ours() {
        config["linux"].as_object_mut().unwrap().remove("uidMappings");
        config["linux"].as_object_mut().unwrap().remove("gidMappings");
    } else {
        map_ranges(config);
    }
}

#[test]
fn user_namespace_of_another_container_is_joined() {
    let holder = Home::shell("sleep 1000", |c| {
        map_ranges(c);
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "network"}));
    });
    holder.start();
    let pid = holder.pid();
    let guest = Home::shell("id -u; for kind in user net ipc; do readlink /proc/self/ns/$kind; done", |c| {
        leave_out_mappings(c);
        for kind in ["user", "network", "ipc"] {
            push_namespace(c, kind, pid);
        }
        c["process"]["user"] = json!({"uid": 5, "gid": 6});
    });
    let link =
        |kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string();
    let expected = format!("5\n{}\n{}\n{}\n", link("user"), link("net"), link("ipc"));
    assert_eq!(guest.run().ok(), expected);
    guest.assert_nothing_left();
}

#[test]
fn exec_enters_a_container_in_a_joined_user_namespace() {
    let holder = Home::shell("sleep 1000", |_| ());
    holder.start();
    let pid = holder.pid();
    let guest = Home::shell("sleep 1000", |c| {
        leave_out_mappings(c);
        push_namespace(c, "user", pid);
    });
    guest.verb(&["create", &guest.sandbox.id]).ok();
    if is_ours() {
        assert_eq!(guest.exec("id -u").ok(), "0\n", "before start");
    }
    guest.verb(&["start", &guest.sandbox.id]).ok();
    assert_eq!(guest.exec("hostname").ok(), "box\n");
}

/// As engines for ordinary users do: they become root of a user namespace, and the runtime is started there.
#[test]
fn root_of_a_user_namespace_needs_no_further_one() {
    let home = Home::shell("id -u; tr -s ' ' < /proc/self/uid_map", |c| {
        let linux = c["linux"].as_object_mut().unwrap();
        linux.remove("uidMappings");
        linux.remove("gidMappings");
        linux["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "user");
    });
    let runtime = home.runtime();
    let said = home.run_as_user(&["unshare", "-Ur", "--", &runtime, "run", &home.sandbox.id]);
    assert_eq!(said.ok(), format!("0\n 0 {} 1\n", USER));
    home.assert_nothing_left();
}

#[test]
fn root_of_a_user_namespace_may_make_one_below() {
    if !is_ours() {
        return; // runc 1.1 can't open the sources of bind mounts there
    }
    let home = Home::shell("id -u; tr -s ' ' < /proc/self/uid_map", |c| {
        let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
        c["linux"]["uidMappings"] = map.clone();
        c["linux"]["gidMappings"] = map;
    });
    let runtime = home.runtime();
    let script = format!(
        "{runtime} create $0 && {runtime} exec $0 id -u && {runtime} delete -f $0 && {runtime} run $0"
    );
    let said = home.run_as_user(&["unshare", "-Ur", "--", "sh", "-c", &script, &home.sandbox.id]);
    assert_eq!(said.ok(), "0\n0\n 0 0 1\n");
    home.assert_nothing_left();
}

#[test]
fn container_runs_in_a_container() {
    let home = Home::shell("cd /inner && /runtime --root /tmp/state run inner", |c| {
        c["process"]["env"].as_array_mut().unwrap().push(json!("USER=root"));
        map_ranges(c);
    });
    if !home.path("runtime").exists() {
        return; // a runtime on PATH may need libraries that the container has not
    }
    std::fs::rename(home.path("runtime"), home.path("rootfs/runtime")).unwrap();
    wharf_tests::copy_program(&home.path("rootfs/runtime"), &home.path("runtime"));
    let inner = home.path("rootfs/inner/rootfs");
    std::fs::create_dir_all(&inner).unwrap();
    fill_rootfs(&inner);
    let mut config =
        wharf_tests::base_config(&["sh", "-c", "id -u; id -g; hostname; tr -s ' ' < /proc/self/uid_map"]);
    config["hostname"] = json!("inner");
    config["process"]["user"] = json!({"uid": 3, "gid": 4});
    let map = json!([{"containerID": 0, "hostID": 100, "size": 50}]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
    config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    std::fs::write(home.path("rootfs/inner/config.json"), config.to_string()).unwrap();
    let status = std::process::Command::new("chown")
        .args(["-Rh", &format!("{}:{}", super::SUB.0 + 99, super::SUB.0 + 99)])
        .arg(home.path("rootfs/inner"))
        .status();
    assert!(status.unwrap().success());
    assert_eq!(home.run().ok(), "3\n4\ninner\n 0 100 50\n");
    home.assert_nothing_left();
}

#[test]
fn namespace_out_of_reach_is_not_said_to_be_missing() {
    let path = format!("/proc/{}/ns/net", std::process::id()); // root's
    let home = Home::shell("true", |c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "network", "path": path}));
    });
    let words: &[&str] = if is_ours() { &["linux.namespaces", &path, "permission denied"] } else { &[&path] };
    home.run().fails(1, words);
    home.assert_nothing_left();
}
