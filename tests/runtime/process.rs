//! process: user, environment, working directory, capabilities, limits, descriptors, terminal (config.md).

use std::os::fd::AsRawFd as _;

use serde_json::json;
use wharf_tests::{Sandbox, is_ours};

#[test]
fn ids_groups_umask_and_working_directory_are_as_asked() {
    let sandbox = Sandbox::shell("id -u; id -g; id -G; umask; pwd; echo $HOME", |c| {
        c["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [5, 6], "umask": 63});
        c["process"]["cwd"] = json!("/made/here");
    });
    assert_eq!(sandbox.run().ok(), "1000\n1000\n1000 5 6\n0077\n/made/here\n/home/user\n");
}

/// "the runtime ... SHOULD NOT fail if the config requests a capability that cannot be granted" (config.md)
#[test]
fn unknown_capability_is_a_warning() {
    let sandbox = Sandbox::shell("grep ^Cap /proc/self/status", |c| {
        let sets = json!(["CAP_KILL", "CAP_FOO"]);
        c["process"]["capabilities"] =
            json!({"bounding": sets, "effective": sets, "permitted": sets, "inheritable": [], "ambient": []});
    });
    let said = sandbox.run();
    assert!(said.err.contains("CAP_FOO"), "{said:?}");
    let set = |name: &str, mask: &str| format!("{name}:\t00000000000000{mask}\n");
    let expected = [("CapInh", "00"), ("CapPrm", "20"), ("CapEff", "20"), ("CapBnd", "20"), ("CapAmb", "00")];
    assert_eq!(said.ok(), expected.map(|(name, mask)| set(name, mask)).concat());
}

#[test]
fn ambient_capabilities_reach_an_ordinary_user() {
    let sandbox = Sandbox::shell("grep -E 'Cap(Eff|Amb)' /proc/self/status", |c| {
        let sets = json!(["CAP_NET_BIND_SERVICE"]);
        c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        c["process"]["capabilities"] = json!({"bounding": sets, "effective": sets, "permitted": sets, "inheritable": sets, "ambient": sets});
    });
    assert_eq!(sandbox.run().ok(), "CapEff:\t0000000000000400\nCapAmb:\t0000000000000400\n");
}

#[test]
fn limits_oom_score_and_no_new_privileges_are_set() {
    let sandbox = Sandbox::shell(
        "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; grep NoNew /proc/self/status",
        |c| {
            c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
            c["process"]["oomScoreAdj"] = json!(500);
            c["process"]["noNewPrivileges"] = json!(true);
        },
    );
    assert_eq!(sandbox.run().ok(), "100\n200\n500\nNoNewPrivs:\t1\n");
}

/// CVE-2024-21626 class: nothing that the caller left open may reach the container.
#[test]
fn only_standard_descriptors_are_inherited_and_preserved_ones() {
    // 9 is `ls`'s own: the directory that it reads. The shell keeps none.
    let sandbox = Sandbox::new(&["ls", "/proc/self/fd"], |_| ());
    let leak = std::fs::File::open("/").unwrap();
    let kept = rustix::io::dup(&leak).unwrap(); // without close-on-exec
    assert!(kept.as_raw_fd() > 2);
    assert_eq!(sandbox.run().ok(), "0\n1\n2\n3\n");
    if is_ours() {
        let bundle = sandbox.bundle().to_str().unwrap().to_owned();
        let said = sandbox.verb(&["run", "--bundle", &bundle, "--preserve-fds", "600", &sandbox.id]);
        said.fails(1, &["--preserve-fds: descriptor"]);
        sandbox.assert_nothing_left();
    }
}

#[test]
fn terminal_is_a_pty_of_the_container_with_the_size_asked_for() {
    let sandbox = Sandbox::shell(
        "tty; stty size; test -t 0 && test -t 1 && echo terminal; ls -l /dev/console | cut -c1",
        |c| {
            c["process"]["terminal"] = json!(true);
            c["process"]["consoleSize"] = json!({"height": 33, "width": 77});
        },
    );
    let out = sandbox.run().ok().replace('\r', "");
    assert_eq!(out, "/dev/pts/0\n33 77\nterminal\nc\n");
}

/// CVE-2019-5736: the container may execute the runtime's own program, but never write to it.
/// What a program says last before it ends is in the terminal when its end is seen.
#[test]
fn terminal_of_a_foreground_command_loses_nothing() {
    let sandbox = Sandbox::shell("seq 20000", |c| c["process"]["terminal"] = json!(true));
    let counted = |text: &str| -> Vec<u32> { text.split_whitespace().map(|n| n.parse().unwrap()).collect() };
    let all: Vec<u32> = (1..=20000).collect();
    assert_eq!(counted(&sandbox.run().ok()), all);
    let living = Sandbox::new(&["sleep", "1000"], |_| ());
    living.start();
    for _ in 0..10 {
        assert_eq!(counted(&living.verb(&["exec", "--tty", &living.id, "seq", "20000"]).ok()), all);
    }
}

#[test]
fn runtime_program_is_out_of_reach() {
    if !is_ours() {
        return;
    }
    let before = std::fs::metadata(wharf_tests::runtime_path()).unwrap().modified().unwrap();
    let sandbox = Sandbox::new(&["/proc/self/exe", "--version"], |_| ());
    sandbox.run();
    let sandbox = Sandbox::shell("sleep 1000", |_| ());
    sandbox.create().ok();
    let exe = format!("/proc/{}/exe", sandbox.state()["pid"]);
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let held = rustix::fs::open(exe, flags, rustix::fs::Mode::empty()).unwrap();
    sandbox.verb(&["delete", "--force", &sandbox.id]).ok();
    // As long as anybody executes the file, "text file busy" is the answer whatever the mount says.
    let open = || {
        std::fs::OpenOptions::new()
            .write(true)
            .open(format!("/proc/self/fd/{}", held.as_raw_fd()))
            .unwrap_err()
            .kind()
    };
    wharf_tests::wait_until("nobody to execute the file", || {
        open() != std::io::ErrorKind::ExecutableFileBusy
    });
    assert_eq!(open(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(std::fs::metadata(wharf_tests::runtime_path()).unwrap().modified().unwrap(), before);
}

/// crun's annotation, by which podman's `--group-add keep-groups` works.
#[test]
fn supplementary_groups_of_the_caller_are_kept_where_that_is_asked_and_dropped_else() {
    if !is_ours() {
        return;
    }
    for (annotations, expected) in [(json!({}), ""), (json!({"run.oci.keep_original_groups": "1"}), "4321")] {
        let sandbox = Sandbox::shell("grep Groups: /proc/self/status", |c| c["annotations"] = annotations);
        let runtime = sandbox.command();
        let mut command = std::process::Command::new("setpriv");
        command.args(["--groups", "4321"]).arg(runtime.get_program()).args(runtime.get_args());
        command.args(["run", "--bundle", sandbox.bundle().to_str().unwrap(), &sandbox.id]);
        let said = wharf_tests::Said::from(command.output().unwrap()).ok();
        assert_eq!(said.trim_start_matches("Groups:").trim(), expected);
    }
}
