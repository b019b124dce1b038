//! Something of the host that nobody may read, change or make anything in: what attacks aim at.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// What the canary's files hold: where this is seen, the host was read.
pub const SECRET: &str = "the-canary's-secret";

/// A folder of such files.
pub struct Canary {
    folder: TempDir,
    ignored: PathBuf,
}

/// Everything about a canary that somebody could change.
pub type Looks = BTreeMap<PathBuf, String>;

impl Canary {
    /// One with these files, each with the secret in it, and the folders that they are in.
    pub fn with(files: &[&str]) -> Canary {
        let canary = Canary { folder: TempDir::new().unwrap(), ignored: PathBuf::from(" ") };
        for file in files {
            let place = canary.path().join(file);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, SECRET).unwrap();
        }
        canary
    }

    /// Does not look into this folder of it.
    pub fn ignoring(self, folder: &str) -> Canary {
        Canary { ignored: self.path().join(folder), ..self }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// How it looks now.
    pub fn looks(&self) -> Looks {
        let mut found = BTreeMap::new();
        self.look(self.path(), &mut found);
        found
    }

    /// What of it is new, gone or changed since it looked like this, were it only by a chmod that changed nothing.
    pub fn changed_since(&self, before: &Looks) -> Vec<PathBuf> {
        let after = self.looks();
        let paths: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
        paths.into_iter().filter(|path| before.get(*path) != after.get(*path)).cloned().collect()
    }

    fn look(&self, place: &Path, found: &mut Looks) {
        let meta = std::fs::symlink_metadata(place).unwrap();
        let kind = meta.file_type();
        if place == self.ignored {
            return;
        }
        if kind.is_dir() {
            for entry in std::fs::read_dir(place).unwrap() {
                self.look(&entry.unwrap().path(), found);
            }
        }
        let kinds = [kind.is_dir(), kind.is_file(), kind.is_symlink(), kind.is_fifo(), kind.is_char_device()];
        let owner = (meta.mode(), meta.uid(), meta.gid());
        // Whatever is done to a file but reading shows in the last.
        let changed = (meta.nlink(), meta.len(), meta.ctime(), meta.ctime_nsec());
        found.insert(place.to_owned(), format!("{kinds:?} {owner:?} {changed:?}"));
    }
}
