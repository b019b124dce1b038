//! Whether the programs that a config names are there: the container's own below its root, hooks in the root that
//! they run in.
//!
//! The root is as yet without its mounts. So a path is followed link by link, and where it comes to a place that
//! will be mounted over, nothing can be said and nothing is.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::{Error, Kind, describe_errno};
use crate::plan::Plan;
use crate::plan::findings::Findings;
use crate::plan::process::ProcessPlan;
use crate::sys::again::again;
use crate::sys::path::open_plain_in_root;
use crate::sys::search::{self, Missed};

/// The kernel's own bound on symbolic links in one path (path_resolution(7)).
const MOST_LINKS: u32 = 40;

/// Finds programs that are missing or can't be executed.
pub fn check(plan: &Plan, findings: &mut Findings) {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = again(|| rustix::fs::open(&plan.rootfs, flags, Mode::empty())).ok();
    let root =
        root.map(|fd| Root { fd, mounts: plan.mounts.iter().map(|m| m.destination.as_path()).collect() });
    for (kind, list) in plan.hooks.lists() {
        for (index, hook) in list.iter().enumerate().filter(|(_, hook)| hook.path.is_absolute()) {
            let verdict = match (kind, &root) {
                ("startContainer", Some(root)) => root.verdict(&hook.path),
                ("startContainer", None) => Ok(()),
                _ => again(|| rustix::fs::stat(&hook.path)).and_then(|stat| executable(&stat)),
            };
            if let Err(errno) = verdict {
                findings.push(refusal(&format!("hooks.{kind}[{index}].path"), &hook.path, errno));
            }
        }
    }
    if let (Some(root), Some(process)) = (&root, &plan.process)
        && let Some(name) = process.args.first().filter(|name| !name.is_empty())
    {
        findings.keep(find(root, process, Path::new(OsStr::from_bytes(name.to_bytes()))));
    }
}

/// Looks for the program as execvp(3) does.
fn find(root: &Root<'_>, process: &ProcessPlan, name: &Path) -> Result<(), Error> {
    let field = "process.args[0]";
    if name.as_os_str().as_bytes().contains(&b'/') {
        return root.verdict(&process.cwd.join(name)).map_err(|errno| refusal(field, name, errno));
    }
    let check = |candidate: &Path| root.verdict(&process.cwd.join(candidate));
    match search::along(process.env_value("PATH"), name.as_os_str(), check) {
        Ok(_) => Ok(()),
        Err(Missed::Failed(errno)) => Err(refusal(field, name, errno)),
        Err(Missed::Denied) => Err(refusal(field, name, Errno::ACCESS)),
        Err(Missed::Absent) => {
            let message = format_args!("{:?}: executable file not found in $PATH", name);
            Err(Error::at_as(Kind::NotFound, field, message).with_errno(libc::ENOENT).on_path(name))
        }
    }
}

fn refusal(field: &str, path: &Path, errno: Errno) -> Error {
    let message = format!("{}: {}", path.display(), describe_errno(errno.raw_os_error()));
    Error::at_as(Kind::NotFound, field, message).with_errno(errno.raw_os_error()).on_path(path)
}

/// Whether somebody may execute it; who the program will be is not asked.
fn executable(stat: &Stat) -> Result<(), Errno> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Err(Errno::ISDIR),
        FileType::RegularFile if stat.st_mode & 0o111 != 0 => Ok(()),
        _ => Err(Errno::ACCESS),
    }
}

/// A root file system with the places that will be mounted over.
struct Root<'a> {
    fd: OwnedFd,
    mounts: Vec<&'a Path>,
}

impl Root<'_> {
    fn verdict(&self, path: &Path) -> Result<(), Errno> {
        self.look_up(path)?.map_or(Ok(()), |stat| executable(&stat))
    }

    /// What is at `path` in the root; `None` where something will be mounted over it.
    fn look_up(&self, path: &Path) -> Result<Option<Stat>, Errno> {
        let steps = |path: &Path| -> Vec<Vec<u8>> {
            path.components().rev().map(|part| part.as_os_str().as_bytes().to_owned()).collect()
        };
        let (mut place, mut rest, mut links) = (PathBuf::from("/"), steps(path), 0..MOST_LINKS);
        while let Some(step) = rest.pop() {
            let step = Path::new(OsStr::from_bytes(&step));
            match step.components().next() {
                Some(Component::RootDir) => place = PathBuf::from("/"),
                Some(Component::ParentDir) => drop(place.pop()),
                Some(Component::Normal(name)) => {
                    let next = place.join(name);
                    if self.mounts.contains(&next.as_path()) {
                        return Ok(None);
                    }
                    let fd = open_plain_in_root(&self.fd, &next, OFlags::PATH | OFlags::NOFOLLOW)?;
                    let mode = again(|| rustix::fs::fstat(&fd))?.st_mode;
                    if FileType::from_raw_mode(mode) != FileType::Symlink {
                        place = next;
                        continue;
                    }
                    if links.next().is_none() {
                        return Err(Errno::LOOP);
                    }
                    let target = again(|| rustix::fs::readlinkat(&fd, "", Vec::new()))?.into_bytes();
                    rest.extend(steps(&PathBuf::from(std::ffi::OsString::from_vec(target))));
                }
                _ => {}
            }
        }
        Ok(Some(again(|| rustix::fs::fstat(open_plain_in_root(&self.fd, &place, OFlags::PATH)?))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn links_stay_in_the_root_and_mounts_hide_what_is_behind() {
        let dir = std::env::temp_dir().join(format!("wharf-program-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("usr/bin")).unwrap();
        std::fs::write(dir.join("usr/bin/tool"), "").unwrap();
        std::fs::write(dir.join("usr/bin/data"), "").unwrap();
        std::fs::set_permissions(dir.join("usr/bin/tool"), std::fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/usr/bin", dir.join("bin")).unwrap();
        symlink("../../../../../usr/bin/tool", dir.join("up")).unwrap();
        symlink("/nix/store/x", dir.join("far")).unwrap();
        symlink("loop", dir.join("loop")).unwrap();
        let fd = rustix::fs::open(&dir, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let root = Root { fd, mounts: vec![Path::new("/nix")] };
        for (path, expected) in [
            ("/bin/tool", Ok(())),
            ("/up", Ok(())),
            ("/far", Ok(())),
            ("/nix/any", Ok(())),
            ("/bin/data", Err(Errno::ACCESS)),
            ("/bin/none", Err(Errno::NOENT)),
            ("/bin", Err(Errno::ISDIR)),
            ("/loop", Err(Errno::LOOP)),
            ("/usr/bin/tool/x", Err(Errno::NOTDIR)),
        ] {
            assert_eq!(root.verdict(Path::new(path)), expected, "{path}");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
