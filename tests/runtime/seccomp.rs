//! The system call filter, as the container's programs meet it (config-linux.md, "Seccomp").

use std::os::unix::net::UnixListener;

use serde_json::{Value, json};
use wharf_tests::{Sandbox, is_ours};

fn filtered(script: &str, seccomp: Value) -> Sandbox {
    Sandbox::shell(script, |c| c["linux"]["seccomp"] = seccomp)
}

#[test]
fn denied_call_gets_its_errno_and_others_go_through() {
    let rules = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]);
    let sandbox = filtered(
        "mkdir /tmp/x 2>&1; touch /tmp/y && echo fine",
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}),
    );
    let out = sandbox.run().ok();
    assert!(out.contains("No space left on device") && out.ends_with("fine\n"), "{out}");
}

#[test]
fn killing_action_kills() {
    let rules = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}]);
    let sandbox =
        filtered("mkdir /tmp/x; echo $?", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    assert_eq!(sandbox.run().ok(), "159\n");
}

#[test]
fn filter_is_in_force_with_and_without_no_new_privileges() {
    for no_new_privileges in [true, false] {
        let sandbox = Sandbox::shell("grep Seccomp: /proc/self/status", |c| {
            c["process"]["noNewPrivileges"] = json!(no_new_privileges);
            c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            c["process"]["capabilities"] = json!({});
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}]});
        });
        assert_eq!(sandbox.run().ok(), "Seccomp:\t2\n", "no_new_privileges {no_new_privileges}");
    }
}

/// Nothing that the runtime itself does comes under the filter but the little that every program needs.
#[test]
fn filter_may_forbid_what_the_runtime_needed_before() {
    for no_new_privileges in [true, false] {
        let calls = [
            "close_range",
            "fsopen",
            "fsconfig",
            "fspick",
            "openat2",
            "open_tree",
            "move_mount",
            "mount_setattr",
            "setgroups",
            "prctl",
            "rt_sigaction",
            "rt_sigprocmask",
            "fcntl",
            "shutdown",
            "sendto",
            "fchdir",
            "chdir",
        ];
        let calls: Vec<&str> = match no_new_privileges {
            true => calls.to_vec(),
            // Loaded while there is power yet to give up.
            false => calls.into_iter().filter(|call| !matches!(*call, "prctl" | "setgroups")).collect(),
        };
        let sandbox = Sandbox::new(&["echo", "went through"], |c| {
            c["process"]["noNewPrivileges"] = json!(no_new_privileges);
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": calls, "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]});
        });
        if is_ours() {
            assert_eq!(sandbox.run().ok(), "went through\n");
        }
    }
}

#[test]
fn start_container_hook_runs_under_the_filter() {
    let rules = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}]);
    let sandbox = filtered("true", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    let path = sandbox.bundle().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["process"]["noNewPrivileges"] = json!(true);
    config["hooks"] = json!({"startContainer": [{"path": "/bin/busybox", "args": ["mkdir", "/tmp/made"]}]});
    sandbox.write_config(&config.to_string());
    sandbox.run().fails(1, &["error running startContainer hook #0", "bad system call"]);
    assert!(!sandbox.rootfs().join("tmp/made").exists());
}

/// config-linux.md, "listenerPath": the agent gets the listener and the container process state.
#[test]
fn agent_gets_the_listener_with_the_state_of_the_container() {
    if !is_ours() {
        return; // runc 1.1 is built without it
    }
    for no_new_privileges in [true, false] {
        let folder = tempfile::TempDir::new().unwrap();
        let socket = folder.path().join("agent");
        let agent = UnixListener::bind(&socket).unwrap();
        let sandbox = Sandbox::shell("mkdir /tmp/x 2>/dev/null", |c| {
            c["process"]["noNewPrivileges"] = json!(no_new_privileges);
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket,
                "listenerMetadata": "hello", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]});
        });
        sandbox.create().ok();
        let (fds, text) = crate::passing::receive(&agent);
        assert_eq!(fds.len(), 1);
        drop(fds);
        let state: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(state["fds"], json!(["seccompFd"]));
        assert_eq!(state["metadata"], "hello");
        assert_eq!(state["state"]["id"], sandbox.id.as_str());
        assert_eq!(state["state"]["status"], "creating");
        assert_eq!(state["pid"], state["state"]["pid"]);
        // Without a listener the kernel answers such calls itself: ENOSYS.
        sandbox.verb(&["start", &sandbox.id]).ok();
        sandbox.wait_for_status("stopped");
        assert!(!sandbox.rootfs().join("tmp/x").exists());
        sandbox.verb(&["delete", &sandbox.id]).ok();
    }
}

/// The number that seccomp(2) gets, which runc's debug log shows: 8 is the listener, that 32 waits only for a kill.
#[test]
fn debug_log_shows_the_flags_that_the_kernel_gets() {
    if !is_ours() {
        return; // runc 1.1 is built without it
    }
    let folder = tempfile::TempDir::new().unwrap();
    let socket = folder.path().join("agent");
    let _agent = UnixListener::bind(&socket).unwrap();
    let waiting = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV";
    for (flags, action, expected) in [
        (json!([waiting]), "SCMP_ACT_NOTIFY", 40),
        (json!([waiting]), "SCMP_ACT_ERRNO", 0),
        (json!(null), "SCMP_ACT_NOTIFY", 12),
    ] {
        let mut seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket,
            "syscalls": [{"names": ["mkdir"], "action": action}]});
        if !flags.is_null() {
            seccomp["flags"] = flags;
        }
        let sandbox = filtered("true", seccomp);
        let said =
            sandbox.verb(&["--debug", "run", "--bundle", sandbox.bundle().to_str().unwrap(), &sandbox.id]);
        let line = format!("seccomp filter flags: {expected}\"");
        assert!(said.err.contains(&line), "{line}\n{}", said.err);
        said.ok();
    }
}

#[test]
fn agent_that_is_not_there_fails_the_create() {
    let sandbox = Sandbox::shell("true", |c| {
        c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nosuch/agent",
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
    });
    if is_ours() {
        sandbox.create().fails(1, &["failed to connect with seccomp agent", "no such file or directory"]);
        sandbox.assert_nothing_left();
    }
}

/// An agent is for calls that are to be notified: without any, nobody needs to listen.
#[test]
fn listener_is_not_looked_for_unless_a_rule_notifies() {
    let sandbox = Sandbox::shell("echo ran", |c| {
        c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/no/such/agent"});
    });
    assert_eq!(sandbox.run().ok(), "ran\n");
}
