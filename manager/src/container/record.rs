//! The documents of one container. Each has one writer and one moment: the record is written by the
//! command that creates the container, the running state and the exit by its shim.

use serde::{Deserialize, Serialize};

use super::time;

/// What was asked for, with every default resolved; never changed after creation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Record {
    /// 64 hex digits.
    pub id: String,
    /// Unique among containers.
    pub name: String,
    /// RFC 3339, UTC.
    pub created: String,
    /// The reference the user gave.
    pub image: String,
    /// The image's config digest.
    pub image_id: String,
    /// Entry point and command, joined.
    pub args: Vec<String>,
    /// `KEY=value`.
    pub env: Vec<String>,
    /// Absolute working directory.
    pub cwd: String,
    /// `user[:group]` as asked, resolved inside the root at start; empty for root.
    pub user: String,
    /// A pseudo-terminal is its stdio.
    pub tty: bool,
    /// Standard input is kept open for clients.
    pub stdin: bool,
    /// Nobody waits for it in the foreground.
    pub detached: bool,
    /// Host name inside.
    pub hostname: String,
    /// Which network it is on.
    pub network: Network,
    /// Bind mounts from the host.
    pub binds: Vec<Bind>,
    /// Bytes of memory, if limited.
    pub memory: Option<i64>,
    /// CPU time per 100 ms period, in microseconds, if limited.
    pub cpu_quota: Option<i64>,
    /// Number of tasks, if limited.
    pub pids_limit: Option<i64>,
    /// The root is mounted read-only.
    pub read_only: bool,
    /// Name or number of the signal that asks it to stop.
    pub stop_signal: String,
    /// The runtime's executable.
    pub runtime: String,
    /// Remove the container when it has exited.
    pub remove: bool,
    /// Rows and columns of the terminal at start.
    pub console_size: Option<(u16, u16)>,
}

/// The network of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Its own, with loopback only.
    #[default]
    None,
    /// The host's.
    Host,
}

/// One `-v` option.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute path on the host.
    pub source: String,
    /// Absolute path in the container.
    pub target: String,
    /// Mount options besides `rbind` and the propagation default.
    pub options: Vec<String>,
}

/// What the shim writes once the container's init exists.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Running {
    /// Init's pid on the host.
    pub pid: i32,
    /// Init's start time in clock ticks since boot: tells it from a later process with its pid.
    pub pid_start: u64,
    /// RFC 3339, UTC.
    pub started: String,
}

/// How a container ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exit {
    /// 0–255; 128+n for a signal; 255 if the shim was not there to see it.
    pub code: i32,
    /// The signal, if one ended it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<i32>,
    /// RFC 3339, UTC.
    pub finished: String,
    /// The kernel killed a process of it for want of memory.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub oom: bool,
    /// Why the code is not the container's own, or why it never ran.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// Status as derived at one look.
#[derive(Debug, Clone)]
pub enum Status {
    /// Has a record, never ran.
    Created,
    /// Its init is alive.
    Running(Running),
    /// It ended.
    Exited(Exit),
}

impl Status {
    /// OCI's and Docker's one word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running(_) => "running",
            Self::Exited(_) => "exited",
        }
    }

    /// The sentence in `ps`: `Up 2 seconds`, `Exited (0) 5 minutes ago`.
    pub fn sentence(&self) -> String {
        match self {
            Self::Created => "Created".into(),
            Self::Running(running) => format!("Up {}", time::human(time::since(&running.started))),
            Self::Exited(exit) => {
                format!("Exited ({}) {} ago", exit.code, time::human(time::since(&exit.finished)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_as_dockers() {
        let ago = |seconds| {
            let now = time::parse(&time::now()).unwrap();
            time::format(now - std::time::Duration::from_secs(seconds))
        };
        let running = Running { pid: 1, pid_start: 0, started: ago(2) };
        assert_eq!(Status::Running(running).sentence(), "Up 2 seconds");
        let exit = Exit { code: 0, signal: None, finished: ago(300), oom: false, error: None };
        assert_eq!(Status::Exited(exit).sentence(), "Exited (0) 5 minutes ago");
    }
}
