//! Where configs are run: a bundle in a mount namespace of the worker's own, wiped before each run, and the
//! verdict on what the two runtimes made of a config.
//!
//! The private mount namespace is what makes configs with shared propagation, or without a mount namespace,
//! harmless: whatever a runtime leaks stays here, is seen, and goes with the worker.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;
use tempfile::TempDir;
use wharf_tests::{hierarchies, runtime_path, wait_until};

use crate::listed::Reference;
use crate::outcome::{self, Outcome};
use crate::{bundle, view};

/// What configs may refer to.
pub struct Host {
    /// The container's ID, and the last part of its cgroup's path.
    pub id: String,
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// Namespaces by the specification's names that a process of ours holds.
    pub held: BTreeMap<&'static str, String>,
    /// Below this an ordinary score can't be set without CAP_SYS_RESOURCE.
    pub oom_score: i64,
    limits: BTreeMap<String, u64>,
}

impl Host {
    /// The hard limit that nobody here may exceed.
    pub fn hard_limit(&self, kind: &str) -> u64 {
        self.limits[kind]
    }
}

/// A bundle to run configs in.
pub struct Place {
    folder: TempDir,
    holder: Child,
    runs: u64,
    reference: Reference,
    /// What configs may refer to.
    pub host: Host,
}

/// What comparing came to.
#[derive(Default)]
pub struct Verdict {
    /// The program ran under both.
    pub ran: bool,
    /// It ran under neither: what runc said.
    pub both_refused: Option<String>,
    /// Ours said that it does not do this yet.
    pub pending: Option<String>,
    /// Reasons in `listed.rs` that were called upon.
    pub rules: Vec<&'static str>,
    /// Differences without a reason.
    pub differences: Vec<String>,
}

/// The soft names of /proc/self/limits to those of getrlimit(2).
fn hard_limits() -> BTreeMap<String, u64> {
    let names = [
        ("Max cpu time", "CPU"),
        ("Max file size", "FSIZE"),
        ("Max data size", "DATA"),
        ("Max stack size", "STACK"),
        ("Max core file size", "CORE"),
        ("Max resident set", "RSS"),
        ("Max processes", "NPROC"),
        ("Max open files", "NOFILE"),
        ("Max locked memory", "MEMLOCK"),
        ("Max address space", "AS"),
        ("Max file locks", "LOCKS"),
        ("Max pending signals", "SIGPENDING"),
        ("Max msgqueue size", "MSGQUEUE"),
        ("Max nice priority", "NICE"),
        ("Max realtime priority", "RTPRIO"),
        ("Max realtime timeout", "RTTIME"),
    ];
    let table = fs::read_to_string("/proc/self/limits").unwrap();
    let hard = |title: &str| {
        let line = table.lines().find(|line| line.starts_with(title)).unwrap();
        line[title.len()..].split_whitespace().nth(1).unwrap().parse().unwrap_or(u64::MAX)
    };
    names.iter().map(|(title, name)| (format!("RLIMIT_{name}"), hard(title))).collect()
}

/// A process with namespaces of its own, for configs that join them.
fn hold_namespaces() -> (Child, BTreeMap<&'static str, String>) {
    let child = Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--net",
            "--ipc",
            "--uts",
            "--pid",
            "--fork",
            "--kill-child",
            "sleep",
            "100000",
        ])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let at = |name: &str| format!("/proc/{}/ns/{name}", child.id());
    let own = fs::read_link("/proc/self/ns/pid").unwrap();
    wait_until("the held namespaces", || {
        fs::read_link(at("pid_for_children")).is_ok_and(|there| there != own)
    });
    let held = [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid_for_children")];
    let held = held.map(|(kind, name)| (kind, at(name)));
    (child, BTreeMap::from(held))
}

fn keep_private() {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
}

fn share(bundle: &Path) {
    let none = None::<&str>;
    mount(none, bundle, none, MsFlags::MS_SHARED, none).unwrap();
}

impl Place {
    /// A place of the calling thread, in a mount namespace of that thread.
    pub fn new(reference: Reference) -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("wharf-differs-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = TempDir::new().unwrap();
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        keep_private();
        let bundle = folder.path().join("bundle");
        fs::create_dir(&bundle).unwrap();
        for open in [folder.path(), &bundle] {
            fs::set_permissions(open, fs::Permissions::from_mode(0o755)).unwrap();
        }
        mount(Some(&bundle), &bundle, none, MsFlags::MS_BIND, none).unwrap();
        share(&bundle);
        fs::copy("/bin/busybox", bundle.join("busybox")).unwrap();
        let (holder, held) = hold_namespaces();
        let oom_score = fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
        let host = Host { id, bundle, held, oom_score, limits: hard_limits() };
        Place { folder, holder, runs: 0, reference, host }
    }

