//! `ps`: containers with their status as it is now.

use crate::container::record::Status;
use crate::container::store::{Container, Containers};
use crate::error::Result;
use crate::paths::Paths;

/// Running containers, or all; newest first.
pub fn list(paths: &Paths, all: bool) -> Result<Vec<(Container, Status)>> {
    let mut listed = Vec::new();
    for container in Containers::open(paths).all()? {
        let status = container.status()?;
        if all || matches!(status, Status::Running(_)) {
            listed.push((container, status));
        }
    }
    Ok(listed)
}
