//! Two commands for one container.

use wharf_tests::{Said, Sandbox};

use crate::order::{Outcome, Race, verb};

fn sleeper() -> Sandbox {
    Sandbox::new(&["sleep", "1000"], |_| ())
}

fn create(sandbox: &Sandbox) -> Said {
    verb(sandbox, &["create", "--bundle", sandbox.bundle().to_str().unwrap(), &sandbox.id])
}

fn created(sandbox: &Sandbox) {
    create(sandbox).ok();
}

fn running(sandbox: &Sandbox) {
    create(sandbox).ok();
    verb(sandbox, &["start", &sandbox.id]).ok();
}

/// What a command may say that came too early or too late.
const TRUE_STATEMENTS: [&str; 13] = [
    "does not exist",
    "already exists",
    "container not running",
    "container not paused",
    "paused already",
    "cannot start a container that has stopped",
    "init has died before it executed the program",
    "already running",
    "being created",
    "is being started or deleted",
    "is not stopped",
    "cannot exec in a stopped container",
    "cannot exec in a paused container",
];

/// Asserts that a command succeeded or that one of `statements` is what it failed with, or that the container is being
/// created, which is true of any successor for a moment.
#[track_caller]
fn assert_says(said: &Said, statements: &[&str]) {
    assert!(statements.iter().all(|statement| TRUE_STATEMENTS.contains(statement)));
    let is_true = statements.iter().chain(&["being created"]).any(|statement| said.err.contains(statement));
    assert!(said.code == 0 || is_true, "{said:?}");
}

fn status(sandbox: &Sandbox) -> String {
    let said = verb(sandbox, &["state", &sandbox.id]);
    if said.err.contains("does not exist") {
        return "gone".to_owned();
    }
    let state: serde_json::Value = serde_json::from_str(&said.ok()).unwrap();
    state["status"].as_str().unwrap().to_owned()
}

/// Ends the container and waits until it has.
fn kill(sandbox: &Sandbox) -> Vec<Said> {
    let said = verb(sandbox, &["kill", &sandbox.id, "KILL"]);
    wharf_tests::wait_until("the end of the container", || {
        matches!(status(sandbox).as_str(), "stopped" | "gone")
    });
    vec![said]
}

fn delete(sandbox: &Sandbox) -> Vec<Said> {
    vec![verb(sandbox, &["delete", "--force", &sandbox.id])]
}

/// Deletes the container and makes another one of the same ID.
fn replace(sandbox: &Sandbox) -> Vec<Said> {
    let mut said = delete(sandbox);
    said.push(create(sandbox));
    said.push(verb(sandbox, &["start", &sandbox.id]));
    said
}

#[test]
fn one_of_two_starts_wins() {
    Race {
        before: &created,
        first: &["start", "ID"],
        second: &|sandbox| vec![verb(sandbox, &["start", &sandbox.id])],
        judge: &|sandbox, Outcome { first, second, .. }| {
            for said in [first, &second[0]] {
                assert_says(said, &["already running", "is being started or deleted"]);
            }
            assert!((first.code == 0) != (second[0].code == 0), "not one winner");
            assert_eq!(status(sandbox), "running");
        },
    }
    .run(&sleeper());
}

#[test]
fn start_beside_a_kill_tells_the_truth() {
    Race {
        before: &created,
        first: &["start", "ID"],
        second: &kill,
        judge: &|sandbox, Outcome { first, second, .. }| {
            assert_says(
                first,
                &[
                    "cannot start a container that has stopped",
                    "init has died before it executed the program",
                ],
            );
            assert_says(&second[0], &[]);
            assert_eq!(status(sandbox), "stopped");
        },
    }
    .run(&sleeper());
}

