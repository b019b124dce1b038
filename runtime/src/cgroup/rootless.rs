//! Control groups for those who own no part of the hierarchies, or only a part that was delegated to them
//! (kernel Documentation/admin-guide/cgroup-v2.rst, "Delegation").
//!
//! What an ordinary user may do is found out by asking, not by trying: a directory that was there already and is
//! somebody else's must not be taken for the container's.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use super::{Cgroup, Dir, Driver, Mode, hierarchy};
use crate::error::{Context, Error, Result};
use crate::sys::again::again;
use crate::sys::files;
use crate::sys::mountinfo;

impl Cgroup {
    /// With `tolerant`, directories that may not be made are done without. A place that the config does not name
    /// is then looked for where the user's part is most likely: below the cgroup that we are in on v1, beside it
    /// on v2, where a cgroup with processes has no limits to give to those below (as runc).
    pub fn tolerating(mut self, tolerant: bool) -> Result<Cgroup> {
        self.tolerant = tolerant;
        if !tolerant || self.explicit || self.driver != Driver::Cgroupfs {
            return Ok(self);
        }
        let own = OwnCgroups::read()?;
        for dir in &mut self.dirs {
            let base = own.directory(dir);
            let above = base.parent().filter(|_| dir.unified && base != dir.mount_point);
            if let Some(name) = dir.path.file_name() {
                dir.path = above.unwrap_or(&base).join(name);
            }
        }
        Ok(self)
    }

    /// Whether the error says that something is not ours to use, and we go on without.
    pub(super) fn was_denied(&self, error: &Error) -> bool {
        self.tolerant && matches!(error.errno(), Some(libc::EACCES | libc::EPERM | libc::EROFS))
    }

    /// The same for a whole directory: one that the config names must be had (as runc). On a hybrid host the
    /// unified hierarchy holds no limits and is never more than a convenience.
    pub(super) fn bears(&self, dir: &Dir, error: &Error) -> bool {
        let is_named = self.explicit && self.driver == Driver::Cgroupfs;
        self.was_denied(error) && (!is_named || (dir.unified && self.mode == Mode::V1))
    }

    /// Whether a directory that is there is ours to put a process in.
    pub(super) fn check_usable(&self, dir: &Dir) -> Result<()> {
        if !self.tolerant || self.driver != Driver::Cgroupfs {
            return Ok(()); // systemd moves processes for who may not
        }
        may_write(&dir.path)?;
        if dir.unified {
            // To move a process one must be allowed to where its old place and the new one meet.
            let own = OwnCgroups::read()?.directory(dir);
            let meeting = dir.path.ancestors().find(|path| own.starts_with(path));
            may_write(meeting.unwrap_or(&dir.mount_point))?;
        }
        Ok(())
    }

    /// What a mount of type `cgroup` shows. To be asked by the runtime, which sees the host's mounts alone.
    pub fn shown(&self) -> Result<Shown> {
        let own = OwnCgroups::read()?;
        let (_, all) = hierarchy::among(mountinfo::read()?);
        let inherited = |mut dir: Dir| {
            dir.path = own.directory(&dir);
            (dir, false)
        };
        let dirs = all.into_iter().map(|dir| {
            match self.dirs.iter().find(|mine| mine.mount_point == dir.mount_point) {
                Some(mine) => (mine.clone(), true),
                None => inherited(dir),
            }
        });
        Ok(Shown { mode: self.mode, dirs: dirs.collect() })
    }
}

/// The directories that the container sees.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The layout of the host.
    pub mode: Mode,
    /// The container's, each with `true`, and where it has none of its own, those of the runtime, which it then is
    /// in.
    pub dirs: Vec<(Dir, bool)>,
}

fn may_write(directory: &Path) -> Result<()> {
    let path = directory.join("cgroup.procs");
    again(|| rustix::fs::accessat(CWD, &path, Access::WRITE_OK, AtFlags::EACCESS)).on("write to", &path)
}

/// The text of /proc/self/cgroup (cgroups(7)).
struct OwnCgroups(String);

impl OwnCgroups {
    fn read() -> Result<OwnCgroups> {
        files::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup").map(OwnCgroups)
    }

    /// Where this process is in the hierarchy of `dir`; its mount point if that is not in sight.
    fn directory(&self, dir: &Dir) -> PathBuf {
        let path = self.path(dir).map(|path| dir.mount_point.join(path.trim_start_matches('/')));
        path.filter(|path| path.is_dir()).unwrap_or_else(|| dir.mount_point.clone())
    }

    fn path(&self, dir: &Dir) -> Option<&str> {
        self.0.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let is_it = match dir.unified {
                true => controllers.is_empty(),
                false => controllers.split(',').any(|controller| dir.has(controller)),
            };
            is_it.then_some(path)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_place_is_found_by_controller() {
        let own = OwnCgroups("4:cpu,cpuacct:/a\n1:name=systemd:/b:c\n0::/d\n".to_owned());
        let dir = |controllers: &[&str], unified| Dir {
            name: String::new(),
            controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
            unified,
            mount_point: "/".into(),
            path: "/".into(),
            created: Vec::new(),
            found: Vec::new(),
        };
        assert_eq!(own.path(&dir(&["cpuacct"], false)), Some("/a"));
        assert_eq!(own.path(&dir(&["name=systemd"], false)), Some("/b:c"));
        assert_eq!(own.path(&dir(&[], true)), Some("/d"));
        assert_eq!(own.path(&dir(&["pids"], false)), None);
    }
}
