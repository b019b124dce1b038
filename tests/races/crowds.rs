//! Many at once, and many in a row.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use wharf_tests::{Sandbox, hierarchies};

use crate::order::{Running, everything, verb};

/// How long all of a crowd together may take.
const CROWD: Duration = Duration::from_secs(240);

/// A bundle for many containers, each in the control groups that its ID names.
fn bundle_for_many(args: &[&str]) -> Sandbox {
    Sandbox::new(args, |c| {
        c["linux"].as_object_mut().unwrap().remove("cgroupsPath");
    })
}

/// What there is of containers whose IDs start so: folders and control groups.
fn left(sandbox: &Sandbox, prefix: &str) -> Vec<PathBuf> {
    let entries = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let groups = hierarchies().into_iter().flat_map(entries);
    let named = groups.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    named.chain(entries(sandbox.root())).map(|entry| entry.path()).collect()
}

/// How many mounts of the host have to do with this bundle.
fn mounts(sandbox: &Sandbox) -> usize {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines().filter(|line| line.contains(sandbox.bundle().to_str().unwrap())).count()
}

fn create_words(sandbox: &Sandbox) -> [String; 3] {
    ["create".into(), "--bundle".into(), sandbox.bundle().display().to_string()]
}

#[test]
fn crowd_of_containers_is_created_started_and_deleted_at_once() {
    let sandbox = bundle_for_many(&["sleep", "1000"]);
    let prefix = format!("{}-crowd-", sandbox.id);
    let ids: Vec<String> = (0..if everything() { 500 } else { 60 }).map(|n| format!("{prefix}{n}")).collect();
    let all = |words: &[&str]| {
        let running: Vec<Running> =
            ids.iter().map(|id| Running::start(&sandbox, &[words, &[id.as_str()]].concat())).collect();
        running.into_iter().for_each(|one| drop(one.end_within(CROWD).ok()));
    };
    let [create, option, bundle] = create_words(&sandbox);
    all(&[&create, &option, &bundle]);
    assert_eq!(verb(&sandbox, &["list", "--quiet"]).ok().lines().count(), ids.len());
    all(&["start"]);
    all(&["delete", "--force"]);
    assert_eq!(left(&sandbox, &prefix), Vec::<PathBuf>::new());
    assert_eq!(mounts(&sandbox), 0);
}

#[test]
fn crowd_of_creators_of_one_id_has_one_winner() {
    let sandbox = bundle_for_many(&["sleep", "1000"]);
    let id = format!("{}-prize", sandbox.id);
    let [create, option, bundle] = create_words(&sandbox);
    for _ in 0..if everything() { 20 } else { 2 } {
        // All stand at one pipe until its other end closes.
        let (barrier, starter) = std::io::pipe().unwrap();
        let creators: Vec<Running> = (0..100)
            .map(|_| {
                let stdin = Stdio::from(barrier.try_clone().unwrap());
                Running::behind(&sandbox, &[&create, &option, &bundle, &id], stdin)
            })
            .collect();
        drop(starter);
        let said: Vec<_> = creators.into_iter().map(|one| one.end_within(CROWD)).collect();
        let (won, lost): (Vec<_>, Vec<_>) = said.into_iter().partition(|said| said.code == 0);
        assert_eq!(won.len(), 1);
        assert!(lost.iter().all(|said| said.err.contains("already exists")), "{lost:?}");
        verb(&sandbox, &["start", &id]).ok();
        assert!(verb(&sandbox, &["state", &id]).ok().contains("\"running\""));
        verb(&sandbox, &["delete", "--force", &id]).ok();
        assert_eq!(left(&sandbox, &id), Vec::<PathBuf>::new());
    }
}

#[test]
fn program_that_ends_at_once_is_run_again_and_again() {
    let sandbox = bundle_for_many(&["true"]);
    let id = format!("{}-short", sandbox.id);
    let bundle = sandbox.bundle().display().to_string();
    for round in 0..if everything() { 1000 } else { 50 } {
        let said = verb(&sandbox, &["run", "--bundle", &bundle, &id]);
        assert_eq!(said.code, 0, "round {round}: {said:?}");
        verb(&sandbox, &["run", "--detach", "--bundle", &bundle, &id]).ok();
        verb(&sandbox, &["delete", "--force", &id]).ok();
    }
    assert_eq!(left(&sandbox, &id), Vec::<PathBuf>::new());
}

#[test]
fn cycles_of_create_start_and_delete_leave_nothing() {
    let sandbox = bundle_for_many(&["sleep", "1000"]);
    let id = format!("{}-cycle", sandbox.id);
    let [create, option, bundle] = create_words(&sandbox);
    let files = || std::fs::read_dir(sandbox.bundle()).unwrap().count();
    let cycles = if everything() { 10_000 } else { 100 };
    for cycle in 1..=cycles {
        for words in [&[&*create, &option, &bundle][..], &["start"], &["delete", "--force"]] {
            let said = verb(&sandbox, &[words, &[id.as_str()]].concat());
            assert_eq!(said.code, 0, "cycle {cycle}: {words:?}: {said:?}");
        }
        if cycle == 1 || cycle == cycles {
            assert_eq!(left(&sandbox, &id), Vec::<PathBuf>::new());
        }
    }
    assert_eq!(mounts(&sandbox), 0);
    assert_eq!(files(), 3, "beside config.json, the root and the state");
}
