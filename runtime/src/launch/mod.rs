//! The parent's side of making a process in namespaces: clone it, give it what only the parent can give, and
//! follow it until it is ready.
//!
//! Init dies with the runtime until `create` has returned: it has a parent-death signal, it sees the end of
//! the dialogue's socket, and [`Init`] kills it when dropped.

pub mod host;
pub mod idmap;
pub mod locate;
pub mod network;
pub mod preview;
pub mod program;
pub mod socket;
pub mod sources;
pub mod spawn;
pub mod sync;

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, Signal, WaitId, WaitIdOptions};

use crate::error::{Context, Error, Kind, Result};
use crate::sys::again::again;
use sync::{Message, Sync};

/// How long a process may take from closing its end of the dialogue to being dead.
const LAST_MOMENT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// A process of the container that this runtime process is the parent of.
#[derive(Debug)]
pub struct Init {
    /// PID in our namespace.
    pub pid: i32,
    /// Refers to it for good.
    pub pidfd: OwnedFd,
    /// Whether it was born in the control group of the unified hierarchy that it was to be born in.
    pub born_inside: bool,
    sync: Sync,
    released: bool,
}

impl Init {
    /// Follows `pid`, a child of ours that was not waited for yet, at the other end of `sync`.
    pub fn adopt(pid: i32, sync: Sync) -> Result<Init> {
        let number =
            rustix::process::Pid::from_raw(pid).ok_or_else(|| Error::new(Kind::System, "no child"))?;
        let pidfd =
            again(|| rustix::process::pidfd_open(number, PidfdFlags::empty())).context("open pidfd")?;
        Ok(Init { pid, pidfd, born_inside: false, sync, released: false })
    }

    /// Sends a message.
    pub fn tell(&mut self, message: &Message) -> Result<()> {
        match self.sync.send(message) {
            Ok(()) => Ok(()),
            Err(error) if !matches!(error.errno(), Some(libc::EPIPE | libc::ECONNRESET)) => {
                Err(error.prefixed(format_args!("tell init: {message:?}")))
            }
            // Nobody is there any more; it may have said why.
            Err(error) => match self.sync.receive() {
                Ok(Some(Message::Failed(said))) => Err(in_init(said)),
                _ => Err(self.explain(error)),
            },
        }
    }

    /// Waits for exactly `expected`; whatever else comes is an error, the child's own if it sent one.
    pub fn wait_for(&mut self, expected: &Message) -> Result<()> {
        match self.sync.receive() {
            Ok(Some(message)) if message == *expected => Ok(()),
            Ok(Some(Message::Failed(error))) => Err(in_init(error)),
            Ok(Some(other)) => Err(unexpected(&other, expected)),
            Ok(None) => Err(self.explain(Error::new(Kind::System, "init ended without a word"))),
            Err(error) => Err(error),
        }
    }

    /// Waits until init wants its hooks run, and does for it until then what its user namespace may not.
    pub fn wait_for_mounts(&mut self) -> Result<()> {
        loop {
            match self.sync.receive()? {
                Some(Message::RunHooks) => return Ok(()),
                Some(Message::MapIds { tree, namespace, recursive }) => {
                    let take = |fd| {
                        again(|| rustix::process::pidfd_getfd(&self.pidfd, fd, PidfdGetfdFlags::empty()))
                            .context("take a mount source")
                    };
                    let (tree, namespace) = (take(tree)?, take(namespace)?);
                    idmap::map(tree, recursive, namespace).context("mount source")?;
                    self.tell(&Message::IdsMapped)?;
                }
                Some(Message::Failed(error)) => return Err(in_init(error)),
                Some(other) => return Err(unexpected(&other, "RunHooks")),
                None => return Err(self.explain(Error::new(Kind::System, "init ended without a word"))),
            }
        }
    }

    /// Waits until the child has executed the program: after its last word, its end of the dialogue closes by itself.
    /// An end without that word is the child's own.
    pub fn wait_for_execution(&mut self) -> Result<()> {
        let mut announced = false;
        loop {
            match self.sync.receive()? {
                Some(Message::Executes) if !announced => announced = true,
                None if announced => return Ok(()),
                None => {
                    return Err(self.explain(Error::new(Kind::System, "the process ended without a word")));
                }
                Some(Message::Failed(error)) => {
                    return Err(error.prefixed("unable to start container process"));
                }
                Some(other) => return Err(unexpected(&other, "Executes")),
            }
        }
    }

    /// Takes the descriptor by which a seccomp agent answers for the child (seccomp_unotify(2)), hands it to
    /// `take`, and lets the child go on.
    pub fn hand_over_listener(&mut self, take: impl FnOnce(OwnedFd) -> Result<()>) -> Result<()> {
        let number = match self.sync.receive()? {
            Some(Message::Listener(number)) => number,
            Some(Message::Failed(error)) => return Err(in_init(error)),
            other => return Err(unexpected(&other, "Listener")),
        };
        let listener = again(|| rustix::process::pidfd_getfd(&self.pidfd, number, PidfdGetfdFlags::empty()))
            .context("take the seccomp listener")?;
        take(listener)?;
        self.tell(&Message::ListenerTaken)
    }

    /// From here on it lives without us.
    pub fn release(&mut self) {
        self.released = true;
    }

    /// Whether it is dead, after a moment in which it may die if it is about to.
    pub fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        again(|| rustix::event::poll(&mut fds, Some(&LAST_MOMENT))).is_ok_and(|ready| ready > 0)
    }

    /// Adds how it died, if it died by a signal, to an error that says only that it is gone.
    ///
    /// Its end of the dialogue closes a moment before it can be waited for, but not always because it dies.
    fn explain(&mut self, error: Error) -> Error {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let status = match self.has_ended() {
            true => again(|| rustix::process::waitid(WaitId::PidFd(self.pidfd_ref()), options)),
            false => Ok(None),
        };
        match status.ok().flatten().and_then(|s| s.terminating_signal()) {
            Some(9) => {
                Error::new(Kind::System, "init was killed: out of memory? the memory limit may be too low")
            }
            Some(signal) => Error::new(Kind::System, format!("init died by signal {signal}")),
            None => error,
        }
    }

    fn pidfd_ref(&self) -> std::os::fd::BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// What init sent home, in the words of runc, by which users search.
fn in_init(error: Error) -> Error {
    error.prefixed("unable to start container process: error during container init")
}

fn unexpected(said: &impl std::fmt::Debug, expected: impl std::fmt::Debug) -> Error {
    Error::new(Kind::System, format!("init said {said:?}, not {expected:?}"))
}

impl Drop for Init {
    fn drop(&mut self) {
        if !self.released {
            // It is our own child and was not waited for, so both can fail only because it is gone already.
            again(|| rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL)).ok();
            again(|| rustix::process::waitid(WaitId::PidFd(self.pidfd_ref()), WaitIdOptions::EXITED)).ok();
        }
    }
}
