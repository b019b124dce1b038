//! What lies outside of a container and must be neither saved nor restored, but connected anew: bind mounts
//! of the host's files, and namespaces that were there before the container.
//!
//! On a dump each is given a name, on a restore each name a thing. The name of a mount is its destination as
//! the config has it: the same on both sides, whatever links the container's tree has on the way to it.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use crate::cgroup::{Cgroup, Mode as Hierarchy};
use crate::error::{Context, Result};
use crate::plan::Plan;
use crate::plan::mounts::What;
use crate::sys::again::again;
use crate::sys::files;
use crate::sys::mountinfo::{self, Mount};
use crate::sys::path::open_in_root;

/// The kinds that criu takes as outside things: the kernel's name, the flag, the name in the images.
pub const NAMESPACES: [(&str, i32, &str); 2] =
    [("net", libc::CLONE_NEWNET, "extRootNetNS"), ("pid", libc::CLONE_NEWPID, "extRootPidNS")];

/// What masked files are a mount of.
const NULL: &str = "/dev/null";

/// For a dump of the container whose init is `init`: `mnt[MOUNT POINT]:NAME` and `net[INODE]:NAME`.
pub fn for_dump(plan: &Plan, cgroup: &Cgroup, init: i32) -> Result<Vec<PathBuf>> {
    let path = format!("/proc/{init}/root");
    let root =
        again(|| rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()))
            .with_context(|| format!("open {path}"))?;
    let mounted = mount_points(mountinfo::read_from(&format!("/proc/{init}/mountinfo"))?);
    let mut result = Vec::new();
    for (destination, _, recursive) in outside_mounts(plan, cgroup) {
        // What is not there any more needs no name.
        let Some((point, _)) = resolve(&root, &destination)? else { continue };
        result.push(entry(&point, &destination));
        let inner = mounted.iter().filter(|_| recursive).filter_map(|other| below(other, &point));
        result.extend(inner.map(|rest| entry(&point.join(rest), &destination.join(rest))));
    }
    for path in &plan.masked_paths {
        // Directories are masked by an empty tmpfs, which can be saved.
        if let Some((point, FileType::CharacterDevice)) = resolve(&root, path)? {
            result.push(entry(&point, Path::new(NULL)));
        }
    }
    for (kind, flag, name) in NAMESPACES {
        if plan.namespaces.join.iter().any(|(joined, _)| *joined == flag) {
            let path = format!("/proc/{init}/ns/{kind}");
            let inode = again(|| rustix::fs::stat(&path)).with_context(|| format!("stat {path}"))?.st_ino;
            result.push(format!("{kind}[{inode}]:{name}").into());
        }
    }
    Ok(result)
}

/// For a restore: `mnt[NAME]:PATH ON THE HOST`. A name that the images do not have does no harm.
pub fn for_restore(plan: &Plan, cgroup: &Cgroup) -> Result<Vec<PathBuf>> {
    let mounted = mount_points(mountinfo::read()?);
    let mut result = vec![entry(Path::new(NULL), Path::new(NULL))];
    for (destination, source, recursive) in outside_mounts(plan, cgroup) {
        // criu looks for the mount that it is on by its text, and says so if there is none.
        let source = files::canonicalize(&source).unwrap_or(source);
        result.push(entry(&destination, &source));
        if recursive {
            let inner = mounted.iter().filter_map(|other| below(other, &source));
            result.extend(inner.map(|rest| entry(&destination.join(rest), &source.join(rest))));
        }
    }
    Ok(result)
}

/// Destination, source, and whether what is mounted below the source came along.
fn outside_mounts(plan: &Plan, cgroup: &Cgroup) -> Vec<(PathBuf, PathBuf, bool)> {
    let mut result = Vec::new();
    for step in &plan.mounts {
        let destination = &step.destination;
        match &step.what {
            What::Bind { source, recursive, .. } => {
                result.push((destination.clone(), source.clone(), *recursive))
            }
            // With a cgroup namespace of its own the container has mounted the file system itself.
            What::Cgroup { unified } if !plan.namespaces.has(libc::CLONE_NEWCGROUP) => {
                let unified = *unified || cgroup.mode == Hierarchy::V2;
                let place = |name| if unified { destination.clone() } else { destination.join(name) };
                let shown = cgroup.dirs.iter().filter(|dir| dir.unified == unified);
                result.extend(shown.map(|dir| (place(&dir.name), dir.path.clone(), false)));
            }
            _ => {}
        }
    }
    if plan.namespaces.has(libc::CLONE_NEWUSER) {
        // There devices are mounts of the host's.
        result.extend(plan.devices.iter().map(|node| (node.path.clone(), node.path.clone(), false)));
    }
    result
}

fn entry(key: &Path, value: &Path) -> PathBuf {
    let bytes = [b"mnt[", key.as_os_str().as_bytes(), b"]:", value.as_os_str().as_bytes()].concat();
    std::ffi::OsString::from_vec(bytes).into()
}

/// The true place of `path` in the container, and what is there; `None` if nothing is.
fn resolve(root: &OwnedFd, path: &Path) -> Result<Option<(PathBuf, FileType)>> {
    let found = match open_in_root(root, path, OFlags::PATH) {
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        other => other.with_context(|| format!("open {} in the container", path.display()))?,
    };
    // The kernel writes it as seen from the root of the mount namespace that the place is in.
    let point = files::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))
        .with_context(|| format!("resolve {} in the container", path.display()))?;
    let kind = FileType::from_raw_mode(
        again(|| rustix::fs::fstat(&found)).context("look at what is there")?.st_mode,
    );
    Ok(Some((point, kind)))
}

/// What of `path` is below `above`; nothing if it is that itself.
fn below<'a>(path: &'a Path, above: &Path) -> Option<&'a Path> {
    path.strip_prefix(above).ok().filter(|rest| !rest.as_os_str().is_empty())
}

/// Each mount point once.
fn mount_points(mounts: Vec<Mount>) -> Vec<PathBuf> {
    let mut points: Vec<PathBuf> = mounts.into_iter().map(|mount| mount.point).collect();
    points.sort();
    points.dedup();
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped_and_once_each() {
        let text = b"22 1 0:20 / / rw - x x rw\n23 22 0:21 /r /a\\040b\\134c rw - x x rw\n24 23 0:22 / /a\\040b\\134c rw - x x rw\n";
        assert_eq!(mount_points(mountinfo::parse(text)), [PathBuf::from("/"), PathBuf::from("/a b\\c")]);
    }

    #[test]
    fn names_are_the_destinations_and_stand_for_the_sources() {
        let spec = crate::spec::parse(
            r#"{"ociVersion":"1.0.0","root":{"path":"r"},"mounts":[{"destination":"data","source":"src","options":["bind"]}],
                "linux":{"namespaces":[{"type":"mount"},{"type":"network","path":"/run/netns/x"}]}}"#,
        );
        let plan = Plan::resolve("x", Path::new("/b"), &spec.unwrap()).unwrap();
        let cgroup = Cgroup::resolve(crate::cgroup::DriverName::Disabled, "", "x").unwrap();
        let names = for_restore(&plan, &cgroup).unwrap();
        assert_eq!(names, [PathBuf::from("mnt[/dev/null]:/dev/null"), PathBuf::from("mnt[/data]:/b/src")]);
    }
}
