//! checkpoint and restore through criu(8), as runc has them.
//!
//! criu is bound to the kernel more than anything else here: where `criu check` fails, what needs it is skipped. The
//! kernel of `scripts/guest` is of criu's age. What goes wrong before criu is asked is shown everywhere.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use wharf_tests::{Sandbox, is_ours, skip, wait_until, with_systemd_cgroups};

/// Counts in a file, with nothing of the host open.
const COUNT: &str =
    "exec < /dev/null > /dev/null 2>&1; i=0; while :; do i=$((i+1)); echo $i > /tmp/n; sleep 0.05; done";

fn criu_works() -> bool {
    static FAULT: OnceLock<Option<&str>> = OnceLock::new();
    let fault = FAULT.get_or_init(|| match succeeds("criu", &["check"]) {
        false => Some("criu does not work on this kernel"),
        // By it criu holds a network still while it saves or restores it.
        true => (!succeeds("iptables-restore", &["--version"])).then_some("criu needs iptables"),
    });
    fault.is_none_or(skip)
}

fn succeeds(program: &str, words: &[&str]) -> bool {
    Command::new(program).args(words).output().is_ok_and(|output| output.status.success())
}

/// A container and the folders of its images.
struct Saved(Sandbox);

impl Saved {
    /// One that counts.
    fn counting(change: impl FnOnce(&mut Value)) -> Saved {
        let saved = Saved(Sandbox::shell(COUNT, change));
        saved.0.start();
        wait_until("the first number", || saved.count() > 2);
        saved
    }

    fn folder(&self, name: &str) -> String {
        self.0.bundle().join(name).display().to_string()
    }

    /// The last number that was written whole.
    fn count(&self) -> u64 {
        let text = std::fs::read_to_string(self.0.rootfs().join("tmp/n")).unwrap_or_default();
        text.strip_suffix('\n').and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn checkpoint(&self, options: &[&str]) -> wharf_tests::Said {
        let (images, work) = (self.folder("images"), self.folder("work"));
        let folders = ["checkpoint", "--image-path", &images, "--work-path", &work];
        self.0.verb(&[&folders, options, &[&self.0.id]].concat())
    }

    fn restore(&self, options: &[&str]) -> wharf_tests::Said {
        let (images, work, bundle) = (self.folder("images"), self.folder("work"), self.folder(""));
        let folders =
            ["restore", "--detach", "--image-path", &images, "--work-path", &work, "--bundle", &bundle];
        self.0.verb(&[&folders, options, &[&self.0.id]].concat())
    }

    /// Asserts that it goes on from `number`, and did not begin anew.
    fn assert_counts_on(&self, number: u64) {
        wait_until("the next number", || self.count() > number);
    }

    fn end(&self) {
        self.0.verb(&["delete", "--force", &self.0.id]).ok();
        self.0.assert_nothing_left();
    }
}

#[test]
fn restored_program_goes_on_where_it_was() {
    if !criu_works() {
        return;
    }
    let saved = Saved::counting(|_| ());
    for _ in 0..2 {
        saved.checkpoint(&[]).ok();
        saved.0.verb(&["state", &saved.0.id]).fails(1, &["does not exist"]);
        saved.0.assert_nothing_left();
        assert!(Path::new(&saved.folder("work/dump.log")).exists());
        let number = saved.count();
        let pid_file = saved.folder("pid");
        saved.restore(&["--pid-file", &pid_file]).ok();
        let state = saved.0.state();
        assert_eq!(state["status"], "running");
        assert_eq!(std::fs::read_to_string(&pid_file).unwrap(), state["pid"].to_string());
        saved.assert_counts_on(number);
        assert_eq!(saved.0.exec("hostname; cat /proc/1/comm").ok(), "box\nsh\n");
        std::fs::remove_dir_all(saved.folder("images")).unwrap();
    }
    saved.0.verb(&["kill", &saved.0.id, "KILL"]).ok();
    saved.0.wait_for_status("stopped");
    saved.end();
}

#[test]
fn saved_container_may_be_left_running() {
    if !criu_works() {
        return;
    }
    let saved = Saved::counting(|_| ());
    saved.checkpoint(&["--leave-running"]).ok();
    assert_eq!(saved.0.state()["status"], "running");
    let number = saved.count();
    saved.assert_counts_on(number);
    saved.0.verb(&["delete", "--force", &saved.0.id]).ok();
    let last = saved.count();
    saved.restore(&[]).ok();
    wait_until("a number from before", || saved.count() < last);
    saved.end();
}

#[test]
fn pre_dump_is_what_the_next_one_builds_on() {
    if !criu_works() {
        return;
    }
    if !succeeds("criu", &["check", "--feature", "mem_dirty_track"]) {
        skip("the kernel does not tell which pages have changed (CONFIG_MEM_SOFT_DIRTY)");
        return;
    }
    let saved = Saved::counting(|_| ());
    let parent = saved.folder("parent");
    saved.0.verb(&["checkpoint", "--pre-dump", "--image-path", &parent, &saved.0.id]).ok();
    assert_eq!(saved.0.state()["status"], "running");
    saved.checkpoint(&["--parent-path", "../parent"]).ok();
    assert!(Path::new(&saved.folder("images/parent")).exists());
    let number = saved.count();
    saved.restore(&[]).ok();
    saved.assert_counts_on(number);
    saved.end();
}

#[test]
fn parent_path_must_be_relative_and_there() {
    let saved = Saved::counting(|_| ());
    std::fs::create_dir(saved.folder("parent")).unwrap();
    for path in [saved.folder("parent"), "../nosuch".to_owned()] {
        saved.checkpoint(&["--parent-path", &path]).fails(1, &["--parent-path"]);
        assert_eq!(saved.0.state()["status"], "running");
    }
    saved.end();
}

/// Whether criu works here or not: a connection that nobody allowed is in its way.
#[test]
fn failed_checkpoint_ends_nothing_and_names_the_log() {
    let connect = "exec < /dev/null > /dev/null 2>&1; sleep 1000 | nc -l -p 99 &
        until netstat -tln | grep -q :99; do sleep 0.05; done; sleep 1000 | nc 127.0.0.1 99 &";
    let saved = Saved(Sandbox::shell(&format!("{connect} {COUNT}"), |_| ()));
    saved.0.start();
    let is_connected = || saved.0.exec("netstat -tn").ok().contains("ESTABLISHED");
    wait_until("the connection", is_connected);
    saved.checkpoint(&[]).fails(1, &["criu failed: type", "dump.log"]);
    assert_eq!(saved.0.state()["status"], "running");
    let number = saved.count();
    saved.assert_counts_on(number);
    if criu_works() {
        saved.checkpoint(&["--tcp-established"]).ok();
        saved.restore(&["--tcp-established"]).ok();
        assert!(is_connected());
    }
    saved.end();
}

#[test]
fn only_what_runs_can_be_saved() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    let images = sandbox.bundle().join("images").display().to_string();
    let checkpoint = || sandbox.verb(&["checkpoint", "--image-path", &images, &sandbox.id]);
    checkpoint().fails(1, &["does not exist"]);
    sandbox.create().ok();
    if is_ours() {
        checkpoint().fails(1, &["cannot be checkpointed in created state"]);
    }
    sandbox.verb(&["start", &sandbox.id]).ok();
    sandbox.verb(&["kill", &sandbox.id, "KILL"]).ok();
    sandbox.wait_for_status("stopped");
    checkpoint().fails(1, &["cannot be checkpointed in stopped state"]);
}

