//! `exec`: another process in a running container. The shim starts and supervises it, so its exit
//! code is known whatever becomes of the client.

use super::Connection;
use crate::container::record::Status;
use crate::container::store::Containers;
use crate::error::{Context, Error, Kind, Result};
use crate::paths::Paths;
use crate::shim::connect;
use crate::shim::control::{ExecRequest, Frame};

/// Starts the process; the connection then carries its streams and its exit code.
pub fn exec(paths: &Paths, query: &str, request: &ExecRequest) -> Result<Connection> {
    let container = Containers::open(paths).find(query)?;
    let id = &container.record.id;
    if !matches!(container.status()?, Status::Running(_)) {
        return Err(Error::new(Kind::Conflict, format!("container {id} is not running")));
    }
    let gone = || Error::new(Kind::System, format!("exec in {query}: the container's shim is gone"));
    let mut connection = Connection::new(connect(&container)?.ok_or_else(gone)?);
    connection.send(&Frame::Exec(serde_json::to_vec(request).context("encode the exec request")?))?;
    match connection.receive()? {
        Some(Frame::Started) => Ok(connection),
        Some(Frame::Failed(json)) => Err(super::failure(&json)),
        Some(Frame::Exited(_)) => Err(Error::new(Kind::Conflict, format!("container {id} is not running"))),
        _ => Err(gone()),
    }
}
