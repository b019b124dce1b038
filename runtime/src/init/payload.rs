//! The last steps to the user's program: where it stands, what it is called, what it inherits.

use std::ffi::{CString, OsStr};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, OFlags};
use rustix::io::Errno;

use super::passed::PassedFds;
use super::rootfs;
use crate::error::{Context, Error, Kind, Result, describe_errno};
use crate::plan::process::ProcessPlan;
use crate::sys::again::again;
use crate::sys::path::{mkdir_all_in_root, open_in_root};
use crate::sys::process::{execve, reset_signals};
use crate::sys::search::{self, Missed};
use crate::sys::stream::Stream;

/// /etc/passwd longer than this is not searched for a home directory.
const MAX_PASSWD: u64 = 1 << 20;

/// What names the program in config.json.
const FIELD: &str = "process.args[0]";

/// A program that is ready but for its file's path.
#[derive(Debug)]
pub struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

/// Makes the working directory, if need be (as runc and crun), while the root can still be written to.
pub fn make_cwd(root: &OwnedFd, process: &ProcessPlan) -> Result<()> {
    match mkdir_all_in_root(root, &process.cwd) {
        // Out of our reach; the program's user may have more.
        Ok(_) | Err(Errno::ACCESS | Errno::PERM) => Ok(()),
        Err(errno) => Err(errno).on("open", &process.cwd).in_field("process.cwd"),
    }
}

/// Enters the working directory, which exec does not make. `false`: we may not, but the program's user may.
pub fn enter_cwd(root: &OwnedFd, process: &ProcessPlan) -> Result<bool> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let enter = || again(|| rustix::process::fchdir(open_in_root(root, &process.cwd, flags)?));
    match enter() {
        Ok(()) => prove_cwd_is_inside(process).map(|()| true),
        Err(Errno::ACCESS | Errno::PERM) => Ok(false),
        Err(errno) => Err(errno).on(CHDIR, &process.cwd).in_field("process.cwd"),
    }
}

/// In the words of runc.
const CHDIR: &str = "chdir to cwd";

/// The same as the program's user, where `entered` says that it is still to be done.
pub fn enter_cwd_as_user(process: &ProcessPlan, entered: bool) -> Result<()> {
    if entered {
        return Ok(());
    }
    match enter_cwd(&rootfs::open_current()?, process)? {
        true => Ok(()),
        false => Err(Errno::ACCESS).on(CHDIR, &process.cwd).in_field("process.cwd"),
    }
}

/// A link in the root may have led to a directory that was left open, of the host (CVE-2024-21626).
fn prove_cwd_is_inside(process: &ProcessPlan) -> Result<()> {
    let seen =
        again(|| rustix::process::getcwd(Vec::new())).on(CHDIR, &process.cwd).in_field("process.cwd")?;
    if seen.as_bytes().starts_with(b"/") {
        return Ok(());
    }
    let outside = "current working directory is outside of container mount namespace root";
    Err(Error::new(Kind::System, outside)).on(CHDIR, &process.cwd).in_field("process.cwd")
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
    let path = process.args.first().cloned().ok_or_else(|| Error::at("process.args", "must not be empty"))?;
    Ok(Program { path, args: process.args.clone(), env })
}

/// The home directory of `uid` in the container's /etc/passwd. That file is the image's: it may be a FIFO, a
/// device, a link or endless, so only a regular file is read, and not without end.
fn home_directory(root: &OwnedFd, uid: u32) -> Option<Vec<u8>> {
    let open = |flags| {
        let file = open_in_root(root, Path::new("/etc/passwd"), flags).ok()?;
        let kind = FileType::from_raw_mode(again(|| rustix::fs::fstat(&file)).ok()?.st_mode);
        (kind == FileType::RegularFile).then_some(file)
    };
    // To open a device is to do something to it, so it is looked at first.
    open(OFlags::PATH)?;
    let file = open(OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    let mut text = Vec::new();
    Stream(file).take(MAX_PASSWD).read_to_end(&mut text).ok()?;
    home_in(&text, uid)
}

/// The same out of the file's text (passwd(5)).
pub(crate) fn home_in(text: &[u8], uid: u32) -> Option<Vec<u8>> {
    let number = uid.to_string();
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let [_, _, uid, _, _, home, ..] = fields.as_slice() else { return None };
        (*uid == number.as_bytes() && !home.is_empty()).then(|| home.to_vec())
    })
}

impl Program {
    /// Finds the file as execvp(3) would, as the program's user, so that `create` can say what is wrong.
    pub fn find(&mut self) -> Result<()> {
        let name = OsStr::from_bytes(self.path.to_bytes()).to_owned();
        let refused = |errno: i32| {
            let path = Path::new(&name).display();
            let message = match Errno::from_raw_os_error(errno) {
                // Docker's clients before 25 know a program that can't be executed by the second phrase alone.
                Errno::ISDIR => format!("exec: {name:?}: is a directory: permission denied"),
                _ => format!("exec: {name:?}: stat {path}: {}", describe_errno(errno)),
            };
            Error::new(Kind::NotFound, message).with_errno(errno).on_path(Path::new(&name)).about(FIELD)
        };
        if name.as_bytes().contains(&b'/') {
            return check(Path::new(&name)).map_err(|errno| refused(errno.raw_os_error()));
        }
        let path = self.env.iter().find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
        let found = search::along(path, &name, |candidate| match check(candidate) {
            Err(Errno::PERM) => Err(Errno::NOENT), // what a filter that is loaded already may answer
            other => other,
        });
        let (cause, errno) = match found {
            Ok(found) => {
                self.path = CString::new(found.into_os_string().into_vec())
                    .map_err(|_| Error::at(FIELD, "holds a NUL"))?;
                return Ok(());
            }
            Err(Missed::Failed(errno)) => return Err(refused(errno.raw_os_error())),
            Err(Missed::Denied) => ("permission denied", libc::EACCES),
            Err(Missed::Absent) => ("executable file not found in $PATH", libc::ENOENT),
        };
        let error = Error::new(Kind::NotFound, format!("exec: {name:?}: {cause}"));
        Err(error.with_errno(errno).on_path(Path::new(&name)).about(FIELD))
    }

    /// Decides what goes over the execve: descriptors 0 to 2 and those `passed`, no signal's setting. Before any
    /// filter, which may forbid what it takes.
    pub fn pass_on(&mut self, passed: &PassedFds) -> Result<()> {
        self.env.extend(passed.variables());
        passed.keep()?;
        reset_signals().context("reset signals")
    }

    /// The environment, for hooks that have none of their own.
    pub fn environment(&self) -> &[CString] {
        &self.env
    }

    /// Becomes the program.
    pub fn execute<T>(self) -> Result<T> {
        let errno = execve(&self.path, &self.args, &self.env);
        let path = PathBuf::from(OsStr::from_bytes(self.path.to_bytes()));
        Err(errno).on("exec", path).map_err(|error: Error| error.about(FIELD).of(Kind::NotExecutable))
    }
}

fn check(path: &Path) -> Result<(), Errno> {
    match FileType::from_raw_mode(again(|| rustix::fs::stat(path))?.st_mode) {
        FileType::Directory => Err(Errno::ISDIR),
        FileType::RegularFile => {
            match again(|| rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)) {
                // Many a filter that we may be under is older than the call that takes flags.
                Err(Errno::PERM | Errno::NOSYS) => {
                    again(|| rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::empty()))
                }
                other => other,
            }
        }
        _ => Err(Errno::ACCESS),
    }
}
