//! Decisions: what will be done, with nothing left to interpret.
//!
//! A [`Plan`] is plain data made from the config alone: no system calls, no clock, no environment. Every
//! default, option string and contradiction ends here, before anything on the host is touched.

pub mod devices;
pub mod findings;
pub mod lists;
pub mod mounts;
pub mod namespaces;
pub mod network;
pub mod ownership;
pub mod process;
pub mod rdt;
pub mod resources;
pub mod scheduling;
pub mod seccomp;
pub mod sysctl;

use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::spec;

use devices::Node;
use findings::Findings;
use mounts::{MountStep, Places};
use namespaces::Namespaces;
use network::NetDevice;
use process::ProcessPlan;
use rdt::Rdt;
use scheduling::MemoryPolicy;

/// A container to be made.
#[derive(Debug)]
pub struct Plan {
    /// The container's ID.
    pub id: String,
    /// Absolute path of the root file system on the host.
    pub rootfs: PathBuf,
    /// Whether the root ends read-only.
    pub readonly_root: bool,
    /// `MS_*` propagation that the container's mounts start from, and that the root ends with.
    pub root_propagation: RootPropagation,
    /// Namespaces to create and to join.
    pub namespaces: Namespaces,
    /// Mounts in order.
    pub mounts: Vec<MountStep>,
    /// Device nodes.
    pub devices: Vec<Node>,
    /// Absolute paths to hide.
    pub masked_paths: Vec<PathBuf>,
    /// Absolute paths to make read-only.
    pub readonly_paths: Vec<PathBuf>,
    /// Host name, if one is to be set.
    pub hostname: String,
    /// Domain name, if one is to be set.
    pub domainname: String,
    /// Paths below /proc/sys and what to write there.
    pub sysctl: Vec<(PathBuf, String)>,
    /// The user's program; without one, `start` is an error.
    pub process: Option<ProcessPlan>,
    /// Hooks of all kinds.
    pub hooks: spec::Hooks,
    /// SELinux label of new file systems; empty: none is asked for.
    pub mount_label: String,
    /// For personality(2).
    pub personality: Option<u32>,
    /// For set_mempolicy(2).
    pub memory_policy: Option<MemoryPolicy>,
    /// Network devices to move in.
    pub net_devices: Vec<NetDevice>,
    /// The host's user that the control group is given to.
    pub cgroup_owner: Option<u32>,
    /// The class of service in resctrl.
    pub rdt: Option<Rdt>,
}

/// `linux.rootfsPropagation`, resolved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RootPropagation {
    /// `MS_SLAVE`, `MS_PRIVATE` or `MS_SHARED`: how the container's copy of the host's mounts hears of the host.
    pub inherited: u64,
    /// What the root mount itself ends with, if anything was asked for.
    pub last: Option<u64>,
}

impl Plan {
    /// Resolves a whole config, or says what is wrong first.
    pub fn resolve(id: &str, bundle: &Path, spec: &spec::Spec) -> Result<Plan> {
        let mut findings = Findings::default();
        let plan = Plan::resolve_all(id, bundle, spec, &mut findings);
        findings.into_result().map(|()| plan)
    }

    /// Resolves a whole config and keeps everything that is wrong with it.
    pub fn resolve_all(id: &str, bundle: &Path, spec: &spec::Spec, findings: &mut Findings) -> Plan {
        findings.keep(check_version(&spec.oci_version));
        let none = spec::Linux::default();
        let linux = spec.linux.as_ref().unwrap_or(&none);
        if spec.root.is_none() {
            findings.push(Error::at("root", "is missing"));
        }
        if spec.annotations.contains_key("") {
            findings.push(Error::at("annotations", "a key is empty"));
        }
        for (name, value) in spec.freebsd.iter().flat_map(|freebsd| &freebsd.jail).flat_map(spec::Jail::wrong)
        {
            findings.push(Error::at(format!("freebsd.jail.{name}"), format_args!("unknown value {value:?}")));
        }
        let root = spec.root.clone().unwrap_or_default();
        let namespaces = Namespaces::resolve(linux, findings);
        let rootfs = bundle.join(&root.path);
        let places = Places { bundle, rootfs: &rootfs };
        let plan = Plan {
            id: id.to_owned(),
            rootfs: rootfs.clone(),
            readonly_root: root.readonly,
            root_propagation: findings.keep(root_propagation(&linux.rootfs_propagation)),
            mounts: mounts::resolve_all(&spec.mounts, places, &namespaces, findings),
            devices: devices::resolve(&linux.devices, findings),
            masked_paths: absolute("linux.maskedPaths", &linux.masked_paths, findings),
            readonly_paths: absolute("linux.readonlyPaths", &linux.readonly_paths, findings),
            hostname: spec.hostname.clone(),
            domainname: spec.domainname.clone(),
            sysctl: sysctl::resolve(spec, &namespaces, findings),
            process: spec
                .process
                .as_ref()
                .map(|process| ProcessPlan::resolve(process, findings).annotated(&spec.annotations)),
            hooks: spec.hooks.clone().unwrap_or_default(),
            mount_label: linux.mount_label.clone(),
            personality: findings.keep(linux.personality.as_ref().map(scheduling::personality).transpose()),
            memory_policy: findings
                .keep(linux.memory_policy.as_ref().map(scheduling::memory_policy).transpose()),
            net_devices: network::resolve(&linux.net_devices, &namespaces, findings),
            cgroup_owner: ownership::cgroup_owner(spec),
            rdt: linux.intel_rdt.as_ref().map(|wish| rdt::resolve(wish, id, findings)),
            namespaces,
        };
        plan.check(findings);
        check_hooks(&plan.hooks, findings);
        plan
    }

