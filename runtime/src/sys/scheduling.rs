//! Scheduling, I/O priority, CPU affinity and memory policy: calls that take masks of any length or structs
//! that no library has.

use rustix::io::Result;

use super::again::done;
use crate::plan::lists::Mask;
use crate::plan::scheduling::{MemoryPolicy, Scheduler};

/// `struct sched_attr` (linux/sched/types.h), first published size.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// sched_setattr(2) on this thread.
pub fn sched_setattr(wish: &Scheduler) -> Result<()> {
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: wish.policy,
        flags: wish.flags,
        nice: wish.nice,
        priority: wish.priority,
        runtime: wish.runtime,
        deadline: wish.deadline,
        period: wish.period,
    };
    // SAFETY: `attr` lives across the call and holds its own true size.
    done(|| unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) })
}

/// ioprio_set(2) on this process group.
pub fn ioprio_set(priority: i32) -> Result<()> {
    const IOPRIO_WHO_PGRP: i32 = 2;
    // SAFETY: the arguments are numbers.
    done(|| unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PGRP, 0, priority) })
}

/// sched_setaffinity(2) with a mask of any length.
pub fn sched_setaffinity(pid: i32, mask: &Mask) -> Result<()> {
    let bytes = size_of_val(mask.0.as_slice());
    // SAFETY: the mask lives across the call and is as long as is said.
    done(|| unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, bytes, mask.0.as_ptr()) })
}

/// set_mempolicy(2) on this thread.
pub fn set_mempolicy(policy: &MemoryPolicy) -> Result<()> {
    let nodes = &policy.nodes.0;
    let (pointer, bits) = match nodes.is_empty() {
        true => (std::ptr::null(), 0),
        // The kernel takes one bit less than it is told (set_mempolicy(2), "BUGS").
        false => (nodes.as_ptr(), nodes.len().saturating_mul(64).saturating_add(1)),
    };
    // SAFETY: the mask lives across the call; of the bit that is announced too many the kernel reads none.
    done(|| unsafe { libc::syscall(libc::SYS_set_mempolicy, policy.mode, pointer, bits) })
}
