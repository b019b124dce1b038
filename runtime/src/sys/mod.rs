//! The only unsafe code: one wrapper for each system call that no library wraps safely, named as the kernel
//! names it.
//!
//! `RawFd` never leaves this module; what comes in is borrowed, what goes out is owned.
#![allow(unsafe_code, reason = "this module exists so that no other one needs it")]
#![allow(
    clippy::cast_possible_truncation,
    reason = "the kernel's own numbers: descriptors, PIDs, sizes of structs"
)]

pub mod affinity;
pub mod again;
pub mod bpf;
pub mod capabilities;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod early;
pub mod file;
pub mod files;
pub mod missing;
pub mod mount;
pub mod mountinfo;
pub mod network;
pub mod path;
pub mod process;
pub mod scheduling;
pub mod search;
pub mod seccomp;
pub mod spawn;
pub mod stream;
pub mod terminal;
