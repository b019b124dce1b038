//! The words about images, and the pictures of them: what Docker's users type and their scripts
//! read. Results go to stdout, progress to stderr.

use std::fs::File;
use std::io::{Read, Write, stdin, stdout};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::container::time;
use crate::engine;
use crate::engine::pull::PullOptions;
use crate::error::{Context, Error, Kind, Result};
use crate::image::Image;
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::store::{ImageStore, Removed};
use crate::paths::Paths;
use crate::progress;

/// `wharf pull`
#[derive(Debug, Args)]
pub struct PullArgs {
    /// Print nothing but the image's name
    #[arg(short, long)]
    quiet: bool,
    /// Platform of the image, such as linux/arm64
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Name of the image: [REGISTRY/]REPOSITORY[:TAG][@DIGEST]
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// `wharf load`
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Read this file; standard input otherwise, or for -
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print nothing but the names of the images
    #[arg(short, long)]
    quiet: bool,
}

/// `wharf images`
#[derive(Debug, Args)]
pub struct ImagesArgs {
    /// Show all images; there are no hidden ones, the option is for Docker's users
    #[arg(short, long)]
    all: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Print ids in full
    #[arg(long)]
    no_trunc: bool,
    /// Print the digests by which registries know the images
    #[arg(long)]
    digests: bool,
    /// A table, or a JSON object per line
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Only images of this repository
    #[arg(value_name = "REPOSITORY[:TAG]")]
    filter: Option<String>,
}

/// `wharf rmi`
#[derive(Debug, Args)]
pub struct RemoveImageArgs {
    /// Take the names from images that containers use, too; no error for those that do not exist
    #[arg(short, long)]
    force: bool,
    /// Names or ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Pulls, and says what came of it.
pub fn pull(paths: &Paths, words: &PullArgs) -> Result<i32> {
    let reference: Reference = words.image.parse()?;
    let platform = words.platform.as_deref().map(str::parse::<Platform>).transpose()?;
    let before = ImageStore::open(paths)?.source(&reference.stored())?;
    let options = PullOptions { platform, ..PullOptions::default() };
    let image = engine::pull::pull(paths, &reference, &options, &*progress::choose(words.quiet))?;
    if words.quiet {
        return say(&format!("{reference}\n"));
    }
    let is_new = before.is_none_or(|(_, manifest)| manifest.digest != image.manifest);
    let status = if is_new { "Downloaded newer image for" } else { "Image is up to date for" };
    say(&format!("Digest: {}\nStatus: {status} {}\n{reference}\n", image.source, reference.familiar()))
}

/// Loads an archive, and says what was in it.
pub fn load(paths: &Paths, words: &LoadArgs) -> Result<i32> {
    let (name, reader): (String, Box<dyn Read>) = match &words.input {
        Some(path) if path.as_os_str() != "-" => {
            let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
            (path.display().to_string(), Box::new(file))
        }
        _ => ("standard input".to_owned(), Box::new(stdin().lock())),
    };
    let loaded = engine::load::load(paths, reader, &*progress::choose(words.quiet));
    let mut text = String::new();
    for (image, references) in loaded.with_context(|| format!("load {name}"))? {
        for reference in &references {
            text.extend(["Loaded image: ", &reference.familiar(), "\n"]);
        }
        if references.is_empty() {
            text.extend(["Loaded image ID: ", &image.id.to_string(), "\n"]);
        }
    }
    say(&text)
}

/// Lists images.
pub fn images(paths: &Paths, words: &ImagesArgs) -> Result<i32> {
    let filter = words.filter.as_deref().map(str::parse::<Reference>).transpose()?;
    let with_tag = words
        .filter
        .as_deref()
        .is_some_and(|text| text.rsplit('/').next().is_some_and(|end| end.contains(':')));
    let suits = |row: &Row| match (&filter, &row.reference) {
        (None, _) => true,
        (Some(filter), Some(reference)) if with_tag => filter == *reference,
        (Some(filter), Some(reference)) => filter.familiar_name() == reference.familiar_name(),
        (Some(_), None) => false,
    };
    let images = engine::images::images(paths)?;
    let rows: Vec<Row> = images.iter().flat_map(rows_of).filter(suits).collect();
    let text = match (words.quiet, words.format) {
        (true, _) => ids(&rows, words),
        (false, Format::Json) => rows.iter().map(|row| json_line(row, words)).collect(),
        (false, Format::Table) => table(&rows, words),
    };
    say(&text)
}

/// Removes images, as many as it can, and says what went.
pub fn remove(paths: &Paths, words: &RemoveImageArgs) -> Result<i32> {
    let mut failures = Vec::new();
    for query in &words.images {
        match engine::remove_image::remove_image(paths, query, words.force) {
            Ok(removed) => say(&removed.iter().map(removed_line).collect::<String>()).map(|_| ())?,
            Err(error) if words.force && error.kind() == Kind::NotFound => {}
            Err(error) => failures.push(error),
        }
    }
    let Some(first) = failures.first() else { return Ok(0) };
    let all: Vec<String> = failures.iter().map(Error::to_string).collect();
    Err(Error::new(first.kind(), all.join("\n")))
}

fn removed_line(removed: &Removed) -> String {
    match removed {
        Removed::Untagged(reference) => format!("Untagged: {}\n", reference.familiar()),
        Removed::Deleted(digest) => format!("Deleted: {digest}\n"),
    }
}

/// One line of the list: an image under one of its names.
struct Row<'a> {
    image: &'a Image,
    reference: Option<&'a Reference>,
}

