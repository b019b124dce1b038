//! The runtime's suite: each test runs the real binary on a real bundle and looks from inside the container.
//! `RUNTIME=runc` runs it on a reference; tests of what only we do are left out there.

#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod apparmor;
mod binds;
mod checkpoint;
mod devices;
mod errors;
mod events;
mod exec;
mod extremes;
mod features;
mod filesystem;
mod golden;
mod hooks;
mod isolation;
mod lifecycle;
mod passing;
mod process;
mod records;
mod resources;
mod rootless;
mod same_view;
mod schema;
mod seccomp;
mod systemd;
mod unified;
mod update;
mod users;
mod validate;
mod zeros;
