//! Writes for cgroup v1 (kernel Documentation/admin-guide/cgroup-v1).

use super::{
    Write, Writes, device_number, hugepages, invalid, memory_and_swap, pids, rdma, set, some_weight,
    swappiness, throttles, unsupported, weight,
};
use crate::error::Result;
use crate::place::bracketed;
use crate::spec::{BlockIo, Cpu, Memory, Network, Resources};

/// All writes that the limits come to.
pub fn resolve(resources: &Resources) -> Result<Vec<Write>> {
    if let Some(key) = resources.unified.keys().next() {
        return Err(unsupported(
            &format!("unified{}", bracketed(key)),
            "invalid configuration: needs cgroup v2",
        ));
    }
    let mut writes = Writes::default();
    if let Some(memory) = &resources.memory {
        memory_files(memory, &mut writes)?;
    }
    if let Some(cpu) = &resources.cpu {
        cpu_files(cpu, &mut writes);
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        writes.add("pids.limit", "pids", "pids.max", pids(limit));
    }
    if let Some(io) = &resources.block_io {
        io_files(io, &mut writes)?;
    }
    // Distributions that mount v1 often leave this controller to the unified hierarchy, with its names.
    hugepages(&resources.hugepage_limits, &mut writes, &["limit_in_bytes", "max"])?;
    if let Some(network) = &resources.network {
        network_files(network, &mut writes)?;
    }
    rdma(&resources.rdma, &mut writes)?;
    Ok(writes.0)
}

fn memory_files(memory: &Memory, writes: &mut Writes) -> Result<()> {
    if let Some(use_hierarchy) = memory.use_hierarchy {
        let value = u8::from(use_hierarchy);
        writes.add("memory.useHierarchy", "memory", "memory.use_hierarchy", value).optional();
    }
    let (limit, swap) = memory_and_swap(memory)?;
    if let Some(limit) = limit {
        writes.add("memory.limit", "memory", "memory.limit_in_bytes", limit).group("memory");
    }
    if let Some(swap) = swap {
        let write = writes.add("memory.swap", "memory", "memory.memsw.limit_in_bytes", swap).group("memory");
        if swap < 0 {
            write.optional(); // no swap accounting is as good as no limit
        }
    }
    if let Some(reservation) = set(memory.reservation) {
        writes.add("memory.reservation", "memory", "memory.soft_limit_in_bytes", reservation);
    }
    if let Some(limit) = set(memory.kernel_tcp) {
        writes.add("memory.kernelTCP", "memory", "memory.kmem.tcp.limit_in_bytes", limit);
    }
    if let Some(swappiness) = swappiness(memory)? {
        writes.add("memory.swappiness", "memory", "memory.swappiness", swappiness);
    }
    if let Some(disabled) = memory.disable_oom_killer {
        let write = writes.add("memory.disableOOMKiller", "memory", "memory.oom_control", u8::from(disabled));
        // `false` is so from the start: it is written for updates.
        write.optional = !disabled;
    }
    Ok(())
}

fn cpu_files(cpu: &Cpu, writes: &mut Writes) {
    let mut add = |field: &str, file: &str, value: Option<i128>, group| {
        if let Some(value) = value {
            let write = writes.add(&format!("cpu.{field}"), "cpu", file, value).group(group);
            // Of all these 0 is left only where it is what a kernel without the file (before 5.15) does too.
            write.optional = value == 0;
        }
    };
    add("idle", "cpu.idle", cpu.idle.map(i128::from), "");
    // An idle cgroup has a fixed weight and refuses every other.
    add("shares", "cpu.shares", set(cpu.shares).filter(|_| cpu.idle != Some(1)).map(i128::from), "");
    add("period", "cpu.cfs_period_us", set(cpu.period).map(i128::from), "cfs");
    add("quota", "cpu.cfs_quota_us", set(cpu.quota).map(i128::from), "cfs");
    add("burst", "cpu.cfs_burst_us", cpu.burst.map(i128::from), "cfs");
    add("realtimePeriod", "cpu.rt_period_us", set(cpu.realtime_period).map(i128::from), "rt");
    add("realtimeRuntime", "cpu.rt_runtime_us", set(cpu.realtime_runtime).map(i128::from), "rt");
    super::v2::cpuset(cpu, writes);
}

fn io_files(io: &BlockIo, writes: &mut Writes) -> Result<()> {
    if let Some(weight) = weight("blockIO.weight", io.weight)? {
        writes.add("blockIO.weight", "blkio", "blkio.weight", weight).or("blkio.bfq.weight", weight);
    }
    if let Some(weight) = weight("blockIO.leafWeight", io.leaf_weight)? {
        writes.add("blockIO.leafWeight", "blkio", "blkio.leaf_weight", weight);
    }
    for (index, device) in io.weight_device.iter().enumerate() {
        let field = format!("blockIO.weightDevice[{index}]");
        some_weight(&field, device)?;
        let number = device_number(&field, device.major, device.minor)?;
        if let Some(weight) = weight(&field, device.weight)? {
            let value = format!("{number} {weight}");
            writes.add(&field, "blkio", "blkio.weight_device", &value).or("blkio.bfq.weight_device", &value);
        }
        if let Some(weight) = weight(&field, device.leaf_weight)? {
            writes.add(&field, "blkio", "blkio.leaf_weight_device", format!("{number} {weight}"));
        }
    }
    for (name, list, file, _) in throttles(io) {
        for (index, device) in list.iter().enumerate() {
            let field = format!("blockIO.{name}[{index}]");
            let number = device_number(&field, device.major, device.minor)?;
            writes.add(&field, "blkio", file, format!("{number} {}", device.rate));
        }
    }
    Ok(())
}

fn network_files(network: &Network, writes: &mut Writes) -> Result<()> {
    if let Some(class) = set(network.class_id) {
        writes.add("network.classID", "net_cls", "net_cls.classid", class);
    }
    for (index, wish) in network.priorities.iter().enumerate() {
        let (field, name) = (format!("network.priorities[{index}]"), &wish.name);
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(invalid(&field, format!("{name:?} is not an interface name")));
        }
        writes.add(&field, "net_prio", "net_prio.ifpriomap", format!("{name} {}", wish.priority));
    }
    Ok(())
}
