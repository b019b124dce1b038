//! podman with conmon, for root.

use std::path::Path;

use wharf_tests::{Said, is_ours, runtime_path, wait_up_to};

use crate::image::{self, IMAGE};
use crate::machine::{Machine, PATIENCE};
use crate::skip;

/// podman's groups for containers and conmon, and its mount of the store onto itself.
const KEPT: [&str; 4] = ["/libpod_parent", "/libpod_parent/conmon", "/store/overlay", "/run/netns"];

/// This machine may not raise limits above its own; Debian has no catatonit; a test has no journal. podman goes by
/// names for what it asks of a runtime, and so has to be told that this one logs JSON and can do without groups.
const CONFIG: &str = r#"[engine]
runtime_supports_json = ["wharf-runtime", "runc"]
runtime_supports_nocgroup = ["wharf-runtime"]
cgroup_manager = "cgroupfs"
events_logger = "file"
init_path = "/usr/bin/docker-init"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
"#;

/// What podman calls the runtime under test.
fn name() -> String {
    runtime_path().file_name().unwrap().to_str().unwrap().to_owned()
}

/// What a container says that `podman` runs with these options, image and program. It is read from `log`, not from
/// what podman hands on: conmon sees the program's output and the client's connection in any order, and what comes
/// while there is no client goes into the log alone.
pub fn say(podman: impl Fn(&[&str]) -> Said, log: &Path, words: &[&str]) -> Said {
    let path = format!("path={}", log.display());
    let run = podman(&[&["run", "--rm", "--log-driver", "k8s-file", "--log-opt", &path], words].concat());
    let lines = std::fs::read_to_string(log).unwrap_or_default();
    std::fs::remove_file(log).ok();
    // Each line has a time, a stream's name and F, or P where the line does not end with it.
    let parts =
        lines.split('\n').filter_map(|line| line.splitn(4, ' ').skip(1).collect::<Vec<_>>().try_into().ok());
    let text = |stream: &str| -> String {
        let of = parts.clone().filter(|part: &[&str; 3]| part[0] == stream);
        of.map(|[_, end, text]| if end == "F" { format!("{text}\n") } else { text.to_owned() }).collect()
    };
    Said { out: text("stdout"), ..run }
}

/// A machine on which podman has the image.
pub struct Podman {
    /// The machine.
    pub machine: Machine,
}

impl Podman {
    /// Prepares one.
    pub fn start() -> Podman {
        let mut machine = Machine::boot();
        let archive = image::make_archive(&machine);
        let runtime = runtime_path();
        let named = format!("[engine.runtimes]\n{} = [{:?}]\n", name(), runtime.to_str().unwrap());
        let named = if runtime.is_absolute() { named } else { String::new() };
        std::fs::write(machine.path("containers.conf"), format!("{CONFIG}{named}")).unwrap();
        let config = machine.text("containers.conf");
        machine.set("CONTAINERS_CONF", &config);
        let podman = Podman { machine };
        podman.run(&format!("load --quiet --input {archive}")).ok();
        podman
    }

    /// `podman` with these words.
    pub fn words(&self, words: &[&str]) -> Said {
        let [store, run] = ["store", "run"].map(|name| self.machine.text(name));
        let places = ["--root", &store, "--runroot", &run, "--runtime", &name()];
        self.machine.run("podman", &[&places, words].concat())
    }

    /// `podman` with these words and a line to read.
    fn fed(&self, line: &str, words: &[&str]) -> Said {
        let [store, run] = ["store", "run"].map(|name| self.machine.text(name));
        let places = ["--root", &store, "--runroot", &run, "--runtime", &name()];
        let shell = ["-c", "echo \"$0\" | podman \"$@\"", line];
        self.machine.run("sh", &[&shell[..], &places, words].concat())
    }

    /// `podman` with the words of `line`.
    pub fn run(&self, line: &str) -> Said {
        self.words(&line.split(' ').collect::<Vec<_>>())
    }

    /// `podman` with the words of `line`, then a shell script.
    pub fn shell(&self, line: &str, script: &str) -> Said {
        self.words(&line.split(' ').chain(["sh", "-c", script]).collect::<Vec<_>>())
    }

