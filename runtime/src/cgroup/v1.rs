//! What is peculiar to cgroup v1: cpusets that start empty, device lists, the freezer (kernel
//! Documentation/admin-guide/cgroup-v1).

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Dir;
use super::files::{open_for_writing, read_file, write_file};
use super::make::levels;
use crate::deadline::Deadline;
use crate::error::{Context, Error, Kind, Result};
use crate::plan::resources::devices::{Exceptions, Rule};
use crate::sys::again::{again, sleep};
use crate::sys::files;

/// A new cpuset has no processors and no memory, so no task can enter it: each level takes its parent's.
pub(super) fn inherit_cpuset(dir: &Dir) -> Result<()> {
    for path in levels(dir) {
        let is_new = path == dir.path && dir.created.iter().any(|created| created == path);
        for name in ["cpuset.cpus", "cpuset.mems"] {
            let read = |dir: &Path| files::read_to_string(dir.join(name)).on("read", dir.join(name));
            let Some(parent) = path.parent() else { continue };
            if is_new || read(path)?.trim().is_empty() {
                write_file(&path.join(name), read(parent)?.trim())?;
            }
        }
    }
    Ok(())
}

/// Sets the default and the exceptions from it that the rules come to.
pub(super) fn set_devices(dir: &Dir, rules: &[Rule]) -> Result<()> {
    // Each file is opened once for all its lines: two system calls less for each of a dozen.
    let mut open: Option<(PathBuf, File)> = None;
    for (name, value) in Exceptions::follow(rules)?.writes() {
        let path = dir.path.join(name);
        let file = match open.take() {
            Some((before, file)) if before == path => file,
            _ => open_for_writing(&path)?,
        };
        again(|| (&file).write_all(value.as_bytes()))
            .with_context(|| format!("write {value:?} to {}", path.display()))?;
        open = Some((path, file));
    }
    Ok(())
}

/// Goes from some exceptions to others by what differs.
pub(super) fn change_devices(dir: &Dir, old: &Exceptions, new: &Exceptions) -> Result<()> {
    old.writes_to(new).iter().try_for_each(|(file, value)| write_file(&dir.path.join(file), value))
}

/// Freezes or thaws. A task that forks while the freezer walks its list can keep it FREEZING, and so can one
/// that waits in the kernel for another that is frozen already: then it is thawed for a moment and asked again.
pub(super) fn freeze(dir: &Dir, frozen: bool) -> Result<()> {
    let path = dir.path.join("freezer.state");
    let read = || files::read_to_string(&path).context("read freezer.state");
    if !frozen {
        write_file(&path, "THAWED")?;
        return match read()?.trim() {
            "THAWED" => Ok(()),
            _ => Err(Error::new(Kind::WrongStatus, "a cgroup above is frozen")),
        };
    }
    let deadline = Deadline::after(Duration::from_secs(10));
    for attempt in 1.. {
        write_file(&path, "FROZEN")?;
        let now = read()?;
        if now.trim() == "FROZEN" {
            return Ok(());
        }
        if attempt % 50 == 0 {
            write_file(&path, "THAWED")?;
        }
        if deadline.is_over() {
            write_file(&path, "THAWED")?;
            return Err(Error::new(Kind::System, format!("freezer stays {}", now.trim())));
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Whether its tasks are frozen or on the way there, by its own switch or by one above.
pub(super) fn is_frozen(dir: &Dir) -> Result<bool> {
    Ok(read_file(&dir.path.join("freezer.state"))?.is_some_and(|state| state != "THAWED"))
}
