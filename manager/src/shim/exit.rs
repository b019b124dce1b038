//! How a process ended: its wait status as an exit code, and whether the kernel killed something in
//! its cgroup for want of memory.

use std::fs;
use std::path::PathBuf;

use nix::sys::wait::WaitStatus;

use crate::container::record::Exit;
use crate::container::time;

/// Code and signal of a wait status; `None` if the process is not over.
pub fn code(status: WaitStatus) -> Option<(i32, Option<i32>)> {
    match status {
        WaitStatus::Exited(_, code) => Some((code, None)),
        WaitStatus::Signaled(_, signal, _) => Some((128 + signal as i32, Some(signal as i32))),
        _ => None,
    }
}

/// The exit record for an end that happened now.
pub fn record((code, signal): (i32, Option<i32>), oom: bool) -> Exit {
    Exit { code, signal, finished: time::now(), oom, error: None }
}

/// The files in which the kernel counts its kills in a container's cgroup (v1 and v2).
#[derive(Debug, Default)]
pub struct OomCounters(Vec<PathBuf>);

impl OomCounters {
    /// Found while init lives, because afterwards its cgroup is no longer to be read from /proc.
    pub fn of(pid: i32) -> Self {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let files = text.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
            if controllers.split(',').any(|name| name == "memory") {
                Some(PathBuf::from("/sys/fs/cgroup/memory").join(path).join("memory.oom_control"))
            } else if controllers.is_empty() {
                Some(PathBuf::from("/sys/fs/cgroup").join(path).join("memory.events"))
            } else {
                None
            }
        });
        Self(files.collect())
    }

    /// Whether any kill was counted. Both files say it as `oom_kill N`.
    pub fn any(&self) -> bool {
        let text = self.0.iter().filter_map(|file| fs::read_to_string(file).ok()).collect::<String>();
        text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
    }
}
