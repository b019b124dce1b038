//! When and where the program gets the processor and the disk (config.md, "scheduler", "ioPriority",
//! "execCPUAffinity") and on which memory nodes its pages lie (config-linux.md, "Memory policy").

use super::findings::Findings;
use super::lists::{self, Mask};
use crate::error::{Error, Result};
use crate::spec;

/// What sched_setattr(2) is given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of struct sched_attr")]
pub struct Scheduler {
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// CPUs of a process that `exec` brings in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Before it enters the control group.
    pub initial: Option<Mask>,
    /// After that.
    pub last: Option<Mask>,
}

/// What set_mempolicy(2) is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// Mode and flags.
    pub mode: u32,
    /// Nodes; may be empty.
    pub nodes: Mask,
}

/// linux/sched.h, uapi. SCHED_ISO is reserved there; the kernel refuses it.
const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

const FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x01),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

/// linux/mempolicy.h, uapi.
pub const MEMORY_MODES: [(&str, u32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];

/// The flags that share the mode's word.
pub const MEMORY_FLAGS: [(&str, u32); 3] = [
    ("MPOL_F_STATIC_NODES", 1 << 15),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
];

fn look_up<T: Copy>(table: &[(&str, T)], field: &str, name: &str) -> Result<T> {
    let found = table.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value).ok_or_else(|| Error::at(field, format_args!("unknown value {name:?}")))
}

/// Resolves `process.scheduler`.
pub fn scheduler(wish: &spec::Scheduler, findings: &mut Findings) -> Scheduler {
    let field = |name: &str| format!("process.scheduler.{name}");
    let policy = findings.keep(look_up(&POLICIES, &field("policy"), &wish.policy).map(Some));
    let real_time = matches!(wish.policy.as_str(), "SCHED_FIFO" | "SCHED_RR");
    if !(-20..=19).contains(&wish.nice) {
        findings.push(Error::at(field("nice"), format_args!("{} is not within -20 and 19", wish.nice)));
    }
    if wish.priority < 0 {
        findings.push(Error::at(field("priority"), format_args!("{} is negative", wish.priority)));
    } else if wish.priority != 0 && !real_time && policy.is_some() {
        findings.push(Error::at(field("priority"), "is for SCHED_FIFO and SCHED_RR alone"));
    }
    let times = [("runtime", wish.runtime), ("deadline", wish.deadline), ("period", wish.period)];
    let out_of_place = |time: u64| time != 0 && policy.is_some() && wish.policy != "SCHED_DEADLINE";
    for (name, _) in times.iter().filter(|(_, time)| out_of_place(*time)) {
        findings.push(Error::at(field(name), "is for SCHED_DEADLINE alone"));
    }
    let mut flags = 0;
    for (index, name) in wish.flags.iter().enumerate() {
        flags |= findings.keep(look_up(&FLAGS, &format!("process.scheduler.flags[{index}]"), name));
    }
    Scheduler {
        policy: policy.unwrap_or_default(),
        flags,
        nice: wish.nice,
        priority: wish.priority.unsigned_abs(),
        runtime: wish.runtime,
        deadline: wish.deadline,
        period: wish.period,
    }
}

/// Resolves `process.ioPriority` to the number that ioprio_set(2) takes.
pub fn io_priority(wish: &spec::IoPriority) -> Result<i32> {
    const CLASSES: [(&str, i32); 3] =
        [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];
    let class = look_up(&CLASSES, "process.ioPriority.class", &wish.class)?;
    match i32::try_from(wish.priority) {
        Ok(priority @ 0..=7) => Ok(class << 13 | priority),
        _ => Err(Error::at(
            "process.ioPriority.priority",
            format_args!("{} is not within 0 and 7", wish.priority),
        )),
    }
}

/// Resolves `process.execCPUAffinity`.
pub fn affinity(wish: &spec::CpuAffinity) -> Result<Affinity> {
    let one = |name: &str, text: &str| -> Result<Option<Mask>> {
        let mask = lists::parse(&format!("process.execCPUAffinity.{name}"), text)?;
        Ok(Some(mask).filter(|mask| !mask.0.is_empty()))
    };
    Ok(Affinity { initial: one("initial", &wish.initial)?, last: one("final", &wish.last)? })
}

