//! Where images are kept: a valid OCI image layout, so that other tools can read it (image-spec
//! image-layout.md). Blobs are named by their digest and get their name only once their bytes have proved to
//! have it. The list of images, index.json, is replaced whole under a lock.

use std::fs::{self, File};
use std::io::{Read, Write};

use oci_spec::image::{ImageConfiguration, ImageManifest};
use serde_json::{Value, json};

use super::digest::Digest;
use super::reference::Reference;
use crate::durable::{self, Lock};
use crate::error::{Context, Error, Kind, Result};
use crate::paths::{Paths, private_dir};
use crate::snapshot::Snapshots;

/// Manifests and configs longer than this are refused before they are read (as Docker does).
pub const DOCUMENT_LIMIT: u64 = 4 << 20;
/// The annotation that holds an image's name in the layout.
const NAME: &str = "org.opencontainers.image.ref.name";
/// Media type of an OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// One image.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of its config: what people call the image ID.
    pub id: Digest,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// Its names.
    pub references: Vec<Reference>,
    /// Its config.
    pub config: ImageConfiguration,
    /// Its layers' blobs, lowest first.
    pub layers: Vec<Digest>,
    /// Bytes of config and layers as stored.
    pub size: u64,
}

impl Image {
    /// The chain IDs of its layers, lowest first (image-spec config.md, "Layer ChainID").
    pub fn chain(&self) -> Result<Vec<Digest>> {
        let mut chain: Vec<Digest> = Vec::new();
        for diff in self.config.rootfs().diff_ids() {
            let diff: Digest = diff.parse()?;
            chain.push(match chain.last() {
                Some(parent) => Digest::of(format!("{parent} {diff}").as_bytes()),
                None => diff,
            });
        }
        Ok(chain)
    }

    /// The digests of its layers' uncompressed archives, lowest first.
    pub fn diffs(&self) -> Result<Vec<Digest>> {
        self.config.rootfs().diff_ids().iter().map(|text| text.parse()).collect()
    }
}

/// The images of one data root.
#[derive(Debug)]
pub struct ImageStore {
    paths: Paths,
}

