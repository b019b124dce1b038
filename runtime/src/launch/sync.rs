//! The dialogue between the runtime and the process it makes, over one pair of sequenced-packet sockets.
//!
//! ```text
//! runtime                        intermediate (only if something must be joined)     init
//!    │ ──────────── clone ───────────▶ │
//!    │                                 │ setns …, clone(CLONE_PARENT) ────────────────▶ │
//!    │ ◀─────────── Spawned(pid) ───── │                                                │ (waits)
//!    │   cgroup, id maps                                                                │
//!    │ ──────────── Mapped ───────────────────────────────────────────────────────────▶ │ mounts, devices
//!    │ ◀─────────── RunHooks ────────────────────────────────────────────────────────── │
//!    │   prestart, createRuntime                                                        │
//!    │ ──────────── HooksDone ────────────────────────────────────────────────────────▶ │ pivot, identity
//!    │ ◀─────────── Ready ───────────────────────────────────────────────────────────── │
//!    │   save the record                                                                │
//!    │ ──────────── Release ──────────────────────────────────────────────────────────▶ │ parks
//! ```
//!
//! With a seccomp agent, Listener and ListenerTaken come before Ready. From Listener on the child is under its
//! filter, so the dialogue is held by read(2) and write(2) alone, which every program needs.
//!
//! `exec` skips RunHooks, HooksDone, Ready and Release: its last word is Executes, and the end of file after that is
//! the execve. At any point the child may send Failed instead, and is gone.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::error::{Context, Error, Kind, Result};
use crate::sys::again::again;

/// What can be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Intermediate to runtime: init has this PID.
    Spawned(i32),
    /// Runtime to init: you are in your cgroup and your ids are mapped.
    Mapped,
    /// Init to runtime: run the hooks that belong in your namespaces.
    RunHooks,
    /// Runtime to init: done.
    HooksDone,
    /// Init to runtime: nothing can fail any more but the program itself.
    Ready,
    /// Runtime to init: the record is saved, you no longer depend on me.
    Release,
    /// Child to runtime: the filter is on me, and this descriptor of mine is its listener.
    Listener(i32),
    /// Runtime to child: the agent has it.
    ListenerTaken,
    /// Init to runtime: give the detached tree of mounts, a descriptor of mine, the id mapping of this user
    /// namespace, another one.
    MapIds {
        /// The tree.
        tree: i32,
        /// The user namespace.
        namespace: i32,
        /// All mounts of it.
        recursive: bool,
    },
    /// Runtime to init: done.
    IdsMapped,
    /// A process that enters a container to the runtime: nothing is left to do but execve.
    Executes,
    /// Child to runtime: this went wrong.
    Failed(Error),
}

/// Longer error texts are cut; a packet is never split.
pub(crate) const MAX_PACKET: usize = 16 * 1024;

/// One end; none once the dialogue is over.
#[derive(Debug)]
pub struct Sync(Option<OwnedFd>);

/// Makes both ends.
pub fn pair() -> Result<(Sync, Sync)> {
    let (a, b) = again(|| {
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
    })
    .context("create socket pair")?;
    Ok((Sync(Some(a)), Sync(Some(b))))
}

impl Sync {
    /// Whether there is something to receive, a message or the end.
    pub fn has_word(&self) -> Result<bool> {
        let mut wanted =
            [PollFd::from_borrowed_fd(self.descriptor().context("look for a message")?, PollFlags::IN)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        Ok(again(|| rustix::event::poll(&mut wanted, Some(&at_once))).context("look for a message")? > 0)
    }

    /// Ends the dialogue.
    pub fn end(&mut self) {
        self.0 = None;
    }

    /// The descriptor, unless the dialogue is over.
    pub fn descriptor(&self) -> rustix::io::Result<BorrowedFd<'_>> {
        self.0.as_ref().map(OwnedFd::as_fd).ok_or(rustix::io::Errno::BADF)
    }

    /// Sends one message.
    pub fn send(&self, message: &Message) -> Result<()> {
        let mut packet = encode(message);
        packet.truncate(MAX_PACKET);
        // A closed socket is an error, or the end of a child that has its signals reset for execve already.
        let sent = self.descriptor().and_then(|socket| again(|| rustix::io::write(socket, &packet)));
        sent.context("talk to the other process")?;
        Ok(())
    }

