//! podman for an ordinary user, with newuidmap and newgidmap and no say in any cgroup.

use std::path::PathBuf;

use wharf_tests::{Said, runtime_path, wait_up_to};

use crate::image::{self, IMAGE};
use crate::machine::{Machine, PATIENCE};
use crate::podman;

/// The user's ID, and the first of those subordinate to it.
const USER: u32 = 4242;
const FIRST: u32 = 300_000;

/// What the user needs: an account, subordinate IDs, a home, and a folder for the session.
const ACCOUNT: &str = "
  echo walker:x:4242:4242::$HOME/home:/bin/sh >>/etc/passwd
  echo walker:x:4242: >>/etc/group
  echo walker:300000:65536 | tee -a /etc/subuid >>/etc/subgid
  chmod 755 .
  install -d -o walker -g walker -m 700 home /run/user/4242
  chmod 644 image.tar
";

/// A machine with an ordinary user, whose podman has the image.
struct Walker {
    machine: Machine,
}

impl Walker {
    fn start() -> Walker {
        let machine = Machine::boot();
        image::make_archive(&machine);
        machine.run("sh", &["-euc", ACCOUNT]).ok();
        let walker = Walker { machine };
        let config = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\"]\nlog_driver = \"k8s-file\"\n\
                      [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";
        std::fs::write(walker.machine.path("home/containers.conf"), config).unwrap();
        walker.podman(&["load", "--quiet", "--input", &walker.machine.text("image.tar")]).ok();
        walker
    }

    /// `podman`, as the user.
    fn podman(&self, words: &[&str]) -> Said {
        let [user, home] = [USER.to_string(), self.machine.text("home")];
        let environment = [
            format!("HOME={home}"),
            format!("CONTAINERS_CONF={home}/containers.conf"),
            format!("XDG_RUNTIME_DIR=/run/user/{USER}"),
        ];
        let runtime = runtime_path();
        let become_user = ["--reuid", &user, "--regid", &user, "--clear-groups", "env", "--chdir", &home];
        let podman = ["podman", "--runtime", runtime.to_str().unwrap()];
        let environment = environment.each_ref().map(String::as_str);
        self.machine.run("setpriv", &[&become_user, &environment[..], &podman, words].concat())
    }

    /// What a container says with the options of `line`, running a shell script.
    fn say(&self, line: &str, script: &str) -> Said {
        let words = line.split_whitespace().chain([IMAGE, "sh", "-c", script]);
        let log = self.machine.path("home/said.log");
        podman::say(|words| self.podman(words), &log, &words.collect::<Vec<_>>())
    }

    /// `podman` with the words of `line`, then a shell script.
    fn shell(&self, line: &str, script: &str) -> Said {
        self.podman(&line.split(' ').chain(["sh", "-c", script]).collect::<Vec<_>>())
    }
}

#[test]
fn podman_runs_for_an_ordinary_user() {
    let walker = Walker::start();
    let line = |line: &str| walker.podman(&line.split(' ').collect::<Vec<_>>());
    let run = walker.say("--network none", "cat /proc/self/uid_map; id -u; exit 3");
    let words: Vec<_> = run.out.split_whitespace().collect();
    let (user, first) = (USER.to_string(), FIRST.to_string());
    assert_eq!((run.code, words), (3, vec!["0", &user, "1", "1", &first, "65536", "0"]), "{}", run.err);
    let kept = walker.say("--network none --userns keep-id", "id -u");
    assert_eq!(kept.out, format!("{USER}\n"), "{kept:?}");
    let host = walker.say("--network host --pid host", "ip link; ps");
    assert!(host.out.contains("LOOPBACK") && host.out.contains("docker-init"), "{host:?}");

    line(&format!("run --detach --name box --network none {IMAGE} sleep 1000")).ok();
    let exec = walker.shell("exec --user 1000 box", "id -u; exit 4");
    assert_eq!((exec.code, exec.out.as_str()), (4, "1000\n"), "{exec:?}");
    assert!(line("top box").ok().contains("sleep 1000"));
    line("kill --signal KILL box").ok();
    assert_eq!(line("wait box").ok(), "137\n");
    line("start box").ok();
    line("stop --time 0 box").ok();
    line("rm box").ok();
    assert_eq!(line(&format!("run --rm --network none {IMAGE} nosuch")).code, 127);
    // What could not be kept would be a limit: without a cgroup there is none, and that is said.
    let limited = line(&format!("run --rm --network none --memory 64m {IMAGE} true"));
    assert!(limited.code != 0 || !limited.err.is_empty(), "{limited:?}");

    // Ends the process that keeps the user's namespaces.
    line("system migrate").ok();
    let root = format!("/proc/{}/root/run/user/{USER}", walker.machine.init());
    let states = PathBuf::from(root).join(runtime_path().file_name().unwrap());
    wait_up_to(PATIENCE, "an end of the states", || {
        std::fs::read_dir(&states).into_iter().flatten().count() == 0
    });
    walker.machine.assert_nothing_left(&[]);
}
