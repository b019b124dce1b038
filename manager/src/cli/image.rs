//! The words for images: `pull`, `load`, `images`, `rmi`.

use std::fs::File;
use std::path::PathBuf;

use clap::Args;

use super::render;
use crate::container::time;
use crate::engine;
use crate::error::{Context, Error, Result};
use crate::image::reference::Reference;
use crate::image::store::{Image, ImageStore};
use crate::paths::Paths;
use crate::progress;

/// `wharf pull`.
#[derive(Debug, Args)]
pub struct Pull {
    /// Say nothing but the name
    #[arg(short, long)]
    quiet: bool,
    /// NAME[:TAG|@DIGEST]
    reference: String,
}

/// `wharf load`.
#[derive(Debug, Args)]
pub struct Load {
    /// Archive; standard input if absent or -
    #[arg(short, long)]
    input: Option<PathBuf>,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
}

/// `wharf images`.
#[derive(Debug, Args)]
pub struct Images {
    /// Only IDs
    #[arg(short, long)]
    quiet: bool,
    /// Whole IDs
    #[arg(long)]
    no_trunc: bool,
}

/// `wharf rmi`.
#[derive(Debug, Args)]
pub struct RemoveImages {
    /// Even if a container uses it
    #[arg(short, long)]
    force: bool,
    /// Names or IDs
    #[arg(required = true)]
    images: Vec<String>,
}

/// Pulls.
pub fn pull(paths: &Paths, words: &Pull) -> Result<i32> {
    let parsed = words.reference.parse::<Reference>();
    let reference = parsed.with_context(|| format!("read image name {:?}", words.reference))?;
    let before = ImageStore::open(paths)?.find(&words.reference).ok().map(|image| image.manifest);
    let image = engine::pull::pull(paths, &reference, &*progress::fitting(words.quiet))?;
    if !words.quiet {
        render::line(&format!("Digest: {}", image.manifest))?;
        let news =
            if before == Some(image.manifest) { "Image is up to date" } else { "Downloaded newer image" };
        render::line(&format!("Status: {news} for {}", reference.familiar()))?;
    }
    render::line(&reference.to_string())?;
    Ok(0)
}

/// Loads.
pub fn load(paths: &Paths, words: &Load) -> Result<i32> {
    let progress = progress::fitting(words.quiet);
    let images = match words.input.as_ref().filter(|path| path.as_os_str() != "-") {
        Some(path) => {
            let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
            engine::load::load(paths, file, &*progress)
        }
        None => engine::load::load(paths, std::io::stdin(), &*progress),
    }?;
    for image in images {
        if image.references.is_empty() {
            render::line(&format!("Loaded image ID: {}", image.id))?;
        }
        for name in &image.references {
            render::line(&format!("Loaded image: {}", name.familiar()))?;
        }
    }
    Ok(0)
}

/// Lists.
pub fn images(paths: &Paths, words: &Images) -> Result<i32> {
    let all = ImageStore::open(paths)?.list()?;
    let id = |image: &Image| if words.no_trunc { image.id.to_string() } else { image.id.short().to_owned() };
    if words.quiet {
        for image in &all {
            render::line(&id(image))?;
        }
        return Ok(0);
    }
    let mut rows = vec![["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"].map(str::to_owned)];
    for image in &all {
        let created =
            image.config.created().clone().map_or_else(|| "N/A".to_owned(), |when| time::ago(&when));
        let size = render::size(image.size);
        let mut push =
            |name: String, tag: String| rows.push([name, tag, id(image), created.clone(), size.clone()]);
        if image.references.is_empty() {
            push("<none>".into(), "<none>".into());
        }
        for name in &image.references {
            push(name.familiar_name(), name.tag().unwrap_or("<none>").to_owned());
        }
    }
    render::columns(&rows)?;
    Ok(0)
}

/// Removes.
pub fn remove(paths: &Paths, words: &RemoveImages) -> Result<i32> {
    let mut failed: Option<Error> = None;
    for image in &words.images {
        match engine::remove_image::remove_image(paths, image, words.force) {
            Ok(lines) => lines.iter().try_for_each(|line| render::line(line))?,
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(0), Err)
}
