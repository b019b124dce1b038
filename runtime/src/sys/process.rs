//! Processes: clone3, the credentials of this one, and the ways out of it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, Result};

use super::mount::last_errno;

/// Which side of [`clone3`] one is on.
#[derive(Debug)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The caller: the child's PID as the caller's PID namespace numbers it, and its pidfd.
    Parent(i32, OwnedFd),
}

/// clone3(2) (Linux 5.3) without shared memory, as fork(2), plus `flags` (`CLONE_NEW*`, `CLONE_PARENT`).
///
/// The process must have one thread: the child has only the caller's, and a lock that another one held (the
/// allocator's, for one) would stay locked in it for ever. No module of this program starts threads.
pub fn clone3(flags: u64) -> Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    // With CLONE_PARENT the kernel takes the signal from the caller and insists on 0 here.
    let parent_is_ours = flags & libc::CLONE_PARENT as u64 == 0;
    // SAFETY: all-zero is a valid clone_args: no stack, no TLS, no tid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = if parent_is_ours { libc::SIGCHLD as u64 } else { 0 };
    // SAFETY: `args` and `pidfd` live across the call; no memory is shared, so the child runs on its own copy
    // of this stack, and as this program has no threads no lock of another one is copied in its locked state.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(last_errno()),
        0 => Ok(Cloned::Child),
        // SAFETY: the kernel has just put a new descriptor there, which nothing else knows of.
        pid => Ok(Cloned::Parent(pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}

/// Ends this process at once, without the exit handlers that belong to the process it was cloned from.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit does not return and touches no memory of ours.
    unsafe { libc::_exit(code) }
}

/// execve(2); returns only on error.
pub fn execve(path: &CStr, args: &[CString], env: &[CString]) -> Errno {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(args), pointers(env));
    // SAFETY: both arrays end in NULL and hold pointers to strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    last_errno()
}

/// execveat(2) with AT_EMPTY_PATH: runs the file that `file` refers to; returns only on error.
pub fn fexecve(file: BorrowedFd<'_>, args: &[CString], env: &[CString]) -> Errno {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(args), pointers(env));
    let flags = libc::AT_EMPTY_PATH;
    // SAFETY: the path is a literal, both arrays end in NULL and hold pointers to strings that outlive the call.
    unsafe {
        libc::syscall(libc::SYS_execveat, file.as_raw_fd(), c"".as_ptr(), argv.as_ptr(), envp.as_ptr(), flags)
    };
    last_errno()
}

/// Marks every descriptor from `first` on close-on-exec (close_range(2) with CLOSE_RANGE_CLOEXEC, Linux 5.11).
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: only a flag of descriptors changes; none is closed under its owner.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// A prctl(2) whose arguments are all plain numbers.
pub fn prctl(option: i32, arg2: u64, arg3: u64) -> Result<()> {
    // SAFETY: the options used here (see the callers) take no pointers.
    let result = unsafe { libc::prctl(option, arg2, arg3, 0u64, 0u64) };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// capset(2) on this thread, each set a mask of bits `1 << capability`.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522; // linux/capability.h, _LINUX_CAPABILITY_VERSION_3
    let mut header = Header { version: VERSION_3, pid: 0 };
    let half = |mask: u64, shift: u32| ((mask >> shift) & 0xffff_ffff) as u32;
    let sets: [[u32; 3]; 2] =
        [0, 32].map(|shift| [half(effective, shift), half(permitted, shift), half(inheritable, shift)]);
    // SAFETY: version 3 reads a header and two triples of 32-bit words, which is what is passed.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Joins a new session keyring of this name (keyctl(2) KEYCTL_JOIN_SESSION_KEYRING).
pub fn join_session_keyring(name: &CStr) -> Result<()> {
    // SAFETY: the name is NUL-terminated and lives across the call.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// setrlimit(2) by number, with 64-bit values (`u64::MAX` is no limit).
pub fn setrlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` lives across the call, and NULL says that the old one is not wanted.
    let result = unsafe { libc::prlimit64(0, resource as _, &raw const limit, std::ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Closes every descriptor from `first` on (close_range(2), Linux 5.9): what a careless caller left open is not
/// for the container. To be called before anything was opened.
pub fn close_from(first: u32) -> Result<()> {
    // SAFETY: the callers do this first of all, when no descriptor above 2 has an owner in this program.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// pidfd_send_signal(2) (Linux 5.1), also for real-time signals, which have no names.
pub fn pidfd_send_signal(pidfd: &OwnedFd, signal: i32) -> Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks for the one that kill(2) would make.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Takes ownership of a descriptor that has just come over a socket (SCM_RIGHTS).
pub fn take_received(fd: i32) -> OwnedFd {
    // SAFETY: the kernel made this number for the message that the caller has just received, once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Gives every signal its default action and blocks none: a program must not find what the runtime, its
/// language's start-up code or its caller had set (SIGPIPE ignored, for one).
pub fn reset_signals() -> Result<()> {
    // The kernel's own call, because the C library's refuses 32 and 33, which its posix_spawn leaves ignored.
    let default = [0u64; 4]; // handler SIG_DFL, no flags, no restorer, empty mask
    for signal in 1..=64 {
        // SAFETY: SIG_DFL runs no code of ours, and the array is as long as the kernel's struct with its mask
        // of 8 bytes. SIGKILL and SIGSTOP, which can't be set, only answer with an error.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null_mut::<u64>(), 8)
        };
    }
    nix::sys::signal::SigSet::empty()
        .thread_set_mask()
        .map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// Clears close-on-exec of the descriptor numbered `fd`, for `--preserve-fds`; an error when it is not open.
pub fn keep_on_exec(fd: i32) -> Result<()> {
    // SAFETY: only a flag changes, and nobody loses the descriptor.
    let result = unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}
