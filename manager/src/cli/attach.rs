//! The client of a foreground process: our stdio to the shim and back, the terminal raw while it
//! lasts, signals passed on. Signals come by signalfd, so there is one way out of the loop and the
//! terminal is restored on it whatever happens.

use std::io::{IsTerminal, Write, stdin, stdout};
use std::os::fd::AsFd;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::engine::{Connection, failure};
use crate::error::{Context, Error, Kind, Result};
use crate::shim::control::Frame;

/// ctrl-p ctrl-q leaves the container running.
const DETACH: [u8; 2] = [0x10, 0x11];

/// Our side of the conversation, ready before the container is.
#[derive(Debug)]
pub struct Client {
    signals: SignalFd,
    terminal: Option<Raw>,
    tty: bool,
    stdin: bool,
    /// The first key of the detach sequence was typed.
    leaving: bool,
}

/// The terminal as it was, put back when dropped.
#[derive(Debug)]
struct Raw(Termios);

/// What is passed to the container when sent to us.
const PROXIED: [(Signal, &str); 6] = [
    (Signal::SIGINT, "INT"),
    (Signal::SIGTERM, "TERM"),
    (Signal::SIGHUP, "HUP"),
    (Signal::SIGQUIT, "QUIT"),
    (Signal::SIGUSR1, "USR1"),
    (Signal::SIGUSR2, "USR2"),
];

/// Rows and columns of our terminal, if we have one.
pub fn terminal_size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdin()).or_else(|_| tcgetwinsize(stdout())).ok()?;
    Some((size.ws_row, size.ws_col)).filter(|size| *size != (0, 0))
}

/// Refuses a terminal inside without one outside, as Docker does.
pub fn require_terminal() -> Result<()> {
    if stdin().is_terminal() {
        Ok(())
    } else {
        Err(Error::new(Kind::InvalidInput, "the input device is not a TTY"))
    }
}

impl Client {
    /// Holds the signals back. The terminal stays as it is until the process has started.
    pub fn prepare(tty: bool, stdin: bool) -> Result<Self> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGWINCH);
        PROXIED.iter().for_each(|(signal, _)| mask.add(*signal));
        mask.thread_block().context("hold signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags).context("open signalfd")?;
        Ok(Self { signals, terminal: None, tty, stdin, leaving: false })
    }

    /// Carries bytes until the process is over; its exit code.
    pub fn follow(mut self, mut shim: Connection, kill: &dyn Fn(&str) -> Result<()>) -> Result<i32> {
        if self.tty && self.stdin {
            self.terminal = Some(Raw::enter()?);
        }
        let input = stdin();
        let mut input_open = self.stdin;
        loop {
            while let Some(frame) = shim.buffered()? {
                if let Some(code) = show(frame)? {
                    return Ok(code);
                }
            }
            let input_events = if input_open { PollFlags::IN } else { PollFlags::empty() };
            let mut fds = vec![
                PollFd::from_borrowed_fd(shim.stream().as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            ];
            if input_open {
                fds.push(PollFd::new(&input, input_events));
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("poll"),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            if ready.first() == Some(&true) && !shim.fill()? {
                return Err(Error::new(Kind::System, "the container's shim is gone, its exit code unknown"));
            }
            if ready.get(1) == Some(&true) {
                self.pass_signals(&mut shim, kill)?;
            }
            if ready.get(2) == Some(&true) {
                match self.pass_input(&mut shim)? {
                    Input::More => {}
                    Input::End => input_open = false,
                    Input::Detach => return Ok(0),
                }
            }
        }
    }

    fn pass_signals(&self, shim: &mut Connection, kill: &dyn Fn(&str) -> Result<()>) -> Result<()> {
        while let Some(info) = self.signals.read_signal().context("read signalfd")? {
            if i32::try_from(info.ssi_signo) == Ok(Signal::SIGWINCH as i32) {
                if let (true, Some((rows, columns))) = (self.tty, terminal_size()) {
                    shim.send(&Frame::Resize(rows, columns))?;
                }
                continue;
            }
            let proxied =
                PROXIED.iter().find(|(signal, _)| i32::try_from(info.ssi_signo) == Ok(*signal as i32));
            // It may be over in this moment; then its exit is the next thing we hear.
            if let Some((_, name)) = proxied
                && let Err(error) = kill(name)
            {
                log::debug!("pass {name} on: {error}");
            }
        }
        Ok(())
    }

    fn pass_input(&mut self, shim: &mut Connection) -> Result<Input> {
        let mut buffer = [0; 16 * 1024];
        let count = match rustix::io::read(stdin(), &mut buffer) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(Input::More),
            Err(_) => 0, // a closed standard input has ended
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            send(shim, &Frame::InputEnd)?;
            return Ok(Input::End);
        }
        let (typed, detach) =
            if self.tty { self.without_detach_keys(bytes) } else { (bytes.to_vec(), false) };
        if !typed.is_empty() {
            send(shim, &Frame::Input(typed))?;
        }
        Ok(if detach { Input::Detach } else { Input::More })
    }

    /// Takes the detach sequence out of what was typed; its first key waits for the second.
    fn without_detach_keys(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut typed = Vec::with_capacity(bytes.len());
        for byte in bytes {
            let leaving = std::mem::take(&mut self.leaving);
            match (leaving, *byte) {
                (true, key) if key == DETACH[1] => return (typed, true),
                (true, key) if key == DETACH[0] => {
                    typed.push(key);
                    self.leaving = true;
                }
                (true, key) => typed.extend([DETACH[0], key]),
                (false, key) if key == DETACH[0] => self.leaving = true,
                (false, key) => typed.push(key),
            }
        }
        (typed, false)
    }
}

enum Input {
    More,
    End,
    Detach,
}

/// A shim that has gone has still left its last words to read.
fn send(shim: &mut Connection, frame: &Frame) -> Result<()> {
    if let Err(error) = shim.send(frame) {
        log::debug!("{error}");
    }
    Ok(())
}

/// Writes output; `Some` is the exit code.
fn show(frame: Frame) -> Result<Option<i32>> {
    match frame {
        Frame::Stdout(bytes) => {
            let mut out = stdout().lock();
            out.write_all(&bytes).and_then(|()| out.flush()).context("write to stdout")?;
        }
        Frame::Stderr(bytes) => std::io::stderr().write_all(&bytes).context("write to stderr")?,
        Frame::Exited(code) => return Ok(Some(code)),
        Frame::Failed(json) => return Err(failure(&json)),
        Frame::Dropped => {
            let text = b"wharf: output lost: this reader is too slow; the log has all of it\n";
            std::io::stderr().write_all(text).context("write to stderr")?;
        }
        _ => {}
    }
    Ok(None)
}

impl Raw {
    fn enter() -> Result<Self> {
        let before = tcgetattr(stdin()).context("read the terminal's mode")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).context("make the terminal raw")?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(stdin(), OptionalActions::Drain, &self.0) {
            log::warn!("restore the terminal: {error}");
        }
    }
}
