//! `features` as features.md and features-linux.md of runtime-spec 1.3 have it, and as engines read it.
//!
//! That the parser takes every name, and none besides, is shown next to the tables, in the runtime's own tests.

use serde_json::Value;
use wharf_tests::{Sandbox, is_ours, skip};

fn features() -> Option<Value> {
    let said = Sandbox::shell("true", |_| ()).verb(&["features"]);
    if !is_ours() && said.code != 0 {
        skip("this runtime has no features");
        return None;
    }
    // CRI-O reads standard output and standard error as one.
    assert_eq!(said.err, "");
    Some(serde_json::from_str(&said.ok()).unwrap())
}

fn names<'a>(document: &'a Value, pointer: &str) -> Vec<&'a str> {
    let list = document.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"));
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

/// The names that the specification's schema has for these lists, without their prefix.
const NAMES: [(&str, &str, &str); 6] = [
    ("/linux/namespaces", "", "cgroup ipc mount network pid time user uts"),
    (
        "/linux/seccomp/actions",
        "SCMP_ACT_",
        "ALLOW ERRNO KILL KILL_PROCESS KILL_THREAD LOG NOTIFY TRACE TRAP",
    ),
    ("/linux/seccomp/operators", "SCMP_CMP_", "EQ GE GT LE LT MASKED_EQ NE"),
    ("/linux/seccomp/knownFlags", "SECCOMP_FILTER_FLAG_", "LOG SPEC_ALLOW TSYNC WAIT_KILLABLE_RECV"),
    ("/linux/seccomp/supportedFlags", "SECCOMP_FILTER_FLAG_", "LOG SPEC_ALLOW TSYNC WAIT_KILLABLE_RECV"),
    (
        "/linux/seccomp/archs",
        "SCMP_ARCH_",
        "AARCH64 ARM LOONGARCH64 M68K MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PARISC PARISC64 PPC PPC64 \
         PPC64LE RISCV64 S390 S390X SH SHEB X32 X86 X86_64",
    ),
];

#[test]
fn names_are_those_of_the_specification() {
    let Some(document) = features() else { return };
    for (pointer, prefix, known) in NAMES {
        if !is_ours() && document.pointer(pointer).is_none() {
            continue; // an older runtime
        }
        let mut found = names(&document, pointer);
        found.sort_unstable();
        let known: Vec<String> = known.split_whitespace().map(|name| format!("{prefix}{name}")).collect();
        assert!(found.iter().all(|name| known.iter().any(|known| known == name)), "{pointer}: {found:?}");
        // An older runtime may know fewer; ours knows all.
        assert!(!is_ours() || found == known, "{pointer}: {found:?}");
    }
    for capability in names(&document, "/linux/capabilities") {
        let name = capability.strip_prefix("CAP_").unwrap();
        assert!(name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{capability}");
    }
}

/// features.md, "Specification version": "The value MUST NOT be less than the value of the `ociVersionMin` property",
/// and no property may be newer than it.
#[test]
fn versions_cover_what_is_told() {
    let Some(document) = features() else { return };
    let version = |name: &str| -> Vec<u32> {
        let text = document[name].as_str().unwrap();
        text.split(['.', '-']).take(3).map(|part| part.parse().unwrap()).collect()
    };
    assert!(version("ociVersionMin") <= version("ociVersionMax"));
    let since_1_3 = ["/linux/netDevices", "/linux/memoryPolicy", "/linux/intelRdt/monitoring"];
    if since_1_3.iter().any(|pointer| document.pointer(pointer).is_some()) {
        assert!(version("ociVersionMax") >= vec![1, 3, 0]);
    }
}

#[test]
fn what_engines_ask_for_is_there() {
    if !is_ours() {
        return;
    }
    let document = features().unwrap();
    // containerd and CRI-O: recursive read-only mounts, user namespaces with id-mapped volumes.
    let options = names(&document, "/mountOptions");
    for option in ["rro", "ro", "idmap", "ridmap", "bind", "rbind"] {
        assert!(options.contains(&option), "{option}");
    }
    for pointer in [
        "/linux/cgroup/v1",
        "/linux/cgroup/v2",
        "/linux/cgroup/systemd",
        "/linux/cgroup/systemdUser",
        "/linux/cgroup/rdma",
        "/linux/seccomp/enabled",
        "/linux/apparmor/enabled",
        "/linux/selinux/enabled",
        "/linux/intelRdt/enabled",
        "/linux/intelRdt/schemata",
        "/linux/intelRdt/monitoring",
        "/linux/mountExtensions/idmap/enabled",
        "/linux/netDevices/enabled",
    ] {
        assert_eq!(document.pointer(pointer), Some(&Value::Bool(true)), "{pointer}");
    }
    let hooks = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    assert_eq!(names(&document, "/hooks"), hooks);
    assert_eq!(names(&document, "/linux/memoryPolicy/modes").len(), 7);
    // What docker and podman must not let strangers set.
    let unsafe_annotations = names(&document, "/potentiallyUnsafeConfigAnnotations");
    assert_eq!(
        unsafe_annotations,
        ["org.criu.config", "org.systemd.property.", "run.oci.keep_original_groups"]
    );
    assert!(document["annotations"].as_object().unwrap().values().all(Value::is_string));
}
