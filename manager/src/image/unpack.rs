//! From stored blobs to unpacked layers: decompress, verify against the config's diff IDs, extract.

use std::io::{BufReader, Read};

use super::digest::{Digest, Hasher};
use super::store::{Image, ImageStore};
use crate::error::{Context, Error, Kind, Result};
use crate::paths::Paths;
use crate::progress::Progress;
use crate::snapshot::Snapshots;

/// The most bytes that one uncompressed layer may have.
const LAYER_LIMIT: u64 = 64 << 30;

/// Passes bytes on and hashes them.
struct Hashing<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

/// Unpacks those of the image's layers that are not there yet.
pub fn unpack(paths: &Paths, image: &Image, progress: &dyn Progress) -> Result<()> {
    let (store, snapshots) = (ImageStore::open(paths)?, Snapshots::open(paths)?);
    let (chain, diffs) = (image.chain()?, image.diffs()?);
    for (at, blob) in image.layers.iter().enumerate() {
        if snapshots.has_layer(&chain[at]) {
            continue;
        }
        progress.note(blob.short(), "Unpacking");
        let reader = decompress(store.blob(blob)?)?.take(LAYER_LIMIT);
        let reader = Hashing { inner: reader, hasher: diffs[at].hasher() };
        let check = |rest: Hashing<_>| verify(rest, &diffs[at]);
        let unpacked = snapshots.unpack((&chain[at], &chain[..at]), reader, check);
        unpacked.with_context(|| format!("unpack layer {}", blob.short()))?;
        progress.note(blob.short(), "Unpacked");
    }
    Ok(())
}

/// What follows the archive's end belongs to the hashed bytes too.
fn verify<R: Read>(mut rest: Hashing<R>, expected: &Digest) -> Result<()> {
    std::io::copy(&mut rest, &mut std::io::sink()).context("read to the end")?;
    let found = rest.hasher.finish();
    if found == *expected {
        return Ok(());
    }
    let message =
        format!("digest mismatch: the config promises {expected}, the uncompressed bytes have {found}");
    Err(Error::new(Kind::Integrity, message))
}

/// Decompresses by the first bytes, not by the media type: those are what there is.
pub fn decompress(file: impl Read + 'static) -> Result<Box<dyn Read>> {
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let start = std::io::BufRead::fill_buf(&mut reader).context("read")?;
    let (gzip, zstd) = (start.starts_with(&[0x1f, 0x8b]), start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
    Ok(if gzip {
        Box::new(flate2::bufread::MultiGzDecoder::new(reader))
    } else if zstd {
        Box::new(zstd::stream::read::Decoder::with_buffer(reader).context("start zstd")?)
    } else {
        Box::new(reader)
    })
}
