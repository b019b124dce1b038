//! The state of a container as the specification draws it (runtime.md, "State"): what `state` prints and
//! what hooks read on standard input.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// `create` has not returned.
    Creating,
    /// The user's program has not been started.
    Created,
    /// It has.
    Running,
    /// Its processes are frozen (ours and runc's; not in the specification).
    Paused,
    /// Its init has ended.
    Stopped,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// The state document.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of the specification this document follows.
    pub oci_version: String,
    /// The container's ID.
    pub id: String,
    /// Where it is in its life.
    pub status: Status,
    /// Its init as the reader's PID namespace numbers it; 0 when there is none.
    pub pid: i32,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// From the config.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// What a seccomp agent receives beside the listener (config-linux.md, "The Container Process State").
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerProcessState<'a> {
    /// Version of the specification this document follows.
    pub oci_version: &'a str,
    /// Names of the descriptors that come with it.
    pub fds: [&'a str; 1],
    /// The process, as the runtime's PID namespace numbers it.
    pub pid: i32,
    /// `listenerMetadata`, as it is.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub metadata: &'a str,
    /// The container.
    pub state: State,
}
