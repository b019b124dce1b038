//! The container's terminal: made in its own devpts, its leader sent out, its follower the standard streams.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::termios::Winsize;

use super::rootfs::move_onto;
use crate::error::{Context, Error, Kind, Result};
use crate::launch::socket;
use crate::sys::again::again;
use crate::sys::mount::copy_mount;
use crate::sys::path::{create_plain_file_in_root, open_in_root};
use crate::sys::terminal::open_follower;

/// linux/magic.h
const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Makes the container's first terminal, which is its /dev/console too.
pub fn attach(root: &OwnedFd, size: Option<(u16, u16)>, socket: &OwnedFd) -> Result<()> {
    let follower = attach_plain(root, size, socket)?;
    bind_console(root, &follower).context("mount /dev/console")
}

/// Makes a terminal, sends its leader over `socket`, and makes its follower controlling terminal and standard
/// streams.
pub fn attach_plain(root: &OwnedFd, size: Option<(u16, u16)>, socket: &OwnedFd) -> Result<OwnedFd> {
    let leader = open_leader(root)?;
    let follower = open_follower(&leader).context("open the terminal")?;
    if let Some((rows, columns)) = size {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        again(|| rustix::termios::tcsetwinsize(&leader, size)).context("set terminal size")?;
    }
    // Engines expect this name as payload.
    socket::send(socket, &leader, b"/dev/ptmx").context("send the terminal")?;
    again(|| rustix::process::ioctl_tiocsctty(&follower)).context("take controlling terminal")?;
    again(|| rustix::stdio::dup2_stdin(&follower)).context("become standard input")?;
    again(|| rustix::stdio::dup2_stdout(&follower)).context("become standard output")?;
    again(|| rustix::stdio::dup2_stderr(&follower)).context("become standard error")?;
    Ok(follower)
}

/// The image could have put anything there (CVE-2025-52565), and to open a device is to do something to it. So the
/// file system is looked at first: in a devpts nobody makes anything but the kernel.
fn open_leader(root: &OwnedFd) -> Result<OwnedFd> {
    let directory = open_in_root(root, Path::new("/dev/pts"), OFlags::PATH | OFlags::DIRECTORY)
        .context("open /dev/pts: is devpts mounted there?")?;
    if again(|| rustix::fs::fstatfs(&directory)).context("look at /dev/pts")?.f_type != DEVPTS_SUPER_MAGIC {
        return Err(Error::new(Kind::System, "/dev/pts is not a devpts"));
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    again(|| rustix::fs::openat2(&directory, "ptmx", flags, Mode::empty(), resolve))
        .context("open /dev/pts/ptmx")
}

fn bind_console(root: &OwnedFd, follower: &OwnedFd) -> Result<()> {
    // A link there could put it over any file of the container.
    let onto = create_plain_file_in_root(root, Path::new("/dev/console")).context("create mount point")?;
    let mount = copy_mount(follower, "", false).context("copy the terminal")?;
    move_onto(&mount, &onto).context("attach")
}

/// Puts the container's own null device in the place of the host's, if a stream is that: a file of the host's
/// /dev is a way out, and one that is not in the container's mounts could not be saved by criu.
pub fn reopen_null(root: &OwnedFd) -> Result<()> {
    use rustix::fs::FileType;
    let is_null = |fd: std::os::fd::BorrowedFd<'_>| -> Result<bool> {
        let stat = again(|| rustix::fs::fstat(fd)).context("look whether a stream is /dev/null")?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        Ok(kind == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3))
    };
    let streams = [
        is_null(std::io::stdin().as_fd())?,
        is_null(std::io::stdout().as_fd())?,
        is_null(std::io::stderr().as_fd())?,
    ];
    if streams == [false; 3] {
        return Ok(());
    }
    // A container need not have one, and what is there need not be one: it is looked at before it is opened, and
    // opened so that it neither waits for somebody nor becomes our terminal if it is another by then.
    let path = Path::new("/dev/null");
    match open_in_root(root, path, OFlags::PATH) {
        Ok(file) if is_null(file.as_fd())? => {}
        _ => return Ok(()),
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
    let Ok(null) = open_in_root(root, path, flags) else { return Ok(()) };
    if !is_null(null.as_fd())? {
        return Ok(());
    }
    again(|| rustix::fs::fcntl_setfl(&null, OFlags::RDWR)).context("let /dev/null block")?;
    let replace = [rustix::stdio::dup2_stdin, rustix::stdio::dup2_stdout, rustix::stdio::dup2_stderr];
    for (replace, _) in replace.iter().zip(streams).filter(|(_, is_null)| *is_null) {
        again(|| replace(&null)).context("put the container's /dev/null in the place of the host's")?;
    }
    Ok(())
}

/// The standard streams belong to the program's user, so that it can open them again by name (/dev/stdout).
/// Only terminals and pipes of the container: a file or device of the host keeps its owner. The group stays too:
/// a terminal has the one that its devpts was mounted with.
pub fn give_streams_to(uid: u32) -> Result<()> {
    use rustix::fs::{FileType, Uid};
    let streams = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for stream in [streams.0.as_fd(), streams.1.as_fd(), streams.2.as_fd()] {
        let Ok(stat) = again(|| rustix::fs::fstat(stream)) else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_null = kind == FileType::CharacterDevice && !rustix::termios::isatty(stream);
        if is_null || kind == FileType::RegularFile || stat.st_uid == uid {
            continue;
        }
        match again(|| rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), None)) {
            // In a user namespace the stream's owner may have no id here; a read-only or socket stream can't.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM | rustix::io::Errno::ROFS) => {}
            Err(errno) => return Err(errno).context("give the standard streams to the user"),
        }
    }
    Ok(())
}
