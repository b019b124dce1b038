//! `pause` and `resume`: the freezer.

use super::open;
use crate::cli::Globals;
use crate::container::status;
use crate::error::{Context, Error, Kind, Result};
use crate::spec::state::Status;

/// Freezes all processes of a container.
pub fn pause(globals: &Globals, id: &str) -> Result<()> {
    let (container, record) = open(globals, id)?;
    match status::derive(&container.dir, &record) {
        Status::Running | Status::Created if !record.cgroup.can_freeze() => {
            let message = format!("pause {id:?}: the container has no cgroup that it could be frozen by");
            Err(Error::new(Kind::Unsupported, message))
        }
        Status::Running | Status::Created => {
            record.cgroup.freeze(true).with_context(|| format!("pause {id:?}"))
        }
        _ => Err(Error::new(Kind::WrongStatus, format!("pause {id:?}: container not running"))),
    }
}

/// Thaws them.
pub fn resume(globals: &Globals, id: &str) -> Result<()> {
    let (_, record) = open(globals, id)?;
    if record.cgroup.is_frozen()? {
        record.cgroup.freeze(false).with_context(|| format!("resume {id:?}"))
    } else {
        Err(Error::new(Kind::WrongStatus, format!("resume {id:?}: container not paused")))
    }
}
