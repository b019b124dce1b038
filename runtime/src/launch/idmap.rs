//! Id maps (user_namespaces(7)): of a container's user namespace, and of those that exist only to lend their
//! mapping to a mount.
//!
//! Whoever may set any id writes the maps himself. An ordinary user may map his own id alone that way; for
//! more, the set-user-ID programs newuidmap(1) and newgidmap(1) look up in /etc/subuid what is his.

use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use rustix::fs::FsWord;
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::sync;
use crate::error::{Cause as _, Context, Error, Kind, Result};
use crate::plan::mounts::Ids;
use crate::plan::namespaces::map_text;
use crate::spec::IdMapping;
use crate::sys::again::again;
use crate::sys::capabilities::has_capability;
use crate::sys::files;
use crate::sys::mount::set_idmap;
use crate::sys::process::{Cloned, clone3, exit_now};

/// Writes `uid_map` and `gid_map` of `pid`.
pub fn write(pid: i32, uids: &[IdMapping], gids: &[IdMapping]) -> Result<()> {
    let has = |capability| has_capability(capability).context("ask for own capabilities");
    if has("CAP_SETUID")? && has("CAP_SETGID")? {
        write_file(pid, "gid_map", &map_text(gids))?;
        return write_file(pid, "uid_map", &map_text(uids));
    }
    if is_only(gids, rustix::process::getegid().as_raw()) {
        // Without privilege setgroups(2) must be given up first: dropping a group can open what it was denied.
        write_file(pid, "setgroups", "deny")?;
        write_file(pid, "gid_map", &map_text(gids))?;
    } else {
        by_program("newgidmap", pid, gids)?;
    }
    if is_only(uids, rustix::process::geteuid().as_raw()) {
        write_file(pid, "uid_map", &map_text(uids))
    } else {
        by_program("newuidmap", pid, uids)
    }
}

/// Whether a map is one of this id alone, which everybody may write.
pub fn is_only(maps: &[IdMapping], id: u32) -> bool {
    matches!(maps, [map] if map.size == 1 && map.host_id == id)
}

fn write_file(pid: i32, name: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{name}");
    files::write(&path, text).on(&format!("write {:?} to", text.trim_end()), path)
}

fn by_program(program: &str, pid: i32, maps: &[IdMapping]) -> Result<()> {
    let numbers = maps.iter().flat_map(|m| [m.container_id, m.host_id, m.size]);
    let mut command = Command::new(program);
    command.arg(pid.to_string()).args(numbers.map(|n| n.to_string()));
    let output = again(|| command.output()).with_context(|| format!("run {program} (package uidmap)"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::new(Kind::System, format!("{program}: {text}")))
}

/// Gives a detached mount the mapping of a user namespace.
pub fn map(mount: impl AsFd, recursive: bool, namespace: impl AsFd) -> Result<()> {
    set_idmap(mount.as_fd(), recursive, namespace.as_fd()).map_err(|errno| {
        let kind = rustix::fs::fstatfs(&mount).map_or(0, |about| about.f_type);
        let why = if errno == Errno::INVAL { why_invalid(kind) } else { "map its ids" };
        errno.into_error().prefixed(why)
    })
}

/// What the kernel means when it calls the mapping of a file system invalid (mount_setattr(2), "ID-mapped mounts").
fn why_invalid(kind: FsWord) -> &'static str {
    match kind {
        libc::TMPFS_MAGIC => "the ids of a tmpfs can only be mapped from Linux 6.3 on",
        libc::OVERLAYFS_SUPER_MAGIC => "the ids of an overlay can only be mapped from Linux 5.19 on",
        _ => "this kernel can't map the ids of such a file system",
    }
}

/// A user namespace with this mapping, for MOUNT_ATTR_IDMAP. The one process in it lives only as long as it
/// takes to open it.
pub fn namespace(ids: &Ids) -> Result<OwnedFd> {
    let (uids, gids) = match ids {
        Ids::Namespace(path) => return Ok(files::open(path).on("open", path)?.into()),
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
        Ok(files::open(&path).on("open", path)?.into())
    });
    if let Some(pid) = Pid::from_raw(pid) {
        again(|| rustix::process::kill_process(pid, Signal::KILL))
            .context("end the process that holds an id mapping")?;
        again(|| rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()))
            .context("wait for the process that held an id mapping")?;
    }
    opened
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An older kernel would be needed to see the kernel say it of a tmpfs.
    #[test]
    fn kernel_that_is_too_old_for_a_file_system_is_named() {
        assert!(why_invalid(libc::TMPFS_MAGIC).contains("Linux 6.3"));
        assert!(why_invalid(libc::OVERLAYFS_SUPER_MAGIC).contains("Linux 5.19"));
    }
}
