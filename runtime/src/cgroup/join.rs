//! Moving a process into the container's control groups.
//!
//! An exec'd process can be sent further down, by `--cgroup`. And where the container's own directory does not take it
//! any more (v2: it has handed controllers to directories below; or its init has moved out and the directory is
//! gone), it goes to where the init is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::files::write_file;
use super::{Cgroup, Dir, Driver};
use crate::error::{Context, Error, Result};
use crate::sys::files;

/// Directories below the container's own, by v1 controller; under the empty name, in all hierarchies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Below(BTreeMap<String, String>);

impl Below {
    /// Reads the words of `--cgroup`: one path, or any number of `controller[,controller...]:path`.
    pub fn parse(words: &[String]) -> Result<Below> {
        let wrong =
            |word: &str, why: &str| Error::invalid(format!("invalid --cgroup argument: {word} ({why})"));
        let mut paths = BTreeMap::new();
        for word in words {
            let Some((controllers, path)) = word.split_once(':') else {
                if words.len() != 1 {
                    return Err(wrong(word, "missing <controller>: prefix"));
                }
                paths.insert(String::new(), check_path(word)?);
                continue;
            };
            for controller in controllers.split(',') {
                if controller.is_empty() {
                    return Err(wrong(word, "empty <controller> prefix"));
                }
                if paths.insert(controller.to_owned(), check_path(path)?).is_some() {
                    let why = format!("controller {controller} specified multiple times");
                    return Err(wrong(word, &why));
                }
            }
        }
        Ok(Below(paths))
    }

    /// Whether nothing was asked for.
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn path_in(&self, dir: &Dir) -> PathBuf {
        let of = |name: &String| name.is_empty() || dir.has(name);
        let below = self.0.iter().find(|(name, _)| of(name)).map(|(_, path)| path.as_str());
        // No slash at the end, or the same directory would have two names.
        below.filter(|path| !path.is_empty()).map_or_else(|| dir.path.clone(), |path| dir.path.join(path))
    }
}

/// A path that stays below; its slashes at either end don't count.
fn check_path(path: &str) -> Result<String> {
    if path.split('/').any(|part| part == "..") || path.contains('\0') {
        return Err(Error::invalid(format!("bad sub cgroup path: {path}")));
    }
    Ok(path.trim_matches('/').to_owned())
}

impl Cgroup {
    /// Moves a process into all of them and lets it run on every processor that they have: it must not keep what
    /// somebody's taskset(1) left the runtime.
    pub fn join(&self, pid: i32) -> Result<()> {
        for dir in &self.dirs {
            self.bear(dir, self.move_to(&dir.path, dir, pid))?;
        }
        allow_every_cpu(pid)
    }

    /// Moves a process that goes into v1's by itself (see [`super::Doors`]) into the unified one.
    pub fn join_unified(&self, pid: i32) -> Result<()> {
        let Some(dir) = self.unified() else { return Ok(()) };
        self.bear(dir, self.move_to(&dir.path, dir, pid))
    }

    /// Moves an exec'd process into those below, or where nothing is asked for, to where `init` is if need be. Its
    /// processors stay as they are. With `enters_v1` it sees to those hierarchies by itself.
    pub fn join_below(&self, pid: i32, below: &Below, init: i32, enters_v1: bool) -> Result<()> {
        let unknown =
            below.0.keys().find(|name| !name.is_empty() && self.dirs.iter().all(|dir| !dir.has(name)));
        if let Some(name) = unknown {
            return Err(Error::invalid(format!("unknown controller {name} in --cgroup")));
        }
        for dir in self.dirs.iter().filter(|dir| dir.unified || !enters_v1) {
            let path = below.path_in(dir);
            let result = match self.move_to(&path, dir, pid) {
                Err(error) if below.is_empty() && has_moved(&error) => {
                    log::debug!("{error}: follow init");
                    where_init_is(dir, init)?.map_or(Err(error), |path| enter(&path, pid))
                }
                other => other,
            };
            self.bear(dir, result).with_context(|| format!("error adding pid {pid} to cgroups"))?;
        }
        Ok(())
    }

