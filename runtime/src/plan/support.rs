//! The list of what a config can ask and this runtime does not do yet. Each is refused by name: nothing is
//! accepted and ignored.

use crate::error::{Error, Kind, Result};
use crate::spec::{Process, Spec};

/// Refuses the first wish that would have to be ignored.
pub fn refuse_unsupported(spec: &Spec) -> Result<()> {
    if let Some(linux) = &spec.linux {
        let wishes = [
            ("linux.timeOffsets", linux.time_offsets.is_some()),
            ("linux.netDevices", linux.net_devices.is_some()),
            ("linux.mountLabel", !linux.mount_label.is_empty()),
            ("linux.intelRdt", linux.intel_rdt.is_some()),
            ("linux.personality", linux.personality.is_some()),
            ("linux.memoryPolicy", linux.memory_policy.is_some()),
        ];
        refuse_first(&wishes)?;
    }
    if spec.annotations.contains_key("") {
        return Err(Error::invalid("annotations: a key is empty"));
    }
    spec.process.as_ref().map_or(Ok(()), refuse_in_process)
}

/// The same for a process alone, as `exec` has it.
pub fn refuse_in_process(process: &Process) -> Result<()> {
    refuse_first(&[
        ("process.apparmorProfile", !process.apparmor_profile.is_empty()),
        ("process.selinuxLabel", !process.selinux_label.is_empty()),
        ("process.scheduler", process.scheduler.is_some()),
        ("process.ioPriority", process.io_priority.is_some()),
        ("process.execCPUAffinity", process.exec_cpu_affinity.is_some()),
    ])
}

fn refuse_first(wishes: &[(&str, bool)]) -> Result<()> {
    match wishes.iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(Error::new(Kind::Unsupported, format!("{field}: is not supported yet"))),
        None => Ok(()),
    }
}
