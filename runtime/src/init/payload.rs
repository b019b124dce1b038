//! The last steps to the user's program: where it stands, what it is called, what it inherits.

use std::ffi::{CString, OsStr};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, OFlags};
use rustix::io::Errno;

use crate::error::{Context, Error, Kind, Result, describe_errno};
use crate::plan::process::ProcessPlan;
use crate::sys::path::{mkdir_all_in_root, open_in_root};
use crate::sys::process::{close_on_exec_from, execve, keep_on_exec, reset_signals};

/// /etc/passwd longer than this is not searched for a home directory.
const MAX_PASSWD: u64 = 1 << 20;

/// A program that is ready but for its file's path.
#[derive(Debug)]
pub struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

/// Opens the working directory below the root, making it if need be (as runc and crun).
pub fn open_cwd(root: &OwnedFd, process: &ProcessPlan) -> Result<OwnedFd> {
    mkdir_all_in_root(root, &process.cwd)
        .with_context(|| format!("process.cwd: open {}", process.cwd.display()))
}

/// Enters it as the program's user, and proves that it is inside the root (CVE-2024-21626).
pub fn enter_cwd(cwd: &OwnedFd, process: &ProcessPlan) -> Result<()> {
    let context = || format!("process.cwd: enter {}", process.cwd.display());
    rustix::process::fchdir(cwd).with_context(context)?;
    let seen = rustix::process::getcwd(Vec::new()).with_context(context)?;
    if seen.as_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(Error::new(Kind::System, "current working directory is outside of the container's root"))
            .with_context(context)
    }
}

/// Completes the environment: HOME, if it is not there, from the container's own passwd.
pub fn prepare(root: &OwnedFd, process: &ProcessPlan) -> Result<Program> {
    let mut env = process.env.clone();
    if process.env_value("HOME").is_none_or(<[u8]>::is_empty) {
        env.retain(|entry| !entry.to_bytes().starts_with(b"HOME="));
        let home = home_directory(root, process.user.0).unwrap_or_else(|| b"/".to_vec());
        env.push(
            CString::new([b"HOME=".to_vec(), home].concat())
                .map_err(|_| Error::invalid("HOME holds a NUL"))?,
        );
    }
    let path =
        process.args.first().cloned().ok_or_else(|| Error::invalid("process.args: must not be empty"))?;
    Ok(Program { path, args: process.args.clone(), env })
}

/// The home directory of `uid` in the container's /etc/passwd. That file is the image's: it may be a FIFO, a
/// device, a link or endless, so only a regular file is read, and not without end.
fn home_directory(root: &OwnedFd, uid: u32) -> Option<Vec<u8>> {
    let file =
        open_in_root(root, Path::new("/etc/passwd"), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
            .ok()?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file).ok()?.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut text = Vec::new();
    std::fs::File::from(file).take(MAX_PASSWD).read_to_end(&mut text).ok()?;
    let number = uid.to_string();
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        (fields.len() >= 6 && fields[2] == number.as_bytes() && !fields[5].is_empty())
            .then(|| fields[5].to_vec())
    })
}

impl Program {
    /// Finds the file as execvp(3) would, as the program's user, so that `create` can say what is wrong.
    pub fn find(&mut self) -> Result<()> {
        let name = OsStr::from_bytes(self.path.to_bytes()).to_owned();
        let refused = |errno: i32| {
            let message =
                format!("exec: {name:?}: stat {}: {}", Path::new(&name).display(), describe_errno(errno));
            Error::new(Kind::NotFound, message)
        };
        if name.as_bytes().contains(&b'/') {
            return check(Path::new(&name)).map_err(|errno| refused(errno.raw_os_error()));
        }
        let path = self.env.iter().find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
        let mut denied = false;
        for directory in path.unwrap_or(b"/bin:/usr/bin").split(|byte| *byte == b':') {
            let directory: &[u8] = if directory.is_empty() { b"." } else { directory };
            let candidate: PathBuf = Path::new(OsStr::from_bytes(directory)).join(&name);
            match check(&candidate) {
                Ok(()) => {
                    self.path = CString::new(candidate.into_os_string().into_vec())
                        .map_err(|_| Error::invalid("process.args[0] holds a NUL"))?;
                    return Ok(());
                }
                Err(Errno::ACCESS) => denied = true,
                Err(_) => {}
            }
        }
        let cause = if denied { "permission denied" } else { "executable file not found in $PATH" };
        Err(Error::new(Kind::NotFound, format!("exec: {name:?}: {cause}")))
    }

    /// Becomes the program. Descriptors 0 to 2 and `preserve` more go with it, no others.
    pub fn execute<T>(self, preserve: u32) -> Result<T> {
        for fd in 3..3 + preserve {
            keep_on_exec(fd as i32).with_context(|| format!("preserve descriptor {fd}"))?;
        }
        close_on_exec_from(3 + preserve).context("close other descriptors")?;
        reset_signals().context("reset signals")?;
        let errno = execve(&self.path, &self.args, &self.env);
        Err(errno).with_context(|| format!("exec {}", self.path.to_string_lossy()))
    }
}

fn check(path: &Path) -> Result<(), Errno> {
    match FileType::from_raw_mode(rustix::fs::stat(path)?.st_mode) {
        FileType::Directory => Err(Errno::ISDIR),
        FileType::RegularFile => rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS),
        _ => Err(Errno::ACCESS),
    }
}
