//! Sweeps: the runtime is stopped at every system call of every process that it starts, and there something is done
//! to it. Each sweep is one file; `tracer` stops and counts.
#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod deaths;
mod entering;
mod faults;
mod kill;
mod policy;
mod remains;
mod sample;
mod scarce;
mod scenario;
mod swap;
mod tracer;
mod tracing;
mod trial;
