//! What a container's limits ask of control groups that this host's do not have, found without making any.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Cgroup, Driver, Mode, systemd, v2};
use crate::error::{Error, Kind};
use crate::plan::findings::Findings;
use crate::plan::resources::{self, Write};
use crate::spec::{BlockIo, Resources};

impl Cgroup {
    /// Finds everything that is wrong with the limits for this host's version of control groups.
    pub fn check_values(&self, resources: &Resources, findings: &mut Findings) {
        match self.mode {
            Mode::V1 => resources::check_all(resources, resources::resolve_v1, findings),
            Mode::V2 => resources::check_all(resources, resources::resolve_v2, findings),
        }
        resources::check_all(resources, |all| resources::devices::resolve(&all.devices), findings);
        let cpu = resources.cpu.clone().unwrap_or_default();
        for (name, list) in [("cpus", &cpu.cpus), ("mems", &cpu.mems)] {
            // The kernel also reads strides, `all` and `N` (lib/bitmap-str.c).
            let known = |c: char| c.is_ascii_digit() || " ,-:/N\n".contains(c);
            if list != "all" && !list.chars().all(known) {
                let message = format_args!("{list:?} is not a list such as 0-3,7");
                findings.push(Error::at(format!("linux.resources.cpu.{name}"), message));
            }
        }
    }

    /// Finds annotations that ask something of systemd which it can't be told, where it is asked at all.
    pub fn check_annotations(&self, annotations: &BTreeMap<String, String>, findings: &mut Findings) {
        if matches!(self.driver, Driver::Systemd(_)) {
            for (key, value) in annotations {
                findings.keep(systemd::check_annotations(&[(key.clone(), value.clone())].into()));
            }
        }
    }

    /// Finds everything that the limits need and this host lacks.
    pub fn check(&self, resources: &Resources, findings: &mut Findings) {
        let writes = match self.mode {
            Mode::V1 => resources::resolve_v1(resources),
            Mode::V2 => resources::resolve_v2(resources),
        };
        let mut named: Vec<String> = Vec::new();
        for write in writes.unwrap_or_default().iter().filter(|write| !write.optional) {
            if !self.offers(&write.controller) && !named.contains(&write.field) {
                findings.push(self.no_controller(write));
                named.push(write.field.clone());
            }
        }
        check_sizes(resources, findings);
        if let Some(io) = &resources.block_io {
            check_block_devices(io, findings);
        }
    }

    /// Whether the host has the controller, as far as its mount points tell.
    fn offers(&self, controller: &str) -> bool {
        match self.mode {
            Mode::V1 => self.holder(controller).is_some(),
            Mode::V2 if controller == "cgroup" => true,
            Mode::V2 => self
                .unified()
                .is_some_and(|dir| v2::controllers(&dir.mount_point).iter().any(|one| one == controller)),
        }
    }

    fn no_controller(&self, write: &Write) -> Error {
        let message = match self.driver {
            Driver::Disabled => "can't be set with cgroups disabled".to_owned(),
            _ => format!("no {} controller on this host", write.controller),
        };
        Error::at_as(Kind::Unsupported, write.field.as_str(), message)
    }
}

/// Huge pages come in the sizes of the processor (kernel Documentation/admin-guide/mm/hugetlbpage.rst).
fn check_sizes(resources: &Resources, findings: &mut Findings) {
    for (index, wish) in resources.hugepage_limits.iter().enumerate() {
        let units = [("KB", 1), ("MB", 1 << 10), ("GB", 1 << 20)];
        let number = |(unit, factor): &(&str, u64)| {
            wish.page_size.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(*factor)
        };
        let Some(kilobytes) = units.iter().find_map(number) else { continue };
        if !Path::new(&format!("/sys/kernel/mm/hugepages/hugepages-{kilobytes}kB")).is_dir() {
            let field = format!("linux.resources.hugepageLimits[{index}].pageSize");
            let message = format_args!("this host has no huge pages of {}", wish.page_size);
            findings.push(Error::at_as(Kind::Unsupported, field, message));
        }
    }
}

fn check_block_devices(io: &BlockIo, findings: &mut Findings) {
    let weights = io.weight_device.iter().map(|device| (device.major, device.minor)).collect();
    let rates = |list: &[crate::spec::ThrottleDevice]| list.iter().map(|d| (d.major, d.minor)).collect();
    let lists: [(&str, Vec<(i64, i64)>); 5] = [
        ("weightDevice", weights),
        ("throttleReadBpsDevice", rates(&io.throttle_read_bps_device)),
        ("throttleWriteBpsDevice", rates(&io.throttle_write_bps_device)),
        ("throttleReadIOPSDevice", rates(&io.throttle_read_iops_device)),
        ("throttleWriteIOPSDevice", rates(&io.throttle_write_iops_device)),
    ];
    for (name, list) in lists {
        for (index, (major, minor)) in list.iter().enumerate() {
            // Numbers that no device can have are found already.
            let plain = *major >= 0 && *minor >= 0;
            if plain && !Path::new(&format!("/sys/dev/block/{major}:{minor}")).exists() {
                let field = format!("linux.resources.blockIO.{name}[{index}]");
                let message = format_args!("this host has no block device {major}:{minor}");
                findings.push(Error::at_as(Kind::NotFound, field, message));
            }
        }
    }
}
