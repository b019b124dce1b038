//! What a container may have left behind. Only what this test's own container could have made is looked for: other
//! tests run at the same time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use wharf_tests::{hierarchies, is_ours, patience};

use crate::scenario::Scenario;

/// A variable in the environment of all that a test starts, by which its processes are found: also those that have
/// neither executed the container's program nor entered its cgroup.
pub const MARK: &str = "WHARF_SWEEP_OF";

/// What is looked at, and what it looks like when nothing is left.
pub struct Remains {
    mark: Vec<u8>,
    id: String,
    bundle: PathBuf,
    root: PathBuf,
    /// In each hierarchy, the container's cgroup, or the first one above that is not there without it.
    cgroups: Vec<PathBuf>,
    tree: BTreeSet<PathBuf>,
    /// Whether there are hooks. What runs when the runtime is killed dies with it, but nobody waits for that.
    hooks: bool,
    /// Cgroups that are there after a life without harm: some runtimes leave those above the container's own.
    kept: BTreeSet<PathBuf>,
}

impl Remains {
    /// Takes the bundle as it is now for one in which nothing is left.
    pub fn of(scenario: &Scenario) -> Remains {
        let sandbox = &scenario.sandbox;
        let cgroups = hierarchies().iter().map(|hierarchy| hierarchy.join(&sandbox.id)).collect();
        let mut remains = Remains {
            mark: format!("{MARK}={}", sandbox.id).into_bytes(),
            id: sandbox.id.clone(),
            bundle: sandbox.bundle().to_owned(),
            root: sandbox.root(),
            cgroups,
            tree: BTreeSet::new(),
            hooks: scenario.full,
            kept: BTreeSet::new(),
        };
        remains.tree = remains.bundle_now();
        remains.kept = remains.cgroups_now().into_iter().collect();
        assert!(!is_ours() || remains.kept.is_empty(), "{:?}", remains.kept);
        remains
    }

    /// Names all that is left.
    pub fn list(&self) -> Vec<String> {
        let mut left: Vec<String> = Vec::new();
        let patience = Instant::now() + Duration::from_secs(2) * patience();
        while self.hooks && !self.processes().is_empty() && Instant::now() < patience {
            std::thread::yield_now();
        }
        left.extend(self.processes().iter().map(|pid| format!("process {}", describe(*pid))));
        left.extend(self.cgroups_now().iter().map(|path| format!("cgroup {}", path.display())));
        left.extend(files(&self.root).iter().map(|path| format!("state {}", path.display())));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = |line: &&str| line.contains(self.bundle.to_str().unwrap()) || line.contains(&self.id);
        left.extend(mounts.lines().filter(ours).map(|line| format!("mount {line}")));
        let now = self.bundle_now();
        left.extend(
            now.symmetric_difference(&self.tree).map(|path| format!("in the bundle {}", path.display())),
        );
        left
    }

    /// The processes that this test has started, and that are not dead.
    pub fn processes(&self) -> Vec<i32> {
        let entries = std::fs::read_dir("/proc").unwrap();
        let pids = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            *pid != std::process::id() as i32
                && environment.split(|byte| *byte == 0).any(|one| one == self.mark)
        })
        .collect()
    }

    /// Takes away by force what is left, so that the next point starts from nothing.
    pub fn clear(&self) {
        for path in self.cgroups_now() {
            std::fs::write(path.join("freezer.state"), "THAWED").ok(); // in one hierarchy there is that file
        }
        wharf_tests::wait_until("the end of what is left", || {
            let pids = self.processes();
            for pid in &pids {
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), nix::sys::signal::Signal::SIGKILL)
                    .ok();
            }
            pids.is_empty()
        });
        for path in self.cgroups_now().iter().rev() {
            wharf_tests::wait_until("an empty cgroup", || {
                std::fs::remove_dir(path).is_ok() || !path.exists()
            });
        }
        for path in files(&self.root).iter().filter(|path| path.exists()) {
            std::fs::remove_dir_all(path).or_else(|_| std::fs::remove_file(path)).unwrap();
        }
        for path in self.bundle_now().difference(&self.tree) {
            std::fs::remove_dir_all(path).or_else(|_| std::fs::remove_file(path)).ok(); // with its folder, perhaps
        }
    }

    /// Those that are more than a life without harm leaves, parents first.
    fn cgroups_now(&self) -> Vec<PathBuf> {
        let there = self.cgroups.iter().filter(|path| path.exists());
        there.flat_map(|path| folders(path)).filter(|path| !self.kept.contains(path)).collect()
    }

    /// All names in the bundle but the state folder's, and what the test itself writes there.
    fn bundle_now(&self) -> BTreeSet<PathBuf> {
        let own =
            |path: &Path| path.starts_with(&self.root) || ["out", "err"].iter().any(|n| path.ends_with(n));
        let mut found = BTreeSet::new();
        let mut todo = vec![self.bundle.clone()];
        while let Some(folder) = todo.pop() {
            for path in files(&folder).into_iter().filter(|path| !own(path)) {
                if path.is_dir() && !path.is_symlink() {
                    todo.push(path.clone());
                }
                found.insert(path);
            }
        }
        found
    }
}

/// What is in a folder; nothing if it is not there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// A folder and all below it, parents first.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let below = files(folder).into_iter().filter(|path| path.is_dir());
    std::iter::once(folder.to_owned()).chain(below.flat_map(|path| folders(&path))).collect()
}

fn describe(pid: i32) -> String {
    let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
    let status = String::from_utf8_lossy(&read("status")).into_owned();
    let state = status.lines().find(|line| line.starts_with("State:")).unwrap_or_default().to_owned();
    format!("{pid} ({}, {state}, in {})", line.trim(), String::from_utf8_lossy(&read("syscall")).trim())
}
