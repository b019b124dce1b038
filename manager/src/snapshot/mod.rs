//! What containers see and change: unpacked layers (`unpacked`, from `layer`, `tree`, `tar`), shared
//! and read-only, and for each container a folder of its own on top, joined by overlayfs
//! (`overlay`). A snapshot's note says which layers it stands on; a sweep keeps those.

pub mod layer;
pub mod overlay;
pub mod tree;
pub mod unpacked;
pub mod xattr;

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use serde::{Deserialize, Serialize};

use crate::durable::{self, Lock};
use crate::error::{Context, Error, Kind, Result};
use crate::image::Image;
use crate::image::digest::Digest;
use crate::paths::{Paths, private_dir};
use crate::remove::remove_path;
use overlay::Overlay;

/// What a container stands on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The container.
    #[serde(skip)]
    pub container: String,
    /// The image it was made from.
    pub image: Digest,
    /// Chain IDs of the layers, lowest first.
    pub layers: Vec<Digest>,
}

/// The snapshots of all containers.
#[derive(Debug, Clone)]
pub struct Snapshots {
    paths: Paths,
}

impl Snapshots {
    /// The snapshots below these paths.
    pub fn open(paths: &Paths) -> Result<Self> {
        private_dir(&paths.snapshots())?;
        Ok(Self { paths: paths.clone() })
    }

    /// Makes the folders for a container on top of an image. On an error nothing is left. Under the
    /// lock, so that the layers are not swept away between the look and the note.
    pub fn prepare(&self, container: &str, image: &Image) -> Result<()> {
        let dir = self.dir(container)?;
        let snapshot =
            Snapshot { container: container.to_owned(), image: image.id.clone(), layers: image.chain()? };
        let _lock = Lock::exclusive(&self.paths.lock())?;
        if let Some(missing) = snapshot.layers.iter().find(|id| !unpacked::is_there(&self.paths, id)) {
            let message = format!("layer {missing} of image {} is gone: pull it again", image.id);
            return Err(Error::new(Kind::Integrity, message));
        }
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("create {}", dir.display()))?;
        self.fill(&dir, &snapshot).inspect_err(|_| {
            if let Err(error) = remove_path(&dir) {
                log::warn!("{error}");
            }
        })
    }

    fn fill(&self, dir: &Path, snapshot: &Snapshot) -> Result<()> {
        let note = serde_json::to_vec(snapshot).context("encode snapshot.json")?;
        durable::write(&dir.join("snapshot.json"), &note)?;
        for name in ["upper", "work", "merged", "empty"] {
            let made = fs::DirBuilder::new().mode(0o755).create(dir.join(name));
            made.with_context(|| format!("create {name} in {}", dir.display()))?;
        }
        // The uppermost folder's attributes are what the container sees of its root.
        if let Some(top) = snapshot.layers.last() {
            let (top, upper) = (open_dir(&self.paths.layer_tree(top))?, open_dir(&dir.join("upper"))?);
            let stat = tree::copy_attributes(&top, upper.as_fd()).context("copy the root's attributes")?;
            rustix::fs::futimens(&upper, &tree::both(tree::modified(&stat)))
                .context("set the root's time")?;
        }
        Ok(())
    }

    /// Mounts a container's root in the caller's mount namespace; returns where.
    pub fn mount(&self, container: &str) -> Result<PathBuf> {
        let dir = self.dir(container)?;
        let snapshot = self.load(container)?;
        let missing = || Error::new(Kind::NotFound, format!("no snapshot of container {container}"));
        let layers = snapshot.ok_or_else(missing)?.layers;
        let mut lower: Vec<PathBuf> = layers.iter().rev().map(|id| self.paths.layer_tree(id)).collect();
        if lower.is_empty() {
            lower.push(dir.join("empty"));
        }
        let merged = dir.join("merged");
        let overlay = Overlay { lower, upper: Some((dir.join("upper"), dir.join("work"))) };
        overlay.mount_at(&merged).with_context(|| format!("mount the root of container {container}"))?;
        Ok(merged)
    }

    /// Unmounts a container's root; not mounted is fine.
    pub fn unmount(&self, container: &str) -> Result<()> {
        overlay::unmount_at(&self.dir(container)?.join("merged"))
    }

    /// Removes all that a container has changed. Doing it twice is fine.
    pub fn remove(&self, container: &str) -> Result<()> {
        let dir = self.dir(container)?;
        overlay::unmount_at(&dir.join("merged"))?;
        // The note goes last: as long as there is anything, its layers are held.
        for name in ["upper", "work", "merged", "empty"] {
            remove_path(&dir.join(name))?;
        }
        remove_path(&dir)
    }

    /// All snapshots, which hold their layers.
    pub fn all(&self) -> Result<Vec<Snapshot>> {
        let dir = self.paths.snapshots();
        let mut all = Vec::new();
        for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
            let name = entry.with_context(|| format!("list {}", dir.display()))?.file_name();
            all.extend(self.load(&name.to_string_lossy())?);
        }
        Ok(all)
    }

    fn load(&self, container: &str) -> Result<Option<Snapshot>> {
        let path = self.dir(container)?.join("snapshot.json");
        let Some(bytes) = durable::read(&path)? else { return Ok(None) };
        let snapshot: Snapshot =
            serde_json::from_slice(&bytes).with_context(|| format!("parse {}", path.display()))?;
        Ok(Some(Snapshot { container: container.to_owned(), ..snapshot }))
    }

    fn dir(&self, container: &str) -> Result<PathBuf> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if container.is_empty() || container.starts_with('.') || !container.chars().all(is_part) {
            return Err(Error::new(Kind::InvalidInput, format!("invalid container id {container:?}")));
        }
        Ok(self.paths.snapshots().join(container))
    }
}

/// Removes the layers that neither these images nor any snapshot stand on, under the caller's lock.
/// Returns their chain IDs. A layer loses its name first, so a kill leaves no half of one.
pub fn sweep(paths: &Paths, images: &[Image], trash: &Path) -> Result<Vec<Digest>> {
    let mut used: Vec<Digest> = Vec::new();
    for image in images {
        used.extend(image.chain()?);
    }
    used.extend(Snapshots::open(paths)?.all()?.into_iter().flat_map(|snapshot| snapshot.layers));
    let mut removed = Vec::new();
    for id in crate::image::store::digests_in(&paths.layers())? {
        if used.contains(&id) {
            continue;
        }
        match fs::rename(paths.layer(&id), trash.join(id.hex())) {
            Ok(()) => removed.push(id),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("remove layer {id}")),
        }
    }
    Ok(removed)
}

fn open_dir(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).with_context(|| format!("open {}", path.display()))
}
