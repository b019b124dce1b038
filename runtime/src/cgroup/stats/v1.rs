//! Counters of cgroup v1, each controller's in its own hierarchy.

use std::collections::BTreeMap;
use std::path::Path;

use super::{
    Blkio, BlkioEntry, Cpu, CpuSet, CpuUsage, Hugetlb, Memory, MemoryEntry, Pids, Stats, Throttling, number,
    number_if_there, page_sizes, read_file, table,
};
use crate::cgroup::Cgroup;
use crate::error::Result;

/// Ticks of cpuacct.stat in nanoseconds: USER_HZ, which is 100 for every program on x86 and ARM.
const TICK: u64 = 10_000_000;

pub(super) fn read(cgroup: &Cgroup) -> Result<Stats> {
    let path = |controller: &str| cgroup.with(controller).map(|dir| dir.path.as_path());
    Ok(Stats {
        cpu: Cpu {
            usage: path("cpuacct").map(cpu_usage).transpose()?.unwrap_or_default(),
            throttling: path("cpu").map(throttling).transpose()?.unwrap_or_default(),
            psi: None,
        },
        cpuset: path("cpuset").map(cpuset).transpose()?.unwrap_or_default(),
        memory: path("memory").map(memory).transpose()?.unwrap_or_default(),
        pids: path("pids").map(pids).transpose()?.unwrap_or_default(),
        blkio: path("blkio").map(blkio).transpose()?.unwrap_or_default(),
        hugetlb: match cgroup.left_to_unified("hugetlb") {
            Some(dir) => super::v2::hugetlb(&dir.path)?,
            None => path("hugetlb").map(hugetlb).transpose()?.unwrap_or_default(),
        },
    })
}

fn cpu_usage(dir: &Path) -> Result<CpuUsage> {
    let ticks = table(dir, "cpuacct.stat")?;
    let time = |name: &str| ticks.get(name).copied().unwrap_or(0).saturating_mul(TICK);
    let percpu = read_file(&dir.join("cpuacct.usage_percpu"))?.unwrap_or_default();
    let all = read_file(&dir.join("cpuacct.usage_all"))?.unwrap_or_default();
    // A head line, then lines of processor, user, system.
    let column = |index: usize| {
        let number = |line: &str| line.split(' ').nth(index).and_then(|word| word.parse().ok());
        all.lines().skip(1).filter_map(number).collect()
    };
    Ok(CpuUsage {
        total: number(dir, "cpuacct.usage")?,
        percpu: percpu.split_whitespace().filter_map(|word| word.parse().ok()).collect(),
        percpu_kernel: column(2),
        percpu_user: column(1),
        kernel: time("system"),
        user: time("user"),
    })
}

fn throttling(dir: &Path) -> Result<Throttling> {
    let table = table(dir, "cpu.stat")?;
    let value = |name: &str| table.get(name).copied().unwrap_or(0);
    Ok(Throttling {
        periods: value("nr_periods"),
        throttled_periods: value("nr_throttled"),
        throttled_time: value("throttled_time"),
    })
}

fn cpuset(dir: &Path) -> Result<CpuSet> {
    let list = |file: &str| -> Result<Vec<u16>> {
        Ok(read_file(&dir.join(file))?.map(|text| expand(&text)).unwrap_or_default())
    };
    let level = read_file(&dir.join("cpuset.sched_relax_domain_level"))?;
    Ok(CpuSet {
        cpus: list("cpuset.cpus")?,
        cpu_exclusive: number(dir, "cpuset.cpu_exclusive")?,
        mems: list("cpuset.mems")?,
        mem_hardwall: number(dir, "cpuset.mem_hardwall")?,
        mem_exclusive: number(dir, "cpuset.mem_exclusive")?,
        memory_migrate: number(dir, "cpuset.memory_migrate")?,
        memory_spread_page: number(dir, "cpuset.memory_spread_page")?,
        memory_spread_slab: number(dir, "cpuset.memory_spread_slab")?,
        memory_pressure: number(dir, "cpuset.memory_pressure")?,
        sched_load_balance: number(dir, "cpuset.sched_load_balance")?,
        sched_relax_domain_level: level.and_then(|text| text.parse().ok()).unwrap_or(0),
    })
}

