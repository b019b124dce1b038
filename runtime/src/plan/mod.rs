//! Decisions: what will be done, with nothing left to interpret.
//!
//! A [`Plan`] is plain data made from the config alone: no system calls, no clock, no environment. Every
//! default, option string and contradiction ends here, before anything on the host is touched.

pub mod devices;
pub mod mounts;
pub mod namespaces;
pub mod process;
pub mod resources;
pub mod seccomp;
pub mod support;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::spec;

use devices::Node;
use mounts::MountStep;
use namespaces::Namespaces;
use process::ProcessPlan;

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
}

/// `linux.rootfsPropagation`, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootPropagation {
    /// `MS_SLAVE`, `MS_PRIVATE` or `MS_SHARED`: how the container's copy of the host's mounts hears of the host.
    pub inherited: u64,
    /// What the root mount itself ends with, if anything was asked for.
    pub last: Option<u64>,
}

impl Plan {
    /// Resolves a whole config.
    pub fn resolve(id: &str, bundle: &Path, spec: &spec::Spec) -> Result<Plan> {
        support::refuse_unsupported(spec)?;
        check_version(&spec.oci_version)?;
        let none = spec::Linux::default();
        let linux = spec.linux.as_ref().unwrap_or(&none);
        let root = spec.root.as_ref().ok_or_else(|| Error::invalid("root: is missing"))?;
        let namespaces = Namespaces::resolve(linux)?;
        let plan = Plan {
            id: id.to_owned(),
            rootfs: bundle.join(&root.path),
            readonly_root: root.readonly,
            root_propagation: root_propagation(&linux.rootfs_propagation)?,
            mounts: (spec.mounts.iter().enumerate())
                .map(|(index, mount)| mounts::resolve(index, mount, bundle))
                .collect::<Result<_>>()?,
            devices: devices::resolve(&linux.devices)?,
            masked_paths: absolute("linux.maskedPaths", &linux.masked_paths)?,
            readonly_paths: absolute("linux.readonlyPaths", &linux.readonly_paths)?,
            hostname: spec.hostname.clone(),
            domainname: spec.domainname.clone(),
            sysctl: resolve_sysctl(linux, &namespaces)?,
            process: spec.process.as_ref().map(ProcessPlan::resolve).transpose()?,
            hooks: spec.hooks.clone().unwrap_or_default(),
            namespaces,
        };
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<()> {
        let own = |flag| self.namespaces.has(flag);
        let has_mount_namespace = own(libc::CLONE_NEWNS);
        if !has_mount_namespace {
            return Err(Error::new(
                crate::error::Kind::Unsupported,
                "linux.namespaces: a container without a mount namespace of its own is not supported yet",
            ));
        }
        let named = !self.hostname.is_empty() || !self.domainname.is_empty();
        if named && !own(libc::CLONE_NEWUTS) {
            return Err(Error::invalid("hostname: needs a UTS namespace of the container's own"));
        }
        check_hooks(&self.hooks)
    }
}

fn check_version(version: &str) -> Result<()> {
    // Every 1.x is taken: the specification promises compatibility within a major version.
    let mut parts = version.splitn(3, '.');
    let major = parts.next().unwrap_or_default();
    if major != "1" || parts.next().is_none() {
        return Err(Error::invalid(format!("ociVersion: {version:?} is not a version 1.x.y")));
    }
    Ok(())
}

fn absolute(field: &str, paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    match paths.iter().find(|p| !p.is_absolute()) {
        Some(path) => Err(Error::invalid(format!("{field}: {} is not absolute", path.display()))),
        None => Ok(paths.to_vec()),
    }
}

fn root_propagation(name: &str) -> Result<RootPropagation> {
    let (inherited, last) = match name {
        "" => (libc::MS_SLAVE, None),
        "slave" | "rslave" => (libc::MS_SLAVE, Some(libc::MS_SLAVE)),
        "private" | "rprivate" => (libc::MS_PRIVATE, Some(libc::MS_PRIVATE)),
        "shared" | "rshared" => (libc::MS_SHARED, Some(libc::MS_SHARED)),
        "unbindable" | "runbindable" => (libc::MS_PRIVATE, Some(libc::MS_UNBINDABLE)),
        other => return Err(Error::invalid(format!("linux.rootfsPropagation: unknown value {other:?}"))),
    };
    Ok(RootPropagation { inherited, last })
}

/// Only parameters that belong to a namespace of the container may be set (config-linux.md, "Sysctl").
fn resolve_sysctl(linux: &spec::Linux, namespaces: &Namespaces) -> Result<Vec<(PathBuf, String)>> {
    const IPC: &[&str] = &[
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    ];
    let one = |(name, value): (&String, &String)| {
        let path = if name.contains('/') { name.clone() } else { name.replace('.', "/") };
        let plain = !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        let owner = if IPC.contains(&path.as_str()) || path.starts_with("fs/mqueue/") {
            Some((libc::CLONE_NEWIPC, "IPC"))
        } else if path.starts_with("net/") {
            Some((libc::CLONE_NEWNET, "network"))
        } else if matches!(path.as_str(), "kernel/domainname" | "kernel/hostname") {
            Some((libc::CLONE_NEWUTS, "UTS"))
        } else if path.starts_with("user/") {
            Some((libc::CLONE_NEWUSER, "user"))
        } else {
            None
        };
        match owner {
            Some((flag, _)) if plain && namespaces.has(flag) => Ok((PathBuf::from(path), value.clone())),
            Some((_, kind)) if plain => Err(Error::invalid(format!(
                "linux.sysctl: {name:?} needs a {kind} namespace of the container's own"
            ))),
            _ => Err(Error::invalid(format!("linux.sysctl: {name:?} is not in a separate kernel namespace"))),
        }
    };
    linux.sysctl.iter().map(one).collect()
}

fn check_hooks(hooks: &spec::Hooks) -> Result<()> {
    let lists = [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ];
    for (kind, hook, index) in
        lists.iter().flat_map(|(k, l)| l.iter().enumerate().map(move |(i, h)| (k, h, i)))
    {
        if !hook.path.is_absolute() {
            let message = format!("hooks.{kind}[{index}].path: {:?} is not absolute", hook.path);
            return Err(Error::invalid(message));
        }
        if hook.timeout.is_some_and(|seconds| seconds <= 0) {
            return Err(Error::invalid(format!("hooks.{kind}[{index}].timeout: must be greater than zero")));
        }
    }
    Ok(())
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
