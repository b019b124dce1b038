//! `wharf-runtime`: an OCI bundle in, a running container out.
//!
//! Data flows one way, and the folders are the layers:
//!
//! ```text
//! cli ─→ command ─→ spec ─→ plan ─→ launch ─→ init ─→ sys ─→ kernel
//! words   verbs    wishes  decisions parent   child  calls
//! ```

pub mod error;
pub mod spec;
pub mod plan;
pub mod sys;
