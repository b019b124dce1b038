//! Limits to writes of cgroup files, and device rules to what the kernel takes.
//!
//! Zero and unset follow what engines send: they fill in zeros for what nobody asked, so 0 is "unset" for
//! memory, shares, quota, period and weights, and a value for pids, burst, idle and swappiness.

use std::fmt;

use crate::error::{Error, Kind, Result};
use crate::spec::{BlockIo, Cpu, DeviceRule, Memory, Resources, ThrottleDevice};
use crate::sys::bpf::Instruction;

/// One write. The first of `files` that is there takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Who asked, for messages.
    pub field: String,
    /// The v1 controller.
    pub controller: &'static str,
    /// Candidates.
    pub files: Vec<String>,
    /// The text.
    pub value: String,
    /// Whether a missing file is fine.
    pub optional: bool,
}

/// Collects the writes of one controller.
struct Writes(Vec<Write>);

impl Writes {
    fn add(&mut self, field: &str, controller: &'static str, file: &str, value: impl fmt::Display) {
        let (field, files) = (format!("linux.resources.{field}"), vec![file.to_owned()]);
        self.0.push(Write { field, controller, files, value: value.to_string(), optional: false });
    }

    fn or(&mut self, file: &str) {
        if let Some(last) = self.0.last_mut() {
            last.files.push(file.to_owned());
        }
    }

    fn optional(&mut self) {
        if let Some(last) = self.0.last_mut() {
            last.optional = true;
        }
    }
}

/// The value unless it is absent or 0.
fn set<T: Copy + Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|v| *v != T::default())
}

fn unsupported(field: &str) -> Error {
    Error::new(Kind::Unsupported, format!("linux.resources.{field}: is not supported here"))
}

fn refuse_common(resources: &Resources) -> Result<()> {
    let wishes = [
        ("hugepageLimits", !resources.hugepage_limits.is_empty()),
        ("rdma", !resources.rdma.is_empty()),
        ("network", resources.network.as_ref().is_some_and(|n| n.as_object().is_none_or(|o| !o.is_empty()))),
    ];
    match wishes.iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(unsupported(field)),
        None => Ok(()),
    }
}

/// Writes for cgroup v1.
pub fn resolve_v1(resources: &Resources) -> Result<Vec<Write>> {
    refuse_common(resources)?;
    if let Some(key) = resources.unified.keys().next() {
        return Err(unsupported(&format!("unified[{key:?}] (cgroup v1)")));
    }
    let mut writes = Writes(Vec::new());
    if let Some(memory) = &resources.memory {
        memory_v1(memory, &mut writes)?;
    }
    if let Some(cpu) = &resources.cpu {
        cpu_v1(cpu, &mut writes);
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        writes.add("pids.limit", "pids", "pids.max", max_or(limit));
    }
    if let Some(io) = &resources.block_io {
        if let Some(weight) = set(io.weight) {
            writes.add("blockIO.weight", "blkio", "blkio.weight", weight);
            writes.or("blkio.bfq.weight");
        }
        weight_devices(io, &mut writes, "blkio.weight_device", "blkio.bfq.weight_device")?;
        for (field, list, key) in throttles(io) {
            for device in list {
                let value = format!("{}:{} {}", device.major, device.minor, device.rate);
                writes.add(&format!("blockIO.{field}"), "blkio", &format!("blkio.throttle.{key}"), value);
            }
        }
    }
    Ok(writes.0)
}

