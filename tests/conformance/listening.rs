//! The other end of a socket that a runtime connects to: console sockets and seccomp agents.

use std::fs::File;
use std::io::{IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Milliseconds to wait for somebody who ought to have come already.
const PATIENCE: u16 = 20_000;

/// A listening Unix socket of type SOCK_STREAM.
pub struct Listener {
    socket: UnixListener,
    /// Where it is.
    pub path: PathBuf,
}

/// What came in one connection: the first message with its descriptors, then all up to the end.
pub struct Heard {
    /// Bytes of the message that came first.
    pub first: Vec<u8>,
    /// Descriptors that came with it.
    pub fds: Vec<OwnedFd>,
    stream: UnixStream,
}

impl Listener {
    /// Listens at `path`.
    pub fn at(path: &Path) -> Listener {
        Listener { socket: UnixListener::bind(path).unwrap(), path: path.to_owned() }
    }

    /// Whether somebody has connected or does so within `milliseconds`.
    pub fn has_caller(&self, milliseconds: u16) -> bool {
        is_readable(&self.socket, milliseconds)
    }

    /// Takes a connection and its first message.
    #[track_caller]
    pub fn hear(&self) -> Heard {
        assert!(self.has_caller(PATIENCE), "nobody connects to {}", self.path.display());
        let (stream, _) = self.socket.accept().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut first = vec![0; 1 << 16];
        let slices = &mut [IoSliceMut::new(&mut first)];
        let got = recvmsg(&stream, slices, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        first.truncate(got.bytes);
        Heard { first, fds, stream }
    }
}

impl Heard {
    /// What else comes, until the other side closes the connection; `None` when it does not.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.set_read_timeout(Some(std::time::Duration::from_millis(PATIENCE.into()))).unwrap();
        self.stream.read_to_end(&mut rest).ok().map(|_| rest)
    }

    /// The one descriptor, as the terminal it is: everything written to it until its other side is closed.
    #[track_caller]
    pub fn terminal_output(self) -> String {
        let mut terminal = File::from(self.fds.into_iter().next().expect("no descriptor of a terminal"));
        let mut output = Vec::new();
        terminal.read_to_end(&mut output).ok(); // EIO is how a terminal says that its other side is closed
        String::from_utf8_lossy(&output).replace("\r\n", "\n")
    }
}

/// Whether there is something to read, now or within `milliseconds`.
pub fn is_readable(fd: &impl std::os::fd::AsFd, milliseconds: u16) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(milliseconds)).unwrap() > 0
}
