//! The kill sweep: each verb is stopped at every system call of every process that it starts, and there somebody
//! dies: the caller alone, the process that stands there, or all. Whatever the point, `delete --force` then succeeds,
//! nothing is left, and the ID can be used again. Who was not killed does not hang, and says what is true.
//!
//! All points take longer than a test may. By default every nth is taken, the same ones each time;
//! `WHARF_SWEEP=other` begins at another one each time, `WHARF_SWEEP=all` takes all, `WHARF_SWEEP=7+3` every 7th from the 3rd, and `WHARF_SWEEP='caller.1#42 this'` one.
//! `WHARF_SWEEP_OUT=file` appends the figures there and does not fail: so other runtimes are measured.

use std::fmt;
use std::io::Write as _;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use wharf_tests::{is_ours, patience};

use crate::remains::Remains;
use crate::sample::sample;
use crate::scenario::{Scenario, WORD, finish};
use crate::tracer::{Action, Call, Outcome, Role, Stop, Traced};

/// No command may take longer. On a loaded machine one that did gets a second chance with [`SLOW`].
const LIMIT: Duration = Duration::from_secs(2);

/// Shorter than what a runtime gives a process to die.
const SLOW: Duration = Duration::from_secs(8);

/// How many points a test takes by default.
const SAMPLE: usize = 60;

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Caller,
    This,
    All,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Caller => "caller",
            Way::This => "this",
            Way::All => "all",
        })
    }
}

/// A place to kill at.
#[derive(Debug, Clone)]
struct Shot {
    /// Where, and what is called there.
    call: Call,
    /// Which of all calls it was in the run that listed them.
    nth: usize,
    way: Way,
}

impl fmt::Display for Shot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.call.point, self.way)
    }
}

/// What came of a shot.
#[derive(Default)]
struct Result {
    /// Whether the point was come to.
    hit: bool,
    hangs: Vec<String>,
    leaks: Vec<String>,
    untrue: Vec<String>,
}

struct Sweep {
    scenario: Scenario,
    remains: Remains,
}

impl Sweep {
    fn new(verb: &'static str, full: bool) -> Sweep {
        let scenario = Scenario::new(verb, full);
        // Once through all, so that the mount points are in the root.
        for verb in ["create", "start", "delete --force"] {
            let said = finish(scenario.command(verb), LIMIT * 10 * patience()).expect(verb);
            assert_eq!(said.code, 0, "{verb}: {said:?}");
        }
        scenario.close_terminals();
        let remains = Remains::of(&scenario);
        assert_eq!(remains.list(), [""; 0], "before anything was killed");
        Sweep { scenario, remains }
    }

    /// All points, and who can die there.
    fn shots(&self) -> Vec<Shot> {
        let outcome = self.prepared(SLOW * 4, |_| Action::Go);
        assert!(outcome.code == 0 && outcome.hung.is_empty(), "{}: {outcome:?}", self.scenario.name());
        self.tidy_up();
        let alone = outcome.calls.iter().all(|call| call.point.role == Role::default());
        let mut shots = Vec::new();
        for (nth, call) in outcome.calls.into_iter().enumerate() {
            let ways: &[Way] = match call.point.role == Role::default() {
                true if alone => &[Way::Caller], // which are all, too
                true => &[Way::Caller, Way::All],
                false => &[Way::Caller, Way::This, Way::All],
            };
            shots.extend(ways.iter().map(|way| Shot { call: call.clone(), nth, way: *way }));
        }
        shots
    }

    /// Traces the verb after those that come before it.
    fn prepared(&self, limit: Duration, at: impl FnMut(&Stop) -> Action + Send) -> Outcome {
        for verb in self.scenario.before() {
            let said = finish(self.scenario.command(verb), SLOW * 4 * patience()).expect(verb);
            assert_eq!(said.code, 0, "{verb}: {said:?}");
        }
        let init = self.scenario.involves_init().then(|| {
            let state = finish(self.scenario.command("state"), SLOW * 4 * patience()).unwrap().ok();
            let state: serde_json::Value = serde_json::from_str(&state).unwrap();
            Pid::from_raw(state["pid"].as_i64().unwrap() as i32)
        });
        let command = self.scenario.command(self.scenario.verb);
        let output = self.scenario.sandbox.bundle().join("out");
        let traced =
            Traced { command: &command, output: &output, deadline: limit * patience(), besides: init };
        traced.run(at)
    }

