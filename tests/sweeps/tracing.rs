//! That the tracer does what it says, on commands whose calls are known.

use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use syscalls::Sysno;
use tempfile::TempDir;

use wharf_tests::patience;

use crate::tracer::{Action, Outcome, Role, Stop, Traced};

const LONG: Duration = Duration::from_secs(60);

/// Traces a script; besides the outcome, what it printed.
fn trace(
    script: &str,
    deadline: Duration,
    at: impl FnMut(&Stop) -> Action + Send,
) -> (Outcome, String, TempDir) {
    let folder = TempDir::new().unwrap();
    let output = folder.path().join("output");
    let mut command = Command::new("/bin/busybox");
    command.args(["sh", "-c", script]).current_dir(folder.path());
    let outcome = Traced { command: &command, output: &output, deadline, besides: None }.run(at);
    (outcome, std::fs::read_to_string(output).unwrap(), folder)
}

#[test]
fn two_runs_have_the_same_points() {
    let run = || trace("echo a | cat; echo $(echo b)", LONG, |_| Action::Go);
    let (first, printed, _) = run();
    assert_eq!((first.code, printed.as_str()), (0, "a\nb\n"));
    let mut points = [first.calls, run().0.calls];
    for calls in &mut points {
        // The shell itself is told of its children's ends now sooner, now later.
        calls.retain(|call| call.point.role != Role::default());
        calls.sort_by(|a, b| a.point.cmp(&b.point));
    }
    assert!(points[0].iter().any(|call| call.point.role == Role(vec![2])), "{:?}", points[0]);
    assert_eq!(points[0], points[1]);
}

#[test]
fn a_call_that_fails_is_not_made() {
    let (outcome, printed, folder) = trace("mkdir d || echo refused", LONG, |stop| {
        match stop.is_entry() && stop.call == Some(Sysno::mkdir) && stop.text(0).as_deref() == Some("d") {
            true => Action::Fail(Errno::EDQUOT),
            false => Action::Go,
        }
    });
    assert_eq!(outcome.code, 0);
    assert!(printed.ends_with("refused\n") && printed.contains("uota"), "{printed}");
    assert!(!folder.path().join("d").exists());
}

#[test]
fn a_killed_process_has_not_made_its_call() {
    for (action, code, made) in
        [(Action::KillThis, 0, false), (Action::KillAll, 137, false), (Action::KillCaller, 137, true)]
    {
        let (outcome, _, folder) = trace("(mkdir d; exit 0) & wait; exit 0", LONG, |stop| {
            let is_child = stop.point.role != Role::default();
            if is_child && stop.is_entry() && stop.call == Some(Sysno::mkdir) { action } else { Action::Go }
        });
        assert_eq!(outcome.code, code, "{action:?}");
        // The child of a caller that was killed lives on, untraced.
        if made {
            wharf_tests::wait_until("the orphan's folder", || folder.path().join("d").exists());
        } else {
            assert!(!folder.path().join("d").exists(), "{action:?}");
        }
    }
}

#[test]
fn a_hang_ends_and_tells_who_stood_where() {
    let (outcome, ..) = trace("read line < fifo", LONG, |_| Action::Go);
    assert_ne!(outcome.code, 0, "there is no such file");
    let (outcome, ..) =
        trace("mkfifo fifo; (read line < fifo) & wait", Duration::from_secs(2) * patience(), |_| Action::Go);
    assert_eq!(outcome.code, 137);
    assert_eq!(outcome.hung.len(), 2, "{:?}", outcome.hung);
    assert!(
        outcome.hung[0].ends_with("in rt_sigsuspend") && outcome.hung[1].contains(" in open"),
        "{:?}",
        outcome.hung
    );
}

#[test]
fn what_outlives_the_command_is_let_go() {
    let (outcome, ..) = trace("mkfifo fifo; (read line < fifo) & exit 5", LONG, |_| Action::Go);
    assert_eq!(outcome.code, 5);
    let [survivor] = outcome.released[..] else { panic!("{:?}", outcome.released) };
    let status = std::fs::read_to_string(format!("/proc/{survivor}/status")).unwrap();
    assert!(status.contains("TracerPid:\t0\n"), "{status}");
    kill(survivor, Signal::SIGKILL).unwrap();
}

#[test]
fn a_process_that_was_there_before_is_traced_and_let_go() {
    let folder = TempDir::new().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut reader = Command::new("/bin/busybox");
    reader.args(["sh", "-c", "read word < fifo; exec mkdir $word"]).current_dir(folder.path());
    let mut reader = reader.spawn().unwrap();
    let mut command = Command::new("/bin/busybox");
    // It ends when the other has made the folder.
    command.args(["sh", "-c", "echo d > fifo; until cd d; do :; done"]).current_dir(folder.path());
    let traced = Traced {
        command: &command,
        output: &folder.path().join("output"),
        deadline: LONG,
        besides: Some(Pid::from_raw(reader.id() as i32)),
    };
    let outcome = traced.run(|_| Action::Go);
    assert_eq!((outcome.code, outcome.released), (0, vec![]));
    let theirs = outcome.calls.iter().filter(|call| call.point.role == Role(vec![0]));
    assert!(theirs.map(|call| call.name).any(|name| name == "mkdir"), "{:?}", outcome.calls);
    reader.wait().ok(); // as our own child it may have been waited for by the tracer
}
