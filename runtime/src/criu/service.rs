//! The dialogue with one `criu swrk`: a request, notifications that wait for our consent, an answer.
//!
//! criu is our child and holds the other end of the socket, so that it can neither outlive the dialogue nor
//! leave us waiting: when one side goes, the other reads an end of file. A notification that we refuse makes
//! criu undo what it has done.

use std::io::{BufRead as _, BufReader, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use rustix::io::FdFlags;
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType};

use super::message::{Feature, Request, Response, Type, type_name};
use crate::error::{Context, Error, Kind, Result};
use crate::sys::again::again;
use crate::sys::files;

/// The oldest criu that tells when lazy pages are ready, and that knows namespaces outside of the container.
const OLDEST: i32 = 31_500;

/// How many errors of criu's log an error of ours quotes: the last ones.
const ERRORS_SHOWN: usize = 3;

/// Answers are far smaller; a longer one would be cut.
const MAX_PACKET: usize = 64 * 1024;

/// A running `criu swrk`.
#[derive(Debug)]
pub struct Service {
    child: Child,
    socket: OwnedFd,
    log: Option<PathBuf>,
}

/// What criu's standard streams are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// The null device.
    Null,
    /// Our own: restored programs can inherit them.
    Ours,
}

/// A step that criu has come to and at which it waits.
#[derive(Debug)]
pub struct Notification {
    /// Which step: `post-restore`, `orphan-pts-master` and so on.
    pub script: String,
    /// The restored init, where there is one.
    pub pid: i32,
    /// The descriptor that came along.
    pub fd: Option<OwnedFd>,
}

