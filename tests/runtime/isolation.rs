//! What happens to the bundle after `create` does not reach the container, and what is done for the container is
//! not seen in the host's mount namespace, not even for a moment.

use std::fs::File;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{MountFlags, MountPropagationFlags};
use serde_json::json;
use wharf_tests::{Sandbox, is_ours, skip};

/// A container that has asked what its config says, and one `exec` that asks again.
fn assert_saved_config_counts(change_bundle: impl FnOnce(&Sandbox)) {
    let sandbox = Sandbox::shell("echo $WORD > /tmp/word; sleep 1000", |c| {
        c["process"]["env"] = json!(["PATH=/bin", "WORD=saved"]);
        c["process"]["noNewPrivileges"] = json!(true);
    });
    sandbox.create().ok();
    change_bundle(&sandbox);
    sandbox.verb(&["start", &sandbox.id]).ok();
    let word = sandbox.rootfs().join("tmp/word");
    wharf_tests::wait_until("the word", || std::fs::read_to_string(&word).is_ok_and(|w| w == "saved\n"));
    if is_ours() {
        // runc reads the bundle again for each exec.
        let seen = sandbox.exec("echo $WORD; grep NoNewPrivs /proc/self/status").ok();
        assert_eq!(seen, "saved\nNoNewPrivs:\t1\n");
    }
    assert_eq!(sandbox.state()["status"], "running");
    sandbox.verb(&["kill", &sandbox.id, "KILL"]).ok();
    sandbox.wait_for_status("stopped");
    sandbox.verb(&["delete", &sandbox.id]).ok();
    sandbox.assert_nothing_left();
}

/// runtime.md, "Create": "Any changes made to the config.json file after this operation will not have an effect on
/// the container."
#[test]
fn config_that_was_changed_after_create_has_no_effect() {
    assert_saved_config_counts(|sandbox| {
        let path = sandbox.bundle().join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["process"]["env"] = json!(["PATH=/bin", "WORD=changed"]);
        config["process"]["args"] = json!(["false"]);
        config["process"]["noNewPrivileges"] = json!(false);
        config["hooks"] =
            json!({"poststart": [{"path": "/nosuch"}], "startContainer": [{"path": "/nosuch"}]});
        sandbox.write_config(&config.to_string());
    });
}

#[test]
fn config_that_is_gone_after_create_is_not_missed() {
    if !is_ours() {
        return;
    }
    assert_saved_config_counts(|sandbox| {
        std::fs::remove_file(sandbox.bundle().join("config.json")).unwrap();
    });
}

/// Somebody in a mount namespace who is told of every change in it (proc_pid_mountinfo(5): poll(2) says PRI).
struct Observer(File);

impl Observer {
    /// Moves this thread to a mount namespace of its own, cut off from the host's and everybody else in there.
    fn apart() -> Observer {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        Observer(File::open("/proc/thread-self/mountinfo").unwrap())
    }

    /// Whether something has changed since the last time.
    fn saw_something(&self) -> bool {
        let mut files = [PollFd::new(&self.0, PollFlags::PRI)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut files, Some(&now)).unwrap();
        files[0].revents().contains(PollFlags::PRI)
    }
}

fn busy_container(host_folder: &Path) -> Sandbox {
    let mapping = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    Sandbox::new(&["sleep", "1000"], |c| {
        let mounts = c["mounts"].as_array_mut().unwrap();
        mounts.extend([
            json!({"destination": "/bound", "source": host_folder, "options": ["rbind", "rro"]}),
            json!({"destination": "/mapped", "source": host_folder, "options": ["bind", "idmap"],
                "uidMappings": mapping, "gidMappings": mapping}),
            json!({"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}),
            json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}),
        ]);
        c["root"]["readonly"] = json!(true);
        c["linux"]["maskedPaths"] = json!(["/proc/kcore", "/proc/keys", "/sys/firmware"]);
        c["linux"]["readonlyPaths"] = json!(["/proc/sys", "/proc/bus"]);
        c["linux"]["devices"] = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]);
    })
}

#[test]
fn no_command_shows_in_the_mount_namespace_that_it_is_run_in() {
    if !is_ours() {
        return;
    }
    let test = || {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = busy_container(folder.path());
        let observer = Observer::apart();
        let bundle = sandbox.bundle().to_str().unwrap();
        let id = sandbox.id.as_str();
        let commands: [&[&str]; 12] = [
            &["validate", bundle],
            &["create", "--bundle", bundle, id],
            &["state", id],
            &["start", id],
            &["exec", id, "true"],
            &["exec", "--cap", "CAP_SYS_ADMIN", id, "true"],
            &["ps", id],
            &["pause", id],
            &["resume", id],
            &["update", "--pids-limit", "100", id],
            &["kill", id, "KILL"],
            &["delete", "--force", id],
        ];
        for command in commands {
            sandbox.verb(command).ok();
            assert!(!observer.saw_something(), "{command:?}");
        }
        // Nor one that fails half-way.
        sandbox.write_config(&{
            let text = std::fs::read_to_string(sandbox.bundle().join("config.json")).unwrap();
            text.replacen("\"sleep\"", "\"nosuch\"", 1)
        });
        assert_eq!(sandbox.verb(&["run", "--bundle", bundle, id]).code, 1);
        assert!(!observer.saw_something(), "run");
        // The observer does see what is there to be seen.
        let flags = MountFlags::empty();
        rustix::mount::mount("tmpfs", folder.path(), "tmpfs", flags, c"").unwrap();
        assert!(observer.saw_something());
        rustix::mount::unmount(folder.path(), rustix::mount::UnmountFlags::empty()).unwrap();
        sandbox.assert_nothing_left();
    };
    // A thread of its own: the namespace goes with it.
    std::thread::spawn(test).join().unwrap();
}

/// The container's tree is attached nowhere then, and has to last until the last mount has been made upon it.
#[test]
fn container_in_the_mount_namespace_of_the_runtime_gets_its_terminal() {
    if !is_ours() {
        return;
    }
    let sandbox = |terminal| {
        Sandbox::shell("tty; readlink -f /dev/console; test -c /dev/console && echo console", |c| {
            c["process"]["terminal"] = json!(terminal);
            c["linux"]["namespaces"].as_array_mut().unwrap().retain(|space| space["type"] != "mount");
        })
    };
    let test = move || {
        let observer = Observer::apart();
        if sandbox(false).run().err.contains("invalid argument") {
            skip("the kernel mounts nothing upon a tree that is attached nowhere (Linux 6.15)");
            return;
        }
        let sandbox = sandbox(true);
        let said = sandbox.run().ok().replace('\r', "");
        assert_eq!(said, "/dev/pts/0\n/dev/console\nconsole\n");
        assert!(!observer.saw_something());
        sandbox.assert_nothing_left();
    };
    std::thread::spawn(test).join().unwrap();
}
