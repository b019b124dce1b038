//! The runtime's suite: each test runs the real binary on a real bundle and looks from inside the container.
//! `RUNTIME=runc` runs it on a reference; tests of what only we do are left out there.

#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod errors;
mod exec;
mod filesystem;
mod hooks;
mod lifecycle;
mod process;
mod resources;
mod same_view;
mod seccomp;
mod users;
