//! Unpacked layers, shared by all containers, and each container's own changes on top of them.
//!
//! A layer is unpacked once, under its chain ID, into a temporary folder that gets its name when it is whole.
//! A container's root is an overlay of its image's layers and one folder of its own; it is mounted by the
//! container's shim, in the shim's private mount namespace.

pub mod layer;
pub mod overlay;
mod pax;
pub mod remove;
pub mod tar;
pub mod tree;
mod xattr;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use crate::durable::{self, Lock};
use crate::error::{Context, Error, Kind, Result};
use crate::image::digest::Digest;
use crate::image::store::Image;
use crate::paths::{Paths, private_dir};
use layer::Limits;
use overlay::Overlay;
use tree::Tree;

/// All layers and snapshots of one data root.
#[derive(Debug)]
pub struct Snapshots {
    paths: Paths,
}

impl Snapshots {
    /// Opens them, making the folders where missing.
    pub fn open(paths: &Paths) -> Result<Self> {
        for folder in [paths.layers(), paths.snapshots(), paths.temporary()] {
            private_dir(&folder)?;
        }
        Ok(Self { paths: paths.clone() })
    }

    /// Whether a layer is there.
    pub fn has_layer(&self, chain: &Digest) -> bool {
        self.paths.layer_tree(chain).is_dir()
    }

    /// Unpacks an uncompressed layer archive on top of the layers `below` (lowest first), and keeps it under
    /// `chain` if `check`, asked once the archive has been read to its end, finds its bytes genuine.
    pub fn unpack<R: Read>(
        &self,
        (chain, below): (&Digest, &[Digest]),
        archive: R,
        check: impl FnOnce(R) -> Result<()>,
    ) -> Result<()> {
        let folder = self.paths.temporary().join(format!("layer-{}-{}", std::process::id(), chain.short()));
        remove::remove_path(&folder)?;
        let unpacked = self.unpack_into(&folder, below, archive).and_then(check);
        let kept = unpacked.and_then(|()| self.keep(&folder, chain));
        if kept.is_err() {
            remove::remove_path(&folder)?;
        }
        kept
    }

    fn unpack_into<R: Read>(&self, folder: &Path, below: &[Digest], archive: R) -> Result<R> {
        let root = folder.join("fs");
        private_dir(folder)?;
        fs::DirBuilder::new().create(&root).with_context(|| format!("create {}", root.display()))?;
        let open = |path: &Path| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, path, flags, Mode::empty())
                .with_context(|| format!("open {}", path.display()))
        };
        let lower = below.iter().map(|chain| open(&self.paths.layer_tree(chain))).collect::<Result<_>>()?;
        let tree = Tree::new(open(&root)?, lower)?;
        layer::extract(archive, tree, Limits::default()).map(|(_, rest)| rest)
    }

    fn keep(&self, folder: &Path, chain: &Digest) -> Result<()> {
        let _lock = Lock::exclusive(&self.paths.lock())?;
        let place = self.paths.layer(chain);
        if place.exists() {
            return remove::remove_path(folder); // somebody was faster
        }
        if let Some(parent) = place.parent() {
            private_dir(parent)?;
        }
        fs::rename(folder, &place).with_context(|| format!("keep layer {}", chain.short()))
    }

    /// Makes a container's own folders and notes its layers.
    pub fn prepare(&self, container: &str, image: &Image) -> Result<()> {
        let folder = self.folder(container);
        for part in ["upper", "work", "merged", "empty"] {
            private_dir(&folder.join(part))?;
        }
        // The root directory's mode shows inside; the folder above keeps others out.
        let open_mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let upper = folder.join("upper");
        fs::set_permissions(&upper, open_mode).with_context(|| format!("open up {}", upper.display()))?;
        let chain: Vec<String> = image.chain()?.iter().map(Digest::to_string).collect();
        let text = serde_json::to_vec(&chain).map_err(|error| Error::new(Kind::System, error.to_string()))?;
        durable::write(&folder.join("snapshot.json"), &text)
    }

    /// Mounts a container's root in the caller's mount namespace and returns where.
    pub fn mount(&self, container: &str) -> Result<PathBuf> {
        let folder = self.folder(container);
        let lower = self.layers_of(container)?;
        let mut lower: Vec<PathBuf> = lower.iter().rev().map(|chain| self.paths.layer_tree(chain)).collect();
        if lower.is_empty() {
            lower.push(folder.join("empty"));
        }
        let merged = folder.join("merged");
        let upper = Some((folder.join("upper"), folder.join("work")));
        Overlay { lower, upper }
            .mount_at(&merged)
            .with_context(|| format!("mount the root of {container}"))?;
        Ok(merged)
    }

    /// The layers that a container needs, lowest first.
    pub fn layers_of(&self, container: &str) -> Result<Vec<Digest>> {
        let bytes =
            durable::read(&self.folder(container).join("snapshot.json"))?.unwrap_or_else(|| b"[]".to_vec());
        let chain: Vec<String> =
            serde_json::from_slice(&bytes).map_err(|error| Error::new(Kind::System, error.to_string()))?;
        chain.iter().map(|text| text.parse()).collect()
    }

    /// Takes a container's root off the caller's mount namespace.
    pub fn unmount(&self, container: &str) -> Result<()> {
        overlay::unmount_at(&self.folder(container).join("merged"))
    }

    /// Removes what a container has written; none there is fine.
    pub fn remove(&self, container: &str) -> Result<()> {
        remove::remove_path(&self.folder(container))
    }

    /// The layers that any container needs.
    pub fn used_layers(&self) -> Result<Vec<Digest>> {
        let mut used = Vec::new();
        for entry in fs::read_dir(self.paths.snapshots()).context("read snapshots")? {
            let name = entry.context("read snapshots")?.file_name();
            used.extend(self.layers_of(&name.to_string_lossy())?);
        }
        Ok(used)
    }

    /// Removes every layer that is not among `kept`.
    pub fn sweep(&self, kept: &[Digest]) -> Result<()> {
        let sha256 = self.paths.layers().join("sha256");
        let Ok(entries) = fs::read_dir(&sha256) else { return Ok(()) };
        for entry in entries {
            let name = entry.context("read layers")?.file_name();
            let digest = Digest::from_path_parts("sha256", &name.to_string_lossy());
            if digest.is_none_or(|digest| !kept.contains(&digest)) {
                remove::remove_path(&sha256.join(&name))?;
            }
        }
        Ok(())
    }

    fn folder(&self, container: &str) -> PathBuf {
        self.paths.snapshots().join(container)
    }
}