impl Service {
    /// Starts criu; besides the standard streams it gets `passed`, under the same numbers.
    pub fn start(streams: Streams, passed: &[BorrowedFd<'_>]) -> Result<Service> {
        let (socket, theirs) = again(|| {
            again(|| {
                rustix::net::socketpair(
                    AddressFamily::UNIX,
                    SocketType::SEQPACKET,
                    SocketFlags::CLOEXEC,
                    None,
                )
            })
        })
        .context("create socket pair")?;
        let stdio = || if streams == Streams::Null { Stdio::null() } else { Stdio::inherit() };
        let mut command = Command::new("criu");
        command.arg("swrk").arg(theirs.as_raw_fd().to_string());
        command.stdin(stdio()).stdout(stdio()).stderr(stdio());
        // No other thread is there that could start a program meanwhile.
        let set = |flags| -> rustix::io::Result<()> {
            passed
                .iter()
                .chain([&theirs.as_fd()])
                .try_for_each(|fd| again(|| rustix::io::fcntl_setfd(fd, flags)))
        };
        set(FdFlags::empty()).context("hand descriptors to criu")?;
        let child = command.spawn();
        set(FdFlags::CLOEXEC).context("keep descriptors")?;
        match child {
            Ok(child) => Ok(Service { child, socket, log: None }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::new(
                Kind::Unsupported,
                "checkpoint and restore need the program criu, which is not in PATH",
            )),
            Err(error) => Err(error).context("run criu"),
        }
    }

    /// Has errors tell of criu's log, and of what it says.
    pub fn logging_to(mut self, path: PathBuf) -> Service {
        self.log = Some(path);
        self
    }

    /// criu's PID.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Asks, calls `follow` at each step that criu tells of, and returns the answer. When `follow` fails, criu
    /// is told to undo all, and that error is returned.
    pub fn ask(
        &mut self,
        request: &Request,
        follow: &mut dyn FnMut(Notification) -> Result<()>,
    ) -> Result<Response> {
        let mut refused = None;
        self.send(request)?;
        loop {
            let (response, fd) = match self.receive() {
                Err(error) => return Err(refused.unwrap_or(error)),
                Ok(received) => received,
            };
            if !response.success {
                return Err(refused.unwrap_or_else(|| self.explain(failure(&response))));
            }
            if response.kind != Type::Notify as i32 {
                return refused.map_or(Ok(response), Err);
            }
            let notification = Notification { script: response.script, pid: response.pid, fd };
            log::debug!("criu notifies: {}", notification.script);
            if let Err(error) = follow(notification) {
                refused.get_or_insert(error);
            }
            self.send(&Request::consent(refused.is_none()))?;
        }
    }

    /// Lets criu go after a request of this type, and waits until it has ended.
    pub fn end(mut self, after: Type) -> Result<()> {
        again(|| rustix::net::shutdown(&self.socket, Shutdown::Write)).context("hang up on criu")?;
        let status = self.child.wait().context("wait for criu")?;
        // After a pre-dump criu waits for the next one, and takes our going for an error.
        if status.success() || after == Type::PreDump {
            return Ok(());
        }
        Err(self.explain(format!("criu failed: {status}")))
    }

    /// The error with, from the second line on (engines show the first), the log's path and the errors in it.
    fn explain(&self, mut message: String) -> Error {
        if let Some(path) = &self.log {
            message.push_str(&format!("\nlog file: {}", path.display()));
            let lines = files::open(path).map(|file| BufReader::new(file).split(b'\n'));
            let lines = lines.into_iter().flatten().map_while(std::io::Result::ok);
            let errors = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
            let errors: Vec<String> = errors.filter(|line| line.contains("Error")).collect();
            for line in errors.iter().skip(errors.len().saturating_sub(ERRORS_SHOWN)) {
                message.push_str(&format!("\n{line}"));
            }
        }
        Error::new(Kind::System, message)
    }

    fn send(&self, request: &Request) -> Result<()> {
        again(|| rustix::net::send(&self.socket, request.as_bytes(), SendFlags::NOSIGNAL))
            .context("talk to criu")?;
        Ok(())
    }

    fn receive(&self) -> Result<(Response, Option<OwnedFd>)> {
        let mut space = nix::cmsg_space!([RawFd; 4]);
        let mut packet = vec![0; MAX_PACKET];
        let mut buffers = [IoSliceMut::new(&mut packet)];
        let message = loop {
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<()>(self.socket.as_raw_fd(), &mut buffers, Some(&mut space), flags) {
                Err(nix::errno::Errno::EINTR) => {}
                other => break other.context("listen to criu")?,
            }
        };
        let length = message.bytes;
        let mut fds = Vec::new();
        for control in message.cmsgs().context("listen to criu")? {
            if let ControlMessageOwned::ScmRights(received) = control {
                fds.extend(received.into_iter().map(crate::sys::process::take_received));
            }
        }
        match length {
            0 => Err(self.explain("criu failed: it ended without an answer".to_owned())),
            length => {
                Ok((Response::decode(packet.get(..length).unwrap_or_default())?, fds.into_iter().next()))
            }
        }
    }

    fn hang_up(&self) {
        // Fails only when criu is gone already.
        again(|| rustix::net::shutdown(&self.socket, Shutdown::Both)).ok();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.hang_up();
        // Waited for already after `end`; then there is nothing left to wait for.
        self.child.wait().ok();
    }
}

/// In the words that engines know from runc.
fn failure(response: &Response) -> String {
    let message = format!("criu failed: type {} errno {}", type_name(response.kind), response.errno);
    match response.message.lines().next() {
        Some(first) => format!("{message}: {first}"), // the others are in the log
        None => message,
    }
}

fn ask_once(request: &Request) -> Result<Response> {
    let mut service = Service::start(Streams::Null, &[])?;
    let response = service.ask(request, &mut |_| Ok(()))?;
    service.end(request.kind)?;
    Ok(response)
}

/// Makes sure that there is a criu that can do what is asked of it: `oldest` is its version as major × 10000 +
/// minor × 100, or 0.
pub fn require_version(oldest: i32) -> Result<()> {
    let (found, oldest) =
        (ask_once(&Request::version()).context("ask criu for its version")?, oldest.max(OLDEST));
    if found.version >= oldest {
        return Ok(());
    }
    let show = |version: i32| format!("{}.{}", version / 10_000, version / 100 % 100);
    let message = format!("criu is version {}, and {} is needed", show(found.version), show(oldest));
    Err(Error::new(Kind::Unsupported, message))
}

/// Makes sure that criu and the kernel have a feature.
pub fn require_feature(feature: Feature) -> Result<()> {
    let name = match feature {
        Feature::MemTrack => "track memory changes",
        Feature::LazyPages => "restore memory lazily",
    };
    let found = ask_once(&Request::feature(feature))
        .with_context(|| format!("ask criu whether it can {name} on this kernel"))?;
    match found.features.contains(&(feature as u32)) {
        true => Ok(()),
        false => Err(Error::new(Kind::Unsupported, format!("criu can't {name} on this kernel"))),
    }
}
