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
//!    │ ◀─────────── (end of file) ───────────────────────────────────────────────────── │
//! ```
//!
//! `exec` skips RunHooks, HooksDone, Ready and Release: its end of file is the execve. At any point the child
//! may send Failed instead, and is gone.

use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::error::{Context, Error, Kind, Result};

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
    /// Child to runtime: this went wrong.
    Failed(String),
}

/// Longer error texts are cut; a packet is never split.
const MAX_PACKET: usize = 16 * 1024;

/// One end.
#[derive(Debug)]
pub struct Sync(OwnedFd);

/// Makes both ends.
pub fn pair() -> Result<(Sync, Sync)> {
    let (a, b) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .context("create socket pair")?;
    Ok((Sync(a), Sync(b)))
}

impl Sync {
    /// A second descriptor of this end.
    pub fn duplicate(&self) -> Result<Sync> {
        Ok(Sync(self.0.try_clone()?))
    }

    /// Closes both directions for every holder of this end, so that the other side sees the end.
    pub fn close(&self) {
        // Fails only when the other end is gone already, which is what we want.
        rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both).ok();
    }

    /// Sends one message.
    pub fn send(&self, message: &Message) -> Result<()> {
        let mut packet = encode(message);
        packet.truncate(MAX_PACKET);
        rustix::net::send(&self.0, &packet, SendFlags::NOSIGNAL).context("talk to the other process")?;
        Ok(())
    }

    /// Receives one message; `None` when the other end is closed.
    pub fn receive(&self) -> Result<Option<Message>> {
        let mut packet = vec![0; MAX_PACKET];
        loop {
            match rustix::net::recv(&self.0, packet.as_mut_slice(), RecvFlags::empty()) {
                Ok((0, _)) | Err(rustix::io::Errno::CONNRESET) => return Ok(None),
                Ok((length, _)) => return decode(&packet[..length.min(MAX_PACKET)]).map(Some),
                Err(rustix::io::Errno::INTR) => {}
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

fn encode(message: &Message) -> Vec<u8> {
    match message {
        Message::Spawned(pid) => [&b"S"[..], &pid.to_ne_bytes()].concat(),
        Message::Mapped => b"M".to_vec(),
        Message::RunHooks => b"H".to_vec(),
        Message::HooksDone => b"D".to_vec(),
        Message::Ready => b"R".to_vec(),
        Message::Release => b"L".to_vec(),
        Message::Failed(text) => [b"F", text.as_bytes()].concat(),
    }
}

fn decode(packet: &[u8]) -> Result<Message> {
    let unknown = || Error::new(Kind::System, "unknown message");
    let (tag, rest) = packet.split_first().ok_or_else(unknown)?;
    Ok(match tag {
        b'S' => Message::Spawned(i32::from_ne_bytes(rest.try_into().map_err(|_| unknown())?)),
        b'M' => Message::Mapped,
        b'H' => Message::RunHooks,
        b'D' => Message::HooksDone,
        b'R' => Message::Ready,
        b'L' => Message::Release,
        b'F' => Message::Failed(String::from_utf8_lossy(rest).into_owned()),
        _ => return Err(unknown()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_sent_and_garbage_is_refused() {
        let all = [Message::Spawned(-7), Message::Mapped, Message::Ready, Message::Failed("x: y".into())];
        for message in all {
            assert_eq!(decode(&encode(&message)).unwrap(), message);
        }
        for garbage in [&b""[..], b"S12", b"?"] {
            assert!(decode(garbage).is_err());
        }
    }
}