impl Row<'_> {
    fn repository(&self) -> String {
        self.reference.map_or_else(|| "<none>".to_owned(), Reference::familiar_name)
    }

    fn tag(&self) -> &str {
        self.reference.and_then(Reference::tag).unwrap_or("<none>")
    }

    fn id(&self, words: &ImagesArgs) -> String {
        let id = &self.image.id;
        if words.no_trunc { id.to_string() } else { id.short().to_owned() }
    }

    fn created(&self) -> String {
        match self.image.config.created() {
            Some(created) if time::parse(created).is_some() => {
                format!("{} ago", time::human(time::since(created)))
            }
            _ => "N/A".to_owned(),
        }
    }
}

fn rows_of(image: &Image) -> Vec<Row<'_>> {
    if image.references.is_empty() {
        return vec![Row { image, reference: None }];
    }
    image.references.iter().map(|reference| Row { image, reference: Some(reference) }).collect()
}

/// Each id once.
fn ids(rows: &[Row<'_>], words: &ImagesArgs) -> String {
    let mut ids: Vec<String> = rows.iter().map(|row| row.id(words) + "\n").collect();
    ids.dedup();
    ids.concat()
}

/// With the keys of `docker images --format json`.
fn json_line(row: &Row<'_>, words: &ImagesArgs) -> String {
    let object = json!({
        "ID": row.id(words), "Repository": row.repository(), "Tag": row.tag(),
        "Digest": row.image.source.to_string(), "CreatedAt": row.image.config.created(),
        "CreatedSince": row.created(), "Size": size(row.image.size),
    });
    format!("{object}\n")
}

/// Columns as wide as their widest cell.
fn table(rows: &[Row<'_>], words: &ImagesArgs) -> String {
    let cells = |repository: &str, tag: &str, digest: &str, rest: [&str; 3]| -> Vec<String> {
        let digest = words.digests.then_some(digest);
        [repository, tag].into_iter().chain(digest).chain(rest).map(str::to_owned).collect()
    };
    let mut lines = vec![cells("REPOSITORY", "TAG", "DIGEST", ["IMAGE ID", "CREATED", "SIZE"])];
    lines.extend(rows.iter().map(|row| {
        let (digest, size) = (row.image.source.to_string(), size(row.image.size));
        cells(&row.repository(), row.tag(), &digest, [&row.id(words), &row.created(), &size])
    }));
    let width =
        |column: usize| lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded: String =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}   ")).collect();
        format!("{}\n", padded.trim_end())
    };
    lines.iter().map(line).collect()
}

/// Bytes in decimal units with three digits, as Docker prints them: `4.26MB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        value if unit == 0 || value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    let digits = format!("{value:.decimals$}");
    let digits =
        if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{digits}{}", UNITS.get(unit).unwrap_or(&"PB"))
}

fn say(text: &str) -> Result<i32> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("write to stdout")?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_dockers() {
        let table = [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1984000, "1.98MB"),
            (4261888, "4.26MB"),
            (116_600_000, "117MB"),
            (1_500_000_000, "1.5GB"),
            (12_340_000, "12.3MB"),
        ];
        for (bytes, text) in table {
            assert_eq!(size(bytes), text);
        }
    }
}
