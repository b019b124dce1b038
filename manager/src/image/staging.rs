//! Where an image waits until all of it is there: a folder of the command that fetches it. Blobs
//! and layers lie in it under their final digests, but only [`super::store`] moves them, all at
//! once, under the lock. So no lock is held while talking to a network, a removal next door takes
//! nothing away that is about to be used, and what a killed command leaves behind is one folder.
//! Its owner holds a lock on it, which is how the next command knows whether it is left behind.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::digest::{Algorithm, Digest, Hasher};
use super::manifest::Descriptor;
use crate::error::{Context, Error, Kind, Result};
use crate::paths::Paths;
use crate::remove::remove_path;

/// A command's own folder, removed when dropped.
#[derive(Debug)]
pub struct Staging {
    dir: PathBuf,
    _lock: OwnedFd,
}

impl Staging {
    /// Makes a folder. A shared lock on the parent keeps [`sweep`] away until it is locked itself.
    pub fn begin(paths: &Paths) -> Result<Self> {
        let parent = open_dir(&paths.temporary())?;
        rustix::io::retry_on_intr(|| flock(&parent, FlockOperation::LockShared))
            .context("lock the temporary folder")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let dir = paths.temporary().join(format!("{}-{now}", std::process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("create {}", dir.display()))?;
        let lock = open_dir(&dir)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("lock {}", dir.display()))?;
        Ok(Self { dir, _lock: lock })
    }

    /// Where a blob waits.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("blob-{}", digest.hex()))
    }

    /// Where an unpacked layer waits, by chain ID.
    pub fn layer(&self, chain: &Digest) -> PathBuf {
        self.dir.join(format!("layer-{}", chain.hex()))
    }

    /// The folder itself, for what is to go when it goes.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the blob is here, or in the store, from where it gets a second name here.
    pub fn adopt(&self, paths: &Paths, blob: &Descriptor) -> Result<bool> {
        let (here, there) = (self.blob(&blob.digest), paths.blob(&blob.digest));
        if here.exists() {
            return Ok(true);
        }
        let mut file = match File::open(&there) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error).with_context(|| format!("open {}", there.display())),
        };
        // A damaged blob is fetched again.
        let mut hasher = blob.digest.hasher();
        io::copy(&mut file, &mut hasher).with_context(|| format!("read {}", there.display()))?;
        if hasher.finish() != blob.digest {
            return Ok(false);
        }
        match fs::hard_link(&there, &here) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| format!("keep blob {}", blob.digest)),
        }
    }

    /// Starts a blob of this algorithm.
    pub fn writer(&self, name: &str, hasher: Hasher) -> Result<BlobWriter> {
        let path = self.dir.join(format!("part-{name}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("create {}", path.display()))?;
        Ok(BlobWriter { file, path, fresh: hasher.clone(), hasher, size: 0 })
    }

    /// Writes a small blob whose digest is made here.
    pub fn write(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        let descriptor = Descriptor::of(media_type, bytes);
        let mut writer = self.writer(descriptor.digest.hex(), Hasher::new(Algorithm::Sha256))?;
        writer.write_all(bytes).context("write a blob")?;
        writer.finish(self, &descriptor)?;
        Ok(descriptor)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = remove_path(&self.dir) {
            log::warn!("{error}");
        }
    }
}

/// A blob that is being written. Dropped before its end, it is a file in a folder that will go.
#[derive(Debug)]
pub struct BlobWriter {
    file: File,
    path: PathBuf,
    hasher: Hasher,
    fresh: Hasher,
    size: u64,
}

impl BlobWriter {
    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Starts again with no bytes.
    pub fn restart(&mut self) -> Result<()> {
        self.file.rewind().and_then(|()| self.file.set_len(0)).context("empty a blob")?;
        (self.hasher, self.size) = (self.fresh.clone(), 0);
        Ok(())
    }

    /// Gives the blob its name in the staging folder, if it is what the descriptor says.
    pub fn finish(self, staging: &Staging, expected: &Descriptor) -> Result<()> {
        let size = self.size;
        if size != expected.size {
            let message =
                format!("size mismatch: blob {} has {size} bytes, not {}", expected.digest, expected.size);
            return Err(Error::new(Kind::Integrity, message));
        }
        let (digest, path) = self.close()?;
        if digest != expected.digest {
            return Err(Error::new(
                Kind::Integrity,
                format!("digest mismatch: blob {} has {digest}", expected.digest),
            ));
        }
        fs::rename(&path, staging.blob(&digest)).context("name a blob")
    }

    /// Makes the bytes last; returns their digest and where they are.
    pub fn close(self) -> Result<(Digest, PathBuf)> {
        self.file.sync_all().context("sync a blob")?;
        Ok((self.hasher.finish(), self.path))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Removes the folders of commands that are no more.
pub fn sweep(paths: &Paths) -> Result<()> {
    let temporary = paths.temporary();
    let parent = open_dir(&temporary)?;
    match flock(&parent, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        // Somebody is starting just now; the next command will see to it.
        Err(Errno::WOULDBLOCK) => return Ok(()),
        Err(error) => return Err(error).context("lock the temporary folder"),
    }
    for entry in fs::read_dir(&temporary).with_context(|| format!("list {}", temporary.display()))? {
        let path = entry.context("list the temporary folder")?.path();
        let lock = match rustix::fs::open(&path, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT) => continue,
            lock => lock.with_context(|| format!("open {}", path.display()))?,
        };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove_path(&path)?;
        }
    }
    Ok(())
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn open_dir(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, DIRECTORY, Mode::empty()).with_context(|| format!("open {}", path.display()))
}
