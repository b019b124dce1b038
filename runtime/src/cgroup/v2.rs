//! What is peculiar to cgroup v2: controllers enabled from above, the device program, the freezer (kernel
//! Documentation/admin-guide/cgroup-v2.rst).

use std::path::Path;
use std::time::Duration;

use super::Dir;
use super::files::{read_file, write_file};
use crate::deadline::Deadline;
use crate::error::{Context, Error, Kind, Result};
use crate::plan::resources::devices::{Rule, program};
use crate::sys::again::sleep;
use crate::sys::files;

/// The controllers that a directory has.
pub(super) fn controllers(path: &Path) -> Vec<String> {
    let text = read_file(&path.join("cgroup.controllers")).ok().flatten().unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// Enables for the children of a directory every controller that it has itself, or this one alone.
pub(super) fn enable_controllers(path: &Path, only: Option<&str>) -> Result<()> {
    let file = path.join("cgroup.subtree_control");
    let Some(enabled) = read_file(&file)? else { return Ok(()) };
    let is_wanted = |c: &&String| {
        only.is_none_or(|only| only == c.as_str()) && !enabled.split_whitespace().any(|e| e == c.as_str())
    };
    for controller in controllers(path).iter().filter(is_wanted) {
        // One by one: a controller that can't be enabled here (cpu with real-time tasks about) must not
        // take the others with it. Whoever needs it hears that its file is missing.
        if let Err(error) = write_file(&file, &format!("+{controller}")) {
            log::debug!("{error}");
        }
    }
    Ok(())
}

/// Puts the program that decides on device access on the cgroup, in the place of one of ours before it.
pub(super) fn set_devices(dir: &Dir, rules: &[Rule]) -> Result<()> {
    let cgroup = files::open(&dir.path).context("open cgroup")?;
    crate::sys::bpf::attach_device_program(&cgroup, &program(rules)).context("attach program")
}

/// Freezes or thaws.
pub(super) fn freeze(dir: &Dir, frozen: bool) -> Result<()> {
    let path = dir.path.join("cgroup.freeze");
    if !files::exists(&path).on("look for", &path)? {
        return Ok(());
    }
    write_file(&path, if frozen { "1" } else { "0" })?;
    let deadline = Deadline::after(Duration::from_secs(10));
    while is_frozen(dir)? != frozen {
        if deadline.is_over() {
            write_file(&path, "0")?;
            return Err(Error::new(Kind::System, "cgroup does not freeze"));
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Whether its tasks are frozen, by its own switch or by one above.
pub(super) fn is_frozen(dir: &Dir) -> Result<bool> {
    let events = read_file(&dir.path.join("cgroup.events"))?;
    Ok(events.is_some_and(|text| text.lines().any(|line| line == "frozen 1")))
}
