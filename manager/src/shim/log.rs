//! The container's log: one JSON record per line, `{"log","stream","time"}`, the format of Docker's
//! json-file driver. A line longer than 16 KiB becomes several records of which only the last ends
//! in a newline; bytes that are not UTF-8 are kept as replacement characters.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::container::time;
use crate::error::{Context, Result};

/// Longest text of one record.
const MAX_LINE: usize = 16 * 1024;

/// One record.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    /// The text, with its newline if it ended in one.
    pub log: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// RFC 3339, UTC.
    pub time: String,
}

/// Which of a container's streams bytes came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn word(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Appends to one log file.
#[derive(Debug)]
pub struct Log {
    file: File,
    partial: [Vec<u8>; 2],
}

impl Log {
    /// Opens the log for appending.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        Ok(Self { file: file.context(format!("open log {}", path.display()))?, partial: Default::default() })
    }

    /// Takes bytes in; whole lines are written. A record that can't be written (disk full) is lost:
    /// the container must not stop for its log.
    pub fn write(&mut self, stream: Stream, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = MAX_LINE - self.partial(stream).len();
            let end = match bytes.iter().position(|byte| *byte == b'\n') {
                Some(newline) if newline < room => newline + 1,
                _ => bytes.len().min(room),
            };
            let (head, tail) = bytes.split_at(end);
            self.partial(stream).extend_from_slice(head);
            bytes = tail;
            if head.ends_with(b"\n") || self.partial(stream).len() == MAX_LINE {
                self.flush(stream);
            }
        }
    }

    /// Writes what has no newline yet.
    pub fn finish(&mut self) {
        self.flush(Stream::Stdout);
        self.flush(Stream::Stderr);
    }

    fn partial(&mut self, stream: Stream) -> &mut Vec<u8> {
        let [stdout, stderr] = &mut self.partial;
        if stream == Stream::Stdout { stdout } else { stderr }
    }

    fn flush(&mut self, stream: Stream) {
        let bytes = std::mem::take(self.partial(stream));
        if bytes.is_empty() {
            return;
        }
        let log = String::from_utf8_lossy(&bytes).into_owned();
        let line = Line { log, stream: stream.word().to_owned(), time: time::now() };
        let written = serde_json::to_vec(&line).map_err(std::io::Error::from).and_then(|mut json| {
            json.push(b'\n');
            self.file.write_all(&json)
        });
        if let Err(error) = written {
            log::warn!("write log: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(write: impl FnOnce(&mut Log)) -> Vec<String> {
        let path = std::env::temp_dir().join(format!(
            "wharf-log-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let mut log = Log::open(&path).unwrap();
        write(&mut log);
        log.finish();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap().log).collect()
    }

    #[test]
    fn torn_lines_are_joined_and_the_last_needs_no_newline() {
        let lines = logged(|log| {
            log.write(Stream::Stdout, b"one\ntw");
            log.write(Stream::Stdout, b"o\nthree");
        });
        assert_eq!(lines, ["one\n", "two\n", "three"]);
    }

    #[test]
    fn a_long_line_is_cut_at_16_kib() {
        let lines = logged(|log| log.write(Stream::Stderr, &[&[b'x'; 20_000][..], b"\n"].concat()));
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [16_384, 20_001 - 16_384]);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced() {
        assert_eq!(logged(|log| log.write(Stream::Stdout, b"a\xffb\n")), ["a\u{fffd}b\n"]);
    }
}
