//! `images`: what there is.

use crate::error::Result;
use crate::image::Image;
use crate::image::store::ImageStore;
use crate::paths::Paths;

/// All images, newest first.
pub fn images(paths: &Paths) -> Result<Vec<Image>> {
    ImageStore::open(paths)?.list()
}
