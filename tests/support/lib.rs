//! Support for the end-to-end suites: a bundle with a busybox root, a runtime with a state folder of its own,
//! and the proof that nothing is left behind.
//!
//! `RUNTIME` picks the runtime under test: a path or a name on PATH; unset, it is the workspace's own binary.
//! So each suite can first be shown right on a reference (`RUNTIME=runc`). `WHARF_TEST_CGROUP=systemd` runs it
//! under the systemd cgroup driver, where systemd is running. `WHARF_TEST_PATIENCE=6` waits six times as long for
//! everything, on a slow machine.
#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

pub mod canary;
pub mod user;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The folder that cargo put the workspace's binaries into.
pub fn target_folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().to_owned()
}

/// The runtime under test.
pub fn runtime_path() -> PathBuf {
    let ours = target_folder().join("wharf-runtime");
    let path = std::env::var_os("RUNTIME").map_or(ours, PathBuf::from);
    assert!(path.components().count() == 1 || path.is_file(), "{} is not there: build first", path.display());
    path
}

/// Whether the runtime under test is the workspace's own, be it the one that was built for tests or the released one.
pub fn is_ours() -> bool {
    std::env::var_os("RUNTIME")
        .is_none_or(|path| Path::new(&path).file_name() == Some("wharf-runtime".as_ref()))
}

/// Whether the suite runs under the systemd cgroup driver.
pub fn with_systemd_cgroups() -> bool {
    match std::env::var("WHARF_TEST_CGROUP").as_deref() {
        Ok("systemd") => true,
        Ok("cgroupfs") | Err(_) => false,
        Ok(other) => panic!("WHARF_TEST_CGROUP: {other:?} is none of cgroupfs, systemd"),
    }
}

/// Says why a test is not run, and is false. Not by a macro, whose output libtest keeps to itself when a test
/// passes: `scripts/guest` counts these lines.
pub fn skip(why: &str) -> bool {
    use std::io::Write as _;
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "skipped {name}: {why}").unwrap();
    false
}

/// Whether systemd is this host's init (sd_booted(3)).
pub fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// A bundle, and a state root, both gone at the end.
pub struct Sandbox {
    folder: TempDir,
    /// The container's ID, which no other test uses.
    pub id: String,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// Exit code, or 128+n.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        use std::os::unix::process::ExitStatusExt as _;
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code, out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Said {
    /// Asserts success and returns standard output.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Asserts failure with this code and a message that holds all of `parts`.
    #[track_caller]
    pub fn fails(self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "no {part:?} in {}", self.err);
        }
    }
}

/// Copies a program that is to be executed soon. A process of its own does it: a descriptor of ours would be in the
/// hands of whatever another thread forks just then, and until that executes something else the program is busy.
pub fn copy_program(from: &Path, to: &Path) {
    let status = Command::new("cp").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "cp {} {}", from.display(), to.display());
}

/// Puts a static busybox with all its names into `rootfs`.
pub fn fill_rootfs(rootfs: &Path) {
    for folder in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
        std::fs::create_dir_all(rootfs.join(folder)).unwrap();
    }
    copy_program(Path::new("/bin/busybox"), &rootfs.join("bin/busybox"));
    let names = Command::new("/bin/busybox").arg("--list").output().unwrap();
    for name in String::from_utf8(names.stdout).unwrap().lines().filter(|name| *name != "busybox") {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(name)).unwrap();
    }
    std::fs::write(
        rootfs.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
    )
    .unwrap();
}

/// A config that runs `args` with everything a container usually has.
pub fn base_config(args: &[&str]) -> Value {
    let mount = |destination: &str, kind: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": kind, "options": options});
    json!({
        "ociVersion": "1.0.2",
        "process": {"args": args, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "hostname": "box",
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}],
        },
    })
}

impl Sandbox {
    /// A bundle that runs `args`, after `change` of its config.
    pub fn new(args: &[&str], change: impl FnOnce(&mut Value)) -> Sandbox {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("wharf-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let sandbox = Sandbox { folder: TempDir::new().unwrap(), id };
        fill_rootfs(&sandbox.rootfs());
        let mut config = base_config(args);
        config["linux"]["cgroupsPath"] = match with_systemd_cgroups() {
            true => json!(format!("system.slice:wharf:{}", sandbox.id)),
            false => json!(format!("/{}", sandbox.id)),
        };
        change(&mut config);
        sandbox.write_config(&config.to_string());
        sandbox
    }

    /// A bundle that runs a shell script.
    pub fn shell(script: &str, change: impl FnOnce(&mut Value)) -> Sandbox {
        Sandbox::new(&["sh", "-c", script], change)
    }

    /// Writes config.json.
    pub fn write_config(&self, text: &str) {
        std::fs::write(self.bundle().join("config.json"), text).unwrap();
    }

    /// The bundle's folder.
    pub fn bundle(&self) -> &Path {
        self.folder.path()
    }

    /// Its root file system.
    pub fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }

