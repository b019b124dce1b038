//! The verbs that are swept, each with what must be there before, and two containers: one with most of what a
//! config can ask for, and one with little.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use wharf_tests::{Said, Sandbox, base_config};

use crate::remains::MARK;

/// A verb with its words, and the container that it is used on.
pub struct Scenario {
    /// The verb, `run --detach` for one.
    pub verb: &'static str,
    /// Whether the container has most of what there is.
    pub full: bool,
    /// The bundle.
    pub sandbox: Sandbox,
    console: Option<(UnixListener, PathBuf)>,
}

/// What the container's program and exec's say when they have run.
pub const WORD: &str = "has-run";

impl Scenario {
    /// Lays the bundle.
    pub fn new(verb: &'static str, full: bool) -> Scenario {
        let mut sandbox = Sandbox::new(&[], |_| {});
        // One name for cgroups at two depths, so that they are found by it.
        sandbox.id = sandbox.id.replace("test", "sweep");
        let console = (full && verb != "run").then(|| {
            let path = sandbox.bundle().join("console");
            let listener = UnixListener::bind(&path).unwrap();
            listener.set_nonblocking(true).unwrap();
            (listener, path)
        });
        // In the foreground it has to end.
        let script = if verb == "run" { format!("echo {WORD}") } else { "exec sleep 1000".to_owned() };
        let mut config = base_config(&["sh", "-c", &script]);
        config["process"]["env"] = json!(["PATH=/bin", format!("{MARK}={}", sandbox.id)]);
        let kinds = config["linux"]["namespaces"].as_array_mut().unwrap();
        match full {
            true => fill(&sandbox, &mut config, console.is_some()),
            // Its processes do not end with its init.
            false => kinds.retain(|kind| kind["type"] != "pid"),
        }
        sandbox.write_config(&config.to_string());
        Scenario { verb, full, sandbox, console }
    }

    /// What it is called.
    pub fn name(&self) -> String {
        format!("{} ({})", self.verb, if self.full { "full" } else { "minimal" })
    }

    /// The verbs that come before.
    pub fn before(&self) -> &'static [&'static str] {
        match self.verb {
            "create" | "run" | "run --detach" => &[],
            "start" => &["create"],
            "resume" => &["create", "start", "pause"],
            _ => &["create", "start"],
        }
    }

    /// Whether the parked init does a part of the verb.
    pub fn involves_init(&self) -> bool {
        self.verb == "start"
    }

    /// A verb as a command.
    pub fn command(&self, verb: &str) -> Command {
        let mut command = self.sandbox.command();
        command.env(MARK, &self.sandbox.id).args(verb.split(' '));
        if matches!(verb, "create" | "run" | "run --detach") {
            command.arg("--bundle").arg(self.sandbox.bundle());
            if let Some((_, path)) = &self.console {
                command.arg("--console-socket").arg(path);
            }
        }
        if verb == "update" {
            command.args(["--memory", "67108864", "--pids-limit", "64", "--cpu-share", "512"]);
        }
        command.arg(&self.sandbox.id);
        match verb {
            "kill" => command.arg("KILL"),
            "exec" => command.args(["sh", "-c", &format!("echo {WORD}")]),
            _ => &mut command,
        };
        command
    }

    /// Closes the terminals that have come over the console socket.
    pub fn close_terminals(&self) {
        while self.console.as_ref().is_some_and(|(listener, _)| listener.accept().is_ok()) {}
    }
}

/// Runs a command to its end; `None` if that does not come.
pub fn finish(mut command: Command, limit: Duration) -> Option<Said> {
    use rustix::event::{PollFd, PollFlags, Timespec};
    // Files: a container that lives on would keep a pipe open.
    let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let stream = |file: &std::fs::File| Stdio::from(file.try_clone().unwrap());
    let mut child = command.stdout(stream(&out)).stderr(stream(&err)).spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    let limit = Timespec::try_from(limit).unwrap();
    let ended = rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).unwrap() == 1;
    if !ended {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    let read = |mut file: std::fs::File| {
        let mut bytes = Vec::new();
        std::io::Seek::rewind(&mut file).unwrap();
        std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        bytes
    };
    let output = std::process::Output { status, stdout: read(out), stderr: read(err) };
    ended.then(|| output.into())
}

/// Hooks of every kind, a terminal, volumes, limits, devices, a filter, masked paths, a user and a cgroup namespace, a
/// cgroup below others that are not there.
fn fill(sandbox: &Sandbox, config: &mut Value, terminal: bool) {
    let volume = sandbox.bundle().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("file"), "").unwrap();
    config["process"]["terminal"] = json!(terminal);
    config["process"]["noNewPrivileges"] = json!(true);
    config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024}]);
    let mounts = config["mounts"].as_array_mut().unwrap();
    let bind = |from: PathBuf, to: &str| json!({"destination": to, "type": "bind", "source": from, "options": ["bind"]});
    mounts.push(bind(volume.clone(), "/volume"));
    mounts.push(bind(volume.join("file"), "/etc/file"));
    let linux = &mut config["linux"];
    let kinds = linux["namespaces"].as_array_mut().unwrap();
    kinds.extend([json!({"type": "user"}), json!({"type": "cgroup"})]);
    let ids = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
    (linux["uidMappings"], linux["gidMappings"]) = (ids.clone(), ids);
    linux["cgroupsPath"] = json!(format!("/{}/above/box", sandbox.id));
    linux["resources"] = json!({
        "memory": {"limit": 134_217_728}, "pids": {"limit": 100}, "cpu": {"shares": 1024},
        "devices": [{"allow": false, "access": "rwm"}],
    });
    linux["maskedPaths"] = json!(["/proc/kcore", "/sys/firmware"]);
    linux["readonlyPaths"] = json!(["/proc/sys"]);
    linux["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}],
    });
    let hook = json!([{"path": "/bin/busybox", "args": ["true"]}]);
    let kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    config["hooks"] =
        kinds.iter().map(|kind| ((*kind).to_owned(), hook.clone())).collect::<serde_json::Map<_, _>>().into();
}
