//! Starts a created container: a shim is spawned with one end of a socket as its standard input, and
//! the first frame it sends says whether the container runs.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use super::Connection;
use crate::container::store::{Container, Containers};
use crate::error::{Context, Error, Kind, Result};
use crate::paths::Paths;
use crate::shim::control::Frame;
use crate::snapshot::Snapshots;

/// Starts it; the connection then carries its streams if it is in the foreground. On an error the
/// container is gone.
pub fn start(paths: &Paths, container: &Container) -> Result<Connection> {
    let what = "start the container's shim";
    let (ours, theirs) = UnixStream::pair().context(what)?;
    Command::new("/proc/self/exe")
        .args(["shim", &container.record.id])
        .env("WHARF_ROOT", &paths.data)
        .env("WHARF_RUN", &paths.run)
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context(what)?;
    let mut connection = Connection::new(ours);
    match connection.receive()? {
        Some(Frame::Started) => Ok(connection),
        Some(Frame::Failed(json)) => Err(super::failure(&json)),
        _ => {
            let error = Error::new(Kind::System, format!("{what}: it ended without an answer"));
            Snapshots::open(paths)?.remove(&container.record.id)?;
            Containers::open(paths).remove(container)?;
            Err(error)
        }
    }
}