    /// After a run that nobody was killed in.
    fn tidy_up(&self) {
        finish(self.scenario.command("delete --force"), SLOW * patience());
        self.scenario.close_terminals();
        self.remains.clear();
    }

    fn shoot(&self, shot: &Shot) -> Result {
        let first = self.shoot_within(shot, LIMIT);
        if first.hangs.is_empty() { first } else { self.shoot_within(shot, SLOW) }
    }

    fn shoot_within(&self, shot: &Shot, limit: Duration) -> Result {
        let action = match shot.way {
            Way::Caller => Action::KillCaller,
            Way::This => Action::KillThis,
            Way::All => Action::KillAll,
        };
        let (mut result, mut nth, mut is_thread) = (Result::default(), 0, false);
        let outcome = self.prepared(limit, |stop| {
            if !stop.is_entry() {
                return Action::Go;
            }
            // Threads come in no certain order, so of programs that have some only the number is taken.
            let here = if is_ours() { *stop.point == shot.call.point } else { nth == shot.nth };
            nth += 1;
            if !here || result.hit {
                return Action::Go;
            }
            result.hit = true;
            is_thread = std::fs::read_to_string(format!("/proc/{}/status", stop.pid))
                .is_ok_and(|status| !status.contains(&format!("\nTgid:\t{}\n", stop.pid)));
            action
        });
        result.hangs = outcome.hung.clone();
        // A thread takes its process with it, which may be the caller.
        let lives = shot.way == Way::This && shot.call.point.role != Role::default() && !is_thread;
        if lives && outcome.hung.is_empty() {
            result.untrue = self.lies(shot, &outcome);
        }
        match finish(self.scenario.command("delete --force"), limit * patience()) {
            None => result.hangs.push("delete --force".to_owned()),
            Some(said) if said.code != 0 => result.leaks.push(format!("delete --force: {said:?}")),
            Some(_) => {}
        }
        result.leaks.extend(self.remains.list());
        self.scenario.close_terminals();
        if result.leaks.is_empty() && result.hangs.is_empty() && self.scenario.before().is_empty() {
            // The others use the ID again at the next point.
            for verb in ["create", "delete --force"] {
                match finish(self.scenario.command(verb), SLOW * 4 * patience()) {
                    Some(said) if said.code == 0 => {}
                    other => result.leaks.push(format!("the ID is spent: {verb}: {other:?}")),
                }
            }
            self.scenario.close_terminals();
        }
        if !result.leaks.is_empty() || !result.hangs.is_empty() {
            self.remains.clear();
        }
        result
    }

    /// What a caller that was not killed itself has said, and is not so.
    fn lies(&self, shot: &Shot, outcome: &Outcome) -> Vec<String> {
        let mut lies = Vec::new();
        let said = std::fs::read_to_string(self.scenario.sandbox.bundle().join("out")).unwrap();
        let mut claim = |holds: bool, what: &str| {
            if !holds {
                lies.push(format!("code {}, {said:?}: {what}", outcome.code));
            }
        };
        let succeeded = outcome.code == 0;
        claim(
            succeeded || !said.is_empty() || outcome.code == 137, // the program's own end
            "an error without a word",
        );
        match self.scenario.verb {
            "exec" if outcome.code == 137 => {
                // So its own end by that signal would look like; but then it has been executed.
                let mut calls = outcome.calls.iter().filter(|call| call.point.role == shot.call.point.role);
                claim(calls.any(|call| call.name == "execve"), "the program was not executed");
            }
            "run" | "exec" if succeeded => claim(said.contains(WORD), "the program has not run"),
            "create" | "run" | "run --detach" if !succeeded => {
                let left = self.remains.list();
                claim(left.is_empty(), &format!("failed and left {left:?}"));
            }
            "start" if succeeded && shot.call.point.role == Role(vec![0]) => {
                let mut calls = outcome.calls.iter().filter(|call| call.point.role == Role(vec![0]));
                // Whether it dies in the call that executes the program or in the program's first one is the same.
                claim(calls.any(|call| call.name == "execve"), "the program was not executed");
            }
            _ => {}
        }
        lies
    }
}

