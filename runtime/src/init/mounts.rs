//! Performs mount steps inside the root, each by descriptor: the place is opened below the root, the mount
//! is made detached and configured, then moved there.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use super::{cgroupfs, rootfs::move_onto};
use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Kind, Result};
use crate::launch::sources::Sources;
use crate::plan::Plan;
use crate::plan::mounts::{MountStep, NewFs, What};
use crate::sys::mount::{MountAttr, mount_setattr};
use crate::sys::path::{create_file_in_root, mkdir_all_in_root, open_in_root, open_plain_in_root};

/// What may be mounted over inside /proc: files that monitoring tools fake (as runc).
const PROC_OVERMOUNTS: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// Performs all steps in order.
pub fn perform(root: &OwnedFd, plan: &Plan, sources: &mut Sources, cgroup: &Cgroup) -> Result<()> {
    for (step, bind) in plan.mounts.iter().zip(sources.binds.iter_mut()) {
        let context = || format!("mounts[{}]: mount {}", step.index, step.destination.display());
        let own_cgroup_namespace = plan.namespaces.has(libc::CLONE_NEWCGROUP);
        let result = match &step.what {
            What::New(fs) => mount_new(root, step, fs, plan),
            What::Bind { .. } => mount_bind(root, step, bind.take()),
            What::Remount => remount(root, step),
            What::Cgroup => cgroupfs::mount(root, step, cgroup, own_cgroup_namespace),
        };
        result.with_context(context)?;
    }
    Ok(())
}

fn mount_new(root: &OwnedFd, step: &MountStep, fs: &NewFs, plan: &Plan) -> Result<()> {
    let onto = match fs.kind.as_str() {
        // A link here would put them, and all that is masked below them, somewhere else (CVE-2019-19921).
        "proc" | "sysfs" => open_plain_directory(root, &step.destination)?,
        _ => mkdir_all_in_root(root, &step.destination)?,
    };
    refuse_over_proc(&onto, step)?;
    let mut parameters = fs.parameters.clone();
    let copied =
        fs.copy_up.then(|| open_in_root(root, &step.destination, OFlags::RDONLY | OFlags::DIRECTORY));
    if fs.kind == "tmpfs" && !parameters.iter().any(|(key, _)| key == "mode") {
        // As runc: a tmpfs has the mode of the directory that it covers.
        let mode = rustix::fs::fstat(&onto)?.st_mode & 0o7777;
        parameters.push(("mode".to_owned(), Some(format!("{mode:o}"))));
    }
    let mount = match create_filesystem(&fs.kind, &fs.source, &parameters) {
        // sysfs belongs to the network namespace; without one of our own the host's is bound (as runc).
        Err(e)
            if fs.kind == "sysfs"
                && e.errno() == Some(libc::EPERM)
                && plan.namespaces.has(libc::CLONE_NEWUSER) =>
        {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE;
            rustix::mount::open_tree(rustix::fs::CWD, "/sys", flags).context("bind /sys")?
        }
        other => other?,
    };
    if let Some(from) = copied {
        crate::init::paths::copy_tree(&from.context("open what the tmpfs covers")?, &mount)
            .context("copy up")?;
    }
    attach(&mount, &onto, step)
}

fn open_plain_directory(root: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    let open = || open_plain_in_root(root, path, OFlags::PATH | OFlags::DIRECTORY);
    match open() {
        Err(rustix::io::Errno::NOENT) => {
            mkdir_all_in_root(root, path)?;
            open().map_err(Error::from)
        }
        other => other.context("must be an ordinary directory"),
    }
}

/// Makes a detached instance of a file system.
pub fn create_filesystem(
    kind: &str,
    source: &str,
    parameters: &[(String, Option<String>)],
) -> Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC);
    let context = context.with_context(|| format!("open file system {kind:?}"))?;
    let fd = context.as_fd();
    rustix::mount::fsconfig_set_string(fd, "source", source).context("set source")?;
    for (key, value) in parameters {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(fd, key.as_str(), value.as_str())
                .with_context(|| format!("set {key}={value}"))?,
            None => {
                rustix::mount::fsconfig_set_flag(fd, key.as_str()).with_context(|| format!("set {key}"))?
            }
        }
    }
    rustix::mount::fsconfig_create(fd).with_context(|| format!("create file system {kind:?}"))?;
    rustix::mount::fsmount(fd, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).context("make mount")
}

fn mount_bind(root: &OwnedFd, step: &MountStep, bind: Option<(OwnedFd, bool)>) -> Result<()> {
    let (mount, is_directory) = bind.ok_or_else(|| Error::new(Kind::System, "bind source was not opened"))?;
    let onto = if is_directory {
        mkdir_all_in_root(root, &step.destination)?
    } else {
        create_file_in_root(root, &step.destination)?
    };
    refuse_over_proc(&onto, step)?;
    attach(&mount, &onto, step)
}

fn remount(root: &OwnedFd, step: &MountStep) -> Result<()> {
    let mount = open_in_root(root, &step.destination, OFlags::PATH)?;
    change(&mount, step)
}

/// Gives the mount its attributes while nobody can see it, and moves it to its place.
pub fn attach(mount: &OwnedFd, onto: &OwnedFd, step: &MountStep) -> Result<()> {
    change(mount, step)?;
    move_onto(mount, onto).context("attach")?;
    // Propagation comes last: a detached mount may not be shared with anybody yet.
    for (propagation, recursive) in &step.propagation {
        let change = MountAttr { propagation: *propagation, ..Default::default() };
        mount_setattr(mount.as_fd(), *recursive, change).context("set propagation")?;
    }
    Ok(())
}

fn change(mount: &OwnedFd, step: &MountStep) -> Result<()> {
    if !step.attr.is_empty() {
        mount_setattr(mount.as_fd(), false, step.attr).context("set attributes")?;
    }
    if !step.recursive_attr.is_empty() {
        mount_setattr(mount.as_fd(), true, step.recursive_attr).context("set recursive attributes")?;
    }
    Ok(())
}

/// A mount inside /proc could fake what the runtime or the container's programs trust, so only a few files
/// may be covered. Asked of the opened place itself: no spelling of the path gets around it.
fn refuse_over_proc(onto: &OwnedFd, step: &MountStep) -> Result<()> {
    const PROC_ROOT_INODE: u64 = 1;
    if rustix::fs::fstatfs(onto)?.f_type != libc::PROC_SUPER_MAGIC
        || rustix::fs::fstat(onto)?.st_ino == PROC_ROOT_INODE
    {
        return Ok(());
    }
    let allowed = PROC_OVERMOUNTS.iter().any(|path| Path::new(path) == step.destination);
    if allowed { Ok(()) } else { Err(Error::invalid("must not be mounted inside /proc")) }
}

/// Opens a directory below `directory` that is really there, making it if need be.
pub fn subdirectory(directory: &OwnedFd, name: &str) -> Result<OwnedFd> {
    match rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    Ok(open_plain_in_root(directory, Path::new(name), OFlags::PATH | OFlags::DIRECTORY)?)
}
