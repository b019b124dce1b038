//! `start`: let the parked init go on, then run the poststart hooks.

use std::os::fd::OwnedFd;

use super::delete::delete_container;
use super::open;
use crate::cli::Globals;
use crate::container::record::Record;
use crate::container::{Container, fifo, notify, status};
use crate::error::{Context, Error, Kind, Result};
use crate::hooks;
use crate::spec::state::Status;

/// The verb.
pub fn start(globals: &Globals, id: &str) -> Result<()> {
    let (container, record) = open(globals, id)?;
    start_container(&container, &record)
        .inspect_err(|error| {
            // "Stop the container, and continue the lifecycle at step 12", which is its end (runtime.md, "Lifecycle").
            let by_a_hook = error.pointer().is_some_and(|pointer| pointer.starts_with("/hooks/"));
            if by_a_hook && let Err(error) = delete_container(&container) {
                log::warn!("delete the container after a failed hook: {error}");
            }
        })
        .with_context(|| format!("start {id:?}"))
}

/// Starts a created container. After a failed hook it is for the caller to delete it.
pub fn start_container(container: &Container, record: &Record) -> Result<()> {
    require_created(container, record)?;
    let init = record.init.ok_or_else(|| Error::new(Kind::System, "no init"))?;
    match init.pin()? {
        Some(pidfd) => start_parked(container, record, &pidfd),
        None => Err(missed(container, record)),
    }
}

/// Starts one of which it is known that it was parked just now, because the caller has made it.
pub fn start_parked(container: &Container, record: &Record, pidfd: &OwnedFd) -> Result<()> {
    let init = record.init.ok_or_else(|| Error::new(Kind::System, "no init"))?;
    let claim = fifo::claim(&container.folder)?.ok_or_else(|| missed(container, record))?;
    let relay = notify::Relay::listen(&container.dir)?;
    if !claim.start()? {
        return Err(missed(container, record));
    }
    if let Some(relay) = relay {
        relay.run(init.pid, pidfd)?;
    }
    let Some(list) = record.config.hooks.as_ref().map(|hooks| &hooks.poststart) else { return Ok(()) };
    hooks::run("poststart", list, &record.state(Status::Running, init.pid))
}

/// Whatever it is that is parked no more, it is not created.
fn missed(container: &Container, record: &Record) -> Error {
    require_created(container, record).err().unwrap_or_else(already_running)
}

fn require_created(container: &Container, record: &Record) -> Result<()> {
    let message = match status::derive(container, record)? {
        Status::Created => return Ok(()),
        _ if !container.is_there()? => return Err(container.does_not_exist()),
        Status::Stopped => "cannot start a container that has stopped",
        Status::Creating => "cannot start a container that is being created",
        Status::Running | Status::Paused => return Err(already_running()),
    };
    Err(Error::new(Kind::WrongStatus, message))
}

fn already_running() -> Error {
    Error::new(Kind::WrongStatus, "cannot start an already running container")
}
