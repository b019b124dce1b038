//! Device nodes: the default ones (config-linux.md, "Default Devices") and those asked for.

use std::path::{Path, PathBuf};

use super::findings::Findings;
use super::process::check_id;
use crate::error::{Error, Result};
use crate::spec;

/// One node to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Absolute path in the container.
    pub path: PathBuf,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO`.
    pub file_type: u32,
    /// Major and minor number.
    pub device: (u32, u32),
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
}

const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
];

/// The default nodes, with those of `linux.devices` added or in their place.
pub fn resolve(wishes: &[spec::Device], findings: &mut Findings) -> Vec<Node> {
    let default = |&(path, major, minor): &(&str, u32, u32)| Node {
        path: path.into(),
        file_type: libc::S_IFCHR,
        device: (major, minor),
        mode: 0o666,
        owner: (0, 0),
    };
    let mut nodes: Vec<Node> = DEFAULTS.iter().map(default).collect();
    for (index, wish) in wishes.iter().enumerate() {
        match resolve_one(&format!("linux.devices[{index}]"), wish) {
            Ok(node) => {
                nodes.retain(|n| n.path != node.path);
                nodes.push(node);
            }
            Err(error) => findings.push(error),
        }
    }
    nodes
}

fn resolve_one(field: &str, wish: &spec::Device) -> Result<Node> {
    let file_type = match wish.kind.as_str() {
        "c" | "u" => libc::S_IFCHR,
        "b" => libc::S_IFBLK,
        "p" => libc::S_IFIFO,
        other => {
            return Err(Error::at(format!("{field}.type"), format_args!("unknown device type {other:?}")));
        }
    };
    if !wish.path.is_absolute() || wish.path == Path::new("/") {
        let message = format_args!("{:?} is not an absolute file path", wish.path);
        return Err(Error::at(format!("{field}.path"), message));
    }
    let number = |name: &str, value: Option<i64>| match value {
        _ if file_type == libc::S_IFIFO => Ok(0),
        Some(value) => u32::try_from(value)
            .map_err(|_| Error::at(format!("{field}.{name}"), format_args!("{value} is out of range"))),
        None => Err(Error::at(format!("{field}.{name}"), "is missing")),
    };
    let owner = |name: &str, id: Option<u32>| check_id(&format!("{field}.{name}"), id.unwrap_or(0));
    Ok(Node {
        path: wish.path.clone(),
        file_type,
        device: (number("major", wish.major)?, number("minor", wish.minor)?),
        mode: wish.file_mode.unwrap_or(0o666) & 0o7777,
        owner: (owner("uid", wish.uid)?, owner("gid", wish.gid)?),
    })
}
