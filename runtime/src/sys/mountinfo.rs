//! The mounts of a namespace, as proc(5) mountinfo has them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use super::files;
use crate::error::{Context, Result};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What of its file system is seen.
    pub root: PathBuf,
    /// Where, below this process's root.
    pub point: PathBuf,
    /// The file system's type.
    pub kind: String,
    /// The options of the file system as a whole, separated by commas.
    pub options: String,
}

/// Reads all of this process's namespace, in the order in which they were made.
pub fn read() -> Result<Vec<Mount>> {
    read_from("/proc/self/mountinfo")
}

/// The same from another process's file.
pub fn read_from(path: &str) -> Result<Vec<Mount>> {
    Ok(parse(&files::read(path).on("read", path)?))
}

/// Reads the file's text. A line that is not of the form is left out.
pub fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`, with any number of
/// optional fields before the dash.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let root = unescape(fields.nth(3)?);
    let point = unescape(fields.next()?);
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let kind = text(fields.next()?);
    Some(Mount { root, point, kind, options: text(fields.nth(1)?) })
}

/// Space, tab, newline and backslash stand as `\ooo`.
fn unescape(field: &[u8]) -> PathBuf {
    let mut result = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail
            .split_at_checked(3)
            .filter(|(digits, _)| first == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        let escaped = digits.and_then(|(digits, after)| {
            Some((u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()?, after))
        });
        let (byte, after) = escaped.unwrap_or((first, tail));
        result.push(byte);
        rest = after;
    }
    OsString::from_vec(result).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_with_and_without_optional_fields_are_read_and_others_left_out() {
        let text = b"22 1 0:20 / / rw - ext4 /dev/vda rw\n\
            23 22 0:21 /r /a\\040b\\134c rw shared:1 master:2 - tmpfs tmpfs rw,size=1k\nshort line\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!((mounts[1].root.to_str(), mounts[1].point.to_str()), (Some("/r"), Some("/a b\\c")));
        assert_eq!((mounts[1].kind.as_str(), mounts[1].options.as_str()), ("tmpfs", "rw,size=1k"));
    }
}
