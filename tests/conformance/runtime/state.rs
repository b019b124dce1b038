//! runtime.md: "Scope of a Container" and "State".

use serde_json::Value;

use crate::config::hooks_see_the_pid_of_their_own_namespace;
use crate::container::Container;

section! { SCOPE = "runtime.md" # "runtimeScopeContainer";
    "The entity using a runtime to create a container MUST be able to use the operations defined in this specification against that same container." => [
        creator_can_use_every_operation],
}

section! { SECTION = "runtime.md" # "runtimeState";
    "ociVersion (string, REQUIRED) is version of the Open Container Initiative Runtime Specification with which the state complies." => [
        state_names_a_version_of_the_specification],
    "id (string, REQUIRED) is the container's ID." => [state_has_the_id],
    "This MUST be unique across all containers on this host." => [id_that_is_taken_is_refused],
    "status (string, REQUIRED) is the runtime state of the container." => [status_follows_the_life_of_the_container],
    "Additional values MAY be defined by the runtime, however, they MUST be used to represent new runtime states not defined above." => [
        status_of_a_living_container_is_never_one_of_its_own],
    "pid (int, REQUIRED when status is created or running on Linux, OPTIONAL on other platforms) is the ID of the container process." => [
        state_has_the_pid_of_the_containers_process, hooks_see_the_pid_of_their_own_namespace],
    "bundle (string, REQUIRED) is the absolute path to the container's bundle directory." => [
        bundle_in_the_state_is_absolute],
    "When serialized in JSON, the format MUST adhere to the JSON Schema schema/state-schema.json." => [
        state_adheres_to_the_schema],
}

fn creator_can_use_every_operation() {
    let container = Container::sleeping(|_| ());
    container.create().ok();
    container.state();
    container.start().ok();
    container.kill("KILL").ok();
    container.wait_for("stopped");
    container.delete().ok();
    container.is_gone();
}

fn state_names_a_version_of_the_specification() {
    let container = Container::sleeping(|_| ());
    container.create().ok();
    let state = container.state();
    let version = state["ociVersion"].as_str().unwrap();
    let numbers: Vec<&str> = version.split(['-', '+']).next().unwrap().split('.').collect();
    assert!(numbers.len() == 3 && numbers.iter().all(|n| n.parse::<u32>().is_ok()), "{version}");
}

fn state_has_the_id() {
    let container = Container::sleeping(|_| ());
    container.create().ok();
    assert_eq!(container.state()["id"], container.id.as_str());
}

/// The first keeps its process and its status.
pub fn id_that_is_taken_is_refused() {
    let container = Container::sleeping(|_| ()).started();
    let pid = container.pid();
    assert_ne!(container.create().code, 0);
    assert_eq!((container.pid(), container.status().as_str()), (pid, "running"));
}

pub fn status_follows_the_life_of_the_container() {
    let container = Container::sleeping(|_| ());
    container.create().ok();
    assert_eq!(container.status(), "created");
    container.start().ok();
    assert_eq!(container.status(), "running");
    container.kill("KILL").ok();
    container.wait_for("stopped");
}

/// A signal that the program survives changes nothing.
fn status_of_a_living_container_is_never_one_of_its_own() {
    let container =
        Container::shell("trap : USR1; touch /ready; while :; do sleep 1; done", |_| ()).started();
    wharf_tests::wait_until("the trap", || container.rootfs().join("ready").exists());
    container.kill("USR1").ok();
    assert_eq!(container.status(), "running");
}

fn state_has_the_pid_of_the_containers_process() {
    let container = Container::sleeping(|_| ());
    container.create().ok();
    let created = container.pid();
    container.start().ok();
    assert_eq!(container.pid(), created);
    let command = || std::fs::read_to_string(format!("/proc/{created}/cmdline")).unwrap();
    wharf_tests::wait_until("the program", || command() == "sleep\u{0}1000\u{0}");
}

fn bundle_in_the_state_is_absolute() {
    let container = Container::sleeping(|_| ());
    let mut command = std::process::Command::new("sh");
    let run = container.command();
    command.args(["-c", "cd \"$0\" && exec \"$@\""]).arg(container.bundle()).arg(run.get_program());
    command.args(run.get_args()).args(["create", "--bundle", ".", &container.id]);
    command.stdin(std::process::Stdio::null());
    container.finish(command).ok();
    assert_eq!(container.state()["bundle"], container.bundle().to_str().unwrap());
}

/// The schema itself is not part of this project; these are its rules.
fn state_adheres_to_the_schema() {
    let container = Container::sleeping(|c| c["annotations"] = serde_json::json!({"com.example.a": "b"}));
    for step in [Container::create, Container::start] {
        step(&container).ok();
        let state = container.state();
        for key in ["ociVersion", "id", "status", "bundle"] {
            assert!(state[key].is_string(), "{key}: {state}");
        }
        assert!(["creating", "created", "running", "stopped"].contains(&state["status"].as_str().unwrap()));
        assert!(state["pid"].as_i64().is_some_and(|pid| pid >= 0), "{state}");
        assert!(state["annotations"].as_object().unwrap().values().all(Value::is_string), "{state}");
    }
}
