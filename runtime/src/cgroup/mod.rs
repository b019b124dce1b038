//! Control groups: where the container's are, making them, filling them, freezing, killing, removing.
//!
//! One [`Cgroup`] stands for the container's directory in every hierarchy of the host: several on cgroup v1,
//! one on v2, and on a hybrid host the v1 ones plus one in the unified hierarchy, which brings `cgroup.kill`.
//! It goes into the container's record before any directory is made.

mod hierarchy;
mod v1;
mod v2;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Kind, Result};
use crate::plan::resources::{self, Write};
use crate::spec::Resources;

pub use hierarchy::{Dir, Mode};

/// The longest that killed tasks may take to leave their cgroup before `remove` gives up.
const LEAVE_DEADLINE: Duration = Duration::from_secs(10);

/// The container's control groups.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cgroup {
    /// Which version holds the limits.
    pub mode: Mode,
    /// One directory for each hierarchy.
    pub dirs: Vec<Dir>,
}

impl Cgroup {
    /// Finds the container's place: `cgroups_path` below each hierarchy's mount point, `/<id>` when empty.
    /// A relative path is taken from the mount point too, so that equal values name equal places.
    pub fn resolve(cgroups_path: &str, id: &str) -> Result<Cgroup> {
        let path = if cgroups_path.is_empty() { id } else { cgroups_path };
        let relative = check_path(path)?;
        let text = std::fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
        let (mode, mut dirs) = hierarchy::parse(&text);
        for dir in &mut dirs {
            dir.path.push(relative);
        }
        Ok(Cgroup { mode, dirs })
    }

    /// Refuses directories that hold tasks, in themselves or below. Asked before anything is recorded: what was
    /// refused must never be cleaned up, for that would kill tasks that are not the container's.
    pub fn refuse_used(&self) -> Result<()> {
        for dir in &self.dirs {
            let context = || format!("create cgroup {}", dir.path.display());
            for path in tree(&dir.path)? {
                if !read_pids(&path).with_context(context)?.is_empty() {
                    return Err(Error::invalid("container's cgroup is not empty")).with_context(context);
                }
            }
        }
        Ok(())
    }

    /// Makes the directories. They must not be frozen.
    pub fn create(&self) -> Result<()> {
        for dir in &self.dirs {
            let context = || format!("create cgroup {}", dir.path.display());
            if dir.unified && self.mode == Mode::V2 {
                v2::enable_controllers(dir).with_context(context)?;
            }
            std::fs::create_dir_all(&dir.path).with_context(context)?;
            if dir.has("cpuset") && !dir.unified {
                v1::inherit_cpuset(dir).with_context(context)?;
            }
        }
        if self.is_frozen()? {
            return Err(Error::invalid("container's cgroup unexpectedly frozen"));
        }
        Ok(())
    }

    /// Sets limits and device access.
    pub fn apply(&self, resources: &Resources) -> Result<()> {
        let writes = match self.mode {
            Mode::V1 => resources::resolve_v1(resources)?,
            Mode::V2 => resources::resolve_v2(resources)?,
        };
        for write in &writes {
            self.write(write)?;
        }
        let rules = resources::device_rules(&resources.devices)?;
        match self.mode {
            Mode::V1 => self.with("devices").map_or(Ok(()), |dir| v1::set_devices(dir, &rules)),
            Mode::V2 => self.dirs.first().map_or(Ok(()), |dir| v2::set_devices(dir, &rules)),
        }
    }

    fn write(&self, write: &Write) -> Result<()> {
        let missing = || {
            let message = format!("{}: no {} controller on this host", write.field, write.controller);
            Error::new(Kind::Unsupported, message)
        };
        let dir = match self.mode {
            Mode::V1 => self.with(write.controller).ok_or_else(missing)?,
            Mode::V2 => self.dirs.first().ok_or_else(missing)?,
        };
        let path = write.files.iter().map(|file| dir.path.join(file)).find(|path| path.exists());
        match path {
            Some(path) => write_file(&path, &write.value).with_context(|| write.field.clone()),
            None if write.optional => Ok(()),
            None => Err(missing()),
        }
    }

