//! The swap sweep: at every system call that can look up a name, a path of the root is exchanged with a link to the
//! host, and the command goes on. Whatever comes of it, nothing of the host is read, changed, made or mounted.
//!
//! A call that is given no name can't tell whether names were exchanged before or after it, so such calls are no points
//! of their own. `WHARF_SWEEP=all` takes every point, else so many of each victim as it says; `other` takes others in each run;
//! `WHARF_SWEEP_VICTIM` names a path to exchange alone; `RUNTIME` takes any runtime.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};
use wharf_tests::canary::{Canary, Looks, SECRET};
use wharf_tests::{Sandbox, patience};

use crate::tracer::{Action, Point, Stop, Traced};

/// What is exchanged, and where that can be noticed.
struct Victim {
    /// The path in the root.
    path: &'static str,
    /// What of the canary it becomes a link to: `` is all of it.
    becomes: &'static str,
    /// The verb.
    verb: Verb,
    /// Whether /dev is the image's own.
    bare: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Run,
    Terminal,
    Exec,
    ExecTerminal,
}

impl Verb {
    fn name(self, bare: bool) -> &'static str {
        match (self, bare) {
            (Verb::Run, false) => "run",
            (Verb::Run, true) => "run, /dev of the image",
            (Verb::Terminal, _) => "run with a terminal, /dev of the image",
            (Verb::Exec, false) => "exec",
            (Verb::Exec, true) => "exec, /dev of the image",
            (Verb::ExecTerminal, _) => "exec with a terminal, /dev of the image",
        }
    }
}

const fn run(path: &'static str, becomes: &'static str) -> Victim {
    Victim { path, becomes, verb: Verb::Run, bare: false }
}

const fn bare(path: &'static str, becomes: &'static str, verb: Verb) -> Victim {
    Victim { path, becomes, verb, bare: true }
}

const fn exec(path: &'static str, becomes: &'static str) -> Victim {
    Victim { path, becomes, verb: Verb::Exec, bare: false }
}

const VICTIMS: [Victim; 39] = [
    run("proc", ""),
    run("sys", ""),
    run("dev", ""),
    bare("dev", "", Verb::Run),
    bare("dev", "", Verb::Terminal),
    bare("dev/pts", "pts", Verb::Terminal),
    bare("dev/shm", "", Verb::Run),
    bare("dev/mqueue", "", Verb::Run),
    bare("dev/console", "console", Verb::Terminal),
    bare("dev/null", "null", Verb::Run),
    run("one", ""),
    run("two", ""),
    run("two/in", ""),
    run("three", ""),
    run("three/x", ""),
    run("three/x/in", ""),
    run("file", "secret"),
    run("hide", ""),
    run("hide/secret", "secret"),
    run("fixed", ""),
    run("fixed/in", ""),
    run("work", ""),
    run("work/in", ""),
    run("opt", ""),
    run("opt/busybox", "busybox"),
    run("etc", ""),
    run("etc/passwd", "passwd"),
    run("etc/group", "group"),
    run("data", ""),
    run("data/in", "in"),
    bare("dev/pts", "pts", Verb::ExecTerminal),
    exec("etc", ""),
    exec("etc/passwd", "passwd"),
    exec("etc/group", "group"),
    exec("work", ""),
    exec("work/in", ""),
    exec("opt", ""),
    exec("opt/busybox", "busybox"),
    bare("dev/null", "null", Verb::Exec),
];

/// Calls that are given no name, and that tell nothing of names: whether they were exchanged before or after is all
/// the same to them.
const BLIND: [&str; 51] = [
    "arch_prctl",
    "brk",
    "capget",
    "capset",
    "clone3",
    "close",
    "close_range",
    "dup",
    "dup2",
    "dup3",
    "exit",
    "exit_group",
    "fcntl",
    "fsmount",
    "fsopen",
    "fstat",
    "fstatfs",
    "futex",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getppid",
    "getrandom",
    "gettid",
    "getuid",
    "lseek",
    "madvise",
    "mmap",
    "mprotect",
    "munmap",
    "pidfd_open",
    "pidfd_send_signal",
    "poll",
    "ppoll",
    "prctl",
    "prlimit64",
    "read",
    "recvmsg",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "sendmsg",
    "set_robust_list",
    "set_tid_address",
    "setsid",
    "sigaltstack",
    "umask",
    "waitid",
    "wait4",
    "write",
];

