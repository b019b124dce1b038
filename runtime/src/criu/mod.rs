//! Checkpoint and restore: criu(8) does the work, we speak to it.
//!
//! `criu swrk` serves one request over a socket. That, and not criu's command line, is what this layer uses,
//! because over the socket criu tells of its progress and waits for our consent at each step: so hooks run at
//! the right moment, the record is written before the restored program runs, and a terminal's leader can be
//! handed over. The messages are Protocol Buffers; the few that are needed are encoded by hand.
//!
//! ```text
//! wire ─→ message ─→ service        bytes, the requests and answers, the dialogue
//! external                          what lies outside of a container, for criu's `--external`
//! stage                             the place where a container's root is put for a restore
//! ```

pub mod external;
pub mod message;
pub mod service;
pub mod stage;
pub mod wire;

/// The annotation that names a file of further options for criu; one that is empty says that there is none.
/// Such options can make criu run programs, so an engine must not let strangers set it.
pub const CONFIG_ANNOTATION: &str = "org.criu.config";

/// That file for containers without the annotation, if it is there.
pub const DEFAULT_CONFIG: &str = "/etc/criu/wharf-runtime.conf";
