//! The fault sweep: every system call of every process that a verb starts is made to fail once, with each of eight
//! errors. Then what [`crate::trial`] says holds, and what was only interrupted has not failed.
//!
//! All faults are some ten thousands. By default every nth is made, the same ones each time; `WHARF_SWEEP=other` begins at
//! another one each time, `WHARF_SWEEP=all` makes all, `WHARF_SWEEP=7+3` every 7th from the 3rd, `WHARF_SWEEP=EINTR` all with
//! that error, and `WHARF_SWEEP='caller.1#42 EINTR'` one. `WHARF_SWEEP_OUT=file` appends the figures there and does not
//! fail: so other runtimes are measured.

use std::fmt;
use std::io::Write as _;
use std::time::Duration;

use nix::errno::Errno;
use wharf_tests::{is_ours, patience};

use crate::sample::sample;
use crate::tracer::{Action, Call, Role};
use crate::trial::{LIMIT, Ran, Trial, VERBS};

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
    sample(faults, &wish, one_in)
}

impl Fault {
    /// The verb with this fault, and whether the point was come to.
    fn make(&self, trial: &Trial, deadline: Duration) -> (Ran, bool) {
        let (mut hit, mut nth) = (false, 0);
        let ran = trial.once(&trial.command(), deadline, |stop| {
            if !stop.is_entry() {
                return Action::Go;
            }
            // Threads come in no certain order, so of programs that have some only the number is taken.
            let same = *stop.point == self.call.point && stop.name() == self.call.name;
            let here = if is_ours() { same } else { nth == self.nth };
            nth += 1;
            if !here || hit {
                return Action::Go;
            }
            hit = true;
            Action::Fail(self.errno)
        });
        (ran, hit)
    }

    /// What is wrong after it.
    fn judge(&self, trial: &Trial, ran: &Ran) -> Vec<String> {
        let may_not = NEVER_INTERRUPTED.iter().any(|(name, _)| *name == self.call.name);
        let failed = ran.outcome.code != 0;
        let interrupted = failed && !may_not && matches!(self.errno, Errno::EINTR | Errno::EAGAIN);
        let fails = interrupted.then(|| "an interrupted call fails the command".to_owned());
        let speaks = self.call.name != "write" || !ran.said.is_empty();
        fails.into_iter().chain(trial.judge(ran, speaks)).collect()
    }
}

fn sweep(name: &str) {
    if !is_ours() && std::env::var_os("WHARF_SWEEP_OUT").is_none() {
        wharf_tests::skip("of others there is only a comparison to be had (WHARF_SWEEP_OUT)");
        return;
    }
    let verb = VERBS.iter().find(|verb| verb.name == name).unwrap();
    let mut trial = Trial::new(verb);
    let deadline = LIMIT * patience();
    let plain = trial.once(&trial.command(), deadline * 30, |_| Action::Go);
    trial.clear();
    let calls = points(&plain.outcome.calls);
    let each = calls.iter().flat_map(|(nth, call)| ERRORS.map(|errno| (*nth, call.clone(), errno)));
    let faults: Vec<Fault> = each.map(|(nth, call, errno)| Fault { call, nth, errno }).collect();
    let all = faults.len();
    let (faults, chosen) = choose(faults, verb.one_in);
    let (mut missed, mut failed, mut report) = (0, 0, Vec::new());
    for fault in &faults {
        let (mut ran, mut hit) = fault.make(&trial, deadline);
        if !ran.outcome.hung.is_empty() {
            // A machine that is busy elsewhere is no hang: this must come out again, and after much longer.
            trial.clear();
            (ran, hit) = fault.make(&trial, deadline * 10);
        }
        missed += usize::from(!hit);
        failed += usize::from(ran.outcome.code != 0);
        let wrong = fault.judge(&trial, &ran);
        if !wrong.is_empty() {
            let (said, code) = (ran.said.trim(), ran.outcome.code);
            report.push(format!(
                "{name}, {fault} ({}): {} [{code}] {said}",
                fault.call.name,
                wrong.join("; ")
            ));
            if !trial.left().is_empty() {
                trial = Trial::new(verb);
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
