//! Engines run a container on the runtime, each with run, exec, logs or output, stop, and removal: podman with
//! conmon, containerd by `ctr`, Docker, Buildah. Everything they keep is in a temporary folder, every daemon is
//! ended by its own PID, and nobody touches the host's network.
#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use wharf_tests::{Said, fill_rootfs, runtime_path, wait_until};

const IMAGE: &str = "docker.io/library/box:1";

/// A private place for one engine, with a small image as archive.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(TempDir::new().unwrap());
        fill_rootfs(&place.path("rootfs"));
        // This machine may not raise limits above its own.
        let conf = "[containers]\ndefault_ulimits=[\"nofile=1024:1024\",\"nproc=1024:1024\"]\nlog_driver=\"k8s-file\"\n";
        std::fs::write(place.path("containers.conf"), conf).unwrap();
        std::fs::create_dir(place.path("docker")).unwrap();
        std::fs::write(place.path("docker/config.json"), "{}").unwrap();
        place.run("tar", &["-C", "rootfs", "-cf", "rootfs.tar", "."]).ok();
        place
    }

    /// The image as an OCI archive.
    fn with_archive() -> Place {
        let place = Place::new();
        for step in ["init --layout img", "new --image img:box", "unpack --image img:box bundle"] {
            place.run("umoci", &step.split(' ').collect::<Vec<_>>()).ok();
        }
        place.run("tar", &["-C", "bundle/rootfs", "-xf", "rootfs.tar"]).ok();
        place.run("umoci", &["repack", "--image", "img:box", "bundle"]).ok();
        place
            .run(
                "umoci",
                &["config", "--image", "img:box", "--config.env", "PATH=/bin", "--config.cmd", "sh"],
            )
            .ok();
        place.run("skopeo", &["copy", "-q", "oci:img:box", &format!("oci-archive:image.tar:{IMAGE}")]).ok();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        command
            .env("CONTAINERS_CONF", self.path("containers.conf"))
            .env("DOCKER_CONFIG", self.path("docker"));
        command
    }

    /// Runs a program; output goes to files, because a container would keep a pipe open.
    fn run(&self, program: &str, arguments: &[&str]) -> Said {
        let file = |name: &str| Stdio::from(std::fs::File::create(self.path(name)).unwrap());
        let status =
            self.command(program, arguments).stdout(file("out")).stderr(file("err")).status().unwrap();
        let read = |name: &str| std::fs::read(self.path(name)).unwrap();
        std::process::Output { status, stdout: read("out"), stderr: read("err") }.into()
    }
}

/// A daemon, ended when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).ok();
        self.0.wait().ok();
    }
}

fn words<'a>(prefix: &[&'a str], line: &'a str) -> Vec<&'a str> {
    prefix.iter().copied().chain(line.split(' ')).collect()
}

#[test]
fn podman_runs_on_it() {
    let place = Place::with_archive();
    let (runtime, base) = (runtime_path(), place.0.path().to_str().unwrap().to_owned());
    let (root, runroot) = (format!("{base}/root"), format!("{base}/runroot"));
    let prefix = [
        "--root",
        &root,
        "--runroot",
        &runroot,
        "--cgroup-manager",
        "cgroupfs",
        "--events-backend",
        "file",
        "--runtime",
        runtime.to_str().unwrap(),
    ];
    let podman = |arguments: &[&str]| place.run("podman", &[&prefix[..], arguments].concat());
    podman(&["load", "-i", "image.tar"]).ok();
    let run = podman(&["run", "--rm", "--network", "none", IMAGE, "sh", "-c", "echo hi; exit 3"]);
    assert_eq!((run.code, run.out.as_str()), (3, "hi\n"), "{run:?}");
    podman(&[
        "run",
        "-d",
        "--name",
        "box",
        "--network",
        "none",
        IMAGE,
        "sh",
        "-c",
        "echo logged; exec sleep 1000",
    ])
    .ok();
    let exec = podman(&["exec", "box", "sh", "-c", "echo in; exit 4"]);
    assert_eq!((exec.code, exec.out.as_str()), (4, "in\n"), "{exec:?}");
    wait_until("the log", || podman(&["logs", "box"]).out == "logged\n");
    podman(&["stop", "-t", "0", "box"]).ok();
    podman(&["rm", "box"]).ok();
    assert_eq!(podman(&["run", "--rm", "--network", "none", IMAGE, "nosuch"]).code, 127);
}

