//! `stop`: asks, waits, and then does not ask. Bounded whatever the container does.

use std::time::{Duration, Instant};

use super::kill::send;
use super::wait::wait_for;
use crate::container::record::Status;
use crate::container::store::Containers;
use crate::error::{Error, Kind, Result};
use crate::paths::Paths;

/// How long an unconditional kill may take to show.
const AFTER_KILL: Duration = Duration::from_secs(10);

/// Stops a container within `grace`, or kills it then. One that is over already is fine.
pub fn stop(paths: &Paths, query: &str, grace: Duration) -> Result<()> {
    let container = Containers::open(paths).find(query)?;
    if !matches!(container.status()?, Status::Running(_)) {
        return Ok(());
    }
    let asked = send(paths, &container, &container.record.stop_signal);
    if wait_for(paths, &container, Some(Instant::now() + grace))?.is_some() {
        return Ok(());
    }
    let killed = send(paths, &container, "KILL");
    match wait_for(paths, &container, Some(Instant::now() + AFTER_KILL))? {
        Some(_) => Ok(()),
        None => asked.and(killed).and(Err(Error::new(
            Kind::System,
            format!("stop {query}: still running {AFTER_KILL:?} after SIGKILL"),
        ))),
    }
}
