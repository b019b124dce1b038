//! `kill`: a signal for the container's init, or for all its processes.

use nix::sys::signal::Signal;
use rustix::process::{Pid, PidfdFlags};

use super::open;
use crate::cli::Globals;
use crate::cli::verbs::Kill;
use crate::container::{processes, status};
use crate::error::{Context, Error, Kind as ErrorKind, Result};
use crate::spec::state::Status;

/// The verb.
pub fn kill(globals: &Globals, words: &Kill) -> Result<()> {
    let number = parse_signal(&words.signal)?;
    let (container, record) = open(globals, &words.id)?;
    let stopped = status::derive(&container.dir, &record) == Status::Stopped;
    let context = || format!("kill {:?}", words.id);
    if words.all {
        return processes::signal_all(&record, number).with_context(context);
    }
    let gone = || Error::new(ErrorKind::WrongStatus, "container not running");
    let shares_pids =
        !record.config.linux.as_ref().is_some_and(|l| l.namespaces.iter().any(|n| n.kind == "pid"));
    if number == libc::SIGKILL && shares_pids && !(stopped && record.cgroup.pids()?.is_empty()) {
        // Its death would not take the others with it, for it is not PID 1 of a namespace; they may outlive it.
        return record.cgroup.kill(libc::SIGKILL).with_context(context);
    }
    let init = record.init.filter(|_| !stopped).ok_or_else(gone).with_context(context)?;
    let pid = Pid::from_raw(init.pid).ok_or_else(gone)?;
    let pidfd =
        rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone()).with_context(context)?;
    if !init.is_alive() {
        return Err(gone()).with_context(context); // asked of what is pinned
    }
    crate::sys::process::pidfd_send_signal(&pidfd, number).with_context(context)
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
