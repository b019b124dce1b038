//! `wharf-runtime`: an OCI bundle in, a running container out.
//!
//! Data flows one way, and the folders are the layers:
//!
//! ```text
//! cli ─→ command ─→ spec ─→ plan ─→ launch ─→ init ─→ sys ─→ kernel
//! words   verbs    wishes  decisions parent   child  calls
//! ```

// What a config, a root file system or a file of the kernel holds must never end in a panic, which no `create` could
// undo anything after. So where a place in a list, a sum or a cut number could be out of range, the code says what
// happens then; `expect` with a reason stands where it can't.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::expect_used,
        clippy::get_unwrap,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::panic_in_result_fn,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_in_result
    )
)]

pub mod cgroup;
pub mod cli;
pub mod command;
pub mod container;
pub mod criu;
pub mod deadline;
pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
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
