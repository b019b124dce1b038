//! config-linux.md: seccomp's listener and "The Container Process State".

use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;

use serde_json::{Value, json};

use super::seccomp::rule;
use crate::container::{Container, refused};
use crate::listening::{Heard, Listener};

section! { SECTION = "config-linux.md" # "configLinuxSeccomp (listener)";
    "This socket MUST use AF_UNIX domain and SOCK_STREAM type." => [
        state_comes_over_a_stream_socket, listener_of_another_type_is_an_error],
    "The runtime MUST send exactly one container process state per connection." => [every_connection_carries_one_state],
    "The connection MUST NOT be reused and it MUST be closed after sending a seccomp state." => [
        every_connection_carries_one_state, exec_makes_a_connection_of_its_own],
    "If sending to this socket fails, the runtime MUST generate an error." => [
        listener_that_is_not_there_is_an_error, listener_that_nobody_listens_on_is_an_error],
    "seccompFd (string, REQUIRED) is the seccomp file descriptor returned by the seccomp syscall." => [
        seccomp_fd_is_the_filters_notification_descriptor],
    "This field MUST NOT be set if listenerPath is not set." => [metadata_without_a_listener_is_refused],
}

section! { STATE = "config-linux.md" # "containerprocessstate";
    "The container runtime MUST send the container process state over the UNIX socket as regular payload serialized in JSON and file descriptors MUST be sent using SCM_RIGHTS." => [
        state_comes_over_a_stream_socket, seccomp_fd_is_the_filters_notification_descriptor],
    "If more than one sendmsg(2) is used, the file descriptors MUST be sent only in the first call." => [
        descriptors_come_with_the_first_bytes],
    "ociVersion (string, REQUIRED) is version of the Open Container Initiative Runtime Specification with which the container process state complies." => [
        process_state_names_the_version],
    "pid (int, REQUIRED) is the container process ID, as seen by the runtime." => [process_state_has_the_pid],
    "state (state, REQUIRED) is the state of the container." => [process_state_holds_the_containers_state],
}

/// Rules of which nobody's everyday calls are.
fn notified() -> Value {
    json!({"names": ["swapon"], "action": "SCMP_ACT_NOTIFY"})
}

/// A started container with an agent, and what the agent heard.
struct Agent {
    container: Container,
    listener: Listener,
    heard: Heard,
}

impl Agent {
    #[track_caller]
    fn of_a_started_container() -> Agent {
        let container = Container::sleeping(rule(&notified()));
        let listener = Listener::at(&container.bundle().join("agent"));
        container.reconfigure(|c| {
            c["linux"]["seccomp"]["listenerPath"] = json!(listener.path);
            c["linux"]["seccomp"]["listenerMetadata"] = json!("for the agent");
            c["annotations"] = json!({"com.example.a": "b"});
        });
        let container = container.started();
        let heard = listener.hear();
        Agent { container, listener, heard }
    }

    /// All of the first connection, as one JSON document.
    #[track_caller]
    fn state(&mut self) -> Value {
        let mut bytes = self.heard.first.clone();
        bytes.extend(self.heard.rest().expect("the connection stays open"));
        serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&bytes)))
    }
}

fn state_comes_over_a_stream_socket() {
    let state = Agent::of_a_started_container().state();
    assert_eq!(state["fds"], json!(["seccompFd"]));
    assert_eq!(state["metadata"], "for the agent");
}

#[track_caller]
fn cannot_notify(make: impl FnOnce(&std::path::Path) -> Option<UnixDatagram>) {
    let container = Container::sleeping(rule(&notified()));
    let path = container.bundle().join("agent");
    let _kept = make(&path);
    container.reconfigure(|c| c["linux"]["seccomp"]["listenerPath"] = json!(path));
    assert!(container.create().code != 0 || container.start().code != 0, "nobody misses the agent");
}

fn listener_of_another_type_is_an_error() {
    cannot_notify(|path| Some(UnixDatagram::bind(path).unwrap()));
}

fn listener_that_is_not_there_is_an_error() {
    cannot_notify(|_| None);
}

fn listener_that_nobody_listens_on_is_an_error() {
    cannot_notify(|path| {
        drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        None
    });
    cannot_notify(|path| {
        std::fs::write(path, "").unwrap();
        None
    });
}

/// One document, the end of the connection, and no second connection.
fn every_connection_carries_one_state() {
    let mut agent = Agent::of_a_started_container();
    agent.state();
    assert!(!agent.listener.has_caller(200), "a second connection for one process");
}

fn exec_makes_a_connection_of_its_own() {
    let mut agent = Agent::of_a_started_container();
    let first = agent.state();
    agent.container.exec("true").ok();
    agent.heard = agent.listener.hear();
    let second = agent.state();
    assert_ne!(first["pid"], second["pid"]);
    assert_eq!(second["state"]["id"], agent.container.id.as_str());
}

fn seccomp_fd_is_the_filters_notification_descriptor() {
    let agent = Agent::of_a_started_container();
    assert_eq!(agent.heard.fds.len(), 1);
    let link = std::fs::read_link(format!("/proc/self/fd/{}", agent.heard.fds[0].as_raw_fd())).unwrap();
    assert_eq!(link.to_str().unwrap(), "anon_inode:seccomp notify");
}

fn metadata_without_a_listener_is_refused() {
    refused(|c| {
        rule(&json!({"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}))(c);
        c["linux"]["seccomp"]["listenerMetadata"] = json!("for nobody");
    });
}

fn descriptors_come_with_the_first_bytes() {
    let agent = Agent::of_a_started_container();
    assert!(!agent.heard.first.is_empty() && agent.heard.fds.len() == 1);
}

fn process_state_names_the_version() {
    let version = Agent::of_a_started_container().state()["ociVersion"].clone();
    assert!(version.as_str().is_some_and(|version| version.starts_with("1.")), "{version}");
}

fn process_state_has_the_pid() {
    let mut agent = Agent::of_a_started_container();
    assert_eq!(agent.state()["pid"], agent.container.pid());
}

fn process_state_holds_the_containers_state() {
    let mut agent = Agent::of_a_started_container();
    let state = agent.state()["state"].clone();
    assert_eq!(state["id"], agent.container.id.as_str());
    assert_eq!(state["bundle"], agent.container.bundle().to_str().unwrap());
    assert_eq!(state["annotations"]["com.example.a"], "b");
    assert!(["creating", "created", "running"].contains(&state["status"].as_str().unwrap()), "{state}");
    assert!(state["ociVersion"].is_string());
}
