//! Making the directories and removing them again.
//!
//! What is about to be made is written down first, directory by directory, parents too. So whenever the runtime
//! is killed, `delete` can tell what is its own from what was there before, and removes the one and leaves the
//! other. Parents are shared with other containers: each goes with its maker if nobody uses it any more.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::tree;
use super::{Cgroup, Dir, Driver, Mode, v1, v2};
use crate::deadline::Deadline;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::files;

/// The longest that killed tasks may take to leave their cgroup before `remove` gives up.
const LEAVE_DEADLINE: Duration = Duration::from_secs(10);

/// How often a parent may be removed by somebody else while we make a directory in it.
const ATTEMPTS: usize = 20;

impl Cgroup {
    /// Makes the directories. `record` is called with what is about to be made, before it is made, and more than
    /// once when a parent vanishes meanwhile. They must not be frozen.
    ///
    /// Tolerant cgroups lose the directories that may not be made.
    pub fn create(&mut self, mut record: impl FnMut(&Cgroup) -> Result<()>) -> Result<()> {
        if matches!(self.driver, Driver::Systemd(_)) {
            // systemd makes them around the init, see `admit`. The slices above stay: systemd counts on them.
            self.dirs.iter_mut().for_each(|dir| dir.created = vec![dir.path.clone()]);
            return record(self);
        }
        for dir in &mut self.dirs {
            dir.found = tree(&dir.path)?; // nothing when it is not there
        }
        for _ in 0..ATTEMPTS {
            self.dirs.iter_mut().try_for_each(note_missing)?;
            record(self)?;
            if self.make_noted()? {
                return match self.is_frozen()? {
                    true => Err(Error::invalid("container's cgroup unexpectedly frozen")),
                    false => Ok(()),
                };
            }
        }
        Err(Error::new(Kind::System, "create cgroup: its parents are removed again and again"))
    }

    /// Makes those directories that systemd did not, and enables the controllers that it does not know.
    pub(super) fn make_missing(&mut self) -> Result<()> {
        for dir in &self.dirs {
            let above = dir.path.parent().unwrap_or(&dir.mount_point);
            files::create_dir_all(above, 0o777)
                .with_context(|| format!("create cgroup {}", above.display()))?;
        }
        match self.make_noted()? {
            true => Ok(()),
            false => Err(Error::new(Kind::System, "create cgroup: the slice above it is gone")),
        }
    }

    /// Whether all could be made; a directory that vanished has to be noted first.
    fn make_noted(&mut self) -> Result<bool> {
        let mut unusable = Vec::new();
        for (index, dir) in self.dirs.iter().enumerate() {
            let made = make(dir, self.mode).and_then(|made| match made {
                true => self.check_usable(dir).map(|()| true),
                false => Ok(false),
            });
            match made {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) if self.bears(dir, &error) => {
                    log::debug!("go on without cgroup {}: {error}", dir.path.display());
                    remove_made(dir, Deadline::after(Duration::ZERO), &|| Ok(()))?;
                    unusable.push(index);
                }
                Err(error) => {
                    // Engines know the first words from runc.
                    let context = || {
                        format!("unable to apply cgroup configuration: create cgroup {}", dir.path.display())
                    };
                    return Err(error).with_context(context);
                }
            }
        }
        for index in unusable.into_iter().rev() {
            self.dirs.remove(index);
        }
        Ok(true)
    }

    /// Removes the directories if they are all our own and nobody is in them, and says whether that went well. Most
    /// often it does: with init ended all processes of its PID namespace. Then there is nobody to kill and nothing
    /// to look for, which spares `delete` a hundred system calls. Else what is left is for [`Cgroup::kill`] and
    /// [`Cgroup::remove`].
    pub fn remove_idle(&self) -> bool {
        let is_ours = |dir: &Dir| dir.found.is_empty() && dir.created.contains(&dir.path);
        if self.driver != Driver::Cgroupfs || !self.dirs.iter().all(is_ours) {
            return false;
        }
        // First the one that killing needs: as long as it has somebody in it, all must stay.
        let first = self.freezer().into_iter();
        first.chain(&self.dirs).all(|dir| match files::remove_dir(&dir.path) {
            Err(e) => e.kind() == ErrorKind::NotFound,
            Ok(()) => true,
        }) && self.dirs.iter().all(|dir| remove_parents(dir).is_ok())
    }

    /// Removes the directories that we made and those that the container made below its own. What is gone is
    /// fine, and so is a parent that somebody uses.
    pub fn remove(&self) -> Result<()> {
        if let Driver::Systemd(unit) = &self.driver {
            unit.stop()?;
        }
        let deadline = Deadline::after(LEAVE_DEADLINE);
        // Somebody may have entered after all had been killed: an exec that was under way.
        self.dirs.iter().try_for_each(|dir| remove_made(dir, deadline, &|| self.kill(libc::SIGKILL)))
    }
}

/// From the first directory below the mount point to the container's own.
pub(super) fn levels(dir: &Dir) -> Vec<&Path> {
    let mut levels: Vec<&Path> = dir.path.ancestors().take_while(|path| *path != dir.mount_point).collect();
    levels.reverse();
    levels
}

fn note_missing(dir: &mut Dir) -> Result<()> {
    let levels: Vec<PathBuf> = levels(dir).into_iter().map(Path::to_owned).collect();
    for path in levels {
        if !files::is_dir(&path).on("look for", &path)? && !dir.created.contains(&path) {
            dir.created.push(path);
        }
    }
    Ok(())
}

fn make(dir: &Dir, mode: Mode) -> Result<bool> {
    for path in levels(dir) {
        if dir.unified && mode == Mode::V2 {
            v2::enable_controllers(path.parent().unwrap_or(path), None)?;
        }
        if !dir.created.iter().any(|noted| noted == path) {
            if files::is_dir(path).on("look for", path)? {
                continue;
            }
            return Ok(false);
        }
        match files::create_dir(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            other => other.on("create cgroup", path)?,
        }
    }
    if dir.has("cpuset") && !dir.unified {
        v1::inherit_cpuset(dir)?;
    }
    Ok(true)
}

/// `empty` is called on what still holds tasks.
fn remove_made(dir: &Dir, deadline: Deadline, empty: &dyn Fn() -> Result<()>) -> Result<()> {
    let is_ours = |path: &PathBuf| !dir.found.contains(path);
    for path in tree(&dir.path)?.iter().rev().filter(|path| is_ours(path)) {
        // Not noted and not found: made by somebody else in the instant between. Leave it.
        if *path == dir.path && !dir.created.contains(path) {
            continue;
        }
        remove_one(path, deadline, empty)?;
    }
    remove_parents(dir)
}

/// Those that we made and nobody uses.
fn remove_parents(dir: &Dir) -> Result<()> {
    for path in dir.created.iter().rev().filter(|path| **path != dir.path) {
        match files::remove_dir(path) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) if matches!(e.kind(), ErrorKind::ResourceBusy | ErrorKind::DirectoryNotEmpty) => break,
            Err(e) => return Err(e).on("remove cgroup", path),
        }
    }
    Ok(())
}

/// rmdir(2) of a cgroup is EBUSY until its last task has been reaped by the kernel, which nothing announces
/// on v1: so it is asked again, at growing intervals.
fn remove_one(path: &Path, deadline: Deadline, empty: &dyn Fn() -> Result<()>) -> Result<()> {
    let mut pauses = deadline.pauses();
    loop {
        match files::remove_dir(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) if e.kind() == ErrorKind::ResourceBusy && pauses.wait() => empty()?,
            other => return other.on("remove cgroup", path),
        }
    }
}
