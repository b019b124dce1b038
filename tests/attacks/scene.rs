//! A bundle whose root the attacker made, a canary on the host that nobody may touch, and what came of it.

use std::cell::Cell;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use wharf_tests::canary::{Canary, Looks, SECRET};
use wharf_tests::{Said, Sandbox, hierarchies};

/// What a script in a container says when it got what it must not get.
pub const HARM: &str = "HARM";

/// How long a command may take before it counts as hung.
const LIMIT: Duration = Duration::from_secs(20);

/// The same where nothing is proved by waiting longer.
const LIMIT_OF_CARELESS: Duration = Duration::from_secs(2);

/// One bundle and its canary.
pub struct Scene {
    sandbox: Sandbox,
    canary: Canary,
    /// config.json, until it is written.
    pub config: Value,
    runtime: PathBuf,
    copy: Option<PathBuf>,
    is_careless: bool,
    state: PathBuf,
    hung: Cell<bool>,
    ended: Cell<bool>,
}

impl Scene {
    /// A scene for `runtime`, whose program says that all is well.
    pub fn new(runtime: &Path) -> Scene {
        let canary = make_canary();
        let mut config = Value::Null;
        let sandbox = Sandbox::new(&["sh", "-c", "echo fine"], |c| config = c.clone());
        std::fs::create_dir(sandbox.bundle().join("volume")).unwrap();
        let state = sandbox.root();
        let is_careless = runtime == Path::new(crate::careless::NAME);
        let runtime = if is_careless { std::env::current_exe().unwrap() } else { runtime.to_owned() };
        Scene {
            config,
            canary,
            runtime,
            copy: None,
            is_careless,
            state,
            hung: Cell::new(false),
            ended: Cell::new(true),
            sandbox,
        }
    }

    /// The container's ID.
    pub fn id(&self) -> &str {
        &self.sandbox.id
    }

    /// The bundle's folder.
    pub fn bundle(&self) -> &Path {
        self.sandbox.bundle()
    }

    /// A place in the container's root, as the host sees it.
    pub fn inside(&self, path: &str) -> PathBuf {
        self.sandbox.rootfs().join(path)
    }

    /// A place in a folder that the bundle has for volumes.
    pub fn volume(&self, path: &str) -> PathBuf {
        self.bundle().join("volume").join(path)
    }

    /// A place in the canary, which the attacker's links aim at.
    pub fn canary(&self, path: &str) -> String {
        self.canary.path().join(path).to_str().unwrap().trim_end_matches('/').to_owned()
    }

    /// Has the program be a shell script.
    pub fn script(&mut self, text: &str) {
        self.config["process"]["args"] = json!(["sh", "-c", text]);
    }

    /// Adds a mount.
    pub fn mount(&mut self, destination: &str, kind: &str, source: impl AsRef<Path>, options: &[&str]) {
        let mount =
            json!({"destination": destination, "type": kind, "source": source.as_ref(), "options": options});
        self.config["mounts"].as_array_mut().unwrap().push(mount);
    }

    /// Adds a bind mount.
    pub fn bind(&mut self, destination: &str, source: impl AsRef<Path>) {
        self.mount(destination, "bind", source, &["rbind"]);
    }

    /// Takes the mounts at and below a place out of the config.
    pub fn without_mounts(&mut self, place: &str) {
        let at = |mount: &Value| mount["destination"].as_str().unwrap().starts_with(place);
        self.config["mounts"].as_array_mut().unwrap().retain(|mount| !at(mount));
    }

    /// Keeps the runtime's state in the canary, in a folder of its own.
    pub fn state_beside_canary(&mut self) {
        self.state = self.canary.path().join(STATE);
    }

    /// Runs a copy of the runtime, which is part of the canary. An attack that gets at it spoils it.
    pub fn runtime_beside_canary(&mut self) {
        let copy = self.canary.path().join("runtime");
        let found = Said::from(std::process::Command::new("which").arg(&self.runtime).output().unwrap()).ok();
        std::fs::copy(found.trim(), &copy).unwrap();
        self.copy = Some(copy);
    }

    /// Writes config.json.
    pub fn write_config(&self) {
        self.sandbox.write_config(&self.config.to_string());
    }

    /// Calls the runtime and waits for it, but not for ever.
    pub fn call(&self, words: &[&str]) -> Said {
        self.call_with(words, |_| ())
    }

    /// The same after a change of the command.
    pub fn call_with(&self, words: &[&str], change: impl FnOnce(&mut std::process::Command)) -> Said {
        self.call_of(self.copy.as_ref().unwrap_or(&self.runtime), words, change)
    }

    fn call_of(
        &self,
        runtime: &Path,
        words: &[&str],
        change: impl FnOnce(&mut std::process::Command),
    ) -> Said {
        self.ended.set(false);
        // Files: a container that lives on would keep a pipe open.
        let (out, err) = (self.bundle().join("out"), self.bundle().join("err"));
        let file = |path: &Path| Stdio::from(std::fs::File::create(path).unwrap());
        let mut command = std::process::Command::new(runtime);
        if self.is_careless {
            command.env(crate::careless::VARIABLE, "1");
        }
        command.arg("--root").arg(&self.state).args(words).stdin(Stdio::null());
        change(&mut command);
        let mut child = match command.stdout(file(&out)).stderr(file(&err)).spawn() {
            Ok(child) => child,
            Err(error) => return Said { code: -1, out: String::new(), err: error.to_string() },
        };
        let Some(status) = wait(&mut child, self.limit()) else {
            self.hung.set(true);
            child.kill().unwrap();
            child.wait().unwrap();
            return Said { code: -1, out: String::new(), err: format!("{words:?} hangs") };
        };
        let read = |path: &Path| std::fs::read(path).unwrap();
        Output { status, stdout: read(&out), stderr: read(&err) }.into()
    }