fn memory_v1(memory: &Memory, writes: &mut Writes) -> Result<()> {
    if set(memory.kernel).is_some_and(|v| v > 0) {
        return Err(unsupported("memory.kernel"));
    }
    let (limit, swap) = (set(memory.limit), set(memory.swap));
    if limit.is_none() && swap.is_some_and(|v| v > 0) {
        return Err(Error::invalid("linux.resources.memory.swap: needs memory.limit"));
    }
    if let Some(limit) = limit {
        writes.add("memory.limit", "memory", "memory.limit_in_bytes", limit);
    }
    if let Some(swap) = swap {
        writes.add("memory.swap", "memory", "memory.memsw.limit_in_bytes", swap);
        if swap < 0 {
            writes.optional(); // no swap accounting is as good as no limit
        }
    }
    if let Some(reservation) = set(memory.reservation) {
        writes.add("memory.reservation", "memory", "memory.soft_limit_in_bytes", reservation);
    }
    if let Some(limit) = set(memory.kernel_tcp) {
        writes.add("memory.kernelTCP", "memory", "memory.kmem.tcp.limit_in_bytes", limit);
    }
    if let Some(swappiness) = memory.swappiness {
        writes.add("memory.swappiness", "memory", "memory.swappiness", swappiness);
    }
    if memory.disable_oom_killer == Some(true) {
        writes.add("memory.disableOOMKiller", "memory", "memory.oom_control", 1);
    }
    Ok(())
}

fn cpu_v1(cpu: &Cpu, writes: &mut Writes) {
    let mut add = |field: &str, file: &str, value: Option<i128>| {
        if let Some(value) = value {
            writes.add(&format!("cpu.{field}"), "cpu", file, value);
        }
    };
    add("shares", "cpu.shares", set(cpu.shares).map(i128::from));
    add("period", "cpu.cfs_period_us", set(cpu.period).map(i128::from));
    add("quota", "cpu.cfs_quota_us", set(cpu.quota).map(i128::from));
    add("burst", "cpu.cfs_burst_us", cpu.burst.map(i128::from));
    add("idle", "cpu.idle", cpu.idle.map(i128::from));
    add("realtimePeriod", "cpu.rt_period_us", set(cpu.realtime_period).map(i128::from));
    add("realtimeRuntime", "cpu.rt_runtime_us", set(cpu.realtime_runtime).map(i128::from));
    cpuset(cpu, writes);
}

fn cpuset(cpu: &Cpu, writes: &mut Writes) {
    for (field, file, value) in
        [("cpu.cpus", "cpuset.cpus", &cpu.cpus), ("cpu.mems", "cpuset.mems", &cpu.mems)]
    {
        if !value.is_empty() {
            writes.add(field, "cpuset", file, value);
        }
    }
}

/// Writes for cgroup v2.
pub fn resolve_v2(resources: &Resources) -> Result<Vec<Write>> {
    refuse_common(resources)?;
    let mut writes = Writes(Vec::new());
    if let Some(memory) = &resources.memory {
        memory_v2(memory, &mut writes)?;
    }
    if let Some(cpu) = &resources.cpu {
        cpu_v2(cpu, &mut writes)?;
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        writes.add("pids.limit", "pids", "pids.max", max_or(limit));
    }
    if let Some(io) = &resources.block_io {
        if let Some(weight) = set(io.weight) {
            writes.add("blockIO.weight", "io", "io.bfq.weight", weight);
            writes.or("io.weight");
        }
        weight_devices(io, &mut writes, "io.bfq.weight", "io.weight")?;
        for (field, list, key) in throttles(io) {
            let key = match key {
                "read_bps_device" => "rbps",
                "write_bps_device" => "wbps",
                "read_iops_device" => "riops",
                _ => "wiops",
            };
            for device in list {
                let rate = if device.rate == 0 { "max".to_owned() } else { device.rate.to_string() };
                let value = format!("{}:{} {key}={rate}", device.major, device.minor);
                writes.add(&format!("blockIO.{field}"), "io", "io.max", value);
            }
        }
    }
    for (key, value) in &resources.unified {
        let plain =
            key.split_once('.').is_some_and(|(a, b)| !a.is_empty() && !b.is_empty()) && !key.contains('/');
        if !plain {
            return Err(Error::invalid(format!(
                "linux.resources.unified: {key:?} is not a cgroup file name"
            )));
        }
        for line in value.lines() {
            writes.add(&format!("unified[{key:?}]"), "unified", key, line);
        }
    }
    Ok(writes.0)
}

