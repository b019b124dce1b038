//! config-linux.md: "Unified". As for ownership, the runtime sees the unified hierarchy alone.

use serde_json::{Value, json};
use wharf_tests::has_cgroup_v1;

use crate::container::{Container, cgroup_of};
use crate::requirement::{Tried, skip};

section! { SECTION = "config-linux.md" # "configLinuxUnified";
    "The OCI runtime MUST ensure that the needed cgroup controllers are enabled for the cgroup." => [
        controllers_of_the_unified_files_are_enabled],
    "Configuration unknown to the runtime MUST still be written to the relevant file." => [
        any_file_of_the_unified_hierarchy_can_be_written],
    "The runtime MUST generate an error when the configuration refers to a cgroup controller that is not present or that cannot be enabled." => [
        unified_file_of_no_controller_is_refused, unified_file_outside_of_the_cgroup_is_refused],
    "If the conversion is not possible the runtime MUST generate an error." => [
        resources_that_do_not_convert_are_refused],
}

fn unified(files: &Value) -> impl Fn(&mut Value) + use<> {
    let files = files.clone();
    move |c| c["linux"]["resources"] = json!({"unified": files})
}

#[track_caller]
fn file(container: &Container, name: &str) -> String {
    let folder = cgroup_of(&format!("/proc/{}", container.pid()), "").expect("the unified hierarchy");
    std::fs::read_to_string(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}")).trim().to_owned()
}

/// A file of some controller that this kernel has in the unified hierarchy.
fn controllers_of_the_unified_files_are_enabled() -> Tried {
    let mount =
        wharf_tests::hierarchies().into_iter().find(|mount| mount.join("cgroup.controllers").exists());
    let have = mount
        .map(|mount| std::fs::read_to_string(mount.join("cgroup.controllers")).unwrap())
        .unwrap_or_default();
    let have: Vec<&str> = have.split_whitespace().collect();
    let files = [
        ("pids", "pids.max", "77"),
        ("hugetlb", "hugetlb.2MB.max", "4194304"),
        ("memory", "memory.high", "67108864"),
    ];
    let usable: Vec<_> = files.into_iter().filter(|(controller, ..)| have.contains(controller)).collect();
    if usable.is_empty() {
        return skip("kernel: the unified hierarchy has no controllers");
    }
    for (_, name, value) in usable {
        let container = Container::sleeping(unified(&json!({name: value}))).on_v2();
        container.create().ok();
        assert_eq!(file(&container, name), value);
    }
    Ok(())
}

/// These belong to no controller, and no runtime has a name for them.
fn any_file_of_the_unified_hierarchy_can_be_written() {
    let container =
        Container::sleeping(unified(&json!({"cgroup.max.depth": "5", "cgroup.max.descendants": "6"})))
            .on_v2();
    container.create().ok();
    assert_eq!(
        (file(&container, "cgroup.max.depth"), file(&container, "cgroup.max.descendants")),
        ("5".into(), "6".into())
    );
}

#[track_caller]
fn refused(files: &Value) {
    let container = Container::shell("true", unified(files)).on_v2();
    assert_ne!(container.create().code, 0, "accepted: {files}");
    container.is_gone();
}

fn unified_file_of_no_controller_is_refused() {
    refused(&json!({"nosuch.max": "1"}));
    refused(&json!({"nosuch": "1"}));
}

fn unified_file_outside_of_the_cgroup_is_refused() {
    refused(&json!({"../cgroup.procs": "1"}));
    refused(&json!({"": "1"}));
    refused(&json!({"/etc/passwd": "1"}));
}

/// What v2 has no file for at all.
fn resources_that_do_not_convert_are_refused() -> Tried {
    for resources in [
        json!({"cpu": {"realtimeRuntime": 10_000}}),
        json!({"network": {"classID": 1}}),
        json!({"memory": {"swap": 10_000_000, "limit": 20_000_000}}),
    ] {
        let container = Container::shell("true", |c| c["linux"]["resources"] = resources.clone()).on_v2();
        if has_cgroup_v1() && resources.get("memory").is_some() {
            continue; // the controller is not in this hierarchy, which is another error
        }
        assert_ne!(container.create().code, 0, "accepted: {resources}");
        container.is_gone();
    }
    Ok(())
}
