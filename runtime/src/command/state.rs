//! `state`: the OCI state, with what runc adds.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::{open, print_json};
use crate::cli::Globals;
use crate::container::Container;
use crate::container::record::Record;
use crate::container::status;
use crate::error::Result;
use crate::spec::state::Status;

/// What `state` and `list --format json` print, in runc's order, which scripts have come to match.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown<'a> {
    /// Version of the specification.
    pub oci_version: &'a str,
    /// The container's ID.
    pub id: &'a str,
    /// Its init; 0 when it has ended.
    pub pid: i32,
    /// Where it is in its life.
    pub status: Status,
    /// Absolute path of the bundle.
    pub bundle: &'a Path,
    /// Absolute path of the root file system.
    pub rootfs: &'a Path,
    /// RFC 3339.
    pub created: &'a str,
    /// The config's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: &'a BTreeMap<String, String>,
    /// Who made it: in `list`; empty in `state`, as in runc.
    pub owner: String,
}

/// Puts it together.
pub fn show<'a>(container: &Container, record: &'a Record) -> Result<Shown<'a>> {
    let status = status::derive(container, record)?;
    Ok(Shown {
        oci_version: crate::spec::VERSION,
        id: &record.id,
        pid: record.init.filter(|_| status != Status::Stopped).map_or(0, |init| init.pid),
        status,
        bundle: &record.bundle,
        rootfs: &record.rootfs,
        created: &record.created,
        annotations: &record.config.annotations,
        owner: String::new(),
    })
}

/// The verb.
pub fn state(globals: &Globals, id: &str) -> Result<()> {
    let (container, record) = open(globals, id)?;
    print_json(&show(&container, &record)?)
}