    fn with(&self, controller: &str) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.has(controller))
    }

    /// Moves a process into all of them.
    pub fn join(&self, pid: i32) -> Result<()> {
        for dir in &self.dirs {
            write_file(&dir.path.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// All processes in them and below, as the runtime's PID namespace numbers them.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let Some(dir) = self.dirs.first() else { return Ok(Vec::new()) };
        let mut pids = Vec::new();
        for path in tree(&dir.path)? {
            pids.extend(read_pids(&path).with_context(|| format!("read tasks of {}", path.display()))?);
        }
        pids.sort_unstable();
        Ok(pids)
    }

    /// Sends a signal to every process in them. SIGKILL is made final: a frozen cgroup is thawed, and
    /// processes that are being forked meanwhile are found.
    pub fn kill(&self, signal: nix::sys::signal::Signal) -> Result<()> {
        let final_kill = signal == nix::sys::signal::Signal::SIGKILL;
        let unified = self.dirs.iter().find(|dir| dir.unified).map(|dir| dir.path.join("cgroup.kill"));
        if let (true, Some(path)) = (final_kill, unified.filter(|path| path.exists())) {
            write_file(&path, "1")?;
        }
        for pid in self.pids()? {
            match nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(errno) => return Err(errno).with_context(|| format!("kill process {pid}")),
            }
        }
        if final_kill { self.freeze(false) } else { Ok(()) }
    }

    /// Freezes or thaws, and waits until it is so.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        match self.freezer() {
            Some(dir) if dir.unified => v2::freeze(dir, frozen),
            Some(dir) if dir.path.exists() => v1::freeze(dir, frozen),
            _ => Ok(()),
        }
    }

    /// Whether they are frozen.
    pub fn is_frozen(&self) -> Result<bool> {
        match self.freezer() {
            Some(dir) if dir.unified => v2::is_frozen(dir),
            Some(dir) => v1::is_frozen(dir),
            None => Ok(false),
        }
    }

    fn freezer(&self) -> Option<&Dir> {
        self.with("freezer").or_else(|| self.dirs.iter().find(|dir| dir.unified))
    }

    /// Removes the directories and those that the container made below them. What is gone is fine.
    pub fn remove(&self) -> Result<()> {
        let deadline = Instant::now() + LEAVE_DEADLINE;
        for dir in &self.dirs {
            for path in tree(&dir.path)?.iter().rev() {
                remove_one(path, deadline).with_context(|| format!("remove cgroup {}", path.display()))?;
            }
        }
        Ok(())
    }
}

/// rmdir(2) of a cgroup is EBUSY until its last task has been reaped by the kernel, which nothing announces
/// on v1: so it is asked again, at growing intervals.
fn remove_one(path: &Path, deadline: Instant) -> Result<()> {
    let mut pause = Duration::from_micros(200);
    loop {
        match std::fs::remove_dir(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) if e.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            other => return Ok(other?),
        }
    }
}

/// A directory and all below it, parents first; empty when it is not there.
fn tree(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("read {}", path.display()))?,
    };
    let mut result = vec![path.to_owned()];
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            result.extend(tree(&entry.path())?);
        }
    }
    Ok(result)
}

fn read_pids(dir: &Path) -> Result<Vec<i32>> {
    let text = match std::fs::read_to_string(dir.join("cgroup.procs")) {
        Err(e) if e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(libc::ENODEV) => {
            return Ok(Vec::new());
        }
        // A threaded cgroup lists no processes; its domain, above it, does.
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(Vec::new()),
        other => other?,
    };
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

fn write_file(path: &Path, value: &str) -> Result<()> {
    // No O_CREAT: in a cgroup there is either the kernel's file or none.
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
        std::io::Write::write_all(&mut file, value.as_bytes())
    };
    write().with_context(|| format!("write {value:?} to {}", path.display()))
}

fn check_path(path: &str) -> Result<&Path> {
    let refuse = |why: &str| Err(Error::invalid(format!("linux.cgroupsPath: {path:?} {why}")));
    if path.len() > 4000 || path.contains('\0') {
        return refuse("is not a path");
    }
    if path.split('/').any(|part| part == "..") {
        return refuse("must not hold \"..\"");
    }
    let relative = path.trim_start_matches('/');
    if relative.split('/').all(|part| matches!(part, "" | ".")) {
        return refuse("is the root of the hierarchy");
    }
    Ok(Path::new(relative))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_hierarchy() {
        for good in ["/a/b", "a", "a.slice"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in ["/a/../../x", "..", "/", "//.", "a\0b", &"x".repeat(5000)] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_are_in_force_and_nothing_is_left_behind() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let id = format!("wharf-unit-{}", std::process::id());
        let cgroup = Cgroup::resolve("", &id).unwrap();
        cgroup.create().unwrap();
        let pids = crate::spec::Pids { limit: Some(7) };
        cgroup.apply(&Resources { pids: Some(pids), ..Default::default() }).unwrap();
        let dir = cgroup.with("pids").or(cgroup.dirs.first()).unwrap().path.clone();
        assert_eq!(std::fs::read_to_string(dir.join("pids.max")).unwrap(), "7\n");
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        cgroup.join(child.id() as i32).unwrap();
        assert_eq!(cgroup.pids().unwrap(), [child.id() as i32]);
        cgroup.freeze(true).unwrap();
        assert!(cgroup.is_frozen().unwrap());
        cgroup.kill(nix::sys::signal::Signal::SIGKILL).unwrap();
        child.wait().unwrap();
        cgroup.remove().unwrap();
        assert!(!dir.exists());
        cgroup.remove().unwrap();
    }
}
