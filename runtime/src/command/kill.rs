//! `kill`: a signal for the container's init, or for all its processes.

use nix::sys::signal::Signal;

use super::{open, or_gone};
use crate::cli::Globals;
use crate::cli::verbs::Kill;
use crate::container::record::Record;
use crate::container::{Container, not_running, processes, status};
use crate::error::{Context, Error, Kind as ErrorKind, Result};
use crate::spec::state::Status;

/// The verb.
pub fn kill(globals: &Globals, words: &Kill) -> Result<()> {
    let number = parse_signal(&words.signal)?;
    let (container, record) = open(globals, &words.id)?;
    let sent = match words.all || (number == libc::SIGKILL && shares_pids(&record)) {
        true => signal_all(&container, &record, number, words.all),
        false => signal_init(&container, &record, number),
    };
    or_gone(&container, &record, sent).with_context(|| format!("kill {:?}", words.id))
}

/// Whether the death of init would not take the others with it, for it is not PID 1 of a namespace; they may outlive it.
fn shares_pids(record: &Record) -> bool {
    !record.config.linux.as_ref().is_some_and(|l| l.namespaces.iter().any(|n| n.kind == "pid"))
}

fn signal_all(container: &Container, record: &Record, number: i32, asked_for: bool) -> Result<()> {
    let _lock = container.lock()?;
    let stopped = status::derive(container, record)? == Status::Stopped;
    if !asked_for && stopped && record.cgroup.pids()?.is_empty() {
        return Err(not_running());
    }
    processes::signal_all(record, number)
}

fn signal_init(container: &Container, record: &Record, number: i32) -> Result<()> {
    let stopped = status::derive(container, record)? == Status::Stopped;
    let pidfd = record.init.filter(|_| !stopped).ok_or_else(not_running)?.open()?;
    let sent = crate::sys::process::pidfd_send_signal(&pidfd, number);
    sent.with_context(|| format!("send signal {number}"))?;
    // On cgroup v1 nothing dies that is frozen.
    if number == libc::SIGKILL && record.cgroup.is_frozen().unwrap_or(true) {
        let _lock = match container.lock() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()), // dead and deleted
            lock => lock?,
        };
        if let Err(error) = record.cgroup.freeze(false) {
            log::debug!("{error}"); // it dies when those who froze it from above let it
        }
    }
    Ok(())
}

/// A number from 0 (only asks) to 64, or a name with or without `SIG`, in any case; `RTMIN+n`, `RTMAX-n` and the older
/// names of signal(7) too.
pub(crate) fn parse_signal(text: &str) -> Result<i32> {
    let unknown = || Error::invalid(format!("unknown signal {text:?}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=64).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |base: i32, rest: &str| match rest {
        "" => Ok(base),
        _ => rest.parse().ok().and_then(|n| base.checked_add(n)).ok_or_else(unknown),
    };
    let name = match name {
        "IOT" => "ABRT",
        "CLD" => "CHLD",
        "POLL" => "IO",
        name => name,
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(34, rest)?
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(64, rest)?
    } else {
        return format!("SIG{name}").parse::<Signal>().map(|signal| signal as i32).map_err(|_| unknown());
    };
    if (34..=64).contains(&number) { Ok(number) } else { Err(unknown()) }
}

#[cfg(test)]
mod tests {
    use super::parse_signal;

    #[test]
    fn signals_are_numbers_or_names() {
        for (text, number) in [
            ("0", 0),
            ("9", 9),
            ("KILL", 9),
            ("sigterm", 15),
            ("37", 37),
            ("RTMIN+3", 37),
            ("IOT", 6),
            ("SIGCLD", 17),
            ("poll", 29),
            ("SIGRTMAX-1", 63),
        ] {
            assert_eq!(parse_signal(text).unwrap(), number, "{text}");
        }
        for bad in ["", "65", "-1", "NOPE", "RTMIN+40", "RTMIN+2147483647", "SIG", "9x"] {
            assert!(parse_signal(bad).is_err(), "{bad}");
        }
    }
}
