//! `load`: images out of an archive that `docker save` or skopeo wrote (docker-archive, oci-archive).
//!
//! The archive is taken as a map from names to bytes: each member goes into an unnamed temporary file, links
//! are looked up in the map, and nothing that is written in it is ever a path on the host.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use serde_json::{Value, json};

use super::digest::Digest;
use super::reference::Reference;
use super::store::{DOCUMENT_LIMIT, Image, ImageStore, MANIFEST};
use super::unpack::decompress;
use crate::error::{Context, Error, Kind, Result};
use crate::paths::Paths;
use crate::snapshot::tar::{Archive, EntryKind};

/// The members by their plain names.
struct Members {
    files: HashMap<String, File>,
    links: HashMap<String, String>,
}

/// Stores all images of an archive and returns them.
pub fn load(paths: &Paths, archive: impl Read + 'static) -> Result<Vec<Image>> {
    let store = ImageStore::open(paths)?;
    let mut members = read_members(paths, decompress(archive)?)?;
    let found = if members.files.contains_key("manifest.json") {
        load_docker(&store, &mut members)?
    } else if members.files.contains_key("index.json") {
        load_oci(&store, &mut members)?
    } else {
        return Err(Error::new(
            Kind::InvalidInput,
            "neither a docker-archive (manifest.json) nor an oci-archive (index.json)",
        ));
    };
    let mut images = Vec::new();
    for (manifest, names) in found {
        let image = store.image(&manifest, names.clone())?;
        if names.is_empty() {
            store.tag(&manifest, None)?;
        }
        for name in &names {
            store.tag(&manifest, Some(name))?;
        }
        images.push(image);
    }
    Ok(images)
}

fn read_members(paths: &Paths, reader: impl Read) -> Result<Members> {
    let mut members = Members { files: HashMap::new(), links: HashMap::new() };
    let mut archive = Archive::new(reader);
    while let Some(entry) = archive.next_entry().context("read archive")? {
        let name = plain(&String::from_utf8_lossy(&entry.path));
        match entry.kind {
            EntryKind::File => {
                let mut file = unnamed(paths)?;
                std::io::copy(&mut archive, &mut file)
                    .with_context(|| format!("read {name} in the archive"))?;
                members.files.insert(name, file);
            }
            EntryKind::Symlink | EntryKind::HardLink => {
                let target = String::from_utf8_lossy(&entry.link).into_owned();
                let folder =
                    name.rsplit_once('/').map(|(folder, _)| format!("{folder}/")).unwrap_or_default();
                let relative = entry.kind == EntryKind::Symlink && !target.starts_with('/');
                let target = if relative { format!("{folder}{target}") } else { target };
                members.links.insert(name, plain(&target));
            }
            _ => {}
        }
    }
    Ok(members)
}

/// A file without a name: gone with its descriptor, whatever happens to us.
fn unnamed(paths: &Paths) -> Result<File> {
    use rustix::fs::{CWD, Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, paths.temporary(), flags, Mode::RUSR | Mode::WUSR);
    Ok(file.context("create temporary file")?.into())
}