#[test]
fn containerd_runs_on_it() {
    let place = Place::with_archive();
    let base = place.0.path().to_str().unwrap().to_owned();
    let config = format!(
        "version = 2\nroot = \"{base}/root\"\nstate = \"{base}/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{base}/sock\"\n"
    );
    std::fs::write(place.path("config.toml"), config).unwrap();
    let _daemon = Daemon(
        place
            .command("containerd", &["-c", "config.toml"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let (runtime, socket) = (runtime_path(), format!("{base}/sock"));
    let ctr = |arguments: &[&str]| place.run("ctr", &[&["-a", socket.as_str()], arguments].concat());
    wait_until("containerd", || ctr(&["version"]).code == 0);
    ctr(&["images", "import", "image.tar"]).ok();
    let binary = ["--runc-binary", runtime.to_str().unwrap()];
    let run = ctr(&[&["run", "--rm"], &binary[..], &[IMAGE, "once", "sh", "-c", "echo hi; exit 3"]].concat());
    assert_eq!((run.code, run.out.as_str()), (3, "hi\n"), "{run:?}");
    ctr(&[&["run", "-d"], &binary[..], &[IMAGE, "long", "sleep", "1000"]].concat()).ok();
    let exec = ctr(&["task", "exec", "--exec-id", "e", "long", "sh", "-c", "echo in; exit 4"]);
    assert_eq!((exec.code, exec.out.as_str()), (4, "in\n"), "{exec:?}");
    ctr(&words(&["task"], "kill -s KILL long")).ok();
    wait_until("the task to stop", || ctr(&["task", "ls"]).out.contains("STOPPED"));
    ctr(&["task", "rm", "long"]);
    ctr(&["container", "rm", "long"]).ok();
}

#[test]
fn docker_runs_on_it() {
    let place = Place::new();
    let (runtime, base) = (runtime_path(), place.0.path().to_str().unwrap().to_owned());
    let host = format!("unix://{base}/sock");
    let (data, exec, pid) = (format!("{base}/data"), format!("{base}/exec"), format!("{base}/pid"));
    let add = format!("wharf={}", runtime.display());
    let arguments = [
        "--data-root",
        &data,
        "--exec-root",
        &exec,
        "-p",
        &pid,
        "-H",
        &host,
        "--bridge=none",
        "--iptables=false",
        "--add-runtime",
        &add,
    ];
    let _daemon = Daemon(
        place.command("dockerd", &arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(),
    );
    let docker = |arguments: &[&str]| place.run("docker", &[&["-H", host.as_str()], arguments].concat());
    wait_until("dockerd", || docker(&["version"]).code == 0);
    docker(&["import", "rootfs.tar", "box:1"]).ok();
    let with = ["--runtime", "wharf", "--network", "none"];
    let run = docker(&[&["run", "--rm"], &with[..], &["box:1", "sh", "-c", "echo hi; exit 3"]].concat());
    assert_eq!((run.code, run.out.as_str()), (3, "hi\n"), "{run:?}");
    docker(
        &[&["run", "-d", "--name", "box"], &with[..], &["box:1", "sh", "-c", "echo logged; exec sleep 1000"]]
            .concat(),
    )
    .ok();
    let exec = docker(&["exec", "box", "sh", "-c", "echo in; exit 4"]);
    assert_eq!((exec.code, exec.out.as_str()), (4, "in\n"), "{exec:?}");
    wait_until("the log", || docker(&["logs", "box"]).out == "logged\n");
    docker(&["stop", "-t", "0", "box"]).ok();
    docker(&["rm", "box"]).ok();
    assert_eq!(docker(&[&["run", "--rm"], &with[..], &["box:1", "nosuch"]].concat()).code, 127);
    assert_eq!(docker(&[&["run", "--rm"], &with[..], &["box:1", "/etc"]].concat()).code, 126);
}

#[test]
fn buildah_builds_and_runs_on_it() {
    let place = Place::new();
    let (runtime, base) = (runtime_path(), place.0.path().to_str().unwrap().to_owned());
    let (root, runroot) = (format!("{base}/root"), format!("{base}/runroot"));
    let buildah = |arguments: &[&str]| {
        place.run("buildah", &[&["--root", root.as_str(), "--runroot", runroot.as_str()], arguments].concat())
    };
    let file = "FROM scratch\nADD rootfs.tar /\nENV PATH=/bin\nRUN echo built > /made\nCMD [\"sh\"]\n";
    std::fs::write(place.path("Dockerfile"), file).unwrap();
    let with = ["--runtime", runtime.to_str().unwrap(), "--isolation", "oci", "--network", "none"];
    buildah(&[&["bud"], &with[..], &["-t", "box:1", "."]].concat()).ok();
    let container = buildah(&["from", "localhost/box:1"]).ok().trim().to_owned();
    let run = buildah(&[&["run"], &with[..], &[container.as_str(), "cat", "/made"]].concat());
    assert_eq!((run.code, run.out.as_str()), (0, "built\n"), "{run:?}");
    buildah(&["rm", &container]).ok();
}
