//! config.md: the configuration.

mod annotations;
pub mod capabilities;
mod hook_calls;
mod hooks;
mod idmap;
mod mounts;
mod options;
pub mod process;
mod recursive;
mod root;
mod values;

pub use hooks::{KINDS, Witness, hook, hooks_see_the_pid_of_their_own_namespace};
pub use mounts::mounts_inside;
pub use process::on_terminal;

use crate::requirement::Section;

/// The sections in order.
pub fn sections() -> Vec<&'static Section> {
    vec![
        &root::VERSION,
        &root::ROOT,
        &mounts::SECTION,
        &options::SECTION,
        &recursive::SECTION,
        &idmap::OPTIONS,
        &mounts::MORE_OPTIONS,
        &idmap::MAPPINGS,
        &process::SECTION,
        &process::LIMITS,
        &capabilities::SECTION,
        &process::USER,
        &process::PLATFORM,
        &hooks::SECTION,
        &hook_calls::PRESTART,
        &hook_calls::CREATE_RUNTIME,
        &hook_calls::CREATE_CONTAINER,
        &hook_calls::START_CONTAINER,
        &hook_calls::POSTSTART,
        &hook_calls::POSTSTOP,
        &annotations::SECTION,
        &values::EXTENSIBILITY,
        &values::VALID,
    ]
}
