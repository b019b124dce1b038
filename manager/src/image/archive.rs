//! Archives of images, as `docker save`, `podman save` and `skopeo` write them: docker-archive with
//! a manifest.json, oci-archive with an index.json, or both in one. An archive is read once, front
//! to back, into numbered files; its names and links are entries in a map here and never paths on
//! this machine.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::compression::Decoder;
use super::digest::{Algorithm, Digest, Hasher};
use super::manifest::{self, DOCUMENT_LIMIT, Descriptor, Document, Manifest, OCI_CONFIG, OCI_MANIFEST};
use super::platform::{self, Platform};
use super::reference::Reference;
use super::staging::Staging;
use crate::error::{Context, Error, Kind, Result};
use crate::tar::{self, EntryKind};

/// More members than any archive of images has.
const MEMBERS: usize = 100_000;
/// Links in a row.
const LINKS: usize = 8;
/// Indexes within indexes.
const NESTING: usize = 4;

/// One file of an archive.
#[derive(Debug, Clone)]
struct Member {
    file: PathBuf,
    size: u64,
    digest: Digest,
}

/// An archive that has been read into a staging folder.
#[derive(Debug)]
pub struct ImageArchive<'a> {
    staging: &'a Staging,
    members: BTreeMap<String, Member>,
    links: BTreeMap<String, String>,
}

/// One image of an archive, with its blobs not yet staged.
#[derive(Debug, Clone)]
pub struct Packed {
    /// Names the manifest.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: Manifest,
    /// The config's bytes.
    pub config: Vec<u8>,
    /// The names that the archive gives it.
    pub references: Vec<Reference>,
    manifest_bytes: Vec<u8>,
    /// The members with the layers.
    layers: Vec<Member>,
}

/// An image in manifest.json.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// index.json, as far as it is read.
#[derive(Deserialize)]
struct TopIndex {
    manifests: Vec<Descriptor>,
}

impl<'a> ImageArchive<'a> {
    /// Reads an archive, compressed or not. No member may be larger than `limit`.
    pub fn read(reader: impl Read, staging: &'a Staging, limit: u64) -> Result<Self> {
        let mut archive = Self { staging, members: BTreeMap::new(), links: BTreeMap::new() };
        let mut tar = tar::Archive::new(Decoder::new(reader)?);
        while let Some(entry) = tar.next_entry()? {
            let Ok(name) = std::str::from_utf8(&entry.path) else { continue };
            let name = clean(name, "");
            if archive.members.len() + archive.links.len() >= MEMBERS {
                return Err(tar::malformed(&format!("more than {MEMBERS} entries")));
            }
            match entry.kind {
                EntryKind::File if entry.size > limit => {
                    return Err(tar::malformed(&format!("{name} is larger than the limit for one layer")));
                }
                EntryKind::File => {
                    let file = format!("member-{}", archive.members.len());
                    let mut writer = staging.writer(&file, Hasher::new(Algorithm::Sha256))?;
                    let size = io::copy(&mut tar, &mut writer).with_context(|| format!("read {name}"))?;
                    let (digest, file) = writer.close()?;
                    archive.members.insert(name, Member { file, size, digest });
                }
                EntryKind::Symlink | EntryKind::HardLink => {
                    let target = std::str::from_utf8(&entry.link)?;
                    let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
                    let base = if entry.kind == EntryKind::Symlink { parent } else { "" };
                    let target = clean(target, base);
                    archive.links.insert(name, target);
                }
                _ => {}
            }
        }
        Ok(archive)
    }

    /// The images in it for this platform.
    pub fn images(&self, platform: &Platform) -> Result<Vec<Packed>> {
        if self.get("manifest.json").is_ok() {
            let saved: Vec<Saved> = self.document("manifest.json")?;
            return saved.iter().map(|saved| self.saved_image(saved)).collect();
        }
        if self.get("index.json").is_ok() {
            return self.layout_images(platform);
        }
        Err(Error::new(
            Kind::InvalidInput,
            "it holds neither manifest.json nor index.json: no archive of images",
        ))
    }

    /// An image of a docker-archive, which has no manifest of its own.
    fn saved_image(&self, saved: &Saved) -> Result<Packed> {
        let config = self.bytes(self.get(&saved.config)?)?;
        let mut layers = Vec::new();
        let mut members = Vec::new();
        for name in &saved.layers {
            let member = self.get(name)?;
            let media_type = Decoder::new(File::open(&member.file)?)?.media_type().to_owned();
            layers.push(Descriptor {
                digest: member.digest.clone(),
                size: member.size,
                ..Descriptor::of(&media_type, b"")
            });
            members.push(member.clone());
        }
        let config_descriptor = Descriptor::of(OCI_CONFIG, &config);
        let media_type = OCI_MANIFEST.to_owned();
        let manifest = Manifest { schema_version: 2, media_type, config: config_descriptor, layers };
        let manifest_bytes = serde_json::to_vec(&manifest).context("encode manifest")?;
        let names = saved.repo_tags.iter().flatten();
        Ok(Packed {
            descriptor: Descriptor::of(OCI_MANIFEST, &manifest_bytes),
            manifest,
            config,
            references: names.map(|name| name.parse()).collect::<Result<_>>()?,
            manifest_bytes,
            layers: members,
        })
    }

