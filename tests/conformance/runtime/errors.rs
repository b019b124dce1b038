//! runtime.md: "Errors" and "Warnings": a failed operation leaves the world as it was.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::config::hook;
use crate::container::{Container, add};

section! { ERRORS = "runtime.md" # "runtimeErrors";
    "Unless otherwise stated, generating an error MUST leave the state of the environment as if the operation were never attempted - modulo any possible trivial ancillary changes such as logging." => [
        failed_create_leaves_nothing_wherever_it_fails, failed_operations_leave_the_container_as_it_was],
}

section! { WARNINGS = "runtime.md" # "runtimeWarnings";
    "Unless otherwise stated, logging a warning does not change the flow of the operation; it MUST continue as if the warning had not been logged." => [
        operation_goes_on_after_a_warning],
}

/// What there is on the host that a container could have been made of. Other cases run at the same time, so only
/// what names this container is looked at.
fn traces(container: &Container) -> BTreeSet<String> {
    let bundle = container.bundle().to_str().unwrap();
    let mut traces = BTreeSet::new();
    for process in std::fs::read_dir("/proc").unwrap() {
        let path = process.unwrap().path();
        let root = std::fs::read_link(path.join("root")).unwrap_or_default();
        let command = std::fs::read_to_string(path.join("cmdline")).unwrap_or_default();
        if root.starts_with(bundle) || (command.contains(&container.id) && !command.contains("conformance")) {
            traces.insert(format!("{}: {command}", path.display()));
        }
    }
    for entry in walk(container.bundle()) {
        traces.insert(entry);
    }
    traces
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let names = entries.filter(|path| !["in", "out", "err"].iter().any(|name| path.ends_with(name)));
    names.map(|path| path.display().to_string()).collect()
}

/// A stage and how to make it fail.
type Failure = (&'static str, fn(&mut Value));

/// One way to fail for each stage of `create`, from the first to the last.
fn failures() -> Vec<Failure> {
    vec![
        ("root", |c| c["root"]["path"] = json!("nosuch")),
        ("cgroup", |c| c["linux"]["resources"] = json!({"cpu": {"cpus": "4000"}})),
        ("namespace", |c| {
            add(&mut c["linux"]["namespaces"], json!({"type": "user", "path": "/proc/self/ns/uts"}))
        }),
        ("mount", |c| add(&mut c["mounts"], json!({"destination": "/m", "type": "nosuchfs", "source": "x"}))),
        ("sysctl", |c| c["linux"]["sysctl"] = json!({"net.nosuch": "1"})),
        ("hook", |c| c["hooks"] = json!({"createContainer": [hook("exit 1")]})),
        ("program", |c| c["process"]["args"] = json!(["nosuch"])),
    ]
}

fn failed_create_leaves_nothing_wherever_it_fails() {
    for (stage, change) in failures() {
        let container = Container::shell("true", change);
        std::fs::create_dir(container.root()).unwrap();
        let before = traces(&container);
        assert_ne!(container.create().code, 0, "{stage}: create succeeds");
        container.is_gone();
        assert_eq!(traces(&container), before, "{stage}");
    }
}

fn failed_operations_leave_the_container_as_it_was() {
    let container = Container::sleeping(|_| ()).started();
    let state = container.state();
    assert_ne!(container.start().code, 0);
    assert_ne!(container.create().code, 0);
    assert_ne!(container.delete().code, 0);
    assert_ne!(container.kill("NOSUCHSIGNAL").code, 0);
    assert_ne!(container.exec("exit 9").code, 0);
    assert_eq!(container.state(), state);
}

fn operation_goes_on_after_a_warning() {
    let container = Container::shell("echo ran", |c| {
        c["process"]["capabilities"] = json!({"bounding": ["CAP_NOSUCH", "CAP_KILL"]});
    });
    assert_eq!(container.run().ok(), "ran\n");
}
