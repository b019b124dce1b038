//! Starting a program that is not the container's: a hook.
//!
//! Not by the standard library, which panics when it can't hear from the child whether the program was executed.

use std::ffi::{CStr, CString};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::again::again;
use super::process::{Cloned, clone3, execve, exit_now, prctl, reset_signals};
use super::stream::Stream;

/// What is to be executed, and in what setting.
#[derive(Debug)]
pub struct Program<'a> {
    /// Its file.
    pub path: &'a CStr,
    /// Its arguments, the zeroth first.
    pub args: &'a [CString],
    /// Its environment.
    pub env: &'a [CString],
    /// Its working directory; ours if `None`.
    pub directory: Option<&'a CStr>,
    /// Its standard input.
    pub input: BorrowedFd<'a>,
    /// Its standard output and error.
    pub output: BorrowedFd<'a>,
}

/// A program that runs, as a child that was not waited for yet.
#[derive(Debug)]
pub struct Running {
    /// Its PID, and the number of its process group.
    pub pid: Pid,
    /// Refers to it for good.
    pub pidfd: OwnedFd,
}

impl Program<'_> {
    /// Starts it in a process group of its own, to be killed when this process ends: it must not go on for ever when
    /// nobody is there any more to wait for it. An error of the execution is one of this call.
    pub fn spawn(&self) -> Result<Running> {
        let parent = rustix::process::getpid();
        let (answer, theirs) = again(|| rustix::pipe::pipe_with(PipeFlags::CLOEXEC))?;
        let (number, pidfd) = match clone3(0, None)? {
            Cloned::Parent(number, pidfd) => (number, pidfd),
            Cloned::Child => {
                let errno = self.become_it(parent);
                // Whoever does not hear it sees the exit code.
                Stream(&theirs).write_all(&errno.raw_os_error().to_ne_bytes()).ok();
                exit_now(127)
            }
        };
        drop(theirs);
        let pid = Pid::from_raw(number).ok_or(Errno::CHILD)?;
        let mut said = Vec::new();
        // Its end closes by the execution, so this ends when it is over.
        let error = match Stream(answer).read_to_end(&mut said) {
            Ok(_) => {
                <[u8; 4]>::try_from(said).ok().map(|said| Errno::from_raw_os_error(i32::from_ne_bytes(said)))
            }
            Err(error) => Some(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        };
        match error {
            None => Ok(Running { pid, pidfd }),
            Some(errno) => {
                // It is our own child and was not waited for: both can fail only because it is gone already.
                again(|| rustix::process::pidfd_send_signal(&pidfd, Signal::KILL)).ok();
                again(|| rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)).ok();
                Err(errno)
            }
        }
    }

    /// Returns only on error.
    fn become_it(&self, parent: Pid) -> Errno {
        let settle = || -> Result<()> {
            prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0)?;
            if rustix::process::getppid() != Some(parent) {
                return Err(Errno::SRCH); // it has ended before we asked
            }
            again(|| rustix::process::setpgid(None, None))?;
            again(|| rustix::stdio::dup2_stdin(self.input))?;
            again(|| rustix::stdio::dup2_stdout(self.output))?;
            again(|| rustix::stdio::dup2_stderr(self.output))?;
            if let Some(directory) = self.directory {
                again(|| rustix::process::chdir(directory))?;
            }
            reset_signals()
        };
        match settle() {
            Ok(()) => execve(self.path, self.args, self.env),
            Err(errno) => errno,
        }
    }
}
