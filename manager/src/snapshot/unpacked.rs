//! Layers that have been unpacked: a folder per chain ID with the tree and a note on its size. A
//! layer is unpacked into the staging folder, checked against its diff ID, and moved to its place
//! together with the image; so a layer that has its name is whole.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use serde::{Deserialize, Serialize};

use super::layer::{Limits, extract};
use super::tree::Tree;
use crate::durable;
use crate::error::{Context, Error, Kind, Result};
use crate::image::compression::{Decoder, drain};
use crate::image::digest::{Digest, Hasher};
use crate::image::staging::Staging;
use crate::paths::{Paths, private_dir};
use crate::remove::remove_path;

/// What is noted beside a tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    diff_id: Digest,
    /// Bytes in files.
    size: u64,
}

/// A layer to unpack: its diff ID, and its chain ID after those of all layers below it.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// The digest of the uncompressed archive.
    pub diff_id: &'a Digest,
    /// Chain IDs from the lowest layer to this one.
    pub chain: &'a [Digest],
}

impl Layer<'_> {
    fn id(&self) -> Result<&Digest> {
        self.chain.last().ok_or_else(|| Error::new(Kind::InvalidInput, "a layer without an id"))
    }
}

/// Whether a layer is in its place.
pub fn is_there(paths: &Paths, chain: &Digest) -> bool {
    paths.layer_tree(chain).is_dir()
}

/// Bytes in the files of a layer, in its place or staged.
pub fn size(paths: &Paths, staging: &Staging, chain: &Digest) -> Result<u64> {
    for dir in [paths.layer(chain), staging.layer(chain)] {
        if let Some(bytes) = durable::read(&dir.join("layer.json"))? {
            return Ok(serde_json::from_slice::<Note>(&bytes).context("parse layer.json")?.size);
        }
    }
    Ok(0)
}

/// Unpacks the archive at `blob` into the staging folder. `progress` hears how much of it is read.
pub fn unpack(paths: &Paths, staging: &Staging, layer: Layer<'_>, source: Source<'_>) -> Result<()> {
    let dir = staging.layer(layer.id()?);
    // A first try may have been given up half way.
    remove_path(&dir)?;
    private_dir(&dir)?;
    let tree = dir.join("fs");
    fs::DirBuilder::new().mode(0o755).create(&tree).with_context(|| format!("create {}", tree.display()))?;
    let tree = Tree::new(open_dir(&tree)?, below(paths, staging, layer)?)?;

    let file = File::open(source.blob).with_context(|| format!("open {}", source.blob.display()))?;
    let counted = Counted { file, done: 0, progress: source.progress };
    let hashed =
        Hashed { reader: Decoder::new(counted)?, hasher: layer.diff_id.hasher(), left: source.limits.bytes };
    let (size, mut rest) = extract(hashed, tree, source.limits)?;
    drain(&mut rest)?;
    match rest.hasher.finish() {
        digest if digest == *layer.diff_id => {}
        digest => {
            let message = format!(
                "digest mismatch: the layer's content has {digest}, its image says {}",
                layer.diff_id
            );
            return Err(Error::new(Kind::Integrity, message));
        }
    }
    let note = Note { diff_id: layer.diff_id.clone(), size };
    durable::write(&dir.join("layer.json"), &serde_json::to_vec(&note).context("encode layer.json")?)
}

/// Where a layer's archive is, what it may cost, and who is told.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The blob.
    pub blob: &'a Path,
    /// What it may cost.
    pub limits: Limits,
    /// Hears how many bytes of the blob have been read.
    pub progress: &'a dyn Fn(u64),
}

impl std::fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("blob", &self.blob)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Makes staged layers last on disk, all at once.
pub fn sync(staging: &Staging, chain: &[Digest]) -> Result<()> {
    match chain.iter().map(|id| staging.layer(id)).find(|dir| dir.is_dir()) {
        Some(dir) => rustix::fs::syncfs(open_dir(&dir)?).context("sync layers"),
        None => Ok(()),
    }
}

/// Moves staged layers to their places, under the caller's lock. False, with nothing moved, if one
/// is neither there nor staged: a removal next door has taken it.
pub fn settle(paths: &Paths, staging: &Staging, chain: &[Digest]) -> Result<bool> {
    let missing: Vec<&Digest> = chain.iter().filter(|id| !is_there(paths, id)).collect();
    if !missing.iter().all(|id| staging.layer(id).join("layer.json").is_file()) {
        return Ok(false);
    }
    for id in &missing {
        let place = paths.layer(id);
        let parent = place.parent().map(Path::to_owned).unwrap_or_default();
        private_dir(&parent)?;
        fs::rename(staging.layer(id), &place).with_context(|| format!("store layer {id}"))?;
        durable::sync_dir(&parent)?;
    }
    Ok(true)
}

/// The trees below a layer, topmost first.
fn below(paths: &Paths, staging: &Staging, layer: Layer<'_>) -> Result<Vec<OwnedFd>> {
    let below = layer.chain.split_last().map(|(_, below)| below).unwrap_or_default();
    let place = |id: &Digest| -> PathBuf {
        if is_there(paths, id) { paths.layer_tree(id) } else { staging.layer(id).join("fs") }
    };
    below.iter().rev().map(|id| open_dir(&place(id))).collect()
}

fn open_dir(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).with_context(|| format!("open {}", path.display()))
}

/// Tells how much has been read.
struct Counted<'a> {
    file: File,
    done: u64,
    progress: &'a dyn Fn(u64),
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.done += count as u64;
        (self.progress)(self.done);
        Ok(count)
    }
}

/// Computes the diff ID, and ends a stream that is longer than it may be.
struct Hashed<R> {
    reader: R,
    hasher: Hasher,
    left: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => {
                return Err(
                    Error::new(Kind::Integrity, "the layer is larger than the limit for one layer").into()
                );
            }
        }
        Ok(count)
    }
}
