//! `rm`: a container and all that is its own. What one step can't remove does not keep the others
//! from removing theirs.

use std::time::{Duration, Instant};

use super::kill::send;
use super::wait::wait_for;
use crate::container::record::Status;
use crate::container::store::Containers;
use crate::error::{Error, Kind, Result};
use crate::paths::Paths;
use crate::runtime::Runtime;
use crate::snapshot::Snapshots;

const AFTER_KILL: Duration = Duration::from_secs(10);

/// Removes a container; a running one only by force.
pub fn remove(paths: &Paths, query: &str, force: bool) -> Result<()> {
    let containers = Containers::open(paths);
    let container = containers.find(query)?;
    let id = container.record.id.clone();
    let running = matches!(container.status()?, Status::Running(_));
    if running && !force {
        return Err(Error::new(
            Kind::Conflict,
            format!(
                "cannot remove container \"{}\": container is running: \
                 stop the container before removing or force remove",
                container.record.name
            ),
        ));
    }
    if running {
        // It may end by itself in this moment; what counts is that it ends.
        let killed = send(paths, &container, "KILL");
        if wait_for(paths, &container, Some(Instant::now() + AFTER_KILL))?.is_none() {
            return killed.and(Err(Error::new(Kind::System, format!("remove {query}: it does not die"))));
        }
    } else if container.shim_is_alive()? {
        // Its shim is taking it down, or up.
        wait_for(paths, &container, Some(Instant::now() + AFTER_KILL))?;
    }
    if containers.load(&id).is_err() {
        return Ok(()); // started with --rm: the shim has done it
    }
    // A killed shim leaves the runtime's state and cgroup; for a live one's container this finds nothing.
    let deleted =
        if container.run_dir.is_dir() { Runtime::of(&container, paths).delete(true) } else { Ok(()) };
    let forgotten = Snapshots::open(paths).and_then(|snapshots| snapshots.remove(&id));
    deleted.and(forgotten)?;
    containers.remove(&container)
}