#[test]
fn restore_without_images_leaves_nothing() {
    let saved = Saved(Sandbox::new(&["sleep", "1000"], |_| ()));
    assert_ne!(saved.restore(&[]).code, 0);
    std::fs::create_dir(saved.folder("images")).unwrap();
    assert_ne!(saved.restore(&[]).code, 0);
    if is_ours() {
        std::fs::write(saved.folder("images/descriptors.json"), "[\"\",\"\",\"\"]").unwrap();
        saved.restore(&[]).fails(1, &["criu"]);
    }
    saved.0.assert_nothing_left();
}

#[test]
fn options_are_checked_before_anything_is_done() {
    if !is_ours() {
        return; // runc passes over some
    }
    let saved = Saved::counting(|_| ());
    for (options, part) in [
        (&["--page-server", "nowhere"][..], "--page-server"),
        (&["--manage-cgroups-mode", "some"], "--manage-cgroups-mode"),
        (&["--empty-ns", "moon"], "--empty-ns"),
        (&["--status-fd", "9"], "--lazy-pages"),
        (&["--lazy-pages", "--status-fd", "77"], "--status-fd"),
    ] {
        let said = saved.checkpoint(options);
        assert_ne!(said.code, 0);
        assert!(said.err.contains(part), "{said:?}");
        assert_eq!(saved.0.state()["status"], "running");
    }
    saved.end();
}

/// A pipe's other end is outside: the restored program gets the one that `restore` was given.
#[test]
fn standard_streams_that_are_pipes_are_connected_anew() {
    if !criu_works() {
        return;
    }
    let saved = Saved(Sandbox::shell("while read line; do echo got $line; done", |_| ()));
    // Both ends that are ours outlive the runtime, which is waited for.
    let start = |verb: &[&str]| {
        let mut command = saved.0.command();
        command.args(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let ends = (child.stdin.take().unwrap(), child.stdout.take().unwrap(), child.stderr.take().unwrap());
        assert!(child.wait().unwrap().success());
        ends
    };
    let bundle = saved.folder("");
    let first = start(&["run", "--detach", "--bundle", &bundle, &saved.0.id]);
    let (images, work) = (saved.folder("images"), saved.folder("work"));
    saved.checkpoint(&[]).ok();
    drop(first);
    let folders = ["--image-path", &images, "--work-path", &work, "--bundle", &bundle];
    let (mut input, mut output, _) =
        start(&[&["restore", "--detach"], &folders[..], &[&saved.0.id]].concat());
    input.write_all(b"it\n").unwrap();
    drop(input);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "got it\n");
    saved.end();
}

