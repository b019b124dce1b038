//! Docker with the runtime as its default one, by every `docker` that is installed: an old client reads errors
//! in another way than a new one.

use std::path::{Path, PathBuf};

use wharf_tests::{Said, runtime_path, wait_up_to};

use crate::image;
use crate::machine::{Daemon, Machine, PATIENCE};
use crate::skip;

const IMAGE: &str = "box:1";

/// What dockerd keeps while, and for a while after, it runs: its groups' parent and its own network namespace.
const KEPT: [&str; 2] = ["/docker", "/netns/default"];

/// A machine on which dockerd runs and has the image.
pub struct Docker {
    /// The machine.
    pub machine: Machine,
    daemon: Daemon,
    client: PathBuf,
}

/// The clients on PATH.
fn clients() -> Vec<PathBuf> {
    let path = std::env::var("PATH").unwrap();
    let mut found: Vec<_> = path.split(':').map(|folder| Path::new(folder).join("docker")).collect();
    found.retain(|program| program.is_file());
    found.dedup();
    assert!(!found.is_empty(), "no docker on PATH");
    found
}

impl Docker {
    /// Starts it, with more options for the daemon.
    pub fn start(options: &[&str]) -> Docker {
        let mut machine = Machine::boot();
        let tree = image::make_tree(&machine);
        let host = format!("unix://{}", machine.text("sock"));
        std::fs::create_dir(machine.path("client")).unwrap();
        std::fs::write(machine.path("client/config.json"), "{}").unwrap();
        let client = machine.text("client");
        machine.set("DOCKER_CONFIG", &client);
        machine.set("DOCKER_HOST", &host);
        let [data, exec, pid] = ["data", "exec", "pid"].map(|name| machine.text(name));
        let runtime = format!("wharf={}", runtime_path().display());
        let places = ["--data-root", &data, "--exec-root", &exec, "--pidfile", &pid, "--host", &host];
        let runtimes = ["--add-runtime", &runtime, "--default-runtime", "wharf"];
        let daemon = machine.start("dockerd", &[&places, &runtimes[..], options].concat());
        let docker = Docker { machine, daemon, client: clients().remove(0) };
        wait_up_to(PATIENCE, "dockerd", || docker.run("version").code == 0);
        docker.words(&["import", "--change", "ENV PATH=/bin", &tree, IMAGE]).ok();
        docker
    }

    /// `docker` with these words.
    pub fn words(&self, words: &[&str]) -> Said {
        self.machine.run(self.client.to_str().unwrap(), words)
    }

    /// `docker` with the words of `line`.
    pub fn run(&self, line: &str) -> Said {
        self.words(&line.split(' ').collect::<Vec<_>>())
    }

    /// `docker` with the words of `line`, then a shell script.
    pub fn shell(&self, line: &str, script: &str) -> Said {
        self.words(&line.split(' ').chain(["sh", "-c", script]).collect::<Vec<_>>())
    }

    /// What `docker inspect` finds at `path`.
    pub fn inspect(&self, name: &str, path: &str) -> String {
        self.words(&["inspect", "--format", &format!("{{{{{path}}}}}"), name]).ok().trim().to_owned()
    }

    /// Ends dockerd, asserts that nothing is left, and ends the machine.
    pub fn stop(self) {
        self.daemon.stop();
        self.machine.assert_nothing_left(&KEPT);
    }
}

#[test]
fn docker_drives_a_container_by_every_client() {
    let mut docker = Docker::start(&[]);
    assert_eq!(docker.run("info --format {{.DefaultRuntime}}").ok(), "wharf\n");
    for client in clients() {
        docker.client = client;
        drive(&docker);
        fail(&docker);
    }
    docker.stop();
}

