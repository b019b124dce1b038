//! Writes for cgroup v2 (kernel Documentation/admin-guide/cgroup-v2.rst), with what is asked in v1's terms
//! converted or, where there is nothing to convert it to, refused (config-linux.md, "Unified").

use super::{
    Write, Writes, device_number, hugepages, invalid, max_or, memory_and_swap, pids, rdma, set, some_weight,
    swappiness, throttles, unsupported, weight,
};
use crate::error::Result;
use crate::place::bracketed;
use crate::spec::{BlockIo, Cpu, Memory, Network, Resources};

const NOT_ON_V2: &str = "cgroup v2 has nothing like it";

/// All writes that the limits come to.
pub fn resolve(resources: &Resources) -> Result<Vec<Write>> {
    let mut writes = Writes::default();
    if let Some(memory) = &resources.memory {
        memory_files(memory, &mut writes)?;
    }
    if let Some(cpu) = &resources.cpu {
        cpu_files(cpu, &mut writes)?;
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        writes.add("pids.limit", "pids", "pids.max", pids(limit));
    }
    if let Some(io) = &resources.block_io {
        io_files(io, &mut writes)?;
    }
    hugepages(&resources.hugepage_limits, &mut writes, &["max"])?;
    refuse_network(resources.network.as_ref())?;
    rdma(&resources.rdma, &mut writes)?;
    for (key, value) in &resources.unified {
        let field = format!("unified{}", bracketed(key));
        let parts =
            key.split_once('.').filter(|(controller, rest)| !controller.is_empty() && !rest.is_empty());
        let Some((controller, _)) = parts.filter(|_| !key.contains(['/', '\0'])) else {
            return Err(invalid(&field, "is not the name of a cgroup file"));
        };
        for line in value.lines() {
            writes.add(&field, controller, key, line);
        }
    }
    Ok(writes.0)
}

fn memory_files(memory: &Memory, writes: &mut Writes) -> Result<()> {
    let refused = [
        ("memory.kernelTCP", set(memory.kernel_tcp).is_some_and(|v| v > 0)),
        ("memory.swappiness", swappiness(memory)?.is_some()),
        ("memory.disableOOMKiller", memory.disable_oom_killer == Some(true)),
        // It always counts the whole tree: what `true` asks for is so.
        ("memory.useHierarchy", memory.use_hierarchy == Some(false)),
    ];
    if let Some((field, _)) = refused.iter().find(|(_, asked)| *asked) {
        return Err(unsupported(field, NOT_ON_V2));
    }
    let (limit, swap) = memory_and_swap(memory)?;
    if let Some(limit) = limit {
        writes.add("memory.limit", "memory", "memory.max", max_or(limit));
    }
    if let Some(swap) = swap {
        // Here swap is counted by itself.
        let value = if swap < 0 { -1 } else { swap.saturating_sub(limit.unwrap_or(0)) };
        let write = writes.add("memory.swap", "memory", "memory.swap.max", max_or(value));
        if value <= 0 {
            write.optional(); // without swap accounting there is no limit, and mostly no swap
        }
    }
    if let Some(reservation) = set(memory.reservation) {
        writes.add("memory.reservation", "memory", "memory.low", max_or(reservation));
    }
    Ok(())
}

