//! Kernel parameters: only those that belong to a namespace of the container may be set (config-linux.md,
//! "Sysctl"); all others are the host's.

use std::path::PathBuf;

use super::findings::Findings;
use super::namespaces::Namespaces;
use crate::error::{Error, Result};
use crate::spec::Spec;

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

/// Paths below /proc/sys and what to write there.
pub fn resolve(spec: &Spec, namespaces: &Namespaces, findings: &mut Findings) -> Vec<(PathBuf, String)> {
    let list = spec.linux.iter().flat_map(|linux| &linux.sysctl);
    let mut result = Vec::new();
    for (name, value) in list {
        let field = format!("linux.sysctl[\"{name}\"]");
        match resolve_one(&field, name, spec, namespaces) {
            Ok(path) => result.push((path, value.clone())),
            Err(error) => findings.push(error),
        }
    }
    result
}

/// The path of one parameter; the kind of namespace that it belongs to must be the container's own.
fn resolve_one(field: &str, name: &str, spec: &Spec, namespaces: &Namespaces) -> Result<PathBuf> {
    let path = path_of(name);
    let plain = !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let (flag, kind) = match owner(&path) {
        Some(owner) if plain => owner,
        _ => return Err(Error::at(field, format_args!("{name:?} is not in a separate kernel namespace"))),
    };
    if !namespaces.has(flag) {
        return Err(Error::at(field, format_args!("needs a {kind} namespace of the container's own")));
    }
    let twice = match path.as_str() {
        "kernel/hostname" => !spec.hostname.is_empty(),
        "kernel/domainname" => !spec.domainname.is_empty(),
        _ => false,
    };
    if twice {
        return Err(Error::at(field, "conflicts with the hostname or domainname of the config"));
    }
    Ok(path.into())
}

/// The path below /proc/sys; a name may be one already.
pub fn path_of(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { name.replace('.', "/") }
}

/// Whether a path is that of a parameter that belongs to some namespace.
pub fn is_namespaced(path: &str) -> bool {
    owner(path).is_some()
}

fn owner(path: &str) -> Option<(i32, &'static str)> {
    if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        Some((libc::CLONE_NEWIPC, "IPC"))
    } else if path.starts_with("net/") {
        Some((libc::CLONE_NEWNET, "network"))
    } else if matches!(path, "kernel/domainname" | "kernel/hostname") {
        Some((libc::CLONE_NEWUTS, "UTS"))
    } else if path.starts_with("user/") {
        Some((libc::CLONE_NEWUSER, "user"))
    } else {
        None
    }
}