    fn layout_images(&self, platform: &Platform) -> Result<Vec<Packed>> {
        let index: TopIndex = self.document("index.json")?;
        let suits = |descriptor: &&Descriptor| {
            descriptor.platform.as_ref().is_none_or(|other| platform.accepts(other))
        };
        let chosen: Vec<&Descriptor> = index.manifests.iter().filter(suits).collect();
        if chosen.is_empty() {
            // For its error, which says what there is.
            platform::choose(&index.manifests, platform)?;
        }
        chosen.into_iter().map(|descriptor| self.layout_image(descriptor, platform)).collect()
    }

    /// An image of an oci-archive.
    fn layout_image(&self, named: &Descriptor, platform: &Platform) -> Result<Packed> {
        let mut descriptor = named.clone();
        for _ in 0..NESTING {
            let manifest_bytes = self.bytes(&self.blob(&descriptor)?)?;
            match manifest::parse(&manifest_bytes, Some(&descriptor.media_type))? {
                Document::Index(index) => descriptor = platform::choose(&index.manifests, platform)?.clone(),
                Document::Manifest(manifest) => {
                    let config = self.bytes(&self.blob(&manifest.config)?)?;
                    let layers =
                        manifest.layers.iter().map(|layer| self.blob(layer)).collect::<Result<_>>()?;
                    let references = name_of(named).into_iter().collect();
                    return Ok(Packed { descriptor, manifest, config, references, manifest_bytes, layers });
                }
            }
        }
        Err(Error::new(Kind::Integrity, "an index within too many others"))
    }

    /// Stages all blobs of an image.
    pub fn stage(&self, packed: &Packed) -> Result<()> {
        self.staging.write(&packed.descriptor.media_type, &packed.manifest_bytes)?;
        self.staging.write(&packed.manifest.config.media_type, &packed.config)?;
        for (layer, member) in packed.manifest.layers.iter().zip(&packed.layers) {
            match fs::hard_link(&member.file, self.staging.blob(&layer.digest)) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| format!("stage layer {}", layer.digest));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A member by name, through links.
    fn get(&self, name: &str) -> Result<&Member> {
        let mut here = clean(name, "");
        for _ in 0..LINKS {
            match (self.members.get(&here), self.links.get(&here)) {
                (Some(member), _) => return Ok(member),
                (None, Some(target)) => here.clone_from(target),
                (None, None) => break,
            }
        }
        Err(Error::new(Kind::Integrity, format!("{name:?} is not in the archive")))
    }

    /// The member that a descriptor names, if it is what the descriptor says.
    fn blob(&self, descriptor: &Descriptor) -> Result<Member> {
        let digest = &descriptor.digest;
        let member = self.get(&format!("blobs/{}", digest.path().display()))?;
        let mut hasher = digest.hasher();
        if member.size == descriptor.size && member.digest != *digest {
            io::copy(&mut File::open(&member.file)?, &mut hasher).context("read a blob")?;
        }
        if member.size != descriptor.size || (member.digest != *digest && hasher.finish() != *digest) {
            return Err(Error::new(Kind::Integrity, format!("blob {digest} is not what its name says")));
        }
        Ok(member.clone())
    }

    fn bytes(&self, member: &Member) -> Result<Vec<u8>> {
        if member.size > DOCUMENT_LIMIT {
            return Err(Error::new(Kind::Integrity, "a document is larger than 4 MiB"));
        }
        fs::read(&member.file).context("read a document")
    }

    fn document<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let bytes = self.get(name).and_then(|member| self.bytes(member))?;
        serde_json::from_slice(&bytes).with_context(|| format!("parse {name}"))
    }
}

/// The name in a layout's annotations. A bare word may be a tag without a name, so it is none.
fn name_of(descriptor: &Descriptor) -> Option<Reference> {
    let annotation = |key: &str| descriptor.annotations.get(key);
    let whole = annotation("io.containerd.image.name").and_then(|name| name.parse().ok());
    whole.or_else(|| {
        let name = annotation("org.opencontainers.image.ref.name")?;
        name.contains([':', '/']).then(|| name.parse().ok())?
    })
}

/// A name in the archive, from a folder in it; `..` does not leave it.
fn clean(name: &str, base: &str) -> String {
    let mut parts: Vec<&str> = if name.starts_with('/') { Vec::new() } else { base.split('/').collect() };
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join("/")
}
