//! A machine of its own for each test: PID, mount, network, UTS, IPC and cgroup namespaces, with /run, /sys,
//! /etc and /var private. An engine in it may make bridges, iptables rules and mounts as it does
//! anywhere, many run side by side, and whatever a failed test leaves ends with the machine's PID 1.
//!
//! What a test that went well leaves is asked for before that, by `assert_nothing_left`.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use wharf_tests::{Said, hierarchies, runtime_path, wait_up_to};

/// How long an engine may take for one step on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A machine, ended when dropped.
pub struct Machine {
    folder: TempDir,
    name: String,
    keeper: Child,
    /// PID 1 of the machine, as this test sees it.
    init: Pid,
    mounts: BTreeSet<String>,
    environment: Vec<(String, String)>,
    count: Cell<u32>,
}

/// A daemon on a machine.
pub struct Daemon {
    child: Child,
    pid: Pid,
}

impl Machine {
    /// Boots one with an empty folder, in which its programs run.
    pub fn boot() -> Machine {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("wharf-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = TempDir::new().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/boot.sh");
        let mut command = Command::new("sh");
        command.args([script, "groups", &name]).args(hierarchies());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(folder.path().join("boot.log")).unwrap());
        let mut keeper = command.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "booted\n", "{}", read(&folder.path().join("boot.log")));
        let init = only_child(Pid::from_raw(keeper.id() as i32));
        let home = folder.path().to_str().unwrap().to_owned();
        let mut machine = Machine {
            folder,
            name,
            keeper,
            init,
            mounts: BTreeSet::new(),
            environment: vec![("HOME".to_owned(), home)],
            count: Cell::new(0),
        };
        machine.mounts = machine.mount_points();
        machine
    }

    /// Sets an environment variable for every program from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// A place in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same as text, for a command line.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// PID 1, to be named from outside.
    pub fn init(&self) -> Pid {
        self.init
    }

    /// Joins it to another one by a wire, with these addresses at the two ends.
    pub fn wire(&self, other: &Machine, addresses: [&str; 2]) {
        let ip = |machine: &Machine, line: &str| {
            let mut command = Command::new("nsenter");
            command.args(["--net", "--target", &machine.init.to_string(), "ip"]).args(line.split(' '));
            Said::from(command.output().unwrap()).ok();
        };
        ip(self, &format!("link add wire type veth peer name wire netns {}", other.init));
        for (machine, address) in [self, other].into_iter().zip(addresses) {
            ip(machine, &format!("addr add {address}/24 dev wire"));
            ip(machine, "link set wire up");
        }
    }

    /// A program on the machine, not yet started.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let script = "for group in $GROUPS_TO_JOIN; do echo 0 >$group/cgroup.procs; done; unset GROUPS_TO_JOIN; \
                      exec nsenter --target $0 --all --wd=\"$PWD\" -- \"$@\"";
        let groups: Vec<_> =
            self.groups().iter().map(|group| group.join("engine").display().to_string()).collect();
        let mut command = Command::new("sh");
        command.args(["-c", script, &self.init.to_string(), program]).args(arguments);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("GROUPS_TO_JOIN", groups.join(" ")).envs(self.environment.iter().cloned());
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Runs a program to its end. Output goes to files, because a container would keep a pipe open.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Said {
        let number = self.count.replace(self.count.get() + 1);
        let [out, err] = ["out", "err"].map(|kind| self.path(&format!("{number}.{kind}")));
        let limit = ["--foreground", "-k", "5", "120", program];
        let status = self
            .command("timeout", &[&limit[..], arguments].concat())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .status()
            .unwrap();
        let bytes = |path: &Path| std::fs::read(path).unwrap();
        let said = Output { status, stdout: bytes(&out), stderr: bytes(&err) }.into();
        std::fs::remove_file(out).unwrap();
        std::fs::remove_file(err).unwrap();
        said
    }

    /// Starts a daemon, whose output goes to `NAME.log`.
    pub fn start(&self, program: &str, arguments: &[&str]) -> Daemon {
        let log = File::create(self.path(&format!("{program}.log"))).unwrap();
        let mut command = self.command(program, arguments);
        let mut child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let nsenter = Pid::from_raw(child.id() as i32);
        let mut pid = None;
        wait_up_to(PATIENCE, program, || {
            assert!(child.try_wait().unwrap().is_none(), "{}", read(&self.path(&format!("{program}.log"))));
            pid = children(nsenter).first().copied();
            pid.is_some()
        });
        Daemon { child, pid: pid.unwrap() }
    }

    /// Our group in every hierarchy.
    fn groups(&self) -> Vec<PathBuf> {
        hierarchies().iter().map(|hierarchy| hierarchy.join(&self.name)).collect()
    }

    fn mount_points(&self) -> BTreeSet<String> {
        let table = std::fs::read_to_string(format!("/proc/{}/mountinfo", self.init)).unwrap();
        table.lines().map(|line| line.split(' ').nth(4).unwrap().to_owned()).collect()
    }

    /// The processes on the machine besides its PID 1 and what that waits for.
    fn processes(&self) -> Vec<String> {
        let groups = self.groups().into_iter().flat_map(|group| folders(&group));
        let pids = groups.flat_map(|group| {
            std::fs::read_to_string(group.join("cgroup.procs"))
                .unwrap_or_default()
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        });
        let own = [vec![self.init, Pid::from_raw(self.keeper.id() as i32)], children(self.init)].concat();
        let strange: BTreeSet<String> =
            pids.filter(|pid| !own.iter().any(|own| own.to_string() == *pid)).collect();
        let name = |pid: &String| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        strange.iter().map(|pid| format!("{pid} {}", name(pid).replace('\0', " "))).collect()
    }

    /// Asserts that no process, mount, cgroup or runtime's state is left but what the engine keeps for itself:
    /// mount points whose path, and groups whose name, ends in one of `kept`.
    #[track_caller]
    pub fn assert_nothing_left(&self, kept: &[&str]) {
        let is_kept = |path: &str| kept.iter().any(|kept| path.ends_with(kept));
        wait_up_to(PATIENCE, &format!("an end of {:?}", self.processes()), || self.processes().is_empty());
        let mounts: Vec<_> =
            self.mount_points().difference(&self.mounts).filter(|at| !is_kept(at)).cloned().collect();
        assert!(mounts.is_empty(), "mounts left: {mounts:?}");
        for group in self.groups() {
            for left in folders(&group) {
                let is_ours = left == group || left == group.join("engine");
                assert!(is_ours || is_kept(left.to_str().unwrap()), "cgroup left: {}", left.display());
            }
        }
        let states = self.states();
        assert!(states.is_empty(), "state left: {states:?}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        kill(self.init, Signal::SIGKILL).ok();
        self.keeper.wait().ok();
        for group in self.groups() {
            let mut below = folders(&group);
            below.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
            for group in below {
                // The kernel takes a moment to see that a killed process has left.
                wait_up_to(PATIENCE, &format!("the end of {}", group.display()), || {
                    std::fs::remove_dir(&group).is_ok() || !group.exists()
                });
            }
        }
    }
}

