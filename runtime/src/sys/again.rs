//! Calls that were interrupted, or for which something was lacking for a moment, are made again.
//!
//! This program handles no signal, so of its own doing no call is interrupted; but file systems in user space, a
//! debugger and stop signals do interrupt (signal(7)), and `EAGAIN` is what fork(2) says when many start at once,
//! bpf(2) when it was disturbed, openat2(2) when somebody renames, and a control group that is being changed. None
//! of that may fail a command. So every call that could say it goes through here, and the sweep over all calls shows it.

use std::time::Duration;

use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::thread::nanosleep;

use super::mount::last_errno;

/// An error that may be one of those two.
pub trait Transient {
    /// The system's error number.
    fn errno(&self) -> Option<Errno>;
}

impl Transient for Errno {
    fn errno(&self) -> Option<Errno> {
        Some(*self)
    }
}

impl Transient for nix::errno::Errno {
    fn errno(&self) -> Option<Errno> {
        Some(Errno::from_raw_os_error(*self as i32))
    }
}

impl Transient for std::io::Error {
    fn errno(&self) -> Option<Errno> {
        Errno::from_io_error(self)
    }
}

/// How often `EAGAIN` is not believed: with the pauses between, for about a fifth of a second.
const ATTEMPTS: u64 = 20;

/// Makes a call until it is not interrupted, and some times more when it says `EAGAIN`. Not for descriptors that do
/// not block, where that is an answer.
pub fn again<T, E: Transient>(mut call: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let mut pauses = (1..=ATTEMPTS).map(Duration::from_millis);
    loop {
        let result = call();
        match result.as_ref().err().and_then(Transient::errno) {
            Some(Errno::INTR) => {}
            Some(Errno::AGAIN) => match pauses.next() {
                Some(pause) => sleep(pause),
                None => return result,
            },
            _ => return result,
        }
    }
}

/// Waits for about so long. Whatever cuts it short is no harm, for who waits looks again; the standard library's panics.
pub fn sleep(length: Duration) {
    if let Ok(length) = Timespec::try_from(length) {
        let _cut_short = nanosleep(&length);
    }
}

/// The same for a call of the C library that answers with a number, below zero on error.
pub(super) fn number<N: Into<i64>>(mut call: impl FnMut() -> N) -> rustix::io::Result<i64> {
    again(|| match call().into() {
        number @ 0.. => Ok(number),
        _ => Err(last_errno()),
    })
}

/// The same where the number says no more than that.
pub(super) fn done<N: Into<i64>>(call: impl FnMut() -> N) -> rustix::io::Result<()> {
    number(call).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_call_is_made_again_and_a_refused_one_some_times() {
        let mut answers = [Err(Errno::INTR), Err(Errno::AGAIN), Err(Errno::INTR), Ok(7)].into_iter();
        assert_eq!(again(|| answers.next().unwrap()), Ok(7));
        let mut count = 0;
        let refused: Result<(), _> = again(|| {
            count += 1;
            Err(std::io::Error::from_raw_os_error(libc::EAGAIN))
        });
        assert_eq!((refused.unwrap_err().raw_os_error(), count), (Some(libc::EAGAIN), ATTEMPTS + 1));
        assert_eq!(again(|| Err::<(), _>(nix::errno::Errno::EPERM)), Err(nix::errno::Errno::EPERM));
    }
}
