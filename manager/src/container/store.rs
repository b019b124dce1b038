//! The folders of all containers: found by id, prefix or name; made and removed whole. A name is a
//! file taken by `O_EXCL` that holds the id, so two commands can't both win it. The documents are
//! written to a temporary name, synced and renamed: a reader sees the old or the new, never half.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::name;
use super::record::{Exit, Record, Running, Status};
use super::time;
use crate::error::{Context, Error, Kind, Result};
use crate::paths::Paths;

/// One container's folders and what its record says.
#[derive(Debug, Clone)]
pub struct Container {
    /// What was asked.
    pub record: Record,
    /// Lasting folder: record, exit, log.
    pub dir: PathBuf,
    /// Folder that a reboot may empty: bundle, socket, pid file.
    pub run_dir: PathBuf,
}

/// All containers.
#[derive(Debug)]
pub struct Containers {
    paths: Paths,
}

impl Containers {
    /// The containers below these paths; nothing is read yet.
    pub fn open(paths: &Paths) -> Self {
        Self { paths: paths.clone() }
    }

    /// Takes the name and writes the record. On an error nothing is left.
    pub fn create(&self, record: Record) -> Result<Container> {
        let container = self.at(record);
        let names = self.paths.data.join("names");
        private_dir(&names)?;
        self.take_name(&names, &container.record)?;
        let made = private_dir(&container.dir)
            .and_then(|()| private_dir(&container.run_dir))
            .and_then(|()| write_json(&container.dir.join("record.json"), &container.record));
        if let Err(error) = made {
            return Err(match self.remove(&container) {
                Ok(()) => error,
                Err(second) => Error::new(Kind::System, format!("{error}; then {second}")),
            });
        }
        Ok(container)
    }

    /// Whether a name is free; a conflict error that says who holds it otherwise.
    pub fn check_free(&self, name: &str) -> Result<()> {
        match self.holder(name)? {
            Some(id) => Err(name_taken(name, &id)),
            None => Ok(()),
        }
    }

    /// The container with this full id, name, or unique prefix of an id.
    pub fn find(&self, query: &str) -> Result<Container> {
        let query = query.strip_prefix('/').unwrap_or(query);
        let missing = || Error::new(Kind::NotFound, format!("No such container: {query}"));
        if query.len() == 64 && is_hex(query) && self.folder(query).is_dir() {
            return self.load(query);
        }
        if name::check_name(query).is_ok()
            && let Some(id) = self.holder(query)?
        {
            return self.load(&id);
        }
        if query.is_empty() || !is_hex(query) {
            return Err(missing());
        }
        let mut matches = self.ids()?.into_iter().filter(|id| id.starts_with(query));
        match (matches.next(), matches.next()) {
            (Some(id), None) => self.load(&id),
            (None, _) => Err(missing()),
            _ => {
                Err(Error::new(Kind::InvalidInput, format!("multiple containers found with prefix: {query}")))
            }
        }
    }

