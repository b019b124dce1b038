//! What is peculiar to cgroup v1: cpusets that start empty, device lists, the freezer (kernel
//! Documentation/admin-guide/cgroup-v1).

use std::time::{Duration, Instant};

use super::{Dir, write_file};
use crate::error::{Context, Error, Kind, Result};
use crate::plan::resources::Rule;

/// A new cpuset has no processors and no memory, so no task can enter it: each level takes its parent's.
pub(super) fn inherit_cpuset(dir: &Dir) -> Result<()> {
    let below: Vec<_> = dir.path.ancestors().take_while(|path| *path != dir.mount_point).collect();
    for path in below.iter().rev() {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let own = std::fs::read_to_string(path.join(file)).with_context(|| format!("read {file}"))?;
            let Some(parent) = path.parent().filter(|_| own.trim().is_empty()) else { continue };
            let value = std::fs::read_to_string(parent.join(file))
                .with_context(|| format!("read parent's {file}"))?;
            write_file(&path.join(file), value.trim())?;
        }
    }
    Ok(())
}

/// Denies all, then follows the rules in order: the kernel's lists are themselves such a history.
pub(super) fn set_devices(dir: &Dir, rules: &[Rule]) -> Result<()> {
    write_file(&dir.path.join("devices.deny"), "a")?;
    for rule in rules {
        let file = if rule.allow { "devices.allow" } else { "devices.deny" };
        // The kernel takes `a` as all devices, whatever follows it: a narrower rule is one for each kind.
        let narrow = rule.kind == 'a' && (rule.numbers != (None, None) || rule.access.len() < 3);
        let kinds: &[char] = if narrow { &['b', 'c'] } else { &[rule.kind] };
        for kind in kinds {
            let rule = Rule { kind: *kind, ..rule.clone() };
            write_file(&dir.path.join(file), &rule.to_string()).context("linux.resources.devices")?;
        }
    }
    Ok(())
}

/// Freezes or thaws. A task that forks while the freezer walks its list can keep it FREEZING: then it is
/// asked again.
pub(super) fn freeze(dir: &Dir, frozen: bool) -> Result<()> {
    let (path, wanted) = (dir.path.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" });
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        write_file(&path, wanted)?;
        let now = std::fs::read_to_string(&path).context("read freezer.state")?;
        if now.trim() == wanted {
            return Ok(());
        }
        if Instant::now() > deadline {
            write_file(&path, "THAWED")?;
            return Err(Error::new(Kind::System, format!("freezer stays {}", now.trim())));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether it is frozen by its own state, not by an ancestor's.
pub(super) fn is_frozen(dir: &Dir) -> Result<bool> {
    match std::fs::read_to_string(dir.path.join("freezer.self_freezing")) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        other => Ok(other.context("read freezer.self_freezing")?.trim() == "1"),
    }
}
