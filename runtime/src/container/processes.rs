//! The processes of a container: those in its control groups, or where it has none (an ordinary user's need not)
//! those in its PID namespace.

use std::path::PathBuf;

use super::record::Record;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::files;
use crate::sys::process::{pidfd_open, pidfd_send_signal};

/// All processes, as the runtime's PID namespace numbers them. Without control groups, those that the container has
/// put in PID namespaces below its own are not found.
pub fn pids(record: &Record) -> Result<Vec<i32>> {
    if !record.cgroup.dirs.is_empty() {
        return record.cgroup.pids();
    }
    let Some(init) = record.init else { return Ok(Vec::new()) };
    if !init.is_alive()? {
        return Ok(Vec::new());
    }
    if !has_own_namespace(record) {
        let message = "the container has neither a cgroup nor a PID namespace of its own";
        return Err(Error::new(Kind::Unsupported, message));
    }
    let namespace = |pid: i32| files::read_link(format!("/proc/{pid}/ns/pid"));
    let its = namespace(init.pid).context("read the container's PID namespace")?;
    let mut pids = Vec::new();
    for entry in files::entries("/proc").context("read /proc")? {
        let name = entry.name;
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // What is gone by now, or may not be looked into, is not the container's.
        if namespace(pid).is_ok_and(|other: PathBuf| other == its) {
            pids.push(pid);
        }
    }
    pids.sort_unstable();
    Ok(pids)
}

/// Sends a signal to all of them.
pub fn signal_all(record: &Record, signal: i32) -> Result<()> {
    if !record.cgroup.dirs.is_empty() {
        return record.cgroup.kill(signal);
    }
    for pid in pids(record)? {
        let pidfd = pidfd_open(pid).with_context(|| format!("kill process {pid}"))?;
        let Some(pidfd) = pidfd else { continue };
        // The number can have become another process's before it was pinned.
        if !pids(record)?.contains(&pid) {
            continue;
        }
        match pidfd_send_signal(&pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(errno) => return Err(errno).with_context(|| format!("kill process {pid}")),
        }
    }
    Ok(())
}

/// Whether the processes of the container are alone in their PID namespace, so that they end with its init.
pub fn has_own_namespace(record: &Record) -> bool {
    let namespaces =
        record.config.linux.as_ref().map(|linux| linux.namespaces.as_slice()).unwrap_or_default();
    namespaces.iter().any(|namespace| namespace.kind == "pid" && namespace.path.is_empty())
}
