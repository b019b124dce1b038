//! The manager's suite: real images, a real registry, real containers.
#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use wharf_tests::{Said, hierarchies, target_folder, wait_until};

const IMAGE: &str = "localhost/box:1";

/// The example image, made once.
fn archive() -> &'static Path {
    static ARCHIVE: std::sync::OnceLock<(TempDir, PathBuf)> = std::sync::OnceLock::new();
    let (_, path) = ARCHIVE.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("box.tar");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/make-image");
        assert!(Command::new(script).arg(&path).arg(IMAGE).status().unwrap().success());
        (folder, path)
    });
    path
}

/// A store of its own.
struct Place(TempDir);

impl Place {
    fn empty() -> Place {
        Place(TempDir::new().unwrap())
    }

    fn with_image() -> Place {
        let place = Place::empty();
        place.wharf(&["load", "-q", "-i", archive().to_str().unwrap()]).ok();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(target_folder().join("wharf"));
        command.args(arguments).stdin(Stdio::null());
        command.env("WHARF_DATA_ROOT", self.path("data")).env("WHARF_RUN_ROOT", self.path("run"));
        command
    }

    fn wharf(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().unwrap().into()
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.wharf(&[&["run", "--rm", IMAGE], arguments].concat())
    }

    /// The names of what is below a folder of the store.
    fn entries(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[track_caller]
    fn assert_no_container_left(&self) {
        for folder in
            ["data/containers", "data/snapshots", "data/names", "data/tmp", "run/containers", "run/runtime"]
        {
            assert_eq!(self.entries(folder), [] as [&str; 0], "{folder}");
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.0.path().to_str().unwrap()), "mount left");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for id in self.wharf(&["ps", "-aq"]).out.lines() {
            self.wharf(&["rm", "-f", id]);
        }
    }
}

/// Debian's registry on a free port of loopback.
struct Registry {
    child: Child,
    host: String,
    _folder: TempDir,
}

impl Registry {
    fn start() -> Registry {
        let folder = TempDir::new().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("localhost:{port}");
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            folder.path().join("storage").display()
        );
        let file = folder.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Registry { child: command.spawn().unwrap(), host, _folder: folder };
        wait_until("the registry", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        registry
    }

    fn push(&self, archive: &str, name: &str, options: &[&str]) {
        let mut command = Command::new("skopeo");
        command.args(["copy", "-q", "--dest-tls-verify=false"]).args(options);
        let said: Said =
            command.arg(archive).arg(format!("docker://{}/{name}", self.host)).output().unwrap().into();
        said.ok();
    }