/// Which of the shots are fired, and how one says so again.
fn choose(shots: Vec<Shot>) -> (Vec<Shot>, String) {
    let wish = std::env::var("WHARF_SWEEP").unwrap_or_default();
    if wish.contains('#') {
        return (shots.into_iter().filter(|shot| shot.to_string() == wish).collect(), wish);
    }
    // Up to three shots are at one point: a step of that length would always take the same death.
    let least = shots.len().div_ceil(SAMPLE).max(1);
    let one_in = (least..).find(|step| step % 2 > 0 && step % 3 > 0).unwrap();
    sample(shots, &wish, one_in)
}

fn sweep(verb: &'static str, full: bool) {
    let begin = Instant::now();
    let sweep = Sweep::new(verb, full);
    let shots = sweep.shots();
    let all = shots.len();
    let (shots, chosen) = choose(shots);
    let name = sweep.scenario.name();
    let mut faults = Vec::new();
    let mut table = String::new();
    for way in [Way::Caller, Way::This, Way::All] {
        let (mut points, mut missed, mut leaky, mut hung, mut untrue) = (0, 0, 0, 0, 0);
        for shot in shots.iter().filter(|shot| shot.way == way) {
            let result = sweep.shoot(shot);
            points += usize::from(result.hit);
            missed += usize::from(!result.hit);
            leaky += usize::from(!result.leaks.is_empty());
            hung += usize::from(!result.hangs.is_empty());
            untrue += usize::from(!result.untrue.is_empty());
            let all = [("hangs", &result.hangs), ("left", &result.leaks), ("untrue", &result.untrue)];
            for (kind, texts) in all.iter().filter(|(_, texts)| !texts.is_empty()) {
                faults.push(format!("{name}, {shot} ({}): {kind}: {}", shot.call.name, texts.join("; ")));
            }
        }
        if points + missed > 0 {
            table += &format!(
                "{name}, {way}: {points} points, {missed} not come to, {leaky} leaks, {hung} hangs, {untrue} untrue\n"
            );
        }
    }
    let took = begin.elapsed().as_secs();
    let text = format!("{table}{name}: {} of {all} shots, WHARF_SWEEP={chosen}, {took} s\n", shots.len());
    std::io::stderr().lock().write_all(text.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("WHARF_SWEEP_OUT") {
        let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
        writeln!(file, "{text}{}", faults.join("\n")).unwrap();
        return;
    }
    assert!(faults.is_empty(), "{} faults, WHARF_SWEEP={chosen}\n{}", faults.len(), faults.join("\n"));
}

macro_rules! sweeps {
    ($($test:ident: $verb:literal, $full:literal;)*) => {
        $(#[test]
        fn $test() {
            sweep($verb, $full);
        })*
    };
}

sweeps! {
    create_full: "create", true;
    create_minimal: "create", false;
    start_full: "start", true;
    start_minimal: "start", false;
    run_full: "run", true;
    run_minimal: "run", false;
    run_detached_full: "run --detach", true;
    run_detached_minimal: "run --detach", false;
    exec_full: "exec", true;
    exec_minimal: "exec", false;
    update_full: "update", true;
    update_minimal: "update", false;
    pause_full: "pause", true;
    resume_full: "resume", true;
    kill_full: "kill", true;
    kill_minimal: "kill", false;
    delete_full: "delete --force", true;
    delete_minimal: "delete --force", false;
}
