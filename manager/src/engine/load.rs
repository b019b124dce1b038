//! `load`: images out of an archive.

use std::io::Read;

use crate::error::{Context, Result};
use crate::image::archive;
use crate::image::store::Image;
use crate::image::unpack::unpack;
use crate::paths::Paths;
use crate::progress::Progress;

/// Stores and unpacks all images of an archive.
pub fn load(paths: &Paths, archive: impl Read + 'static, progress: &dyn Progress) -> Result<Vec<Image>> {
    let images = archive::load(paths, archive).context("load")?;
    for image in &images {
        unpack(paths, image, progress).context("load")?;
    }
    Ok(images)
}