fn memory_v2(memory: &Memory, writes: &mut Writes) -> Result<()> {
    let refused = [
        ("memory.kernel", set(memory.kernel).is_some_and(|v| v > 0)),
        ("memory.kernelTCP", set(memory.kernel_tcp).is_some_and(|v| v > 0)),
        ("memory.swappiness", memory.swappiness.is_some()),
        ("memory.disableOOMKiller", memory.disable_oom_killer == Some(true)),
    ];
    if let Some((field, _)) = refused.iter().find(|(_, asked)| *asked) {
        return Err(unsupported(&format!("{field} (cgroup v2)")));
    }
    let (limit, swap) = (set(memory.limit), set(memory.swap));
    if let Some(limit) = limit {
        writes.add("memory.limit", "memory", "memory.max", max_or(limit));
    }
    match (limit, swap) {
        (_, Some(swap)) if swap < 0 => writes.add("memory.swap", "memory", "memory.swap.max", "max"),
        (Some(limit), Some(swap)) if limit > 0 && swap >= limit => {
            writes.add("memory.swap", "memory", "memory.swap.max", swap - limit);
        }
        (Some(limit), None) if limit < 0 => writes.add("memory.swap", "memory", "memory.swap.max", "max"),
        (_, Some(_)) => {
            return Err(Error::invalid("linux.resources.memory.swap: needs a memory.limit not above it"));
        }
        _ => {}
    }
    if writes.0.last().is_some_and(|w| w.files[0] == "memory.swap.max" && w.value == "max") {
        writes.optional();
    }
    if let Some(reservation) = set(memory.reservation) {
        writes.add("memory.reservation", "memory", "memory.low", max_or(reservation));
    }
    Ok(())
}

fn cpu_v2(cpu: &Cpu, writes: &mut Writes) -> Result<()> {
    if set(cpu.realtime_period).is_some() || set(cpu.realtime_runtime).is_some() {
        return Err(unsupported("cpu.realtimeRuntime (cgroup v2)"));
    }
    if let Some(idle) = cpu.idle {
        writes.add("cpu.idle", "cpu", "cpu.idle", idle);
    }
    if let Some(shares) = set(cpu.shares).filter(|_| cpu.idle != Some(1)) {
        writes.add("cpu.shares", "cpu", "cpu.weight", weight_of_shares(shares));
    }
    let quota = set(cpu.quota).map(|quota| if quota < 0 { "max".to_owned() } else { quota.to_string() });
    match (quota, set(cpu.period)) {
        (Some(quota), Some(period)) => writes.add("cpu.quota", "cpu", "cpu.max", format!("{quota} {period}")),
        (Some(quota), None) => writes.add("cpu.quota", "cpu", "cpu.max", quota),
        (None, Some(period)) => writes.add("cpu.period", "cpu", "cpu.max", format!("max {period}")),
        (None, None) => {}
    }
    if let Some(burst) = cpu.burst {
        writes.add("cpu.burst", "cpu", "cpu.max.burst", burst);
    }
    cpuset(cpu, writes);
    Ok(())
}

/// v1 shares 2..262144 to v2 weight 1..10000, so that the defaults, 1024 and 100, meet: 10 to the power of
/// `l²/612 + 125·l/612 − 7/34`, `l` the binary logarithm of the shares (the conversion runc and crun share).
fn weight_of_shares(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let l = (shares as f64).log2();
    10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0).ceil() as u64
}

fn max_or(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

type Throttle<'a> = (&'static str, &'a [ThrottleDevice], &'static str);

fn throttles(io: &BlockIo) -> [Throttle<'_>; 4] {
    [
        ("throttleReadBpsDevice", &io.throttle_read_bps_device, "read_bps_device"),
        ("throttleWriteBpsDevice", &io.throttle_write_bps_device, "write_bps_device"),
        ("throttleReadIOPSDevice", &io.throttle_read_iops_device, "read_iops_device"),
        ("throttleWriteIOPSDevice", &io.throttle_write_iops_device, "write_iops_device"),
    ]
}

