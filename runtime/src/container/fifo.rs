//! How `start` reaches the container's parked init: two named pipes in the container's folder.
//!
//! Init holds both open since before it lost sight of the host. `start` writes a byte into `exec.fifo`; init
//! answers in `result/exec.fifo` with an error, or that it executes the program, which closes both. So an end of
//! file after that word is success, and without it init has died. `start` can tell the user why a program did not
//! start, and whether init is still parked can be asked without disturbing it: opening `exec.fifo` for writing
//! works only as long as somebody reads it (fifo(7), ENXIO).

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Context, Error, Kind, Result};
use crate::sys::again::again;
use crate::sys::files;
use crate::sys::stream::Stream;

const START: &str = "exec.fifo";
const RESULT: &str = "result/exec.fifo";

/// Init's last word, and no beginning of an error.
const EXECUTES: &[u8] = b"!";

/// Init's ends.
#[derive(Debug)]
pub struct Parked {
    start: Option<File>,
    result: File,
}

/// Makes both pipes and opens init's ends. Each is opened for reading and writing: so neither open blocks,
/// and init's read waits for a byte, not for the first writer to come and go.
pub fn create(dir: &Path) -> Result<Parked> {
    let folder = dir.join("result");
    files::create_dir_with(&folder, 0o700).on("create", &folder)?;
    let open = |name: &str| -> Result<File> {
        let path = dir.join(name);
        let make = || {
            again(|| rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0))?;
            again(|| rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()))
        };
        Ok(make().on("create", &path)?.into())
    };
    Ok(Parked { start: Some(open(START)?), result: open(RESULT)? })
}

impl Parked {
    /// Both.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.start.iter().chain([&self.result]).map(AsRawFd::as_raw_fd)
    }

    /// Waits for `start`.
    pub fn wait(&mut self) -> Result<()> {
        self.start
            .as_ref()
            .map_or(Ok(()), |start| Stream(start).read_exact(&mut [0]))
            .context("wait for start")
    }

    /// Is parked no more, and about to execute the program. An execve would say the first as well, but it closes files
    /// in no certain order, and who has seen the end of `result/exec.fifo` must find the container running.
    pub fn leave(&mut self) -> Result<()> {
        self.start = None;
        Stream(&self.result).write_all(EXECUTES).context("answer start")
    }

    /// Tells `start` why there will be no program.
    pub fn report(&mut self, error: &Error) -> std::io::Result<()> {
        Stream(&self.result).write_all(&error.encode())
    }
}

/// Removes both pipes, if they are there and can be.
pub(super) fn remove(dir: &Path) {
    // Whoever removes the folder says what is wrong.
    files::remove_file(dir.join(RESULT)).ok();
    files::remove_dir(dir.join("result")).ok();
    files::remove_file(dir.join(START)).ok();
}

/// Whether init is parked, that is: created and not started.
pub fn is_parked(folder: &OwnedFd) -> Result<bool> {
    match open_for_writing(folder) {
        Ok(_) => Ok(true),
        Err(Errno::NXIO | Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno).context("open exec.fifo"),
    }
}

fn open_for_writing(folder: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    again(|| rustix::fs::openat(folder, START, flags, Mode::empty()))
}

/// The right to decide what becomes of a parked init: one command has it at a time.
#[derive(Debug)]
pub struct Claim {
    start: File,
    result: File,
}

/// Takes it; nothing if init is parked no more.
pub fn claim(folder: &OwnedFd) -> Result<Option<Claim>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let result = match again(|| rustix::fs::openat(folder, RESULT, flags, Mode::empty())) {
        Err(Errno::NOENT) => return Ok(None),
        other => other.with_context(|| format!("open {RESULT}"))?,
    };
    let start = match open_for_writing(folder) {
        Err(Errno::NXIO | Errno::NOENT) => return Ok(None),
        other => other.context("open exec.fifo")?,
    };
    match again(|| rustix::fs::flock(&start, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => Ok(Some(Claim { start: start.into(), result: result.into() })),
        Err(Errno::WOULDBLOCK) => {
            Err(Error::new(Kind::WrongStatus, "container is being started or deleted by another command"))
        }
        Err(errno) => Err(errno).context("lock exec.fifo"),
    }
}

impl Claim {
    /// Lets init go on, and waits until it has executed the user's program or said why it could not. False if it was
    /// parked no more.
    pub fn start(self) -> Result<bool> {
        match Stream(&self.start).write_all(b"0") {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(false),
            other => other.context("write exec.fifo")?,
        }
        // Init is a writer already, so from here an end of file means that it is gone or executed.
        let flags =
            again(|| rustix::fs::fcntl_getfl(&self.result)).context("look at the flags of the answer")?;
        again(|| rustix::fs::fcntl_setfl(&self.result, flags.difference(OFlags::NONBLOCK)))
            .context("let the answer block")?;
        let mut answer = Vec::new();
        Stream(&self.result).read_to_end(&mut answer).with_context(|| format!("read {RESULT}"))?;
        match answer.strip_prefix(EXECUTES) {
            Some([]) => {}
            None if answer.is_empty() => {
                return Err(Error::new(Kind::System, "init has died before it executed the program"));
            }
            error => return Err(Error::decode(error.unwrap_or(&answer))),
        }
        // execve(2) closes the two one after the other. Until both are closed, init would still count as parked.
        let mut readers = [PollFd::new(&self.start, PollFlags::empty())];
        while let Err(errno) = rustix::event::poll(&mut readers, None) {
            if !matches!(errno, Errno::INTR | Errno::AGAIN) {
                return Err(errno).context("wait for exec.fifo");
            }
        }
        Ok(true)
    }
}
