//! The parent's side of making a process in namespaces: clone it, give it what only the parent can give, and
//! follow it until it is ready.
//!
//! Init dies with the runtime until `create` has returned: it has a parent-death signal, it sees the end of
//! the dialogue's socket, and [`Init`] kills it when dropped.

pub mod console;
pub mod idmap;
pub mod sources;
pub mod spawn;
pub mod sync;

use std::os::fd::OwnedFd;

use rustix::process::{PidfdFlags, Signal, WaitId, WaitIdOptions};

use crate::error::{Context, Error, Kind, Result};
use sync::{Message, Sync};

/// A process of the container that this runtime process is the parent of.
#[derive(Debug)]
pub struct Init {
    /// PID in our namespace.
    pub pid: i32,
    /// Refers to it for good.
    pub pidfd: OwnedFd,
    sync: Sync,
    released: bool,
}

impl Init {
    /// Follows `pid`, a child of ours that was not waited for yet, at the other end of `sync`.
    pub fn adopt(pid: i32, sync: Sync) -> Result<Init> {
        let number =
            rustix::process::Pid::from_raw(pid).ok_or_else(|| Error::new(Kind::System, "no child"))?;
        let pidfd = rustix::process::pidfd_open(number, PidfdFlags::empty()).context("open pidfd")?;
        Ok(Init { pid, pidfd, sync, released: false })
    }

    /// Sends a message.
    pub fn tell(&mut self, message: &Message) -> Result<()> {
        match self.sync.send(message) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Waits for exactly `expected`; whatever else comes is an error, the child's own if it sent one.
    pub fn wait_for(&mut self, expected: &Message) -> Result<()> {
        match self.sync.receive() {
            Ok(Some(message)) if message == *expected => Ok(()),
            Ok(Some(Message::Failed(text))) => Err(Error::new(Kind::System, text)),
            Ok(Some(other)) => {
                Err(Error::new(Kind::System, format!("init said {other:?}, not {expected:?}")))
            }
            Ok(None) => Err(self.explain(Error::new(Kind::System, "init ended without a word"))),
            Err(error) => Err(error),
        }
    }

    /// Waits until the child has executed the program: its end of the dialogue closes by itself.
    pub fn wait_for_execution(&mut self) -> Result<()> {
        match self.sync.receive()? {
            None => Ok(()),
            Some(Message::Failed(text)) => Err(Error::new(Kind::System, text)),
            Some(other) => Err(Error::new(Kind::System, format!("init said {other:?} instead of executing"))),
        }
    }

    /// From here on it lives without us.
    pub fn release(&mut self) {
        self.released = true;
    }

    /// Adds how it died, if it died by a signal, to an error that says only that it is gone.
    fn explain(&mut self, error: Error) -> Error {
        let status = rustix::process::waitid(
            WaitId::PidFd(self.pidfd_ref()),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        );
        match status.ok().flatten().and_then(|s| s.terminating_signal()) {
            Some(9) => {
                Error::new(Kind::System, "init was killed: out of memory? the memory limit may be too low")
            }
            Some(signal) => Error::new(Kind::System, format!("init died by signal {signal}")),
            None => error,
        }
    }

    fn pidfd_ref(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.pidfd)
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        if !self.released {
            // It is our own child and was not waited for, so both can fail only because it is gone already.
            rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL).ok();
            rustix::process::waitid(WaitId::PidFd(self.pidfd_ref()), WaitIdOptions::EXITED).ok();
        }
    }
}
