//! One command stopped at one of its system calls while another runs: every order that two commands can take with one
//! switch between them, and no sleep.

use std::fs::File;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::sys::ptrace::{self, Event, Options};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use wharf_tests::{Said, Sandbox, wait_up_to};

/// How long the second command is waited for before the first goes on: it may need something of the first.
const SECOND_GOES_FIRST: Duration = Duration::from_millis(250);

/// How long a command may take that has nothing to wait for.
const HANGS_AFTER: Duration = Duration::from_secs(20);

/// Whether everything is to be tried, not a selection.
pub fn everything() -> bool {
    std::env::var("WHARF_SWEEP").is_ok_and(|value| value == "all")
}

/// A command under way, whose output goes to files: what it starts may outlive it and hold on to a pipe.
pub struct Running {
    child: Child,
    words: String,
    out: File,
    err: File,
}

impl Running {
    fn of(mut command: Command, words: &[&str]) -> Running {
        let file = || tempfile::tempfile().unwrap();
        let (out, err) = (file(), file());
        command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
        Running { child: command.spawn().unwrap(), words: words.join(" "), out, err }
    }

    /// Starts a verb.
    pub fn start(sandbox: &Sandbox, words: &[&str]) -> Running {
        let mut command = sandbox.command();
        command.args(words);
        Running::of(command, words)
    }

    /// Starts a verb that waits until `barrier` says something or ends.
    pub fn behind(sandbox: &Sandbox, words: &[&str], barrier: Stdio) -> Running {
        let verb = sandbox.command();
        let mut command = Command::new("sh");
        command.args(["-c", "read go; exec \"$@\" </dev/null", "sh"]).arg(verb.get_program());
        command.args(verb.get_args()).args(words).stdin(barrier);
        Running::of(command, words)
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Waits for the end.
    #[track_caller]
    pub fn end(self) -> Said {
        self.end_within(HANGS_AFTER)
    }

    /// The same with another limit.
    #[track_caller]
    pub fn end_within(mut self, limit: Duration) -> Said {
        let mut status = None;
        wait_up_to(limit, &format!("the end of {:?}", self.words), || {
            status = self.child.try_wait().unwrap();
            status.is_some() || {
                std::thread::sleep(Duration::from_micros(200));
                false
            }
        });
        let read = |file: &mut File| {
            use std::io::{Read as _, Seek as _};
            let mut text = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut text).unwrap();
            text
        };
        let (stdout, stderr) = (read(&mut self.out), read(&mut self.err));
        std::process::Output { status: status.unwrap(), stdout, stderr }.into()
    }
}

/// Runs a verb to its end.
#[track_caller]
pub fn verb(sandbox: &Sandbox, words: &[&str]) -> Said {
    Running::start(sandbox, words).end()
}

/// A verb that stands still at one of its system calls.
struct Stopped {
    running: Running,
    pid: Pid,
}

enum Stop {
    Call,
    Other,
    End,
}

impl Stopped {
    /// Starts a verb and holds it at its first system call as the runtime.
    fn start(sandbox: &Sandbox, words: &[&str]) -> Stopped {
        let mut running = Running::behind(sandbox, words, Stdio::piped());
        let pid = Pid::from_raw(running.child.id() as i32);
        let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC;
        ptrace::seize(pid, options).unwrap();
        let mut go = running.child.stdin.take().unwrap();
        go.write_all(b"\n").unwrap();
        loop {
            match waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap() {
                WaitStatus::PtraceEvent(_, _, event) if event == Event::PTRACE_EVENT_EXEC as i32 => break,
                WaitStatus::Stopped(_, signal) => ptrace::cont(pid, signal).unwrap(),
                WaitStatus::PtraceEvent(..) => ptrace::cont(pid, None).unwrap(),
                other => panic!("{other:?}"),
            }
        }
        Stopped { running, pid }
    }

    fn step(&self, signal: Option<nix::sys::signal::Signal>) -> (Stop, Option<nix::sys::signal::Signal>) {
        if ptrace::syscall(self.pid, signal).is_err() {
            return (Stop::End, None);
        }
        // Not taken off: that is for who started it.
        let wait = nix::sys::wait::waitid(
            nix::sys::wait::Id::Pid(self.pid),
            WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL,
        );
        match wait.unwrap() {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => (Stop::End, None),
            _ => match waitpid(self.pid, Some(WaitPidFlag::__WALL)).unwrap() {
                WaitStatus::PtraceSyscall(_) => (Stop::Call, None),
                WaitStatus::Stopped(_, signal) => (Stop::Other, Some(signal)),
                _ => (Stop::Other, None),
            },
        }
    }

