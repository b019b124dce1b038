//! config.md: "Extensibility" and "Valid values".

use serde_json::{Value, json};

use crate::container::{Container, accepted};

section! { EXTENSIBILITY = "config.md" # "configExtensibility";
    "Runtimes MAY log unknown properties but MUST otherwise ignore them." => [
        unknown_properties_are_ignored_everywhere, sections_of_other_platforms_are_ignored],
}

section! { VALID = "config.md" # "valid-values";
    "Runtimes MUST generate an error when invalid or unsupported values are encountered." => [
        text_that_is_no_json_is_refused, invalid_types_are_refused, invalid_values_in_process_are_refused,
        invalid_values_in_mounts_are_refused, invalid_values_in_linux_are_refused,
        invalid_values_in_seccomp_are_refused, invalid_values_in_resources_are_refused],
}

/// Puts an unknown property into every object of a config.
fn extend(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(extend);
            map.insert("com.example.future".to_owned(), json!({"nested": [1, null, {"x": "y"}]}));
        }
        Value::Array(items) => items.iter_mut().for_each(extend),
        _ => {}
    }
}

fn unknown_properties_are_ignored_everywhere() {
    accepted(|c| {
        c["hooks"] = json!({"poststop": [{"path": "/bin/true"}]});
        c["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
        c["process"]["capabilities"] = json!({"bounding": ["CAP_KILL"]});
        c["linux"]["devices"] = json!([{"path": "/dev/some", "type": "c", "major": 1, "minor": 5}]);
        c["linux"]["resources"] = json!({"pids": {"limit": 99}, "cpu": {"shares": 512}, "devices": [{"allow": true, "access": "rwm"}]});
        c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["reboot"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]});
        extend(c);
    });
}

fn sections_of_other_platforms_are_ignored() {
    accepted(|c| {
        c["solaris"] = json!({"milestone": "x", "maxShmMemory": "512m"});
        c["windows"] = json!({"layerFolders": ["C:\\x"]});
        c["freebsd"] = json!({"jail": {"parent": "x", "vnet": "new", "ip4": "disable"}});
        c["zos"] = json!({"namespaces": [{"type": "pid"}]});
    });
}

fn text_that_is_no_json_is_refused() {
    for text in ["", "{", "null", "[]", "3", "{\"ociVersion\": oops}", "{\"ociVersion\": \"1.0.0\"} trailing"]
    {
        let container = Container::shell("true", |_| ());
        container.write_config(text);
        assert_ne!(container.create().code, 0, "{text:?} is accepted");
        container.is_gone();
    }
}

/// Each config must be refused by `create`; all that are not are named at once.
#[track_caller]
fn all_refused(cases: &[(&str, Value)]) {
    let mut accepted = Vec::new();
    for (pointer, value) in cases {
        let container = Container::shell("true", |c| put(c, pointer, value.clone()));
        if container.create().code == 0 {
            accepted.push(format!("{pointer} = {value}"));
        } else {
            container.is_gone();
        }
    }
    assert!(accepted.is_empty(), "accepted: {}", accepted.join("; "));
}

/// Sets what a JSON pointer names; what is missing on the way is made.
fn put(config: &mut Value, pointer: &str, value: Value) {
    let mut place = config;
    for key in pointer.split('/').skip(1) {
        if let Ok(index) = key.parse::<usize>() {
            if !place.is_array() {
                *place = json!([]);
            }
            let items = place.as_array_mut().unwrap();
            while items.len() <= index {
                items.push(json!({}));
            }
            place = &mut items[index];
        } else {
            place = &mut place[key];
        }
    }
    *place = value;
}

fn invalid_types_are_refused() {
    all_refused(&[
        ("/ociVersion", json!(1)),
        ("/root", json!("rootfs")),
        ("/process/args", json!("sh")),
        ("/process/user/uid", json!("root")),
        ("/process/user/uid", json!(-1)),
        ("/process/user/gid", json!(4_294_967_296_u64)),
        ("/process/env", json!({"A": "b"})),
        ("/mounts", json!({})),
        ("/linux/namespaces", json!("pid")),
        ("/hostname", json!(5)),
        ("/root/readonly", json!("yes")),
        ("/linux/sysctl", json!(["net.ipv4.ip_forward=1"])),
        ("/freebsd", json!({"jail": {"vnet": "disable"}})),
    ]);
}

