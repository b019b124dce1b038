//! The actions: one file each, and the only way in for the command line. Each finds its container,
//! does one thing in bounded time and says what went wrong; none holds a lock while another process
//! works.

pub mod create;
pub mod exec;
pub mod images;
pub mod inspect;
pub mod install;
pub mod kill;
pub mod list;
pub mod load;
pub mod logs;
pub mod pull;
pub mod remove;
pub mod remove_image;
pub mod run;
pub mod start;
pub mod stop;
pub mod wait;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::error::{Context, Error, Kind, Result};
use crate::shim::control::{Decoder, Failure, Frame};

/// A client's end of a shim's socket.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    decoder: Decoder,
}

impl Connection {
    /// Speaks frames over this stream.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, decoder: Decoder::default() }
    }

    /// The stream, to poll.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Sends one frame whole.
    pub fn send(&mut self, frame: &Frame) -> Result<()> {
        self.stream.write_all(&frame.encode()).context("write to the container's shim")
    }

    /// Waits for one frame; `None` if the shim is gone.
    pub fn receive(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.decoder.take_frame()? {
                return Ok(Some(frame));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// The next frame that has already arrived whole.
    pub fn buffered(&mut self) -> Result<Option<Frame>> {
        self.decoder.take_frame()
    }

    /// Reads once. False at the end.
    pub fn fill(&mut self) -> Result<bool> {
        let mut buffer = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.decoder.feed(buffer.get(..count).unwrap_or_default());
                    return Ok(true);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => return Err(error).context("read from the container's shim"),
            }
        }
    }
}

/// A shim's [`Frame::Failed`] as the error it was.
pub fn failure(json: &[u8]) -> Error {
    match serde_json::from_slice::<Failure>(json) {
        Ok(failure) => {
            let kind = match failure.code {
                126 => Kind::NotExecutable,
                127 => Kind::CommandNotFound,
                _ => Kind::System,
            };
            Error::new(kind, failure.message)
        }
        Err(error) => Error::new(Kind::System, format!("parse the shim's answer: {error}")),
    }
}
