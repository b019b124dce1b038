//! Who enters a container from the host must not be looked into from there: until it has become the container's
//! program, it holds the runtime's descriptors and memory (CVE-2016-9962).

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use wharf_tests::{Sandbox, is_ours, patience};

use crate::tracer::{Action, Traced};

/// Looks into the descriptors of all processes but the first and itself.
const LOOK: &str = "for p in /proc/[0-9]*; do case $p in /proc/1 | /proc/$$) ;; *) readlink $p/exe >/dev/null && echo $p ;; esac; done; exit 0";

#[test]
fn nobody_in_a_user_namespace_can_look_into_what_enters() {
    if !is_ours() {
        return;
    }
    let sandbox = Sandbox::new(&["sleep", "1000"], |c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        // The host's root, so that nothing but the missing power is between them.
        let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
        (c["linux"]["uidMappings"], c["linux"]["gidMappings"]) = (map.clone(), map);
    });
    sandbox.start();
    let init = sandbox.state()["pid"].to_string();
    let look = || {
        let mut command = Command::new("nsenter");
        command.args(["-t", &init, "-U", "-m", "-p", "/bin/busybox", "sh", "-c", LOOK]);
        let output = command.output().expect("util-linux");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let mut command = sandbox.command();
    command.args(["exec", &sandbox.id, "echo", "fine"]);
    let traced = Traced {
        command: &command,
        output: &sandbox.bundle().join("output"),
        deadline: Duration::from_secs(120) * patience(),
        besides: None,
    };
    let (mut executed, mut looks, mut seen) = (false, 0, Vec::new());
    let outcome = traced.run(|stop| {
        if stop.point.role.0.len() > 1 && !executed {
            let found = look();
            looks += 1;
            if !found.is_empty() {
                seen.push(format!("{} in {}: {found}", stop.point, stop.name()));
            }
            executed = stop.name() == "execve" && stop.is_entry();
        }
        Action::Go
    });
    assert_eq!(outcome.code, 0);
    assert!(looks > 20, "only {looks} times looked");
    assert!(seen.is_empty(), "{seen:#?}");
}
