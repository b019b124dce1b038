//! config-linux.md: the Linux part of the configuration.

pub mod cgroups;
mod devices;
mod filesystems;
mod listener;
pub mod namespaces;
mod net_devices;
mod ownership;
mod paths;
mod rdt;
mod required;
pub mod resources;
pub mod seccomp;
mod unified;

use crate::requirement::Section;

/// The sections in order.
pub fn sections() -> Vec<&'static Section> {
    vec![
        &filesystems::SECTION,
        &namespaces::SECTION,
        &namespaces::MAPPINGS,
        &devices::SECTION,
        &devices::DEFAULTS,
        &net_devices::SECTION,
        &cgroups::SECTION,
        &cgroups::PATH,
        &ownership::SECTION,
        &cgroups::DEVICES,
        &resources::MEMORY,
        &resources::CPU,
        &required::BLOCK_IO,
        &required::HUGE_PAGES,
        &required::NETWORK,
        &resources::PIDS,
        &required::RDMA,
        &unified::SECTION,
        &rdt::SECTION,
        &paths::MEMORY_POLICY,
        &seccomp::SECTION,
        &listener::SECTION,
        &listener::STATE,
        &seccomp::CALLS,
        &paths::MASKED,
        &paths::READ_ONLY,
        &paths::PERSONALITY,
    ]
}