fn drive(docker: &Docker) {
    let run = docker.shell("run --rm box:1", "echo hi; exit 3");
    assert_eq!((run.code, run.out.as_str()), (3, "hi\n"), "{run:?}");
    let script = "trap 'exit 9' USR1; echo logged; while :; do sleep 1; done";
    docker.shell("run --detach --name box box:1", script).ok();
    let exec = docker.shell("exec --workdir /tmp --env A=b box", "echo $PWD $A; exit 4");
    assert_eq!((exec.code, exec.out.as_str()), (4, "/tmp b\n"), "{exec:?}");
    wait_up_to(PATIENCE, "the log", || docker.run("logs box").out == "logged\n");
    let top = docker.run("top box -o pid,comm").ok();
    assert!(top.contains(&docker.inspect("box", ".State.Pid")), "{top}");
    docker.run("pause box").ok();
    assert_eq!(docker.inspect("box", ".State.Status"), "paused");
    docker.run("unpause box").ok();
    docker.run("update --memory 64m --memory-swap 64m --cpus 0.5 --pids-limit 50 box").ok();
    let limits = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us \
                  /sys/fs/cgroup/pids/pids.max 2>/dev/null || \
                  cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max /sys/fs/cgroup/pids.max";
    let seen = docker.shell("exec box", limits).out;
    let seen: Vec<_> = seen.split_whitespace().filter(|word| *word != "100000").collect();
    assert_eq!(seen, ["67108864", "50000", "50"]);
    let stats = docker.words(&["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "box"]).ok();
    assert!(stats.contains("/ 64MiB"), "{stats}");
    docker.run("cp box:/etc/passwd copied").ok();
    docker.run("cp copied box:/tmp/copied").ok();
    assert_eq!(docker.run("exec box cmp /etc/passwd /tmp/copied").code, 0);
    docker.run("kill --signal USR1 box").ok();
    assert_eq!(docker.run("wait box").ok(), "9\n");
    docker.run("start box").ok();
    docker.run("restart --time 0 box").ok();
    docker.run("stop --time 0 box").ok();
    assert_eq!(docker.inspect("box", ".State.ExitCode"), "137");
    docker.run("rm box").ok();
}

/// Errors keep their exit codes.
fn fail(docker: &Docker) {
    docker.run("run --rm box:1 nosuch").fails(127, &["executable file not found in $PATH"]);
    docker.run("run --rm box:1 /nosuch").fails(127, &["no such file or directory"]);
    docker.run("run --rm box:1 /etc/passwd").fails(126, &["permission denied"]);
    docker.run("run --rm box:1 /etc").fails(126, &["exec: \"/etc\""]);
    docker.run("run --rm --gpus all box:1 true").fails(125, &["could not select device driver"]);
    docker.run("run --detach --name up box:1 sleep 1000").ok();
    docker.run("exec up nosuch").fails(126, &[]);
    docker.run("exec up /etc").fails(126, &[]);
    docker.run("exec --workdir /nosuch up true").fails(126, &[]);
    docker.run("rm --force up").ok();
}

#[test]
fn docker_options_reach_the_container() {
    let docker = Docker::start(&[]);
    let shell = |options: &str, script: &str| {
        let words = ["run", "--rm"].into_iter().chain(options.split_whitespace());
        let said = docker.words(&words.chain([IMAGE, "sh", "-c", script]).collect::<Vec<_>>());
        assert!(said.code == 0, "{options}: {said:?}");
        said.out
    };
    let fed = ["-c", "echo fed | docker run --rm --interactive box:1 cat"];
    assert_eq!(docker.machine.run("sh", &fed).ok(), "fed\n");
    assert!(shell("--init", "ps").contains("/sbin/docker-init -- sh -c ps"));
    let status = "grep -e CapEff -e NoNewPrivs -e Seccomp: /proc/self/status";
    let plain = shell("", status);
    assert!(plain.contains("CapEff:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t2\n"), "{plain}");
    assert_eq!(
        shell("--cap-drop all --security-opt no-new-privileges --security-opt seccomp=unconfined", status),
        "CapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t0\n"
    );
    assert!(shell("--privileged", "test -w /proc/sys/kernel/hostname && ls /dev").contains("kmsg"));
    assert_eq!(
        shell("--device /dev/full", "echo x 2>&1 >/dev/full || true"),
        "sh: write error: No space left on device\n"
    );
    assert_eq!(
        shell(
            "--device /dev/kmsg:/dev/log:r",
            "true >/dev/log || echo refused; test -c /dev/log && echo there"
        ),
        "refused\nthere\n"
    );
    let bind = format!("--volume {}:/host:ro", docker.machine.text(""));
    let rest = "--user 1000:1000 --tmpfs /x:size=1m --read-only --ulimit nofile=99:99 --shm-size 1m --hostname h \
                --sysctl net.ipv4.ip_default_ttl=77 --group-add 5";
    let view = "id -u; id -G; touch /host/y || touch /y || echo no; df /x /dev/shm | grep -c ' 1024 '; ulimit -n; \
                hostname; cat /proc/sys/net/ipv4/ip_default_ttl";
    assert_eq!(shell(&format!("{rest} {bind}"), view), "1000\n1000 5\nno\n2\n99\nh\n77\n");
    assert!(shell("--pid host", "ps").contains("dockerd"));
    assert!(shell("--network host", "ip -4 addr").contains("docker0"));
    assert_eq!(shell("--tty", "tty"), "/dev/pts/0\r\n");
    assert!(shell("--network none --cgroupns private", "cat /proc/self/cgroup").ends_with(":/\n"));
    let ping = "ping -c 1 -W 20 $(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p') | grep -c '1 packets received'";
    assert_eq!(shell("", ping), "1\n", "the bridge is not reached");
    docker.stop();
}

#[test]
fn docker_restarts_and_watches_health() {
    let docker = Docker::start(&[]);
    docker.shell("run --detach --name again --restart on-failure:2 box:1", "exit 7").ok();
    wait_up_to(PATIENCE, "two restarts", || {
        docker.inspect("again", ".RestartCount") == "2"
            && docker.inspect("again", ".State.Status") == "exited"
    });
    assert_eq!(docker.inspect("again", ".State.ExitCode"), "7");
    let health = ["--health-cmd", "test -e /tmp/ok", "--health-interval", "100ms", "--health-retries", "1"];
    let run = ["run", "--detach", "--name", "web", "--restart", "always"];
    docker.words(&[&run, &health[..], &[IMAGE, "sleep", "1000"]].concat()).ok();
    wait_up_to(PATIENCE, "illness", || docker.inspect("web", ".State.Health.Status") == "unhealthy");
    docker.run("exec web touch /tmp/ok").ok();
    wait_up_to(PATIENCE, "health", || docker.inspect("web", ".State.Health.Status") == "healthy");
    // Killed behind Docker's back, it comes back.
    let pid = docker.inspect("web", ".State.Pid");
    docker.machine.run("kill", &["-KILL", &pid]).ok();
    wait_up_to(PATIENCE, "a restart", || {
        docker.inspect("web", ".RestartCount") == "1" && docker.inspect("web", ".State.Status") == "running"
    });
    assert_ne!(docker.inspect("web", ".State.Pid"), pid);
    docker.run("rm --force web again").ok();
    docker.stop();
}

#[test]
fn docker_checkpoints_and_starts_from_there() {
    let docker = Docker::start(&["--experimental"]);
    let count = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done";
    let options = "run --detach --name box --security-opt seccomp=unconfined --network none box:1";
    docker.shell(options, count).ok();
    let last = || docker.run("logs box").out.lines().last().and_then(|line| line.parse().ok()).unwrap_or(0);
    wait_up_to(PATIENCE, "the count", || last() > 5);
    let checkpoint = docker.run("checkpoint create box mark");
    if skip::succeeded("docker checkpoint", &checkpoint) {
        wait_up_to(PATIENCE, "the end", || docker.inspect("box", ".State.Status") == "exited");
        let before = last();
        docker.run("start --checkpoint mark box").ok();
        wait_up_to(PATIENCE, "the count to go on", || last() > before);
    } else {
        assert_eq!(docker.inspect("box", ".State.Status"), "running");
    }
    docker.run("rm --force box").ok();
    docker.stop();
}
