//! config.md: "POSIX-platform Hooks": the objects; and the witness that the calls are seen by.
//!
//! A `Witness` is a container with one hook program for all six kinds. Each call notes its state document, its
//! namespaces and its place in the order, in a folder of the container's root that is reached from both sides.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::container::{Container, refused, required};

section! { SECTION = "config.md" # "configHooks";
    "path (string, REQUIRED) with similar semantics to IEEE Std 1003.1-2008 execv's path." => [hook_without_a_path_is_refused],
    "This specification extends the IEEE standard in that path MUST be absolute." => [relative_hook_path_is_refused],
    "If set, timeout MUST be greater than zero." => [timeout_that_is_not_positive_is_refused, hook_that_outlives_its_timeout_is_a_failure],
    "The value of path MUST resolve in the runtime namespace." => [
        prestart_path_resolves_in_the_runtime_namespace, create_runtime_path_resolves_in_the_runtime_namespace,
        create_container_path_resolves_in_the_runtime_namespace, poststart_path_resolves_in_the_runtime_namespace,
        poststop_path_resolves_in_the_runtime_namespace],
    "The value of path MUST resolve in the container namespace." => [start_container_path_resolves_in_the_container],
    "Hooks MUST be called in the listed order." => [hooks_of_each_kind_are_called_in_the_listed_order],
    "The state of the container MUST be passed to hooks over stdin so that they may do work appropriate to the current state of the container." => [
        every_hook_reads_the_state_on_stdin, status_in_the_state_is_the_one_of_the_moment,
        hooks_get_their_args_and_env],
}

/// The kinds in the order of the life cycle.
pub const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// What each call notes; `$1` is the kind and `$2` the folder for notes. In the host's `/bin/sh` or in busybox.
const PROGRAM: &str = r#"#!/bin/sh
PATH=/usr/bin:/bin
cat > $2/$1.state
echo $1 >> $2/order
for n in mnt pid net ipc uts; do readlink /proc/self/ns/$n; done > $2/$1.namespaces
pid=$(grep -o '"pid": *[0-9]*' $2/$1.state | grep -o '[0-9]*$')
tr '\0' ' ' < /proc/$pid/cmdline > $2/$1.program
if [ /proc/$pid/root/ -ef / ]; then echo host; else echo pivoted; fi > $2/$1.root
readlink /proc/$pid/ns/uts > $2/$1.uts
cat /proc/self/mountinfo > $2/$1.mounts
ls -d /proc/$pid > $2/$1.process
exit 0
"#;

/// A container whose hooks are watched.
pub struct Witness {
    /// It sleeps once its program has said that it runs.
    pub container: Container,
}