#[test]
fn restore_in_the_foreground_has_the_programs_exit_code() {
    if !criu_works() {
        return;
    }
    let script = "exec < /dev/null > /dev/null 2>&1; trap 'exit 7' TERM; touch /tmp/ready; while :; do sleep 0.1; done";
    let saved = Saved(Sandbox::shell(script, |_| ()));
    saved.0.start();
    wait_until("the trap", || saved.0.rootfs().join("tmp/ready").exists());
    saved.checkpoint(&[]).ok();
    let (images, bundle) = (saved.folder("images"), saved.folder(""));
    let mut command = saved.0.command();
    command.args(["restore", "--image-path", &images, "--bundle", &bundle, &saved.0.id]);
    let mut child = command.spawn().unwrap();
    let status = || saved.0.command().args(["state", &saved.0.id]).output().unwrap();
    wait_until("it to run", || String::from_utf8_lossy(&status().stdout).contains("running"));
    saved.0.verb(&["kill", &saved.0.id, "TERM"]).ok();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    saved.0.assert_nothing_left();
}

#[test]
fn mounts_from_outside_and_their_places_are_there_again() {
    if !criu_works() {
        return;
    }
    let outer = tempfile_folder("outer");
    let inner = tempfile_folder("inner");
    std::fs::write(inner.join("file"), "kept\n").unwrap();
    let bind = |destination: &str, source: &Path| json!({"destination": destination, "type": "bind", "source": source, "options": ["bind", "rw"]});
    let saved = Saved::counting(|c| {
        let mounts = c["mounts"].as_array_mut().unwrap();
        mounts.push(bind("/outer", &outer));
        mounts.push(bind("/outer/in/here", &inner));
        mounts.push(bind("/bundle", Path::new(".")));
        c["linux"]["maskedPaths"] = json!(["/proc/timer_list", "/proc/acpi", "/etc/passwd"]);
        c["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
    });
    saved.checkpoint(&[]).ok();
    std::fs::remove_dir_all(outer.join("in")).unwrap(); // the place of the inner one
    let number = saved.count();
    saved.restore(&[]).ok();
    saved.assert_counts_on(number);
    assert_eq!(saved.0.exec("cat /outer/in/here/file; cat /etc/passwd").ok(), "kept\n");
    saved.end();
    for folder in [outer, inner] {
        std::fs::remove_dir_all(folder).unwrap();
    }
}

fn tempfile_folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("wharf-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn cgroup_may_be_another_one_when_it_is_not_managed() {
    if with_systemd_cgroups() || !criu_works() {
        return;
    }
    let saved = Saved::counting(|_| ());
    saved.checkpoint(&["--manage-cgroups-mode", "ignore"]).ok();
    let path = saved.0.bundle().join("config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let other = format!("/{}-other", saved.0.id);
    config["linux"]["cgroupsPath"] = json!(other);
    saved.0.write_config(&config.to_string());
    saved.restore(&["--manage-cgroups-mode", "ignore"]).ok();
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", saved.0.state()["pid"])).unwrap();
    assert!(own.contains(&other), "{own}");
    saved.end();
}

#[test]
fn network_namespace_from_outside_is_joined_again() {
    if !criu_works() {
        return;
    }
    let holder = Sandbox::new(&["sleep", "1000"], |_| ());
    holder.start();
    let path = format!("/proc/{}/ns/net", holder.state()["pid"]);
    let saved = Saved::counting(|c| {
        let list = c["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|namespace| namespace["type"] != "network");
        list.push(json!({"type": "network", "path": path}));
    });
    saved.checkpoint(&[]).ok();
    let number = saved.count();
    saved.restore(&[]).ok();
    saved.assert_counts_on(number);
    let own = std::fs::read_link(format!("/proc/{}/ns/net", saved.0.state()["pid"])).unwrap();
    assert_eq!(own, std::fs::read_link(&path).unwrap());
    saved.end();
}

#[test]
fn annotation_names_a_file_of_options_for_criu() {
    if !criu_works() {
        return;
    }
    let file = tempfile_folder("criu").join("config");
    File::create(&file).unwrap().write_all(b"log-file=other.log\n").unwrap();
    let saved = Saved::counting(|c| c["annotations"] = json!({"org.criu.config": file}));
    saved.checkpoint(&[]).ok();
    assert!(Path::new(&saved.folder("work/other.log")).exists());
    assert!(!Path::new(&saved.folder("work/dump.log")).exists());
    saved.restore(&[]).ok();
    saved.end();
    std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
}

#[test]
fn hooks_run_for_the_restored_container() {
    if !criu_works() {
        return;
    }
    let saved = Saved::counting(|_| ());
    saved.checkpoint(&[]).ok();
    let path = saved.0.bundle().join("config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let seen = saved.folder("seen");
    config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "cat > $0", seen]}]});
    saved.0.write_config(&config.to_string());
    saved.restore(&[]).ok();
    let state: Value = serde_json::from_str(&std::fs::read_to_string(&seen).unwrap()).unwrap();
    assert_eq!(state["id"], saved.0.id.as_str());
    assert_eq!(state["pid"], saved.0.state()["pid"]);
    saved.end();
}
