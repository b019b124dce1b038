//! What becomes of commands when the state folder, or where else the runtime writes, is full, read-only or torn.

use std::process::{Command, Stdio};

use wharf_tests::{Said, Sandbox, is_ours, runtime_path};

/// Runs a script in a mount namespace of its own, with `$R` for the runtime with `--root $S`, `$B` and `$I` for the bundle and
/// the ID. `--propagation private` keeps its mounts in there.
fn in_private_mounts(sandbox: &Sandbox, script: &str) -> Said {
    std::fs::create_dir_all(sandbox.root()).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]).stdin(Stdio::null());
    command.env("S", sandbox.root()).env("B", sandbox.bundle()).env("I", &sandbox.id);
    command.env("R", format!("{} --root {}", runtime_path().display(), sandbox.root().display()));
    command.output().unwrap().into()
}

#[test]
fn create_on_a_full_disk_says_so_and_leaves_nothing() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| {});
    let (mut refused, mut made) = (0, 0);
    let inodes = (1..=10).map(|number| format!("nr_inodes={number}"));
    for size in inodes.chain(["size=4k", "size=8k", "size=16k"].map(str::to_owned)) {
        let script = format!(
            "mount -t tmpfs -o {size} none $S || exit 99
             $R create --bundle $B $I; code=$?
             [ $code = 0 ] && {{ $R delete --force $I || exit 98; }}
             find $S -mindepth 1
             exit $code"
        );
        let said = in_private_mounts(&sandbox, &script);
        match said.code {
            0 => made += 1,
            1 => refused += 1,
            other => panic!("{size}: {other}: {said:?}"),
        }
        assert_eq!(said.out, "", "{size}: left");
        assert!(said.code == 0 || said.err.contains("no space left on device"), "{size}: {said:?}");
        sandbox.assert_nothing_left();
    }
    assert!(refused > 3 && made > 0, "{refused} {made}");
}

#[test]
fn places_that_cannot_be_written_to_are_named_and_nothing_is_left() {
    let sandbox = Sandbox::new(&["true"], |_| {});
    let pid_file = "mkdir -p $B/full && mount -t tmpfs -o size=4k,nr_inodes=1 none $B/full || exit 99
        $R run --pid-file $B/full/pid --bundle $B $I; code=$?
        find $S -mindepth 1; exit $code";
    let read_only = "mount -t tmpfs none $S && mount -o remount,ro $S || exit 99
        $R run --bundle $B $I; code=$?
        $R delete --force $I && exit $code";
    let log = "mkdir -p $B/full && mount -t tmpfs -o ro none $B/full || exit 99
        $R --log $B/full/log run --bundle $B $I; code=$?
        find $S -mindepth 1; exit $code";
    for (script, parts) in [
        (pid_file, &["full/pid", "no space left on device"]),
        (read_only, &["/state", "read-only file system"]),
        (log, &["--log: open", "read-only file system"]),
    ] {
        let said = in_private_mounts(&sandbox, script);
        assert_eq!(said.out, "", "{said:?}");
        said.fails(1, parts);
        sandbox.assert_nothing_left();
    }
}

/// A log that can't grow is no reason to fail: what it would say is said on standard error.
#[test]
fn full_log_fails_no_command() {
    let sandbox = Sandbox::new(&["true"], |_| {});
    let said = in_private_mounts(
        &sandbox,
        "mkdir -p $B/full && mount -t tmpfs -o size=4k none $B/full && : > $B/full/log || exit 99
         head -c 4096 /dev/zero > $B/full/fill
         $R --debug --log $B/full/log run --bundle $B $I",
    );
    assert_eq!(said.code, 0, "{said:?}");
    sandbox.assert_nothing_left();
}

/// Records are written whole; but a disk can lose the end of a file, and people edit.
#[test]
fn torn_records_are_named_and_can_be_deleted() {
    let sandbox = Sandbox::new(&["true"], |_| {});
    sandbox.create().ok();
    let record = sandbox.root().join(&sandbox.id).join("state.json");
    let whole = std::fs::read(&record).unwrap();
    sandbox.verb(&["delete", "--force", &sandbox.id]).ok();
    let texts: [&[u8]; 8] = [
        b"",
        &whole[..whole.len() / 2],
        &whole[..whole.len() - 1],
        b"{}",
        b"[]",
        b"\xff\xfe\0\0",
        br#"{"id": 7, "creator": {"pid": 99999999999999999999}}"#,
        &[b'['; 100_000],
    ];
    for text in texts.iter().filter(|_| is_ours()) {
        std::fs::create_dir_all(record.parent().unwrap()).unwrap();
        std::fs::write(&record, text).unwrap();
        let id = &sandbox.id;
        for verb in [
            &["state", id][..],
            &["start", id],
            &["kill", id],
            &["pause", id],
            &["resume", id],
            &["update", "--pids-limit", "10", id],
            &["exec", id, "true"],
            &["ps", id],
            &["events", "--stats", id],
            &["delete", id],
        ] {
            let said = sandbox.verb(verb);
            assert!(said.code == 1 || said.code == 255, "{verb:?}: {said:?}");
            assert!(said.err.contains("state.json") && !said.err.contains("panicked"), "{verb:?}: {said:?}");
        }
        let list = sandbox.verb(&["list"]);
        assert!(list.out.starts_with("ID ") && !list.err.contains("panicked"), "{list:?}");
        let create = sandbox.create();
        create.fails(1, &["container with given ID already exists"]);
        let deleted = sandbox.verb(&["delete", "--force", id]);
        assert_eq!(deleted.code, 0, "{deleted:?}");
        assert!(deleted.err.contains("state.json"), "{deleted:?}");
        sandbox.assert_nothing_left();
    }
    sandbox.run().ok();
}
