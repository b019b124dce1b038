//! The loopback interface of a new network namespace.

use std::os::fd::AsRawFd as _;

use rustix::io::Result;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::again::{again, done};

/// Sets the flag IFF_UP of `lo` (netdevice(7), SIOCSIFFLAGS).
pub fn set_loopback_up() -> Result<()> {
    let socket = again(|| {
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
    })?;
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request reads an ifreq, which lives across the call.
    done(|| unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })
}