/// `0-2,7` to its numbers.
pub(crate) fn expand(list: &str) -> Vec<u16> {
    let range = |part: &str| -> Option<std::ops::RangeInclusive<u16>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

fn memory(dir: &Path) -> Result<Memory> {
    let raw = table(dir, "memory.stat")?;
    let entry = |name: &str| -> Result<MemoryEntry> {
        Ok(MemoryEntry {
            limit: number(dir, &format!("memory.{name}limit_in_bytes"))?,
            usage: number(dir, &format!("memory.{name}usage_in_bytes"))?,
            max: number(dir, &format!("memory.{name}max_usage_in_bytes"))?,
            failcnt: number(dir, &format!("memory.{name}failcnt"))?,
        })
    };
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: entry("")?,
        swap: entry("memsw.")?,
        kernel: entry("kmem.")?,
        kernel_tcp: entry("kmem.tcp.")?,
        raw,
        psi: None,
    })
}

fn pids(dir: &Path) -> Result<Pids> {
    let limit = number(dir, "pids.max")?;
    Ok(Pids { current: number(dir, "pids.current")?, limit: if limit == u64::MAX { 0 } else { limit } })
}

/// Of the families of files that kernels and schedulers have, the first that is there.
fn blkio(dir: &Path) -> Result<Blkio> {
    let entries = |file: String| -> Result<Vec<BlkioEntry>> {
        let text = read_file(&dir.join(file))?.unwrap_or_default();
        Ok(text.lines().filter_map(blkio_entry).collect())
    };
    for (family, recursive) in [
        ("blkio.bfq.", "_recursive"),
        ("blkio.", "_recursive"),
        ("blkio.throttle.", "_recursive"),
        ("blkio.throttle.", ""),
    ] {
        if !dir.join(format!("{family}io_serviced{recursive}")).exists() {
            continue;
        }
        let read = |name: &str| entries(format!("{family}{name}{recursive}"));
        return Ok(Blkio {
            io_service_bytes_recursive: read("io_service_bytes")?,
            io_serviced_recursive: read("io_serviced")?,
            io_queued_recursive: read("io_queued")?,
            io_service_time_recursive: read("io_service_time")?,
            io_wait_time_recursive: read("io_wait_time")?,
            io_merged_recursive: read("io_merged")?,
            io_time_recursive: read("time")?,
            sectors_recursive: read("sectors")?,
            psi: None,
        });
    }
    Ok(Blkio::default())
}

/// `8:0 Read 1282048` or `8:0 1282048`; a last line, `Total 7`, is none.
pub(crate) fn blkio_entry(line: &str) -> Option<BlkioEntry> {
    let mut words = line.split(' ');
    let (major, minor) = words.next()?.split_once(':')?;
    let (op, value) = match (words.next()?, words.next()) {
        (op, Some(value)) => (op, value),
        (value, None) => ("", value),
    };
    Some(BlkioEntry {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        op: op.to_owned(),
        value: value.parse().ok()?,
    })
}

/// What is reserved where the kernel counts that, which includes what is faulted in.
fn hugetlb(dir: &Path) -> Result<BTreeMap<String, Hugetlb>> {
    let mut result = BTreeMap::new();
    for size in page_sizes(dir, ".usage_in_bytes")? {
        let reserved = format!("hugetlb.{size}.rsvd");
        let prefix = match number_if_there(dir, &format!("{reserved}.usage_in_bytes"))? {
            Some(_) => reserved,
            None => format!("hugetlb.{size}"),
        };
        let entry = Hugetlb {
            usage: number(dir, &format!("{prefix}.usage_in_bytes"))?,
            max: number(dir, &format!("{prefix}.max_usage_in_bytes"))?,
            failcnt: number(dir, &format!("{prefix}.failcnt"))?,
        };
        result.insert(size, entry);
    }
    Ok(result)
}
