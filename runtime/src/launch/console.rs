//! The console socket: where the leader of the container's terminal is sent (runc's `docs/terminals.md`).

use std::io::IoSlice;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::error::{Context, Result};

/// Connects to the socket at `path`, however long the path is: sun_path holds 108 bytes, a descriptor's
/// name in /proc fits.
pub fn connect(path: &Path) -> Result<OwnedFd> {
    let open = || -> std::io::Result<UnixStream> {
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
        UnixStream::connect(format!("/proc/self/fd/{}", file.as_raw_fd()))
    };
    Ok(open().with_context(|| format!("connect to console socket {}", path.display()))?.into())
}

/// Sends the leader over the socket, with the name engines expect as payload.
pub fn send_leader(socket: &OwnedFd, leader: &OwnedFd) -> Result<()> {
    let fds = [leader.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let name = [IoSlice::new(b"/dev/ptmx")];
    sendmsg::<()>(socket.as_raw_fd(), &name, &rights, MsgFlags::MSG_NOSIGNAL, None)
        .context("send the terminal")?;
    Ok(())
}
