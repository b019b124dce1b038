//! Counters of cgroup v2, in the terms of v1 that the document has.

use std::collections::BTreeMap;
use std::path::Path;

use super::{
    Blkio, BlkioEntry, Cpu, CpuUsage, Hugetlb, Memory, MemoryEntry, Pids, Stats, Throttling, number,
    number_if_there, page_sizes, read_file, table,
};
use crate::cgroup::files::{read_pids, tree};
use crate::error::Result;

pub(super) fn read(dir: &Path) -> Result<Stats> {
    Ok(Stats {
        cpu: cpu(dir)?,
        memory: memory(dir)?,
        pids: pids(dir)?,
        blkio: parse_io(&read_file(&dir.join("io.stat"))?.unwrap_or_default()),
        hugetlb: hugetlb(dir)?,
        ..Stats::default()
    })
}

fn cpu(dir: &Path) -> Result<Cpu> {
    let table = table(dir, "cpu.stat")?;
    let value = |name: &str| table.get(name).copied().unwrap_or(0);
    let time = |name: &str| value(name).saturating_mul(1000);
    Ok(Cpu {
        usage: CpuUsage {
            total: time("usage_usec"),
            kernel: time("system_usec"),
            user: time("user_usec"),
            ..CpuUsage::default()
        },
        throttling: Throttling {
            periods: value("nr_periods"),
            throttled_periods: value("nr_throttled"),
            throttled_time: time("throttled_usec"),
        },
        psi: None,
    })
}

/// Swap is counted by itself here and together with memory in the document; of their two peaks there is no sum.
fn memory(dir: &Path) -> Result<Memory> {
    let raw = table(dir, "memory.stat")?;
    let usage = MemoryEntry {
        limit: number(dir, "memory.max")?,
        usage: number(dir, "memory.current")?,
        max: number(dir, "memory.peak")?,
        failcnt: 0,
    };
    let swap = match number_if_there(dir, "memory.swap.current")? {
        Some(swap) => MemoryEntry {
            limit: number(dir, "memory.swap.max")?.saturating_add(usage.limit),
            usage: swap.saturating_add(usage.usage),
            max: 0,
            failcnt: 0,
        },
        None => MemoryEntry::default(),
    };
    Ok(Memory { cache: raw.get("file").copied().unwrap_or(0), usage, swap, raw, ..Memory::default() })
}

fn pids(dir: &Path) -> Result<Pids> {
    match number_if_there(dir, "pids.current")? {
        Some(current) => {
            let limit = number(dir, "pids.max")?;
            Ok(Pids { current, limit: if limit == u64::MAX { 0 } else { limit } })
        }
        // Without the controller the processes can still be counted.
        None => {
            let counts =
                tree(dir)?.iter().map(|dir| Ok(read_pids(dir)?.len() as u64)).collect::<Result<Vec<_>>>()?;
            Ok(Pids { current: counts.iter().sum(), limit: 0 })
        }
    }
}

/// Lines of `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
pub(crate) fn parse_io(text: &str) -> Blkio {
    let mut blkio = Blkio::default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let device = words.next().and_then(|device| device.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(major, minor)| (major.parse(), minor.parse())) else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut blkio.io_service_bytes_recursive, "Write"),
                "rios" => (&mut blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut blkio.io_serviced_recursive, "Write"),
                _ => continue,
            };
            let value = value.parse().unwrap_or(0);
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value });
        }
    }
    blkio
}

/// What is reserved where the kernel counts that, which includes what is faulted in.
pub(super) fn hugetlb(dir: &Path) -> Result<BTreeMap<String, Hugetlb>> {
    let mut result = BTreeMap::new();
    for size in page_sizes(dir, ".current")? {
        let reserved = number_if_there(dir, &format!("hugetlb.{size}.rsvd.current"))?;
        let usage = reserved.map_or_else(|| number(dir, &format!("hugetlb.{size}.current")), Ok)?;
        let failcnt = table(dir, &format!("hugetlb.{size}.events"))?.get("max").copied().unwrap_or(0);
        result.insert(size, Hugetlb { usage, max: 0, failcnt });
    }
    Ok(result)
}