    /// What a container says with the options of `line`, running a shell script.
    fn say(&self, line: &str, script: &str) -> Said {
        let words = line.split_whitespace().chain([IMAGE, "sh", "-c", script]);
        say(|words| self.words(words), &self.machine.path("said.log"), &words.collect::<Vec<_>>())
    }

    fn status(&self, name: &str) -> String {
        self.run(&format!("inspect --format {{{{.State.Status}}}} {name}")).ok().trim().to_owned()
    }

    /// Asserts that nothing is left, and ends the machine.
    pub fn stop(self) {
        self.machine.assert_nothing_left(&KEPT);
    }
}

#[test]
fn podman_drives_a_container() {
    let podman = Podman::start();
    let run = podman.say("", "echo hi; exit 3");
    assert_eq!((run.code, run.out.as_str()), (3, "hi\n"), "{run:?}");
    let health = ["--health-cmd", "test -e /tmp/ok", "--health-interval", "disable"];
    let script = "trap 'exit 9' USR1; echo logged; while :; do sleep 1; done";
    let run = ["run", "--detach", "--name", "box"];
    podman.words(&[&run, &health[..], &[IMAGE, "sh", "-c", script]].concat()).ok();
    let exec = podman.shell("exec --workdir /tmp --env A=b --user 1000 box", "echo $PWD $A $(id -u); exit 4");
    assert_eq!((exec.code, exec.out.as_str()), (4, "/tmp b 1000\n"), "{exec:?}");
    wait_up_to(PATIENCE, "the log", || podman.run("logs box").out == "logged\n");
    assert!(podman.run("top box").ok().contains("sh -c trap"));
    assert!(podman.run("top box -eo pid,comm").ok().contains(" sh"));
    assert_eq!(podman.run("healthcheck run box").code, 1);
    podman.run("exec box touch /tmp/ok").ok();
    podman.run("healthcheck run box").ok();
    podman.run("pause box").ok();
    assert_eq!(podman.status("box"), "paused");
    podman.run("unpause box").ok();
    podman.run("update --memory 64m --cpus 0.5 box").ok();
    let limits = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || \
                  cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max";
    let seen = podman.shell("exec box", limits).out;
    assert!(seen.starts_with("67108864\n50000"), "{seen}");
    let stats = podman.run("stats --no-stream --format json box").ok();
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    assert!(stats[0]["pids"].as_str().unwrap().parse::<u32>().unwrap() >= 1, "{stats}");
    podman.run("kill --signal USR1 box").ok();
    assert_eq!(podman.run("wait box").ok(), "9\n");
    podman.run("start box").ok();
    podman.run("restart --time 0 box").ok();
    podman.run("stop --time 0 box").ok();
    podman.run("rm box").ok();
    fail(&podman);
    podman.stop();
}

/// Errors keep their exit codes, and podman takes their text out of the log.
fn fail(podman: &Podman) {
    let run = |program: &str| podman.run(&format!("run --rm {IMAGE} {program}"));
    run("nosuch").fails(127, &["executable file not found in $PATH"]);
    run("/nosuch").fails(127, &["no such file or directory"]);
    run("/etc/passwd").fails(126, &["permission denied"]);
    run("/etc").fails(126, &["/etc"]);
    podman.run(&format!("run --detach --name up {IMAGE} sleep 1000")).ok();
    podman.run("exec up nosuch").fails(127, &["executable file not found in $PATH"]);
    podman.run("exec up /etc/passwd").fails(126, &["permission denied"]);
    podman.run("rm --force --time 0 up").ok();
}

#[test]
fn podman_feeds_a_container_and_does_without_groups() {
    let podman = Podman::start();
    assert_eq!(podman.fed("here", &["run", "--rm", "--interactive", IMAGE, "cat"]).ok(), "here\n");
    podman.run(&format!("run --detach --name up {IMAGE} sleep 1000")).ok();
    assert_eq!(podman.fed("there", &["exec", "--interactive", "up", "cat"]).ok(), "there\n");
    podman.run("rm --force --time 0 up").ok();
    if is_ours() {
        let script = "cat /proc/self/cgroup; exit 3";
        let run = podman.say("--cgroups disabled", script);
        assert!(run.code == 3 && !run.out.contains("libpod"), "{run:?}");
    }
    podman.stop();
}