    /// Runs a config under both and compares.
    pub fn judge(&mut self, config: &Value) -> Verdict {
        let theirs = self.run(&self.reference.path.clone(), config);
        let ours = self.run(&runtime_path(), config);
        let mut verdict = Verdict::default();
        match (theirs.accepted, ours.accepted) {
            (true, true) => {
                verdict.ran = true;
                verdict.differences.extend(self.findings(config));
                self.compare_views(config, &theirs, &ours, &mut verdict);
            }
            (false, false) => verdict.both_refused = Some(theirs.summary()),
            _ if ours.err.contains("supported yet") => verdict.pending = Some(ours.err.trim().to_owned()),
            _ => match self.reference.refusal(config, ours.accepted, &ours.err, &theirs.err) {
                Some(why) => verdict.rules.push(why),
                None => verdict.differences.push(format!(
                    "refusal: runc {}, ours {}",
                    theirs.summary(),
                    ours.summary()
                )),
            },
        }
        let left = ours.lines.iter().filter(|line| line.starts_with("left "));
        let unlisted =
            left.filter(|line| !self.reference.without_listed(config, line, &mut verdict.rules).is_empty());
        verdict.differences.extend(unlisted.map(|line| format!("ours {line}")));
        verdict
    }

    fn run(&mut self, runtime: &Path, config: &Value) -> Outcome {
        self.runs += 1;
        let id = format!("{}-{}", self.host.id, self.runs); // keyrings go by it, and stay a while
        bundle::refill(&self.host, config);
        let mut outcome = outcome::run(runtime, (&self.host, &id), &self.folder.path().join("state"), config);
        outcome.lines.extend(self.hook_lines());
        outcome.lines.extend(self.clear_leftovers(runtime, &id, config));
        for line in &mut outcome.lines {
            *line = line.replace(&id, &self.host.id);
        }
        outcome
    }

    /// What `validate` finds wrong with a config that can be run: nothing, if both are right.
    fn findings(&self, config: &Value) -> Vec<String> {
        bundle::refill(&self.host, config);
        let output = Command::new(runtime_path()).arg("validate").arg(&self.host.bundle).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let faults = text.lines().filter(|line| !line.starts_with("note: "));
        faults.map(|line| format!("ours validate {line}")).collect()
    }

    fn hook_lines(&self) -> Vec<String> {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        let notes = read(self.host.bundle.join("hooks")) + &read(self.host.bundle.join("rootfs/var/hooks"));
        let order = notes.lines().filter_map(|note| note.split(' ').next()).collect::<Vec<_>>().join(" ");
        let mut lines: Vec<String> = notes.lines().map(|note| format!("hook {note}")).collect();
        lines.push(format!("hooks {order}"));
        lines
    }

    /// Ends whatever a run has left, and names it.
    fn clear_leftovers(&self, runtime: &Path, id: &str, config: &Value) -> Vec<String> {
        let cgroup = config["linux"]["cgroupsPath"].as_str().unwrap_or(id).trim_start_matches('/');
        let mut left = Vec::new();
        let state = self.folder.path().join("state");
        for entry in fs::read_dir(&state).into_iter().flatten().flatten() {
            left.push(format!("left {}", entry.path().display()));
            Command::new(runtime).arg("--root").arg(&state).args(["delete", "--force", id]).output().unwrap();
        }
        // Without a mount namespace a runtime may have made all our mounts shared; then what is taken off a copy is
        // taken off the original.
        keep_private();
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let below = format!("{}/", self.host.bundle.display());
        for place in
            table.lines().map(|line| line.split(' ').nth(4).unwrap()).filter(|at| at.starts_with(&below))
        {
            left.push(format!("left mount {place}"));
            umount2(place, MntFlags::MNT_DETACH).ok(); // may be gone with another
        }
        share(&self.host.bundle);
        for hierarchy in hierarchies() {
            // The runtimes remove what the config names, and not the folder above it.
            let (above, cgroup) = (hierarchy.join(&self.host.id), hierarchy.join(cgroup));
            if cgroup.exists() {
                left.push(format!("left {}", cgroup.display()));
            }
            fs::remove_dir(above.join(&self.host.id)).ok();
            fs::remove_dir(above).ok();
        }
        left
    }

    fn compare_views(&self, config: &Value, theirs: &Outcome, ours: &Outcome, verdict: &mut Verdict) {
        if theirs.code != ours.code {
            verdict.differences.push(format!("exit code: runc {}, ours {}", theirs.code, ours.code));
        }
        let mut erased = Vec::new();
        for (whose, line) in view::differences(&theirs.lines, &ours.lines) {
            if line.starts_with("left ") {
                continue; // what runc leaves is its own affair, and what we leave a fault by itself
            }
            let form = self.reference.without_listed(config, &line, &mut verdict.rules);
            erased.push((whose, line, form));
        }
        erased.retain(|(_, _, form)| !form.is_empty());
        let left = view::unmatched(erased);
        verdict.differences.extend(left.into_iter().map(|(whose, line)| format!("{whose} {line}")));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        umount2(&self.host.bundle, MntFlags::MNT_DETACH).ok();
        self.holder.kill().ok();
        self.holder.wait().ok();
    }
}
