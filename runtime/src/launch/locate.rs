//! Where a mount source is: on the host, or in the container's own root, whatever its path looks like.
//!
//! Links in the root are the image's, so a path that comes into it must be followed by init, below the root. That
//! it does need not be seen by its spelling: it may go up and down again, or by a link of the host.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

use crate::sys::again::again;

/// The kernel's own bound on symbolic links in one path (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// The place.
#[derive(Debug)]
pub enum Place {
    /// On the host, open as `O_PATH`.
    Host(OwnedFd),
    /// This path of the container's root.
    Inside(PathBuf),
}

/// Finds `source`. A path without links is what it says, and most have none.
pub fn find(source: &Path, rootfs: &Path) -> Result<Place> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match again(|| rustix::fs::openat2(CWD, source, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)) {
        Err(Errno::LOOP) => walk(source, rootfs),
        found => found.map(Place::Host),
    }
}

/// Goes step by step, and stops where the next step would be inside the root.
fn walk(source: &Path, rootfs: &Path) -> Result<Place> {
    let root = open(CWD, rootfs, OFlags::DIRECTORY).and_then(|root| identity(&root))?;
    let top = || open(CWD, Path::new("/"), OFlags::DIRECTORY);
    let (mut place, mut rest, mut links) = (top()?, steps(source), MAX_LINKS);
    while let Some(step) = rest.pop() {
        if step != ".." && step != "/" && identity(&place)? == root {
            rest.push(step);
            return Ok(Place::Inside(rest.into_iter().rev().collect()));
        }
        if step == "/" {
            place = top()?;
            continue;
        }
        let next = open(&place, Path::new(&step), OFlags::NOFOLLOW)?;
        if FileType::from_raw_mode(again(|| rustix::fs::fstat(&next))?.st_mode) != FileType::Symlink {
            place = next;
        } else if again(|| rustix::fs::fstatfs(&next))?.f_type == libc::PROC_SUPER_MAGIC && is_magic(&next)? {
            // What such a link says is not where it leads. The caller has named it, by its /proc.
            place = open(&place, Path::new(&step), OFlags::empty())?;
        } else {
            links = links.checked_sub(1).ok_or(Errno::LOOP)?;
            let target = again(|| rustix::fs::readlinkat(&next, "", Vec::new()))?;
            rest.extend(steps(&PathBuf::from(OsString::from_vec(target.into_bytes()))));
        }
    }
    if identity(&place)? == root { Ok(Place::Inside(PathBuf::new())) } else { Ok(Place::Host(place)) }
}

fn open(at: impl std::os::fd::AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    again(|| rustix::fs::openat(at.as_fd(), path, OFlags::PATH | OFlags::CLOEXEC | flags, Mode::empty()))
}

fn identity(file: &OwnedFd) -> Result<(u64, u64)> {
    again(|| rustix::fs::fstat(file)).map(|stat| (stat.st_dev, stat.st_ino))
}

/// /proc/self, /proc/thread-self and /proc/mounts are links like others; those of a process are not.
fn is_magic(link: &OwnedFd) -> Result<bool> {
    let target = again(|| rustix::fs::readlinkat(link, "", Vec::new()))?;
    let target = Path::new(OsStr::from_bytes(target.as_bytes()));
    Ok(target.is_absolute() || target.as_os_str().as_bytes().contains(&b':'))
}

/// The steps of a path, the last one first.
fn steps(path: &Path) -> Vec<OsString> {
    let steps = path.components().filter(|step| *step != Component::CurDir);
    let mut steps: Vec<OsString> = steps.map(|step| step.as_os_str().to_owned()).collect();
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn paths_into_the_root_are_known_however_they_are_spelled() {
        let dir = std::env::temp_dir().join(format!("wharf-locate-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("b/rootfs/real")).unwrap();
        std::fs::create_dir_all(dir.join("b/data")).unwrap();
        symlink(dir.join("b"), dir.join("link")).unwrap();
        symlink("b/data", dir.join("plain")).unwrap();
        symlink("/nosuch", dir.join("b/rootfs/hostile")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        let rootfs = dir.join("b/rootfs");
        let inside = |path: &str| match find(&dir.join(path), &rootfs) {
            Ok(Place::Inside(path)) => Ok(Some(path.to_str().unwrap().to_owned())),
            Ok(Place::Host(_)) => Ok(None),
            Err(errno) => Err(errno),
        };
        for (path, expected) in [
            ("b/data", Ok(None)),
            ("plain", Ok(None)),
            ("link/data", Ok(None)),
            ("link/rootfs/../data", Ok(None)),
            ("link/rootfs", Ok(Some(""))),
            ("link/rootfs/real", Ok(Some("real"))),
            ("link/data/../rootfs/hostile", Ok(Some("hostile"))),
            ("b/data/../rootfs/hostile/x", Ok(Some("hostile/x"))),
            ("link/nosuch", Err(Errno::NOENT)),
            ("loop", Err(Errno::LOOP)),
        ] {
            assert_eq!(inside(path), expected.map(|path| path.map(str::to_owned)), "{path}");
        }
        for path in ["/proc/self/cwd", "/proc/self/root", "/proc/self/ns/net"] {
            assert!(matches!(find(Path::new(path), &rootfs), Ok(Place::Host(_))), "{path}");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
