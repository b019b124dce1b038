//! seccomp(2), SECCOMP_SET_MODE_FILTER (Linux 3.17).

use rustix::io::Result;

use super::mount::last_errno;
use crate::plan::seccomp::{Instruction, Program};

/// `struct sock_fprog`.
#[repr(C)]
struct SockFprog {
    length: u16,
    filter: *const Instruction,
}

/// Puts the filter on this process, for good.
pub fn load(program: &Program) -> Result<()> {
    let length = u16::try_from(program.instructions.len()).map_err(|_| rustix::io::Errno::TOOBIG)?;
    let argument = SockFprog { length, filter: program.instructions.as_ptr() };
    // SAFETY: `argument` points to as many instructions of the kernel's layout (repr(C)) as it says, and both
    // outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, program.flags, &raw const argument)
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}