#[test]
fn podman_options_reach_the_container() {
    let podman = Podman::start();
    let shell = |options: &str, script: &str| {
        let said = podman.say(options, script);
        assert!(said.code == 0, "{options}: {said:?}");
        said.out
    };
    std::fs::write(podman.machine.path("subid"), "containers:200000:200000\n").unwrap();
    for file in ["/etc/subuid", "/etc/subgid"] {
        podman.machine.run("cp", &["subid", file]).ok();
    }
    // podman 4.3 leaves the network namespace of such a container mounted, under any runtime.
    let map = |options: &str| {
        let text = shell(&format!("--network none {options}"), "cat /proc/self/uid_map");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(map("--userns auto").starts_with("0 200000 "), "{}", map("--userns auto"));
    assert_eq!(map("--uidmap 0:100000:65536 --gidmap 0:100000:65536"), "0 100000 65536");
    assert!(shell("--pid host", "ps").contains("docker-init -s -- cat"));
    assert!(shell("--init", "ps").contains("/run/podman-init -- sh -c ps"));
    let status =
        "grep -e CapEff -e NoNewPrivs /proc/self/status; touch /x 2>/dev/null || echo no; touch /tmp/x";
    assert_eq!(
        shell("--read-only --tmpfs /tmp --cap-drop all --security-opt no-new-privileges", status),
        "CapEff:\t0000000000000000\nNoNewPrivs:\t1\nno\n"
    );
    assert!(shell("--privileged", "test -w /proc/sys/kernel/hostname && ls /dev").contains("kmsg"));
    assert_eq!(
        shell("--device /dev/full", "echo x 2>&1 >/dev/full || true"),
        "sh: write error: No space left on device\n"
    );
    assert_eq!(shell("--tty", "tty"), "/dev/pts/0\r\n");
    assert_eq!(shell("--sysctl net.ipv4.ip_default_ttl=77", "cat /proc/sys/net/ipv4/ip_default_ttl"), "77\n");
    assert!(shell("--cgroupns private", "cat /proc/self/cgroup").lines().all(|line| line.ends_with(":/")));
    let ping = "ping -c 1 -W 20 $(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p') | grep -c '1 packets received'";
    assert_eq!(shell("--cap-add net_raw", ping), "1\n", "the bridge is not reached");
    podman.stop();
}

#[test]
fn podman_shares_namespaces_in_a_pod() {
    let podman = Podman::start();
    podman
        .words(&[
            "pod",
            "create",
            "--name",
            "p",
            "--share",
            "net,ipc,uts,pid",
            "--infra-command",
            "sleep 100000",
            "--infra-image",
            IMAGE,
        ])
        .ok();
    podman.run(&format!("run --detach --pod p --name member {IMAGE} sleep 1000")).ok();
    let view = podman.say("--pod p", "ps; hostname").ok();
    for part in ["sleep 100000", "sleep 1000", "\np\n"] {
        assert!(view.contains(part), "no {part:?} in {view}");
    }
    let of = |name: &str| podman.run(&format!("exec {name} readlink /proc/self/ns/net")).out;
    let member = of("member");
    let guest = podman.say("--pod p", "readlink /proc/self/ns/net").ok();
    assert_eq!(member, guest);
    assert!(podman.run("pod stats --no-stream p").ok().contains("member"));
    podman.run("pod pause p").ok();
    assert_eq!(podman.status("member"), "paused");
    podman.run("pod unpause p").ok();
    podman.run("pod stop --time 0 p").ok();
    podman.run("pod start p").ok();
    assert_eq!(podman.status("member"), "running");
    podman.run("pod rm --force --time 0 p").ok();
    podman.stop();
}

#[test]
fn podman_checkpoints_and_restores() {
    let podman = Podman::start();
    let count = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done";
    podman.shell(&format!("run --detach --name box {IMAGE}"), count).ok();
    let last = || podman.run("logs box").out.lines().last().and_then(|line| line.parse().ok()).unwrap_or(0);
    wait_up_to(PATIENCE, "the count", || last() > 5);
    let checkpoint = podman.run("container checkpoint box");
    if skip::succeeded("podman container checkpoint", &checkpoint) {
        assert_eq!(podman.status("box"), "exited");
        let before = last();
        podman.run("container restore box").ok();
        wait_up_to(PATIENCE, "the count to go on", || last() > before);
    } else {
        assert_eq!(podman.status("box"), "running");
    }
    podman.run("rm --force --time 0 box").ok();
    podman.stop();
}
