//! The records of pax extended headers, `length key=value\n`. Malformed records are refused, never
//! skipped: a reader that goes on behind one has lost the place that another reader still has.
//! Source: POSIX.1-2017 pax, "pax Extended Header"; star(4) for `SCHILY.xattr`.

use super::{Time, malformed};
use crate::error::Result;

/// What records say of the entry that follows.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Its name.
    pub path: Option<Vec<u8>>,
    /// Its link's target.
    pub link: Option<Vec<u8>>,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Its owner.
    pub uid: Option<u32>,
    /// Its group.
    pub gid: Option<u32>,
    /// Its time of modification.
    pub mtime: Option<Time>,
    /// Its extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Parses the records for one entry.
pub fn parse(bytes: &[u8]) -> Result<Records> {
    let mut records = Records::default();
    for record in split(bytes) {
        let (key, value) = record?;
        // An empty value takes back an earlier one, of which there is none.
        match key {
            _ if key.starts_with(b"GNU.sparse.") => {
                return Err(malformed("a sparse file, which is not supported"));
            }
            b"path" => records.path = name(value)?,
            b"linkpath" => records.link = name(value)?,
            b"size" if !value.is_empty() => records.size = Some(number(value)?),
            b"uid" if !value.is_empty() => records.uid = Some(number(value)?),
            b"gid" if !value.is_empty() => records.gid = Some(number(value)?),
            b"mtime" if !value.is_empty() => records.mtime = Some(time(value)?),
            _ => {
                if let Some(attribute) = key.strip_prefix(b"SCHILY.xattr.") {
                    records.xattrs.push((attribute.to_vec(), value.to_vec()));
                }
            }
        }
    }
    Ok(records)
}

/// A global header may carry remarks. Whether it changes the entries depends on the reader, so one
/// that would is refused.
pub fn check_global(bytes: &[u8]) -> Result<()> {
    for record in split(bytes) {
        let (key, _) = record?;
        let changes = [&b"path"[..], b"linkpath", b"size", b"uid", b"gid", b"mtime"].contains(&key);
        if changes || key.starts_with(b"SCHILY.xattr.") || key.starts_with(b"GNU.sparse.") {
            return Err(malformed("a global header that changes entries"));
        }
    }
    Ok(())
}

type Record<'a> = (&'a [u8], &'a [u8]);

fn split(mut bytes: &[u8]) -> impl Iterator<Item = Result<Record<'_>>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let Some((record, rest)) = split_first(bytes) else {
            bytes = &[];
            return Some(Err(malformed("a pax record that is none")));
        };
        bytes = rest;
        Some(Ok(record))
    })
}

/// The first record and what is behind it.
fn split_first(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = bytes.iter().take(8).position(|byte| *byte == b' ')?;
    let length: usize = number(bytes.get(..space)?).ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (record.get(..equals)?, record.get(equals + 1..)?);
    if key.is_empty() || key.contains(&0) { None } else { Some(((key, value), rest)) }
}

fn name(value: &[u8]) -> Result<Option<Vec<u8>>> {
    if value.contains(&0) {
        return Err(malformed("a name with a NUL"));
    }
    Ok(Some(value.to_vec()).filter(|value| !value.is_empty()))
}

/// Decimal digits and nothing else.
fn number<T: std::str::FromStr>(value: &[u8]) -> Result<T> {
    let wrong = || malformed("a pax record that is no number");
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or_else(wrong)
}

/// `[-]seconds[.fraction]`
fn time(value: &[u8]) -> Result<Time> {
    let (negative, value) = value.strip_prefix(b"-").map_or((false, value), |rest| (true, rest));
    let mut parts = value.splitn(2, |byte| *byte == b'.');
    let seconds: i64 = number(parts.next().unwrap_or_default())?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(malformed("a time that is none"));
    }
    let digits = fraction.iter().map(|digit| u32::from(digit - b'0')).chain(std::iter::repeat(0)).take(9);
    let nanoseconds = digits.fold(0, |sum, digit| sum * 10 + digit);
    Ok(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds: 0 },
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with its length, which counts its own digits.
    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
        let digits = (1..).find(|digits| (rest.len() + digits).to_string().len() == *digits).unwrap();
        [(rest.len() + digits).to_string().as_bytes(), &rest].concat()
    }

    #[test]
    fn records_are_read() {
        let text = [
            record("path", b"/a"),
            record("linkpath", b"b=c d\n"),
            record("mtime", b"-1.25"),
            record("size", b"12345"),
            record("SCHILY.xattr.user.x", b"\0\n\xff"),
            record("atime", b"99"),
            record("uid", b"4000000000"),
            record("gid", b""),
        ];
        let records = parse(&text.concat()).unwrap();
        let expected = Records {
            path: Some(b"/a".to_vec()),
            link: Some(b"b=c d\n".to_vec()),
            size: Some(12345),
            uid: Some(4_000_000_000),
            gid: None,
            mtime: Some(Time { seconds: -2, nanoseconds: 750_000_000 }),
            xattrs: vec![(b"user.x".to_vec(), b"\0\n\xff".to_vec())],
        };
        assert_eq!(records, expected);
        assert_eq!(parse(&record("path", b"")).unwrap(), Records::default());
    }

    #[test]
    fn malformed_records_are_refused() {
        let path = record("path", b"/a");
        assert_eq!(path, b"11 path=/a\n");
        let wrong: [&[u8]; 9] = [
            b"10 path=/a\n",
            b"12 path=/a\n",
            b"path=/a\n",
            &path[..10],
            b"6 =/a\n",
            b"99999999 a=b\n",
            b"0 a=b\n",
            b"-1 a=b\n",
            b"8 pathx\n",
        ];
        for text in wrong {
            assert!(parse(text).is_err(), "{:?}", String::from_utf8_lossy(text));
        }
        let values: [(&str, &[u8]); 10] = [
            ("path", b"a\0b"),
            ("linkpath", b"\0"),
            ("size", b"-1"),
            ("size", b"1x"),
            ("size", b"+1"),
            ("mtime", b"1.x"),
            ("mtime", b"."),
            ("uid", b"4294967296"),
            ("GNU.sparse.major", b"1"),
            ("size", b"99999999999999999999"),
        ];
        for (key, value) in values {
            assert!(parse(&record(key, value)).is_err(), "{key}");
        }
    }

    #[test]
    fn a_global_header_may_only_remark() {
        assert!(check_global(&record("comment", b"hello")).is_ok());
        for key in ["size", "path", "linkpath", "SCHILY.xattr.user.x", "GNU.sparse.map"] {
            assert!(check_global(&record(key, b"1")).is_err(), "{key}");
        }
    }
}