/// Whether a call can't tell the exchange: it is given no name, or, by the command itself, which stays on the host, a
/// whole path that leads elsewhere.
fn is_blind(stop: &Stop) -> bool {
    let path = match stop.name() {
        "open" | "stat" | "lstat" | "mkdir" | "rmdir" | "unlink" | "readlink" | "access" => stop.text(0),
        "openat" | "newfstatat" | "statx" | "mkdirat" | "unlinkat" | "readlinkat" | "faccessat" => {
            stop.text(1)
        }
        name => return BLIND.contains(&name),
    };
    let elsewhere = |path: &String| path.starts_with("/sys/") || path.starts_with("/proc/");
    stop.point.role.0.is_empty() && path.as_ref().is_some_and(elsewhere)
}

/// The exchange that there was no occasion for.
const MISSED: &str = "the point was not come to";

/// One bundle and one canary, used for all points of a victim.
struct Scene {
    sandbox: Sandbox,
    canary: Canary,
    before: Looks,
    victim: &'static Victim,
    output: PathBuf,
}

/// Everything that a victim is a part of.
fn config_of(victim: &Victim, bundle: &Path, config: &mut Value) {
    let mounts = config["mounts"].as_array_mut().unwrap();
    if victim.bare {
        mounts.retain(|mount| mount["destination"] != "/dev");
    }
    let tmpfs = |to: &str| json!({"destination": to, "type": "tmpfs", "source": "tmpfs"});
    let bind = |to: &str, from: &str| json!({"destination": to, "type": "bind", "source": bundle.join(from), "options": ["rbind"]});
    mounts.extend([
        json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"}),
        bind("/one", "volume"),
        tmpfs("/two/in"),
        bind("/three/x/in", "volume"),
        bind("/file", "volume/file"),
        bind("/got", "rootfs/data/in"),
        tmpfs("/made/for/it"),
    ]);
    config["linux"]["maskedPaths"] = json!(["/hide/secret", "/proc/kcore"]);
    config["linux"]["readonlyPaths"] = json!(["/fixed/in", "/proc/sys"]);
    config["process"]["cwd"] = json!("/work/in");
    config["process"]["terminal"] = json!(victim.verb == Verb::Terminal);
    config["process"]["args"] = match victim.verb {
        Verb::Run | Verb::Terminal => json!(["/opt/busybox", "sh", "-c", LOOK]),
        Verb::Exec | Verb::ExecTerminal => json!(["/bin/sleep", "1000"]),
    };
}

/// What the container's program looks for.
const LOOK: &str = "echo $HOME; pwd; cat secret /*/secret /one/* /three/x/in/* /got/* /file 2>&1; echo end";

