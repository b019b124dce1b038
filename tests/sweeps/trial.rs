//! One verb on a container that uses most of what there is, under whatever a sweep does to it, and what must hold
//! after: it has not hung nor panicked; a failed `create` or `run` has left nothing, and `delete --force` clears up after
//! every other verb; a message says what was being done.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::Pid;
use serde_json::json;
use wharf_tests::{Sandbox, patience, runtime_path};

use crate::tracer::{Action, Outcome, Stop, Traced};

/// What is said of a container that has ended meanwhile, here by the fault itself; what was being done does not matter then.
const ENDED: [&str; 4] = [
    "container not running",
    "cannot start a container that has stopped",
    "cannot exec in a stopped container",
    "init has died before it executed the program",
];

/// No command may take longer.
pub const LIMIT: Duration = Duration::from_secs(2);

/// A verb with its arguments, those that go before it, and one point in how many an ordinary run takes: odd numbers, for
/// else it would always be the same of the eight errors.
pub struct Verb {
    pub name: &'static str,
    pub arguments: &'static [&'static str],
    pub before: &'static [&'static str],
    pub one_in: usize,
}

const RUNNING: &[&str] = &["create", "start"];
const LIMITS: &[&str] = &["--memory", "64m", "--cpu-quota", "50000", "--pids-limit", "50"];

pub const VERBS: [Verb; 10] = [
    Verb { name: "create", arguments: &[], before: &[], one_in: 61 },
    Verb { name: "run", arguments: &[], before: &[], one_in: 91 },
    Verb { name: "start", arguments: &[], before: &["create"], one_in: 41 },
    Verb { name: "exec", arguments: &["true"], before: RUNNING, one_in: 51 },
    Verb { name: "update", arguments: LIMITS, before: RUNNING, one_in: 21 },
    Verb { name: "pause", arguments: &[], before: RUNNING, one_in: 21 },
    Verb { name: "resume", arguments: &[], before: &["create", "start", "pause"], one_in: 21 },
    Verb { name: "kill", arguments: &["KILL"], before: RUNNING, one_in: 21 },
    Verb { name: "state", arguments: &[], before: RUNNING, one_in: 21 },
    Verb { name: "delete", arguments: &["--force"], before: RUNNING, one_in: 41 },
];

/// A container that uses most of what there is.
fn sandbox(program: &[&str]) -> Sandbox {
    Sandbox::new(program, |config| {
        let process = &mut config["process"];
        process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 100}]);
        process["oomScoreAdj"] = json!(10);
        process["noNewPrivileges"] = json!(true);
        let kill = json!(["CAP_KILL"]);
        process["capabilities"] = json!({"bounding": kill, "permitted": kill, "effective": kill});
        config["hooks"] = json!({
            "createRuntime": [{"path": "/bin/true", "timeout": 60}],
            "startContainer": [{"path": "/bin/true"}],
            "poststop": [{"path": "/bin/true"}],
        });
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.extend([
            json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}),
            json!({"destination": "/mnt/bound", "type": "bind", "source": "/usr/share", "options": ["rbind", "ro"]}),
        ]);
        let linux = &mut config["linux"];
        linux["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
        linux["maskedPaths"] = json!(["/proc/kcore", "/sys/firmware"]);
        linux["readonlyPaths"] = json!(["/proc/sys"]);
        linux["sysctl"] = json!({"kernel.shm_rmid_forced": "0"});
        linux["devices"] = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]);
        linux["resources"] = json!({
            "memory": {"limit": 100_000_000}, "pids": {"limit": 100},
            "devices": [{"allow": false, "access": "rwm"}],
        });
        linux["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}],
        });
    })
}

pub struct Trial<'a> {
    pub verb: &'a Verb,
    pub sandbox: Sandbox,
    /// What is in the bundle before.
    files: Vec<PathBuf>,
}

/// What one run came to.
pub struct Ran {
    pub outcome: Outcome,
    pub said: String,
}

