//! Processes: clone3, the credentials of this one, and the ways out of it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{Errno, Result};

use super::again::{again, done, number};
use super::files;
use super::mount::last_errno;

/// Which side of [`clone3`] one is on.
#[derive(Debug)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The caller: the child's PID as the caller's PID namespace numbers it, and its pidfd.
    Parent(i32, OwnedFd),
}

/// clone3(2) (Linux 5.3) without shared memory, as fork(2), plus `flags` (`CLONE_NEW*`, `CLONE_PARENT`), in the
/// control group of the unified hierarchy whose directory is `cgroup` (`CLONE_INTO_CGROUP`, Linux 5.7). Where it is not to be
/// had, which filters that can't look into its arguments see to, clone(2) does the same but for the control group.
///
/// The process must have one thread: the child has only the caller's, and a lock that another one held (the
/// allocator's, for one) would stay locked in it for ever. No module of this program starts threads.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000; // linux/sched.h; libc's own overflows its type
    let mut pidfd: libc::c_int = -1;
    // With CLONE_PARENT the kernel takes the signal from the caller and insists on 0 here.
    let parent_is_ours = flags & libc::CLONE_PARENT as u64 == 0;
    // SAFETY: all-zero is a valid clone_args: no stack, no TLS, no tid.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    args.exit_signal = if parent_is_ours { libc::SIGCHLD as u64 } else { 0 };
    let pid = again(|| {
        // SAFETY: `args` and `pidfd` live across the call; no memory is shared, so the child runs on its own copy
        // of this stack, and as this program has no threads no lock of another one is copied in its locked state.
        let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
        if pid < 0 { Err(last_errno()) } else { Ok(pid) }
    });
    let pid = match pid {
        Err(Errno::NOSYS) if cgroup.is_none() => again(|| {
            let flags = args.flags | args.exit_signal;
            let none = std::ptr::null_mut::<libc::c_void>();
            // SAFETY: as above; without a stack of its own the child runs on its copy of this one.
            let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, &raw mut pidfd, none, none) };
            if pid < 0 { Err(last_errno()) } else { Ok(pid) }
        })?,
        other => other?,
    };
    match pid {
        0 => Ok(Cloned::Child),
        // SAFETY: the kernel has just put a new descriptor there, which nothing else knows of.
        pid => Ok(Cloned::Parent(pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}

/// unshare(2), for CLONE_NEWTIME and CLONE_NEWCGROUP; the libraries know the first not at all.
pub fn unshare(namespaces: i32) -> Result<()> {
    // SAFETY: a number; nothing of this process's memory or descriptors is asked to be unshared.
    done(|| unsafe { libc::unshare(namespaces) })
}

/// Whether this is another user namespace than the host's, which alone maps every id to itself (user_namespaces(7)).
pub fn in_user_namespace() -> bool {
    let map = files::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// What every program of ours starts with: standard streams that are closed become /dev/null, so that nothing that is
/// opened later is taken for one, and a write to a pipe that nobody reads is an error, not the end, as is one beyond the
/// size that a file may have (RLIMIT_FSIZE): there is something to undo. What is executed gets the defaults back.
pub fn begin() {
    for stream in 0..3 {
        if is_open(stream).is_err() {
            // SAFETY: a literal path; the lowest free number is this one, as those below are open.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
        }
    }
    for signal in [libc::SIGPIPE, libc::SIGXFSZ] {
        // SAFETY: SIG_IGN runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
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
    let execute = || {
        // SAFETY: both arrays end in NULL and hold pointers to strings that outlive the call.
        unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
        Err::<std::convert::Infallible, _>(last_errno())
    };
    match again(execute) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

/// execveat(2) with AT_EMPTY_PATH: runs the file that `file` refers to; returns only on error.
pub fn fexecve(file: BorrowedFd<'_>, args: &[CString], env: &[CString]) -> Errno {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(args), pointers(env));
    let flags = libc::AT_EMPTY_PATH;
    let execute = || {
        // SAFETY: the path is a literal, both arrays end in NULL and hold pointers to strings that outlive the call.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                file.as_raw_fd(),
                c"".as_ptr(),
                argv.as_ptr(),
                envp.as_ptr(),
                flags,
            )
        };
        Err::<std::convert::Infallible, _>(last_errno())
    };
    match again(execute) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

/// Marks every descriptor from `first` on close-on-exec (close_range(2) with CLOSE_RANGE_CLOEXEC, Linux 5.11).
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: only a flag of descriptors changes; none is closed under its owner.
    done(|| unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })
}

/// Closes all descriptors above 2 but `kept`. For a process that was just cloned and does not return to the frames that own
/// the others: they are its parent's.
pub fn close_all_but(kept: &[RawFd]) -> Result<()> {
    let mut kept: Vec<u32> =
        kept.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd > 2).collect();
    kept.sort_unstable();
    let mut first = 3;
    let ends = kept.into_iter().map(Some).chain([None]);
    for end in ends {
        let last = end.map_or(u32::MAX, |end| end.saturating_sub(1));
        if first <= last {
            // SAFETY: what owns these descriptors is in frames that this process never returns to.
            done(|| unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
        }
        first = end.map_or(u32::MAX, |end| end.saturating_add(1).max(first));
    }
    Ok(())
}

/// Closes a descriptor whose owner lives as long as this process and is not used any more.
pub fn close_for_good(fd: RawFd) {
    // SAFETY: the owner, a static, is never dropped; so nothing closes the number again.
    unsafe { libc::close(fd) };
}

/// A prctl(2) whose arguments are all plain numbers.
pub fn prctl(option: i32, arg2: u64, arg3: u64) -> Result<()> {
    // SAFETY: the options used here (see the callers) take no pointers.
    done(|| unsafe { libc::prctl(option, arg2, arg3, 0u64, 0u64) })
}

/// Joins a new session keyring of this name (keyctl(2) KEYCTL_JOIN_SESSION_KEYRING).
///
/// It may be found by `searcher` (keyctl(2) KEYCTL_SETPERM): who may not search a keyring can't join it by name.
pub fn join_session_keyring(name: &CStr, searcher: Searcher) -> Result<()> {
    // What the kernel gives a session keyring: all to who possesses it, view, read and link to its owner.
    const DEFAULT: libc::c_ulong = 0x3f13_0000;
    let permissions = DEFAULT | searcher as libc::c_ulong;
    let serial = number(|| {
        // SAFETY: the name is NUL-terminated and lives across the call.
        unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) }
    })?;
    // SAFETY: all arguments are numbers.
    done(|| unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, serial, permissions) })
}

