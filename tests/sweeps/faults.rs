//! The fault sweep: every system call of every process that a verb starts is made to fail once, with each of eight
//! errors. Then there is no panic and no hang; a failed `create` or `run` has left nothing, and `delete --force` clears up
//! after every other verb; what was only interrupted has not failed; and a message says what was being done.
//!
//! All faults are some ten thousands. By default every nth is made, the same ones each time; `WHARF_SWEEP=other` begins at
//! another one each time, `WHARF_SWEEP=all` makes all, `WHARF_SWEEP=7+3` every 7th from the 3rd, `WHARF_SWEEP=EINTR` all with
//! that error, and `WHARF_SWEEP='caller.1#42 EINTR'` one. `WHARF_SWEEP_OUT=file` appends the figures there and does not
//! fail: so other runtimes are measured.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;
use serde_json::json;
use wharf_tests::{Sandbox, is_ours, patience, runtime_path};

use crate::tracer::{Action, Call, Outcome, Role, Traced};

const ERRORS: [Errno; 8] = [
    Errno::ENOMEM,
    Errno::EIO,
    Errno::EINTR,
    Errno::EAGAIN,
    Errno::ENOSPC,
    Errno::EMFILE,
    Errno::EPERM,
    Errno::ENOSYS,
];

/// Calls that have no errors (their manual pages), or whose errors the C library does not look at.
const NEVER_FAIL: [&str; 15] = [
    "arch_prctl",
    "exit",
    "exit_group",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getppid",
    "gettid",
    "getuid",
    "rseq",
    "rt_sigreturn",
    "set_robust_list",
    "set_tid_address",
    "umask",
];

/// Calls that are not made again after EINTR and EAGAIN, because neither can come from them: they ask the kernel
/// for something about this process alone, wait for nothing, and their manual pages know no such error. They are
/// made by the C library, before `main` or on behalf of a child that becomes a hook.
const NEVER_INTERRUPTED: [(&str, &str); 8] = [
    ("mprotect", "before main: the C library protects its own data"),
    ("prlimit64", "before main: the C library asks for the stack's size"),
    ("readlink", "before main: the C library asks for its own name"),
    ("rt_sigaction", "sets a handler; sigaction(2) knows EFAULT and EINVAL"),
    ("rt_sigprocmask", "sigprocmask(2) knows EFAULT and EINVAL"),
    ("mmap", "memory without a file; EAGAIN is for locked memory alone (mmap(2))"),
    ("munmap", "munmap(2) knows EINVAL"),
    ("mremap", "EAGAIN is for locked memory alone (mremap(2))"),
];

/// What is said of a container that has ended meanwhile, here by the fault itself; what was being done does not matter then.
const ENDED: [&str; 3] = [
    "container not running",
    "cannot start a container that has stopped",
    "cannot exec in a stopped container",
];

/// No command may take longer.
const LIMIT: Duration = Duration::from_secs(2);

/// A verb with its arguments, those that go before it, and one point in how many an ordinary run takes: odd numbers, for
/// else it would always be the same of the eight errors.
struct Verb {
    name: &'static str,
    arguments: &'static [&'static str],
    before: &'static [&'static str],
    one_in: usize,
}

const RUNNING: &[&str] = &["create", "start"];
const LIMITS: &[&str] = &["--memory", "64m", "--cpu-quota", "50000", "--pids-limit", "50"];

const VERBS: [Verb; 10] = [
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

struct Sweep<'a> {
    verb: &'a Verb,
    sandbox: Sandbox,
    /// What is in the bundle before.
    files: Vec<PathBuf>,
}

/// What one run came to.
struct Ran {
    outcome: Outcome,
    said: String,
    /// Whether it came to the point of the fault.
    hit: bool,
}

