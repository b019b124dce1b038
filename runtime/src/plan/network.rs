//! Network devices of the host that move into the container (config-linux.md, "Network Devices").

use std::collections::BTreeMap;

use super::findings::Findings;
use super::namespaces::Namespaces;
use crate::error::{Error, Kind, Result};
use crate::spec;

/// linux/if.h, IFNAMSIZ, less the NUL.
const MAX_NAME: usize = 15;

/// One device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetDevice {
    /// Its name on the host.
    pub host_name: String,
    /// Its name in the container; `%d` in it is for the kernel to fill in.
    pub name: String,
}

/// Resolves `linux.netDevices`.
pub fn resolve(
    wishes: &BTreeMap<String, spec::NetDevice>,
    namespaces: &Namespaces,
    findings: &mut Findings,
) -> Vec<NetDevice> {
    if !wishes.is_empty() && !namespaces.has(libc::CLONE_NEWNET) {
        let message = "needs a network namespace of the container's own";
        findings.push(Error::at_as(Kind::Unsupported, "linux.netDevices", message));
    }
    let mut devices: Vec<NetDevice> = Vec::new();
    for (host_name, wish) in wishes {
        let name = if wish.name.is_empty() { host_name } else { &wish.name };
        let device = NetDevice { host_name: host_name.clone(), name: name.clone() };
        let field = format!("linux.netDevices[\"{host_name}\"]");
        findings.keep(check_name(&field, host_name, false));
        findings.keep(check_name(&format!("{field}.name"), name, true));
        if devices.iter().any(|other| other.name == device.name && !name.contains('%')) {
            findings.push(Error::at(format!("{field}.name"), format_args!("duplicate name {name:?}")));
        }
        devices.push(device);
    }
    devices
}

/// The kernel's rule (net/core/dev.c, dev_valid_name).
fn check_name(field: &str, name: &str, template: bool) -> Result<()> {
    let wrong = name.is_empty()
        || name.len() > MAX_NAME
        || matches!(name, "." | "..")
        || name.chars().any(|c| c == '/' || c == ':' || c.is_whitespace())
        || (name.contains('%') && !(template && name.ends_with("%d") && name.matches('%').count() == 1));
    if wrong {
        Err(Error::at(field, format_args!("{name:?} is no name of a network device")))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels_and_templates_end_in_a_number() {
        for good in ["eth0", "eth%d", "a.b-c_d"] {
            assert!(check_name("f", good, true).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "sixteencharacter", "%deth", "a%d%d", "a%s"] {
            assert!(check_name("f", bad, true).is_err(), "{bad}");
        }
        assert!(check_name("f", "eth%d", false).is_err());
    }
}
