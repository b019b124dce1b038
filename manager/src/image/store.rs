//! The store of images: a valid OCI image layout, so that skopeo, umoci and buildah read it with no
//! help. A tag is a descriptor in index.json with the reference in its annotations; an image that
//! lost its last tag to a newer one stays there without. Everything is in place before the index
//! names it, and is taken away after the index has stopped doing so.
//! Source: image-spec image-layout.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::Image;
use super::digest::{Digest, is_hex};
use super::manifest::{DOCUMENT_LIMIT, Descriptor, Index, Manifest, OCI_INDEX, parse_manifest};
use super::reference::Reference;
use super::staging::{self, Staging};
use crate::durable::{self, Lock};
use crate::error::{Context, Error, Kind, Result};
use crate::paths::{Paths, private_dir};

/// OCI's annotation for a tag; skopeo and umoci find images by it.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// containerd's, which means the whole reference.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// Ours: the digest under which the registry knows the tag, which may be an index's.
const SOURCE: &str = "dev.wharf.source-digest";
/// Ours: the bytes of the unpacked layers.
const SIZE: &str = "dev.wharf.size";

/// An image that has been staged.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Its manifest.
    pub manifest: Descriptor,
    /// Its config and layers.
    pub blobs: Vec<Descriptor>,
    /// The digest under which its source knows it.
    pub source: Digest,
    /// Bytes of the unpacked layers.
    pub size: u64,
}

/// What a removal did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name is gone.
    Untagged(Reference),
    /// An image or a layer is gone.
    Deleted(Digest),
}

/// The images below these paths.
#[derive(Debug, Clone)]
pub struct ImageStore {
    paths: Paths,
}