fn inside(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

impl<'a> Trial<'a> {
    pub fn new(verb: &'a Verb) -> Trial<'a> {
        let sandbox = sandbox(if verb.name == "run" { &["true"] } else { &["sleep", "1000"] });
        for name in ["out", "err", "traced"] {
            std::fs::write(sandbox.bundle().join(name), "").unwrap();
        }
        std::fs::create_dir(sandbox.root()).unwrap();
        let trial = Trial { files: inside(sandbox.bundle()), verb, sandbox };
        // Once, so that the mount points are there, and each further time takes the same calls.
        let first = trial.once(&trial.command(), LIMIT * 30 * patience(), |_| Action::Go);
        assert_eq!(first.outcome.code, 0, "{}", first.said);
        trial.clear();
        trial
    }

    fn makes(&self) -> bool {
        matches!(self.verb.name, "create" | "run")
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(runtime_path());
        command.arg("--root").arg(self.sandbox.root()).arg(self.verb.name);
        if self.makes() {
            command.arg("--bundle").arg(self.sandbox.bundle());
            command.arg("--pid-file").arg(self.sandbox.bundle().join("pid"));
        }
        match self.verb.name {
            "exec" | "kill" => command.arg(&self.sandbox.id).args(self.verb.arguments),
            _ => command.args(self.verb.arguments).arg(&self.sandbox.id),
        };
        command
    }

    /// The verb once, on a container of its own, by `command`, which is [`Trial::command`] or starts it.
    pub fn once(&self, command: &Command, deadline: Duration, at: impl FnMut(&Stop) -> Action + Send) -> Ran {
        for verb in self.verb.before {
            match *verb {
                "create" => self.sandbox.create().ok(),
                other => self.sandbox.verb(&[other, &self.sandbox.id]).ok(),
            };
        }
        let parked = || Pid::from_raw(self.sandbox.state()["pid"].as_i64().unwrap() as i32);
        let output = self.sandbox.bundle().join("traced");
        let besides = (self.verb.name == "start").then(parked);
        let outcome = Traced { command, output: &output, deadline, besides }.run(at);
        Ran { outcome, said: std::fs::read_to_string(output).unwrap() }
    }

    /// What is wrong after it; `speaks`: it could say what was wrong.
    pub fn judge(&self, Ran { outcome, said }: &Ran, speaks: bool) -> Vec<String> {
        let mut faults = Vec::new();
        if !outcome.hung.is_empty() {
            faults.push(format!("hangs: {:?}", outcome.hung));
        }
        if said.contains("panicked") || said.contains("memory allocation of") || died(outcome.code) {
            faults.push(format!("dies: {}", outcome.code));
        }
        let failed = outcome.code != 0;
        if failed && speaks && !says_the_step(said) {
            faults.push("the message does not say what was being done".to_owned());
        }
        let undoes = match self.makes() {
            true => failed || self.verb.name == "run",
            false => self.verb.name == "delete" && !failed,
        };
        if undoes {
            faults.extend(self.left());
        }
        let deleted = self.sandbox.verb(&["delete", "--force", &self.sandbox.id]);
        if deleted.code != 0 {
            faults.push(format!("delete --force fails: {}", deleted.err));
        }
        faults.extend(self.left().into_iter().map(|left| format!("after delete --force, {left}")));
        std::fs::remove_file(self.sandbox.bundle().join("pid")).ok(); // who makes no container writes none
        faults
    }

    pub fn clear(&self) {
        self.sandbox.verb(&["delete", "--force", &self.sandbox.id]);
        std::fs::remove_file(self.sandbox.bundle().join("pid")).ok();
    }

    /// What there is that was not there before.
    pub fn left(&self) -> Vec<String> {
        let bundle = self.sandbox.bundle();
        let mut left: Vec<PathBuf> = inside(&self.sandbox.root());
        let new = |path: &PathBuf| !self.files.contains(path) && !path.ends_with("pid");
        left.extend(inside(bundle).into_iter().filter(new));
        let groups = wharf_tests::hierarchies().into_iter().map(|hierarchy| self.sandbox.cgroup(&hierarchy));
        left.extend(groups.filter(|path| path.exists()));
        left.extend(inside(Path::new("/proc")).into_iter().filter(|path| is_ours_alive(path, bundle)));
        let mut left: Vec<String> = left.iter().map(|path| format!("left: {}", path.display())).collect();
        if std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(bundle.to_str().unwrap()) {
            left.push("left: a mount".to_owned());
        }
        left
    }
}

/// A signal, or the shell's number for one; 255 is what a failed `exec` says.
fn died(code: i32) -> bool {
    code > 128 && code != 255
}

/// Whether a process of /proc was started with the bundle's path among its words and has not ended.
fn is_ours_alive(process: &Path, bundle: &Path) -> bool {
    let own = process.file_name().is_some_and(|name| name.to_str() == Some(&std::process::id().to_string()));
    let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
    let state = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    !own && String::from_utf8_lossy(&line).contains(bundle.to_str().unwrap()) && !state.contains(") Z ")
}

/// Whether the last line names what was being done, beside the verb, the container and the error itself.
fn says_the_step(said: &str) -> bool {
    let Some(line) = said.lines().rev().find(|line| !line.trim().is_empty()) else { return false };
    if ENDED.iter().any(|words| line.ends_with(words)) {
        return true;
    }
    let frame = |part: &str| {
        let program = runtime_path().file_name().unwrap().to_str().unwrap().to_owned();
        part.is_empty()
            || part == "error"
            || part.starts_with(&program) && !part.contains('/')
            || part.starts_with("unable to start container process")
            || part.starts_with("error during container init")
            || VERBS.iter().any(|verb| part.starts_with(&format!("{} \"", verb.name)))
    };
    line.split(": ").filter(|part| !frame(part)).count() >= 2
}
