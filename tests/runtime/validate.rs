//! `validate`: every fault of a bundle is shown, at once, and nothing is touched.
//!
//! What no other runtime has, so these tests are left out where another one is tested.

use serde_json::{Value, json};
use wharf_tests::{Said, Sandbox, hierarchies, is_ours};

const SPEC: &str = "spec";
const HOST: &str = "host";

fn validate(sandbox: &Sandbox) -> (Said, Vec<Value>) {
    let bundle = sandbox.bundle().to_str().unwrap();
    let said = sandbox.verb(&["validate", "--format", "json", "--bundle", bundle]);
    let findings = serde_json::from_str(&said.out).unwrap();
    (said, findings)
}

/// Asserts that the findings are exactly these, as kind, pointer, section and a part of the message, in any order,
/// and that the form for people has a line for each.
#[track_caller]
fn assert_findings(sandbox: &Sandbox, expected: &[(&str, &str, &str, &str)]) {
    let (said, findings) = validate(sandbox);
    for (kind, pointer, section, part) in expected {
        let fits = |finding: &&Value| {
            finding["kind"] == *kind
                && finding["pointer"] == *pointer
                && finding["section"] == *section
                && finding["message"].as_str().unwrap().contains(part)
        };
        let count = findings.iter().filter(fits).count();
        assert_eq!(count, 1, "{kind} {pointer} {section} {part}: {findings:#?}");
    }
    assert_eq!(findings.len(), expected.len(), "{findings:#?}");
    assert_eq!((said.code, said.err.as_str()), (i32::from(!expected.is_empty()), ""));
    let text = sandbox.verb(&["validate", sandbox.bundle().to_str().unwrap()]);
    assert_eq!((text.code, text.out.lines().count()), (said.code, expected.len()), "{text:?}");
    for (kind, pointer, section, _) in expected {
        let line = |line: &str| {
            line.starts_with(&format!("{kind}: {pointer}: ")) && line.ends_with(&format!(" ({section})"))
        };
        assert!(text.out.lines().any(line), "{kind} {pointer}: {}", text.out);
    }
}

#[test]
fn good_bundle_has_no_findings() {
    if !is_ours() {
        return;
    }
    assert_findings(&Sandbox::shell("true", |_| ()), &[]);
}

#[test]
fn ten_values_of_the_wrong_type_are_ten_findings() {
    if !is_ours() {
        return;
    }
    let sandbox = Sandbox::shell("true", |c| {
        c["ociVersion"] = json!(1.0);
        c["process"]["user"]["uid"] = json!(-1);
        c["process"]["terminal"] = json!("yes");
        c["process"]["env"] = json!({"PATH": "/bin"});
        c["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 0}]);
        c["mounts"][1]["options"] = json!("ro,nosuid");
        c["mounts"][2] = json!("/dev/pts");
        c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": "EPERM"});
        c["linux"]["resources"] = json!({"memory": {"limit": "64M"}});
        c["annotations"] = json!({"com.example.count": 3});
    });
    let integer = "is not an integer from ";
    assert_findings(
        &sandbox,
        &[
            (SPEC, "/ociVersion", "config.md, Specification version", "1.0 is not a string"),
            (SPEC, "/process/user/uid", "config.md, POSIX-platform User", integer),
            (SPEC, "/process/terminal", "config.md, Process", "\"yes\" is not a boolean"),
            (SPEC, "/process/env", "config.md, Process", "an object is not an array"),
            (SPEC, "/process/rlimits/0/hard", "config.md, POSIX process", "is missing"),
            (SPEC, "/mounts/1/options", "config.md, Linux mount options", "is not an array"),
            (SPEC, "/mounts/2", "config.md, Mounts", "is not an object"),
            (SPEC, "/linux/seccomp/defaultErrnoRet", "config-linux.md, Seccomp", integer),
            (SPEC, "/linux/resources/memory/limit", "config-linux.md, Memory", integer),
            (SPEC, "/annotations/com.example.count", "config.md, Annotations", "3 is not a string"),
        ],
    );
}

#[test]
fn ten_wrong_values_are_ten_findings() {
    if !is_ours() {
        return;
    }
    let sandbox = Sandbox::shell("true", |c| {
        c["ociVersion"] = json!("2.0.0");
        c["process"]["cwd"] = json!("relative");
        c["process"]["oomScoreAdj"] = json!(1001);
        c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 8});
        c["hooks"] = json!({"poststop": [{"path": "/bin/true", "timeout": 0}]});
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "pid"}));
        c["linux"]["rootfsPropagation"] = json!("sideways");
        c["linux"]["sysctl"] = json!({"vm.swappiness": "1"});
        c["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_Z80"],
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG", "errnoRet": 1}],
        });
    });
    assert_findings(
        &sandbox,
        &[
            (SPEC, "/ociVersion", "config.md, Specification version", "\"2.0.0\""),
            (SPEC, "/process/cwd", "config.md, Process", "not an absolute path"),
            (SPEC, "/process/oomScoreAdj", "config.md, Linux Process", "1001"),
            (SPEC, "/process/ioPriority/priority", "config.md, Linux Process", "8 is not within"),
            (SPEC, "/hooks/poststop/0/timeout", "config.md, Poststop", "greater than zero"),
            (SPEC, "/linux/namespaces/5/type", "config-linux.md, Namespaces", "duplicate"),
            (SPEC, "/linux/rootfsPropagation", "config-linux.md, Rootfs Mount Propagation", "\"sideways\""),
            (SPEC, "/linux/sysctl/vm.swappiness", "config-linux.md, Sysctl", "not in a separate"),
            (SPEC, "/linux/seccomp/architectures/0", "config-linux.md, Seccomp", "SCMP_ARCH_Z80"),
            (SPEC, "/linux/seccomp/syscalls/0/action", "config-linux.md, Seccomp", "takes no errno"),
        ],
    );
}

