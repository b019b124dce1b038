//! Hearing of it when a container runs out of memory, without asking again and again.
//!
//! v1 tells an eventfd that was registered (kernel Documentation/admin-guide/cgroup-v1/memory.rst, "OOM Control"); v2
//! changes a file, which inotify(7) announces.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::EventfdFlags;
use rustix::fs::inotify;

use super::files::{read_file, write_file};
use super::{Cgroup, Mode};
use crate::error::{Context, Result};
use crate::sys::again::again;
use crate::sys::files;

/// A watch on the container's memory.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// The file that is gone when the cgroup is, which wakes the eventfd too.
    V1(PathBuf),
    /// The file with the count, and the count that was told of.
    V2(PathBuf, u64),
}

impl Cgroup {
    /// Starts watching; `None` where nobody limits memory, or nobody does any more.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>> {
        match (self.mode, self.with("memory"), self.unified()) {
            (Mode::V1, Some(dir), _) if dir.path.is_dir() => {
                watch_v1(&dir.path).map(Some).context("watch memory")
            }
            (Mode::V2, _, Some(dir)) if dir.path.join("memory.events").exists() => {
                watch_v2(dir.path.join("memory.events")).map(Some).context("watch memory")
            }
            _ => Ok(None),
        }
    }
}

fn watch_v1(dir: &std::path::Path) -> Result<OomWatch> {
    let path = dir.join("memory.oom_control");
    let fd = again(|| rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK))
        .context("make eventfd")?;
    let control = files::open(&path).on("open", &path)?;
    let registration = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
    write_file(&dir.join("cgroup.event_control"), &registration)?;
    Ok(OomWatch { fd, source: Source::V1(path) })
}

fn watch_v2(path: PathBuf) -> Result<OomWatch> {
    let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .context("make inotify")?;
    inotify::add_watch(&fd, &path, inotify::WatchFlags::MODIFY).on("watch", &path)?;
    let seen = kills(&path)?;
    Ok(OomWatch { fd, source: Source::V2(path, seen) })
}

impl OomWatch {
    /// Takes what was announced: whether there was a new lack of memory since the last time.
    pub fn take(&mut self) -> Result<bool> {
        let mut buffer = [0u8; 4096];
        let mut woken = false;
        loop {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(0) | Err(rustix::io::Errno::AGAIN) => break,
                Ok(_) => woken = true,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno).context("read memory watch"),
            }
        }
        match &mut self.source {
            Source::V1(path) => Ok(woken && path.exists()),
            Source::V2(path, seen) => {
                let now = kills(path)?;
                Ok(now > std::mem::replace(seen, now.max(*seen)))
            }
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `oom_kill` of memory.events.
fn kills(path: &std::path::Path) -> Result<u64> {
    let text = read_file(path)?.unwrap_or_default();
    let count =
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|count| count.parse().ok());
    Ok(count.unwrap_or(0))
}