    fn blobs(&self) -> PathBuf {
        self._folder.path().join("storage/docker/registry/v2/blobs/sha256")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn exit_codes_are_dockers() {
    let place = Place::with_image();
    let said = place.run(&["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (7, "out\n", "err\n"));
    assert_eq!(place.run(&["nosuch"]).code, 127);
    assert_eq!(place.run(&["/etc"]).code, 126);
    assert_eq!(place.run(&["sh", "-c", "kill -9 $$; sleep 9"]).code, 0, "PID 1 can't be killed from inside");
    assert_eq!(place.run(&["sh", "-c", "sh -c 'kill -15 $$'; exit $?"]).code, 143);
    assert_eq!(place.wharf(&["run", "--nope", IMAGE]).code, 125);
    place.assert_no_container_left();
}

#[test]
fn container_has_dockers_defaults() {
    let place = Place::with_image();
    let script = "id -u; grep -E 'CapEff|CapInh|Seccomp:' /proc/self/status; test $(hostname | wc -c) = 13 && echo short id; ip link | grep -c ': '; cat /etc/hosts | head -1";
    let expected = "0\nCapInh:\t0000000000000000\nCapEff:\t00000000a80425fb\nSeccomp:\t2\nshort id\n1\n127.0.0.1\tlocalhost\n";
    assert_eq!(place.run(&["sh", "-c", script]).ok(), expected);
}

#[test]
fn options_reach_the_container() {
    let place = Place::with_image();
    let volume = format!("{}:/vol:ro", place.path("vol").display());
    std::fs::create_dir(place.path("vol")).unwrap();
    std::fs::write(place.path("vol/f"), "content\n").unwrap();
    let options = [
        "run",
        "--rm",
        "-e",
        "A=b",
        "-v",
        &volume,
        "-w",
        "/tmp",
        "-u",
        "nobody",
        "--hostname",
        "named",
        "--read-only",
        "--pids-limit",
        "50",
        "--memory",
        "64m",
        "--cpus",
        "0.5",
        "--entrypoint",
        "sh",
        IMAGE,
        "-c",
    ];
    let script = "echo $A; cat /vol/f; touch /vol/x 2>/dev/null || echo ro; pwd; id -u; hostname; touch /x 2>/dev/null || echo ro root";
    assert_eq!(
        place.wharf(&[&options[..], &[script]].concat()).ok(),
        "b\ncontent\nro\n/tmp\n65534\nnamed\nro root\n"
    );
}

#[test]
fn standard_input_is_passed_with_i() {
    let place = Place::with_image();
    let mut command = place.command(&["run", "--rm", "-i", IMAGE, "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"through\n").unwrap();
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(out, "through\n");
}

#[test]
fn detached_container_outlives_its_parent_and_keeps_its_exit_code() {
    let place = Place::with_image();
    let id = place
        .wharf(&[
            "run",
            "-d",
            "--name",
            "long",
            IMAGE,
            "sh",
            "-c",
            "echo one; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo two; exit 9",
        ])
        .ok();
    assert_eq!(id.trim().len(), 64);
    wait_until("the first line", || place.wharf(&["logs", "long"]).out == "one\n");
    let in_container = place.wharf(&["exec", "long", "sh", "-c", "touch /tmp/go; exit 5"]);
    assert_eq!(in_container.code, 5);
    assert_eq!(place.wharf(&["wait", "long"]).ok(), "9\n");
    assert_eq!(place.wharf(&["logs", "--tail", "1", &id[..12]]).ok(), "two\n");
    let list = place.wharf(&["ps", "-a"]).ok();
    assert!(list.contains("Exited (9)") && list.contains("long"), "{list}");
    place.wharf(&["rm", "long"]).ok();
    place.assert_no_container_left();
}

#[test]
fn killing_the_starter_changes_nothing_for_the_container() {
    let place = Place::with_image();
    let script = "echo up; while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 6";
    let mut starter = place
        .command(&["run", "--name", "box", IMAGE, "sh", "-c", script])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the container", || place.wharf(&["logs", "box"]).out == "up\n");
    starter.kill().unwrap(); // SIGKILL
    starter.wait().unwrap();
    assert!(place.wharf(&["ps"]).ok().contains("Up "));
    place.wharf(&["exec", "box", "touch", "/tmp/go"]).ok();
    assert_eq!(place.wharf(&["wait", "box"]).ok(), "6\n");
}

#[test]
fn stop_kill_and_rm_say_what_docker_says() {
    let place = Place::with_image();
    place.wharf(&["run", "-d", "--name", "box", IMAGE, "sleep", "1000"]).ok();
    place.wharf(&["run", "-d", "--name", "box", IMAGE, "true"]).fails(125, &["name", "already in use"]);
    let said = place.wharf(&["rm", "box"]);
    assert!(
        said.code != 0
            && said.err.contains("container is running: stop the container before removing or force remove"),
        "{said:?}"
    );
    place.wharf(&["stop", "-t", "0", "box"]).ok();
    assert_eq!(place.wharf(&["wait", "box"]).ok(), "137\n");
    let inspected: serde_json::Value = serde_json::from_str(&place.wharf(&["inspect", "box"]).ok()).unwrap();
    assert!(inspected[0].is_object(), "{inspected}");
    place.wharf(&["rm", "box"]).ok();
    let gone = place.wharf(&["logs", "box"]);
    assert!(gone.code != 0 && gone.err.contains("No such container: box"), "{gone:?}");
    place.assert_no_container_left();
}

#[test]
fn force_removal_cleans_up_after_a_killed_shim() {
    let place = Place::with_image();
    let id = place.wharf(&["run", "-d", "--name", "box", IMAGE, "sleep", "1000"]).ok().trim().to_owned();
    let shim = std::fs::read_dir("/proc").unwrap().find_map(|entry| {
        let pid = entry.unwrap().file_name().into_string().unwrap().parse::<i32>().ok()?;
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        (line.contains("shim") && line.contains(&id)).then_some(pid)
    });
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim.unwrap()), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    place.wharf(&["rm", "-f", "box"]).ok();
    place.assert_no_container_left();
    for hierarchy in hierarchies() {
        assert!(
            !Command::new("find")
                .arg(&hierarchy)
                .args(["-name", &format!("*{id}*")])
                .output()
                .unwrap()
                .stdout
                .starts_with(b"/")
        );
    }
}

#[test]
fn terminal_is_real() {
    let place = Place::with_image();
    // script(1) gives the command a terminal, of which it is the other side.
    let wharf = target_folder().join("wharf");
    let line = format!(
        "stty rows 44 cols 133; {} run --rm -it {IMAGE} sh -c 'tty; stty size; exit 4'",
        wharf.display()
    );
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::null());
    command.env("WHARF_DATA_ROOT", place.path("data")).env("WHARF_RUN_ROOT", place.path("run"));
    let said: Said = command.output().unwrap().into();
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.out.contains("/dev/pts/0") && said.out.contains("44 133"), "{said:?}");
}

#[test]
fn another_runtime_can_stand_in() {
    let place = Place::with_image();
    assert_eq!(
        place.wharf(&["run", "--rm", "--runtime", "runc", IMAGE, "echo", "via runc"]).ok(),
        "via runc\n"
    );
    place.wharf(&["run", "--rm", "--runtime", "/nosuch", IMAGE, "true"]).fails(125, &["/nosuch"]);
    place.assert_no_container_left();
}

#[test]
fn image_is_pulled_from_a_registry_with_gzip_and_zstd_layers_and_removed() {
    let (place, registry) = (Place::empty(), Registry::start());
    let source = format!("docker-archive:{}", archive().display());
    registry.push(&source, "box:gzip", &[]);
    registry.push(&source, "box:zstd", &["--format", "oci", "--dest-compress-format", "zstd"]);
    for tag in ["gzip", "zstd"] {
        let name = format!("{}/box:{tag}", registry.host);
        assert!(place.wharf(&["pull", &name]).ok().contains("Digest: sha256:"));
        assert_eq!(place.wharf(&["run", "--rm", &name, "echo", tag]).ok(), format!("{tag}\n"));
        assert!(place.wharf(&["images"]).ok().contains(tag));
    }
    let layout = format!("oci:{}:{}/box:zstd", place.path("data/images").display(), registry.host);
    let inspected: Said = Command::new("skopeo").args(["inspect", "--raw", &layout]).output().unwrap().into();
    inspected.ok();
    for tag in ["gzip", "zstd"] {
        let said = place.wharf(&["rmi", &format!("{}/box:{tag}", registry.host)]).ok();
        assert!(said.contains("Untagged:"), "{said}");
    }
    assert!(
        place.entries("data/layers/sha256").is_empty()
            && place.entries("data/images/blobs/sha256").is_empty()
    );
}

#[test]
fn tampered_and_truncated_blobs_are_refused_and_leave_nothing() {
    for truncate in [false, true] {
        let (place, registry) = (Place::empty(), Registry::start());
        registry.push(&format!("docker-archive:{}", archive().display()), "box:1", &[]);
        let files = Command::new("find")
            .arg(registry.blobs())
            .args(["-name", "data", "-size", "+100k"])
            .output()
            .unwrap();
        let blob = PathBuf::from(String::from_utf8(files.stdout).unwrap().trim());
        let mut bytes = std::fs::read(&blob).unwrap();
        if truncate {
            bytes.truncate(50_000);
        } else {
            bytes[60_000] ^= 1;
        }
        std::fs::write(&blob, bytes).unwrap();
        let cause = if truncate { "mismatch" } else { "digest mismatch" };
        let name = format!("{}/box:1", registry.host);
        place.wharf(&["run", "--rm", &name, "true"]).fails(125, &[&name, cause]);
        assert!(place.entries("data/layers/sha256").is_empty() && place.entries("data/tmp").is_empty());
        assert_eq!(place.wharf(&["images", "-q"]).ok(), "");
        place.assert_no_container_left();
    }
}

#[test]
fn wrong_words_are_named() {
    let place = Place::with_image();
    place.wharf(&["run", "UPPER/case", "true"]).fails(125, &["UPPER/case"]);
    place.wharf(&["pull", "localhost:1/nothing"]).fails(125, &["localhost:1/nothing", "onnection refused"]);
    let missing = place.wharf(&["load", "-i", "/nosuch.tar"]);
    missing.fails(125, &["/nosuch.tar", "no such file"]);
    place.wharf(&["rmi", "nosuch"]).fails(125, &["No such image: nosuch"]);
    place.assert_no_container_left();
}

/// Real input: a Debian root becomes an image, goes through a registry, and is a Debian again.
#[test]
fn debian_runs_and_reaches_its_mirror_over_the_hosts_network() {
    let (place, registry, made) = (Place::empty(), Registry::start(), TempDir::new().unwrap());
    let (root, archive) = (made.path().join("root"), made.path().join("debian.tar"));
    let mut command = Command::new("mmdebstrap");
    let said: Said = command
        .args(["--quiet", "--variant=minbase", "--include=apt", "bookworm"])
        .arg(&root)
        .output()
        .unwrap()
        .into();
    said.ok();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/make-image");
    assert!(
        Command::new(script).arg(&archive).arg("localhost/debian:12").arg(&root).status().unwrap().success()
    );
    registry.push(&format!("docker-archive:{}", archive.display()), "debian:12", &[]);
    let name = format!("{}/debian:12", registry.host);
    place.wharf(&["pull", &name]).ok();
    let script =
        ". /etc/os-release; echo $PRETTY_NAME; id -un; dpkg -l | wc -l; stat -c %a /usr/bin/passwd /tmp";
    let out = place.wharf(&["run", "--rm", &name, "sh", "-c", script]).ok();
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("Debian GNU/Linux 12") && lines[1] == "root", "{out}");
    assert!(lines[2].parse::<u32>().unwrap() > 50 && lines[3..] == ["4755", "1777"], "{out}");
    // The host's own sources, because the host may reach Debian through a mirror alone.
    let update =
        ["run", "--rm", "--network", "host", "-v", "/etc/apt:/etc/apt:ro", &name, "apt-get", "-qq", "update"];
    place.wharf(&update).ok();
    place.assert_no_container_left();
}

#[test]
fn control_c_in_a_terminal_reaches_the_program() {
    let place = Place::with_image();
    let wharf = target_folder().join("wharf");
    let line = format!(
        "{} run --rm -it {IMAGE} sh -c 'trap \"echo interrupted; exit 33\" INT; echo ready; while :; do sleep 0.05; done'",
        wharf.display()
    );
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.env("WHARF_DATA_ROOT", place.path("data")).env("WHARF_RUN_ROOT", place.path("run"));
    let mut child = command.spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = String::new();
    let mut buffer = [0; 256];
    while !seen.contains("ready") {
        let length = output.read(&mut buffer).unwrap();
        assert!(length > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    input.write_all(&[3]).unwrap(); // ^C, which is a signal only because the container has a terminal
    output.read_to_string(&mut seen).unwrap();
    assert!(seen.contains("interrupted"), "{seen}");
    assert_eq!(child.wait().unwrap().code(), Some(33));
}
