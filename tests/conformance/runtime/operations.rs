//! runtime.md: "Operations": state, create, start, kill, delete.

use serde_json::json;

use crate::container::{Container, is_alive, refused, remove};
use crate::runtime::properties::*;
use crate::runtime::state::{id_that_is_taken_is_refused, status_follows_the_life_of_the_container};
use crate::world::Mounting;

section! { OPERATIONS = "runtime.md" # "runtimeOperations";
    "Unless otherwise stated, runtimes MUST support the following operations." => [status_follows_the_life_of_the_container],
}

section! { STATE = "runtime.md" # "runtimeQueryState";
    "This operation MUST generate an error if it is not provided the ID of a container." => [state_without_an_id_is_an_error],
    "Attempting to query a container that does not exist MUST generate an error." => [state_of_no_container_is_an_error],
    "This operation MUST return the state of a container as specified in the State section." => [status_follows_the_life_of_the_container],
}

section! { CREATE = "runtime.md" # "runtimeCreate";
    "This operation MUST generate an error if it is not provided a path to the bundle and the container ID to associate with the container." => [
        create_without_an_id_is_an_error, create_without_a_bundle_is_an_error],
    "If the ID provided is not unique across all containers within the scope of the runtime, or is not valid in any other way, the implementation MUST generate an error and a new container MUST NOT be created." => [
        id_that_is_taken_is_refused, invalid_ids_are_refused],
    "This operation MUST create a new container." => [program_does_not_run_before_start],
    "All of the properties configured in config.json except for process MUST be applied." => [
        hostname_is_as_configured, domainname_is_as_configured, sysctls_are_as_configured,
        personality_is_as_configured, memory_policy_is_as_configured, masked_files_and_folders_are_empty,
        read_only_paths_refuse_writes, root_propagation_shared_is_as_configured, root_propagation_slave_is_as_configured,
        root_propagation_private_is_as_configured, root_propagation_unbindable_is_as_configured,
        mount_label_is_applied_or_refused, terminal_is_on_all_three_streams, environment_is_as_configured,
        program_has_the_additional_groups_and_no_others, umask_is_as_configured, bounding_set_is_as_configured,
        effective_set_is_as_configured, inheritable_set_is_as_configured, permitted_set_is_as_configured,
        ambient_set_is_as_configured, empty_capabilities_are_none, no_new_privileges_is_as_configured,
        scheduler_is_as_configured, real_time_scheduler_is_as_configured, io_priority_is_as_configured,
        final_affinity_binds_exec_and_not_init, apparmor_profile_is_applied_or_refused, selinux_label_is_applied_or_refused,
        time_namespace_has_its_own_clocks, several_mappings_are_as_configured, memory_limits_are_as_configured,
        memory_without_a_limit_is_unlimited, swappiness_and_oom_killer_are_as_configured, cpu_limits_are_as_configured,
        cpu_burst_is_as_configured, cpu_idle_is_as_configured, real_time_share_is_as_configured,
        cpus_and_memory_nodes_are_as_configured, process_limit_is_as_configured, block_throttles_are_as_configured,
        block_weight_is_as_configured, huge_page_limits_are_as_configured, network_class_is_as_configured,
        seccomp_errno_is_the_one_configured, seccomp_actions_kill_trap_and_allow,
        seccomp_operators_compare_as_configured, seccomp_filters_exec_too],
    "process.args MUST NOT be applied until triggered by the start operation." => [program_does_not_run_before_start],
    "If the runtime cannot apply a property as specified in the configuration, it MUST generate an error and a new container MUST NOT be created." => [
        config_that_cannot_be_met_is_an_error],
    "Any changes made to the config.json file after this operation will not have an effect on the container." => [
        later_changes_of_the_config_have_no_effect],
}

section! { START = "runtime.md" # "runtimeStart";
    "This operation MUST generate an error if it is not provided the container ID." => [start_without_an_id_is_an_error],
    "Attempting to start a container that is not created MUST have no effect on the container and MUST generate an error." => [
        start_of_a_running_container_is_an_error, start_of_a_stopped_container_is_an_error, start_of_no_container_is_an_error],
    "This operation MUST run the user-specified program as specified by process." => [program_runs_at_start],
    "This operation MUST generate an error if process was not set." => [start_without_a_process_is_an_error],
}

section! { KILL = "runtime.md" # "runtimeKill";
    "This operation MUST generate an error if it is not provided the container ID." => [kill_without_an_id_is_an_error],
    "Attempting to send a signal to a container that is neither created nor running MUST have no effect on the container and MUST generate an error." => [
        kill_of_a_stopped_container_is_an_error],
    "This operation MUST send the specified signal to the container process." => [
        kill_sends_the_signal_to_a_running_container, kill_sends_the_signal_to_a_created_container, kill_takes_names_and_numbers],
}

