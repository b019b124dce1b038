//! Pseudo-terminals by descriptor: nothing here resolves a name in the container's /dev/pts.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Result;

use super::again::{again, done};
use super::mount::last_errno;

/// Unlocks the pty behind an open `ptmx` and opens its other end (TIOCSPTLCK, TIOCGPTPEER, Linux 4.13).
pub fn open_follower(leader: impl AsFd) -> Result<OwnedFd> {
    let leader = leader.as_fd().as_raw_fd();
    let unlock: libc::c_int = 0;
    // SAFETY: the request reads one int, which lives across the call.
    done(|| unsafe { libc::ioctl(leader, libc::TIOCSPTLCK, &raw const unlock) })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    let fd = again(|| {
        // SAFETY: the request's argument is open flags, no pointer.
        let fd = unsafe { libc::ioctl(leader, libc::TIOCGPTPEER, flags) };
        if fd < 0 { Err(last_errno()) } else { Ok(fd) }
    })?;
    // SAFETY: the kernel has just made this descriptor, which nothing else knows of.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
