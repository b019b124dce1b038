//! Numbers at the end of their range, in the config and on the command line: an answer, never a panic.

use serde_json::json;
use wharf_tests::{Sandbox, is_ours};

#[test]
fn hook_may_be_given_longer_than_the_clock_can_tell() {
    if !is_ours() {
        return;
    }
    for timeout in [i64::MAX, i64::MAX / 2, 1 << 40] {
        let hooks = json!({"prestart": [{"path": "/bin/true", "timeout": timeout}]});
        let sandbox = Sandbox::shell("echo here", |c| c["hooks"] = hooks.clone());
        assert_eq!(sandbox.run().ok(), "here\n", "{timeout}");
        sandbox.assert_nothing_left();
    }
}

#[test]
fn signals_beyond_all_numbers_are_unknown() {
    if !is_ours() {
        return;
    }
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| {});
    sandbox.start();
    for signal in ["RTMIN+2147483647", "SIGRTMAX-2147483648", "RTMAX--2147483648", "9999999999", "-1"] {
        let words = ["kill", &sandbox.id, signal];
        // A word that starts with a dash is an option, unknown as well.
        sandbox.verb(&words).fails(1, &[signal]);
    }
    sandbox.verb(&["delete", "--force", &sandbox.id]).ok();
    sandbox.assert_nothing_left();
}

#[test]
fn statistics_may_be_wanted_once_in_an_age() {
    if !is_ours() {
        return;
    }
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| {});
    sandbox.start();
    let interval = ["events", "--interval", "5000000000000000h", &sandbox.id];
    let file = std::fs::File::create(sandbox.bundle().join("events")).unwrap();
    let mut watcher = sandbox.command().args(interval).stderr(file).spawn().unwrap();
    let descriptors = format!("/proc/{}/fd", watcher.id());
    let open = || std::fs::read_dir(&descriptors).unwrap().flatten();
    let is_pidfd = |path: std::path::PathBuf| path.to_string_lossy().contains("pidfd");
    wharf_tests::wait_until("the watch", || {
        open().any(|fd| std::fs::read_link(fd.path()).is_ok_and(is_pidfd))
    });
    sandbox.verb(&["kill", &sandbox.id, "KILL"]).ok();
    let status = watcher.wait().unwrap();
    assert!(
        status.success(),
        "{status}: {}",
        std::fs::read_to_string(sandbox.bundle().join("events")).unwrap()
    );
}

#[test]
fn limits_at_the_end_of_their_range_are_an_answer() {
    if !is_ours() {
        return;
    }
    for (number, other) in [
        (i64::MIN, i64::MIN),
        (i64::MIN, i64::MAX),
        (i64::MIN + 1, -2),
        (-2, i64::MIN),
        (i64::MAX - 1, i64::MAX),
        (i64::MAX, i64::MAX),
    ] {
        let resources = json!({
            "memory": {"limit": number, "swap": other, "reservation": other},
            "cpu": {"quota": number, "period": u64::MAX, "shares": u64::MAX, "burst": u64::MAX},
            "blockIO": {"weight": u16::MAX, "leafWeight": 1},
            "pids": {"limit": number},
        });
        let sandbox = Sandbox::shell("true", |c| c["linux"]["resources"] = resources.clone());
        let said = sandbox.run();
        assert!(matches!(said.code, 0 | 1), "{resources}: {said:?}");
        assert!(!said.err.contains("panicked"), "{resources}: {said:?}");
        sandbox.assert_nothing_left();
    }
}
