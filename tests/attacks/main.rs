//! Hostile bundles, and odd ones that are not: what an image can put into its root must do nothing to the host, and
//! what is merely unusual must work.
//!
//! Each attack is played against wharf-runtime, which must refuse it in clear words or let it come to nothing, and
//! against a runtime that it does break, so that it is known to have teeth: the careless one of this suite, or one of
//! those in docs/attacks.md, which `scripts/attacks` writes. `RUNTIME=runc` plays them against any other;
//! `WHARF_ATTACKS_OUT=file` records what came of it, one JSON line each, in place of failing. Words on the command line
//! pick attacks by name. All is done in a mount namespace of the suite's own, and every attack aims at a canary.
#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod careless;
mod case;
mod document;
mod hostile;
mod legitimate;
mod scene;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::json;

fn main() -> ExitCode {
    if std::env::var_os(careless::VARIABLE).is_some() {
        return ExitCode::from(careless::main() as u8);
    }
    let program = std::env::args().next().unwrap_or_default();
    if !Path::new(&program).file_name().is_some_and(|name| name.to_string_lossy().starts_with("attacks-")) {
        // In a container that executes its runtime. It waits there until it has been looked at.
        std::fs::read("/pipe").ok();
        return ExitCode::FAILURE;
    }
    if std::env::var_os("WHARF_ATTACKS_DOC").is_some() {
        document::write();
        return ExitCode::SUCCESS;
    }
    enter_own_world();
    let faults = match std::env::var_os("WHARF_ATTACKS_OUT") {
        Some(file) => {
            std::fs::write(file, record()).unwrap();
            Vec::new()
        }
        None => judge(),
    };
    for fault in &faults {
        eprintln!("{fault}\n");
    }
    ExitCode::from(u8::from(!faults.is_empty()))
}

/// Leaves the host's mount namespace, before there are threads. Runtimes that can be broken are played here too, and
/// what is not a canary is not theirs to break: but for the temporary files all is read-only.
fn enter_own_world() {
    let nothing: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).expect("the suite needs root");
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    let temporary = std::env::temp_dir();
    mount(Some(&temporary), &temporary, nothing, MsFlags::MS_BIND | MsFlags::MS_REC, nothing).unwrap();
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), nothing).unwrap();
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(nothing, "/", nothing, read_only, nothing).unwrap();
    let unified = Path::new("/sys/fs/cgroup/unified");
    if runtime().ends_with("crun") && unified.exists() {
        // crun refuses a hybrid layout whose unified part has controllers: it gets to see the v1 part alone.
        mount(Some(unified), "/mnt", nothing, MsFlags::MS_MOVE, nothing).unwrap();
    }
}

/// The runtime that is under test; `careless` is the one of this suite.
fn runtime() -> PathBuf {
    match std::env::var_os("RUNTIME") {
        Some(name) if name == careless::NAME => careless::NAME.into(),
        Some(_) | None => wharf_tests::runtime_path(),
    }
}

/// Those that the command line asks for.
fn asked<T>(all: Vec<T>, name: fn(&T) -> &'static str) -> Vec<T> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |one: &T| words.is_empty() || words.iter().any(|word| name(one).contains(word.as_str()));
    all.into_iter().filter(wanted).collect()
}

/// Does something with each, on all CPUs. The results are in the order of the list.
fn each<T: std::marker::Sync, R: Send>(list: &[T], work: impl Fn(&T) -> R + std::marker::Sync) -> Vec<R> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some((index, item)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, list.get(i)?)))
                {
                    let result = work(item);
                    results.lock().unwrap().push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Plays all and says what is wrong.
fn judge() -> Vec<String> {
    let runtime = runtime();
    let (attacks, odd) =
        (asked(hostile::cases(), |case| case.name), asked(legitimate::cases(), |odd| odd.name));
    let mut faults = Vec::new();
    let controls = document::Controls::read();
    faults.extend(
        each(&attacks, |case| Some(format!("{}: {}", case.name, case.judge(&runtime)?)))
            .into_iter()
            .flatten(),
    );
    if runtime == wharf_tests::runtime_path() && wharf_tests::is_ours() {
        let without = attacks.iter().filter(|case| !controls.has_one(case.name));
        faults.extend(
            without.map(|case| format!("{}: docs/attacks.md has no runtime that it breaks", case.name)),
        );
        // The one control that is always at hand: some of them, others with `other`, all with `all`.
        let sweep = std::env::var("WHARF_SWEEP").unwrap_or_default();
        let all = sweep == "all" || attacks.len() < 20;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let first = if sweep == "other" { now.as_secs() as usize } else { 0 };
        let some = attacks.iter().enumerate().filter(|(index, _)| all || (index + first).is_multiple_of(4));
        let toothless = each(&some.collect::<Vec<_>>(), |(_, case)| {
            let must = controls.breaks(case.name, careless::NAME);
            (must && case.play(Path::new(careless::NAME)).0.is_empty()).then_some(case.name)
        });
        faults.extend(
            toothless
                .into_iter()
                .flatten()
                .map(|name| format!("{name}: does nothing to the careless runtime")),
        );
    }
    let broken = each(&odd, |odd| Some(format!("{}: {}", odd.name, odd.judge(&runtime)?)));
    faults.extend(broken.into_iter().flatten());
    eprintln!("{} attacks, {} odd bundles, {} faults", attacks.len(), odd.len(), faults.len());
    faults
}

/// Plays all and writes down what came of it.
fn record() -> String {
    let runtime = runtime();
    let attacks = each(&asked(hostile::cases(), |case| case.name), |case| {
        let (harm, said) = case.play(&runtime);
        json!({"attack": case.name, "class": case.class, "harm": harm, "code": said.code, "err": said.err})
    });
    // The careless one is not there to work.
    let odd = if runtime == Path::new(careless::NAME) { Vec::new() } else { legitimate::cases() };
    let odd = each(&asked(odd, |odd| odd.name), |odd| json!({"odd": odd.name, "fault": odd.judge(&runtime)}));
    attacks.iter().chain(&odd).map(|line| format!("{line}\n")).collect()
}
