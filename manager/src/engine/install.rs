//! The last steps of every image that arrives, whichever way it came: unpack what is not unpacked
//! yet, then put everything in its place at once.

use std::path::Path;

use crate::durable::Lock;
use crate::error::{Context, Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::manifest::{Descriptor, Manifest};
use crate::image::reference::Reference;
use crate::image::staging::Staging;
use crate::image::store::{Arrival, ImageStore};
use crate::image::{self, Image};
use crate::paths::Paths;
use crate::progress::{Progress, Step};
use crate::snapshot::layer::Limits;
use crate::snapshot::unpacked::{self, Layer, Source};

/// An image whose blobs are staged, or are about to be.
#[derive(Debug)]
pub struct Incoming {
    /// Names the manifest.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The digest under which its source knows it.
    pub source: Digest,
    /// Digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
    /// Chain IDs of the layers, lowest first.
    pub chain: Vec<Digest>,
}

impl Incoming {
    /// From the manifest and the config that it names.
    pub fn new(descriptor: Descriptor, manifest: Manifest, config: &[u8]) -> Result<Self> {
        let diff_ids = image::diff_ids(&image::parse_config(config)?)?;
        if diff_ids.len() != manifest.layers.len() {
            let message =
                format!("its config has {} layers, its manifest {}", diff_ids.len(), manifest.layers.len());
            return Err(Error::new(Kind::Integrity, message));
        }
        let chain = image::chain(&diff_ids);
        Ok(Self { source: descriptor.digest.clone(), descriptor, manifest, diff_ids, chain })
    }
}

/// Where an image is installed from and to.
pub struct Installation<'a> {
    /// Everything on disk.
    pub paths: &'a Paths,
    /// Where the blobs wait.
    pub staging: &'a Staging,
    /// What a layer may cost.
    pub limits: Limits,
    /// Who is told.
    pub progress: &'a dyn Progress,
}

impl Installation<'_> {
    /// Unpacks one layer, unless it is there.
    pub fn unpack(&self, incoming: &Incoming, number: usize) -> Result<()> {
        let (Some(blob), Some(diff_id), Some(chain)) = (
            incoming.manifest.layers.get(number),
            incoming.diff_ids.get(number),
            incoming.chain.get(..=number),
        ) else {
            return Ok(());
        };
        let staged = |id: &Digest| self.staging.layer(id).join("layer.json").is_file();
        let name = blob.digest.short();
        if chain.last().is_some_and(|id| unpacked::is_there(self.paths, id) || staged(id)) {
            self.progress.layer(name, Step::Exists);
            return Ok(());
        }
        let tell = |done| self.progress.layer(name, Step::Unpacking(done, blob.size));
        let path = self.staging.blob(&blob.digest);
        let source = Source { blob: Path::new(&path), limits: self.limits, progress: &tell };
        unpacked::unpack(self.paths, self.staging, Layer { diff_id, chain }, source)
            .with_context(|| format!("unpack layer {}", blob.digest))?;
        self.progress.layer(name, Step::Unpacked);
        Ok(())
    }

    /// Unpacks what is missing, then gives everything its place and its names.
    pub fn finish(&self, store: &ImageStore, incoming: &Incoming, references: &[Reference]) -> Result<Image> {
        loop {
            unpacked::sync(self.staging, &incoming.chain)?;
            let mut size = 0;
            for id in &incoming.chain {
                size += unpacked::size(self.paths, self.staging, id)?;
            }
            let manifest = &incoming.manifest;
            let mut blobs = manifest.layers.clone();
            blobs.push(manifest.config.clone());
            // An image may have the same layer twice.
            blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
            blobs.dedup_by(|a, b| a.digest == b.digest);
            let source = incoming.source.clone();
            let arrival = Arrival { manifest: incoming.descriptor.clone(), blobs, source, size };
            let lock = Lock::exclusive(&self.paths.lock())?;
            if unpacked::settle(self.paths, self.staging, &incoming.chain)? {
                store.commit(self.staging, &arrival, references)?;
                drop(lock);
                return store.find(&incoming.manifest.config.digest.to_string());
            }
            drop(lock);
            for number in 0..incoming.chain.len() {
                self.unpack(incoming, number)?;
            }
        }
    }
}
