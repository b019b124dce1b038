//! `pause` and `resume`: the freezer.

use super::{open, or_gone};
use crate::cli::Globals;
use crate::container::record::{Identity, Record};
use crate::container::{Container, not_running, status};
use crate::error::{Context, Error, Kind, Result};
use crate::spec::state::Status;

/// Freezes all processes of a container.
pub fn pause(globals: &Globals, id: &str) -> Result<()> {
    let (container, record) = open(globals, id)?;
    or_gone(&container, &record, freeze(&container, &record)).with_context(|| format!("pause {id:?}"))
}

fn freeze(container: &Container, record: &Record) -> Result<()> {
    let _lock = container.lock()?;
    match status::derive(container, record)? {
        Status::Running | Status::Created if record.cgroup.can_freeze() => {}
        Status::Running | Status::Created => {
            let message = "the container has no cgroup that it could be frozen by";
            return Err(Error::new(Kind::Unsupported, message));
        }
        Status::Paused => {
            return Err(Error::new(Kind::WrongStatus, "container not running but paused already"));
        }
        _ => return Err(not_running()),
    }
    record.cgroup.freeze(true)?;
    // Killed just now, it would on cgroup v1 not die before it is thawed.
    if record.init.map_or(Ok(false), Identity::is_killed)? {
        record.cgroup.freeze(false)?;
        return Err(not_running());
    }
    Ok(())
}

/// Thaws them.
pub fn resume(globals: &Globals, id: &str) -> Result<()> {
    let (container, record) = open(globals, id)?;
    or_gone(&container, &record, thaw(&container, &record)).with_context(|| format!("resume {id:?}"))
}

fn thaw(container: &Container, record: &Record) -> Result<()> {
    let _lock = container.lock()?;
    if !record.cgroup.is_frozen()? {
        return Err(Error::new(Kind::WrongStatus, "container not paused"));
    }
    record.cgroup.freeze(false)
}