impl ImageStore {
    /// Makes the layout if there is none, and takes away what killed commands left.
    pub fn open(paths: &Paths) -> Result<Self> {
        let dirs = [paths.blobs().join("sha256"), paths.layers(), paths.snapshots(), paths.temporary()];
        dirs.iter().try_for_each(|dir| private_dir(dir))?;
        let marker = paths.images().join("oci-layout");
        if !marker.exists() {
            let _lock = Lock::exclusive(&paths.lock())?;
            durable::write(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        staging::sweep(paths)?;
        let store = Self { paths: paths.clone() };
        if !paths.index().exists() {
            let _lock = Lock::exclusive(&paths.lock())?;
            let index = store.index()?;
            store.write_index(index)?;
        }
        Ok(store)
    }

    /// The image with this reference, id, or unique prefix of an id.
    pub fn find(&self, query: &str) -> Result<Image> {
        find_among(&self.list()?, query)
    }

    /// All images, newest first.
    pub fn list(&self) -> Result<Vec<Image>> {
        let _lock = Lock::shared(&self.paths.lock())?;
        self.images()
    }

    /// All images, for who holds the lock.
    pub fn images(&self) -> Result<Vec<Image>> {
        let mut images: BTreeMap<Digest, Image> = BTreeMap::new();
        for descriptor in self.index()?.manifests {
            let image = match self.load(&descriptor) {
                Ok(image) => image,
                // One damaged image must not hide the others; pulling it again repairs it.
                Err(error) => {
                    log::warn!("{error}");
                    continue;
                }
            };
            let known = images
                .entry(image.id.clone())
                .or_insert_with(|| Image { references: Vec::new(), ..image.clone() });
            known.references.extend(image.references);
        }
        let mut images: Vec<Image> = images.into_values().collect();
        images.iter_mut().for_each(|image| image.references.sort());
        images.sort_by(|a, b| b.config.created().cmp(a.config.created()));
        Ok(images)
    }

    /// Moves what was staged into the store and names it, all under the caller's lock. A reference
    /// that another image had is taken from it.
    pub fn commit(&self, staging: &Staging, arrival: &Arrival, references: &[Reference]) -> Result<()> {
        for blob in arrival.blobs.iter().chain([&arrival.manifest]) {
            let (from, to) = (staging.blob(&blob.digest), self.paths.blob(&blob.digest));
            if let Some(dir) = to.parent() {
                private_dir(dir)?;
            }
            fs::rename(&from, &to).with_context(|| format!("store blob {}", blob.digest))?;
        }
        for dir in arrival
            .blobs
            .iter()
            .chain([&arrival.manifest])
            .filter_map(|blob| dir_of(&self.paths, blob))
            .collect::<BTreeSet<_>>()
        {
            durable::sync_dir(&dir)?;
        }
        let mut index = self.index()?;
        for reference in references {
            take_name(&mut index, reference);
        }
        let is_new = !index.manifests.iter().any(|known| known.digest == arrival.manifest.digest);
        if references.is_empty() && is_new {
            index.manifests.push(named(arrival, None));
        }
        if !references.is_empty() {
            index
                .manifests
                .retain(|known| known.digest != arrival.manifest.digest || name_of(known).is_some());
            index.manifests.extend(references.iter().map(|reference| named(arrival, Some(reference))));
        }
        self.write_index(index)
    }

    /// Takes a name away. The image stays listed, without a name, if it was its last.
    pub fn untag(&self, reference: &Reference) -> Result<()> {
        let mut index = self.index()?;
        take_name(&mut index, reference);
        self.write_index(index)
    }

    /// Takes an image with all its names out of the index.
    pub fn forget(&self, image: &Image) -> Result<()> {
        let mut index = self.index()?;
        let mut kept = Vec::new();
        for descriptor in index.manifests {
            if self.load(&descriptor).is_ok_and(|other| other.id == image.id) {
                continue;
            }
            kept.push(descriptor);
        }
        index.manifests = kept;
        self.write_index(index)
    }

    /// Removes all blobs that no image is made of, under the caller's lock. If a damaged manifest
    /// does not tell what it is made of, nothing is removed.
    pub fn sweep(&self) -> Result<()> {
        let mut used = BTreeSet::new();
        for descriptor in self.index()?.manifests {
            let manifest = match self.manifest(&descriptor) {
                Ok(manifest) => manifest,
                Err(error) => {
                    log::warn!("{error}");
                    return Ok(());
                }
            };
            used.extend(
                manifest.layers.into_iter().chain([manifest.config, descriptor]).map(|blob| blob.digest),
            );
        }
        for digest in digests_in(&self.paths.blobs())? {
            if !used.contains(&digest) {
                fs::remove_file(self.paths.blob(&digest)).with_context(|| format!("remove blob {digest}"))?;
            }
        }
        Ok(())
    }

    /// The digest under which the source of a reference knows its image, and the image's manifest.
    pub fn source(&self, reference: &Reference) -> Result<Option<(Digest, Descriptor)>> {
        let _lock = Lock::shared(&self.paths.lock())?;
        let named = |descriptor: &Descriptor| name_of(descriptor).as_ref() == Some(reference);
        Ok(self
            .index()?
            .manifests
            .into_iter()
            .find(named)
            .map(|descriptor| (source_of(&descriptor), descriptor)))
    }

    fn index(&self) -> Result<Index> {
        #[derive(Deserialize)]
        struct Known {
            manifests: Vec<Descriptor>,
        }
        let manifests = match durable::read(&self.paths.index())? {
            Some(bytes) => serde_json::from_slice::<Known>(&bytes).context("parse index.json")?.manifests,
            None => Vec::new(),
        };
        Ok(Index { schema_version: 2, media_type: OCI_INDEX.to_owned(), manifests })
    }

    fn write_index(&self, index: Index) -> Result<()> {
        durable::write(&self.paths.index(), &serde_json::to_vec(&index).context("encode index.json")?)
    }

    /// Reads a document and checks its digest: a disk forgets, too.
    fn document(&self, blob: &Descriptor) -> Result<Vec<u8>> {
        if blob.size > DOCUMENT_LIMIT {
            return Err(Error::new(Kind::Integrity, format!("blob {} is larger than 4 MiB", blob.digest)));
        }
        let bytes = durable::read(&self.paths.blob(&blob.digest))?;
        let bytes =
            bytes.ok_or_else(|| Error::new(Kind::Integrity, format!("blob {} is missing", blob.digest)))?;
        let mut hasher = blob.digest.hasher();
        hasher.update(&bytes);
        match hasher.finish() {
            digest if digest == blob.digest => Ok(bytes),
            digest => Err(Error::new(
                Kind::Integrity,
                format!("blob {} is damaged: its digest is {digest}", blob.digest),
            )),
        }
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest> {
        let phrase = || format!("read image {}", descriptor.digest);
        self.document(descriptor)
            .and_then(|bytes| parse_manifest(&bytes, Some(&descriptor.media_type)))
            .with_context(phrase)
    }

    fn load(&self, descriptor: &Descriptor) -> Result<Image> {
        let manifest = self.manifest(descriptor)?;
        let config = self.document(&manifest.config).and_then(|bytes| super::parse_config(&bytes));
        let annotation = descriptor.annotations.get(SIZE);
        Ok(Image {
            id: manifest.config.digest.clone(),
            manifest: descriptor.digest.clone(),
            source: source_of(descriptor),
            references: name_of(descriptor).into_iter().collect(),
            config: config.with_context(|| format!("read image {}", descriptor.digest))?,
            size: annotation.and_then(|size| size.parse().ok()).unwrap_or_default(),
            layers: manifest.layers,
        })
    }
}

/// The image among these with this reference, id, or unique prefix of an id.
pub fn find_among(images: &[Image], query: &str) -> Result<Image> {
    if let Ok(reference) = query.parse::<Reference>()
        && let Some(image) = images.iter().find(|image| image.is_called(&reference))
    {
        return Ok(image.clone());
    }
    let digits = query.strip_prefix("sha256:").unwrap_or(query);
    let is_id = !digits.is_empty() && digits.len() <= 64 && is_hex(digits);
    let mut matches = images.iter().filter(|image| is_id && image.id.hex().starts_with(digits));
    match (matches.next(), matches.next()) {
        (Some(image), None) => Ok(image.clone()),
        (None, _) => Err(Error::new(Kind::NotFound, format!("No such image: {query}"))),
        _ => {
            Err(Error::new(Kind::InvalidInput, format!("several images have an id that starts with {query}")))
        }
    }
}

fn dir_of(paths: &Paths, blob: &Descriptor) -> Option<std::path::PathBuf> {
    paths.blob(&blob.digest).parent().map(Path::to_owned)
}

fn named(arrival: &Arrival, reference: Option<&Reference>) -> Descriptor {
    let mut annotations = BTreeMap::new();
    if let Some(reference) = reference {
        annotations.insert(REF_NAME.to_owned(), reference.to_string());
        annotations.insert(IMAGE_NAME.to_owned(), reference.to_string());
    }
    annotations.insert(SOURCE.to_owned(), arrival.source.to_string());
    annotations.insert(SIZE.to_owned(), arrival.size.to_string());
    Descriptor { annotations, ..arrival.manifest.clone() }
}

fn name_of(descriptor: &Descriptor) -> Option<Reference> {
    descriptor.annotations.get(REF_NAME)?.parse().ok()
}

fn source_of(descriptor: &Descriptor) -> Digest {
    let source = descriptor.annotations.get(SOURCE).and_then(|text| text.parse().ok());
    source.unwrap_or_else(|| descriptor.digest.clone())
}

/// Takes a name from whatever has it, and leaves that listed once without a name if it was its last.
fn take_name(index: &mut Index, reference: &Reference) {
    let (taken, mut kept): (Vec<_>, Vec<_>) =
        index.manifests.drain(..).partition(|descriptor| name_of(descriptor).as_ref() == Some(reference));
    for mut descriptor in taken {
        if kept.iter().all(|other: &Descriptor| other.digest != descriptor.digest) {
            descriptor.annotations.remove(REF_NAME);
            descriptor.annotations.remove(IMAGE_NAME);
            kept.push(descriptor);
        }
    }
    index.manifests = kept;
}

/// The digests that files or folders at `algorithm/hex` are named after.
pub fn digests_in(dir: &Path) -> Result<Vec<Digest>> {
    let phrase = || format!("list {}", dir.display());
    let mut digests = Vec::new();
    for algorithm in fs::read_dir(dir).with_context(phrase)? {
        let algorithm = algorithm.with_context(phrase)?;
        for entry in fs::read_dir(algorithm.path()).with_context(phrase)? {
            let hex = entry.with_context(phrase)?.file_name();
            let name = algorithm.file_name();
            digests.extend(Digest::from_path_parts(&name.to_string_lossy(), &hex.to_string_lossy()));
        }
    }
    Ok(digests)
}
