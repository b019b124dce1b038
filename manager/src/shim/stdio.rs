//! The near ends of a process's stdio: pipes, or the leader of its terminal. All are non-blocking;
//! the loop in `shim` reads and writes them when poll says so.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::io::{Errno, read, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};

use super::log::Stream;
use crate::error::{Context, Error, Kind, Result};
use crate::runtime::Stdio3;

/// Input that a process has not taken yet; above it the client is not read from.
const MAX_PENDING: usize = 64 * 1024;

/// The near ends.
#[derive(Debug, Default)]
pub struct Ends {
    /// Reads standard output, or the terminal.
    pub stdout: Option<OwnedFd>,
    /// Reads standard error.
    pub stderr: Option<OwnedFd>,
    /// Writes standard input, or the terminal.
    pub stdin: Option<OwnedFd>,
    pending: VecDeque<u8>,
    ending: bool,
    tty: bool,
}

/// A socket that waits for the runtime to send a terminal's leader.
#[derive(Debug)]
pub struct Console {
    listener: UnixListener,
    path: PathBuf,
}

/// Pipes for a process: the far ends for the runtime and the near ends for us.
pub fn pipes(stdin: bool) -> Result<(Stdio3, Ends)> {
    let new_pipe = || pipe_with(PipeFlags::CLOEXEC).context("create a pipe");
    let ((out_read, out_write), (err_read, err_write)) = (new_pipe()?, new_pipe()?);
    let mut ends = Ends { stdout: Some(out_read), stderr: Some(err_read), ..Ends::default() };
    let far_stdin = if stdin {
        let (far, near) = new_pipe()?;
        ends.stdin = Some(near);
        Stdio::from(far)
    } else {
        Stdio::null()
    };
    for end in [&ends.stdout, &ends.stderr, &ends.stdin].into_iter().flatten() {
        set_nonblocking(end.as_fd())?;
    }
    Ok((
        Stdio3 { stdin: far_stdin, stdout: out_write.into(), stderr: err_write.into(), console_socket: None },
        ends,
    ))
}

impl Console {
    /// Binds a console socket in `dir`. Its path, which the runtime connects to, may be longer than
    /// a socket address holds: both ends go through our handle on the folder then.
    pub fn bind(dir: &Path, name: &str) -> Result<Self> {
        let path = dir.join(name);
        Ok(Self { listener: super::bind(&path)?, path })
    }

    /// What the runtime is given as stdio.
    pub fn stdio(&self) -> Stdio3 {
        let console_socket = Some(self.path.clone());
        Stdio3 { stdin: Stdio::null(), stdout: Stdio::null(), stderr: Stdio::null(), console_socket }
    }

    /// Takes the leader that the runtime has sent; it has finished by now, so there is no waiting.
    pub fn receive(self) -> Result<Ends> {
        use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
        let what = "receive the terminal";
        self.listener.set_nonblocking(true).context(what)?;
        let (stream, _) = self.listener.accept().context(what)?;
        std::fs::remove_file(&self.path).context(what)?;
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 4096];
        let mut parts = [std::io::IoSliceMut::new(&mut name)];
        stream.set_nonblocking(true).context(what)?;
        recvmsg(&stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).context(what)?;
        let leader = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let leader = leader.ok_or_else(|| Error::new(Kind::System, "receive the terminal: none was sent"))?;
        set_nonblocking(leader.as_fd())?;
        let stdin = leader.try_clone().context(what)?;
        Ok(Ends { stdout: Some(leader), stdin: Some(stdin), tty: true, ..Ends::default() })
    }
}

impl Ends {
    /// Reads once from an output. `None` if there is nothing now; an empty answer is the end, and
    /// the stream is closed.
    pub fn read<'a>(&mut self, stream: Stream, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let slot = if stream == Stream::Stdout { &mut self.stdout } else { &mut self.stderr };
        let result = read(slot.as_ref()?, &mut *buffer);
        match result {
            Err(Errno::AGAIN | Errno::INTR) => None,
            // A terminal whose last follower is closed answers EIO.
            Ok(0) | Err(_) => {
                *slot = None;
                Some(&[])
            }
            Ok(count) => buffer.get(..count),
        }
    }

    /// Takes input in, to be written when the process reads.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.stdin.is_some() && !self.ending {
            self.pending.extend(bytes);
            self.write();
        }
    }

    /// No more input: closes it once all is written. A terminal has no end of its own.
    pub fn end_input(&mut self) {
        if !self.tty {
            self.ending = true;
            self.write();
        }
    }

    /// Writes what is pending, as far as the process takes it.
    pub fn write(&mut self) {
        while let (Some(stdin), (head @ [_, ..], _)) = (&self.stdin, self.pending.as_slices()) {
            match write(stdin, head) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // Nobody reads it any more.
                Err(_) => {
                    self.stdin = None;
                    self.pending.clear();
                }
            }
        }
        if self.ending {
            self.stdin = None;
        }
    }

    /// The end to poll for writing, if something waits.
    pub fn wants_write(&self) -> Option<BorrowedFd<'_>> {
        if self.pending.is_empty() { None } else { self.stdin.as_ref().map(AsFd::as_fd) }
    }

    /// Whether a client may send more.
    pub fn has_room(&self) -> bool {
        self.pending.len() < MAX_PENDING
    }

    /// Tells the terminal its size.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        if let (true, Some(leader)) = (self.tty, &self.stdin)
            && let Err(error) = tcsetwinsize(leader, size)
        {
            log::debug!("resize the terminal: {error}");
        }
    }
}

fn set_nonblocking(fd: BorrowedFd) -> Result<()> {
    rustix::io::ioctl_fionbio(fd, true).context("make a stream non-blocking")
}

/// `/dev/null`, open for both.
pub fn null() -> Result<File> {
    File::options().read(true).write(true).open("/dev/null").context("open /dev/null")
}
