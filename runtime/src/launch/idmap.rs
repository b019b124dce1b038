//! Id maps (user_namespaces(7)): of a container's user namespace, and of those that exist only to lend their
//! mapping to a mount.
//!
//! Whoever may set any id writes the maps himself. An ordinary user may map his own id alone that way; for
//! more, the set-user-ID programs newuidmap(1) and newgidmap(1) look up in /etc/subuid what is his.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::process::{Pid, Signal};

use super::sync;
use crate::error::{Context, Error, Kind, Result};
use crate::plan::mounts::Ids;
use crate::spec::IdMapping;
use crate::sys::process::{Cloned, clone3, exit_now};

/// Writes `uid_map` and `gid_map` of `pid`.
pub fn write(pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> Result<()> {
    if has(caps::Capability::CAP_SETUID) && has(caps::Capability::CAP_SETGID) {
        write_file(pid, "gid_map", &lines(gids))?;
        return write_file(pid, "uid_map", &lines(uids));
    }
    if is_only(gids, rustix::process::getegid().as_raw()) {
        // Without privilege setgroups(2) must be given up first: dropping a group can open what it was denied.
        write_file(pid, "setgroups", "deny")?;
        write_file(pid, "gid_map", &lines(gids))?;
    } else {
        by_program("newgidmap", pid, gids)?;
    }
    if is_only(uids, rustix::process::geteuid().as_raw()) {
        write_file(pid, "uid_map", &lines(uids))
    } else {
        by_program("newuidmap", pid, uids)
    }
}

fn has(capability: caps::Capability) -> bool {
    caps::has_cap(None, caps::CapSet::Effective, capability).unwrap_or(false)
}

/// Whether a map is one of this id alone, which everybody may write.
pub fn is_only(maps: &[IdMapping], id: u32) -> bool {
    matches!(maps, [map] if map.size == 1 && map.host_id == id)
}

fn lines(maps: &[IdMapping]) -> String {
    maps.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect()
}

fn write_file(pid: i32, name: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{name}");
    std::fs::write(&path, text).on(&format!("write {:?} to", text.trim_end()), path)
}

fn by_program(program: &str, pid: i32, maps: &[IdMapping]) -> Result<()> {
    let numbers = maps.iter().flat_map(|m| [m.container_id, m.host_id, m.size]);
    let mut command = Command::new(program);
    command.arg(pid.to_string()).args(numbers.map(|n| n.to_string()));
    let output = command.output().with_context(|| format!("run {program} (package uidmap)"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::new(Kind::System, format!("{program}: {text}")))
}

/// A user namespace with this mapping, for MOUNT_ATTR_IDMAP. The one process in it lives only as long as it
/// takes to open it.
pub fn namespace(ids: &Ids) -> Result<OwnedFd> {
    let (uids, gids) = match ids {
        Ids::Namespace(path) => return Ok(File::open(path).on("open", path)?.into()),
        Ids::Ranges(uids, gids) => (uids, gids),
    };
    let (ours, theirs) = sync::pair()?;
    let pid =
        match clone3(libc::CLONE_NEWUSER as u64, None).context("create user namespace for an id mapping")? {
            Cloned::Parent(pid, _) => pid,
            Cloned::Child => {
                drop(ours);
                exit_now(i32::from(theirs.receive().is_err()))
            }
        };
    drop(theirs);
    let opened = write(pid, uids, gids).and_then(|()| {
        let path = format!("/proc/{pid}/ns/user");
        Ok(File::open(&path).on("open", path)?.into())
    });
    if let Some(pid) = Pid::from_raw(pid) {
        rustix::process::kill_process(pid, Signal::KILL)
            .context("end the process that holds an id mapping")?;
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())
            .context("wait for the process that held an id mapping")?;
    }
    opened
}
