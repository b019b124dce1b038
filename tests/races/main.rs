//! Several commands at once, for one container and for many. Each may succeed or say why it can't; what it says must
//! be true, nothing may hang, nothing may be left, and where one can win, exactly one does.
//!
//! A race is not left to luck: [`order`] stops one command at a system call of its own, has the other run from end to
//! end, and lets the first go on. Ordinary test runs take some of those points, `WHARF_SWEEP=all` takes all of them.
#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod crowds;
mod descriptors;
mod foreground;
mod numbers;
mod order;
mod pairs;
mod program;
