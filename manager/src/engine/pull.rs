//! `pull`: resolve a reference to a manifest for this machine, fetch what is missing, verify, unpack, name.

use std::io::Read;

use serde_json::Value;

use crate::error::{Context, Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::platform;
use crate::image::reference::Reference;
use crate::image::registry::Registry;
use crate::image::store::{Image, ImageStore};
use crate::image::unpack::unpack;
use crate::paths::Paths;
use crate::progress::Progress;

/// How often a broken transfer is begun again.
const TRIES: usize = 3;

/// Pulls an image. On an error the store has no image more, and no bytes under a digest that is not theirs.
pub fn pull(paths: &Paths, reference: &Reference, progress: &dyn Progress) -> Result<Image> {
    pull_all(paths, reference, progress).with_context(|| format!("pull {}", reference.familiar()))
}

fn pull_all(paths: &Paths, reference: &Reference, progress: &dyn Progress) -> Result<Image> {
    let store = ImageStore::open(paths)?;
    let registry = Registry::of(reference);
    let (bytes, digest) = registry.manifest(&reference.wanted())?;
    let (bytes, digest) = match platform::choose(&parse(&bytes)?)? {
        Some(entry) => registry.manifest(&digest_in(&entry)?.to_string())?,
        None => (bytes, digest),
    };
    let manifest = parse(&bytes)?;
    store.put(&*bytes, &digest, None)?;
    fetch(&store, &registry, &manifest["config"], progress)?;
    for layer in manifest["layers"].as_array().into_iter().flatten() {
        fetch(&store, &registry, layer, progress)?;
    }
    let image = store.image(&digest, vec![reference.stored()])?;
    unpack(paths, &image, progress)?;
    store.tag(&digest, Some(&reference.stored()))?;
    Ok(image)
}

fn parse(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::new(Kind::Integrity, e.to_string()))
        .context("parse manifest")
}

fn digest_in(descriptor: &Value) -> Result<Digest> {
    descriptor["digest"].as_str().unwrap_or_default().parse()
}

fn fetch(store: &ImageStore, registry: &Registry, descriptor: &Value, progress: &dyn Progress) -> Result<()> {
    let digest = digest_in(descriptor)?;
    let size = descriptor["size"].as_u64();
    if store.has(&digest) {
        progress.note(digest.short(), "Already exists");
        return Ok(());
    }
    progress.note(digest.short(), "Downloading");
    let mut tries = 0;
    loop {
        tries += 1;
        let stream = registry.blob(&digest)?;
        let watched =
            Watched { inner: stream, done: 0, name: digest.short(), total: size.unwrap_or(0), progress };
        match store.put(watched, &digest, size) {
            Ok(()) => break,
            // Wrong bytes stay wrong; a broken connection is worth another try.
            Err(error) if error.kind() == Kind::Integrity || tries == TRIES => return Err(error),
            Err(_) => {}
        }
    }
    progress.note(digest.short(), "Download complete");
    Ok(())
}

/// Tells how far a transfer is.
struct Watched<'a, R> {
    inner: R,
    done: u64,
    name: &'a str,
    total: u64,
    progress: &'a dyn Progress,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.done += length as u64;
        self.progress.bytes(self.name, self.done, self.total);
        Ok(length)
    }
}

/// The stored image that `query` names, or else the one that a registry has under that name.
pub fn obtain(paths: &Paths, query: &str, progress: &dyn Progress) -> Result<Image> {
    match ImageStore::open(paths)?.find(query) {
        Ok(image) => unpack(paths, &image, progress).map(|()| image),
        Err(error) if error.kind() == Kind::NotFound => {
            let reference = query.parse().with_context(|| format!("read image name {query:?}"))?;
            pull(paths, &reference, progress)
        }
        Err(error) => Err(error),
    }
}