#[test]
fn ten_things_that_the_host_lacks_are_ten_findings() {
    if !is_ours() {
        return;
    }
    let sandbox = Sandbox::new(&["no-such-program"], |c| {
        c["process"]["apparmorProfile"] = json!("no-such-profile");
        c["process"]["execCPUAffinity"] = json!({"final": "9999"});
        c["mounts"][0] = json!({"destination": "/a", "source": "/no/such/source", "options": ["rbind"]});
        c["mounts"][1] = json!({"destination": "/b", "type": "nosuchfs", "source": "none"});
        c["linux"]["namespaces"][2]["path"] = json!("/no/such/namespace");
        c["linux"]["netDevices"] = json!({"nosuch0": {}});
        c["linux"]["sysctl"] = json!({"net.core.no_such_parameter": "1"});
        c["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/no/such/socket",
            "syscalls": [{"names": ["chdir"], "action": "SCMP_ACT_NOTIFY"}],
        });
        c["hooks"] = json!({"startContainer": [{"path": "/bin/busybox"}, {"path": "/bin/no-such-hook"}]});
    });
    let missing = "no such file or directory";
    assert_findings(
        &sandbox,
        &[
            (HOST, "/process/args/0", "config.md, Process", "executable file not found in $PATH"),
            (HOST, "/process/apparmorProfile", "config.md, Linux Process", "profile"),
            (HOST, "/process/execCPUAffinity/final", "config.md, Linux Process", "no CPU 9999"),
            (HOST, "/mounts/0/source", "config.md, Mounts", missing),
            (HOST, "/mounts/1/type", "config.md, POSIX-platform Mounts", "nosuchfs"),
            (HOST, "/linux/namespaces", "config-linux.md, Namespaces", "/no/such/namespace"),
            (HOST, "/linux/netDevices/nosuch0", "config-linux.md, Network Devices", "no such network device"),
            (
                HOST,
                "/linux/sysctl/net.core.no_such_parameter",
                "config-linux.md, Sysctl",
                "no such parameter",
            ),
            (HOST, "/linux/seccomp/listenerPath", "config-linux.md, Seccomp", missing),
            (HOST, "/hooks/startContainer/1/path", "config.md, StartContainer Hooks", missing),
        ],
    );
}

