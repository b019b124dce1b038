//! `events`: a container's statistics, once or at intervals, and a word each time that it runs out of memory.
//!
//! One JSON document a line, in runc's form. Nothing is polled but the counters: the end of the container and the
//! lack of memory wake the loop by themselves.

use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use serde::Serialize;

use super::{open, output};
use crate::cgroup::stats::Stats;
use crate::cli::Globals;
use crate::cli::verbs::Events;
use crate::container::record::Record;
use crate::container::status;
use crate::deadline::Deadline;
use crate::error::{Context, Error, Kind, Result};
use crate::rdt;
use crate::spec::state::Status;
use crate::sys::files;

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Statistics>,
}

#[derive(Serialize)]
struct Statistics {
    #[serde(flatten)]
    cgroup: Stats,
    intel_rdt: rdt::stats::Stats,
    network_interfaces: Option<Vec<Interface>>,
}

/// Traffic of one interface, seen from within.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Interface {
    name: String,
    rx_bytes: u64,
    rx_packets: u64,
    rx_errors: u64,
    rx_dropped: u64,
    tx_bytes: u64,
    tx_packets: u64,
    tx_errors: u64,
    tx_dropped: u64,
}

/// The verb.
pub fn events(globals: &Globals, words: &Events) -> Result<()> {
    let (container, record) = open(globals, &words.id)?;
    if status::derive(&container, &record)? == Status::Stopped {
        let message = format!("container with id {} is not running", words.id);
        return Err(Error::new(Kind::WrongStatus, message));
    }
    let result = match words.stats {
        true => print_statistics(&record),
        false => follow(&record, words.interval),
    };
    match result {
        // Whoever was reading has seen enough.
        Err(error) if error.errno() == Some(libc::EPIPE) => Ok(()),
        other => other.with_context(|| format!("events of {:?}", words.id)),
    }
}

/// Until the container has ended.
fn follow(record: &Record, interval: Duration) -> Result<()> {
    let Some(init) = record.init else { return Ok(()) };
    let Ok(pidfd) = init.open() else { return Ok(()) };
    let mut watch = record.cgroup.watch_oom()?;
    let mut next = Deadline::after(interval);
    loop {
        let mut fds = vec![PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        fds.extend(watch.as_ref().map(|watch| PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)));
        let left = next.left().map(Timespec::try_from).transpose();
        let left = left.map_err(|_| Error::invalid("--interval: is too long"))?;
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(errno) => return Err(errno).context("wait for events"),
        }
        let ended = fds.first().is_some_and(|fd| !fd.revents().is_empty());
        if let Some(watch) = &mut watch
            && watch.take()?
        {
            print(&Event { kind: "oom", id: &record.id, data: None })?;
        }
        if ended {
            return Ok(());
        }
        if next.is_over() {
            next = Deadline::after(interval);
            print_statistics(record)?;
        }
    }
}

fn print_statistics(record: &Record) -> Result<()> {
    let data = Statistics {
        cgroup: record.cgroup.stats().context("read statistics")?,
        intel_rdt: record.rdt.as_ref().map(rdt::Group::stats).transpose()?.unwrap_or_default(),
        network_interfaces: record.init.and_then(|init| interfaces(init.pid)),
    };
    print(&Event { kind: "stats", id: &record.id, data: Some(data) })
}

fn print(event: &Event<'_>) -> Result<()> {
    let text = serde_json::to_string(event).map_err(|e| Error::new(Kind::System, e.to_string()))?;
    let mut out = output();
    let written = std::io::Write::write_all(&mut out, format!("{text}\n").as_bytes());
    written.and_then(|()| std::io::Write::flush(&mut out)).context(super::STDOUT)
}

/// The interfaces of a container with a network of its own; the host's are not the container's to count.
fn interfaces(pid: i32) -> Option<Vec<Interface>> {
    let namespace = |who: &str| files::read_link(format!("/proc/{who}/ns/net")).ok();
    if namespace(&pid.to_string())? == namespace("self")? {
        return None;
    }
    let text = files::read_to_string(format!("/proc/{pid}/net/dev")).ok()?;
    let list: Vec<Interface> = text.lines().filter_map(parse_interface).filter(|i| i.name != "lo").collect();
    (!list.is_empty()).then_some(list)
}

/// `eth0: ` and sixteen counters (proc(5), "/proc/net/dev").
pub(crate) fn parse_interface(line: &str) -> Option<Interface> {
    let (name, counters) = line.split_once(':')?;
    let n: Vec<u64> = counters.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped,
        _,
        _,
        _,
        _,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
        ..,
    ] = n[..]
    else {
        return None;
    };
    let name = name.trim().to_owned();
    Some(Interface {
        name,
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read_and_headings_are_not() {
        let line = "  eth0: 10 1 2 3 0 0 0 0 20 4 5 6 0 0 0 0";
        let expected = Interface {
            name: "eth0".into(),
            rx_bytes: 10,
            rx_packets: 1,
            rx_errors: 2,
            rx_dropped: 3,
            tx_bytes: 20,
            tx_packets: 4,
            tx_errors: 5,
            tx_dropped: 6,
        };
        assert_eq!(parse_interface(line), Some(expected));
        assert_eq!(parse_interface("Inter-|   Receive  |  Transmit"), None);
        assert_eq!(parse_interface("eth0: 1 2"), None);
    }
}
