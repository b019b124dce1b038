//! One clone: the new process is in all new namespaces at once. Only where a namespace must be joined first
//! does an intermediate process do that, and clone init as a sibling of itself, so that init is our child
//! either way.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use nix::sched::CloneFlags;

use super::sync::{Message, Sync};
use super::{Init, sync};
use crate::error::{Context, Error, Kind, Result};
use crate::sys::process::{Cloned, clone3, exit_now};

/// What a new process joins before it is made.
#[derive(Debug)]
pub enum Join {
    /// Namespaces by kind and path, in this order.
    Paths(Vec<(i32, PathBuf)>),
    /// All these kinds of the process that the pidfd refers to, in one call (setns(2), Linux 5.8).
    Process(std::os::fd::OwnedFd, i32),
}

/// Makes a process in new namespaces (`create`, `CLONE_NEW*`) after joining others; in it, `story` runs and
/// never returns but with an error, which then travels home.
pub fn spawn(
    create: u64,
    join: &Join,
    story: impl FnOnce(Sync) -> Result<std::convert::Infallible>,
) -> Result<Init> {
    let (ours, theirs) = sync::pair()?;
    let direct = matches!(join, Join::Paths(paths) if paths.is_empty());
    let flags = if direct { create } else { 0 };
    match clone3(flags).context("clone: create namespaces")? {
        Cloned::Parent(pid, _pidfd) if direct => Init::adopt(pid, ours),
        Cloned::Parent(pid, _pidfd) => {
            drop(theirs);
            follow_intermediate(pid, ours)
        }
        Cloned::Child => {
            drop(ours);
            if direct { tell(story, theirs) } else { intermediate(create, join, story, theirs) }
        }
    }
}

fn follow_intermediate(intermediate: i32, ours: Sync) -> Result<Init> {
    let said = ours.receive();
    let intermediate = rustix::process::Pid::from_raw(intermediate);
    rustix::process::waitpid(intermediate, rustix::process::WaitOptions::empty())
        .context("wait for intermediate")?;
    match said? {
        Some(Message::Spawned(pid)) => Init::adopt(pid, ours),
        Some(Message::Failed(text)) => Err(Error::new(Kind::System, text)),
        _ => Err(Error::new(Kind::System, "intermediate process ended without a word")),
    }
}

/// Runs `story` in the new process. The error goes home over a duplicate of the socket, because the story
/// owns the socket itself.
fn tell(story: impl FnOnce(Sync) -> Result<std::convert::Infallible>, theirs: Sync) -> ! {
    let code = match theirs.duplicate() {
        Ok(home) => match story(theirs) {
            Ok(never) => match never {},
            Err(error) => i32::from(home.send(&Message::Failed(error.to_string())).is_err()) + 1,
        },
        Err(_) => 1,
    };
    exit_now(code)
}

fn intermediate(
    create: u64,
    join: &Join,
    story: impl FnOnce(Sync) -> Result<std::convert::Infallible>,
    theirs: Sync,
) -> ! {
    let enter = || -> Result<Cloned> {
        join_all(join)?;
        clone3(create | libc::CLONE_PARENT as u64).context("clone: create namespaces")
    };
    let code = match enter() {
        Ok(Cloned::Child) => tell(story, theirs),
        Ok(Cloned::Parent(pid, _)) => i32::from(theirs.send(&Message::Spawned(pid)).is_err()),
        Err(error) => i32::from(theirs.send(&Message::Failed(error.to_string())).is_err()) + 1,
    };
    exit_now(code)
}

fn join_all(join: &Join) -> Result<()> {
    match join {
        Join::Process(pidfd, kinds) => nix::sched::setns(pidfd, CloneFlags::from_bits_truncate(*kinds))
            .context("join the container's namespaces"),
        Join::Paths(paths) => {
            // All are opened first: after joining a mount namespace the paths would mean something else.
            let open = |path: &PathBuf| {
                File::open(path).with_context(|| format!("open namespace {}", path.display()))
            };
            let files = paths.iter().map(|(kind, path)| Ok((*kind, path, open(path)?)));
            for (kind, path, file) in files.collect::<Result<Vec<_>>>()? {
                nix::sched::setns(file.as_fd(), CloneFlags::from_bits_truncate(kind))
                    .with_context(|| format!("join namespace {}", path.display()))?;
            }
            Ok(())
        }
    }
}
