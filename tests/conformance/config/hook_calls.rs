//! config.md: when and where each of the six kinds of hooks is called.

use super::hooks::Witness;
use crate::world::namespace;

section! { PRESTART = "config.md" # "configHooksPrestart";
    "The prestart hooks MUST be called as part of the create operation after the runtime environment has been created (according to the configuration in config.json) but before the pivot_root or any equivalent operation has been executed." => [
        prestart_hooks_are_called_by_create_before_the_pivot],
    "The prestart hooks MUST be called before the createRuntime hooks." => [prestart_hooks_are_called_before_create_runtime],
    "The prestart hooks' path MUST resolve in the runtime namespace." => [prestart_hooks_are_called_by_create_before_the_pivot],
    "The prestart hooks MUST be executed in the runtime namespace." => [prestart_hooks_run_in_the_runtime_namespace],
}

section! { CREATE_RUNTIME = "config.md" # "configHooksCreateRuntime";
    "The createRuntime hooks MUST be called as part of the create operation after the runtime environment has been created (according to the configuration in config.json) but before the pivot_root or any equivalent operation has been executed." => [
        create_runtime_hooks_are_called_by_create_before_the_pivot],
    "The createRuntime hooks' path MUST resolve in the runtime namespace." => [create_runtime_hooks_are_called_by_create_before_the_pivot],
    "The createRuntime hooks MUST be executed in the runtime namespace." => [create_runtime_hooks_run_in_the_runtime_namespace],
}

section! { CREATE_CONTAINER = "config.md" # "configHooksCreateContainer";
    "The createContainer hooks MUST be called as part of the create operation after the runtime environment has been created (according to the configuration in config.json) but before the pivot_root or any equivalent operation has been executed." => [
        create_container_hooks_are_called_by_create_before_the_pivot],
    "The createContainer hooks MUST be called after the createRuntime hooks." => [create_container_hooks_are_called_after_create_runtime],
    "The createContainer hooks' path MUST resolve in the runtime namespace." => [create_container_hooks_are_called_by_create_before_the_pivot],
    "The createContainer hooks MUST be executed in the container namespace." => [create_container_hooks_run_in_the_container_namespace],
}

section! { START_CONTAINER = "config.md" # "configHooksStartContainer";
    "The startContainer hooks MUST be called before the user-specified process is executed as part of the start operation." => [
        start_container_hooks_are_called_by_start_before_the_program],
    "The startContainer hooks' path MUST resolve in the container namespace." => [start_container_hooks_are_called_by_start_before_the_program],
    "The startContainer hooks MUST be executed in the container namespace." => [start_container_hooks_run_in_the_container_namespace],
}

section! { POSTSTART = "config.md" # "configHooksPoststart";
    "The poststart hooks MUST be called after the user-specified process is executed but before the start operation returns." => [
        poststart_hooks_are_called_by_start_after_the_program],
    "The poststart hooks' path MUST resolve in the runtime namespace." => [poststart_hooks_are_called_by_start_after_the_program],
    "The poststart hooks MUST be executed in the runtime namespace." => [poststart_hooks_run_in_the_runtime_namespace],
}

section! { POSTSTOP = "config.md" # "configHooksPoststop";
    "The poststop hooks MUST be called after the container is deleted but before the delete operation returns." => [
        poststop_hooks_are_called_by_delete_when_all_is_gone],
    "The poststop hooks' path MUST resolve in the runtime namespace." => [poststop_hooks_are_called_by_delete_when_all_is_gone],
    "The poststop hooks MUST be executed in the runtime namespace." => [poststop_hooks_run_in_the_runtime_namespace],
}

const FILES: [&str; 5] = ["mnt", "pid", "net", "ipc", "uts"];

fn namespaces_of(process: &str) -> Vec<String> {
    FILES.iter().map(|file| namespace(&format!("/proc/{process}/ns/{file}"))).collect()
}

#[track_caller]
fn runs_in_the_runtime_namespace(witness: &Witness, kind: &str) {
    let seen: Vec<String> = witness.noted(kind, "namespaces").lines().map(str::to_owned).collect();
    assert_eq!(seen, namespaces_of("self"), "{kind}");
}

