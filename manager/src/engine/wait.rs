//! `wait`: blocks until a container is over and tells its code, from the shim's lips if it has one,
//! from the record otherwise.

use std::time::Instant;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Connection;
use crate::container::record::{Exit, Status};
use crate::container::store::{Container, Containers};
use crate::error::{Context, Kind, Result};
use crate::paths::Paths;
use crate::shim::control::Frame;
use crate::shim::{connect, unknown_exit, wait_readable};

/// The exit code of the container, once it is over.
pub fn wait(paths: &Paths, query: &str) -> Result<i32> {
    let container = Containers::open(paths).find(query)?;
    // Without a deadline there is always an end.
    Ok(wait_for(paths, &container, None)?.unwrap_or(255))
}

/// Waits for the end; `None` if the deadline comes first. When this returns a code, the shim has
/// taken down everything that the container used.
pub fn wait_for(paths: &Paths, container: &Container, deadline: Option<Instant>) -> Result<Option<i32>> {
    if let Some(stream) = connect(container)? {
        let mut connection = Connection::new(stream);
        connection.send(&Frame::Wait)?;
        loop {
            if let Some(Frame::Exited(code)) = connection.buffered()? {
                return Ok(Some(code));
            }
            if !wait_readable(connection.stream(), deadline)? {
                return Ok(None);
            }
            if !connection.fill()? {
                break;
            }
        }
    }
    without_shim(paths, container, deadline)
}

/// The shim is gone. Either it has said all in the exit record, or it was killed and the container's
/// init is ours to watch, though its code is lost.
fn without_shim(paths: &Paths, container: &Container, deadline: Option<Instant>) -> Result<Option<i32>> {
    match Containers::open(paths).load(&container.record.id) {
        Err(error) if error.kind() == Kind::NotFound => return Ok(Some(255)),
        other => other?,
    };
    let running = match container.status()? {
        Status::Created => return Ok(Some(0)),
        Status::Exited(Exit { code, .. }) => return save_if_missing(container).map(|()| Some(code)),
        Status::Running(running) => running,
    };
    if let Some(pid) = Pid::from_raw(running.pid) {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) if !wait_readable(&pidfd, deadline)? => return Ok(None),
            Ok(_) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).context("open pidfd"),
        }
    }
    save_if_missing(container)?;
    Ok(Some(container.exit()?.map_or(255, |exit| exit.code)))
}

fn save_if_missing(container: &Container) -> Result<()> {
    if container.exit()?.is_none() { container.save_exit(&unknown_exit()) } else { Ok(()) }
}
