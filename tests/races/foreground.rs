//! The end of a runtime that stands in the foreground for its container.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wharf_tests::{Sandbox, wait_until};

use crate::order::Running;

/// A container that says when it runs and what it was sent.
fn listener() -> Sandbox {
    let traps = ["TERM", "INT", "HUP"].map(|name| format!("trap 'echo {name} > /tmp/heard; exit 7' {name}"));
    let script = format!("{}; echo > /tmp/ready; while :; do sleep 0.1; done", traps.join("; "));
    Sandbox::shell(&script, |_| ())
}

fn run(sandbox: &Sandbox) -> Running {
    let running =
        Running::start(sandbox, &["run", "--bundle", sandbox.bundle().to_str().unwrap(), &sandbox.id]);
    let ready = sandbox.rootfs().join("tmp/ready");
    wait_until("the program", || ready.exists());
    running
}

#[test]
fn signals_to_the_runtime_go_to_the_program_whose_end_ends_both() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let sandbox = listener();
        let running = run(&sandbox);
        kill(Pid::from_raw(running.pid()), signal).unwrap();
        assert_eq!(running.end().code, 7);
        let heard = std::fs::read_to_string(sandbox.rootfs().join("tmp/heard")).unwrap();
        assert_eq!(format!("SIG{}", heard.trim()), signal.as_str());
        sandbox.assert_nothing_left();
    }
}

#[test]
fn container_whose_runtime_was_killed_runs_on_and_can_be_deleted() {
    let sandbox = listener();
    let running = run(&sandbox);
    kill(Pid::from_raw(running.pid()), Signal::SIGKILL).unwrap();
    assert_eq!(running.end().code, 137);
    assert_eq!(sandbox.state()["status"], "running");
    sandbox.verb(&["delete", "--force", &sandbox.id]).ok();
    sandbox.assert_nothing_left();
}