    /// Goes on to the entry of the system call of this number, from 1 on; false if it ends before.
    fn run_to(&self, point: usize) -> bool {
        let (mut stops, mut signal) = (0, None);
        // Each call stops twice, on the way in and out; execve's way out comes after its event.
        while stops < 2 * point {
            let (event, pending) = self.step(signal);
            signal = pending;
            match event {
                Stop::Call => stops += 1,
                Stop::Other => {}
                Stop::End => return false,
            }
        }
        true
    }

    /// Whether it has the folder of the container open: from then on it must not take another container for this one.
    fn has_opened(&self, sandbox: &Sandbox) -> bool {
        let folder = sandbox.root().join(&sandbox.id);
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap();
        open.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path == folder))
    }

    fn go_on(self) -> Running {
        ptrace::detach(self.pid, None).ok(); // it may have ended
        self.running
    }
}

/// How many system calls a verb makes.
fn count(sandbox: &Sandbox, words: &[&str]) -> usize {
    let stopped = Stopped::start(sandbox, words);
    let mut calls = 0;
    while stopped.run_to(1) {
        calls += 1;
    }
    stopped.go_on().end().ok();
    calls
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What the first said.
    pub first: Said,
    /// What was said meanwhile.
    pub second: Vec<Said>,
    /// Whether the first had opened the container's folder when it was stopped.
    pub had_opened: bool,
}

/// Runs `first` as far as its system call `point`, then `second` to its end, or as far as it comes without the first,
/// then the first to its end.
#[track_caller]
fn interleave(
    sandbox: &Sandbox,
    first: &[&str],
    point: usize,
    second: &(dyn Fn(&Sandbox) -> Vec<Said> + Sync),
) -> Outcome {
    let stopped = Stopped::start(sandbox, first);
    stopped.run_to(point);
    let had_opened = stopped.has_opened(sandbox);
    std::thread::scope(|scope| {
        let (tell, told) = channel();
        let other = scope.spawn(move || {
            let said = second(sandbox);
            tell.send(()).ok();
            said
        });
        assert_ne!(
            told.recv_timeout(SECOND_GOES_FIRST),
            Err(RecvTimeoutError::Disconnected),
            "point {point}"
        );
        let first = stopped.go_on().end();
        Outcome { first, second: other.join().unwrap(), had_opened }
    })
}

/// Two things to be done at once.
pub struct Race<'a> {
    /// Makes the container as it is before.
    pub before: &'a dyn Fn(&Sandbox),
    /// The verb that is stopped half-way.
    pub first: &'a [&'a str],
    /// What happens meanwhile.
    pub second: &'a (dyn Fn(&Sandbox) -> Vec<Said> + Sync),
    /// Whether what both said is right.
    pub judge: &'a dyn Fn(&Sandbox, &Outcome),
}

impl Race<'_> {
    /// Runs it with the switch at some or all system calls of the first. After each, `delete --force` must leave nothing.
    pub fn run(&self, sandbox: &Sandbox) {
        let began = Instant::now();
        let words: Vec<&str> =
            self.first.iter().map(|word| if *word == "ID" { &sandbox.id } else { *word }).collect();
        (self.before)(sandbox);
        let calls = count(sandbox, &words);
        clean(sandbox, 0);
        let step = if everything() { 1 } else { calls.div_ceil(SELECTED) };
        let points: Vec<usize> = (1..=calls).rev().step_by(step).collect();
        for &point in &points {
            (self.before)(sandbox);
            let outcome = interleave(sandbox, &words, point, self.second);
            let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                (self.judge)(sandbox, &outcome);
                clean(sandbox, point);
            }));
            assert!(judged.is_ok(), "at call {point} of {calls} of {words:?}: {outcome:?}");
        }
        let (tried, took) = (points.len(), began.elapsed());
        let mut out = std::io::stdout().lock();
        writeln!(out, "{:?}: {tried} of {calls} points in {took:.1?}", self.first).unwrap();
    }
}

/// How many points of a command an ordinary test run takes.
const SELECTED: usize = 20;

#[track_caller]
fn clean(sandbox: &Sandbox, point: usize) {
    let said = verb(sandbox, &["delete", "--force", &sandbox.id]);
    assert_eq!(said.code, 0, "point {point}: {said:?}");
    sandbox.assert_nothing_left();
}
