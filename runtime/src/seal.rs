//! Runs this program from a copy that the container can't write to.
//!
//! A container can get hold of the program that makes it: its entry point may be a link to /proc/self/exe, or
//! a script that names it as interpreter, and then open it for writing (CVE-2019-5736). So before a container
//! is entered, the program executes itself through a read-only, detached mount of its own file: no bytes are
//! copied, and there is no mount point at which it could be made writable again. Where that is not permitted
//! (no CAP_SYS_ADMIN) or not there (before Linux 5.12), a sealed copy in memory does the same.

use std::ffi::CString;
use std::io::Seek as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use crate::error::{Context, Error, Kind, Result};
use crate::sys::mount::{MountAttr, mount_setattr};
use crate::sys::process::fexecve;

/// argv[0] of the copy, by which it knows that it need not try again.
const SEALED_NAME: &std::ffi::CStr = c"wharf-runtime:sealed";

/// Executes the copy, or returns if this is it.
pub fn ensure() -> Result<()> {
    let own = rustix::fs::open("/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .context("open /proc/self/exe")?;
    if is_sealed(&own)? {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    if arguments.next().is_some_and(|name| name.as_encoded_bytes() == SEALED_NAME.to_bytes()) {
        return Err(Error::new(Kind::System, "the protected copy of this program is writable"));
    }
    let c_string = |text: std::ffi::OsString| {
        CString::new(text.into_vec()).map_err(|_| Error::invalid("an argument holds a NUL"))
    };
    let arguments: Vec<CString> =
        std::iter::once(Ok(SEALED_NAME.to_owned())).chain(arguments.map(c_string)).collect::<Result<_>>()?;
    let pairs = std::env::vars_os().map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='));
    let environment: Vec<CString> = pairs.filter_map(|pair| CString::new(pair).ok()).collect();
    let copy = match read_only_mount() {
        Ok(mount) => mount,
        Err(Errno::PERM | Errno::NOSYS | Errno::INVAL) => sealed_copy(own)?,
        Err(errno) => return Err(errno).context("mount own program read-only"),
    };
    Err(fexecve(copy.as_fd(), &arguments, &environment)).context("execute the protected copy of this program")
}

fn is_sealed(own: &OwnedFd) -> Result<bool> {
    if rustix::fs::fstatvfs(own)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    // Only files in memory have seals; for others the question itself is EINVAL.
    Ok(rustix::fs::fcntl_get_seals(own).is_ok_and(|seals| seals.contains(SealFlags::WRITE)))
}

fn read_only_mount() -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = rustix::mount::open_tree(CWD, "/proc/self/exe", flags)?;
    mount_setattr(mount.as_fd(), false, MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..Default::default() })?;
    Ok(mount)
}

fn sealed_copy(own: OwnedFd) -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy: std::fs::File =
        rustix::fs::memfd_create(c"wharf-runtime", flags).context("create memory file")?.into();
    std::io::copy(&mut std::fs::File::from(own), &mut copy).context("copy own program")?;
    copy.rewind()?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals).context("seal the copy")?;
    Ok(copy.into())
}
