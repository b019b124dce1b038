//! A container under test: a bundle, the runtime's verbs with a deadline, and what can be said about the result.
//!
//! Over the other suites' `Sandbox` it adds a deadline for each verb, for a runtime that hangs must not take the
//! suite with it.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};
use wharf_tests::{Said, Sandbox, hierarchies, wait_until};

use crate::user;

/// Seconds a verb may take; software emulation is slow.
const DEADLINE: u16 = 60;

/// Puts the unified hierarchy in the place of all others.
pub const V2_ALONE: &str = "umount --recursive /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup";

/// A bundle and what may become of it.
pub struct Container {
    sandbox: Sandbox,
    /// Shell that changes the world of each call of the runtime; see `Container::under`.
    world: Option<String>,
}

impl std::ops::Deref for Container {
    type Target = Sandbox;
    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

impl Container {
    /// One that runs `args`, with the config after `change`.
    pub fn new(args: &[&str], change: impl FnOnce(&mut Value)) -> Container {
        let sandbox = Sandbox::new(args, |_| ());
        let mut config = config_of(&sandbox);
        let default_cgroup = config["linux"]["cgroupsPath"].clone();
        change(&mut config);
        user::hand_over(sandbox.bundle(), &mut config, &default_cgroup);
        sandbox.write_config(&config.to_string());
        Container { sandbox, world: None }
    }

    /// One that runs a shell script.
    pub fn shell(script: &str, change: impl FnOnce(&mut Value)) -> Container {
        Container::new(&["sh", "-c", script], change)
    }

    /// One that sleeps.
    pub fn sleeping(change: impl FnOnce(&mut Value)) -> Container {
        Container::new(&["sleep", "1000"], change)
    }

    /// Changes the config of the bundle.
    pub fn reconfigure(&self, change: impl FnOnce(&mut Value)) {
        let mut config = config_of(&self.sandbox);
        change(&mut config);
        self.write_config(&config.to_string());
    }

    /// Lets each call of the runtime have a mount namespace that `script` has changed.
    pub fn under(mut self, script: &str) -> Container {
        self.world = Some(script.to_owned());
        self
    }

    /// Shows the runtime a host with cgroup v2 alone, whatever this host's layout.
    pub fn on_v2(self) -> Container {
        if wharf_tests::has_cgroup_v1() { self.under(V2_ALONE) } else { self }
    }

    /// The runtime with `--root`, in its world.
    pub fn command(&self) -> Command {
        let plain = user::command(self.sandbox.command(), self.bundle());
        let Some(script) = &self.world else { return plain };
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "slave", "sh", "-c"]);
        command.arg(format!("{script} && exec \"$@\"")).arg("sh");
        command.arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
        command
    }

    /// A verb with its own options, run to its end or to the deadline.
    #[track_caller]
    pub fn verb(&self, words: &[&str]) -> Said {
        let mut command = self.command();
        command.args(words);
        self.finish(command)
    }

    /// Runs a prepared command. Output goes to files: a container that lives on would keep a pipe open. Input is an
    /// empty file and not /dev/null, which a runtime may give to the container's user: the host's, for good.
    #[track_caller]
    pub fn finish(&self, mut command: Command) -> Said {
        let [input, out, err] = ["in", "out", "err"].map(|name| self.bundle().join(name));
        let file = |path: &Path| Stdio::from(std::fs::File::create(path).unwrap());
        file(&input);
        command
            .stdin(std::fs::File::open(&input).unwrap())
            .stdout(file(&out))
            .stderr(file(&err))
            .process_group(0);
        let status = wait_for(command);
        let read = |path: &Path| std::fs::read(path).unwrap();
        Output { status, stdout: read(&out), stderr: read(&err) }.into()
    }

    /// `run`, in the foreground.
    #[track_caller]
    pub fn run(&self) -> Said {
        self.verb(&["run", "--bundle", self.bundle().to_str().unwrap(), &self.id])
    }

    /// `create`.
    #[track_caller]
    pub fn create(&self) -> Said {
        self.verb(&["create", "--bundle", self.bundle().to_str().unwrap(), &self.id])
    }

    /// `start`.
    #[track_caller]
    pub fn start(&self) -> Said {
        self.verb(&["start", &self.id])
    }

    /// `create` and `start`, both of which work; the same container.
    #[track_caller]
    pub fn started(self) -> Container {
        self.create().ok();
        self.start().ok();
        self
    }

    /// `delete`.
    #[track_caller]
    pub fn delete(&self) -> Said {
        self.verb(&["delete", &self.id])
    }

    /// `kill`.
    #[track_caller]
    pub fn kill(&self, signal: &str) -> Said {
        self.verb(&["kill", &self.id, signal])
    }

    /// `exec` of a shell script.
    #[track_caller]
    pub fn exec(&self, script: &str) -> Said {
        self.verb(&["exec", &self.id, "sh", "-c", script])
    }

    /// The state document.
    #[track_caller]
    pub fn state(&self) -> Value {
        serde_json::from_str(&self.verb(&["state", &self.id]).ok()).unwrap()
    }

    /// Its status.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    /// Its first process, as the host counts.
    #[track_caller]
    pub fn pid(&self) -> u64 {
        self.state()["pid"].as_u64().unwrap()
    }

    /// Kills it and waits until it is stopped.
    #[track_caller]
    pub fn stop(&self) {
        self.kill("KILL").ok();
        self.wait_for("stopped");
    }

    /// Waits for a status, which nothing announces to one who is not the parent.
    #[track_caller]
    pub fn wait_for(&self, status: &str) {
        wait_until(&format!("status {status}"), || self.status() == status);
    }

    /// Asserts that there is no such container and nothing of it: no state, cgroup, mount.
    #[track_caller]
    pub fn is_gone(&self) {
        let said = self.verb(&["state", &self.id]);
        assert_ne!(said.code, 0, "the container is there: {}", said.out);
        self.sandbox.assert_nothing_left();
    }

    /// A file of its cgroup, in whatever hierarchy has `controller`; the folder is asked of the kernel.
    #[track_caller]
    pub fn cgroup(&self, controller: &str) -> PathBuf {
        cgroup_of(&format!("/proc/{}", self.pid()), controller)
            .unwrap_or_else(|| panic!("no {controller} hierarchy has the container"))
    }
}

