//! Removing a folder that somebody hostile has filled. Symlinks are never followed, files with the
//! immutable flag are freed first, and no depth exhausts stack or handles: a folder too deep in is
//! moved up to the top before it is emptied.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, IFlags, Mode, OFlags, fstat, ioctl_getflags, ioctl_setflags, openat, renameat,
    unlinkat,
};
use rustix::io::Errno;

use crate::error::{Context, Error, Kind, Result};

/// How many folders are open at once.
const DEPTH: usize = 64;
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes a folder by its path, whose parent is ours; nothing there is fine.
pub fn remove_path(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(
            Kind::InvalidInput,
            format!("remove {}: not the path of a folder", path.display()),
        ));
    };
    let parent =
        match rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(()),
            parent => parent.with_context(|| format!("open {}", parent_text(path)))?,
        };
    remove_tree(parent.as_fd(), name).with_context(|| format!("remove {}", path.display()))
}

fn parent_text(path: &Path) -> String {
    path.parent().unwrap_or(path).display().to_string()
}

/// Removes whatever is at a name in a folder; nothing there is fine.
pub fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
    let name =
        CString::new(name.as_bytes()).map_err(|_| Error::new(Kind::InvalidInput, "a name with a NUL"))?;
    if unlink(parent, &name)? {
        return Ok(());
    }
    let top = open_dir(parent, &name)?;
    let mut moved = 0u64;
    // Each round empties what the one before has moved up.
    loop {
        let before = moved;
        empty(&top, &mut moved)?;
        if moved == before {
            break;
        }
    }
    drop(top);
    remove_dir(parent, &name)
}

/// Removes all below `top`, except for folders deeper than `DEPTH`, which end up right below it.
fn empty(top: &OwnedFd, moved: &mut u64) -> Result<()> {
    let mut stack = vec![(Level::open(top.as_fd())?, CString::default())];
    while let Some((level, _)) = stack.last_mut() {
        let Some(name) = level.next_name()? else {
            if let Some((_, name)) = stack.pop()
                && let Some((parent, _)) = stack.last()
            {
                remove_dir(parent.fd.as_fd(), &name)?;
            }
            continue;
        };
        if unlink(level.fd.as_fd(), &name)? {
            continue;
        }
        if stack.len() < DEPTH {
            if let Some((level, _)) = stack.last() {
                let next = Level::new(open_dir(level.fd.as_fd(), &name)?)?;
                stack.push((next, name));
            }
            continue;
        }
        let Some((level, _)) = stack.last() else { continue };
        move_up(level.fd.as_fd(), &name, (top, &mut *moved))?;
    }
    Ok(())
}

/// One open folder and its entries.
struct Level {
    fd: OwnedFd,
    entries: Dir,
}

impl Level {
    fn new(fd: OwnedFd) -> Result<Self> {
        let entries = Dir::read_from(&fd).context("list a folder")?;
        Ok(Self { fd, entries })
    }

    fn open(dir: BorrowedFd<'_>) -> Result<Self> {
        Self::new(openat(dir, ".", DIRECTORY, Mode::empty()).context("open a folder")?)
    }

    fn next_name(&mut self) -> Result<Option<CString>> {
        loop {
            match self.entries.read().transpose().context("list a folder")? {
                Some(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                Some(entry) => return Ok(Some(entry.file_name().to_owned())),
                None => return Ok(None),
            }
        }
    }
}

/// Unlinks what is no folder. False if it is one.
fn unlink(parent: BorrowedFd<'_>, name: &CString) -> Result<bool> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        // Immutable or append-only, or in such a folder.
        Err(Errno::PERM) => {
            unlock(parent, name)?;
            match unlinkat(parent, name, AtFlags::empty()) {
                Ok(()) => Ok(true),
                Err(Errno::ISDIR) => Ok(false),
                Err(error) => Err(error).with_context(|| format!("remove {name:?}")),
            }
        }
        Err(error) => Err(error).with_context(|| format!("remove {name:?}")),
    }
}

