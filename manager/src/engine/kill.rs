//! `kill`: a signal to a container's init, through the runtime; the shim is not needed for it.

use crate::container::record::Status;
use crate::container::store::{Container, Containers};
use crate::error::{Error, Kind, Result};
use crate::paths::Paths;
use crate::runtime::Runtime;

/// Sends a signal, by name or number.
pub fn kill(paths: &Paths, query: &str, signal: &str) -> Result<()> {
    let container = Containers::open(paths).find(query)?;
    if !matches!(container.status()?, Status::Running(_)) {
        let id = &container.record.id;
        return Err(Error::new(
            Kind::Conflict,
            format!("cannot kill container: {query}: container {id} is not running"),
        ));
    }
    send(paths, &container, signal)
}

/// Sends a signal to a container that is believed to run.
pub fn send(paths: &Paths, container: &Container, signal: &str) -> Result<()> {
    Runtime::of(container, paths)
        .with_log(container.run_dir.join(format!("kill-{}.log", std::process::id())))
        .kill(signal)
}