    /// Receives one message; `None` when the other end is closed.
    pub fn receive(&self) -> Result<Option<Message>> {
        // Not zeroed before: nearly every message is a byte, and each page of zeros is one that init copies.
        let mut packet = Vec::with_capacity(MAX_PACKET);
        loop {
            match self.descriptor().and_then(|socket| {
                again(|| rustix::io::read(socket, rustix::buffer::spare_capacity(&mut packet)))
            }) {
                Ok(0) => return Ok(None),
                Ok(_) => return decode(&packet).map(Some),
                // It was closed with words of ours unread. That is said once, and before what the other one said last.
                Err(rustix::io::Errno::CONNRESET) => {}
                Err(errno) => return Err(errno).context("listen to the other process"),
            }
        }
    }

    /// Waits for exactly `expected`; the other end's closing is an error.
    pub fn wait_for(&self, expected: &Message) -> Result<()> {
        match self.receive()? {
            Some(message) if message == *expected => Ok(()),
            Some(other) => Err(Error::new(Kind::System, format!("runtime said {other:?}, not {expected:?}"))),
            None => Err(Error::new(Kind::System, "the runtime is gone")),
        }
    }
}

pub(crate) fn encode(message: &Message) -> Vec<u8> {
    match message {
        Message::Spawned(pid) => [&b"S"[..], &pid.to_ne_bytes()].concat(),
        Message::Mapped => b"M".to_vec(),
        Message::RunHooks => b"H".to_vec(),
        Message::HooksDone => b"D".to_vec(),
        Message::Ready => b"R".to_vec(),
        Message::Release => b"L".to_vec(),
        Message::Listener(fd) => [&b"N"[..], &fd.to_ne_bytes()].concat(),
        Message::ListenerTaken => b"T".to_vec(),
        Message::MapIds { tree, namespace, recursive } => {
            [&b"I"[..], &tree.to_ne_bytes(), &namespace.to_ne_bytes(), &[u8::from(*recursive)]].concat()
        }
        Message::IdsMapped => b"J".to_vec(),
        Message::Executes => b"X".to_vec(),
        Message::Failed(error) => [&b"F"[..], &error.encode()].concat(),
    }
}

pub(crate) fn decode(packet: &[u8]) -> Result<Message> {
    let unknown = || Error::new(Kind::System, "unknown message");
    let (tag, rest) = packet.split_first().ok_or_else(unknown)?;
    let number = |bytes: &[u8]| bytes.try_into().map(i32::from_ne_bytes).map_err(|_| unknown());
    Ok(match tag {
        b'S' => Message::Spawned(number(rest)?),
        b'M' => Message::Mapped,
        b'H' => Message::RunHooks,
        b'D' => Message::HooksDone,
        b'R' => Message::Ready,
        b'L' => Message::Release,
        b'N' => Message::Listener(number(rest)?),
        b'I' => {
            let &[a, b, c, d, e, f, g, h, recursive] = rest else { return Err(unknown()) };
            Message::MapIds {
                tree: i32::from_ne_bytes([a, b, c, d]),
                namespace: i32::from_ne_bytes([e, f, g, h]),
                recursive: recursive != 0,
            }
        }
        b'J' => Message::IdsMapped,
        b'T' => Message::ListenerTaken,
        b'X' => Message::Executes,
        b'F' => Message::Failed(Error::decode(rest)),
        _ => return Err(unknown()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_sent_and_garbage_is_refused() {
        let map = Message::MapIds { tree: 7, namespace: 8, recursive: true };
        let all = [
            map,
            Message::Spawned(-7),
            Message::Mapped,
            Message::Ready,
            Message::Failed(Error::invalid("x: y")),
        ];
        for message in all {
            assert_eq!(decode(&encode(&message)).unwrap(), message);
        }
        for garbage in [&b""[..], b"S12", b"?"] {
            assert!(decode(garbage).is_err());
        }
    }

    #[test]
    fn last_word_of_one_who_did_not_listen_any_more_arrives() {
        let (ours, theirs) = pair().unwrap();
        ours.send(&Message::Mapped).unwrap();
        let last = Message::Failed(Error::invalid("x: y"));
        theirs.send(&last).unwrap();
        drop(theirs);
        assert_eq!(ours.receive().unwrap(), Some(last));
        assert_eq!(ours.receive().unwrap(), None);
    }
}
