//! Which section of the specification says what a property means: config.md and config-linux.md of 1.3, by the
//! names of their headings.

use crate::place::{Place, Step};

/// The beginning of a place, without indices, and the section. The longest beginning counts.
const SECTIONS: &[(&str, &str)] = &[
    ("", "config.md, Configuration"),
    ("ociVersion", "config.md, Specification version"),
    ("root", "config.md, Root"),
    ("mounts", "config.md, Mounts"),
    ("mounts.options", "config.md, Linux mount options"),
    ("mounts.type", "config.md, POSIX-platform Mounts"),
    ("mounts.uidMappings", "config.md, POSIX-platform Mounts"),
    ("mounts.gidMappings", "config.md, POSIX-platform Mounts"),
    ("process", "config.md, Process"),
    ("process.rlimits", "config.md, POSIX process"),
    ("process.apparmorProfile", "config.md, Linux Process"),
    ("process.capabilities", "config.md, Linux Process"),
    ("process.noNewPrivileges", "config.md, Linux Process"),
    ("process.oomScoreAdj", "config.md, Linux Process"),
    ("process.scheduler", "config.md, Linux Process"),
    ("process.selinuxLabel", "config.md, Linux Process"),
    ("process.ioPriority", "config.md, Linux Process"),
    ("process.execCPUAffinity", "config.md, Linux Process"),
    ("process.user", "config.md, POSIX-platform User"),
    ("hostname", "config.md, Hostname"),
    ("domainname", "config.md, Domainname"),
    ("hooks", "config.md, POSIX-platform Hooks"),
    ("hooks.prestart", "config.md, Prestart"),
    ("hooks.createRuntime", "config.md, CreateRuntime Hooks"),
    ("hooks.createContainer", "config.md, CreateContainer Hooks"),
    ("hooks.startContainer", "config.md, StartContainer Hooks"),
    ("hooks.poststart", "config.md, Poststart"),
    ("hooks.poststop", "config.md, Poststop"),
    ("annotations", "config.md, Annotations"),
    ("freebsd", "config-freebsd.md, Jail"),
    ("linux", "config-linux.md, Linux Container Configuration"),
    ("linux.namespaces", "config-linux.md, Namespaces"),
    ("linux.uidMappings", "config-linux.md, User namespace mappings"),
    ("linux.gidMappings", "config-linux.md, User namespace mappings"),
    ("linux.timeOffsets", "config-linux.md, Offset for Time Namespace"),
    ("linux.devices", "config-linux.md, Devices"),
    ("linux.netDevices", "config-linux.md, Network Devices"),
    ("linux.cgroupsPath", "config-linux.md, Cgroups Path"),
    ("linux.resources", "config-linux.md, Control groups"),
    ("linux.resources.devices", "config-linux.md, Allowed Device list"),
    ("linux.resources.memory", "config-linux.md, Memory"),
    ("linux.resources.cpu", "config-linux.md, CPU"),
    ("linux.resources.pids", "config-linux.md, PIDs"),
    ("linux.resources.blockIO", "config-linux.md, Block IO"),
    ("linux.resources.hugepageLimits", "config-linux.md, Huge page limits"),
    ("linux.resources.network", "config-linux.md, Network"),
    ("linux.resources.rdma", "config-linux.md, RDMA"),
    ("linux.resources.unified", "config-linux.md, Unified"),
    ("linux.rootfsPropagation", "config-linux.md, Rootfs Mount Propagation"),
    ("linux.seccomp", "config-linux.md, Seccomp"),
    ("linux.sysctl", "config-linux.md, Sysctl"),
    ("linux.maskedPaths", "config-linux.md, Masked Paths"),
    ("linux.readonlyPaths", "config-linux.md, Readonly Paths"),
    ("linux.mountLabel", "config-linux.md, Mount Label"),
    ("linux.intelRdt", "config-linux.md, IntelRdt"),
    ("linux.personality", "config-linux.md, Personality"),
    ("linux.memoryPolicy", "config-linux.md, Memory policy"),
];

/// The section on the value at `place`.
pub fn section(place: &Place) -> &'static str {
    let keys: Vec<&str> = place
        .0
        .iter()
        .filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        })
        .collect();
    let depth = |beginning: &str| beginning.split('.').filter(|key| !key.is_empty()).count();
    let fits = |beginning: &str| {
        beginning.split('.').filter(|key| !key.is_empty()).eq(keys.iter().take(depth(beginning)).copied())
    };
    let best = SECTIONS.iter().filter(|(beginning, _)| fits(beginning)).max_by_key(|(b, _)| depth(b));
    best.map_or("", |(_, section)| section)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Hooks, Linux, Resources, Spec, reader};
    use serde_json::json;

    #[test]
    fn longest_beginning_counts_and_indices_do_not() {
        for (place, expected) in [
            ("mounts[0].options", "config.md, Linux mount options"),
            ("mounts[0].destination", "config.md, Mounts"),
            ("linux.resources.memory.swap", "config-linux.md, Memory"),
            ("linux.seccomp.syscalls[3].args[0].op", "config-linux.md, Seccomp"),
            ("process.args", "config.md, Process"),
            ("nosuch", "config.md, Configuration"),
            ("", "config.md, Configuration"),
        ] {
            assert_eq!(section(&Place::parse(place)), expected, "{place}");
        }
    }

    #[test]
    fn every_property_of_the_big_objects_has_a_section_of_its_own() {
        let known = |unknown: Vec<reader::Unknown>| unknown[0].known;
        let odd = || json!({"?": 0});
        let lists = [
            ("linux.", "linux", known(reader::read_all::<Linux>(odd()).unknown)),
            ("linux.resources.", "linux.resources", known(reader::read_all::<Resources>(odd()).unknown)),
            ("hooks.", "hooks", known(reader::read_all::<Hooks>(odd()).unknown)),
            ("", "", known(reader::read_all::<Spec>(json!({"ociVersion": "", "?": 0})).unknown)),
        ];
        for (above, parent, names) in lists {
            for name in names {
                let own = section(&Place::parse(&format!("{above}{name}")));
                assert_ne!(own, section(&Place::parse(parent)), "{above}{name}");
            }
        }
    }
}