impl Witness {
    /// Before `create`.
    pub fn new(change: impl FnOnce(&mut Value)) -> Witness {
        let container = Container::shell("echo program >> /seen/order; exec sleep 1000", change);
        let program = container.bundle().join("hook");
        for path in [&program, &container.rootfs().join("inner-hook")] {
            std::fs::write(path, PROGRAM).unwrap();
            std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        let notes = container.rootfs().join("seen");
        std::fs::create_dir(&notes).unwrap();
        let hook = |kind: &str| match kind {
            "startContainer" => json!([{"path": "/inner-hook", "args": ["hook", kind, "/seen"]}]),
            _ => json!([{"path": program, "args": ["hook", kind, notes]}]),
        };
        let hooks: serde_json::Map<_, _> =
            KINDS.iter().map(|kind| ((*kind).to_owned(), hook(kind))).collect();
        container.reconfigure(|c| c["hooks"] = Value::Object(hooks));
        Witness { container }
    }

    /// After `create`.
    #[track_caller]
    pub fn created() -> Witness {
        let this = Witness::new(|_| ());
        this.container.create().ok();
        this
    }

    /// After `start`.
    #[track_caller]
    pub fn started() -> Witness {
        let this = Witness::created();
        this.container.start().ok();
        this
    }

    /// After `delete`.
    #[track_caller]
    pub fn deleted() -> Witness {
        let this = Witness::started();
        this.container.stop();
        this.container.delete().ok();
        this
    }

    fn path(&self, file: &str) -> PathBuf {
        self.container.rootfs().join("seen").join(file)
    }

    /// What the hook of a kind noted under a heading; empty if it has not run.
    pub fn noted(&self, kind: &str, heading: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{kind}.{heading}"))).unwrap_or_default()
    }

    /// The calls so far, with the program's own note.
    pub fn order(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("order")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Asserts that a hook has run.
    #[track_caller]
    pub fn has_run(&self, kind: &str) {
        assert!(self.order().iter().any(|one| one == kind), "{kind} has not run: {:?}", self.order());
    }

    /// Asserts that a hook has not run.
    #[track_caller]
    pub fn has_not_run(&self, kind: &str) {
        assert!(!self.order().iter().any(|one| one == kind), "{kind} has run: {:?}", self.order());
    }
}

/// A hook that is a line of shell.
pub fn hook(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
}

fn hook_without_a_path_is_refused() {
    for kind in KINDS {
        required(&format!("/hooks/{kind}/0/path"), |c| {
            c["hooks"] = json!({kind: [{"path": "/bin/true", "args": ["true"]}]})
        });
    }
}

fn relative_hook_path_is_refused() {
    for kind in KINDS {
        refused(|c| c["hooks"] = json!({kind: [{"path": "bin/true"}]}));
    }
}

fn timeout_that_is_not_positive_is_refused() {
    for timeout in [0, -1] {
        refused(|c| c["hooks"] = json!({"poststop": [{"path": "/bin/true", "timeout": timeout}]}));
    }
}

fn hook_that_outlives_its_timeout_is_a_failure() {
    refused(|c| {
        let mut slow = hook("sleep 600");
        slow["timeout"] = json!(1);
        c["hooks"] = json!({"createRuntime": [slow]});
    });
}

/// The program is in the bundle, which no path inside the container leads to.
#[track_caller]
fn path_resolves_outside(kind: &str) {
    Witness::deleted().has_run(kind);
}

fn prestart_path_resolves_in_the_runtime_namespace() {
    path_resolves_outside("prestart");
}

fn create_runtime_path_resolves_in_the_runtime_namespace() {
    path_resolves_outside("createRuntime");
}

fn create_container_path_resolves_in_the_runtime_namespace() {
    path_resolves_outside("createContainer");
}

fn poststart_path_resolves_in_the_runtime_namespace() {
    path_resolves_outside("poststart");
}

fn poststop_path_resolves_in_the_runtime_namespace() {
    path_resolves_outside("poststop");
}

fn start_container_path_resolves_in_the_container() {
    Witness::started().has_run("startContainer");
}

fn hooks_of_each_kind_are_called_in_the_listed_order() {
    for kind in KINDS {
        let container = Container::shell("true", |_| ());
        let log = container.rootfs().join("log");
        let place = if kind == "startContainer" { "/log" } else { log.to_str().unwrap() };
        let hooks: Vec<Value> = (1..=5).map(|n| hook(&format!("echo {n} >> {place}"))).collect();
        container.reconfigure(|c| c["hooks"] = json!({kind: hooks}));
        container.run().ok();
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "1\n2\n3\n4\n5\n", "{kind}");
    }
}

fn every_hook_reads_the_state_on_stdin() {
    let witness = Witness::new(|c| c["annotations"] = json!({"com.example.a": "b"}));
    let container = &witness.container;
    container.create().ok();
    container.start().ok();
    container.stop();
    container.delete().ok();
    for kind in KINDS {
        let state: Value = serde_json::from_str(&witness.noted(kind, "state"))
            .unwrap_or_else(|e| panic!("{kind}: {e}: {:?}", witness.noted(kind, "state")));
        assert_eq!(state["id"], container.id.as_str(), "{kind}");
        assert_eq!(state["bundle"], container.bundle().to_str().unwrap(), "{kind}");
        assert_eq!(state["annotations"]["com.example.a"], "b", "{kind}");
        assert!(state["status"].is_string() && state["ociVersion"].is_string(), "{kind}: {state}");
    }
}

fn status_in_the_state_is_the_one_of_the_moment() {
    let witness = Witness::deleted();
    let status = |kind: &str| {
        let state: Value = serde_json::from_str(&witness.noted(kind, "state")).unwrap_or_default();
        format!("{kind} {}", state["status"].as_str().unwrap_or("none"))
    };
    assert_eq!(
        KINDS.map(status),
        [
            "prestart created",
            "createRuntime created",
            "createContainer created",
            "startContainer created",
            "poststart running",
            "poststop stopped"
        ]
    );
}

fn hooks_get_their_args_and_env() {
    let container = Container::shell("true", |_| ());
    let log = container.bundle().join("log");
    container.reconfigure(|c| {
        let script = format!("echo \"$0 $1 $A\" > {}", log.display());
        c["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script, "zero", "one"], "env": ["A=two"]}]});
    });
    container.create().ok();
    assert_eq!(std::fs::read_to_string(log).unwrap(), "zero one two\n");
}

/// Of the state's `pid`: "For hooks executed in the container namespace, it is the pid as seen by the container."
pub fn hooks_see_the_pid_of_their_own_namespace() {
    let witness = Witness::started();
    let pid =
        |kind: &str| serde_json::from_str::<Value>(&witness.noted(kind, "state")).unwrap()["pid"].as_u64();
    let outer = Some(witness.container.pid());
    let seen = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"].map(pid);
    assert_eq!(seen, [outer, outer, Some(1), Some(1), outer]);
}
