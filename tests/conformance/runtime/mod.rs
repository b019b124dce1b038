//! runtime.md and runtime-linux.md: state, life cycle, operations.

mod errors;
mod hooks;
mod linux;
mod operations;
mod properties;
mod state;

pub use operations::start_without_a_process_is_an_error;

use crate::requirement::Section;

/// The sections in order.
pub fn sections() -> Vec<&'static Section> {
    vec![
        &state::SCOPE,
        &state::SECTION,
        &hooks::LIFECYCLE,
        &errors::ERRORS,
        &errors::WARNINGS,
        &operations::OPERATIONS,
        &operations::STATE,
        &operations::CREATE,
        &operations::START,
        &operations::KILL,
        &operations::DELETE,
        &linux::DESCRIPTORS,
        &linux::LINKS,
    ]
}
