//! Sockets of the caller that receive a descriptor: the console socket (runc's `docs/terminals.md`), the pidfd
//! socket, and the seccomp agent's (config-linux.md, "listenerPath").

use std::io::{IoSlice, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::error::{Context, Result};
use crate::sys::again::again;
use crate::sys::stream::Stream;

/// Connects to the socket at `path`, however long the path is: sun_path holds 108 bytes, a descriptor's
/// name in /proc fits. `what` is named in the error.
pub fn connect(what: &str, path: &Path) -> Result<OwnedFd> {
    let open = || -> std::io::Result<UnixStream> {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let file = again(|| rustix::fs::open(path, flags, rustix::fs::Mode::empty()))?;
        again(|| UnixStream::connect(format!("/proc/self/fd/{}", file.as_raw_fd())))
    };
    Ok(open().on(&format!("connect to {what}"), path)?.into())
}

/// Sends a descriptor over the socket, with `payload`; the descriptor goes with the first byte.
pub fn send(socket: &OwnedFd, fd: impl AsFd, payload: &[u8]) -> Result<()> {
    let fds = [fd.as_fd().as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let sent = again(|| {
        sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(payload)], &rights, MsgFlags::MSG_NOSIGNAL, None)
    })
    .context("send a descriptor")?;
    Stream(socket).write_all(payload.get(sent..).unwrap_or_default()).context("send a descriptor's name")
}
