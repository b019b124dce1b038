//! `delete`: take away what `create` made. Each step is tried, whatever became of the others; the record goes
//! last, so that a `delete` that was cut short can be repeated.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;

use crate::cli::Globals;
use crate::cli::verbs::Delete;
use crate::container::births::Births;
use crate::container::lock::Lock;
use crate::container::record::{Identity, Record};
use crate::container::{Container, fifo, status};
use crate::deadline::Deadline;
use crate::error::{Context, Error, Kind, Result};
use crate::hooks;
use crate::spec::state::Status;
use crate::sys::again::again;

/// How long a killed process may take to die.
const DIE_DEADLINE: Duration = Duration::from_secs(10);

/// How often what was frozen again is thawed while it is to die.
const THAW_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// The verb.
pub fn delete(globals: &Globals, words: &Delete) -> Result<()> {
    let context = || format!("delete {:?}", words.id);
    let container = match Container::open(&globals.root, &words.id.parse()?) {
        Err(error) if words.force && error.kind() == Kind::NotFound => return Ok(()),
        other => other?,
    };
    if words.force {
        return delete_container(&container).with_context(context);
    }
    let lock = container.lock()?;
    let record = container.load()?;
    let mut claim = None;
    let status = match status::derive(&container, &record)? {
        // Nobody may start it any more.
        Status::Created => {
            claim = fifo::claim(&container.folder).with_context(context)?;
            if claim.is_some() { Status::Created } else { status::derive(&container, &record)? }
        }
        status => status,
    };
    if claim.is_none() && status != Status::Stopped {
        let message = format!("cannot delete container {} that is not stopped: {status}", words.id);
        return Err(Error::new(Kind::WrongStatus, message));
    }
    remove(&container, lock).with_context(context)
}

/// Ends and removes a container in whatever state it is; fine if somebody else does.
pub fn delete_container(container: &Container) -> Result<()> {
    match container.lock() {
        Err(error) if error.kind() == Kind::NotFound => Ok(()),
        lock => remove(container, lock?),
    }
}

/// Deletes a container that was made for this command alone. What fails is tried once more, for nobody else will do it.
pub fn delete_own(container: &Container) -> Result<()> {
    delete_container(container).or_else(|error| {
        log::debug!("once more: {error}");
        delete_container(container)
    })
}

/// What a command came to that has made a container: if it failed, nothing is left of that.
pub fn or_delete_own<T>(container: &Container, result: Result<T>) -> Result<T> {
    result.inspect_err(|_| {
        if let Err(error) = delete_own(container) {
            log::warn!("clean up after a failed command: {error}");
        }
    })
}

fn remove(container: &Container, lock: Lock) -> Result<()> {
    if !container.has_record()? {
        return container.remove(); // then there is nothing but the folder
    }
    let mut record = match container.load() {
        Err(error) if error.kind() == Kind::Invalid => {
            // Nobody can tell any more what it had, and the ID must not be lost for ever.
            log::warn!("{error}: only the record is removed, whatever else there may be of the container");
            return container.remove();
        }
        other => other?,
    };
    if !record.complete && record.creator.pid != std::process::id() as i32 && record.creator.is_alive()? {
        end(record.creator, || Ok(())).context("stop the process that is creating it")?;
        record = container.load()?; // it may have come further
    }
    if !unmake(container, &record)? {
        return Ok(()); // somebody else has done it
    }
    drop(lock);
    let list = record.config.hooks.as_ref().map(|hooks| hooks.poststop.as_slice()).unwrap_or_default();
    for error in hooks::run_all("poststop", list, &record.state(Status::Stopped, 0)) {
        log::warn!("{error}");
    }
    Ok(())
}

/// Takes away all that a container is, without hooks; false if somebody else has deleted it meanwhile. What fails is tried
/// once more: after a `create` or `run` that has failed there is nobody else to do it.
pub fn unmake(container: &Container, record: &Record) -> Result<bool> {
    take_away(container, record).or_else(|error| {
        log::debug!("once more: {error}");
        take_away(container, record)
    })
}

fn take_away(container: &Container, record: &Record) -> Result<bool> {
    let thaw = || record.cgroup.freeze(false);
    let ended = record.init.map_or(Ok(()), |init| end(init, thaw));
    // Who is on its way into the control groups must have got there, or be gone, before all in them are killed. But one
    // that is frozen there does not even learn that it has arrived.
    let kill = || record.cgroup.kill(libc::SIGKILL).unwrap_or_else(|error| log::debug!("{error}"));
    let Some(_births) = Births::end(&container.dir, kill)? else { return Ok(false) };
    let idle = record.cgroup.remove_idle();
    let steps = [
        ended,
        if idle { Ok(()) } else { record.cgroup.kill(libc::SIGKILL) },
        if idle { Ok(()) } else { record.cgroup.remove() },
        record.rdt.as_ref().map_or(Ok(()), |group| group.remove()),
    ];
    let mut errors = steps.into_iter().filter_map(Result::err);
    match errors.next() {
        Some(first) => Err(errors.fold(first, |all, error| all.followed(error))),
        None => container.remove().map(|()| true),
    }
}

/// Kills a process and waits until it is gone; a recycled PID is left alone. On cgroup v1 nothing dies that is
/// frozen, so it is thawed, and again if somebody freezes it meanwhile.
fn end(process: Identity, thaw: impl Fn() -> Result<()>) -> Result<()> {
    let context = || format!("kill process {}", process.pid);
    let Some(pidfd) = process.pin().with_context(context)? else { return Ok(()) };
    match again(|| rustix::process::pidfd_send_signal(&pidfd, Signal::KILL)) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(errno) => return Err(errno).with_context(context),
    }
    let deadline = Deadline::after(DIE_DEADLINE);
    while !deadline.is_over() {
        if let Err(error) = thaw() {
            log::debug!("{error}"); // it shows in what comes of it
        }
        match rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&THAW_EVERY)) {
            Ok(0) | Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            other => return other.map(drop).with_context(context),
        }
    }
    Err(Error::new(Kind::System, "does not die")).with_context(context)
}
