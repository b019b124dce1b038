//! What is peculiar to cgroup v2: controllers enabled from above, the device program, the freezer (kernel
//! Documentation/admin-guide/cgroup-v2.rst).

use std::fs::File;
use std::time::{Duration, Instant};

use super::{Dir, write_file};
use crate::error::{Context, Error, Kind, Result};
use crate::plan::resources::{Rule, device_program};

/// Enables every controller that there is on each level above the container's.
pub(super) fn enable_controllers(dir: &Dir) -> Result<()> {
    let above: Vec<_> = dir.path.ancestors().skip(1).collect();
    let levels = above.iter().rev().filter(|path| path.starts_with(&dir.mount_point));
    for path in levels {
        std::fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
        let available =
            std::fs::read_to_string(path.join("cgroup.controllers")).context("read cgroup.controllers")?;
        let file = path.join("cgroup.subtree_control");
        for controller in available.split_whitespace() {
            // One by one: a controller that can't be enabled here (cpu with real-time tasks about) must not
            // take the others with it. Whoever needs it hears that its file is missing.
            if let Err(error) = write_file(&file, &format!("+{controller}")) {
                log::debug!("{error}");
            }
        }
    }
    Ok(())
}

/// Puts the program that decides on device access on the cgroup, in the place of one of ours before it.
pub(super) fn set_devices(dir: &Dir, rules: &[Rule]) -> Result<()> {
    let program = device_program(rules);
    let cgroup = File::open(&dir.path).context("open cgroup")?;
    crate::sys::bpf::attach_device_program(&cgroup, &program)
        .context("linux.resources.devices: attach program")
}

/// Freezes or thaws.
pub(super) fn freeze(dir: &Dir, frozen: bool) -> Result<()> {
    let path = dir.path.join("cgroup.freeze");
    if !path.exists() {
        return Ok(());
    }
    write_file(&path, if frozen { "1" } else { "0" })?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while is_frozen(dir)? != frozen {
        if Instant::now() > deadline {
            write_file(&path, "0")?;
            return Err(Error::new(Kind::System, "cgroup does not freeze"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Whether its tasks are frozen.
pub(super) fn is_frozen(dir: &Dir) -> Result<bool> {
    match std::fs::read_to_string(dir.path.join("cgroup.events")) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        other => Ok(other.context("read cgroup.events")?.lines().any(|line| line == "frozen 1")),
    }
}
