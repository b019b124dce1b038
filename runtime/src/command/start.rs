//! `start`: let the parked init go on, then run the poststart hooks.

use super::open;
use crate::cli::Globals;
use crate::container::record::Record;
use crate::container::{Container, fifo, status};
use crate::error::{Context, Error, Kind, Result};
use crate::hooks;
use crate::spec::state::Status;

/// The verb.
pub fn start(globals: &Globals, id: &str) -> Result<()> {
    let (container, record) = open(globals, id)?;
    start_container(&container, &record).with_context(|| format!("start {id:?}"))
}

/// Starts a created container.
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
    fifo::start(&container.dir)?;
    let Some(list) = record.config.hooks.as_ref().map(|hooks| &hooks.poststart) else { return Ok(()) };
    let pid = record.init.map_or(0, |init| init.pid);
    hooks::run("poststart", list, &record.state(Status::Running, pid)).inspect_err(|_| {
        // A failed poststart hook stops the container (runtime.md, "Lifecycle", 10).
        if let Err(error) = record.cgroup.kill(nix::sys::signal::Signal::SIGKILL) {
            log::warn!("stop the container after a failed hook: {error}");
        }
    })
}
