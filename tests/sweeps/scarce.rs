//! Each verb while something is scarce or missing for the whole of it: under each limit of setrlimit(2), and on a kernel
//! that lacks the newer calls. Then what [`crate::trial`] says holds, and who can't do without a call names it.
//!
//! `WHARF_SWEEP=all` takes every value of every limit.

use std::io::Write as _;
use std::process::Command;

use nix::errno::Errno;
use wharf_tests::{is_ours, patience};

use crate::tracer::Action;
use crate::trial::{LIMIT, Ran, Trial, VERBS};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// What prlimit(1) calls a limit, and its values.
fn limits() -> Vec<(&'static str, Vec<u64>)> {
    vec![
        ("nofile", (3..=64).collect()),
        ("nproc", vec![0, 1, 2]),
        ("fsize", vec![0, 1, 100, 4096, 8192]),
        ("as", (1..=16).map(|n| n * MIB).chain([24 * MIB, 32 * MIB, 64 * MIB]).collect()),
        ("data", (0..=16).map(|n| n * 64 * KIB).collect()),
        // A build that is not optimized takes up to 200 KiB.
        ("stack", [256, 384, 512, 1024].map(|n| n * KIB).to_vec()),
        ("memlock", vec![0, 4096]),
        ("core", vec![0]),
        ("sigpending", vec![0, 1]),
        ("msgqueue", vec![0]),
        ("locks", vec![0]),
        ("rtprio", vec![0]),
        ("nice", vec![0]),
    ]
}

/// Runs a command under a limit.
fn limited(command: &Command, name: &str, value: u64) -> Command {
    let mut limited = Command::new("/usr/bin/prlimit");
    limited.arg(format!("--{name}={value}")).arg(command.get_program()).args(command.get_args());
    limited
}

/// 128 and the signal's number.
const SEGMENTATION_FAULT: i32 = 139;

/// Whether it has come to `main`, whose first call that is.
fn has_begun(ran: &Ran) -> bool {
    ran.outcome.calls.iter().any(|call| call.name == "fcntl")
}

fn report(verb: &str, tried: usize, failed: usize, wrong: &[String]) {
    let text = format!("{verb}: {tried} tried, {failed} failed it, {} wrong\n", wrong.len());
    std::io::stderr().lock().write_all(text.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("WHARF_SWEEP_OUT") {
        let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
        writeln!(file, "{text}{}", wrong.join("\n")).unwrap();
        return;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Once more and for longer where it hung: a machine that is busy elsewhere is no hang.
fn patiently(trial: &Trial, run: impl Fn(std::time::Duration) -> Ran) -> Ran {
    let first = run(LIMIT * patience());
    if first.outcome.hung.is_empty() {
        return first;
    }
    trial.clear();
    run(LIMIT * 10 * patience())
}

/// Every verb under every limit, or some values of each.
#[test]
fn every_verb_fails_cleanly_under_every_limit() {
    let all = std::env::var("WHARF_SWEEP").is_ok_and(|wish| wish == "all");
    for verb in VERBS.iter().filter(|_| is_ours() || std::env::var_os("WHARF_SWEEP_OUT").is_some()) {
        let mut trial = Trial::new(verb);
        let (mut tried, mut failed, mut stillborn, mut wrong) = (0, 0, 0, Vec::new());
        for (name, values) in limits() {
            let step = if all { 1 } else { values.len().div_ceil(3) };
            // With eight descriptors there was none left for the undoing.
            let always = |value: u64| name == "nofile" && value == 8;
            let taken = |(nth, value): &(usize, u64)| nth % step == 0 || always(*value);
            for (_, value) in values.into_iter().enumerate().filter(taken) {
                let command = limited(&trial.command(), name, value);
                let ran = patiently(&trial, |deadline| trial.once(&command, deadline, |_| Action::Go));
                tried += 1;
                // So little memory that not even the C library's start gets by with it.
                if ran.outcome.code == SEGMENTATION_FAULT && !has_begun(&ran) {
                    assert_eq!(
                        trial.judge(&Ran { said: String::new(), ..ran }, false).len(),
                        1,
                        "it dies, and no more"
                    );
                    stillborn += 1;
                    continue;
                }
                failed += usize::from(ran.outcome.code != 0);
                // A file that may not grow takes no message either.
                let faults = trial.judge(&ran, name != "fsize");
                if !faults.is_empty() {
                    let (code, said) = (ran.outcome.code, ran.said.trim());
                    wrong.push(format!(
                        "{} --{name}={value}: {} [{code}] {said}",
                        verb.name,
                        faults.join("; ")
                    ));
                }
                if !trial.left().is_empty() {
                    trial = Trial::new(verb);
                }
            }
        }
        report(&format!("{}, {stillborn} never began", verb.name), tried, failed, &wrong);
    }
}

/// The newer calls, some of them together as older kernels lack them, each with whether a container can be made without.
const GONE: [&[&str]; 14] = [
    &["openat2"],
    &["clone3"],
    &["open_tree"],
    &["move_mount"],
    &["fsopen"],
    &["fsmount"],
    &["fsconfig"],
    &["fspick"],
    &["mount_setattr"],
    &["pidfd_open"],
    &["pidfd_send_signal"],
    &["close_range"],
    &["statx", "statmount", "listmount"],
    &["faccessat2", "execveat", "memfd_create", "copy_file_range"],
];

#[test]
fn newer_calls_that_are_gone_are_done_without_or_named() {
    for verb in VERBS.iter().filter(|_| is_ours() || std::env::var_os("WHARF_SWEEP_OUT").is_some()) {
        let trial = Trial::new(verb);
        let (mut failing, mut wrong) = (Vec::new(), Vec::new());
        for gone in GONE {
            let ran = patiently(&trial, |deadline| {
                trial.once(&trial.command(), deadline, |stop| {
                    match stop.is_entry() && gone.contains(&stop.name()) {
                        true => Action::Fail(Errno::ENOSYS),
                        false => Action::Go,
                    }
                })
            });
            failing.extend((ran.outcome.code != 0).then(|| gone.join(", ")));
            let mut faults = trial.judge(&ran, true);
            let named =
                gone.iter().any(|call| ran.said.contains(&format!("this kernel lacks {call} (Linux ")));
            if ran.outcome.code != 0 && !named {
                faults.push("the call is not named".to_owned());
            }
            if !faults.is_empty() {
                let (code, said) = (ran.outcome.code, ran.said.trim());
                wrong.push(format!("{} without {gone:?}: {} [{code}] {said}", verb.name, faults.join("; ")));
            }
        }
        report(
            &format!("{} (not without: {})", verb.name, failing.join("; ")),
            GONE.len(),
            failing.len(),
            &wrong,
        );
    }
}