#[test]
fn ten_faults_of_all_sorts_are_ten_findings() {
    if !is_ours() {
        return;
    }
    let sandbox = Sandbox::new(&["/etc/passwd"], |c| {
        c["process"]["noNewPrivileges"] = json!("true");
        c["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 1, "runtime": 5, "nice": 40});
        c["mounts"][0]["uidMappings"] = json!([{"containerID": 0, "hostID": 1, "size": 1}]);
        c["mounts"][4] = json!({"destination": "/m", "source": "/nosuch", "options": ["bind"]});
        c["linux"]["devices"] = json!([{"type": "x", "path": "/dev/x"}] );
        c["linux"]["resources"] = json!({
            "unified": "memory.max",
            "blockIO": {"weight": 5},
        });
        c["hooks"] = json!({"prestart": [{"args": ["x"]}]});
    });
    assert_findings(
        &sandbox,
        &[
            (SPEC, "/process/noNewPrivileges", "config.md, Linux Process", "is not a boolean"),
            (SPEC, "/process/scheduler/nice", "config.md, Linux Process", "40"),
            (SPEC, "/process/scheduler/runtime", "config.md, Linux Process", "SCHED_DEADLINE"),
            (SPEC, "/linux/devices/0/type", "config-linux.md, Devices", "\"x\""),
            (SPEC, "/linux/resources/unified", "config-linux.md, Unified", "is not an object"),
            (SPEC, "/linux/resources/blockIO/weight", "config-linux.md, Block IO", "5 is not between"),
            (SPEC, "/hooks/prestart/0/path", "config.md, Prestart", "is missing"),
            (HOST, "/process/args/0", "config.md, Process", "permission denied"),
            (HOST, "/mounts/4/source", "config.md, Mounts", "/nosuch"),
            (SPEC, "/mounts/0/uidMappings", "config.md, POSIX-platform Mounts", "go together"),
        ],
    );
}

/// What `create` stops at is what `validate` finds, at the same place or one around it.
#[test]
fn create_refuses_what_is_found_at_the_same_place() {
    if !is_ours() {
        return;
    }
    let faults: [fn(&mut Value); 14] = [
        |c| c["process"]["user"]["gid"] = json!("0"),
        |c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]),
        |c| c["process"]["env"] = json!(["=x"]),
        |c| c["process"]["args"] = json!(["/etc"]),
        |c| c["mounts"][1]["options"] = json!([5]),
        |c| c["mounts"][1] = json!({"destination": "/b", "type": "nosuchfs", "source": "none"}),
        |c| c["mounts"][1] = json!({"destination": "/b", "source": "/nosuch", "options": ["bind"]}),
        |c| c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1}]),
        |c| c["linux"]["cgroupsPath"] = json!("/../x"),
        |c| c["linux"]["netDevices"] = json!({"nosuch0": {}}),
        |c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}),
        |c| c["linux"]["resources"] = json!({"devices": [{"allow": true, "access": "q"}]}),
        |c| c["linux"]["resources"] = json!({"memory": {"limit": -2}}),
        |c| c["hooks"] = json!({"createRuntime": [{"path": "/nosuch"}]}),
    ];
    for fault in faults {
        let sandbox = Sandbox::shell("true", fault);
        let (said, findings) = validate(&sandbox);
        assert_eq!((said.code, findings.len()), (1, 1), "{findings:#?}");
        let found = findings[0]["pointer"].as_str().unwrap();
        let log = sandbox.bundle().join("log.json");
        let bundle = sandbox.bundle().to_str().unwrap();
        let options = ["--log", log.to_str().unwrap(), "--log-format=json", "create", "--bundle", bundle];
        assert_eq!(sandbox.verb(&[&options[..], &[sandbox.id.as_str()]].concat()).code, 1, "{found}");
        let record: Value = serde_json::from_str(&std::fs::read_to_string(log).unwrap()).unwrap();
        let field = record["field"].as_str().unwrap_or_default();
        assert!(!field.is_empty() && found.starts_with(field), "{found} but {record}");
        sandbox.assert_nothing_left();
    }
}

#[test]
fn notes_are_no_faults() {
    if !is_ours() {
        return;
    }
    let sandbox = Sandbox::shell("true", |c| {
        c["hostnme"] = json!("x");
        c["com.example.extension"] = json!({"any": 1});
        c["process"]["capabilities"] = json!({"bounding": ["CAP_CHOWN", "CAP_FLY"]});
    });
    let (said, findings) = validate(&sandbox);
    assert_eq!(said.code, 0, "{findings:#?}");
    let pointers: Vec<_> = findings.iter().map(|f| (&f["kind"], &f["pointer"])).collect();
    let (note, note_of) = (json!("note"), [json!("/hostnme"), json!("/process/capabilities/bounding/1")]);
    assert_eq!(pointers, [(&note, &note_of[0]), (&note, &note_of[1])]);
}

#[test]
fn text_that_is_no_json_is_found_with_line_and_column() {
    if !is_ours() {
        return;
    }
    let sandbox = Sandbox::shell("true", |_| ());
    sandbox.write_config("{\n  \"ociVersion\": \"1.0.0\",,\n}");
    let (said, findings) = validate(&sandbox);
    assert_eq!((said.code, findings.len()), (1, 1));
    assert_eq!(findings[0]["pointer"], "");
    assert!(findings[0]["message"].as_str().unwrap().contains("line 2 column 25"), "{findings:#?}");
    std::fs::remove_file(sandbox.bundle().join("config.json")).unwrap();
    sandbox.verb(&["validate", sandbox.bundle().to_str().unwrap()]).fails(1, &["config.json not found"]);
}

#[test]
fn nothing_is_touched() {
    if !is_ours() {
        return;
    }
    let sandbox = Sandbox::shell("true", |c| c["process"]["cwd"] = json!("/not/there/yet"));
    let listing = || {
        let output = std::process::Command::new("find")
            .arg(sandbox.bundle())
            .args([
                "-not",
                "-name",
                "out",
                "-not",
                "-name",
                "err",
                "-not",
                "-path",
                sandbox.bundle().to_str().unwrap(),
            ])
            .args(["-printf", "%p %T@ %C@ %s %m\n"])
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let before = listing();
    validate(&sandbox).0.ok();
    assert_eq!(listing(), before);
    assert!(!sandbox.root().exists());
    for hierarchy in hierarchies() {
        assert!(!hierarchy.join("validate").exists() && !sandbox.cgroup(&hierarchy).exists());
    }
    sandbox.assert_nothing_left();
}
