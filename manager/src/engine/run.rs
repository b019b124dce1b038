//! `run`: create and start in one.

use super::Connection;
use super::create::{CreateContainer, create};
use super::start::start;
use crate::container::store::Container;
use crate::error::Result;
use crate::image::Image;
use crate::paths::Paths;

/// Creates a container from the image and starts it. On an error nothing is left.
pub fn run(paths: &Paths, image: &Image, wish: CreateContainer) -> Result<(Container, Connection)> {
    let container = create(paths, image, wish)?;
    let connection = start(paths, &container)?;
    Ok((container, connection))
}