impl ImageStore {
    /// Opens the store, making it where missing.
    pub fn open(paths: &Paths) -> Result<Self> {
        for folder in [paths.data.clone(), paths.blobs().join("sha256"), paths.temporary()] {
            private_dir(&folder)?;
        }
        let store = Self { paths: paths.clone() };
        let layout = paths.images().join("oci-layout");
        if !layout.exists() {
            let _lock = Lock::exclusive(&paths.lock())?;
            durable::write(&layout, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        Ok(store)
    }

    /// Whether a blob is there.
    pub fn has(&self, digest: &Digest) -> bool {
        self.paths.blob(digest).is_file()
    }

    /// Opens a blob.
    pub fn blob(&self, digest: &Digest) -> Result<File> {
        File::open(self.paths.blob(digest)).with_context(|| format!("open blob {digest}"))
    }

    /// Stores a stream as blob if its bytes have the digest and, where known, the size that was promised.
    pub fn put(&self, bytes: impl Read, digest: &Digest, size: Option<u64>) -> Result<()> {
        let name = format!("blob-{}-{}", std::process::id(), digest.hex());
        let temporary = self.paths.temporary().join(name);
        let stored = self.write_checked(bytes, digest, size, &temporary);
        if stored.is_err() {
            fs::remove_file(&temporary).ok(); // the error at hand says more than that of its removal
        }
        stored.with_context(|| format!("store blob {digest}"))
    }

    fn write_checked(
        &self,
        bytes: impl Read,
        digest: &Digest,
        size: Option<u64>,
        temporary: &std::path::Path,
    ) -> Result<()> {
        let mut file = File::create(temporary).context("create temporary file")?;
        let mut hasher = digest.hasher();
        // One byte more than promised is enough to know.
        let mut bytes = bytes.take(size.map_or(u64::MAX, |size| size.saturating_add(1)));
        let (mut buffer, mut length) = (vec![0; 64 << 10], 0u64);
        loop {
            let read = match bytes.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            hasher.update(&buffer[..read]);
            file.write_all(&buffer[..read]).context("write")?;
            length += read as u64;
        }
        if let Some(size) = size.filter(|size| *size != length) {
            let message = format!("size mismatch: {size} bytes promised, {length} came");
            return Err(Error::new(Kind::Integrity, message));
        }
        let found = hasher.finish();
        if found != *digest {
            return Err(Error::new(Kind::Integrity, format!("digest mismatch: the bytes have {found}")));
        }
        file.sync_all().context("sync")?;
        fs::rename(temporary, self.paths.blob(digest)).context("name")
    }

    /// Reads a manifest or config, whole.
    pub fn document(&self, digest: &Digest) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.blob(digest)?.take(DOCUMENT_LIMIT).read_to_end(&mut bytes);
        read.with_context(|| format!("read blob {digest}"))?;
        Ok(bytes)
    }

    /// The image whose manifest is stored under `manifest`.
    pub fn image(&self, manifest: &Digest, references: Vec<Reference>) -> Result<Image> {
        let what = || format!("read image {}", manifest.short());
        let invalid = |error: oci_spec::OciSpecError| Error::new(Kind::Integrity, error.to_string());
        let parsed =
            ImageManifest::from_reader(&*self.document(manifest)?).map_err(invalid).with_context(what)?;
        let id: Digest = parsed.config().digest().to_string().parse()?;
        let config =
            ImageConfiguration::from_reader(&*self.document(&id)?).map_err(invalid).with_context(what)?;
        let layers: Vec<Digest> =
            parsed.layers().iter().map(|layer| layer.digest().to_string().parse()).collect::<Result<_>>()?;
        if layers.len() != config.rootfs().diff_ids().len() {
            return Err(Error::new(Kind::Integrity, "manifest and config differ in their number of layers"))
                .with_context(what);
        }
        let size = parsed.config().size() + parsed.layers().iter().map(|layer| layer.size()).sum::<u64>();
        Ok(Image { id, manifest: manifest.clone(), references, config, layers, size })
    }

    /// All images, each once, with all its names.
    pub fn list(&self) -> Result<Vec<Image>> {
        let mut images: Vec<Image> = Vec::new();
        for (manifest, reference) in self.entries()? {
            match images.iter_mut().find(|image| image.manifest == manifest) {
                Some(image) => image.references.extend(reference),
                None => images.push(self.image(&manifest, reference.into_iter().collect())?),
            }
        }
        Ok(images)
    }

    /// The image that `query` names: by reference, ID, or the unique beginning of an ID.
    pub fn find(&self, query: &str) -> Result<Image> {
        let missing = || Error::new(Kind::NotFound, format!("No such image: {query}"));
        let images = self.list()?;
        if let Ok(reference) = query.parse::<Reference>() {
            let stored = reference.stored();
            let by_digest = |image: &&Image| reference.digest() == Some(&image.manifest);
            let named = images.iter().find(|image| image.references.contains(&stored));
            if let Some(image) = named.or_else(|| images.iter().find(by_digest)) {
                return Ok(image.clone());
            }
        }
        let prefix = query.strip_prefix("sha256:").unwrap_or(query);
        let mut found =
            images.iter().filter(|image| !prefix.is_empty() && image.id.hex().starts_with(prefix));
        match (found.next(), found.next()) {
            (Some(image), None) => Ok(image.clone()),
            (Some(_), Some(_)) => {
                Err(Error::new(Kind::InvalidInput, format!("several images begin with {query}")))
            }
            _ => Err(missing()),
        }
    }

    /// Gives a stored manifest a name, which another image may lose by it; or just keeps it, without one.
    pub fn tag(&self, manifest: &Digest, reference: Option<&Reference>) -> Result<()> {
        self.change(|entries| {
            entries.retain(|(digest, name)| {
                let same_name = name.is_some() && name.as_ref() == reference;
                let nameless = digest == manifest && name.is_none();
                !same_name && !nameless
            });
            if reference.is_some() || entries.iter().all(|(digest, _)| digest != manifest) {
                entries.push((manifest.clone(), reference.cloned()));
            }
        })
    }

    /// Takes one name off.
    pub fn untag(&self, reference: &Reference) -> Result<()> {
        self.change(|entries| entries.retain(|(_, name)| name.as_ref() != Some(reference)))
    }

    /// Takes an image off the list, with all its names.
    pub fn forget(&self, manifest: &Digest) -> Result<()> {
        self.change(|entries| entries.retain(|(digest, _)| digest != manifest))
    }

    /// Removes blobs and layers that no listed image and no container needs.
    pub fn sweep(&self) -> Result<()> {
        let snapshots = Snapshots::open(&self.paths)?;
        let _lock = Lock::exclusive(&self.paths.lock())?;
        let mut blobs = Vec::new();
        let mut layers = snapshots.used_layers()?;
        for image in self.list()? {
            layers.extend(image.chain()?);
            blobs.extend(image.layers.iter().cloned().chain([image.id.clone(), image.manifest.clone()]));
        }
        let sha256 = self.paths.blobs().join("sha256");
        for entry in fs::read_dir(&sha256).context("read blobs")? {
            let name = entry.context("read blobs")?.file_name();
            let digest = Digest::from_path_parts("sha256", &name.to_string_lossy());
            if digest.is_none_or(|digest| !blobs.contains(&digest)) {
                fs::remove_file(sha256.join(&name))
                    .with_context(|| format!("remove blob {}", name.to_string_lossy()))?;
            }
        }
        snapshots.sweep(&layers)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<(Digest, Option<Reference>)>)) -> Result<()> {
        let _lock = Lock::exclusive(&self.paths.lock())?;
        let mut entries = self.entries()?;
        change(&mut entries);
        let manifests: Vec<Value> = entries
            .iter()
            .map(|(digest, name)| {
                let size = fs::metadata(self.paths.blob(digest)).map(|meta| meta.len()).unwrap_or_default();
                let mut entry = json!({"mediaType": MANIFEST, "digest": digest.to_string(), "size": size});
                if let Some(name) = name {
                    entry["annotations"] = json!({NAME: name.to_string()});
                }
                entry
            })
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});
        durable::write(&self.paths.index(), index.to_string().as_bytes())
    }

    fn entries(&self) -> Result<Vec<(Digest, Option<Reference>)>> {
        let Some(bytes) = durable::read(&self.paths.index())? else { return Ok(Vec::new()) };
        let index: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Error::new(Kind::System, error.to_string()))
            .with_context(|| format!("parse {}", self.paths.index().display()))?;
        let mut entries = Vec::new();
        for entry in index["manifests"].as_array().into_iter().flatten() {
            let digest = entry["digest"].as_str().unwrap_or_default().parse()?;
            let name = entry["annotations"][NAME].as_str().map(str::parse).transpose()?;
            entries.push((digest, name));
        }
        Ok(entries)
    }
}
