//! Images: what they are called (`reference`), what they are made of (`digest`, `manifest`,
//! `platform`), where they come from (`registry` with `auth` and `transport`, `archive`), where
//! they wait (`staging`) and where they are kept (`store`). Everything that a registry or an
//! archive says is hostile until its digest has been checked, and stays so in its meaning.

pub mod archive;
pub mod auth;
pub mod compression;
pub mod digest;
pub mod manifest;
pub mod platform;
pub mod reference;
pub mod registry;
pub mod staging;
pub mod store;
pub mod transport;

use oci_spec::image::ImageConfiguration;

use crate::error::{Context, Error, Kind, Result};
use digest::Digest;
use manifest::Descriptor;
use platform::Platform;
use reference::Reference;

/// An image in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// The digest of its config: what users call the image's id.
    pub id: Digest,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The digest under which its source knows it: the manifest's, or that of the index it was in.
    pub source: Digest,
    /// Its names.
    pub references: Vec<Reference>,
    /// Its config.
    pub config: ImageConfiguration,
    /// Its layers' blobs, lowest first.
    pub layers: Vec<Descriptor>,
    /// Bytes of the unpacked layers.
    pub size: u64,
}

impl Image {
    /// Whether a reference means this image: by a name it has, or by the digest of one.
    pub fn is_called(&self, reference: &Reference) -> bool {
        let stored = reference.stored();
        let same_name = |known: &&Reference| known.familiar_name() == stored.familiar_name();
        self.references.contains(&stored)
            || stored.digest().is_some_and(|digest| {
                self.references.iter().any(|known| same_name(&known))
                    && [&self.manifest, &self.source].contains(&digest)
            })
    }

    /// The chain IDs of its layers, lowest first.
    pub fn chain(&self) -> Result<Vec<Digest>> {
        Ok(chain(&diff_ids(&self.config)?))
    }

    /// What it was built for.
    pub fn platform(&self) -> Platform {
        platform_of(&self.config)
    }
}

/// What a config was built for.
pub fn platform_of(config: &ImageConfiguration) -> Platform {
    Platform {
        os: config.os().to_string(),
        architecture: config.architecture().to_string(),
        variant: config.variant().clone(),
    }
}

/// Parses an image config.
pub fn parse_config(bytes: &[u8]) -> Result<ImageConfiguration> {
    serde_json::from_slice(bytes).context("parse image config")
}

/// The digests of an image's layers, uncompressed, lowest first.
pub fn diff_ids(config: &ImageConfiguration) -> Result<Vec<Digest>> {
    if config.rootfs().typ() != "layers" {
        return Err(Error::new(Kind::Integrity, "its root file system is not made of layers"));
    }
    config.rootfs().diff_ids().iter().map(|text| text.parse()).collect()
}

/// The names of layers together with all below them. Source: image-spec config.md, "Layer ChainID".
pub fn chain(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::new();
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}