fn invalid_values_in_process_are_refused() {
    all_refused(&[
        ("/process/cwd", json!("")),
        ("/process/env/0", json!("A\u{0}=b")),
        ("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 5}])),
        ("/process/oomScoreAdj", json!(1001)),
        ("/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": 20})),
        ("/process/scheduler", json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NOSUCH"]})),
        ("/process/ioPriority", json!({"class": "nosuch", "priority": 1})),
        ("/process/execCPUAffinity", json!({"final": "0-"})),
        ("/process/execCPUAffinity", json!({"initial": "x"})),
    ]);
}

fn invalid_values_in_mounts_are_refused() {
    all_refused(&[
        ("/mounts/4/destination", json!("")),
        ("/mounts/4", json!({"destination": "/t", "type": "nosuchfs", "source": "x"})),
        (
            "/mounts/4",
            json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["size=nosize"]}),
        ),
        ("/mounts/4", json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": "ro"})),
        ("/mounts/4", json!({"destination": "/proc/self/attr", "type": "tmpfs", "source": "tmpfs"})),
    ]);
}

fn invalid_values_in_linux_are_refused() {
    all_refused(&[
        ("/linux/namespaces/5", json!({"type": "nosuch"})),
        ("/linux/namespaces/4/path", json!("relative/path")),
        ("/linux/rootfsPropagation", json!("nosuch")),
        ("/linux/personality", json!({"domain": "NOSUCH"})),
        ("/linux/personality", json!({"domain": "LINUX", "flags": ["NOSUCH"]})),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "z", "major": 1, "minor": 3}])),
        ("/linux/devices", json!([{"path": "dev/x", "type": "c", "major": 1, "minor": 3}])),
        ("/linux/sysctl", json!({"kernel.nosuch_at_all": "1"})),
        ("/linux/sysctl", json!({"vm.swappiness": "1"})),
        ("/linux/memoryPolicy", json!({"mode": "MPOL_NOSUCH"})),
        ("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "x"})),
        ("/linux/memoryPolicy", json!({"mode": "MPOL_DEFAULT", "flags": ["MPOL_F_NOSUCH"]})),
        ("/linux/timeOffsets", json!({"monotonic": {"secs": 1}})),
    ]);
}

fn invalid_values_in_seccomp_are_refused() {
    let rule = |rule: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    let compare =
        |compare: Value| rule(json!({"names": ["close"], "action": "SCMP_ACT_ERRNO", "args": [compare]}));
    all_refused(&[
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_NOSUCH"})),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NOSUCH"]})),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NOSUCH"]}),
        ),
        ("/linux/seccomp", rule(json!({"names": ["close"], "action": "SCMP_ACT_NOSUCH"}))),
        ("/linux/seccomp", compare(json!({"index": 0, "value": 1, "op": "SCMP_CMP_NOSUCH"}))),
        ("/linux/seccomp", compare(json!({"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}))),
        ("/linux/seccomp", compare(json!({"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}))),
    ]);
}

fn invalid_values_in_resources_are_refused() {
    all_refused(&[
        ("/linux/resources/cpu", json!({"cpus": "nosuch"})),
        ("/linux/resources/cpu", json!({"cpus": "4000"})),
        ("/linux/resources/cpu", json!({"mems": "4000"})),
        ("/linux/resources/cpu", json!({"quota": 50_000, "period": 1})),
        ("/linux/resources/memory", json!({"limit": "1g"})),
        ("/linux/resources/memory", json!({"limit": 20_000_000, "swap": 10_000_000})),
        ("/linux/resources/devices", json!([{"allow": true, "type": "z", "access": "rwm"}])),
        ("/linux/resources/devices", json!([{"allow": true, "type": "c", "access": "xyz"}])),
    ]);
}
