//! Every path on disk, in one file. All folders are for root's eyes only (0700): below them lie
//! setuid programs of images and secrets of containers.
//!
//! ```text
//! /var/lib/wharf/                     data: lasts; WHARF_DATA_ROOT or --data-root
//! ├── lock                            held while an index, a layer or a snapshot comes or goes
//! ├── images/                         an OCI image layout: oci-layout, index.json, blobs/sha256/…
//! ├── layers/sha256/<chain id>/       fs/ (the unpacked tree) and layer.json
//! ├── snapshots/<container>/          snapshot.json, upper/, work/, merged/ (and empty/)
//! ├── containers/<container>/         record, exit code, log
//! └── tmp/<random>/                   one folder per running command, which holds a lock on it
//! /run/wharf/                         run: a reboot may empty it; WHARF_RUN_ROOT or --run-root
//! └── containers/<container>/         bundle, sockets, pid file
//! ```

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::image::digest::Digest;

/// Names another data root.
pub const DATA_ROOT_VARIABLE: &str = "WHARF_DATA_ROOT";
/// Names another run root.
pub const RUN_ROOT_VARIABLE: &str = "WHARF_RUN_ROOT";

/// The two roots that every other path is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// What lasts.
    pub data: PathBuf,
    /// What a reboot may take away.
    pub run: PathBuf,
}

impl Paths {
    /// The roots that the environment names, or the defaults.
    pub fn from_env() -> Self {
        Self::new(None, None)
    }

    /// The roots as given on the command line; then the environment's; then the defaults.
    pub fn new(data: Option<PathBuf>, run: Option<PathBuf>) -> Self {
        let or = |given: Option<PathBuf>, variable, default: &str| {
            given.or_else(|| std::env::var_os(variable).map(PathBuf::from)).unwrap_or_else(|| default.into())
        };
        Self {
            data: or(data, DATA_ROOT_VARIABLE, "/var/lib/wharf"),
            run: or(run, RUN_ROOT_VARIABLE, "/run/wharf"),
        }
    }

    /// The lock for short changes to images, layers and snapshots.
    pub fn lock(&self) -> PathBuf {
        self.data.join("lock")
    }

    /// The OCI image layout.
    pub fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    /// The layout's list of images.
    pub fn index(&self) -> PathBuf {
        self.images().join("index.json")
    }

    /// All blobs.
    pub fn blobs(&self) -> PathBuf {
        self.images().join("blobs")
    }

    /// One blob.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.path())
    }

    /// All unpacked layers.
    pub fn layers(&self) -> PathBuf {
        self.data.join("layers")
    }

    /// One unpacked layer, by chain ID.
    pub fn layer(&self, chain: &Digest) -> PathBuf {
        self.layers().join(chain.path())
    }

    /// The tree of an unpacked layer.
    pub fn layer_tree(&self, chain: &Digest) -> PathBuf {
        self.layer(chain).join("fs")
    }

    /// All snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.data.join("snapshots")
    }

    /// All containers' lasting folders.
    pub fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    /// Folders of running commands.
    pub fn temporary(&self) -> PathBuf {
        self.data.join("tmp")
    }
}

/// Makes a folder and its parents, for root's eyes only.
pub fn private_dir(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("create {}", path.display()))
}