fn remove_dir(parent: BorrowedFd<'_>, name: &CString) -> Result<()> {
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::PERM) => {
            unlock(parent, name)?;
            unlinkat(parent, name, AtFlags::REMOVEDIR).with_context(|| format!("remove folder {name:?}"))
        }
        Err(error) => Err(error).with_context(|| format!("remove folder {name:?}")),
    }
}

fn move_up(parent: BorrowedFd<'_>, name: &CString, (top, moved): (&OwnedFd, &mut u64)) -> Result<()> {
    *moved += 1;
    // A name of the container's may be in the way; the next number is not, sooner or later.
    loop {
        match renameat(parent, name, top, format!(".deep-{moved}")) {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => *moved += 1,
            Err(Errno::PERM) => unlock(parent, name)?,
            result => return result.with_context(|| format!("move folder {name:?} up")),
        }
    }
}

fn open_dir(parent: BorrowedFd<'_>, name: &CString) -> Result<OwnedFd> {
    openat(parent, name, DIRECTORY, Mode::empty()).with_context(|| format!("open folder {name:?}"))
}

/// Takes the immutable and append-only flags from a file or folder and from the folder it is in.
fn unlock(parent: BorrowedFd<'_>, name: &CString) -> Result<()> {
    clear_flags(openat(parent, ".", DIRECTORY, Mode::empty()).context("open a folder")?.as_fd())?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        Ok(fd) => clear_flags(fd.as_fd()),
        // Symlinks, sockets and devices without a driver can't be opened, nor carry flags.
        Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("open {name:?}")),
    }
}

fn clear_flags(fd: BorrowedFd<'_>) -> Result<()> {
    let kind = FileType::from_raw_mode(fstat(fd).context("look at a file")?.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::Directory) {
        return Ok(());
    }
    let locked = IFlags::IMMUTABLE | IFlags::APPEND;
    match ioctl_getflags(fd) {
        Ok(flags) if flags.intersects(locked) => {
            ioctl_setflags(fd, flags - locked).context("clear the immutable flag")
        }
        Ok(_) | Err(Errno::NOTTY | Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error).context("read a file's flags"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn run(program: &str, arguments: &[&str]) {
        assert!(std::process::Command::new(program).args(arguments).status().unwrap().success());
    }

    #[test]
    fn what_is_hard_to_remove_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, canary) = (dir.path().join("victim"), dir.path().join("canary"));
        fs::create_dir_all(canary.join("sub")).unwrap();
        fs::write(canary.join("file"), "kept").unwrap();
        fs::create_dir_all(victim.join("closed/in")).unwrap();
        std::os::unix::fs::symlink(&canary, victim.join("link")).unwrap();
        std::os::unix::fs::symlink("..", victim.join("closed/up")).unwrap();
        fs::write(victim.join("closed/fixed"), "x").unwrap();
        run("chmod", &["0000", victim.join("closed").to_str().unwrap()]);
        run("mkfifo", &[victim.join("fifo").to_str().unwrap()]);
        run("chattr", &["+i", victim.join("closed/fixed").to_str().unwrap()]);
        run("chattr", &["+i", victim.join("closed").to_str().unwrap()]);
        remove_path(&victim).unwrap();
        assert!(!victim.exists());
        assert_eq!(fs::read_to_string(canary.join("file")).unwrap(), "kept");
        assert!(canary.join("sub").is_dir());
        remove_path(&victim).unwrap();
    }

    #[test]
    fn a_folder_of_any_depth_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs::create_dir(&top).unwrap();
        // A name that the removal would choose itself.
        fs::create_dir_all(top.join(".deep-1/x")).unwrap();
        let mut here = openat(rustix::fs::CWD, &top, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..5000 {
            rustix::fs::mkdirat(&here, "a-long-name-for-a-deep-folder", Mode::from(0o700)).unwrap();
            here = openat(&here, "a-long-name-for-a-deep-folder", DIRECTORY, Mode::empty()).unwrap();
        }
        drop(here);
        remove_path(&top).unwrap();
        assert!(!top.exists());
    }
}
