//! Reading and writing that waits, also where whoever gave us the descriptor has made it one that does not block: a
//! terminal or a pipe that we share with others may be one at any time (fcntl(2), O_NONBLOCK).

use std::io::{Read, Result, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// A descriptor that is waited for.
#[derive(Debug)]
pub struct Stream<F>(pub F);

impl<F: AsFd> Stream<F> {
    fn patiently<T>(
        &self,
        awaited: PollFlags,
        mut call: impl FnMut(&F) -> rustix::io::Result<T>,
    ) -> Result<T> {
        loop {
            match call(&self.0) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => match poll(&mut [PollFd::new(&self.0, awaited)], None) {
                    Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
                    Err(errno) => return Err(errno.into()),
                },
                other => return Ok(other?),
            }
        }
    }
}

impl<F: AsFd> Read for Stream<F> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.patiently(PollFlags::IN, |fd| rustix::io::read(fd, &mut *buffer))
    }
}

impl<F: AsFd> Write for Stream<F> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.patiently(PollFlags::OUT, |fd| rustix::io::write(fd, bytes))
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
