//! create, start, state, kill, delete, run, list (runtime.md).

use serde_json::json;
use wharf_tests::{Sandbox, is_ours, wait_until};

/// "Any changes made to config.json after this step will not affect the container." (runtime.md, "Lifecycle")
#[test]
fn config_is_read_once() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    sandbox.create().ok();
    sandbox.write_config("{}");
    assert_eq!(sandbox.state()["status"], "created");
    sandbox.verb(&["start", &sandbox.id]).ok();
    assert_eq!(sandbox.state()["status"], "running");
    if is_ours() {
        assert_eq!(sandbox.exec("hostname").ok(), "box\n");
    }
}

/// PID 1 gets no signal without a handler, and the container's init has to be ended by one before it is started.
#[test]
fn created_container_ends_by_a_signal() {
    for signal in ["HUP", "INT", "TERM"] {
        let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
        sandbox.create().ok();
        sandbox.verb(&["kill", &sandbox.id, signal]).ok();
        sandbox.wait_for_status("stopped");
        sandbox.verb(&["kill", &sandbox.id, "0"]).fails(1, &["container not running"]);
        sandbox.verb(&["delete", &sandbox.id]).ok();
        sandbox.assert_nothing_left();
    }
}

#[test]
fn processes_that_share_the_hosts_pids_are_killed_though_init_is_gone() {
    let sandbox = Sandbox::shell("sleep 1000 & exec sleep 1001", |c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
    });
    sandbox.start();
    let pids = || -> Vec<i32> {
        serde_json::from_str(&sandbox.verb(&["ps", "--format", "json", &sandbox.id]).ok()).unwrap()
    };
    wait_until("both processes", || pids().len() == 2);
    let init = sandbox.state()["pid"].to_string();
    assert!(std::process::Command::new("kill").args(["-9", &init]).status().unwrap().success());
    sandbox.wait_for_status("stopped");
    sandbox.verb(&["kill", &sandbox.id, "KILL"]).ok();
    wait_until("the end of both", || pids().is_empty());
    sandbox.verb(&["kill", &sandbox.id, "KILL"]).fails(1, &["container not running"]);
}

#[test]
fn list_wants_a_root_that_was_named() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    sandbox.verb(&["list"]).fails(1, &["no such file or directory"]);
    sandbox.create().ok();
    let text = sandbox.verb(&["list", "--format", "json"]).ok();
    let order = ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"];
    let places: Vec<_> = order.iter().map(|key| text.find(&format!("\"{key}\":")).unwrap()).collect();
    assert!(places.is_sorted() && text.contains("\"owner\":\"root\""), "{text}");
    sandbox.verb(&["delete", "--force", &sandbox.id]).ok();
    let none = sandbox.verb(&["list", "--format", "json"]).ok();
    assert_eq!(none.trim(), if wharf_tests::is_ours() { "[]" } else { "null" });
}

#[test]
fn life_goes_from_created_over_running_to_stopped_and_leaves_nothing() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |c| c["annotations"] = json!({"a": "b"}));
    sandbox.create().ok();
    let state = sandbox.state();
    assert_eq!((&state["status"], &state["annotations"]["a"]), (&json!("created"), &json!("b")));
    assert!(state["pid"].as_i64().unwrap() > 1);
    assert_eq!(state["bundle"].as_str().unwrap(), sandbox.bundle().to_str().unwrap());
    sandbox.verb(&["start", &sandbox.id]).ok();
    sandbox.wait_for_status("running");
    sandbox.verb(&["start", &sandbox.id]).fails(1, &["cannot start an already running container"]);
    sandbox.verb(&["delete", &sandbox.id]).fails(1, &["is not stopped"]);
    sandbox.verb(&["kill", &sandbox.id, "USR1"]).ok(); // not handled by PID 1, so nothing happens
    assert_eq!(sandbox.state()["status"], "running");
    sandbox.verb(&["kill", &sandbox.id, "9"]).ok();
    sandbox.wait_for_status("stopped");
    sandbox.verb(&["kill", &sandbox.id, "9"]).fails(1, &["container not running"]);
    sandbox.verb(&["start", &sandbox.id]).fails(1, &["cannot start a container that has stopped"]);
    sandbox.verb(&["delete", &sandbox.id]).ok();
    sandbox.assert_nothing_left();
    sandbox.verb(&["delete", &sandbox.id]).fails(1, &["does not exist"]);
    sandbox.verb(&["delete", "--force", &sandbox.id]).ok();
}