/// A name without `.`, `..` and doubled slashes: names are compared, never resolved.
fn plain(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

impl Members {
    fn open(&mut self, name: &str) -> Result<&mut File> {
        let mut name = plain(name);
        for _ in 0..8 {
            match self.links.get(&name) {
                Some(target) => name.clone_from(target),
                None => break,
            }
        }
        let missing = || Error::new(Kind::InvalidInput, format!("the archive has no {name}"));
        let file = self.files.get_mut(&name).ok_or_else(missing)?;
        file.seek(SeekFrom::Start(0)).context("rewind")?;
        Ok(file)
    }

    fn document(&mut self, name: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(name)?
            .take(DOCUMENT_LIMIT + 1)
            .read_to_end(&mut bytes)
            .with_context(|| format!("read {name}"))?;
        if bytes.len() as u64 > DOCUMENT_LIMIT {
            return Err(Error::new(Kind::InvalidInput, format!("{name} is longer than 4 MiB")));
        }
        Ok(bytes)
    }

    fn json(&mut self, name: &str) -> Result<Value> {
        let bytes = self.document(name)?;
        serde_json::from_slice(&bytes)
            .map_err(|e| Error::new(Kind::InvalidInput, e.to_string()))
            .with_context(|| format!("parse {name}"))
    }
}

type Found = Vec<(Digest, Vec<Reference>)>;

/// docker-archive: manifest.json names a config and layers for each image; a manifest is made for it.
fn load_docker(store: &ImageStore, members: &mut Members) -> Result<Found> {
    let list = members.json("manifest.json")?;
    let mut found = Vec::new();
    for entry in list.as_array().into_iter().flatten() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let config = members.document(&text(&entry["Config"]))?;
        let id = Digest::of(&config);
        store.put(&*config, &id, None)?;
        let mut layers = Vec::new();
        for layer in entry["Layers"].as_array().into_iter().flatten() {
            let file = members.open(&text(layer))?;
            let (digest, size) = digest_of(file)?;
            file.seek(SeekFrom::Start(0)).context("rewind")?;
            store.put(file, &digest, Some(size))?;
            layers.push(json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest.to_string(), "size": size}));
        }
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": layers,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": id.to_string(), "size": config.len()},
        });
        let manifest = manifest.to_string();
        let digest = Digest::of(manifest.as_bytes());
        store.put(manifest.as_bytes(), &digest, None)?;
        let tags = entry["RepoTags"].as_array().into_iter().flatten();
        found.push((digest, tags.map(|tag| text(tag).parse()).collect::<Result<_>>()?));
    }
    Ok(found)
}

fn digest_of(file: &mut File) -> Result<(Digest, u64)> {
    let mut hasher = Digest::of(b"").hasher();
    let (mut buffer, mut size) = (vec![0; 64 << 10], 0);
    loop {
        let read = file.read(&mut buffer).context("read layer")?;
        if read == 0 {
            return Ok((hasher.finish(), size));
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
}

/// oci-archive: an OCI image layout in a tar.
fn load_oci(store: &ImageStore, members: &mut Members) -> Result<Found> {
    let index = members.json("index.json")?;
    let mut found = Vec::new();
    for entry in index["manifests"].as_array().into_iter().flatten() {
        let digest = copy_blob(store, members, entry)?;
        let document: Value = serde_json::from_slice(&store.document(&digest)?)
            .map_err(|e| Error::new(Kind::InvalidInput, e.to_string()))
            .context("parse manifest")?;
        let platform = super::platform::choose(&document)?;
        let (digest, document) = match platform {
            Some(chosen) => {
                let digest = copy_blob(store, members, &chosen)?;
                let document = serde_json::from_slice(&store.document(&digest)?)
                    .map_err(|e| Error::new(Kind::InvalidInput, e.to_string()))?;
                (digest, document)
            }
            None => (digest, document),
        };
        copy_blob(store, members, &document["config"])?;
        for layer in document["layers"].as_array().into_iter().flatten() {
            copy_blob(store, members, layer)?;
        }
        let annotations = &entry["annotations"];
        let name = annotations["io.containerd.image.name"]
            .as_str()
            .or(annotations["org.opencontainers.image.ref.name"].as_str());
        found.push((digest, name.map(str::parse).transpose()?.into_iter().collect()));
    }
    Ok(found)
}

fn copy_blob(store: &ImageStore, members: &mut Members, descriptor: &Value) -> Result<Digest> {
    let digest: Digest = descriptor["digest"].as_str().unwrap_or_default().parse()?;
    if !store.has(&digest) {
        let name = format!("blobs/{}", digest.path().display());
        store.put(members.open(&name)?, &digest, descriptor["size"].as_u64())?;
    }
    Ok(digest)
}
