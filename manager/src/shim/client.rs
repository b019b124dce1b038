//! One client of the shim: what it sends is decoded, what it has not read yet is kept, up to a bound.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use super::control::{Decoder, Frame};
use crate::error::{Context, Result};

/// Output that a client has not read yet.
pub(super) const MAX_BACKLOG: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: UnixStream,
    pub(super) decoder: Decoder,
    pub(super) backlog: VecDeque<u8>,
    /// Whose streams it follows.
    pub(super) session: Option<u32>,
    pub(super) feeds: bool,
    /// The end of its input ends the process's.
    pub(super) ends_input: bool,
    /// Closed as soon as its backlog is written.
    pub(super) closing: bool,
    /// It read too slowly and gets no more output.
    pub(super) dropped: bool,
    pub(super) gone: bool,
}

impl Client {
    pub(super) fn new(stream: UnixStream) -> Result<Self> {
        stream.set_nonblocking(true).context("make a client's socket non-blocking")?;
        let (decoder, backlog) = (Decoder::default(), VecDeque::new());
        Ok(Self {
            stream,
            decoder,
            backlog,
            session: None,
            feeds: false,
            ends_input: false,
            closing: false,
            dropped: false,
            gone: false,
        })
    }

    pub(super) fn send(&mut self, frame: &Frame) {
        if self.closing || self.gone {
            return;
        }
        if matches!(frame, Frame::Stdout(_) | Frame::Stderr(_)) {
            if !self.dropped && self.backlog.len() > MAX_BACKLOG {
                self.dropped = true;
                self.backlog.extend(Frame::Dropped.encode());
            }
            if self.dropped {
                return;
            }
        }
        self.backlog.extend(frame.encode());
        self.write();
    }

    pub(super) fn write(&mut self) {
        while let (head @ [_, ..], _) = self.backlog.as_slices() {
            match self.stream.write(head) {
                Ok(count) => drop(self.backlog.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.gone = true;
                    return self.backlog.clear();
                }
            }
        }
    }

    pub(super) fn read(&mut self) {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.gone = true,
            Ok(count) => self.decoder.feed(buffer.get(..count).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.gone = true,
        }
    }
}