    /// The runtime's state folder.
    pub fn root(&self) -> PathBuf {
        self.bundle().join("state")
    }

    /// The runtime with `--root`.
    pub fn command(&self) -> Command {
        self.command_of(&runtime_path())
    }

    /// Another runtime with the same `--root`.
    pub fn command_of(&self, runtime: &Path) -> Command {
        let mut command = Command::new(runtime);
        command.arg("--root").arg(self.root()).stdin(Stdio::null());
        if with_systemd_cgroups() {
            command.arg("--systemd-cgroup");
        }
        command
    }

    /// The systemd unit of the container, under that driver.
    pub fn unit(&self) -> String {
        format!("wharf-{}.scope", self.id)
    }

    /// The container's directory in the hierarchy that is mounted at `hierarchy`.
    pub fn cgroup(&self, hierarchy: &Path) -> PathBuf {
        match with_systemd_cgroups() {
            true => hierarchy.join("system.slice").join(self.unit()),
            false => hierarchy.join(&self.id),
        }
    }

    /// Runs a verb to its end. Output goes to files: a container that lives on would keep a pipe open.
    pub fn verb(&self, arguments: &[&str]) -> Said {
        let (out, err) = (self.bundle().join("out"), self.bundle().join("err"));
        let file = |path: &Path| Stdio::from(std::fs::File::create(path).unwrap());
        let mut command = self.command();
        let status = command.args(arguments).stdout(file(&out)).stderr(file(&err)).status().unwrap();
        let read = |path: &Path| std::fs::read(path).unwrap();
        Output { status, stdout: read(&out), stderr: read(&err) }.into()
    }

    /// `run`, in the foreground.
    pub fn run(&self) -> Said {
        self.verb(&["run", "--bundle", self.bundle().to_str().unwrap(), &self.id])
    }

    /// `create`.
    pub fn create(&self) -> Said {
        self.verb(&["create", "--bundle", self.bundle().to_str().unwrap(), &self.id])
    }

    /// `create` and `start`.
    pub fn start(&self) {
        self.create().ok();
        self.verb(&["start", &self.id]).ok();
    }

    /// `exec` of a shell script.
    pub fn exec(&self, script: &str) -> Said {
        self.verb(&["exec", &self.id, "sh", "-c", script])
    }

    /// The state document.
    pub fn state(&self) -> Value {
        serde_json::from_str(&self.verb(&["state", &self.id]).ok()).unwrap()
    }

    /// Waits until the status is `status`: no event announces it to somebody who is not the parent.
    pub fn wait_for_status(&self, status: &str) {
        wait_until(&format!("status {status}"), || self.state()["status"] == status);
    }

    /// Asserts that no state, cgroup or mount of this container is there.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let state: Vec<_> =
            std::fs::read_dir(self.root()).into_iter().flatten().map(|e| e.unwrap().path()).collect();
        assert!(state.is_empty(), "state left: {state:?}");
        for hierarchy in hierarchies() {
            assert!(!self.cgroup(&hierarchy).exists(), "cgroup left in {}", hierarchy.display());
        }
        if with_systemd_cgroups() {
            assert_eq!(systemd_property(&self.unit(), "LoadState"), "not-found", "{} left", self.unit());
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let bundle = self.bundle().to_str().unwrap();
        assert!(!mounts.contains(bundle), "mount left: {mounts}");
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A test that failed half-way may have left a container; its folder can't go before that has gone.
        self.command().args(["delete", "--force", &self.id]).output().ok();
    }
}

/// What systemd says of a unit.
pub fn systemd_property(unit: &str, property: &str) -> String {
    let output = Command::new("systemctl").args(["show", "--value", "--property", property, unit]).output();
    Said::from(output.unwrap()).ok().trim().to_owned()
}

/// The mount points of all cgroup hierarchies.
pub fn hierarchies() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields.filter(|f| f[2].starts_with("cgroup")).map(|f| PathBuf::from(f[1])).collect()
}

/// Whether the host has cgroup v1 controllers.
pub fn has_cgroup_v1() -> bool {
    std::fs::read_to_string("/proc/self/mounts")
        .unwrap()
        .lines()
        .any(|line| line.contains(" cgroup rw") && line.contains("memory"))
}

/// How many times as long as usual a test is to wait.
pub fn patience() -> u32 {
    std::env::var("WHARF_TEST_PATIENCE").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

/// Asks until the answer is yes, for states that nothing announces.
#[track_caller]
pub fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    wait_up_to(Duration::from_secs(20), what, holds);
}

/// The same with a limit of one's own.
#[track_caller]
pub fn wait_up_to(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit * patience();
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::yield_now();
    }
}
