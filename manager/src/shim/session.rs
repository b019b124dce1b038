//! One supervised process, the container's own or an `exec`'s: its stage of life, its stdio and,
//! for the container's, the log.

use std::path::PathBuf;

use super::log::{Log, Stream};
use super::stdio::{Console, Ends};

/// Where the process is in its life.
#[derive(Debug)]
pub enum Stage {
    /// `runtime exec` runs; when it is done the process's pid is in the file.
    Starting(Starting),
    /// The process runs.
    Running(i32),
    /// It is over.
    Exited,
}

/// What is needed while `runtime exec` runs.
#[derive(Debug)]
pub struct Starting {
    /// The runtime's pid.
    pub runtime: i32,
    /// Where the pid will be.
    pub pid_file: PathBuf,
    /// Where its process document is.
    pub process_file: PathBuf,
    /// The runtime's log.
    pub log: PathBuf,
    /// Where the terminal will come from.
    pub console: Option<Console>,
    /// Its size at start.
    pub size: Option<(u16, u16)>,
}

/// One process.
#[derive(Debug)]
pub struct Session {
    /// Its stage.
    pub stage: Stage,
    /// The near ends of its stdio.
    pub ends: Ends,
    log: Option<Log>,
}

impl Session {
    /// A process that runs.
    pub fn running(pid: i32, ends: Ends, log: Option<Log>) -> Self {
        Self { stage: Stage::Running(pid), ends, log }
    }

    /// A process that a runtime is starting.
    pub fn starting(starting: Starting, ends: Ends) -> Self {
        Self { stage: Stage::Starting(starting), ends, log: None }
    }

    /// Reads a stream once and logs it; `None` if there is nothing to have now or ever.
    pub fn pump<'a>(&mut self, stream: Stream, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let bytes = self.ends.read(stream, buffer).filter(|bytes| !bytes.is_empty())?;
        if let Some(log) = &mut self.log {
            log.write(stream, bytes);
        }
        Some(bytes)
    }

    /// No more output will come.
    pub fn finish(&mut self) {
        if let Some(log) = &mut self.log {
            log.finish();
        }
        self.ends = Ends::default();
        self.stage = Stage::Exited;
    }
}
