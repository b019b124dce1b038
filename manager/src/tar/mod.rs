//! A reader of tar archives: ustar, pax and GNU long names, as a stream. It takes only what all
//! readers agree on. Where GNU tar, Go and Python would see different entries in the same bytes,
//! an archive can hide one from a scanner, so such bytes are refused and not guessed at.
//! Sources: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".

pub mod pax;

use std::io::{self, ErrorKind, Read};

use crate::error::{Context, Error, Kind, Result};
use pax::Records;

const BLOCK: usize = 512;
/// The longest pax header or GNU long name. Real ones hold a path and some attributes.
const EXTENSION_LIMIT: u64 = 1 << 20;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file; its bytes follow.
    File,
    /// Another name for an earlier entry.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// A point in time, before or after 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Time {
    /// Seconds since the epoch, rounded down.
    pub seconds: i64,
    /// Nanoseconds on top.
    pub nanoseconds: u32,
}

/// One entry's header with its extensions merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name as archived: may be absolute, may climb.
    pub path: Vec<u8>,
    /// The target of a link.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes that follow; zero for all but files.
    pub size: u64,
    /// Time of modification.
    pub mtime: Time,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// An archive being read. As a reader, it gives the bytes of the current entry.
#[derive(Debug)]
pub struct Archive<R> {
    reader: R,
    /// Bytes of the current entry not yet read.
    left: u64,
    /// Bytes after them, up to the next block.
    padding: u64,
    ended: bool,
}

/// The extensions seen before an entry.
#[derive(Debug, Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Records>,
}

impl<R: Read> Archive<R> {
    /// Starts at the first header.
    pub fn new(reader: R) -> Self {
        Self { reader, left: 0, padding: 0, ended: false }
    }

    /// What remains of the stream, after the last entry.
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// The next entry; what is left of the current one is skipped. `None` at the end.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_rest()?;
            let Some(block) = self.next_header()? else {
                return match extensions {
                    Extensions { path: None, link: None, pax: None } => Ok(None),
                    _ => Err(malformed("an extension header without an entry")),
                };
            };
            let header = Header(&block);
            header.check_sum()?;
            match block[156] {
                b'x' => set_once(&mut extensions.pax, pax::parse(&self.extension(&header)?)?)?,
                b'g' => pax::check_global(&self.extension(&header)?)?,
                b'L' => set_once(&mut extensions.path, long_name(self.extension(&header)?)?)?,
                b'K' => set_once(&mut extensions.link, long_name(self.extension(&header)?)?)?,
                _ => {
                    let entry = header.entry(extensions)?;
                    self.expect(entry.size);
                    return Ok(Some(entry));
                }
            }
        }
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    fn skip_rest(&mut self) -> Result<()> {
        let rest = self.left + self.padding;
        let skipped =
            io::copy(&mut (&mut self.reader).take(rest), &mut io::sink()).context("read archive")?;
        (self.left, self.padding) = (0, 0);
        if skipped == rest { Ok(()) } else { Err(malformed("it ends within an entry")) }
    }

    /// The next block that is a header. One zero block ends the archive: no reader looks for an
    /// entry behind it unless told to.
    fn next_header(&mut self) -> Result<Option<[u8; BLOCK]>> {
        if self.ended {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => {
                    self.ended = true;
                    return Ok(None);
                }
                Ok(0) => return Err(malformed("it ends within a header")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("read archive"),
            }
        }
        self.ended = block.iter().all(|byte| *byte == 0);
        Ok(if self.ended { None } else { Some(block) })
    }

    /// The bytes of an extension header, whose size is its own header's and nothing else's.
    fn extension(&mut self, header: &Header<'_>) -> Result<Vec<u8>> {
        let size = header.unsigned(124..136)?;
        if size > EXTENSION_LIMIT {
            return Err(malformed("an extension header of more than 1 MiB"));
        }
        self.expect(size);
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).context("read archive")?;
        if bytes.len() as u64 == size {
            Ok(bytes)
        } else {
            Err(malformed("it ends within an extension header"))
        }
    }
}

impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (&mut self.reader).take(self.left).read(buffer)?;
        self.left -= count as u64;
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(malformed("it ends within an entry").into());
        }
        Ok(count)
    }
}

/// One header block.
struct Header<'a>(&'a [u8; BLOCK]);