impl Machine {
    /// The runtime's folders of containers, wherever the engines have it put them.
    fn states(&self) -> Vec<PathBuf> {
        let run = PathBuf::from(format!("/proc/{}/root/run", self.init));
        let runtime = run.join(runtime_path().file_name().unwrap());
        let entries = |top: PathBuf| {
            std::fs::read_dir(top)
                .into_iter()
                .flatten()
                .map(|entry| entry.unwrap().path())
                .collect::<Vec<_>>()
        };
        let shims = [self.path("exec/runtime-runc"), run.join("containerd/runc")];
        shims.into_iter().flat_map(entries).chain([runtime]).flat_map(entries).collect()
    }

    /// The ends of the daemons' logs, for a test that failed.
    fn show_logs(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        for line in read(Path::new("/proc/self/cgroup")).lines() {
            let controller = line.split(':').nth(1).unwrap_or_default();
            if !mounts.lines().any(|mount| mount.starts_with("cgroup") && mount.contains(controller)) {
                // Somebody mounted it elsewhere and left groups in it; containerd then gives no metrics.
                writeln!(std::io::stderr(), "hierarchy {controller} is in use, but not mounted").ok();
            }
        }
        for entry in std::fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                let text = read(&entry.path());
                let lines: Vec<_> =
                    text.lines().map(|line| line.chars().take(300).collect::<String>()).collect();
                let end = lines[lines.len().saturating_sub(12)..].join("\n");
                writeln!(std::io::stderr(), "== {}\n{end}", entry.path().display()).ok();
            }
        }
    }
}

impl Daemon {
    /// Ends it and waits for that.
    pub fn stop(mut self) {
        kill(self.pid, Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // After `stop` it has gone; a test that failed ends it with the machine, whose PID 1 reaps it.
        if std::thread::panicking() {
            kill(self.pid, Signal::SIGKILL).ok();
            self.child.wait().ok();
        }
    }
}

/// Everything at and below `top` that is a folder.
fn folders(top: &Path) -> Vec<PathBuf> {
    let below = std::fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<_> = below.filter(|path| path.is_dir()).flat_map(|path| folders(&path)).collect();
    if top.is_dir() {
        found.push(top.to_owned());
    }
    found
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

fn children(of: Pid) -> Vec<Pid> {
    let text = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    text.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
}

fn only_child(of: Pid) -> Pid {
    let all = children(of);
    assert_eq!(all.len(), 1, "children of {of}: {all:?}");
    all[0]
}