    /// `run`.
    pub fn run(&self) -> Said {
        self.call(&["run", "--bundle", self.bundle().to_str().unwrap(), self.id()])
    }

    /// `create`.
    pub fn create(&self) -> Said {
        self.call(&["create", "--bundle", self.bundle().to_str().unwrap(), self.id()])
    }

    /// `create` and `start` of a program that says by the file /ready in its root that it is.
    pub fn begin(&self) -> Option<Said> {
        let started = [self.create(), self.call(&["start", self.id()])];
        if let Some(failed) = started.into_iter().find(|said| said.code != 0) {
            return Some(failed);
        }
        self.wait_for("ready").err()
    }

    /// Waits until the container has made this file in its root.
    pub fn wait_for(&self, file: &str) -> Result<(), Said> {
        let deadline = Instant::now() + self.limit();
        while !self.inside(file).exists() {
            if Instant::now() > deadline {
                return Err(Said { code: -1, out: String::new(), err: format!("there is no {file}") });
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    fn limit(&self) -> Duration {
        if self.is_careless { LIMIT_OF_CARELESS } else { LIMIT * wharf_tests::patience() }
    }

    /// `exec` with these words after the ID.
    pub fn exec(&self, options: &[&str], program: &[&str]) -> Said {
        self.call(&[&["exec"], options, &[self.id()], program].concat())
    }

    /// Ends whatever is left of the container.
    pub fn end(&self) {
        self.call_of(&self.runtime, &["delete", "--force", self.id()], |_| ());
        for hierarchy in hierarchies() {
            let group = self.sandbox.cgroup(&hierarchy);
            for pid in std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
                let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).ok();
            }
            // What another runtime leaves is ours to remove, once the last process in it has gone.
            let deadline = Instant::now() + LIMIT_OF_CARELESS;
            while group.exists() && Instant::now() < deadline {
                for below in std::fs::read_dir(&group).into_iter().flatten().flatten() {
                    std::fs::remove_dir(below.path()).ok(); // its files can't be removed, and need not be
                }
                std::fs::remove_dir(&group).ok();
                std::thread::yield_now();
            }
        }
        self.ended.set(true);
    }

    /// Whether a command hung.
    pub fn hung(&self) -> bool {
        self.hung.get()
    }

    /// How the canary looks.
    pub fn canary_now(&self) -> Looks {
        self.canary.looks()
    }

    /// What has been done to the canary.
    pub fn changes(&self, before: &Looks) -> Vec<PathBuf> {
        self.canary.changed_since(before)
    }

    /// Puts a link into the root.
    pub fn link(&self, target: impl AsRef<Path>, path: &str) {
        symlink(target, self.free(path)).unwrap();
    }

    /// Puts a file into the root.
    pub fn file(&self, path: &str, text: &str) {
        std::fs::write(self.free(path), text).unwrap();
    }

    /// Puts a program into the root.
    pub fn program(&self, path: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        self.file(path, text);
        std::fs::set_permissions(self.inside(path), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Puts a folder into the root.
    pub fn folder(&self, path: &str) {
        std::fs::create_dir_all(self.free(path)).unwrap();
    }

    /// Puts a FIFO into the root.
    pub fn fifo(&self, path: &str) {
        fifo(&self.free(path));
    }

    /// Puts a character device into the root.
    pub fn node(&self, path: &str, major: u32, minor: u32) {
        node(&self.free(path), major, minor);
    }

    /// Frees a place in the root, and makes the folders above it.
    pub fn free(&self, path: &str) -> PathBuf {
        let place = self.inside(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        match std::fs::symlink_metadata(&place) {
            Ok(found) if found.is_dir() => std::fs::remove_dir_all(&place).unwrap(),
            Ok(_) => std::fs::remove_file(&place).unwrap(),
            Err(_) => {}
        }
        place
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !self.ended.get() {
            self.end();
        }
    }
}

/// Makes a FIFO.
pub fn fifo(path: &Path) {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_retain(0o666)).unwrap();
}

/// Makes a character device.
pub fn node(path: &Path, major: u32, minor: u32) {
    let (kind, mode) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::from_raw_mode(0o666));
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, rustix::fs::makedev(major, minor)).unwrap();
    rustix::fs::chmod(path, mode).unwrap(); // the umask has no say
}

/// Where in the canary the runtime's state may be.
const STATE: &str = "run/state";

/// Names that attacks look for on the host, all with something to lose.
fn make_canary() -> Canary {
    let canary = Canary::with(&[
        "secret",
        "null",
        "ptmx",
        "console",
        "fd",
        "folder/secret",
        "folder/file",
        "pts/ptmx",
        "pts/0",
        "self/oom_score_adj",
        "self/attr/exec",
        "sys/net/ipv4/ip_forward",
        "x/y/z/secret",
        "run/secret",
    ]);
    let at = |path: &str| canary.path().join(path);
    for folder in ["run/state", "bin", "etc"] {
        std::fs::create_dir(at(folder)).unwrap();
    }
    std::fs::write(at("etc/passwd"), format!("root:x:0:0::/{SECRET}:/bin/sh\n")).unwrap();
    std::fs::copy("/bin/busybox", at("bin/busybox")).unwrap();
    std::fs::write(at("bin/evil"), format!("#!/bin/sh\necho {HARM}\n")).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(at("bin/evil"), executable).unwrap();
    canary.ignoring(STATE)
}

/// Waits for a child's end, by the event and not longer than a patient person would.
fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: 0 };
    let pid = rustix::process::Pid::from_child(child);
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let ended = poll(&mut fds, Some(&limit)).unwrap() > 0;
    ended.then(|| child.wait().unwrap())
}
