//! `state`: the OCI state, with what runc adds.

use serde::Serialize;

use super::{open, print_json};
use crate::cli::Globals;
use crate::container::Container;
use crate::container::record::Record;
use crate::container::status;
use crate::error::Result;
use crate::spec::state::{State, Status};

/// What `state` and `list --format json` print.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// The specification's part.
    #[serde(flatten)]
    pub state: State,
    /// Absolute path of the root file system.
    pub rootfs: std::path::PathBuf,
    /// RFC 3339.
    pub created: String,
    /// Kept for runc's sake; always empty, as there.
    pub owner: String,
}

/// Puts it together.
pub fn show(container: &Container, record: &Record) -> Shown {
    let status = status::derive(&container.dir, record);
    let pid = record.init.filter(|_| status != Status::Stopped).map_or(0, |init| init.pid);
    Shown {
        state: record.state(status, pid),
        rootfs: record.rootfs.clone(),
        created: record.created.clone(),
        owner: String::new(),
    }
}

/// The verb.
pub fn state(globals: &Globals, id: &str) -> Result<()> {
    let (container, record) = open(globals, id)?;
    print_json(&show(&container, &record))
}
