//! `pull`: ask the registry what the name means, pick the platform, fetch what is missing, check
//! it, unpack it, name it. Layers are fetched three at a time and unpacked in order, the lowest as
//! soon as it is there.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use super::install::{Incoming, Installation};
use crate::error::{Context, Error, Kind, Result};
use crate::image::manifest::{self, Descriptor, Document, Manifest};
use crate::image::platform::{self, Platform};
use crate::image::reference::Reference;
use crate::image::registry::{Answer, Registry};
use crate::image::staging::Staging;
use crate::image::store::ImageStore;
use crate::image::{self, Image};
use crate::paths::Paths;
use crate::progress::{Progress, Step};
use crate::snapshot::layer::Limits;
use crate::snapshot::unpacked;

/// Layers fetched at once, as Docker does.
const PARALLEL: usize = 3;

/// How to pull.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// Another platform than this machine's.
    pub platform: Option<Platform>,
    /// What a layer may cost.
    pub limits: Limits,
}

/// Pulls an image, or finds that it is here already. On an error nothing is left.
pub fn pull(
    paths: &Paths,
    reference: &Reference,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Image> {
    pull_image(paths, reference, options, progress).with_context(|| format!("pull {}", reference.familiar()))
}

/// The image for a query: the one that is here, or else from its registry.
pub fn obtain(paths: &Paths, query: &str, options: &PullOptions, progress: &dyn Progress) -> Result<Image> {
    let fits =
        |image: &Image| options.platform.as_ref().is_none_or(|wanted| wanted.accepts(&image.platform()));
    match ImageStore::open(paths)?.find(query) {
        Ok(image) if fits(&image) => return Ok(image),
        Err(error) if error.kind() != Kind::NotFound => return Err(error),
        _ => {}
    }
    let reference: Reference = query.parse()?;
    progress.note(&format!("Unable to find image '{}' locally", reference.familiar()));
    pull(paths, &reference, options, progress)
}

fn pull_image(
    paths: &Paths,
    reference: &Reference,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Image> {
    let store = ImageStore::open(paths)?;
    let registry = Registry::new(reference)?;
    let stored = reference.stored();
    let known = store.source(&stored)?;

    let top = registry.manifest(&reference.wanted()).context("fetch manifest")?;
    let wanted = options.platform.clone().unwrap_or_else(Platform::host);
    let (descriptor, answer) = match manifest::parse(&top.bytes, top.media_type.as_deref())? {
        Document::Manifest(manifest) => (describe(&top, &manifest), Some(top.clone())),
        Document::Index(index) => (platform::choose(&index.manifests, &wanted)?.clone(), None),
    };
    if let Some((source, manifest)) = &known
        && (source, &manifest.digest) == (&top.digest, &descriptor.digest)
        && let Some(image) = whole(paths, &store, &stored)?
    {
        return Ok(image);
    }

    let staging = Staging::begin(paths)?;
    let answer = match answer {
        Some(answer) => answer,
        None => registry.manifest(&descriptor.digest.to_string()).context("fetch manifest")?,
    };
    let manifest = manifest::parse_manifest(&answer.bytes, answer.media_type.as_deref())?;
    let descriptor = describe(&answer, &manifest);
    stage_document(&staging, &descriptor, &answer.bytes)?;
    let config = fetch_config(paths, (&registry, &staging), &manifest)?;
    check_platform(&config, options, progress)?;
    let incoming = Incoming { source: top.digest, ..Incoming::new(descriptor, manifest, &config)? };

    let installation = Installation { paths, staging: &staging, limits: options.limits, progress };
    fetch_and_unpack(&installation, &registry, &incoming)?;
    installation.finish(&store, &incoming, &[stored])
}

/// The image that has this name, if none of its layers is missing.
fn whole(paths: &Paths, store: &ImageStore, stored: &Reference) -> Result<Option<Image>> {
    let image = match store.find(&stored.to_string()) {
        Ok(image) => image,
        // Gone or damaged since: then it is pulled again.
        Err(_) => return Ok(None),
    };
    let is_whole = image.chain()?.iter().all(|id| unpacked::is_there(paths, id));
    Ok(Some(image).filter(|_| is_whole))
}

fn describe(answer: &Answer, manifest: &Manifest) -> Descriptor {
    let plain = Descriptor::of(&manifest.media_type, &answer.bytes);
    Descriptor { digest: answer.digest.clone(), ..plain }
}

fn stage_document(staging: &Staging, descriptor: &Descriptor, bytes: &[u8]) -> Result<()> {
    use std::io::Write;
    let mut writer = staging.writer("manifest", descriptor.digest.hasher())?;
    writer.write_all(bytes).context("write the manifest")?;
    writer.finish(staging, descriptor)
}

fn fetch_config(
    paths: &Paths,
    (registry, staging): (&Registry, &Staging),
    manifest: &Manifest,
) -> Result<Vec<u8>> {
    let blob = &manifest.config;
    if !staging.adopt(paths, blob)? {
        let mut writer = staging.writer("config", blob.digest.hasher())?;
        registry.blob(blob, &mut writer, &|_| Ok(())).context("fetch config")?;
        writer.finish(staging, blob)?;
    }
    fs::read(staging.blob(&blob.digest)).context("read config")
}

/// What was asked for by name has to be it; what is merely unusual may run by emulation.
fn check_platform(config: &[u8], options: &PullOptions, progress: &dyn Progress) -> Result<()> {
    let built_for = image::platform_of(&image::parse_config(config)?);
    match &options.platform {
        Some(wanted) if !wanted.accepts(&built_for) => {
            Err(Error::new(Kind::NotFound, format!("the image is for {built_for}, not for {wanted}")))
        }
        None if built_for.os != "linux" => {
            Err(Error::new(Kind::NotFound, format!("the image is for {built_for}, not for Linux")))
        }
        None if !Platform::host().accepts(&built_for) => {
            progress.note(&format!("The image is for {built_for}, this machine is {}", Platform::host()));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What the fetching threads and the unpacking one tell each other.
struct Board {
    /// One result per layer, as they come.
    done: Mutex<BTreeMap<usize, Result<()>>>,
    changed: Condvar,
    next: AtomicUsize,
    stopped: AtomicBool,
}

fn fetch_and_unpack(installation: &Installation<'_>, registry: &Registry, incoming: &Incoming) -> Result<()> {
    let board = Board {
        done: Mutex::default(),
        changed: Condvar::new(),
        next: AtomicUsize::new(0),
        stopped: AtomicBool::new(false),
    };
    let layers = &incoming.manifest.layers;
    layers.iter().for_each(|layer| installation.progress.layer(layer.digest.short(), Step::Waiting));
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL.min(layers.len()) {
            scope.spawn(|| fetch_layers(installation, registry, (incoming, &board)));
        }
        let unpacked = (0..layers.len()).try_for_each(|number| {
            wait_for(&board, number)?;
            installation.unpack(incoming, number)
        });
        // After an error the others need not go on.
        board.stopped.store(true, Ordering::Relaxed);
        unpacked
    })
}

/// Takes one layer after the other until none is left.
fn fetch_layers(
    installation: &Installation<'_>,
    registry: &Registry,
    (incoming, board): (&Incoming, &Board),
) {
    let layers = &incoming.manifest.layers;
    loop {
        let number = board.next.fetch_add(1, Ordering::Relaxed);
        let Some(layer) = layers.get(number) else { return };
        let is_repeated = layers.iter().take(number).any(|earlier| earlier.digest == layer.digest);
        let result = if is_repeated { Ok(()) } else { fetch_layer(installation, registry, (layer, board)) };
        let result = result.with_context(|| format!("fetch layer {}", layer.digest));
        board.done.lock().unwrap_or_else(PoisonError::into_inner).insert(number, result);
        board.changed.notify_all();
    }
}

fn fetch_layer(
    installation: &Installation<'_>,
    registry: &Registry,
    (layer, board): (&Descriptor, &Board),
) -> Result<()> {
    let (staging, progress, name) = (installation.staging, installation.progress, layer.digest.short());
    if staging.adopt(installation.paths, layer)? {
        return Ok(());
    }
    let mut writer = staging.writer(layer.digest.hex(), layer.digest.hasher())?;
    let tell = |done| {
        progress.layer(name, Step::Downloading(done, layer.size));
        if board.stopped.load(Ordering::Relaxed) {
            Err(Error::new(Kind::Conflict, "stopped"))
        } else {
            Ok(())
        }
    };
    registry.blob(layer, &mut writer, &tell)?;
    writer.finish(staging, layer)?;
    progress.layer(name, Step::Downloaded);
    Ok(())
}

fn wait_for(board: &Board, number: usize) -> Result<()> {
    let mut done = board.done.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(result) = done.remove(&number) {
            return result;
        }
        done = board.changed.wait(done).unwrap_or_else(PoisonError::into_inner);
    }
}
