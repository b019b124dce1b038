//! Extended attributes, as layers may set them. Attributes through which the kernel takes orders
//! stay out of a layer's hands: overlayfs's own (a forged `redirect` would show other folders) and
//! the host's security labels. File capabilities are part of an image and are kept.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr, getxattr, lsetxattr};
use rustix::io::Errno;

use super::tree::{At, through_proc};
use crate::error::{Context, Error, Kind, Result};

/// Marks a directory that hides the one below (overlayfs.rst, "whiteouts and opaque directories").
const OPAQUE: &str = "trusted.overlay.opaque";

/// Makes a directory hide what is below.
pub fn set_opaque(dir: BorrowedFd<'_>) -> Result<()> {
    fsetxattr(dir, OPAQUE, b"y", XattrFlags::empty()).context("make a directory opaque")
}

/// Whether a directory hides what is below; `named` may be a handle that only names it.
pub fn is_opaque(named: &OwnedFd) -> rustix::io::Result<bool> {
    let mut value = [0; 4];
    match getxattr(through_proc(named.as_fd()), OPAQUE, &mut value[..]) {
        Ok(length) => Ok(value.get(..length) == Some(b"y")),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a layer may set this attribute.
pub fn is_allowed(name: &[u8]) -> bool {
    let overlay = name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    let known =
        name.starts_with(b"user.") || name.starts_with(b"trusted.") || name.starts_with(b"system.posix_acl_");
    (known && !overlay) || name == b"security.capability"
}

/// Sets an attribute of an open file.
pub fn set(fd: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> Result<()> {
    tolerate(name, fsetxattr(fd, name, value, XattrFlags::empty()))
}

/// Sets an attribute of what is at a name, be it a symlink or a device.
pub fn set_at((dir, file): At<'_>, name: &[u8], value: &[u8]) -> Result<()> {
    tolerate(name, lsetxattr(through_proc(dir).join(file), name, value, XattrFlags::empty()))
}

/// A file system without attributes of users can hold the image nevertheless; without file
/// capabilities the image would be another.
fn tolerate(name: &[u8], result: rustix::io::Result<()>) -> Result<()> {
    let phrase = || format!("set attribute {}", String::from_utf8_lossy(name));
    match result {
        Err(Errno::OPNOTSUPP) if name != b"security.capability" => {
            log::warn!("{}: the file system does not support it", phrase());
            Ok(())
        }
        result => result.with_context(phrase),
    }
}

/// Copies the allowed attributes from one open file to another.
pub fn copy(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let mut names = vec![0; 64 << 10];
    let length = match flistxattr(source, names.as_mut_slice()) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        length => length.context("list attributes")?,
    };
    let names = names.get(..length).ok_or_else(|| Error::new(Kind::System, "list attributes: too many"))?;
    let mut value = vec![0; 64 << 10];
    for name in names.split(|byte| *byte == 0).filter(|name| is_allowed(name)) {
        let length = fgetxattr(source, name, value.as_mut_slice()).context("read an attribute")?;
        set(target, name, value.get(..length).unwrap_or_default())?;
    }
    Ok(())
}
