//! The shim's control protocol: small frames over a stream socket.
//!
//! ```text
//! client                         shim
//!   Attach | Wait | Exec  ─────→         the first frame says what the connection is for
//!                         ←─────  Started | Failed      (Exec, and the creating client's)
//!   Input, InputEnd, Resize ───→ ←───── Stdout, Stderr  (Attach and Exec, in any order)
//!                         ←─────  Exited                (the last frame)
//! ```
//!
//! A frame is one byte of kind, four bytes of length (big endian) and the payload. Both ends keep
//! partial frames in a buffer, so that neither ever blocks on the other.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// The longest payload that is accepted.
const MAX_PAYLOAD: usize = 1 << 20;
const HEADER: usize = 5;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Client: follow the container's streams; with `true` also feed its input.
    Attach(bool),
    /// Client: tell me when the container is over.
    Wait,
    /// Client: run another process (JSON of [`ExecRequest`]).
    Exec(Vec<u8>),
    /// Client: bytes for standard input.
    Input(Vec<u8>),
    /// Client: no more input.
    InputEnd,
    /// Client: the terminal has this many rows and columns.
    Resize(u16, u16),
    /// Shim: the process runs.
    Started,
    /// Shim: it does not (JSON of [`Failure`]).
    Failed(Vec<u8>),
    /// Shim: bytes from standard output, or from the terminal.
    Stdout(Vec<u8>),
    /// Shim: bytes from standard error.
    Stderr(Vec<u8>),
    /// Shim: over, with this code.
    Exited(i32),
    /// Shim: this client reads too slowly; what follows is lost to it (not to the log).
    Dropped,
}

/// What to run in a running container.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Program and arguments.
    pub args: Vec<String>,
    /// `KEY=value`, over the container's environment.
    pub env: Vec<String>,
    /// Working directory, if not the container's.
    pub cwd: Option<String>,
    /// `user[:group]`, if not the container's.
    pub user: Option<String>,
    /// With a terminal of its own.
    pub tty: bool,
    /// Keep standard input open.
    pub stdin: bool,
    /// Nobody follows it.
    pub detached: bool,
    /// Rows and columns at start.
    pub console_size: Option<(u16, u16)>,
}

/// Why a process did not start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// For people.
    pub message: String,
    /// The exit code the client should end with: 125, 126 or 127.
    pub code: i32,
}

impl Frame {
    /// The frame as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, payload): (u8, &[u8]) = match self {
            Self::Attach(stdin) => (b'A', &[u8::from(*stdin)]),
            Self::Wait => (b'W', &[]),
            Self::Exec(json) => (b'P', json),
            Self::Input(bytes) => (b'I', bytes),
            Self::InputEnd => (b'Z', &[]),
            Self::Resize(rows, columns) => return encode(b'R', &size_bytes(*rows, *columns)),
            Self::Started => (b'S', &[]),
            Self::Failed(json) => (b'F', json),
            Self::Stdout(bytes) => (b'O', bytes),
            Self::Stderr(bytes) => (b'E', bytes),
            Self::Exited(code) => return encode(b'X', &code.to_be_bytes()),
            Self::Dropped => (b'D', &[]),
        };
        encode(kind, payload)
    }

    fn decode(kind: u8, payload: &[u8]) -> Option<Self> {
        Some(match (kind, payload) {
            (b'A', [stdin]) => Self::Attach(*stdin != 0),
            (b'W', []) => Self::Wait,
            (b'P', json) => Self::Exec(json.to_vec()),
            (b'I', bytes) => Self::Input(bytes.to_vec()),
            (b'Z', []) => Self::InputEnd,
            (b'R', [a, b, c, d]) => Self::Resize(u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])),
            (b'S', []) => Self::Started,
            (b'F', json) => Self::Failed(json.to_vec()),
            (b'O', bytes) => Self::Stdout(bytes.to_vec()),
            (b'E', bytes) => Self::Stderr(bytes.to_vec()),
            (b'X', code) => Self::Exited(i32::from_be_bytes(code.try_into().ok()?)),
            (b'D', []) => Self::Dropped,
            _ => return None,
        })
    }
}

fn encode(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.push(kind);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn size_bytes(rows: u16, columns: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (rows.to_be_bytes(), columns.to_be_bytes());
    [a, b, c, d]
}

/// Turns a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Takes in bytes as they were read.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one; an error for what is no frame.
    pub fn take_frame(&mut self) -> Result<Option<Frame>> {
        let [kind, a, b, c, d, rest @ ..] = self.buffer.as_slice() else { return Ok(None) };
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let malformed = || Error::new(Kind::System, "control socket: malformed frame");
        if length > MAX_PAYLOAD {
            return Err(malformed());
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let frame = Frame::decode(*kind, payload).ok_or_else(malformed)?;
        self.buffer.drain(..HEADER + length);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_being_torn() {
        let frames = [
            Frame::Attach(true),
            Frame::Stdout(b"hello".to_vec()),
            Frame::Resize(24, 80),
            Frame::Exited(137),
            Frame::InputEnd,
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        let mut decoder = Decoder::default();
        let mut decoded = Vec::new();
        for byte in bytes {
            decoder.feed(&[byte]);
            decoded.extend(decoder.take_frame().unwrap());
        }
        assert_eq!(decoded, frames);
    }

    #[test]
    fn an_endless_or_unknown_frame_is_refused() {
        for bytes in [[b'O', 255, 255, 255, 255], [b'?', 0, 0, 0, 0]] {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            assert!(decoder.take_frame().is_err());
        }
    }
}
