//! Compressed streams, told apart by their first bytes and not by what somebody calls them. The
//! output is a stream and never larger in memory than a window.

use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, Kind, Result};

/// The largest zstd window, as a power of two: what the zstd program itself accepts.
const ZSTD_WINDOW: u32 = 27;

/// A stream's bytes, uncompressed.
pub enum Decoder<R: Read> {
    /// It was not compressed.
    Plain(Input<R>),
    /// RFC 1952.
    Gzip(Box<MultiGzDecoder<Input<R>>>),
    /// RFC 8878.
    Zstd(zstd::stream::read::Decoder<'static, Input<R>>),
}

/// A reader whose first bytes have been looked at.
type Input<R> = BufReader<io::Chain<Cursor<Vec<u8>>, R>>;

impl<R: Read> Decoder<R> {
    /// Looks at the first bytes and chooses.
    pub fn new(mut reader: R) -> io::Result<Self> {
        let mut head = Vec::new();
        (&mut reader).take(4).read_to_end(&mut head)?;
        let format = match head.as_slice() {
            [0x1f, 0x8b, ..] => "gzip",
            // A frame, or one of the sixteen kinds that are skipped.
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => "zstd",
            _ => "",
        };
        let input = BufReader::with_capacity(128 << 10, Cursor::new(head).chain(reader));
        Ok(match format {
            "gzip" => Self::Gzip(Box::new(MultiGzDecoder::new(input))),
            "zstd" => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(ZSTD_WINDOW)?;
                Self::Zstd(decoder)
            }
            _ => Self::Plain(input),
        })
    }

    /// What layers of this compression are called in a manifest.
    pub fn media_type(&self) -> &'static str {
        match self {
            Self::Plain(_) => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip(_) => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd(_) => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (name, result) = match self {
            Self::Plain(reader) => return reader.read(buffer),
            Self::Gzip(decoder) => ("gzip", decoder.read(buffer)),
            Self::Zstd(decoder) => ("zstd", decoder.read(buffer)),
        };
        result.map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            io::ErrorKind::UnexpectedEof => broken(name, "the data ends too early").into(),
            _ => broken(name, &error.to_string()).into(),
        })
    }
}

impl<R: Read> std::fmt::Debug for Decoder<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.media_type())
    }
}

fn broken(format: &str, why: &str) -> Error {
    Error::new(Kind::Integrity, format!("decompress {format}: {why}"))
}

/// Reads a stream to its end and returns how long it was.
pub fn drain(mut reader: impl Read) -> Result<u64> {
    Ok(io::copy(&mut reader, &mut io::sink())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(bytes: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        Decoder::new(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_compression_is_recognised() {
        let text = b"hello hello hello".repeat(1000);
        let zstd = zstd::encode_all(text.as_slice(), 3).unwrap();
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9], zstd.as_slice()].concat();
        for (bytes, media) in
            [(text.clone(), "tar"), (gzip(&text), "gzip"), (zstd.clone(), "zstd"), (skippable, "zstd")]
        {
            assert_eq!(read(&bytes).unwrap(), text);
            assert!(Decoder::new(bytes.as_slice()).unwrap().media_type().ends_with(media));
        }
        assert_eq!(read(&[gzip(&text), gzip(&text)].concat()).unwrap(), text.repeat(2));
        assert_eq!(read(&[zstd.clone(), zstd].concat()).unwrap(), text.repeat(2));
        assert_eq!(read(b"").unwrap(), b"");
    }

    #[test]
    fn broken_streams_end_in_an_error_that_says_so() {
        let text = b"hello".repeat(1000);
        let (gzip, zstd) = (gzip(&text), zstd::encode_all(text.as_slice(), 3).unwrap());
        let cases = [
            (gzip[..gzip.len() - 3].to_vec(), "decompress gzip: the data ends too early"),
            ([&gzip, b"garbage".as_slice()].concat(), "decompress gzip: "),
            (zstd[..zstd.len() - 3].to_vec(), "decompress zstd: "),
            ([&zstd, b"garbage".as_slice()].concat(), "decompress zstd: "),
        ];
        for (bytes, message) in cases {
            let error = read(&bytes).unwrap_err();
            assert!(error.to_string().starts_with(message) && error.kind() == Kind::Integrity, "{error}");
        }
    }
}