impl Header<'_> {
    fn field(&self, range: std::ops::Range<usize>) -> &[u8] {
        self.0.get(range).unwrap_or_default()
    }

    /// Bytes up to the first NUL.
    fn text(&self, range: std::ops::Range<usize>) -> &[u8] {
        let field = self.field(range);
        field.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The sum of all bytes, with its own field counted as spaces. Old writers took bytes as signed.
    fn check_sum(&self) -> Result<()> {
        let stored = self.number(148..156)?;
        let byte = |(place, byte): (usize, &u8)| if (148..156).contains(&place) { b' ' } else { *byte };
        let unsigned: i64 = self.0.iter().enumerate().map(|pair| i64::from(byte(pair))).sum();
        let signed: i64 = self.0.iter().enumerate().map(|pair| i64::from(byte(pair).cast_signed())).sum();
        if stored == unsigned || stored == signed {
            Ok(())
        } else {
            Err(malformed("a header's checksum is wrong"))
        }
    }

    /// A number: octal digits, or base 256 with the first bit set (GNU).
    fn number(&self, range: std::ops::Range<usize>) -> Result<i64> {
        let field = self.field(range);
        let wrong = || malformed("a header field is no number");
        match field {
            [first, rest @ ..] if first & 0x80 != 0 => {
                // The second bit is the sign of the whole.
                let start = if first & 0x40 != 0 { -1i64 } else { 0 };
                let low = i64::from(first & 0x3f) | if start < 0 { !0x3f } else { 0 };
                rest.iter().try_fold(low, |sum, byte| {
                    sum.checked_mul(256).and_then(|sum| sum.checked_add(i64::from(*byte))).ok_or_else(wrong)
                })
            }
            _ => {
                let digits = field.trim_ascii_start();
                let blank = |byte: &u8| matches!(byte, 0 | b' ');
                let end = digits.iter().position(blank).unwrap_or(digits.len());
                let (digits, rest) = digits.split_at(end);
                if !rest.iter().all(blank) {
                    return Err(wrong());
                }
                digits.iter().try_fold(0i64, |sum, digit| match digit {
                    b'0'..=b'7' => {
                        sum.checked_mul(8).map(|sum| sum + i64::from(digit - b'0')).ok_or_else(wrong)
                    }
                    _ => Err(wrong()),
                })
            }
        }
    }

    fn unsigned(&self, range: std::ops::Range<usize>) -> Result<u64> {
        u64::try_from(self.number(range)?).map_err(|_| malformed("a header field is negative"))
    }

    fn id(&self, range: std::ops::Range<usize>) -> Result<u32> {
        u32::try_from(self.number(range)?).map_err(|_| malformed("a header field is out of range"))
    }

    fn entry_kind(&self) -> Result<EntryKind> {
        Ok(match self.0[156] {
            b'0' | 0 | b'7' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::CharDevice,
            b'4' => EntryKind::BlockDevice,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            b'S' => return Err(malformed("a sparse file, which is not supported")),
            other => return Err(malformed(&format!("an entry of unknown type {:?}", char::from(other)))),
        })
    }

    /// The name, with the prefix that ustar (not GNU) puts into its own field.
    fn path(&self) -> Vec<u8> {
        let name = self.text(0..100);
        let prefix = match (self.field(257..263), self.field(508..512)) {
            (b"ustar\0", b"tar\0") => self.text(345..476),
            (b"ustar\0", _) => self.text(345..500),
            _ => b"",
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    fn entry(&self, extensions: Extensions) -> Result<Entry> {
        let pax = extensions.pax.unwrap_or_default();
        if (pax.path.is_some() && extensions.path.is_some())
            || (pax.link.is_some() && extensions.link.is_some())
        {
            return Err(malformed("a name given both by pax and by GNU tar"));
        }
        let mut kind = self.entry_kind()?;
        let path = pax.path.or(extensions.path).unwrap_or_else(|| self.path());
        // The oldest writers knew no directories but by the slash.
        if kind == EntryKind::File && path.ends_with(b"/") {
            kind = EntryKind::Directory;
        }
        let size = pax.size.map_or_else(|| self.unsigned(124..136), Ok)?;
        if kind != EntryKind::File && size != 0 {
            return Err(malformed("an entry that is no file, but has bytes"));
        }
        if i64::try_from(size).is_err() {
            return Err(malformed("an entry of an impossible size"));
        }
        let (uid, gid) =
            (pax.uid.map_or_else(|| self.id(108..116), Ok)?, pax.gid.map_or_else(|| self.id(116..124), Ok)?);
        // To the kernel this id means "leave as it is".
        if uid == u32::MAX || gid == u32::MAX {
            return Err(malformed("an owner that can't exist"));
        }
        let mtime = match pax.mtime {
            Some(time) => time,
            None => Time { seconds: self.number(136..148)?, nanoseconds: 0 },
        };
        let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        let device = if is_device { (self.id(329..337)?, self.id(337..345)?) } else { (0, 0) };
        Ok(Entry {
            path,
            link: pax.link.or(extensions.link).unwrap_or_else(|| self.text(157..257).to_vec()),
            kind,
            mode: self.id(100..108)? & 0o7777,
            uid,
            gid,
            size,
            mtime,
            device,
            xattrs: pax.xattrs,
        })
    }
}

/// A GNU long name ends with a NUL; one within would end it for some readers only.
fn long_name(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    if bytes.is_empty() || bytes.contains(&0) {
        Err(malformed("a long name that is none"))
    } else {
        Ok(bytes)
    }
}

fn set_once<T>(slot: &mut Option<T>, value: T) -> Result<()> {
    if slot.replace(value).is_some() { Err(malformed("two extension headers of one kind")) } else { Ok(()) }
}

/// The error for an archive that is none.
pub fn malformed(why: &str) -> Error {
    Error::new(Kind::Integrity, format!("malformed archive: {why}"))
}