impl Scene {
    fn new(victim: &'static Victim) -> Scene {
        let canary = Canary::with(&[
            "secret",
            "in/secret",
            "x/in/secret",
            "pts/ptmx",
            "pts/0",
            "console",
            "null",
            "zero",
            "ptmx",
            "group",
            "self/status",
        ]);
        let at = |path: &str| canary.path().join(path);
        std::fs::write(at("passwd"), format!("root:x:0:0::/{SECRET}:/bin/sh\n")).unwrap();
        std::fs::write(at("busybox"), format!("#!/bin/sh\necho {SECRET}\n")).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(at("busybox"), executable).unwrap();
        let mut config = Value::Null;
        let sandbox = Sandbox::new(&[], |c| config = c.clone());
        config_of(victim, sandbox.bundle(), &mut config);
        sandbox.write_config(&config.to_string());
        let root = sandbox.rootfs();
        for folder in [
            "../volume",
            "one",
            "two/in",
            "three/x/in",
            "hide",
            "fixed/in",
            "work/in",
            "opt",
            "data/in",
            "dev/pts",
        ] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        for file in ["../volume/file", "file", "hide/secret", "data/in/given", "etc/group"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        for folder in ["dev/shm", "dev/mqueue"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        std::fs::copy("/bin/busybox", root.join("opt/busybox")).unwrap();
        if victim.bare {
            // What is exchanged must be there before.
            let (kind, mode) =
                (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::from_raw_mode(0o666));
            rustix::fs::mknodat(CWD, root.join("dev/null"), kind, mode, rustix::fs::makedev(1, 3)).unwrap();
            std::fs::write(root.join("dev/console"), "").unwrap();
        }
        symlink(at(victim.becomes), sandbox.bundle().join("link")).unwrap();
        let output = sandbox.bundle().join("output");
        let scene = Scene { before: canary.looks(), sandbox, canary, victim, output };
        if scene.is_entered() {
            scene.sandbox.start();
        }
        scene
    }

    fn is_entered(&self) -> bool {
        matches!(self.victim.verb, Verb::Exec | Verb::ExecTerminal)
    }

    fn command(&self) -> std::process::Command {
        let (id, bundle) = (self.sandbox.id.as_str(), self.sandbox.bundle());
        let mut command = self.sandbox.command();
        match self.victim.verb {
            Verb::Run | Verb::Terminal => command.args(["run", "--bundle"]).arg(bundle).arg(id),
            Verb::Exec => command.args(["exec", id, "/opt/busybox", "sh", "-c", LOOK]),
            Verb::ExecTerminal => command.args(["exec", "--tty", id, "/opt/busybox", "sh", "-c", LOOK]),
        };
        command
    }

    /// Puts the link in the place of the victim, or back.
    fn exchange(&self) {
        let (link, place) =
            (self.sandbox.bundle().join("link"), self.sandbox.rootfs().join(self.victim.path));
        renameat_with(CWD, link, CWD, place, RenameFlags::EXCHANGE).unwrap();
    }

    /// Runs the verb with the exchange at a point, or with none.
    fn play(&self, point: Option<&Point>) -> Played {
        let command = self.command();
        let traced = Traced {
            command: &command,
            output: &self.output,
            deadline: Duration::from_secs(60) * patience(),
            besides: None,
        };
        let mut exchanged = false;
        let mut played = Played { points: Vec::new(), program: None, faults: Vec::new() };
        let Played { points, program, faults } = &mut played;
        let outcome = traced.run(|stop| {
            if stop.is_entry() && Some(stop.point) == point {
                self.exchange();
                exchanged = true;
            }
            if stop.is_entry() && matches!(stop.name(), "pivot_root" | "execve") {
                faults.extend(self.mounts_of_the_canary(stop));
            }
            if stop.is_entry() && stop.name() == "execve" && stop.text(0).as_deref() == Some("/opt/busybox") {
                *program = Some(stop.point.clone());
            }
            if stop.is_entry() && point.is_none() && !is_blind(stop) {
                points.push(stop.point.clone());
            }
            Action::Go
        });
        if !self.is_entered() {
            self.sandbox.verb(&["delete", "--force", &self.sandbox.id]);
        }
        if exchanged {
            self.exchange();
        } else if point.is_some() {
            faults.push(MISSED.to_owned());
        }
        let said = String::from_utf8_lossy(&std::fs::read(&self.output).unwrap()).into_owned();
        assert!(point.is_some() || said.replace('\r', "").ends_with("end\n"), "without an exchange: {said}");
        if said.contains(SECRET) {
            faults.push("read".to_owned());
        }
        let changed = self.canary.changed_since(&self.before);
        if !changed.is_empty() {
            faults.push(format!("changed: {changed:?}"));
        }
        if !outcome.hung.is_empty() {
            faults.push(format!("hung: {:?}", outcome.hung));
        }
        played
    }

    /// Mounts of the canary, and, as long as the host is in sight, mounts on it.
    fn mounts_of_the_canary(&self, stop: &Stop) -> Option<String> {
        let mounts = std::fs::read_to_string(format!("/proc/{}/mountinfo", stop.pid)).unwrap_or_default();
        let canary = self.canary.path().to_str().unwrap();
        let alone = format!("/{}", self.canary.path().file_name().unwrap().to_str().unwrap());
        let is_its = |line: &&str| {
            let fields: Vec<&str> = line.split(' ').collect();
            [canary, alone.as_str()].iter().any(|path| fields[3].starts_with(path))
                || (stop.name() == "pivot_root" && fields[4].starts_with(canary))
        };
        mounts.lines().find(is_its).map(|line| format!("mounted: {line}"))
    }

    /// Folders of the canary's name, which an exchange may have had made in the root.
    fn tidy(&self) {
        let inner = self.sandbox.rootfs().join(self.canary.path().strip_prefix("/").unwrap());
        std::fs::remove_dir_all(inner).ok();
    }
}

/// What one run showed.
struct Played {
    /// Where an exchange could be noticed.
    points: Vec<Point>,
    /// Where the container's program was executed.
    program: Option<Point>,
    /// What is wrong.
    faults: Vec<String>,
}

/// What one victim showed.
#[derive(Default)]
struct Found {
    /// Points that were tried, of how many.
    points: usize,
    of: usize,
    /// Points that a run did not come to: what a caller does while it waits is not the same each time.
    missed: usize,
    faults: Vec<String>,
}

/// Without what the container's own program does once it was executed there.
fn until_program(points: Vec<Point>, start: &Point) -> Vec<Point> {
    let is_programs = |point: &Point| {
        let below = point.role.0.len() > start.role.0.len() && point.role.0.starts_with(&start.role.0);
        below || (point.role == start.role && point.call > start.call)
    };
    points.into_iter().filter(|point| !is_programs(point)).collect()
}

fn sweep(victim: &'static Victim, picks: &(dyn Fn(usize, usize) -> bool + Sync)) -> Found {
    let mut scene = Scene::new(victim);
    let Played { points, program: Some(program), faults } = scene.play(None) else {
        panic!("{}: the program was not executed", victim.path)
    };
    assert!(faults.is_empty(), "{} without an exchange: {faults:?}", victim.path);
    let points = until_program(points, &program);
    let mut found = Found { of: points.len(), ..Found::default() };
    for (_, point) in points.iter().enumerate().filter(|(index, _)| picks(*index, points.len())) {
        let faults = scene.play(Some(point)).faults;
        found.points += 1;
        if faults == [MISSED] {
            found.missed += 1;
        } else if !faults.is_empty() {
            found.faults.push(format!("{} at {point}: {faults:?}", victim.path));
            scene = Scene::new(victim); // what it has done can't be told from what the next one does
        }
        scene.tidy();
    }
    found
}

/// Of each victim, unless others are asked for.
const SOME: usize = 6;

#[test]
fn exchange_at_any_call_does_nothing_to_the_host() {
    let wanted = std::env::var("WHARF_SWEEP").unwrap_or_default();
    let some = if wanted == "all" { usize::MAX } else { wanted.parse().unwrap_or(SOME) };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let offset = if wanted == "other" { now.as_secs() as usize } else { 0 };
    let picks = |index: usize, of: usize| (index + offset).is_multiple_of((of / some).max(1));
    say(&format!("swap: every point whose number and {offset} make a multiple of the stride"));
    let only = std::env::var("WHARF_SWEEP_VICTIM").unwrap_or_default();
    let victims: Vec<_> = VICTIMS.iter().filter(|victim| only.is_empty() || victim.path == only).collect();
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(victim) = victims.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = sweep(victim, &picks);
                    say(&format!(
                        "swap {} ({}): {} of {} points, {} missed, {} with harm",
                        victim.path,
                        victim.verb.name(victim.bare),
                        found.points,
                        found.of,
                        found.missed,
                        found.faults.len()
                    ));
                    results.lock().unwrap().extend(found.faults);
                }
            });
        }
    });
    let faults = results.into_inner().unwrap();
    assert!(faults.is_empty(), "at offset {offset}:\n{}", faults.join("\n"));
}

/// Not by a macro, whose output libtest keeps to itself when a test passes.
fn say(line: &str) {
    use std::io::Write as _;
    writeln!(std::io::stderr().lock(), "{line}").unwrap();
}