#[test]
fn start_beside_a_delete_tells_the_truth() {
    Race {
        before: &created,
        first: &["start", "ID"],
        second: &delete,
        judge: &|sandbox, Outcome { first, second, .. }| {
            assert_says(
                first,
                &[
                    "cannot start a container that has stopped",
                    "init has died before it executed the program",
                    "does not exist",
                ],
            );
            assert_says(&second[0], &[]);
            assert_eq!(status(sandbox), "gone");
        },
    }
    .run(&sleeper());
}

#[test]
fn kill_beside_a_delete_tells_the_truth_and_harms_no_successor() {
    Race {
        before: &running,
        first: &["kill", "ID", "KILL"],
        second: &replace,
        judge: &|sandbox, Outcome { first, second, had_opened }| {
            assert_says(first, &["container not running", "does not exist"]);
            if *had_opened {
                second.iter().for_each(|said| assert_says(said, &[]));
                assert_eq!(status(sandbox), "running");
            }
        },
    }
    .run(&sleeper());
}

#[test]
fn delete_beside_a_delete_harms_no_successor() {
    Race {
        before: &running,
        first: &["delete", "--force", "ID"],
        second: &replace,
        judge: &|sandbox, Outcome { first, second, had_opened }| {
            assert_says(first, &[]);
            if *had_opened {
                second.iter().for_each(|said| assert_says(said, &["already exists", "does not exist"]));
                let whole = second.iter().all(|said| said.code == 0);
                assert_eq!(status(sandbox), if whole { "running" } else { "gone" });
            }
        },
    }
    .run(&sleeper());
}

#[test]
fn exec_beside_the_end_of_the_container_tells_the_truth() {
    Race {
        before: &running,
        first: &["exec", "ID", "true"],
        second: &kill,
        judge: &|_, Outcome { first, second, .. }| {
            if first.code != 137 {
                assert_says(first, &["cannot exec in a stopped container"]);
            }
            assert_says(&second[0], &[]);
        },
    }
    .run(&sleeper());
}

#[test]
fn exec_beside_a_delete_tells_the_truth_and_enters_no_successor() {
    Race {
        before: &running,
        first: &["exec", "ID", "true"],
        second: &replace,
        judge: &|sandbox, Outcome { first, second, .. }| {
            if first.code != 137 {
                assert_says(first, &["cannot exec in a stopped container", "does not exist"]);
            }
            second.iter().for_each(|said| assert_says(said, &[]));
            let pids = verb(sandbox, &["ps", "--format", "json", &sandbox.id]).ok();
            assert_eq!(pids.matches(',').count(), 0, "{pids}");
        },
    }
    .run(&sleeper());
}

#[test]
fn kill_ends_a_container_that_is_being_paused() {
    Race {
        before: &running,
        first: &["pause", "ID"],
        second: &|sandbox| vec![verb(sandbox, &["kill", &sandbox.id, "KILL"])],
        judge: &|sandbox, Outcome { first, second, .. }| {
            assert_says(first, &["container not running"]);
            assert_says(&second[0], &[]);
            wharf_tests::wait_until("the end of the container", || status(sandbox) == "stopped");
        },
    }
    .run(&sleeper());
}

#[test]
fn container_that_is_paused_while_it_is_killed_ends() {
    Race {
        before: &running,
        first: &["kill", "ID", "KILL"],
        second: &|sandbox| vec![verb(sandbox, &["pause", &sandbox.id])],
        judge: &|sandbox, Outcome { first, second, .. }| {
            assert_says(first, &[]);
            assert_says(&second[0], &["container not running"]);
            wharf_tests::wait_until("the end of the container", || status(sandbox) == "stopped");
        },
    }
    .run(&sleeper());
}

#[test]
fn pause_beside_a_resume_ends_in_one_or_the_other() {
    for (first, second) in [("resume", "pause"), ("pause", "resume"), ("pause", "pause")] {
        Race {
            before: &|sandbox| {
                running(sandbox);
                if first == "resume" {
                    verb(sandbox, &["pause", &sandbox.id]).ok();
                }
            },
            first: &[first, "ID"],
            second: &|sandbox| vec![verb(sandbox, &[second, &sandbox.id])],
            judge: &|sandbox, Outcome { first, second, .. }| {
                for said in [first, &second[0]] {
                    assert_says(said, &["paused already", "container not paused"]);
                }
                assert!(["paused", "running"].contains(&status(sandbox).as_str()));
            },
        }
        .run(&sleeper());
    }
}

