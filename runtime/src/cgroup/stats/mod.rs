//! What the control groups have counted, in the document that `runc events` prints.
//!
//! Names, units and what is left out when it is zero are runc's (its types/events.go); programs that read it exist.
//! The kernel's files differ by version, so each version has a reader of its own: a file that is not there counts
//! nothing.

pub(crate) mod v1;
pub(crate) mod v2;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::files::read_file;
use super::{Cgroup, Mode};
use crate::error::{Context, Result};
use crate::sys::files;

/// Counters of one container. Times are in nanoseconds, sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names of runc's document")]
pub struct Stats {
    pub cpu: Cpu,
    pub cpuset: CpuSet,
    pub memory: Memory,
    pub pids: Pids,
    pub blkio: Blkio,
    pub hugetlb: BTreeMap<String, Hugetlb>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names of runc's document")]
pub struct Cpu {
    #[serde(skip_serializing_if = "is_default")]
    pub usage: CpuUsage,
    #[serde(skip_serializing_if = "is_default")]
    pub throttling: Throttling,
    #[serde(skip_serializing_if = "is_default")]
    pub psi: Option<Pressure>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names of runc's document")]
pub struct CpuUsage {
    #[serde(skip_serializing_if = "is_default")]
    pub total: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names of runc's document")]
pub struct Throttling {
    #[serde(skip_serializing_if = "is_default")]
    pub periods: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub throttled_periods: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub throttled_time: u64,
}

/// How long tasks waited for a resource (kernel Documentation/accounting/psi.rst): some of them, and all at once.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names of runc's document")]
pub struct Pressure {
    #[serde(skip_serializing_if = "is_default")]
    pub some: PressureLine,
    #[serde(skip_serializing_if = "is_default")]
    pub full: PressureLine,
}

/// Percent of the last 10, 60 and 300 seconds, and microseconds in all.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names of runc's document")]
pub struct PressureLine {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names of runc's document")]
pub struct CpuSet {
    #[serde(skip_serializing_if = "is_default")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names of runc's document")]
pub struct Memory {
    #[serde(skip_serializing_if = "is_default")]
    pub cache: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub usage: MemoryEntry,
    #[serde(skip_serializing_if = "is_default")]
    pub swap: MemoryEntry,
    #[serde(skip_serializing_if = "is_default")]
    pub kernel: MemoryEntry,
    #[serde(rename = "kernelTCP", skip_serializing_if = "is_default")]
    pub kernel_tcp: MemoryEntry,
    #[serde(skip_serializing_if = "is_default")]
    pub raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub psi: Option<Pressure>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names of runc's document")]
pub struct MemoryEntry {
    pub limit: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub max: u64,
    pub failcnt: u64,
}

/// Tasks; a limit of 0 is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names of runc's document")]
pub struct Pids {
    #[serde(skip_serializing_if = "is_default")]
    pub current: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub limit: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names of runc's document")]
pub struct Blkio {
    #[serde(skip_serializing_if = "is_default")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "is_default")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "is_default")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "is_default")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "is_default")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "is_default")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "is_default")]
    pub io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "is_default")]
    pub sectors_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "is_default")]
    pub psi: Option<Pressure>,
}

/// One counter of one block device.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names of runc's document")]
pub struct BlkioEntry {
    #[serde(skip_serializing_if = "is_default")]
    pub major: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub minor: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub op: String,
    #[serde(skip_serializing_if = "is_default")]
    pub value: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names of runc's document")]
pub struct Hugetlb {
    #[serde(skip_serializing_if = "is_default")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub max: u64,
    pub failcnt: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Cgroup {
    /// Reads all counters.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = match (self.mode, self.unified()) {
            (Mode::V1, _) => v1::read(self)?,
            (Mode::V2, Some(dir)) => v2::read(&dir.path)?,
            (Mode::V2, None) => Stats::default(),
        };
        // These files belong to no controller: a hybrid host has them too.
        if let Some(dir) = self.unified() {
            stats.cpu.psi = pressure(&dir.path.join("cpu.pressure"))?;
            stats.memory.psi = pressure(&dir.path.join("memory.pressure"))?;
            stats.blkio.psi = pressure(&dir.path.join("io.pressure"))?;
        }
        Ok(stats)
    }
}

fn pressure(path: &Path) -> Result<Option<Pressure>> {
    Ok(read_file(path)?.map(|text| parse_pressure(&text)))
}

/// Lines of `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
pub(crate) fn parse_pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let target = match words.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            match key {
                "avg10" => target.avg10 = value.parse().unwrap_or_default(),
                "avg60" => target.avg60 = value.parse().unwrap_or_default(),
                "avg300" => target.avg300 = value.parse().unwrap_or_default(),
                "total" => target.total = value.parse().unwrap_or_default(),
                _ => {}
            }
        }
    }
    pressure
}

/// The number in a file; `max` is the highest there is. Absent files hold 0.
fn number(dir: &Path, file: &str) -> Result<u64> {
    Ok(number_if_there(dir, file)?.unwrap_or(0))
}

fn number_if_there(dir: &Path, file: &str) -> Result<Option<u64>> {
    Ok(read_file(&dir.join(file))?
        .map(|text| if text == "max" { u64::MAX } else { text.parse().unwrap_or(0) }))
}

/// Lines of a name and a number.
fn table(dir: &Path, file: &str) -> Result<BTreeMap<String, u64>> {
    Ok(parse_table(&read_file(&dir.join(file))?.unwrap_or_default()))
}

pub(crate) fn parse_table(text: &str) -> BTreeMap<String, u64> {
    let entry = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

/// The page sizes for which there are files `hugetlb.<size><ending>`.
fn page_sizes(dir: &Path, ending: &str) -> Result<Vec<String>> {
    let entries = match files::entries(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.on("read", dir)?,
    };
    let mut sizes = Vec::new();
    for entry in entries {
        let name = entry.name.to_string_lossy().into_owned();
        let size = name.strip_prefix("hugetlb.").and_then(|rest| rest.strip_suffix(ending));
        sizes.extend(size.filter(|size| !size.contains('.')).map(str::to_owned));
    }
    Ok(sizes)
}

#[cfg(test)]
mod tests;
