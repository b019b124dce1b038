//! `load`: an archive becomes images. All of them are checked and unpacked like those from a
//! registry.

use std::io::Read;

use super::install::{Incoming, Installation};
use crate::error::{Context, Result};
use crate::image::Image;
use crate::image::archive::ImageArchive;
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::staging::Staging;
use crate::image::store::ImageStore;
use crate::paths::Paths;
use crate::progress::Progress;
use crate::snapshot::layer::Limits;

/// An image and the names that the archive gave it.
pub type Loaded = (Image, Vec<Reference>);

/// Loads the images of an archive.
pub fn load(paths: &Paths, reader: impl Read, progress: &dyn Progress) -> Result<Vec<Loaded>> {
    let store = ImageStore::open(paths)?;
    let staging = Staging::begin(paths)?;
    let limits = Limits::default();
    let archive = ImageArchive::read(reader, &staging, limits.bytes).context("read archive")?;
    let installation = Installation { paths, staging: &staging, limits, progress };
    let mut loaded = Vec::new();
    for packed in archive.images(&Platform::host()).context("read archive")? {
        archive.stage(&packed)?;
        let incoming = Incoming::new(packed.descriptor, packed.manifest, &packed.config)?;
        (0..incoming.chain.len()).try_for_each(|number| installation.unpack(&incoming, number))?;
        let image = installation.finish(&store, &incoming, &packed.references)?;
        loaded.push((image, packed.references));
    }
    Ok(loaded)
}
