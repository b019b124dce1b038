//! `delete`: take away what `create` made. Each step is tried, whatever became of the others; the record goes
//! last, so that a `delete` that was cut short can be repeated.

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::open;
use crate::cli::Globals;
use crate::cli::verbs::Delete;
use crate::container::record::{Identity, Record};
use crate::container::{Container, status};
use crate::error::{Context, Error, Kind, Result};
use crate::hooks;
use crate::spec::state::Status;

/// How long a killed process may take to die, in seconds.
const DIE_DEADLINE: i64 = 10;

/// The verb.
pub fn delete(globals: &Globals, words: &Delete) -> Result<()> {
    let (container, record) = match open(globals, &words.id) {
        Ok(found) => found,
        Err(error) if words.force && error.kind() == Kind::NotFound => {
            return remove_without_record(globals, &words.id);
        }
        Err(error) => return Err(error),
    };
    let status = status::derive(&container.dir, &record);
    if !words.force && !matches!(status, Status::Stopped | Status::Created) {
        let message = format!("cannot delete container {} that is not stopped: {status}", words.id);
        return Err(Error::new(Kind::WrongStatus, message));
    }
    delete_container(&container, &record).with_context(|| format!("delete {:?}", words.id))
}

/// A folder whose record was never written holds nothing but itself.
fn remove_without_record(globals: &Globals, id: &str) -> Result<()> {
    match Container::open(&globals.root, &id.parse()?) {
        Ok(container) => container.remove(),
        Err(_) => Ok(()),
    }
}

/// Ends and removes a container in whatever state it is.
pub fn delete_container(container: &Container, record: &Record) -> Result<()> {
    if !record.complete && record.creator.is_alive() && record.creator.pid != std::process::id() as i32 {
        end(record.creator).context("stop the process that is creating it")?;
    }
    let mut errors = Vec::new();
    if let Some(init) = record.init.filter(|init| init.is_alive()) {
        errors.extend(record.cgroup.freeze(false).err());
        errors.extend(end(init).err());
    }
    if !record.cgroup.remove_idle() {
        errors.extend(record.cgroup.kill(libc::SIGKILL).err());
        errors.extend(record.cgroup.remove().err());
    }
    errors.extend(record.rdt.as_ref().and_then(|group| group.remove().err()));
    if !errors.is_empty() {
        let texts: Vec<String> = errors.iter().map(Error::to_string).collect();
        return Err(Error::new(Kind::System, texts.join("; ")));
    }
    container.remove()?;
    let list = record.config.hooks.as_ref().map(|hooks| hooks.poststop.as_slice()).unwrap_or_default();
    for error in hooks::run_all("poststop", list, &record.state(Status::Stopped, 0)) {
        log::warn!("{error}");
    }
    Ok(())
}

/// Kills a process and waits until it is gone; a recycled PID is left alone.
fn end(process: Identity) -> Result<()> {
    let context = || format!("kill process {}", process.pid);
    let Some(pid) = Pid::from_raw(process.pid) else { return Ok(()) };
    let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        other => other.with_context(context)?,
    };
    if !process.is_alive() {
        return Ok(()); // asked once more now that the pidfd pins it
    }
    match rustix::process::pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(errno) => return Err(errno).with_context(context),
    }
    let timeout = Timespec { tv_sec: DIE_DEADLINE, tv_nsec: 0 };
    match rustix::event::poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout))
        .with_context(context)?
    {
        0 => Err(Error::new(Kind::System, "does not die")).with_context(context),
        _ => Ok(()),
    }
}