#[test]
fn update_beside_the_end_of_the_container_tells_the_truth() {
    Race {
        before: &running,
        first: &["update", "--pids-limit", "100", "--memory", "100000000", "ID"],
        second: &kill,
        judge: &|_, Outcome { first, second, .. }| {
            assert_says(first, &["container not running"]);
            assert_says(&second[0], &[]);
        },
    }
    .run(&sleeper());
}

#[test]
fn update_beside_a_delete_tells_the_truth_and_changes_no_successor() {
    Race {
        before: &running,
        first: &["update", "--pids-limit", "100", "ID"],
        second: &replace,
        judge: &|sandbox, Outcome { first, second, had_opened }| {
            assert_says(first, &["container not running", "does not exist"]);
            second.iter().for_each(|said| assert_says(said, &[]));
            let record =
                std::fs::read_to_string(sandbox.root().join(&sandbox.id).join("state.json")).unwrap();
            let limits = wharf_tests::hierarchies().into_iter().filter_map(|hierarchy| {
                std::fs::read_to_string(sandbox.cgroup(&hierarchy).join("pids.max")).ok()
            });
            let limited = record.contains("\"pids\":{\"limit\":100}");
            assert_eq!(limits.collect::<Vec<_>>(), [if limited { "100\n" } else { "max\n" }]);
            assert!(!(*had_opened && limited), "the successor was changed");
        },
    }
    .run(&sleeper());
}

#[test]
fn create_beside_a_create_of_the_same_id_is_one_winner() {
    let sandbox = sleeper();
    let bundle = sandbox.bundle().to_str().unwrap().to_owned();
    Race {
        before: &|_| (),
        first: &["create", "--bundle", &bundle, "ID"],
        second: &|sandbox| vec![create(sandbox)],
        judge: &|sandbox, Outcome { first, second, .. }| {
            for said in [first, &second[0]] {
                assert_says(said, &["already exists"]);
            }
            assert!((first.code == 0) != (second[0].code == 0), "not one winner");
            assert_eq!(status(sandbox), "created");
            assert_says(&verb(sandbox, &["start", &sandbox.id]), &[]);
        },
    }
    .run(&sandbox);
}

#[test]
fn create_beside_a_forced_delete_leaves_a_whole_container_or_none() {
    let sandbox = sleeper();
    let bundle = sandbox.bundle().to_str().unwrap().to_owned();
    Race {
        before: &|_| (),
        first: &["create", "--bundle", &bundle, "ID"],
        second: &delete,
        judge: &|sandbox, Outcome { first, second, .. }| {
            assert_says(&second[0], &[]);
            match (first.code, status(sandbox).as_str()) {
                (0, "created") => assert_says(&verb(sandbox, &["start", &sandbox.id]), &[]),
                (0 | 137, "gone") => {}
                (_, status) => panic!("{status}"),
            }
        },
    }
    .run(&sandbox);
}

#[test]
fn create_beside_a_forced_delete_and_another_create_harms_no_successor() {
    let sandbox = sleeper();
    let bundle = sandbox.bundle().to_str().unwrap().to_owned();
    Race {
        before: &|_| (),
        first: &["create", "--bundle", &bundle, "ID"],
        second: &replace,
        judge: &|sandbox, Outcome { first, second, .. }| {
            if first.code != 137 {
                assert_says(first, &["already exists"]);
            }
            assert_says(&second[0], &[]);
            for said in &second[1..] {
                assert_says(said, &["already exists", "already running", "being created"]);
            }
            assert!(["created", "running"].contains(&status(sandbox).as_str()));
        },
    }
    .run(&sandbox);
}
