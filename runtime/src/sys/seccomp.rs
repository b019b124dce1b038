//! seccomp(2), SECCOMP_SET_MODE_FILTER (Linux 3.17).

use std::os::fd::{FromRawFd as _, OwnedFd};

use rustix::io::Result;

use super::again::again;
use super::mount::last_errno;
use crate::plan::seccomp::{Instruction, Program};

/// `struct sock_fprog`.
#[repr(C)]
struct SockFprog {
    length: u16,
    filter: *const Instruction,
}

/// Puts the filter on this process, for good. With an action SCMP_ACT_NOTIFY in it, returns the listener
/// (Linux 5.0).
pub fn load(program: &Program) -> Result<Option<OwnedFd>> {
    let length = u16::try_from(program.instructions.len()).map_err(|_| rustix::io::Errno::TOOBIG)?;
    let argument = SockFprog { length, filter: program.instructions.as_ptr() };
    let load = || {
        // SAFETY: `argument` points to as many instructions of the kernel's layout (repr(C)) as it says, and both
        // outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                program.flags,
                &raw const argument,
            )
        };
        if result < 0 { Err(last_errno()) } else { Ok(result) }
    };
    match again(load)? {
        0 if !program.notifies() => Ok(None),
        // SAFETY: the kernel has just made this descriptor, which nothing else knows of.
        fd if program.notifies() => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) })),
        _ => Err(rustix::io::Errno::SRCH),
    }
}