#[track_caller]
fn runs_in_the_container_namespace(witness: &Witness, kind: &str) {
    let seen: Vec<String> = witness.noted(kind, "namespaces").lines().map(str::to_owned).collect();
    assert_eq!(seen, namespaces_of(&witness.container.pid().to_string()), "{kind}");
}

/// Called during create, when the namespaces are there and the root is still the host's.
#[track_caller]
fn is_called_before_the_pivot(kind: &str) {
    let witness = Witness::created();
    witness.has_run(kind);
    assert_eq!(witness.noted(kind, "root"), "host\n", "{kind}: the root of the container's process");
    let uts = witness.noted(kind, "uts");
    assert_eq!(uts.trim(), namespace(&format!("/proc/{}/ns/uts", witness.container.pid())), "{kind}");
}

#[track_caller]
fn is_called_before(first: &str, then: &str) {
    let order = Witness::created().order();
    let place = |kind: &str| {
        order.iter().position(|one| one == kind).unwrap_or_else(|| panic!("no {kind}: {order:?}"))
    };
    assert!(place(first) < place(then), "{order:?}");
}

fn prestart_hooks_are_called_by_create_before_the_pivot() {
    is_called_before_the_pivot("prestart");
}

fn prestart_hooks_are_called_before_create_runtime() {
    is_called_before("prestart", "createRuntime");
}

fn prestart_hooks_run_in_the_runtime_namespace() {
    runs_in_the_runtime_namespace(&Witness::created(), "prestart");
}

fn create_runtime_hooks_are_called_by_create_before_the_pivot() {
    is_called_before_the_pivot("createRuntime");
}

fn create_runtime_hooks_run_in_the_runtime_namespace() {
    runs_in_the_runtime_namespace(&Witness::created(), "createRuntime");
}

/// Its program is in the bundle, so the host's tree is there; and the container's mounts are made in it already.
fn create_container_hooks_are_called_by_create_before_the_pivot() {
    let witness = Witness::created();
    witness.has_run("createContainer");
    let mounts = witness.noted("createContainer", "mounts");
    let expected = format!("{}/dev/shm ", witness.container.rootfs().display());
    assert!(mounts.contains(&expected), "no {expected} in {mounts}");
}

fn create_container_hooks_are_called_after_create_runtime() {
    is_called_before("createRuntime", "createContainer");
}

fn create_container_hooks_run_in_the_container_namespace() {
    runs_in_the_container_namespace(&Witness::created(), "createContainer");
}

fn start_container_hooks_are_called_by_start_before_the_program() {
    let witness = Witness::created();
    witness.has_not_run("startContainer");
    witness.container.start().ok();
    witness.has_run("startContainer");
    wharf_tests::wait_until("the program", || witness.order().iter().any(|one| one == "program"));
    let order = witness.order();
    let place = |what: &str| order.iter().position(|one| one == what).unwrap();
    assert!(place("startContainer") < place("program"), "{order:?}");
}

fn start_container_hooks_run_in_the_container_namespace() {
    runs_in_the_container_namespace(&Witness::started(), "startContainer");
}

/// The process has become the program by then.
fn poststart_hooks_are_called_by_start_after_the_program() {
    let witness = Witness::created();
    witness.has_not_run("poststart");
    witness.container.start().ok();
    witness.has_run("poststart");
    let program = witness.noted("poststart", "program");
    assert!(program.contains("sleep 1000"), "the process was still {program:?}");
}

fn poststart_hooks_run_in_the_runtime_namespace() {
    runs_in_the_runtime_namespace(&Witness::started(), "poststart");
}

fn poststop_hooks_are_called_by_delete_when_all_is_gone() {
    let witness = Witness::started();
    let pid = witness.container.pid();
    witness.container.stop();
    witness.has_not_run("poststop");
    let container = &witness.container;
    container.delete().ok();
    witness.has_run("poststop");
    let left = witness.noted("poststop", "process");
    assert!(!left.contains(&format!("/proc/{pid}\n")), "the process was there: {left}");
    container.is_gone();
}

fn poststop_hooks_run_in_the_runtime_namespace() {
    runs_in_the_runtime_namespace(&Witness::deleted(), "poststop");
}
