//! Hooks (config.md, "POSIX-platform Hooks").

use serde_json::json;
use wharf_tests::{Sandbox, is_ours};

fn hook(script: &str) -> serde_json::Value {
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
}

#[test]
fn hooks_run_in_order_with_the_state_on_standard_input() {
    let folder = tempfile::TempDir::new().unwrap();
    let log = folder.path().join("log").display().to_string();
    // The shell's own `read`: hooks inside the container have no other programs than its own.
    let note = |name: &str| hook(&format!("read -r s; echo {name} \"$s\" >> {log}"));
    let sandbox = Sandbox::shell("cat /tmp/inside", |c| {
        c["hooks"] = json!({
            "prestart": note("prestart"), "createRuntime": note("createRuntime"), "createContainer": note("createContainer"),
            "startContainer": hook("read -r s; echo startContainer $s > /tmp/inside"),
            "poststart": note("poststart"), "poststop": note("poststop"),
        });
    });
    let said = sandbox.run();
    let text = std::fs::read_to_string(log).unwrap();
    let order: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(order, ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]);
    assert!(said.ok().starts_with("startContainer {"));
    if !is_ours() {
        return;
    }
    let status = |line: &str| {
        let state: serde_json::Value = serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
        assert_eq!(state["id"], sandbox.id.as_str());
        state["status"].as_str().unwrap().to_owned()
    };
    let statuses: Vec<String> = text.lines().map(status).collect();
    assert_eq!(statuses, ["created", "created", "created", "running", "stopped"]);
}

#[test]
fn failing_hook_undoes_the_create_and_its_output_is_shown() {
    let sandbox =
        Sandbox::shell("true", |c| c["hooks"] = json!({"createRuntime": hook("echo because >&2; exit 3")}));
    sandbox.run().fails(1, &["because"]);
    sandbox.assert_nothing_left();
}

/// "If any poststop hook fails, the runtime MUST log a warning, but the remaining hooks and lifecycle continue
/// as if the hook had succeeded." (runtime.md)
#[test]
fn failing_poststop_hook_is_a_warning_and_the_next_runs() {
    if !is_ours() {
        return;
    }
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("ran");
    let sandbox = Sandbox::shell("true", |c| {
        c["hooks"] = json!({"poststop": [
            {"path": "/bin/false"}, {"path": "/bin/touch", "args": ["touch", file]},
        ]});
    });
    let said = sandbox.run();
    assert!(said.err.contains("warning"), "{said:?}");
    said.ok();
    assert!(file.exists());
}

#[test]
fn hook_that_takes_too_long_is_killed() {
    let sandbox = Sandbox::shell("true", |c| {
        c["hooks"] = json!({"prestart": [{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]});
    });
    assert_eq!(sandbox.run().code, 1);
    sandbox.assert_nothing_left();
}

#[test]
fn failed_hook_is_named_by_kind_number_and_cause() {
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
        let sandbox = Sandbox::shell("sleep 1000", |c| {
            c["hooks"] = json!({kind: [{"path": "/bin/true"}, {"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $$"]}]});
        });
        let said = sandbox.run();
        said.fails(1, &[&format!("error running {kind} hook #1:"), "signal: killed"]);
        sandbox.assert_nothing_left();
    }
}

/// Where the config gives a hook no environment, one that runs in the container has the program's.
#[test]
fn hook_in_the_container_has_the_environment_of_its_program_unless_it_has_its_own() {
    let sandbox = Sandbox::shell("cat /tmp/env", |c| {
        c["process"]["env"] = json!(["PATH=/bin", "ONE=two"]);
        c["hooks"] = json!({"startContainer": [
            {"path": "/bin/sh", "args": ["sh", "-c", "echo $ONE $HOME > /tmp/env"]},
            {"path": "/bin/sh", "args": ["sh", "-c", "/bin/busybox env | /bin/busybox grep -v -e PATH -e PWD -e SHLVL -e '^_' >> /tmp/env"], "env": ["A=b=c"]},
        ]});
    });
    assert_eq!(sandbox.run().ok(), "two /root\nA=b=c\n");
}

#[test]
fn create_container_hook_starts_in_the_root_file_system() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("where");
    let sandbox = Sandbox::shell("true", |c| {
        c["hooks"] = json!({"createContainer": hook(&format!("pwd > {}", file.display()))});
    });
    sandbox.run().ok();
    assert_eq!(std::fs::read_to_string(file).unwrap().trim(), sandbox.rootfs().to_str().unwrap());
}
