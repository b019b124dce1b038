//! Deaths at points that the kill sweep has once found a fault at.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wharf_tests::{patience, wait_until};

use crate::remains::Remains;
use crate::scenario::{Scenario, finish};
use crate::tracer::{Action, Outcome, Role, Stop, Traced};

fn run(scenario: &Scenario, verb: &str) {
    let said = finish(scenario.command(verb), Duration::from_secs(20) * patience()).expect(verb);
    assert_eq!(said.code, 0, "{verb}: {said:?}");
}

/// Traces the scenario's verb; besides the outcome, what it said.
fn trace(
    scenario: &Scenario,
    besides: Option<Pid>,
    at: impl FnMut(&Stop) -> Action + Send,
) -> (Outcome, String) {
    let command = scenario.command(scenario.verb);
    let output = scenario.sandbox.bundle().join("out");
    let deadline = Duration::from_secs(20) * patience();
    let outcome = Traced { command: &command, output: &output, deadline, besides }.run(at);
    let said = std::fs::read_to_string(output).unwrap();
    (outcome, said)
}

#[test]
fn delete_waits_for_an_init_that_its_dead_creator_had_no_time_to_record() {
    let scenario = Scenario::new("create", false);
    let remains = Remains::of(&scenario);
    let mut delete = None;
    let (outcome, _) = trace(&scenario, None, |stop| {
        if stop.point.role != Role(vec![1]) || delete.is_some() {
            return Action::Go;
        }
        // Init makes its first call. As long as we are here it neither dies nor goes on.
        kill(parent_of(stop.pid), Signal::SIGKILL).unwrap();
        let command = scenario.command("delete --force");
        // In a thread of its own, or it would be waited for as a tracee.
        let running = std::thread::spawn(|| finish(command, Duration::from_secs(20) * patience()).unwrap());
        let waits = |pid: &i32| *pid != stop.pid.as_raw() && has_open(*pid, "births");
        wait_until("delete's end or wait", || running.is_finished() || remains.processes().iter().any(waits));
        delete = Some(running);
        Action::Go
    });
    assert_eq!(outcome.code, 137);
    assert_eq!(delete.unwrap().join().unwrap().code, 0);
    assert_eq!(remains.list(), [""; 0]);
}

#[test]
fn exec_of_a_process_that_dies_before_its_program_is_an_error() {
    let scenario = Scenario::new("exec", false);
    ["create", "start"].iter().for_each(|verb| run(&scenario, verb));
    let (outcome, said) = trace(&scenario, None, |stop| {
        let last = stop.point.role == Role(vec![1, 1]) && stop.name() == "rt_sigaction";
        if last { Action::KillThis } else { Action::Go }
    });
    assert_eq!(outcome.code, 255, "{said}");
    assert!(said.contains("killed"), "{said}");
    run(&scenario, "delete --force");
}

#[test]
fn exec_whose_intermediate_dies_with_a_child_on_its_way_is_an_error() {
    let scenario = Scenario::new("exec", false);
    ["create", "start"].iter().for_each(|verb| run(&scenario, verb));
    let mut cloned = false;
    let (outcome, said) = trace(&scenario, None, |stop| {
        if stop.point.role != Role(vec![1]) {
            return Action::Go;
        }
        cloned |= stop.name() == "clone3" && !stop.is_entry();
        if cloned && stop.name() == "write" { Action::KillThis } else { Action::Go }
    });
    assert!(cloned && outcome.code == 255, "{said}");
    assert!(said.contains("intermediate process ended without a word"), "{said}");
    run(&scenario, "delete --force");
}

#[test]
fn start_of_an_init_that_dies_before_its_program_is_an_error() {
    let scenario = Scenario::new("start", false);
    run(&scenario, "create");
    let init = scenario.sandbox.state()["pid"].as_i64().unwrap() as i32;
    let (outcome, said) = trace(&scenario, Some(Pid::from_raw(init)), |stop| {
        // It has read the byte that start sends.
        let told = stop.point.role == Role(vec![0]) && stop.name() == "read" && !stop.is_entry();
        if told { Action::KillThis } else { Action::Go }
    });
    assert_eq!(outcome.code, 1, "{said}");
    assert!(said.contains("init has died before it executed the program"), "{said}");
    run(&scenario, "delete --force");
}

#[test]
fn hook_that_never_ends_dies_with_the_runtime() {
    let scenario = Scenario::new("create", true);
    run(&scenario, "create");
    run(&scenario, "delete --force");
    let path = scenario.sandbox.bundle().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    config["hooks"]["createRuntime"][0]["args"] = serde_json::json!(["busybox", "sleep", "1000"]);
    scenario.sandbox.write_config(&config.to_string());
    let remains = Remains::of(&scenario);
    let (outcome, _) = trace(&scenario, None, |stop| {
        if stop.name().ends_with("nanosleep") { Action::KillCaller } else { Action::Go }
    });
    assert_eq!(outcome.code, 137);
    run(&scenario, "delete --force");
    assert_eq!(remains.list(), [""; 0]);
}

fn parent_of(pid: Pid) -> Pid {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    Pid::from_raw(parent.trim().parse().unwrap())
}

fn has_open(pid: i32, name: &str) -> bool {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let mut links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    links.any(|link| link.ends_with(name))
}