    fn check(&self, findings: &mut Findings) {
        for (field, name) in [("hostname", &self.hostname), ("domainname", &self.domainname)] {
            if name.len() > MAX_UTS_NAME || name.contains('\0') {
                let message = format_args!("{name:?} is not a name of at most {MAX_UTS_NAME} bytes");
                findings.push(Error::at(field, message));
            }
            if !name.is_empty() && !self.namespaces.has(libc::CLONE_NEWUTS) {
                // The specification would have it set for the host (config.md, "Hostname").
                let message = "needs a UTS namespace of the container's own";
                findings.push(Error::at_as(Kind::Unsupported, field, message));
            }
        }
        if let Some(process) = &self.process {
            let groups = process.groups.as_deref().unwrap_or_default();
            findings.keep(self.namespaces.check_user(process.user, groups));
        }
        let paths = !self.masked_paths.is_empty() || !self.readonly_paths.is_empty();
        if paths && !self.namespaces.has(libc::CLONE_NEWNS) {
            // They would be hidden from the host.
            let message = "needs a mount namespace of the container's own";
            findings.push(Error::at("linux.maskedPaths", message));
        }
    }
}

fn check_version(version: &str) -> Result<()> {
    // Every 1.x is taken: the specification promises compatibility within a major version. So are the drafts of 1.0,
    // 0.x, which the specification's own samples still name.
    let numbers = version.split(['-', '+']).next().unwrap_or_default().split('.');
    let numbers: Option<Vec<u32>> = numbers.map(|number| number.parse().ok()).collect();
    if !matches!(numbers.as_deref(), Some([0 | 1, _, _])) {
        return Err(Error::at("ociVersion", format_args!("{version:?} is not a version 1.x.y")));
    }
    Ok(())
}

fn absolute(field: &str, paths: &[PathBuf], findings: &mut Findings) -> Vec<PathBuf> {
    for (index, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_absolute()) {
        findings.push(Error::at(format!("{field}[{index}]"), format_args!("{path:?} is not absolute")));
    }
    paths.to_vec()
}

fn root_propagation(name: &str) -> Result<RootPropagation> {
    let (inherited, last) = match name {
        "" => (libc::MS_SLAVE, None),
        "slave" | "rslave" => (libc::MS_SLAVE, Some(libc::MS_SLAVE)),
        "private" | "rprivate" => (libc::MS_PRIVATE, Some(libc::MS_PRIVATE)),
        "shared" | "rshared" => (libc::MS_SHARED, Some(libc::MS_SHARED)),
        "unbindable" | "runbindable" => (libc::MS_PRIVATE, Some(libc::MS_UNBINDABLE)),
        other => return Err(Error::at("linux.rootfsPropagation", format_args!("unknown value {other:?}"))),
    };
    Ok(RootPropagation { inherited, last })
}

/// What the kernel has room for (uts_namespaces(7)).
const MAX_UTS_NAME: usize = 64;

fn check_hooks(hooks: &spec::Hooks, findings: &mut Findings) {
    let lists = hooks.lists();
    for (kind, hook, index) in
        lists.iter().flat_map(|(k, l)| l.iter().enumerate().map(move |(i, h)| (k, h, i)))
    {
        let field = |name: &str| format!("hooks.{kind}[{index}].{name}");
        if !hook.path.is_absolute() {
            findings.push(Error::at(field("path"), format_args!("{:?} is not absolute", hook.path)));
        }
        let texts = hook.args.iter().chain(hook.env.iter().flatten()).map(String::as_str);
        if texts.chain(hook.path.to_str()).any(|text| text.contains('\0')) {
            findings.push(Error::at(format!("hooks.{kind}[{index}]"), "holds a NUL"));
        }
        if hook.timeout.is_some_and(|seconds| seconds <= 0) {
            findings.push(Error::at(field("timeout"), "must be greater than zero"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_1_x_is_taken_and_nothing_else() {
        for (version, ok) in [
            ("1.0.0", true),
            ("1.0.2-dev", true),
            ("1.3.0+dev", true),
            ("2.0.0", false),
            ("", false),
            ("1", false),
        ] {
            assert_eq!(check_version(version).is_ok(), ok, "{version}");
        }
    }
}