fn weight_devices(io: &BlockIo, writes: &mut Writes, first: &str, second: &str) -> Result<()> {
    if set(io.leaf_weight).is_some() || io.weight_device.iter().any(|d| set(d.leaf_weight).is_some()) {
        return Err(unsupported("blockIO.leafWeight"));
    }
    for device in &io.weight_device {
        if let Some(weight) = set(device.weight) {
            let value = format!("{}:{} {weight}", device.major, device.minor);
            let controller = if first.starts_with("io") { "io" } else { "blkio" };
            writes.add("blockIO.weightDevice", controller, first, value);
            writes.or(second);
        }
    }
    Ok(())
}

/// One resolved device rule; absent numbers are wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Allow or deny.
    pub allow: bool,
    /// `a`, `b` or `c`.
    pub kind: char,
    /// Major and minor number.
    pub numbers: (Option<u32>, Option<u32>),
    /// Letters of `rwm`.
    pub access: String,
}

impl fmt::Display for Rule {
    /// As cgroup v1's device lists take it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        write!(f, "{} {}:{} {}", self.kind, number(self.numbers.0), number(self.numbers.1), self.access)
    }
}

/// The config's rules with those of the default devices behind them.
pub fn device_rules(wishes: &[DeviceRule]) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for (index, wish) in wishes.iter().enumerate() {
        let field = format!("linux.resources.devices[{index}]");
        let kind = match wish.kind.as_str() {
            "" | "a" => 'a',
            "b" => 'b',
            "c" | "u" => 'c',
            other => return Err(Error::invalid(format!("{field}.type: unknown device type {other:?}"))),
        };
        if !wish.access.chars().all(|c| "rwm".contains(c)) {
            return Err(Error::invalid(format!(
                "{field}.access: {:?} has letters besides r, w and m",
                wish.access
            )));
        }
        let number = |name: &str, n: Option<i64>| match n {
            None | Some(-1) => Ok(None), // as for runc
            Some(n) => u32::try_from(n)
                .map(Some)
                .map_err(|_| Error::invalid(format!("{field}.{name}: {n} is out of range"))),
        };
        let numbers = (number("major", wish.major)?, number("minor", wish.minor)?);
        let access = if wish.access.is_empty() { "rwm".to_owned() } else { wish.access.clone() };
        rules.push(Rule { allow: wish.allow, kind, numbers, access });
    }
    let default =
        |kind, numbers, access: &str| Rule { allow: true, kind, numbers, access: access.to_owned() };
    rules.push(default('c', (None, None), "m"));
    rules.push(default('b', (None, None), "m"));
    let nodes = [(1, 3), (1, 8), (1, 7), (5, 0), (1, 5), (1, 9), (5, 2), (10, 200)];
    rules.extend(nodes.map(|(major, minor)| default('c', (Some(major), Some(minor)), "rwm")));
    rules.push(default('c', (Some(136), None), "rwm"));
    Ok(rules)
}