#[test]
fn force_deletes_a_running_and_a_created_container() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    for started in [true, false] {
        sandbox.create().ok();
        if started {
            sandbox.verb(&["start", &sandbox.id]).ok();
        }
        sandbox.verb(&["delete", "--force", &sandbox.id]).ok();
        sandbox.assert_nothing_left();
    }
}

#[test]
fn exit_code_is_the_programs_or_128_plus_the_signal() {
    let seven = Sandbox::shell("exit 7", |_| ());
    assert_eq!(seven.run().code, 7);
    seven.assert_nothing_left();
    let killed = Sandbox::shell("sh -c 'kill -9 $$'; exit $?", |_| ());
    assert_eq!(killed.run().code, 137);
}

#[test]
fn pid_file_holds_the_number_alone() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    let (file, bundle) = (sandbox.bundle().join("pid"), sandbox.bundle().to_str().unwrap().to_owned());
    sandbox.verb(&["create", "--bundle", &bundle, "--pid-file", file.to_str().unwrap(), &sandbox.id]).ok();
    assert_eq!(std::fs::read_to_string(file).unwrap(), sandbox.state()["pid"].to_string());
}

#[test]
fn pause_freezes_and_resume_thaws() {
    let sandbox = Sandbox::shell("while :; do date +%s%N > /tmp/now; done", |_| ());
    sandbox.start();
    let now = sandbox.rootfs().join("tmp/now");
    wait_until("a first time", || now.exists());
    sandbox.verb(&["pause", &sandbox.id]).ok();
    assert_eq!(sandbox.state()["status"], "paused");
    sandbox.verb(&["exec", &sandbox.id, "true"]).fails(255, &["cannot exec in a paused container"]);
    let frozen = std::fs::read(&now).unwrap();
    assert_eq!(std::fs::read(&now).unwrap(), frozen);
    sandbox.verb(&["resume", &sandbox.id]).ok();
    wait_until("time to go on", || std::fs::read(&now).unwrap() != frozen);
}

#[test]
fn bundle_path_alone_names_the_container() {
    if !is_ours() {
        return;
    }
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    let name = sandbox.bundle().file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(
        sandbox.verb(&["create", &format!("{}/", sandbox.bundle().display())]).ok(),
        format!("{name}\n")
    );
    assert!(sandbox.verb(&["state", &name]).ok().contains("\"created\""));
    sandbox.verb(&["delete", &name]).ok();
    sandbox.assert_nothing_left();
}

#[test]
fn list_and_ps_show_it_in_both_forms() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    sandbox.start();
    let table = sandbox.verb(&["list"]).ok();
    assert!(table.starts_with("ID ") && table.contains(&sandbox.id) && table.contains("running"), "{table}");
    // Columns are as wide as their widest text and three spaces, 12 at least.
    let heading = table.lines().next().unwrap();
    assert_eq!(heading.find("PID").unwrap(), (sandbox.id.len() + 3).max(12), "{table}");
    assert_eq!(
        heading.find("CREATED").unwrap() - heading.find("BUNDLE").unwrap(),
        sandbox.bundle().to_str().unwrap().len() + 3
    );
    let list: serde_json::Value =
        serde_json::from_str(&sandbox.verb(&["list", "--format", "json"]).ok()).unwrap();
    assert_eq!(list[0]["id"], sandbox.id.as_str());
    assert_eq!(sandbox.verb(&["list", "-q"]).ok(), format!("{}\n", sandbox.id));
    let pid = sandbox.state()["pid"].clone();
    assert_eq!(sandbox.verb(&["ps", "--format", "json", &sandbox.id]).ok().trim(), format!("[{pid}]"));
    assert!(sandbox.verb(&["ps", &sandbox.id]).ok().contains("sleep 1000"));
}
