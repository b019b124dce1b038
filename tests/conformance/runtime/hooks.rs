//! runtime.md: "Lifecycle": what each step does, and what a failing hook does to it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::config::{KINDS, Witness, hook};
use crate::container::Container;
use crate::runtime::operations::{
    config_that_cannot_be_met_is_an_error, delete_undoes_what_create_made,
    later_changes_of_the_config_have_no_effect, program_does_not_run_before_start, program_runs_at_start,
};

section! { LIFECYCLE = "runtime.md" # "runtimeLifecycle";
    "The container's runtime environment MUST be created according to the configuration in config.json." => [
        environment_is_there_after_create],
    "If the runtime is unable to create the environment specified in the config.json, it MUST generate an error." => [
        config_that_cannot_be_met_is_an_error],
    "While the resources requested in the config.json MUST be created, the user-specified program (from process) MUST NOT be run at this time." => [
        program_does_not_run_before_start],
    "Any updates to config.json after this step MUST NOT affect the container." => [later_changes_of_the_config_have_no_effect],
    "The prestart hooks MUST be invoked by the runtime." => [prestart_hooks_are_invoked],
    "If any prestart hook fails, the runtime MUST generate an error, stop the container, and continue the lifecycle at step 12." => [
        failing_prestart_hook_ends_the_container],
    "The createRuntime hooks MUST be invoked by the runtime." => [create_runtime_hooks_are_invoked],
    "If any createRuntime hook fails, the runtime MUST generate an error, stop the container, and continue the lifecycle at step 12." => [
        failing_create_runtime_hook_ends_the_container],
    "The createContainer hooks MUST be invoked by the runtime." => [create_container_hooks_are_invoked],
    "If any createContainer hook fails, the runtime MUST generate an error, stop the container, and continue the lifecycle at step 12." => [
        failing_create_container_hook_ends_the_container],
    "The startContainer hooks MUST be invoked by the runtime." => [start_container_hooks_are_invoked],
    "If any startContainer hook fails, the runtime MUST generate an error, stop the container, and continue the lifecycle at step 12." => [
        failing_start_container_hook_ends_the_container],
    "The runtime MUST run the user-specified program, as specified by process." => [program_runs_at_start],
    "The poststart hooks MUST be invoked by the runtime." => [poststart_hooks_are_invoked],
    "If any poststart hook fails, the runtime MUST generate an error, stop the container, and continue the lifecycle at step 12." => [
        failing_poststart_hook_ends_the_container],
    "The container MUST be destroyed by undoing the steps performed during create phase (step 2)." => [delete_undoes_what_create_made],
    "The poststop hooks MUST be invoked by the runtime." => [poststop_hooks_are_invoked],
    "If any poststop hook fails, the runtime MUST log a warning, but the remaining hooks and lifecycle continue as if the hook had succeeded." => [
        failing_poststop_hook_is_a_warning, hooks_after_a_failing_poststop_hook_run],
}

fn environment_is_there_after_create() {
    let container = Container::sleeping(|c| c["hostname"] = json!("made"));
    container.create().ok();
    let pid = container.pid();
    for file in ["mnt", "pid", "net", "ipc", "uts"] {
        let of = |process: &str| crate::world::namespace(&format!("/proc/{process}/ns/{file}"));
        assert_ne!(of(&pid.to_string()), of("self"), "{file}");
    }
    let root = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
    assert!(root.contains(" /dev/shm "), "{root}");
}

fn prestart_hooks_are_invoked() {
    Witness::created().has_run(KINDS[0]);
}

fn create_runtime_hooks_are_invoked() {
    Witness::created().has_run(KINDS[1]);
}

fn create_container_hooks_are_invoked() {
    Witness::created().has_run(KINDS[2]);
}

fn start_container_hooks_are_invoked() {
    Witness::started().has_run(KINDS[3]);
}

fn poststart_hooks_are_invoked() {
    Witness::started().has_run(KINDS[4]);
}

fn poststop_hooks_are_invoked() {
    Witness::deleted().has_run(KINDS[5]);
}

/// A container whose hooks of one kind fail, and whose poststop hook leaves a note.
fn failing(kind: &str) -> Container {
    let container = Container::sleeping(|_| ());
    let note = container.bundle().join("poststop-ran");
    container.reconfigure(|c| {
        c["hooks"] =
            json!({kind: [hook("exit 1")], "poststop": [hook(&format!("echo > {}", note.display()))]});
    });
    container
}

/// Steps 12 and 13: nothing of it is left, and the poststop hooks have run.
#[track_caller]
fn has_ended(container: &Container) {
    container.is_gone();
    assert!(container.bundle().join("poststop-ran").exists(), "the poststop hooks have not run");
}

#[track_caller]
fn failure_at_create_ends(kind: &str) {
    let container = failing(kind);
    assert_ne!(container.create().code, 0, "create succeeds");
    has_ended(&container);
}

#[track_caller]
fn failure_at_start_ends(kind: &str) {
    let container = failing(kind);
    container.create().ok();
    let pid = container.pid();
    assert_ne!(container.start().code, 0, "start succeeds");
    has_ended(&container);
    assert!(!crate::container::is_alive(pid), "its process lives");
}

fn failing_prestart_hook_ends_the_container() {
    failure_at_create_ends("prestart");
}

fn failing_create_runtime_hook_ends_the_container() {
    failure_at_create_ends("createRuntime");
}

fn failing_create_container_hook_ends_the_container() {
    failure_at_create_ends("createContainer");
}

fn failing_start_container_hook_ends_the_container() {
    failure_at_start_ends("startContainer");
}

fn failing_poststart_hook_ends_the_container() {
    failure_at_start_ends("poststart");
}

/// A stopped container with these poststop hooks.
fn stopped_with(hooks: &Value) -> Container {
    let container = Container::sleeping(|c| c["hooks"] = json!({"poststop": hooks})).started();
    container.stop();
    container
}

fn failing_poststop_hook_is_a_warning() {
    let container = stopped_with(&json!([hook("echo the reason >&2; exit 3")]));
    let log = container.bundle().join("log");
    let said = container.verb(&["--log", log.to_str().unwrap(), "delete", &container.id]);
    let logged = std::fs::read_to_string(&log).unwrap_or_default() + &said.err;
    said.ok();
    assert!(!logged.trim().is_empty(), "no warning");
    container.is_gone();
}

fn hooks_after_a_failing_poststop_hook_run() {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let note = folder.path().join("note");
    let container = stopped_with(&json!([hook("exit 3"), hook(&format!("echo > {}", note.display()))]));
    container.delete();
    assert!(note.exists());
}
