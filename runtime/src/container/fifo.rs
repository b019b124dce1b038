//! How `start` reaches the container's parked init: two named pipes in the container's folder.
//!
//! Init holds both open since before it lost sight of the host. `start` writes a byte into `exec.fifo`; init
//! answers in `exec.result` with an error text, or says nothing and executes the program, which closes both.
//! So an end of file is success, `start` can tell the user why a program did not start, and whether init is
//! still parked can be asked without disturbing it: opening `exec.fifo` for writing works only as long as
//! somebody reads it (fifo(7), ENXIO).

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Context, Error, Kind, Result};

const START: &str = "exec.fifo";
const RESULT: &str = "exec.result";

/// Init's ends.
#[derive(Debug)]
pub struct Parked {
    start: File,
    result: File,
}

/// Makes both pipes and opens init's ends. Each is opened for reading and writing: so neither open blocks,
/// and init's read waits for a byte, not for the first writer to come and go.
pub fn create(dir: &Path) -> Result<Parked> {
    let open = |name: &str| -> Result<File> {
        let path = dir.join(name);
        let make = || {
            rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
            rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        };
        Ok(make().with_context(|| format!("create {}", path.display()))?.into())
    };
    Ok(Parked { start: open(START)?, result: open(RESULT)? })
}

impl Parked {
    /// Waits for `start`.
    pub fn wait(&mut self) -> Result<()> {
        self.start.read_exact(&mut [0]).context("wait for start")
    }

    /// Tells `start` why there will be no program.
    pub fn report(&mut self, error: &Error) -> std::io::Result<()> {
        self.result.write_all(error.to_string().as_bytes())
    }
}

/// Whether init is parked, that is: created and not started.
pub fn is_parked(dir: &Path) -> bool {
    open_for_writing(dir).is_ok()
}

fn open_for_writing(dir: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(dir.join(START), OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}

/// Lets init go on, and waits until it has executed the user's program or said why it could not.
pub fn start(dir: &Path) -> Result<()> {
    let result = rustix::fs::open(
        dir.join(RESULT),
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let result = result.context("open exec.result")?;
    match open_for_writing(dir) {
        Ok(fifo) => File::from(fifo).write_all(b"0").context("write exec.fifo")?,
        Err(Errno::NXIO | Errno::NOENT) => {
            return Err(Error::new(Kind::WrongStatus, "cannot start an already running container"));
        }
        Err(errno) => return Err(errno).context("open exec.fifo"),
    }
    // Init is a writer already, so from here an end of file means that it is gone or executed.
    let flags = rustix::fs::fcntl_getfl(&result)?;
    rustix::fs::fcntl_setfl(&result, flags - OFlags::NONBLOCK)?;
    let mut text = String::new();
    File::from(result).read_to_string(&mut text).context("read exec.result")?;
    if text.is_empty() { Ok(()) } else { Err(Error::new(Kind::System, text)) }
}