impl Drop for Container {
    /// The sandbox does the same at its end, but not in this world. What a runtime still leaves is no result of the
    /// next one.
    fn drop(&mut self) {
        self.command().args(["delete", "--force", &self.sandbox.id]).output().ok();
        for hierarchy in hierarchies() {
            std::fs::remove_dir(self.sandbox.cgroup(&hierarchy)).ok();
        }
    }
}

/// The folder of a process's cgroup in the hierarchy of a v1 controller, or in the unified one for `""`.
pub fn cgroup_of(process: &str, controller: &str) -> Option<PathBuf> {
    let text = std::fs::read_to_string(format!("{process}/cgroup")).unwrap();
    let fields = text.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
    let path =
        fields.filter(|f| f[1].split(',').any(|name| name == controller)).map(|f| f[2].to_owned()).next()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = mounts.lines().find(|line| {
        let (_, end) = line.split_once(" - ").unwrap();
        let fields: Vec<&str> = end.split(' ').collect();
        if controller.is_empty() {
            fields[0] == "cgroup2"
        } else {
            fields[0] == "cgroup" && fields[2].split(',').any(|name| name == controller)
        }
    })?;
    Some(Path::new(mount.split(' ').nth(4).unwrap()).join(path.trim_start_matches('/')))
}

/// Whether a process is there and no zombie: one that has ended waits for its new parent, which takes its time.
pub fn is_alive(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
}

fn config_of(sandbox: &Sandbox) -> Value {
    serde_json::from_slice(&std::fs::read(sandbox.bundle().join("config.json")).unwrap()).unwrap()
}

/// Waits for a command; at the deadline it is killed, and the case has failed.
#[track_caller]
fn wait_for(mut command: Command) -> ExitStatus {
    let mut child = command.spawn().unwrap();
    let pid = Pid::from_child(&child);
    let fd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let mut fds = [PollFd::new(std::os::fd::AsFd::as_fd(&fd), PollFlags::POLLIN)];
    if poll(&mut fds, PollTimeout::from(DEADLINE * 1000).min(PollTimeout::MAX)).unwrap() == 0 {
        pidfd_send_signal(&fd, Signal::KILL).unwrap();
        child.wait().unwrap();
        panic!("hangs: {command:?}");
    }
    child.wait().unwrap()
}

/// What a script prints in a container whose config was changed.
#[track_caller]
pub fn inside(script: &str, change: impl FnOnce(&mut Value)) -> String {
    Container::shell(script, change).run().ok()
}

/// `create` must refuse this config and leave nothing; returns what it said.
#[track_caller]
pub fn refused(change: impl FnOnce(&mut Value)) -> String {
    let container = Container::shell("true", change);
    let said = container.create();
    assert_ne!(said.code, 0, "create accepts it");
    container.is_gone();
    said.err
}

/// A container of this config runs.
#[track_caller]
pub fn accepted(change: impl FnOnce(&mut Value)) {
    Container::shell("true", change).run().ok();
}

/// Appends to a list of the config, which may not be there yet.
pub fn add(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}

/// Adds a namespace.
pub fn add_namespace(config: &mut Value, namespace: Value) {
    remove_namespace(config, namespace["type"].as_str().unwrap());
    add(&mut config["linux"]["namespaces"], namespace);
}

/// Takes a namespace away.
pub fn remove_namespace(config: &mut Value, kind: &str) {
    config["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != kind);
}

/// A user namespace that maps everything from 100000 on; `Container::give_away` makes the root fit it.
pub fn add_user_namespace(config: &mut Value) {
    add_namespace(config, json!({"type": "user"}));
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
}

impl Container {
    /// Lets the ids of `add_user_namespace` reach and own the root.
    pub fn give_away(self) -> Container {
        use std::os::unix::fs::{PermissionsExt as _, chown};
        for folder in ["", "dev", "proc", "sys", "tmp"] {
            chown(self.rootfs().join(folder), Some(100_000), Some(100_000)).unwrap();
        }
        std::fs::set_permissions(self.bundle(), std::fs::Permissions::from_mode(0o755)).unwrap();
        self
    }
}

/// The field at `pointer` is REQUIRED: with it the config is accepted, without it refused.
#[track_caller]
pub fn required(pointer: &str, change: impl Fn(&mut Value)) {
    Container::shell("true", &change).create().ok();
    refused(|c| {
        change(c);
        remove(c, pointer);
    });
}

/// Takes away what a JSON pointer names.
#[track_caller]
pub fn remove(config: &mut Value, pointer: &str) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let removed = config.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
    assert!(removed.is_some(), "{pointer} is not there");
}

impl Container {
    /// `run` by a shell that does `first` to itself before.
    #[track_caller]
    pub fn run_under(&self, first: &str) -> Said {
        let run = self.command();
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{first} && exec \"$@\"")).arg("sh").stdin(Stdio::null());
        command.arg(run.get_program()).args(run.get_args());
        command.args(["run", "--bundle"]).arg(self.bundle()).arg(&self.id);
        self.finish(command)
    }
}
