//! config-linux.md: "Cgroup ownership". Where the host has cgroup v1, the runtime is shown a world with the unified
//! hierarchy alone; delegation needs no controllers.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;

use serde_json::{Value, json};
use wharf_tests::has_cgroup_v1;

use crate::container::{Container, V2_ALONE, add, add_namespace, add_user_namespace, cgroup_of};
use crate::requirement::{Tried, skip};

section! { SECTION = "config-linux.md" # "cgroup-ownership";
    "Runtimes SHOULD NOT change the ownership of container cgroups when cgroups v1 is in use." => [
        cgroup_on_v1_keeps_its_owner],
    "A runtime SHOULD NOT change the ownership of a container cgroup unless it will also create a new cgroup namespace for the container." => [
        cgroup_without_a_new_namespace_keeps_its_owner],
    "Runtimes SHOULD change the cgroup ownership if and only if the cgroup filesystem is to be mounted read/write;" => [
        cgroup_that_is_mounted_writable_belongs_to_the_containers_user, cgroup_that_is_mounted_read_only_keeps_its_owner],
    "If the configuration does not specify such a mount, the runtime SHOULD NOT change the cgroup ownership." => [
        cgroup_that_is_not_mounted_keeps_its_owner],
    "A runtime that changes the cgroup ownership SHOULD only change the ownership of the container's cgroup directory and files within that directory that are listed in /sys/kernel/cgroup/delegate." => [
        only_files_of_the_delegate_list_change_their_owner],
    "Runtimes MUST NOT fail in this scenario, and SHOULD change the ownership of the listed files that do exist in the cgroup." => [
        listed_files_that_are_not_there_are_passed_over],
    "If the /sys/kernel/cgroup/delegate file does not exist, the runtime MUST fall back to using the following list of files:" => [
        without_the_delegate_list_three_files_change_their_owner],
    "The runtime SHOULD NOT change the ownership of any other files." => [only_files_of_the_delegate_list_change_their_owner],
}

/// The user of the container's process, seen from the host.
const OWNER: u32 = 100_000;

fn cgroup_mount(options: &[&str]) -> Value {
    json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options})
}

/// A config for which the cgroup changes hands.
fn delegated(c: &mut Value) {
    add_user_namespace(c);
    add_namespace(c, json!({"type": "cgroup"}));
    add(&mut c["mounts"], cgroup_mount(&["nosuid", "noexec", "nodev", "relatime"]));
}

/// The owner of the cgroup's folder (`"."`) and of each file in it.
#[track_caller]
fn owners(container: &Container) -> BTreeMap<String, u32> {
    container.create().ok();
    let folder = cgroup_of(&format!("/proc/{}", container.pid()), "").expect("the unified hierarchy");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_type().unwrap().is_file());
    let mut all: BTreeMap<_, _> =
        files.map(|file| (file.file_name().into_string().unwrap(), file.metadata().unwrap().uid())).collect();
    all.insert(".".to_owned(), folder.metadata().unwrap().uid());
    all
}

#[track_caller]
fn keeps_its_owner(change: impl FnOnce(&mut Value)) {
    let container = Container::sleeping(change).give_away().on_v2();
    let given: Vec<_> = owners(&container).into_iter().filter(|(_, owner)| *owner != 0).collect();
    assert!(given.is_empty(), "{given:?}");
}

fn cgroup_on_v1_keeps_its_owner() -> Tried {
    if !has_cgroup_v1() {
        return skip("kernel: there is no cgroup v1 hierarchy");
    }
    let container = Container::sleeping(delegated).give_away();
    container.create().ok();
    let folder = container.cgroup("memory");
    for entry in std::fs::read_dir(&folder).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().uid(), 0);
    }
    assert_eq!(folder.metadata().unwrap().uid(), 0);
    Ok(())
}

fn cgroup_without_a_new_namespace_keeps_its_owner() {
    keeps_its_owner(|c| {
        add_user_namespace(c);
        add(&mut c["mounts"], cgroup_mount(&["nosuid", "noexec", "nodev"]));
    });
}

fn cgroup_that_is_mounted_writable_belongs_to_the_containers_user() {
    let script = "mkdir /sys/fs/cgroup/child && echo $$ > /sys/fs/cgroup/child/cgroup.procs && echo moved";
    let container = Container::shell(script, delegated).give_away().on_v2();
    assert_eq!(container.run().ok(), "moved\n");
    let sleeping = Container::sleeping(delegated).give_away().on_v2();
    assert_eq!(owners(&sleeping)["."], OWNER);
}

fn cgroup_that_is_mounted_read_only_keeps_its_owner() {
    keeps_its_owner(|c| {
        add_user_namespace(c);
        add_namespace(c, json!({"type": "cgroup"}));
        add(&mut c["mounts"], cgroup_mount(&["nosuid", "noexec", "nodev", "ro"]));
    });
}

fn cgroup_that_is_not_mounted_keeps_its_owner() {
    keeps_its_owner(|c| {
        add_user_namespace(c);
        add_namespace(c, json!({"type": "cgroup"}));
    });
}

#[track_caller]
fn given(container: &Container) -> Vec<String> {
    owners(container).into_iter().filter(|(_, owner)| *owner == OWNER).map(|(name, _)| name).collect()
}

/// The files of a list that are there, and the folder.
#[track_caller]
fn expected(container: &Container, list: &str) -> Vec<String> {
    let folder = cgroup_of(&format!("/proc/{}", container.pid()), "").unwrap();
    let listed = list.split_whitespace().filter(|name| folder.join(name).exists());
    let mut expected: Vec<String> = listed.chain(["."]).map(str::to_owned).collect();
    expected.sort();
    expected
}

fn only_files_of_the_delegate_list_change_their_owner() {
    let container = Container::sleeping(delegated).give_away().on_v2();
    let given = given(&container);
    let list = std::fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap();
    assert_eq!(given, expected(&container, &list));
}

/// A list with a name that no kernel has, and without one that all have.
fn listed_files_that_are_not_there_are_passed_over() {
    let container = Container::sleeping(delegated).give_away();
    let list = container.bundle().join("delegate");
    std::fs::write(&list, "cgroup.nosuch\ncgroup.procs\ncgroup.threads\n").unwrap();
    let container =
        over_the_list(container, &format!("mount --bind {} /sys/kernel/cgroup/delegate", list.display()));
    let given = given(&container);
    assert_eq!(given, expected(&container, "cgroup.procs cgroup.threads"));
}

fn without_the_delegate_list_three_files_change_their_owner() {
    let container = Container::sleeping(delegated).give_away();
    let container = over_the_list(container, "mount -t tmpfs none /sys/kernel/cgroup");
    let given = given(&container);
    assert_eq!(given, expected(&container, "cgroup.procs cgroup.subtree_control cgroup.threads"));
}

fn over_the_list(container: Container, script: &str) -> Container {
    match has_cgroup_v1() {
        true => container.under(&format!("{V2_ALONE} && {script}")),
        false => container.under(script),
    }
}