section! { DELETE = "runtime.md" # "runtimeDelete";
    "This operation MUST generate an error if it is not provided the container ID." => [delete_without_an_id_is_an_error],
    "Attempting to delete a container that is not stopped MUST have no effect on the container and MUST generate an error." => [
        delete_of_a_running_container_is_an_error],
    "Deleting a container MUST delete the resources that were created during the create step." => [delete_undoes_what_create_made],
    "Note that resources associated with the container, but not created by this container, MUST NOT be deleted." => [
        delete_leaves_what_create_did_not_make],
    "Once a container is deleted its ID MAY be used by a subsequent container." => [id_is_free_after_delete],
}

#[track_caller]
fn without_an_id(verb: &str) {
    let container = Container::shell("true", |_| ());
    assert_ne!(container.verb(&[verb]).code, 0);
}

fn state_without_an_id_is_an_error() {
    without_an_id("state");
}

fn state_of_no_container_is_an_error() {
    let container = Container::shell("true", |_| ());
    assert_ne!(container.verb(&["state", &container.id]).code, 0);
}

fn create_without_an_id_is_an_error() {
    let container = Container::shell("true", |_| ());
    assert_ne!(container.verb(&["create", "--bundle", container.bundle().to_str().unwrap()]).code, 0);
}

/// On a command line the current directory stands for a bundle that is not named; here it holds none.
fn create_without_a_bundle_is_an_error() {
    let container = Container::shell("true", |_| ());
    assert_ne!(container.verb(&["create", &container.id]).code, 0);
    assert_ne!(container.verb(&["create", "--bundle", "/nosuch", &container.id]).code, 0);
    container.is_gone();
}

fn invalid_ids_are_refused() {
    let container = Container::sleeping(|_| ());
    let bundle = container.bundle().to_str().unwrap();
    for id in ["", ".", "..", "../x", "a/b", "a b", "a\nb", "/", "a*"] {
        let said = container.verb(&["create", "--bundle", bundle, id]);
        assert_ne!(said.code, 0, "{id:?} is accepted");
    }
    container.is_gone();
}

pub fn program_does_not_run_before_start() {
    let container = Container::shell("touch /ran; sleep 1000", |_| ());
    container.create().ok();
    assert_eq!(container.status(), "created");
    assert!(!container.rootfs().join("ran").exists());
}

pub fn program_runs_at_start() {
    let container = Container::shell("echo \"$0\" > /ran; sleep 1000", |_| ()).started();
    wharf_tests::wait_until("the program's note", || {
        std::fs::read_to_string(container.rootfs().join("ran")).is_ok_and(|text| text == "sh\n")
    });
}

/// Neither at `start` nor at a later `exec`.
pub fn later_changes_of_the_config_have_no_effect() {
    let container = Container::shell("echo old $A > /ran; sleep 1000", |c| {
        c["process"]["env"] = json!(["PATH=/bin", "A=old"])
    });
    container.create().ok();
    container.reconfigure(|c| {
        c["process"]["args"] = json!(["sh", "-c", "echo new > /ran; sleep 1000"]);
        c["process"]["env"] = json!(["PATH=/bin", "A=new"]);
        c["hostname"] = json!("new");
    });
    container.start().ok();
    let ran = container.rootfs().join("ran");
    wharf_tests::wait_until("the program's note", || {
        std::fs::read_to_string(&ran).is_ok_and(|text| text.ends_with('\n'))
    });
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "old old\n");
    assert_eq!(container.exec("echo $A; hostname").ok(), "old\nbox\n");
}

pub fn config_that_cannot_be_met_is_an_error() {
    refused(|c| {
        crate::container::add(
            &mut c["mounts"],
            json!({"destination": "/m", "type": "nosuchfs", "source": "x"}),
        )
    });
    refused(|c| c["linux"]["sysctl"] = json!({"net.nosuch": "1"}));
    refused(|c| {
        crate::container::remove_namespace(c, "uts");
        c["hostname"] = json!("of-the-host");
    });
}

fn start_without_an_id_is_an_error() {
    without_an_id("start");
}

fn start_of_a_running_container_is_an_error() {
    let container = Container::sleeping(|_| ()).started();
    let state = container.state();
    assert_ne!(container.start().code, 0);
    assert_eq!(container.state(), state);
}

