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
            if by_a_hook && let Err(error) = delete_container(&container, &record) {
                log::warn!("delete the container after a failed hook: {error}");
            }
        })
        .with_context(|| format!("start {id:?}"))
}

/// Starts a created container. After a failed hook it is for the caller to delete it.
pub fn start_container(container: &Container, record: &Record) -> Result<()> {
    match status::derive(&container.dir, record) {
        Status::Created => {}
        Status::Stopped => {
            return Err(Error::new(Kind::WrongStatus, "cannot start a container that has stopped"));
        }
        Status::Creating => {
            return Err(Error::new(Kind::WrongStatus, "cannot start a container that is being created"));
        }
        Status::Running | Status::Paused => {
            return Err(Error::new(Kind::WrongStatus, "cannot start an already running container"));
        }
    }
    let init = record.init.ok_or_else(|| Error::new(Kind::System, "no init"))?;
    start_parked(container, record, &init.open()?)
}

/// Starts one of which it is known that it is parked, because the caller has just made it.
pub fn start_parked(container: &Container, record: &Record, pidfd: &OwnedFd) -> Result<()> {
    let relay = notify::Relay::listen(&container.dir)?;
    let init = record.init.ok_or_else(|| Error::new(Kind::System, "no init"))?;
    fifo::start(&container.dir)?;
    if let Some(relay) = relay {
        relay.run(init.pid, pidfd)?;
    }
    let Some(list) = record.config.hooks.as_ref().map(|hooks| &hooks.poststart) else { return Ok(()) };
    hooks::run("poststart", list, &record.state(Status::Running, init.pid))
}
