//! What the kernel keeps with the process and hands on over execve: security labels, scheduling, memory
//! policy, execution domain. Set with power still there, and all before a system call filter.

use std::io::Write as _;
use std::path::Path;

use rustix::fs::OFlags;

use super::procfs::Proc;
use crate::error::{Context, Error, Kind, Result};
use crate::plan::process::ProcessPlan;
use crate::plan::scheduling::MemoryPolicy;
use crate::sys::again::again;
use crate::sys::scheduling::{ioprio_set, sched_setattr, set_mempolicy};
use crate::sys::stream::Stream;

/// What belongs to the container, not to one process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shared<'a> {
    /// For personality(2).
    pub personality: Option<u32>,
    /// For set_mempolicy(2).
    pub memory_policy: Option<&'a MemoryPolicy>,
}

/// Sets all. `proc` is the private procfs, by which labels are written.
pub fn set(proc: &Proc, process: &ProcessPlan, shared: Shared<'_>) -> Result<()> {
    if let Some(scheduler) = &process.scheduler {
        sched_setattr(scheduler)
            .context("sched_setattr")
            .map_err(|error| explain_deadline(error, scheduler.policy))
            .in_field("process.scheduler")?;
    }
    if let Some(priority) = process.io_priority {
        ioprio_set(priority).in_field("process.ioPriority")?;
    }
    if let Some(policy) = shared.memory_policy {
        set_mempolicy(policy).in_field("linux.memoryPolicy")?;
    }
    if let Some(domain) = shared.personality {
        let persona = nix::sys::personality::Persona::from_bits_retain(domain as i32);
        again(|| nix::sys::personality::set(persona)).in_field("linux.personality")?;
    }
    if !process.apparmor_profile.is_empty() {
        let text = format!("exec {}", process.apparmor_profile);
        // The first file is AppArmor's own, for hosts where another module has the common one (Linux 5.1).
        write_label(proc, &["attr/apparmor/exec", "attr/exec"], &text).in_field("process.apparmorProfile")?;
    }
    if !process.selinux_label.is_empty() {
        write_label(proc, &["attr/exec"], &process.selinux_label).in_field("process.selinuxLabel")?;
    }
    Ok(())
}

/// A deadline can be promised only to a process that may run on all CPUs (sched_setattr(2), EPERM).
fn explain_deadline(error: Error, policy: u32) -> Error {
    if error.errno() != Some(libc::EPERM) || i64::from(policy) != i64::from(libc::SCHED_DEADLINE) {
        return error;
    }
    Error::new(error.kind(), format!("process scheduler can't be used together with AllowedCPUs: {error}"))
}

/// Writes what execve will apply. By the number of this process, because /proc/self is a link.
fn write_label(proc: &Proc, files: &[&str], text: &str) -> Result<()> {
    let pid = std::process::id();
    for file in files {
        match proc.open_file(&Path::new(&pid.to_string()).join(file), OFlags::WRONLY) {
            Err(error) if error.errno() == Some(libc::ENOENT) => {}
            // Engines look for the backquoted path.
            other => {
                let context = format!("write {text:?} to `/proc/self/{file}`");
                return Stream(other.context(&context)?).write_all(text.as_bytes()).context(context);
            }
        }
    }
    let file = files.first().copied().unwrap_or_default();
    Err(Error::new(Kind::Unsupported, format!("`/proc/self/{file}`: no such file or directory")))
}