    fn move_to(&self, path: &Path, dir: &Dir, pid: i32) -> Result<()> {
        match (&self.driver, enter(path, pid)) {
            // An ordinary user may not move a process across; the user's systemd can, as far as the unit.
            (Driver::Systemd(unit), Err(error)) if is_denied(&error) => {
                unit.attach(pid)?;
                if path == dir.path { Ok(()) } else { enter(path, pid) }
            }
            (_, entered) => entered,
        }
    }

    fn bear(&self, dir: &Dir, result: Result<()>) -> Result<()> {
        match result {
            Err(error) if self.bears(dir, &error) => {
                log::debug!("go on outside of a cgroup: {error}");
                Ok(())
            }
            other => other,
        }
    }
}

fn enter(dir: &Path, pid: i32) -> Result<()> {
    write_file(&dir.join("cgroup.procs"), &pid.to_string())
}

fn is_denied(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::EACCES | libc::EPERM))
}

fn has_moved(error: &Error) -> bool {
    matches!(error.errno(), Some(libc::EBUSY | libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP))
}

/// Init's directory in a hierarchy, by /proc/PID/cgroup; `None` where that is out of our sight.
fn where_init_is(dir: &Dir, init: i32) -> Result<Option<PathBuf>> {
    let path = format!("/proc/{init}/cgroup");
    let text = files::read_to_string(&path).on("read", &path)?;
    Ok(find_in(dir, &text))
}

pub(crate) fn find_in(dir: &Dir, text: &str) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let is_it = match controllers {
            "" => dir.unified,
            list => list.split(',').any(|name| dir.has(name)),
        };
        is_it.then_some(path)
    })?;
    let in_sight = !path.split('/').any(|part| part == "..");
    in_sight.then(|| dir.mount_point.join(path.trim_start_matches('/')))
}

/// The kernel cuts the mask to the cpuset. It refuses when none is left or the process is another user's, and
/// then nothing was ours to widen.
pub fn allow_every_cpu(pid: i32) -> Result<()> {
    match crate::sys::affinity::allow_every_cpu(pid) {
        Err(errno @ (rustix::io::Errno::INVAL | rustix::io::Errno::PERM)) => {
            log::debug!("processors of {pid} stay as they are: {errno}");
            Ok(())
        }
        other => other.with_context(|| format!("let process {pid} run on all processors")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Below> {
        Below::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    fn dir(controllers: &[&str]) -> Dir {
        Dir {
            name: String::new(),
            controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
            unified: controllers.is_empty(),
            mount_point: "/m".into(),
            path: "/m/web".into(),
            created: Vec::new(),
            found: Vec::new(),
        }
    }

    #[test]
    fn directories_below_are_by_controller_or_for_all() {
        let one = parse(&["cpu,cpuacct:a/b", "memory:/"]).unwrap();
        assert_eq!(one.path_in(&dir(&["cpuacct", "cpu"])), Path::new("/m/web/a/b"));
        assert_eq!(one.path_in(&dir(&["memory"])), Path::new("/m/web"));
        assert_eq!(one.path_in(&dir(&["pids"])), Path::new("/m/web"));
        assert_eq!(parse(&["/x/"]).unwrap().path_in(&dir(&[])), Path::new("/m/web/x"));
        for (words, part) in [
            (&[".."][..], "bad sub cgroup path"),
            (&["cpu:a/../.."], "bad sub cgroup path"),
            (&[":a"], "empty <controller> prefix"),
            (&["a", "b"], "missing <controller>: prefix"),
            (&["cpu:a", "memory,cpu:b"], "specified multiple times"),
        ] {
            let error = parse(words).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn init_is_found_in_the_hierarchy_that_is_asked_for() {
        let text = "4:memory:/a\n3:cpu,cpuacct:/b\n1:name=systemd:/\n0::/c/d\n";
        assert_eq!(find_in(&dir(&[]), text).unwrap(), Path::new("/m/c/d"));
        assert_eq!(find_in(&dir(&["cpuacct"]), text).unwrap(), Path::new("/m/b"));
        assert_eq!(find_in(&dir(&["pids"]), text), None);
        assert_eq!(find_in(&dir(&[]), "0::/../x\n"), None);
    }
}