fn cpu_files(cpu: &Cpu, writes: &mut Writes) -> Result<()> {
    let realtime = [
        ("cpu.realtimePeriod", set(cpu.realtime_period).is_some()),
        ("cpu.realtimeRuntime", set(cpu.realtime_runtime).is_some()),
    ];
    if let Some((field, _)) = realtime.iter().find(|(_, asked)| *asked) {
        return Err(unsupported(field, NOT_ON_V2));
    }
    if let Some(idle) = cpu.idle {
        // 0 is what a kernel before 5.15, which has no such file, does too.
        writes.add("cpu.idle", "cpu", "cpu.idle", idle).optional = idle == 0;
    }
    // An idle cgroup has a fixed weight and refuses every other.
    if let Some(shares) = set(cpu.shares).filter(|_| cpu.idle != Some(1)) {
        writes.add("cpu.shares", "cpu", "cpu.weight", weight_of_shares(shares));
    }
    let quota = set(cpu.quota).map(max_or);
    match (quota, set(cpu.period)) {
        (Some(quota), Some(period)) => {
            writes.add("cpu.quota", "cpu", "cpu.max", format!("{quota} {period}")).group("cfs");
        }
        (Some(quota), None) => {
            writes.add("cpu.quota", "cpu", "cpu.max", quota).group("cfs"); // the kernel keeps the period
        }
        (None, Some(period)) => {
            writes.add("cpu.period", "cpu", "cpu.max", period).group("cfs").keeps_first_word = true;
        }
        (None, None) => {}
    }
    if let Some(burst) = cpu.burst {
        writes.add("cpu.burst", "cpu", "cpu.max.burst", burst).group("cfs").optional = burst == 0;
    }
    cpuset(cpu, writes);
    Ok(())
}

pub(super) fn cpuset(cpu: &Cpu, writes: &mut Writes) {
    for (field, file, value) in
        [("cpu.cpus", "cpuset.cpus", &cpu.cpus), ("cpu.mems", "cpuset.mems", &cpu.mems)]
    {
        if !value.is_empty() {
            writes.add(field, "cpuset", file, value);
        }
    }
}

/// v1 shares 2..262144 to v2 weight 1..10000, so that the defaults, 1024 and 100, meet: 10 to the power of
/// `l²/612 + 125·l/612 − 7/34`, `l` the binary logarithm of the shares (the conversion runc and crun share).
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let l = (shares as f64).log2();
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and lies between the two above")]
    let weight = 10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0).ceil() as u64;
    weight
}

/// BFQ takes v1's weights, 10 to 1000; the kernel's own scheduler takes 1 to 10000.
pub(super) fn io_weight(weight: u16) -> u64 {
    (u64::from(weight).saturating_sub(10).saturating_mul(9999) / 990).saturating_add(1)
}

fn io_files(io: &BlockIo, writes: &mut Writes) -> Result<()> {
    if set(io.leaf_weight).is_some() {
        return Err(unsupported("blockIO.leafWeight", NOT_ON_V2));
    }
    if let Some(index) = io.weight_device.iter().position(|device| set(device.leaf_weight).is_some()) {
        return Err(unsupported(&format!("blockIO.weightDevice[{index}].leafWeight"), NOT_ON_V2));
    }
    if let Some(weight) = weight("blockIO.weight", io.weight)? {
        writes.add("blockIO.weight", "io", "io.bfq.weight", weight).or("io.weight", io_weight(weight));
    }
    for (index, device) in io.weight_device.iter().enumerate() {
        let field = format!("blockIO.weightDevice[{index}]");
        some_weight(&field, device)?;
        let number = device_number(&field, device.major, device.minor)?;
        if let Some(weight) = weight(&field, device.weight)? {
            let (bfq, own) = (format!("{number} {weight}"), format!("{number} {}", io_weight(weight)));
            writes.add(&field, "io", "io.bfq.weight", bfq).or("io.weight", own);
        }
    }
    for (name, list, _, key) in throttles(io) {
        for (index, device) in list.iter().enumerate() {
            let field = format!("blockIO.{name}[{index}]");
            let number = device_number(&field, device.major, device.minor)?;
            let rate = if device.rate == 0 { "max".to_owned() } else { device.rate.to_string() };
            writes.add(&field, "io", "io.max", format!("{number} {key}={rate}"));
        }
    }
    Ok(())
}

fn refuse_network(network: Option<&Network>) -> Result<()> {
    let Some(network) = network else { return Ok(()) };
    if set(network.class_id).is_some() {
        return Err(unsupported("network.classID", NOT_ON_V2));
    }
    if !network.priorities.is_empty() {
        return Err(unsupported("network.priorities", NOT_ON_V2));
    }
    Ok(())
}