fn inside(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

impl<'a> Sweep<'a> {
    fn new(verb: &'a Verb) -> Sweep<'a> {
        let sandbox = sandbox(if verb.name == "run" { &["true"] } else { &["sleep", "1000"] });
        for name in ["out", "err", "traced"] {
            std::fs::write(sandbox.bundle().join(name), "").unwrap();
        }
        std::fs::create_dir(sandbox.root()).unwrap();
        let sweep = Sweep { files: inside(sandbox.bundle()), verb, sandbox };
        // Once, so that the mount points are there, and each further time takes the same calls.
        let first = sweep.once(None, LIMIT * 30 * patience());
        assert_eq!(first.outcome.code, 0, "{}", first.said);
        sweep.clear();
        sweep
    }

    fn makes(&self) -> bool {
        matches!(self.verb.name, "create" | "run")
    }

    fn command(&self) -> Command {
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

    /// The verb once, with a fault or without, on a container of its own.
    fn once(&self, fault: Option<&Fault>, deadline: Duration) -> Ran {
        for verb in self.verb.before {
            match *verb {
                "create" => self.sandbox.create().ok(),
                other => self.sandbox.verb(&[other, &self.sandbox.id]).ok(),
            };
        }
        let parked = || Pid::from_raw(self.sandbox.state()["pid"].as_i64().unwrap() as i32);
        let output = self.sandbox.bundle().join("traced");
        let command = self.command();
        let besides = (self.verb.name == "start").then(parked);
        let traced = Traced { command: &command, output: &output, deadline, besides };
        let (mut hit, mut nth) = (false, 0);
        let outcome = traced.run(|stop| {
            let Some(fault) = fault.filter(|_| stop.is_entry()) else { return Action::Go };
            // Threads come in no certain order, so of programs that have some only the number is taken.
            let same = *stop.point == fault.call.point && stop.name() == fault.call.name;
            let here = if is_ours() { same } else { nth == fault.nth };
            nth += 1;
            if !here || hit {
                return Action::Go;
            }
            hit = true;
            Action::Fail(fault.errno)
        });
        Ran { outcome, said: std::fs::read_to_string(output).unwrap(), hit }
    }

    /// What is wrong after it.
    fn judge(&self, Fault { call, errno, .. }: &Fault, ran: &Ran) -> Vec<String> {
        let mut faults = Vec::new();
        let Ran { outcome, said, .. } = ran;
        if !outcome.hung.is_empty() {
            faults.push(format!("hangs: {:?}", outcome.hung));
        }
        if said.contains("panicked") || said.contains("memory allocation of") || died(outcome.code) {
            faults.push(format!("dies: {}", outcome.code));
        }
        let failed = outcome.code != 0;
        let may_not = NEVER_INTERRUPTED.iter().any(|(name, _)| *name == call.name);
        if failed && !may_not && matches!(errno, Errno::EINTR | Errno::EAGAIN) {
            faults.push("an interrupted call fails the command".to_owned());
        }
        if failed && !says_the_step(said) && !(call.name == "write" && said.is_empty()) {
            faults.push("the message does not say what was being done".to_owned());
        }
        if if self.makes() {
            failed || self.verb.name == "run"
        } else {
            self.verb.name == "delete" && !failed
        } {
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

    fn clear(&self) {
        self.sandbox.verb(&["delete", "--force", &self.sandbox.id]);
        std::fs::remove_file(self.sandbox.bundle().join("pid")).ok();
    }

    /// What there is that was not there before.
    fn left(&self) -> Vec<String> {
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

/// What the program itself, a hook or the container's, does is not ours.
fn points(calls: &[Call]) -> Vec<(usize, Call)> {
    let mut done: Vec<&Role> = Vec::new();
    let mut points = Vec::new();
    let can_fail = |call: &Call| !NEVER_FAIL.contains(&call.name);
    for (nth, call) in calls.iter().enumerate().filter(|(_, call)| can_fail(call)) {
        if done.contains(&&call.point.role) {
            continue;
        }
        points.push((nth, call.clone()));
        if call.name == "execve" && !call.point.role.0.is_empty() {
            done.push(&call.point.role);
        }
    }
    points
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

/// A call that is to fail.
struct Fault {
    call: Call,
    /// Which of all calls it was in the run that listed them.
    nth: usize,
    errno: Errno,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.call.point, self.errno)
    }
}

/// Which faults are made, and how one says so again.
fn choose(faults: Vec<Fault>, one_in: usize) -> (Vec<Fault>, String) {
    let wish = std::env::var("WHARF_SWEEP").unwrap_or_default();
    if wish.contains('#') || wish.starts_with('E') {
        let wished = |fault: &Fault| fault.to_string() == wish || format!("{:?}", fault.errno) == wish;
        return (faults.into_iter().filter(wished).collect(), wish);
    }
    let (step, from) = match wish.split_once('+') {
        _ if wish == "all" => (1, 0),
        Some((step, from)) => (step.parse().unwrap(), from.parse().unwrap()),
        None => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            let from = if wish == "other" { now.subsec_micros() as usize } else { 0 };
            (one_in, from % one_in)
        }
    };
    (faults.into_iter().skip(from).step_by(step).collect(), format!("{step}+{from}"))
}

fn sweep(name: &str) {
    if !is_ours() && std::env::var_os("WHARF_SWEEP_OUT").is_none() {
        wharf_tests::skip("of others there is only a comparison to be had (WHARF_SWEEP_OUT)");
        return;
    }
    let verb = VERBS.iter().find(|verb| verb.name == name).unwrap();
    let mut sweep = Sweep::new(verb);
    let deadline = LIMIT * patience();
    let plain = sweep.once(None, deadline * 30);
    sweep.clear();
    let calls = points(&plain.outcome.calls);
    let each = calls.iter().flat_map(|(nth, call)| ERRORS.map(|errno| (*nth, call.clone(), errno)));
    let faults: Vec<Fault> = each.map(|(nth, call, errno)| Fault { call, nth, errno }).collect();
    let all = faults.len();
    let (faults, chosen) = choose(faults, verb.one_in);
    let (mut missed, mut failed, mut report) = (0, 0, Vec::new());
    for fault in &faults {
        let mut ran = sweep.once(Some(fault), deadline);
        if !ran.outcome.hung.is_empty() {
            // A machine that is busy elsewhere is no hang: this must come out again, and after much longer.
            sweep.clear();
            ran = sweep.once(Some(fault), deadline * 10);
        }
        missed += usize::from(!ran.hit);
        failed += usize::from(ran.outcome.code != 0);
        let wrong = sweep.judge(fault, &ran);
        if !wrong.is_empty() {
            let (said, code) = (ran.said.trim(), ran.outcome.code);
            report.push(format!(
                "{name}, {fault} ({}): {} [{code}] {said}",
                fault.call.name,
                wrong.join("; ")
            ));
            if !sweep.left().is_empty() {
                sweep = Sweep::new(verb);
            }
        }
    }
    let text = format!(
        "{name}: {} of {all} faults (WHARF_SWEEP={chosen}), {missed} not come to, {failed} failed it, {} wrong\n",
        faults.len(),
        report.len()
    );
    std::io::stderr().lock().write_all(text.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("WHARF_SWEEP_OUT") {
        let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
        writeln!(file, "{text}{}", report.join("\n")).unwrap();
        return;
    }
    assert!(report.is_empty(), "{} wrong, WHARF_SWEEP={chosen}\n{}", report.len(), report.join("\n"));
}

#[test]
fn create_fails_cleanly_wherever_it_fails() {
    sweep("create");
}

#[test]
fn run_fails_cleanly_wherever_it_fails() {
    sweep("run");
}

#[test]
fn start_fails_cleanly_wherever_it_fails() {
    sweep("start");
}

#[test]
fn exec_fails_cleanly_wherever_it_fails() {
    sweep("exec");
}

#[test]
fn update_fails_cleanly_wherever_it_fails() {
    sweep("update");
}

#[test]
fn pause_and_resume_fail_cleanly_wherever_they_fail() {
    sweep("pause");
    sweep("resume");
}

#[test]
fn kill_and_state_fail_cleanly_wherever_they_fail() {
    sweep("kill");
    sweep("state");
}

#[test]
fn delete_fails_cleanly_wherever_it_fails() {
    sweep("delete");
}
