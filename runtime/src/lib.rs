//! `wharf-runtime`: an OCI bundle in, a running container out.
//!
//! Data flows one way, and the folders are the layers:
//!
//! ```text
//! cli ─→ command ─→ spec ─→ plan ─→ launch ─→ init ─→ sys ─→ kernel
//! words   verbs    wishes  decisions parent   child  calls
//! ```

pub mod cgroup;
pub mod cli;
pub mod command;
pub mod container;
pub mod criu;
pub mod error;
pub mod hooks;
pub mod init;
pub mod launch;
pub mod log;
pub mod place;
pub mod plan;
pub mod rdt;
pub mod seal;
pub mod spec;
pub mod sys;