    /// All containers, newest first. One that vanishes while we read is left out.
    pub fn all(&self) -> Result<Vec<Container>> {
        let mut all = Vec::new();
        for id in self.ids()? {
            match self.load(&id) {
                Ok(container) => all.push(container),
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        all.sort_by(|a, b| b.record.created.cmp(&a.record.created));
        Ok(all)
    }

    /// Loads by full id.
    pub fn load(&self, id: &str) -> Result<Container> {
        let missing = || Error::new(Kind::NotFound, format!("No such container: {id}"));
        let record: Record = read_json(&self.folder(id).join("record.json"))?.ok_or_else(missing)?;
        Ok(self.at(record))
    }

    /// Removes the container's folders and its name. Doing it twice is fine.
    pub fn remove(&self, container: &Container) -> Result<()> {
        let Record { id, name, .. } = &container.record;
        remove_tree(&container.run_dir)?;
        // The record goes first: from then on the container is not there for anyone.
        remove_file(&container.dir.join("record.json"))?;
        remove_tree(&container.dir)?;
        let file = self.paths.data.join("names").join(name);
        if fs::read_to_string(&file).is_ok_and(|holder| holder == *id) {
            remove_file(&file)?;
        }
        Ok(())
    }

    fn at(&self, record: Record) -> Container {
        let run_dir = self.paths.run.join("containers").join(&record.id);
        Container { dir: self.folder(&record.id), run_dir, record }
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.paths.data.join("containers").join(id)
    }

    fn ids(&self) -> Result<Vec<String>> {
        let dir = self.paths.data.join("containers");
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.context(format!("list {}", dir.display()))?,
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter(|name| name.len() == 64 && is_hex(name)).collect())
    }

    fn holder(&self, name: &str) -> Result<Option<String>> {
        match fs::read_to_string(self.paths.data.join("names").join(name)) {
            Ok(id) => Ok(Some(id).filter(|id| self.folder(id).join("record.json").exists())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(format!("read name {name}")),
        }
    }

    /// Takes the name; one left behind by a container that is no more is taken over, under a lock
    /// so that two commands don't both do so.
    fn take_name(&self, names: &Path, record: &Record) -> Result<()> {
        let _lock = lock(&self.paths.data.join("names.lock"))?;
        if let Some(id) = self.holder(&record.name)? {
            return Err(name_taken(&record.name, &id));
        }
        write_atomically(&names.join(&record.name), record.id.as_bytes())
    }
}

impl Container {
    /// Where the container stands now.
    pub fn status(&self) -> Result<Status> {
        if let Some(exit) = self.exit()? {
            return Ok(Status::Exited(exit));
        }
        let Some(running) = self.running()? else { return Ok(Status::Created) };
        if start_time(running.pid) == Some(running.pid_start) {
            return Ok(Status::Running(running));
        }
        // Gone: the shim may be writing the exit just now, or it was killed.
        if let Some(exit) = self.exit()? {
            return Ok(Status::Exited(exit));
        }
        if self.shim_is_alive()? {
            return Ok(Status::Running(running));
        }
        match self.exit()? {
            Some(exit) => Ok(Status::Exited(exit)),
            None => Ok(Status::Exited(Exit {
                code: 255,
                signal: None,
                finished: time::now(),
                oom: false,
                error: Some("exit code unknown: its shim was killed".into()),
            })),
        }
    }

    /// The exit record, if written.
    pub fn exit(&self) -> Result<Option<Exit>> {
        read_json(&self.dir.join("exit.json"))
    }

    /// The running record, if written.
    pub fn running(&self) -> Result<Option<Running>> {
        read_json(&self.dir.join("state.json"))
    }

    /// Writes the running record.
    pub fn save_running(&self, running: &Running) -> Result<()> {
        write_json(&self.dir.join("state.json"), running)
    }

    /// Writes the exit record, durably.
    pub fn save_exit(&self, exit: &Exit) -> Result<()> {
        write_json(&self.dir.join("exit.json"), exit)
    }

    /// The lock that the shim holds for as long as it lives.
    pub fn shim_lock_path(&self) -> PathBuf {
        self.run_dir.join("shim.lock")
    }

    /// Whether a shim supervises this container: it holds the lock until the kernel takes it away.
    pub fn shim_is_alive(&self) -> Result<bool> {
        use rustix::fs::{FlockOperation, flock};
        let file = match File::open(self.shim_lock_path()) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            file => file.context("open the shim's lock")?,
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error).context("try the shim's lock"),
        }
    }
}

/// The start time of a process in clock ticks since boot (proc_pid_stat(5), field 22). `None` if
/// there is no such process or it is a zombie.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may hold anything, so count from its closing parenthesis.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

/// Takes an exclusive lock on a file, made if it does not exist; freed when dropped.
pub fn lock(path: &Path) -> Result<OwnedFd> {
    let what = || format!("lock {}", path.display());
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path).context(what())?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).context(what())?;
    Ok(file.into())
}

/// Makes a folder and its parents, for root's eyes only.
pub fn private_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .context(format!("create {}", path.display()))
}

/// Removes a folder and all below, never through a link or into another file system's mount;
/// nothing there is fine.
pub fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).context(format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).context(format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn write_json(path: &Path, document: &impl Serialize) -> Result<()> {
    write_atomically(
        path,
        &serde_json::to_vec_pretty(document).context(format!("encode {}", path.display()))?,
    )
}

/// Writes to a temporary name beside the file, syncs, renames.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let what = || format!("write {}", path.display());
    let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .context(what())?;
    let written =
        file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        remove_file(&temporary)?;
        return Err(error).context(what());
    }
    Ok(())
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).context(format!("parse {}", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(format!("read {}", path.display())),
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

fn name_taken(name: &str, id: &str) -> Error {
    Error::new(
        Kind::Conflict,
        format!(
            "Conflict. The container name \"/{name}\" is already in use by container \"{id}\". \
             You have to remove (or rename) that container to be able to reuse that name."
        ),
    )
}