/// Who besides its possessors may search a keyring: the bits of keyutils' KEY_USR_SEARCH and KEY_OTH_SEARCH.
#[derive(Debug, Clone, Copy)]
pub enum Searcher {
    /// Its owner.
    Owner = 0x0008_0000,
    /// Anybody: in a user namespace the owner is somebody else when `exec` comes in from outside.
    Anybody = 0x0000_0008,
}

/// setrlimit(2) by number, with 64-bit values (`u64::MAX` is no limit).
pub fn setrlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` lives across the call, and NULL says that the old one is not wanted.
    done(|| unsafe { libc::prlimit64(0, resource as _, &raw const limit, std::ptr::null_mut()) })
}

/// Closes every descriptor from `first` on that this program was started with: what a careless caller left open
/// is not for the container.
pub fn close_inherited_from(first: u32) -> std::io::Result<()> {
    let entries = files::entries("/proc/self/fd")?;
    let numbers = entries.iter().filter_map(|entry| entry.name.to_str()?.parse::<i32>().ok());
    for fd in numbers.filter(|fd| i64::from(*fd) >= i64::from(first)) {
        // SAFETY: only asks for a flag of whatever is there.
        let flags = number(|| unsafe { libc::fcntl(fd, libc::F_GETFD) });
        if flags.is_ok_and(|flags| flags & i64::from(libc::FD_CLOEXEC) == 0) {
            // SAFETY: all that this program opens is close-on-exec from the start, and nothing that is has come
            // through an exec; so no part of this program owns it.
            unsafe { libc::close(fd) };
        }
    }
    Ok(())
}

/// Has these signals end this process at once, also where it is PID 1 of a PID namespace, which gets no signal
/// that it has no handler for (pid_namespaces(7)).
pub fn exit_on(signals: &[i32]) -> Result<()> {
    extern "C" fn end(signal: i32) {
        // SAFETY: _exit is async-signal-safe (signal-safety(7)) and does not return.
        unsafe { libc::_exit(signal.saturating_add(128)) }
    }
    for signal in signals {
        // SAFETY: the handler calls nothing but _exit, so it can interrupt anything.
        if unsafe { libc::signal(*signal, end as extern "C" fn(i32) as usize) } == libc::SIG_ERR {
            return Err(last_errno());
        }
    }
    Ok(())
}

/// pidfd_open(2) (Linux 5.3); none of a process that is gone, or whose number is a thread's by now.
pub fn pidfd_open(pid: i32) -> Result<Option<OwnedFd>> {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return Ok(None) };
    match again(|| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())) {
        Err(Errno::SRCH | Errno::INVAL) => Ok(None),
        other => other.map(Some),
    }
}

/// pidfd_send_signal(2) (Linux 5.1), also for real-time signals, which have no names.
pub fn pidfd_send_signal(pidfd: &OwnedFd, signal: i32) -> Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks for the one that kill(2) would make.
    done(|| unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) })
}

/// Takes ownership of a descriptor that has just come over a socket (SCM_RIGHTS).
pub fn take_received(fd: i32) -> OwnedFd {
    // SAFETY: the kernel made this number for the message that the caller has just received, once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Takes ownership of a descriptor that the program was started with, and keeps it from what is executed.
/// EBADF for one that is not, or that is a standard stream.
pub fn take_inherited(fd: i32) -> Result<OwnedFd> {
    // SAFETY: only asks for a flag of whatever is there.
    let flags = number(|| unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    // All that this program opens is close-on-exec from the start, and nothing that is has come through an exec.
    if fd <= libc::STDERR_FILENO || flags & i64::from(libc::FD_CLOEXEC) != 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: only a flag changes; the descriptor is open, as has just been seen.
    done(|| unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open and came from whoever started us, so no part of this program owns it; and as it now is
    // close-on-exec, a second call for it fails.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
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
    again(|| nix::sys::signal::SigSet::empty().thread_set_mask())
        .map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// What a signal is called, in lower case as other errors (`bad system call`; strsignal(3)).
pub fn signal_text(signal: i32) -> String {
    // SAFETY: the function takes any number; this program has one thread, so nobody changes the text that it
    // returns, which is copied at once.
    let text = unsafe { libc::strsignal(signal) };
    if text.is_null() {
        return format!("signal {signal}");
    }
    // SAFETY: not null, so a NUL-terminated string (strsignal(3)).
    unsafe { CStr::from_ptr(text) }.to_string_lossy().to_lowercase()
}

/// An error when the descriptor numbered `fd` is not open.
pub fn is_open(fd: i32) -> Result<()> {
    // SAFETY: only a flag is read.
    done(|| unsafe { libc::fcntl(fd, libc::F_GETFD) })
}

/// Clears close-on-exec of the descriptor numbered `fd`, for `--preserve-fds`; an error when it is not open.
pub fn keep_on_exec(fd: i32) -> Result<()> {
    // SAFETY: only a flag changes, and nobody loses the descriptor.
    done(|| unsafe { libc::fcntl(fd, libc::F_SETFD, 0) })
}