/// Resolves `linux.memoryPolicy`.
pub fn memory_policy(wish: &spec::MemoryPolicy) -> Result<MemoryPolicy> {
    let field = |name: &str| format!("linux.memoryPolicy.{name}");
    let known = |table: &[(&str, u32)], name: &str| {
        table.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    };
    let mode = known(&MEMORY_MODES, &wish.mode).ok_or_else(|| {
        Error::at(field("mode"), format_args!("invalid memory policy mode {:?}", wish.mode))
    })?;
    let mut flags = 0;
    for (index, name) in wish.flags.iter().enumerate() {
        let wrong = format_args!("invalid memory policy flag {name:?}");
        flags |=
            known(&MEMORY_FLAGS, name).ok_or_else(|| Error::at(field(&format!("flags[{index}]")), wrong))?;
    }
    let nodes = lists::parse(&field("nodes"), &wish.nodes).map_err(|_| {
        let text = format_args!("invalid memory policy nodes {:?}: not a list such as 0-3,7", wish.nodes);
        Error::at(field("nodes"), text)
    })?;
    let count: u32 = nodes.0.iter().map(|word| word.count_ones()).sum();
    if count > 0 && matches!(wish.mode.as_str(), "MPOL_DEFAULT" | "MPOL_LOCAL") {
        let text = format_args!("invalid memory policy: {} mode requires 0 nodes but got {count}", wish.mode);
        return Err(Error::at(field("nodes"), text));
    }
    // Without nodes MPOL_PREFERRED means the local one; all others need them (set_mempolicy(2), EINVAL).
    let may_lack_nodes = matches!(wish.mode.as_str(), "MPOL_DEFAULT" | "MPOL_LOCAL" | "MPOL_PREFERRED");
    if count == 0 && !may_lack_nodes {
        let text = format_args!("invalid memory policy: {} mode requires at least 1 node", wish.mode);
        return Err(Error::at(field("nodes"), text));
    }
    Ok(MemoryPolicy { mode: mode | flags, nodes })
}

/// Resolves `linux.personality` to the number that personality(2) takes (linux/personality.h).
pub fn personality(wish: &spec::Personality) -> Result<u32> {
    if let Some(flag) = wish.flags.first() {
        return Err(Error::at("linux.personality.flags[0]", format_args!("unsupported flag {flag:?}")));
    }
    look_up(&[("LINUX", 0x0000), ("LINUX32", 0x0008)], "linux.personality.domain", &wish.domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheduler_values_must_fit_the_policy() {
        let wish = |policy: &str| spec::Scheduler { policy: policy.into(), ..Default::default() };
        let scheduler = |wish: &spec::Scheduler| {
            let mut findings = Findings::default();
            let scheduler = super::scheduler(wish, &mut findings);
            findings.into_result().map(|()| scheduler)
        };
        assert_eq!(scheduler(&wish("SCHED_BATCH")).unwrap().policy, 3);
        for (bad, part) in [
            (wish("SCHED_X"), "process.scheduler.policy: unknown value \"SCHED_X\""),
            (spec::Scheduler { nice: 20, ..wish("SCHED_OTHER") }, "process.scheduler.nice"),
            (spec::Scheduler { priority: 1, ..wish("SCHED_OTHER") }, "process.scheduler.priority"),
            (spec::Scheduler { runtime: 1, ..wish("SCHED_FIFO") }, "process.scheduler.runtime"),
            (spec::Scheduler { flags: vec!["X".into()], ..wish("SCHED_RR") }, "process.scheduler.flags[0]"),
        ] {
            let error = scheduler(&bad).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn io_priority_is_class_and_level() {
        let wish = |class: &str, priority| spec::IoPriority { class: class.into(), priority };
        assert_eq!(io_priority(&wish("IOPRIO_CLASS_BE", 4)).unwrap(), 2 << 13 | 4);
        assert!(io_priority(&wish("IOPRIO_CLASS_BE", 8)).is_err());
        assert!(io_priority(&wish("IOPRIO_CLASS_NONE", 0)).is_err());
    }
}
