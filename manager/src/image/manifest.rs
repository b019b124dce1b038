//! Manifests and indexes, in OCI's and in Docker's words. Only what is used is read; what could be
//! read in two ways is refused: a document that is both manifest and index (CVE-2021-41190), or
//! that calls itself another thing than its sender does. Source: image-spec manifest.md.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::platform::Platform;
use crate::error::{Context, Error, Kind, Result};

/// The largest manifest, index or config that is read, in bytes.
pub const DOCUMENT_LIMIT: u64 = 4 << 20;
/// The most layers: what overlayfs stacks (OVL_MAX_STACK).
const LAYERS: usize = 500;

/// OCI's manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI's index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI's image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker's manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's index.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// The types of layers that are tar archives. Those that are not to be redistributed are fetched
/// from the registry like all others: the addresses in their descriptors are not followed.
const LAYER_TYPES: [&str; 9] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

/// Names content: its type, digest and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Remarks; ours are in the store's own index only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What it is for, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// Names some bytes.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
            platform: None,
        }
    }
}

/// An image: its config and its layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// OCI's or Docker's.
    pub media_type: String,
    /// The image config.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
}

/// The images for several platforms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// OCI's or Docker's.
    pub media_type: String,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
}

/// What a registry answers when asked for a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several.
    Index(Index),
}

/// All that tells the kinds of documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Any {
    #[serde(default)]
    schema_version: u32,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<IgnoredAny>,
}

/// Parses a document; `sent_as` is the type that its sender gave it.
pub fn parse(bytes: &[u8], sent_as: Option<&str>) -> Result<Document> {
    let any: Any = serde_json::from_slice(bytes).context("parse manifest")?;
    if any.fs_layers.is_some() || any.schema_version == 1 {
        return Err(invalid("a manifest of Docker's first schema, which no registry should send any more"));
    }
    if any.schema_version != 2 {
        return Err(invalid(&format!("schema version {}", any.schema_version)));
    }
    let sent_as = sent_as.map(|text| text.split(';').next().unwrap_or_default().trim());
    if let (Some(own), Some(sent_as)) = (&any.media_type, sent_as)
        && own != sent_as
    {
        return Err(invalid(&format!("it calls itself {own} and was sent as {sent_as}")));
    }
    let media_type = any.media_type.as_deref().or(sent_as);
    match (any.manifests, any.config, any.layers) {
        (Some(manifests), None, None) => {
            let media_type = expect(media_type, [OCI_INDEX, DOCKER_LIST])?;
            Ok(Document::Index(Index { schema_version: 2, media_type, manifests }))
        }
        (None, Some(config), Some(layers)) => {
            let media_type = expect(media_type, [OCI_MANIFEST, DOCKER_MANIFEST])?;
            check_parts(&config, &layers)?;
            Ok(Document::Manifest(Manifest { schema_version: 2, media_type, config, layers }))
        }
        (Some(_), ..) => Err(invalid("it is both a manifest and an index")),
        _ => Err(invalid("it is neither a manifest nor an index")),
    }
}

/// Parses what has to be one image.
pub fn parse_manifest(bytes: &[u8], sent_as: Option<&str>) -> Result<Manifest> {
    match parse(bytes, sent_as)? {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) => Err(invalid("an index where a manifest was expected")),
    }
}

fn expect(media_type: Option<&str>, known: [&str; 2]) -> Result<String> {
    match media_type {
        None => Ok(known[0].to_owned()),
        Some(media_type) if known.contains(&media_type) => Ok(media_type.to_owned()),
        Some(media_type) => Err(invalid(&format!("its type {media_type} does not fit what it holds"))),
    }
}

fn check_parts(config: &Descriptor, layers: &[Descriptor]) -> Result<()> {
    if ![OCI_CONFIG, DOCKER_CONFIG].contains(&config.media_type.as_str()) {
        return Err(invalid(&format!("it is no container image: its config is {}", config.media_type)));
    }
    if config.size > DOCUMENT_LIMIT {
        return Err(invalid("its config is larger than 4 MiB"));
    }
    if layers.len() > LAYERS {
        return Err(invalid(&format!("it has {} layers, overlayfs stacks {LAYERS}", layers.len())));
    }
    match layers.iter().find(|layer| !LAYER_TYPES.contains(&layer.media_type.as_str())) {
        Some(layer) => Err(invalid(&format!("it has a layer of unknown type {}", layer.media_type))),
        None => Ok(()),
    }
}

fn invalid(why: &str) -> Error {
    Error::new(Kind::Integrity, format!("invalid manifest: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn part(media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": Digest::of(b"x").to_string(), "size": 1, "urls": ["http://elsewhere/"]})
    }

    fn manifest(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut value = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": part(OCI_CONFIG), "layers": [part(LAYER_TYPES[1])]
        });
        change(&mut value);
        serde_json::to_vec(&value).unwrap()
    }

    #[test]
    fn manifests_and_indexes_are_told_apart() {
        let parsed = parse_manifest(
            &manifest(|_| ()),
            Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"),
        );
        assert_eq!(parsed.unwrap().layers.len(), 1);
        let index = json!({"schemaVersion": 2, "manifests": [part(OCI_MANIFEST)]}).to_string();
        assert!(matches!(parse(index.as_bytes(), Some(DOCKER_LIST)), Ok(Document::Index(_))));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let sent =
            |change: fn(&mut Value)| parse(&manifest(change), Some(OCI_MANIFEST)).unwrap_err().to_string();
        type Change = fn(&mut Value);
        let table: [(Change, &str); 9] = [
            (|m| m["manifests"] = json!([]), "it is both a manifest and an index"),
            (
                |m| m["mediaType"] = OCI_INDEX.into(),
                "it calls itself application/vnd.oci.image.index.v1+json and was",
            ),
            (|m| m["schemaVersion"] = 1.into(), "first schema"),
            (|m| m["schemaVersion"] = 3.into(), "schema version 3"),
            (|m| m["config"]["digest"] = "sha256:../../x".into(), "invalid digest"),
            (|m| m["config"]["size"] = json!(-1), "parse manifest"),
            (
                |m| m["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json".into(),
                "no container image",
            ),
            (
                |m| m["layers"][0]["mediaType"] = "application/vnd.erofs".into(),
                "unknown type application/vnd.erofs",
            ),
            (|m| m["layers"] = Value::Array(vec![part(LAYER_TYPES[0]); 501]), "it has 501 layers"),
        ];
        for (change, message) in table {
            assert!(sent(change).contains(message), "{message}: {}", sent(change));
        }
        let twice = br#"{"schemaVersion":2,"layers":[],"layers":[],"config":null}"#;
        assert!(parse(twice, None).is_err());
    }
}