fn start_of_a_stopped_container_is_an_error() {
    let container = Container::shell("echo x >> /ran", |_| ()).started();
    container.wait_for("stopped");
    assert_ne!(container.start().code, 0);
    assert_eq!(container.status(), "stopped");
    assert_eq!(std::fs::read_to_string(container.rootfs().join("ran")).unwrap(), "x\n");
}

fn start_of_no_container_is_an_error() {
    assert_ne!(Container::shell("true", |_| ()).start().code, 0);
}

/// `create` does not need a process.
pub fn start_without_a_process_is_an_error() {
    let container = Container::shell("true", |c| remove(c, "/process"));
    container.create().ok();
    assert_eq!(container.status(), "created");
    assert_ne!(container.start().code, 0);
}

fn kill_without_an_id_is_an_error() {
    without_an_id("kill");
}

fn kill_of_a_stopped_container_is_an_error() {
    let container = Container::shell("true", |_| ()).started();
    container.wait_for("stopped");
    assert_ne!(container.kill("KILL").code, 0);
    assert_eq!(container.status(), "stopped");
}

/// What the program notes when the signal comes.
#[track_caller]
fn answers(signal: &str, word: &str) {
    let script = "trap 'echo got-$S > /got; exit' $S; touch /ready; while :; do sleep 1 & wait; done";
    let container = Container::shell(script, |c| {
        c["process"]["env"] = json!(["PATH=/bin", format!("S={signal}")]);
    });
    let container = container.started();
    wharf_tests::wait_until("the trap", || container.rootfs().join("ready").exists());
    container.kill(word).ok();
    let got = container.rootfs().join("got");
    wharf_tests::wait_until("the signal", || {
        std::fs::read_to_string(&got).is_ok_and(|text| text == format!("got-{signal}\n"))
    });
}

fn kill_sends_the_signal_to_a_running_container() {
    answers("USR1", "USR1");
    answers("TERM", "TERM");
}

fn kill_sends_the_signal_to_a_created_container() {
    let container = Container::sleeping(|_| ());
    container.create().ok();
    container.kill("KILL").ok();
    container.wait_for("stopped");
}

fn kill_takes_names_and_numbers() {
    for (signal, word) in [("HUP", "SIGHUP"), ("USR2", "12"), ("INT", "2")] {
        answers(signal, word);
    }
}

fn delete_without_an_id_is_an_error() {
    without_an_id("delete");
}

fn delete_of_a_running_container_is_an_error() {
    let container = Container::sleeping(|_| ()).started();
    let state = container.state();
    assert_ne!(container.delete().code, 0);
    assert_eq!(container.state(), state);
}

pub fn delete_undoes_what_create_made() {
    let container =
        Container::sleeping(|c| c["linux"]["resources"] = json!({"pids": {"limit": 50}})).started();
    let pid = container.pid();
    let cgroup = crate::container::cgroup_of(&format!("/proc/{pid}"), "pids")
        .or_else(|| crate::container::cgroup_of(&format!("/proc/{pid}"), ""));
    let cgroup = cgroup.unwrap();
    assert!(cgroup.is_dir());
    container.stop();
    container.delete().ok();
    assert!(!cgroup.exists(), "{} is left", cgroup.display());
    assert!(!is_alive(pid));
    container.is_gone();
}

/// A namespace that somebody pinned, a folder that was bound, and what lies in them.
fn delete_leaves_what_create_did_not_make() {
    let holder = crate::world::Holder::of(&["--net"]);
    let container = Container::sleeping(|_| ());
    let kept = container.bundle().join("kept");
    let _mount = Mounting::tmpfs(&kept, nix::mount::MsFlags::empty());
    std::fs::write(kept.join("file"), "kept").unwrap();
    container.reconfigure(|c| {
        crate::container::add_namespace(c, json!({"type": "network", "path": holder.path("net")}));
        crate::container::add(
            &mut c["mounts"],
            json!({"destination": "/kept", "source": "kept", "options": ["rbind"]}),
        );
    });
    let net = crate::world::namespace(&holder.path("net"));
    let container = container.started();
    container.stop();
    container.delete().ok();
    assert_eq!(std::fs::read_to_string(kept.join("file")).unwrap(), "kept");
    assert_eq!(crate::world::namespace(&holder.path("net")), net);
    assert!(container.rootfs().join("bin/sh").exists());
}

fn id_is_free_after_delete() {
    let container = Container::shell("true", |_| ());
    for _ in 0..2 {
        container.create().ok();
        container.start().ok();
        container.wait_for("stopped");
        container.delete().ok();
    }
}
