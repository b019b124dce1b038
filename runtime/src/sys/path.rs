//! Paths below a root that the container's image controls: every one is resolved by openat2(2) (Linux 5.6)
//! from a directory descriptor, so that no symbolic link in it leads outside.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::again::{again, done};

/// The kernel's own bound on symbolic links in one path (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// How often a look-up is begun again that renames elsewhere have disturbed. Somebody who does nothing but rename
/// spoils one in a few; nobody must be able to keep us at it for ever.
const MAX_TRIES: u32 = 10_000;

/// Opens `path` as a process chrooted to `root` would, but for magic links, which are refused.
pub fn open_in_root(root: impl AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    open_resolved(root.as_fd(), path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// As [`open_in_root`], and no component may be a symbolic link.
pub fn open_plain_in_root(root: impl AsFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    open_resolved(root.as_fd(), path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
}

fn open_resolved(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    for _ in 0..MAX_TRIES {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {} // a rename elsewhere raced with a `..`: the kernel asks for another try
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Opens the directory `path` below `root` as `O_PATH`, making what is missing with mode 0755.
pub fn mkdir_all_in_root(root: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    mkdir_all(root.as_fd(), path, MAX_LINKS)
}

fn mkdir_all(root: BorrowedFd<'_>, path: &Path, links: u32) -> rustix::io::Result<OwnedFd> {
    match open_in_root(root, path, OFlags::PATH | OFlags::DIRECTORY) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    if path.components().next_back() == Some(Component::ParentDir) {
        // Back out of what is not there: where it would have been, and it is not made for that (as runc).
        return mkdir_all(root, &without_ways_back(path), links);
    }
    let (parent_path, name) = split(path)?;
    let parent = mkdir_all(root, &parent_path, links)?;
    match again(|| rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))) {
        Ok(()) => {}
        Err(Errno::EXIST) if links > 0 => {
            // There is something there and yet it does not resolve: a link to a directory still to be made.
            if let Some(target) = link_target(&parent, &parent_path, name)? {
                return mkdir_all(root, &target, links.saturating_sub(1));
            }
        }
        Err(errno) => return Err(errno),
    }
    open_plain_in_root(&parent, Path::new(name), OFlags::PATH | OFlags::DIRECTORY)
}

/// Opens `path` below `root` as `O_PATH`, making an empty file (0644) and its parents where missing.
pub fn create_file_in_root(root: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let root = root.as_fd();
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match open_in_root(root, &path, OFlags::PATH) {
            Err(Errno::NOENT) => {}
            other => return other,
        }
        let (parent_path, name) = split(&path)?;
        let parent = mkdir_all(root, &parent_path, MAX_LINKS)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        match again(|| rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644))) {
            Ok(_) => return open_plain_in_root(&parent, Path::new(name), OFlags::PATH),
            Err(Errno::EXIST) => match link_target(&parent, &parent_path, name)? {
                Some(target) => path = target,
                None => return open_plain_in_root(&parent, Path::new(name), OFlags::PATH),
            },
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::LOOP)
}

/// The same, where no link may stand in the file's place.
pub fn create_plain_file_in_root(root: impl AsFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let (parent, name) = parent_in_root(root, path)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    match again(|| rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644))) {
        Ok(_) | Err(Errno::EXIST) => open_plain_in_root(&parent, Path::new(name), OFlags::PATH),
        Err(errno) => Err(errno),
    }
}

/// The parent directory (made where missing) of `path` as `O_PATH`, and the last component.
pub fn parent_in_root(root: impl AsFd, path: &Path) -> rustix::io::Result<(OwnedFd, &OsStr)> {
    let (parent, name) = split(path)?;
    Ok((mkdir_all_in_root(root, &parent)?, name))
}

/// Changes the permission bits of what an `O_PATH` descriptor refers to, by its name in the runtime's own
/// /proc (fchmod(2) refuses such descriptors, and fchmodat2 with AT_EMPTY_PATH is Linux 6.6).
pub fn chmod(file: &OwnedFd, mode: u32) -> rustix::io::Result<()> {
    use std::os::fd::AsRawFd as _;
    // SAFETY: the path is a NUL-terminated literal and the rest are numbers.
    let changed = done(|| unsafe {
        libc::syscall(libc::SYS_fchmodat2, file.as_raw_fd(), c"".as_ptr(), mode, libc::AT_EMPTY_PATH)
    });
    match changed {
        Err(Errno::NOSYS) => again(|| {
            rustix::fs::chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), Mode::from_raw_mode(mode))
        }),
        other => other,
    }
}

/// The path with each `..` taken as the undoing of the name before it.
fn without_ways_back(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::Normal(name) => plain.push(name),
            _ => {}
        }
    }
    plain
}

fn split(path: &Path) -> rustix::io::Result<(PathBuf, &OsStr)> {
    match path.components().next_back() {
        Some(Component::Normal(name)) => Ok((path.parent().unwrap_or(Path::new("")).to_owned(), name)),
        _ => Err(Errno::INVAL),
    }
}

fn link_target(parent: &OwnedFd, parent_path: &Path, name: &OsStr) -> rustix::io::Result<Option<PathBuf>> {
    if again(|| rustix::fs::fstatfs(parent))?.f_type == libc::PROC_SUPER_MAGIC {
        return Err(Errno::LOOP); // what it leads to is not what it says, and nothing can be made here
    }
    match again(|| rustix::fs::readlinkat(parent, name, Vec::new())) {
        Ok(target) => {
            use std::os::unix::ffi::OsStrExt as _;
            Ok(Some(parent_path.join(OsStr::from_bytes(target.as_bytes()))))
        }
        Err(Errno::INVAL) => Ok(None), // not a link: somebody made it just now
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root() -> (PathBuf, OwnedFd) {
        let dir = std::env::temp_dir().join(format!(
            "wharf-path-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&dir).unwrap();
        let fd = rustix::fs::open(&dir, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        (dir, fd)
    }

    #[test]
    fn way_back_out_of_a_missing_folder_does_not_make_it() {
        let (dir, fd) = root();
        mkdir_all_in_root(&fd, Path::new("/missing/../made")).unwrap();
        create_file_in_root(&fd, Path::new("/missing/../file")).unwrap();
        mkdir_all_in_root(&fd, Path::new("/missing/deep/../../../../up")).unwrap();
        assert!(dir.join("up").is_dir());
        assert!(dir.join("made").is_dir() && dir.join("file").is_file() && !dir.join("missing").exists());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn links_never_lead_outside_and_dangling_ones_are_followed_inside() {
        let (dir, fd) = root();
        symlink("/run", dir.join("abs")).unwrap();
        symlink("../../../up", dir.join("rel")).unwrap();
        mkdir_all_in_root(&fd, Path::new("/abs/x")).unwrap();
        mkdir_all_in_root(&fd, Path::new("/rel/y")).unwrap();
        create_file_in_root(&fd, Path::new("/abs/file")).unwrap();
        assert!(dir.join("run/x").is_dir());
        assert!(dir.join("up/y").is_dir());
        assert!(dir.join("run/file").is_file());
        symlink("loop", dir.join("loop")).unwrap();
        assert!(mkdir_all_in_root(&fd, Path::new("/loop/z")).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