/// The eBPF program for cgroup v2: the last rule that matches an access decides it, and with none it is denied.
/// The context (`struct bpf_cgroup_dev_ctx`) is access and type in one word, major, minor.
pub fn device_program(rules: &[Rule]) -> Vec<Instruction> {
    let op = |code, registers, offset, immediate| Instruction { code, registers, offset, immediate };
    const LDX_W: u8 = 0x61; // register = memory
    const MOV32_X: u8 = 0xbc;
    const MOV_K: u8 = 0xb7;
    const AND32_K: u8 = 0x54;
    const RSH32_K: u8 = 0x74;
    const JNE_K: u8 = 0x55;
    const JNE_X: u8 = 0x5d;
    const EXIT: u8 = 0x95;
    let mut program = vec![
        op(LDX_W, 0x12, 0, 0), // r2 = type and access
        op(MOV32_X, 0x23, 0, 0),
        op(RSH32_K, 0x03, 0, 16),     // r3 = access
        op(AND32_K, 0x02, 0, 0xffff), // r2 = type
        op(LDX_W, 0x14, 4, 0),        // r4 = major
        op(LDX_W, 0x15, 8, 0),        // r5 = minor
    ];
    for rule in rules.iter().rev() {
        let mut block = Vec::new();
        if rule.kind != 'a' {
            block.push(op(JNE_K, 0x02, 0, if rule.kind == 'b' { 1 } else { 2 }));
        }
        let bit = |letter, bit| if rule.access.contains(letter) { bit } else { 0 };
        let access = bit('m', 1) | bit('r', 2) | bit('w', 4);
        if access != 7 && rule.allow {
            // An allowance must cover all of the access.
            block.push(op(MOV32_X, 0x31, 0, 0));
            block.push(op(AND32_K, 0x01, 0, access));
            block.push(op(JNE_X, 0x31, 0, 0));
        } else if access != 7 {
            // A denial bites if it covers any of it: the jump is taken when nothing is left of the mask.
            block.push(op(MOV32_X, 0x31, 0, 0));
            block.push(op(AND32_K, 0x01, 0, access));
            block.push(op(0x15, 0x01, 0, 0)); // JEQ_K
        }
        for (register, number) in [(0x04, rule.numbers.0), (0x05, rule.numbers.1)] {
            if let Some(number) = number {
                block.push(op(JNE_K, register, 0, number as i32));
            }
        }
        block.push(op(MOV_K, 0x00, 0, i32::from(rule.allow)));
        block.push(op(EXIT, 0, 0, 0));
        let length = block.len();
        for (index, instruction) in block.iter_mut().enumerate() {
            if matches!(instruction.code, JNE_K | JNE_X | 0x15) {
                instruction.offset = (length - index - 1) as i16;
            }
        }
        program.extend(block);
    }
    program.extend([op(MOV_K, 0, 0, 0), op(EXIT, 0, 0, 0)]);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(writes: &[Write]) -> Vec<(&str, &str)> {
        writes.iter().map(|w| (w.files[0].as_str(), w.value.as_str())).collect()
    }

    #[test]
    fn zeros_that_engines_send_are_unset_and_pids_zero_is_a_limit() {
        let text = r#"{"memory":{"limit":0,"swap":0,"reservation":0},"cpu":{"shares":0,"quota":0,"period":0},
                       "pids":{"limit":0},"blockIO":{"weight":0}}"#;
        let resources: Resources = serde_json::from_str(text).unwrap();
        assert_eq!(values(&resolve_v1(&resources).unwrap()), [("pids.max", "0")]);
        assert_eq!(values(&resolve_v2(&resources).unwrap()), [("pids.max", "0")]);
    }

    #[test]
    fn v2_converts_swap_shares_and_quota() {
        let text = r#"{"memory":{"limit":100,"swap":100},"cpu":{"shares":1024,"quota":-1,"period":50000}}"#;
        let resources: Resources = serde_json::from_str(text).unwrap();
        let expected = [
            ("memory.max", "100"),
            ("memory.swap.max", "0"),
            ("cpu.weight", "100"),
            ("cpu.max", "max 50000"),
        ];
        assert_eq!(values(&resolve_v2(&resources).unwrap()), expected);
        assert_eq!([2, 1024, 262_144].map(weight_of_shares), [1, 100, 10_000]);
    }

    #[test]
    fn unified_keys_stay_file_names() {
        for bad in ["../x.y", "a/b.c", "noController", ".x"] {
            let resources =
                Resources { unified: [(bad.to_owned(), "1".to_owned())].into(), ..Default::default() };
            assert!(resolve_v2(&resources).is_err(), "{bad}");
        }
    }
}
