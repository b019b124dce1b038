//! Standing in the foreground for a process of a container: pass on signals, relay a terminal, take the exit
//! code.

use std::fs::File;
use std::io::{IoSliceMut, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{WaitId, WaitIdOptions};
use rustix::termios::{OptionalActions, OutputModes, Termios};

use crate::error::{Context, Error, Kind, Result};
use crate::launch::Init;
use crate::sys::again::again;
use crate::sys::stream::Stream;

/// Our end of a socket that the container's terminal comes over.
#[derive(Debug)]
pub struct Relay(OwnedFd);

impl Relay {
    /// Makes the socket: our end and the one that is used as console socket.
    pub fn prepare() -> Result<(Relay, OwnedFd)> {
        let (ours, theirs) = again(|| {
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        })
        .context("create socket pair")?;
        Ok((Relay(ours), theirs))
    }

    /// Takes the terminal's leader off it. The caller's own terminal sees to line ends; a second carriage return
    /// would only get into the output of those who have none.
    pub fn receive_leader(self) -> Result<OwnedFd> {
        let mut space = nix::cmsg_space!(std::os::fd::RawFd);
        let mut name = [0; 64];
        let mut buffers = [IoSliceMut::new(&mut name)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = loop {
            match recvmsg::<()>(self.0.as_raw_fd(), &mut buffers, Some(&mut space), flags) {
                Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => {}
                other => break other.context("receive terminal")?,
            }
        };
        for control in message.cmsgs().context("receive terminal")? {
            if let ControlMessageOwned::ScmRights(fds) = control
                && let Some(fd) = fds.first()
            {
                let leader = crate::sys::process::take_received(*fd);
                let mut modes =
                    again(|| rustix::termios::tcgetattr(&leader)).context("read terminal modes")?;
                modes.output_modes.remove(OutputModes::ONLCR);
                again(|| rustix::termios::tcsetattr(&leader, OptionalActions::Now, &modes))
                    .context("set terminal modes")?;
                copy_size(&leader); // while the program can't have looked at it yet
                return Ok(leader);
            }
        }
        Err(Error::new(Kind::System, "no terminal came over the console socket"))
    }
}

/// The caller's terminal in raw mode, put back when dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Option<Raw> {
        let before = again(|| rustix::termios::tcgetattr(std::io::stdin())).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        again(|| rustix::termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)).ok()?;
        Some(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone; then there is nothing to put back.
        again(|| rustix::termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0)).ok();
    }
}

/// The signals that come to us, held back until [`wait`] passes them on.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// From here on none ends us. To be called before the process is let go that they are for: one that came between
    /// would end us, and leave it behind.
    pub fn catch() -> Result<Signals> {
        let mut all = SigSet::all();
        for kept in [Signal::SIGURG, Signal::SIGTTIN, Signal::SIGTTOU] {
            all.remove(kept);
        }
        again(|| all.thread_set_mask()).context("block signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Signals(again(|| SignalFd::with_flags(&all, flags)).context("open signalfd")?))
    }
}

/// Waits for a process and returns its exit code, 128+n if it died by signal n. Meanwhile every signal that
/// comes to us goes to it, and `leader`, if given, is relayed to our standard streams.
pub fn wait(process: &Init, Signals(signals): Signals, leader: Option<OwnedFd>) -> Result<i32> {
    let _raw = leader.as_ref().and_then(|_| Raw::enter());
    let mut leader = leader.map(File::from);
    let mut stdin_open = leader.is_some();
    loop {
        let stdin = std::io::stdin();
        let mut fds = vec![PollFd::new(&process.pidfd, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        if let Some(leader) = &leader {
            fds.push(PollFd::new(leader, PollFlags::IN));
        }
        if stdin_open && leader.is_some() {
            fds.push(PollFd::new(&stdin, PollFlags::IN));
        }
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(errno) => return Err(errno).context("poll"),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        while let Ok(Some(info)) = signals.read_signal() {
            forward(process, info.ssi_signo.cast_signed(), leader.as_ref());
        }
        if ready.get(3) == Some(&true) {
            stdin_open = copy(&mut Stream(std::io::stdin()), leader.as_ref());
        }
        if ready.get(2) == Some(&true) && !show(&mut leader)? {
            leader = None;
        }
        if ready.first() == Some(&true) {
            while show(&mut leader)? {} // what it wrote last
            return exit_code(process);
        }
    }
}

/// Copies what the terminal has to standard output; false at its end (EIO once nobody has it open).
fn show(leader: &mut Option<File>) -> Result<bool> {
    let Some(file) = leader else { return Ok(false) };
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let waiting = again(|| rustix::event::poll(&mut [PollFd::new(&*file, PollFlags::IN)], Some(&at_once)));
    if waiting != Ok(1) {
        return Ok(false);
    }
    let mut buffer = [0; 8192];
    match Stream(&*file).read(&mut buffer) {
        Ok(0) | Err(_) => Ok(false),
        Ok(length) => {
            let mut output = super::output();
            let shown = output.write_all(buffer.get(..length).unwrap_or_default());
            shown.and_then(|()| output.flush()).context(super::STDOUT)?;
            Ok(true)
        }
    }
}

fn copy(from: &mut impl std::io::Read, to: Option<&File>) -> bool {
    let mut buffer = [0; 8192];
    match (from.read(&mut buffer), to) {
        (Ok(length), Some(to)) if length > 0 => {
            Stream(to).write_all(buffer.get(..length).unwrap_or_default()).is_ok()
        }
        _ => false,
    }
}

fn forward(process: &Init, number: i32, leader: Option<&File>) {
    match Signal::try_from(number) {
        Ok(Signal::SIGCHLD | Signal::SIGPIPE) => {}
        Ok(Signal::SIGWINCH) if leader.is_some() => leader.into_iter().for_each(copy_size),
        _ => {
            // The process may have ended just now; then its exit code follows.
            let Some(signal) = rustix::process::Signal::from_named_raw(number) else { return };
            again(|| rustix::process::pidfd_send_signal(process.pidfd.as_fd(), signal)).ok();
        }
    }
}

fn copy_size(leader: impl AsFd) {
    if let Ok(size) = again(|| rustix::termios::tcgetwinsize(std::io::stdin())) {
        // A terminal without a size keeps the one that the config gave.
        again(|| rustix::termios::tcsetwinsize(leader.as_fd(), size)).ok();
    }
}

fn exit_code(process: &Init) -> Result<i32> {
    let status =
        again(|| rustix::process::waitid(WaitId::PidFd(process.pidfd.as_fd()), WaitIdOptions::EXITED))
            .context("wait")?;
    let Some(status) = status else { return Err(Error::new(Kind::System, "no exit status")) };
    Ok(status.exit_status().unwrap_or_else(|| status.terminating_signal().unwrap_or(0).saturating_add(128)))
}
