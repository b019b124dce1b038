//! The system call filter, as the container's programs meet it (config-linux.md, "Seccomp").

use serde_json::{Value, json};
use wharf_tests::Sandbox;

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
