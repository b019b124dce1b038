//! Performs mount steps inside the root, each by descriptor: the place is opened below the root, the mount
//! is made detached and configured, then moved there.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, OFlags, StatVfsMountFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags};

use super::{cgroupfs, procfs, rootfs::move_onto};
use crate::cgroup::Shown;
use crate::error::{Context, Error, Kind, Result};
use crate::launch::idmap;
use crate::launch::sources::{self, Source, Sources};
use crate::launch::sync::{Message, Sync};
use crate::plan::Plan;
use crate::plan::mounts::{MountStep, NewFs, What};
use crate::sys::again::again;
use crate::sys::mount::{MountAttr, copy_mount, mount_setattr};
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

/// Where and with what the steps are performed.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The container's root.
    pub root: &'a OwnedFd,
    /// The plan.
    pub plan: &'a Plan,
    /// What a mount of type `cgroup` shows.
    pub cgroups: Option<&'a Shown>,
    /// The runtime, for what only it may do.
    pub runtime: &'a Sync,
}

impl Stage<'_> {
    /// Performs all steps in order. Returns the mounts that become read-only when all is in them.
    pub fn perform(&self, sources: &mut Sources) -> Result<Vec<Late>> {
        let mut read_only_last = Vec::new();
        let opened = sources.binds.iter_mut().zip(&sources.idmaps);
        for (step, (bind, mapping)) in self.plan.mounts.iter().zip(opened) {
            let own_cgroup_namespace = self.plan.namespaces.has(libc::CLONE_NEWCGROUP);
            let result = match &step.what {
                What::New(fs) if fs.kind == "tmpfs" && is_read_only(step) => {
                    let with_file_system = step.flags.set & libc::MOUNT_ATTR_RDONLY != 0;
                    self.mount_new(step, fs, mapping.as_ref())
                        .map(|mount| read_only_last.push(Late { mount, with_file_system }))
                }
                What::New(fs) => self.mount_new(step, fs, mapping.as_ref()).map(drop),
                What::Bind { recursive, .. } => match bind.take() {
                    Some(Source::Host(mount, is_directory)) => {
                        self.mount_bind(step, (mount, is_directory), true)
                    }
                    Some(Source::Inside(path)) => self
                        .open_inside(step, &path, *recursive, mapping.as_ref())
                        .and_then(|opened| self.mount_bind(step, opened, false)),
                    None => Err(Error::new(Kind::System, "bind source was not opened")),
                },
                What::Remount(parameters) => self.remount(step, parameters),
                What::Cgroup { unified } => {
                    let place = cgroupfs::Place {
                        root: self.root,
                        detached: !self.plan.namespaces.has(libc::CLONE_NEWNS),
                        unified: *unified,
                    };
                    match self.cgroups {
                        Some(shown) => cgroupfs::mount(place, step, shown, own_cgroup_namespace),
                        None => Err(Error::new(Kind::System, "the cgroups were not looked for")),
                    }
                }
            };
            result
                .with_context(|| describe(step))
                .map_err(|error| error.about(format!("mounts[{}]", step.index)))?;
        }
        Ok(read_only_last)
    }

    fn mount_new(&self, step: &MountStep, fs: &NewFs, mapping: Option<&OwnedFd>) -> Result<OwnedFd> {
        let mut parameters = fs.parameters.clone();
        let onto = match fs.kind.as_str() {
            // A link here would put them, and all that is masked below them, somewhere else (CVE-2019-19921).
            "proc" | "sysfs" => open_plain_directory(self.root, &step.destination)?,
            "tmpfs" => self.place_of_tmpfs(step, &mut parameters)?,
            _ => mkdir_all_in_root(self.root, &step.destination).context("create mount point")?,
        };
        refuse_over_proc(&onto, &step.destination)?;
        let copied = fs
            .copy_up
            .then(|| open_in_root(self.root, &step.destination, OFlags::RDONLY | OFlags::DIRECTORY));
        if !self.plan.mount_label.is_empty() && !matches!(fs.kind.as_str(), "proc" | "sysfs") {
            parameters.push(("context".to_owned(), Some(self.plan.mount_label.clone())));
        }
        let mount = match create_filesystem(&fs.kind, &fs.source, &parameters) {
            // sysfs belongs to the network namespace; without one of our own the host's is bound (as runc).
            Err(e)
                if fs.kind == "sysfs"
                    && e.errno() == Some(libc::EPERM)
                    && crate::sys::process::in_user_namespace() =>
            {
                copy_mount(rustix::fs::CWD, "/sys", true).context("bind /sys")?
            }
            other => other?,
        };
        if let (Some(namespace), Some(map)) = (mapping, &step.idmap) {
            idmap::map(&mount, map.recursive, namespace)?;
        }
        if let Some(from) = copied {
            crate::init::paths::copy_tree(&from.context("open what the tmpfs covers")?, &mount)
                .context("copy up")?;
        }
        let mut step = step.clone();
        if fs.kind == "tmpfs" {
            step.flags.set &= !libc::MOUNT_ATTR_RDONLY; // when all is in it
            step.recursive_attr.set &= !libc::MOUNT_ATTR_RDONLY;
        }
        set_attributes(&mount, step.flags.of_new(), &step)?;
        attach(&mount, &onto, &step)?;
        Ok(mount)
    }

    /// As runc: a tmpfs has the mode of the directory that it covers, if there was one.
    fn place_of_tmpfs(
        &self,
        step: &MountStep,
        parameters: &mut Vec<(String, Option<String>)>,
    ) -> Result<OwnedFd> {
        match open_in_root(self.root, &step.destination, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(onto) => {
                if !parameters.iter().any(|(key, _)| key == "mode") {
                    let mode =
                        again(|| rustix::fs::fstat(&onto)).context("look at mount point")?.st_mode & 0o7777;
                    parameters.push(("mode".to_owned(), Some(format!("{mode:o}"))));
                }
                Ok(onto)
            }
            Err(_) => mkdir_all_in_root(self.root, &step.destination).context("create mount point"),
        }
    }

    /// Opens a source that lies in the container's root, where earlier steps may have put it. Not by its path on
    /// the host: links in the root would lead there.
    fn open_inside(
        &self,
        step: &MountStep,
        path: &Path,
        recursive: bool,
        mapping: Option<&OwnedFd>,
    ) -> Result<(OwnedFd, bool)> {
        let source = open_in_root(self.root, path, OFlags::PATH).context("open source")?;
        let tree = copy_mount(source.as_fd(), "", recursive).context("copy source")?;
        sources::keep_apart(&tree, recursive, self.plan.root_propagation.inherited)
            .context("keep it apart from the host")?;
        if let (Some(namespace), Some(map)) = (mapping, &step.idmap) {
            match idmap::map(&tree, map.recursive, namespace) {
                // Our user namespace has no power over that file system; the runtime's may have.
                Err(error) if error.errno() == Some(libc::EPERM) => {
                    let (tree, namespace) = (tree.as_raw_fd(), namespace.as_raw_fd());
                    self.runtime.send(&Message::MapIds { tree, namespace, recursive: map.recursive })?;
                    self.runtime.wait_for(&Message::IdsMapped)?;
                }
                other => other?,
            }
        }
        let is_directory =
            FileType::from_raw_mode(again(|| rustix::fs::fstat(&tree)).context("look at source")?.st_mode)
                == FileType::Directory;
        Ok((tree, is_directory))
    }

    fn mount_bind(
        &self,
        step: &MountStep,
        (mount, is_directory): (OwnedFd, bool),
        opened_early: bool,
    ) -> Result<()> {
        let onto = if is_directory {
            mkdir_all_in_root(self.root, &step.destination).context("create mount point")?
        } else {
            let onto = create_file_in_root(self.root, &step.destination).context("create mount point")?;
            if FileType::from_raw_mode(
                again(|| rustix::fs::fstat(&onto)).context("look at mount point")?.st_mode,
            ) == FileType::Directory
            {
                // move_mount(2) says EINVAL for this and for much else; engines give a hint for ENOTDIR.
                return Err(rustix::io::Errno::NOTDIR).context("attach a file to a directory");
            }
            onto
        };
        refuse_over_proc(&onto, &step.destination)?;
        if step.flags.given {
            self.change_existing(&mount, step)?;
        }
        set_attributes(&mount, MountAttr::default(), step)?;
        let mount = if opened_early { self.made_now(mount, &onto)? } else { mount };
        attach(&mount, &onto, step)
    }

    /// The same mount as the youngest one: the kernel lists mounts by age, not by when they were attached, and
    /// sources are opened before all else is made. Who reads the list from top to bottom takes the last of a place
    /// for the one on top. Only a mount of our own namespace can be copied, so it is put on a tree of ours first
    /// that is attached nowhere. Kernels before 6.15 can't do that, and it stays as it is.
    fn made_now(&self, mount: OwnedFd, onto: &OwnedFd) -> Result<OwnedFd> {
        let inherited = self.plan.root_propagation.inherited;
        if !self.plan.namespaces.has(libc::CLONE_NEWNS)
            || !matches!(inherited, libc::MS_SLAVE | libc::MS_PRIVATE)
        {
            return Ok(mount);
        }
        let stand = match copy_mount(onto.as_fd(), "", false) {
            Err(rustix::io::Errno::INVAL) => return Ok(mount), // the place is unbindable
            other => other.context("copy the place")?,
        };
        // What happens on it must not happen at the place as well.
        let private = MountAttr { propagation: libc::MS_PRIVATE, ..Default::default() };
        mount_setattr(stand.as_fd(), false, private).context("set the copy apart")?;
        if move_onto(&mount, &stand).is_err() {
            return Ok(mount);
        }
        copy_mount(mount.as_fd(), "", true).context("copy the opened source")
    }

    /// Gives a mount that was made elsewhere its flags. Those that it has are locked for a user namespace: the
    /// kernel says so where the namespace made no copy itself, and we do where the runtime opened the source.
    fn change_existing(&self, mount: &OwnedFd, step: &MountStep) -> Result<()> {
        let change = |attr| mount_setattr(mount.as_fd(), false, attr);
        if !self.plan.namespaces.has(libc::CLONE_NEWUSER) {
            match change(step.flags.of_existing()) {
                Err(rustix::io::Errno::PERM) => {}
                other => return other.context("set attributes"),
            }
        }
        let existing = attributes_of(mount)?;
        let attr = step.flags.of_locked(existing).ok_or(rustix::io::Errno::PERM);
        attr.and_then(change).context("set attributes that the source has locked")
    }

    fn remount(&self, step: &MountStep, parameters: &[(String, Option<String>)]) -> Result<()> {
        let mount = open_in_root(self.root, &step.destination, OFlags::PATH).context("open mount point")?;
        if !parameters.is_empty() {
            reconfigure(&mount, parameters)?;
        }
        if step.flags.given {
            self.change_existing(&mount, step)?;
        }
        set_attributes(&mount, MountAttr::default(), step)
    }
}

/// In the words of runc, by which users search.
fn describe(step: &MountStep) -> String {
    let source = match &step.what {
        What::New(fs) => Path::new(&fs.source),
        What::Bind { source, .. } => source,
        What::Remount(_) => Path::new("remount"),
        What::Cgroup { .. } => Path::new("cgroup"),
    };
    format!("error mounting {source:?} to rootfs at {:?}", step.destination)
}

fn is_read_only(step: &MountStep) -> bool {
    (step.flags.set | step.recursive_attr.set) & libc::MOUNT_ATTR_RDONLY != 0
}

/// The flags that a mount has, as `MOUNT_ATTR_*`.
fn attributes_of(mount: &OwnedFd) -> Result<u64> {
    let has = again(|| rustix::fs::fstatvfs(mount)).context("ask for its attributes")?.f_flag;
    let named = [
        (StatVfsMountFlags::RDONLY, libc::MOUNT_ATTR_RDONLY),
        (StatVfsMountFlags::NOSUID, libc::MOUNT_ATTR_NOSUID),
        (StatVfsMountFlags::NODEV, libc::MOUNT_ATTR_NODEV),
        (StatVfsMountFlags::NOEXEC, libc::MOUNT_ATTR_NOEXEC),
        (StatVfsMountFlags::NODIRATIME, libc::MOUNT_ATTR_NODIRATIME),
        (StatVfsMountFlags::NOATIME, libc::MOUNT_ATTR_NOATIME),
    ];
    let bits: u64 = named.iter().filter(|(flag, _)| has.contains(*flag)).map(|(_, bit)| bit).sum();
    let is_strict = !has.intersects(StatVfsMountFlags::NOATIME | StatVfsMountFlags::RELATIME);
    Ok(if is_strict { bits | libc::MOUNT_ATTR_STRICTATIME } else { bits })
}

/// A mount that becomes read-only when all is in it.
#[derive(Debug)]
pub struct Late {
    mount: OwnedFd,
    /// By `ro`, which mount(2) gives to the file system too; `rro` is of mounts alone.
    with_file_system: bool,
}

/// Makes it read-only.
pub fn make_read_only(Late { mount, with_file_system }: &Late) -> Result<()> {
    let change = MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..Default::default() };
    match mount_setattr(mount.as_fd(), false, change) {
        // In a tree that is attached nowhere only the file system itself can be changed.
        Err(rustix::io::Errno::INVAL) => {}
        other => {
            other.context("set read-only")?;
            if !with_file_system {
                return Ok(());
            }
        }
    }
    reconfigure(mount, &[("ro".to_owned(), None)])
}

fn reconfigure(mount: &OwnedFd, parameters: &[(String, Option<String>)]) -> Result<()> {
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let fs = again(|| rustix::mount::fspick(mount, "", flags)).context("open file system")?;
    configure(fs.as_fd(), parameters)?;
    again(|| rustix::mount::fsconfig_reconfigure(fs.as_fd())).context("reconfigure file system")
}

fn open_plain_directory(root: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    let open = || open_plain_in_root(root, path, OFlags::PATH | OFlags::DIRECTORY);
    match open() {
        Err(rustix::io::Errno::NOENT) => {
            mkdir_all_in_root(root, path).context("create mount point")?;
            open().context("open mount point")
        }
        other => other.with_context(|| format!("{} must be mounted on ordinary directory", path.display())),
    }
}

/// Makes a detached instance of a file system.
pub fn create_filesystem(
    kind: &str,
    source: &str,
    parameters: &[(String, Option<String>)],
) -> Result<OwnedFd> {
    let context = again(|| rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC));
    let context = context.with_context(|| format!("open file system {kind:?}"))?;
    let fd = context.as_fd();
    again(|| rustix::mount::fsconfig_set_string(fd, "source", source)).context("set source")?;
    configure(fd, parameters)?;
    again(|| rustix::mount::fsconfig_create(fd)).with_context(|| format!("create file system {kind:?}"))?;
    again(|| rustix::mount::fsmount(fd, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()))
        .context("make mount")
}

fn configure(fs: std::os::fd::BorrowedFd<'_>, parameters: &[(String, Option<String>)]) -> Result<()> {
    parameters.iter().try_for_each(|(key, value)| match value {
        Some(value) => again(|| rustix::mount::fsconfig_set_string(fs, key.as_str(), value.as_str()))
            .with_context(|| format!("set {key}={value}")),
        None => set_flag(fs, key),
    })
}

fn set_flag(fs: std::os::fd::BorrowedFd<'_>, key: &str) -> Result<()> {
    match again(|| rustix::mount::fsconfig_set_flag(fs, key)) {
        // mount(2) takes it as a flag of any file system; by this call few know it by that name, and all that
        // have inode versions keep them anyway.
        Err(rustix::io::Errno::INVAL) if key == "iversion" => Ok(()),
        other => other.with_context(|| format!("set {key}")),
    }
}

/// Moves a finished mount to its place.
pub fn attach(mount: &OwnedFd, onto: &OwnedFd, step: &MountStep) -> Result<()> {
    move_onto(mount, onto).context("attach")?;
    // Propagation comes last: a detached mount may not be shared with anybody yet.
    for (propagation, recursive) in &step.propagation {
        let change = MountAttr { propagation: *propagation, ..Default::default() };
        mount_setattr(mount.as_fd(), *recursive, change).context("set propagation")?;
    }
    Ok(())
}

/// Gives a mount its attributes while nobody can see it: `attr`, and those of the step that are for the tree.
pub fn set_attributes(mount: &OwnedFd, attr: MountAttr, step: &MountStep) -> Result<()> {
    if !attr.is_empty() {
        mount_setattr(mount.as_fd(), false, attr).context("set attributes")?;
    }
    if !step.recursive_attr.is_empty() {
        mount_setattr(mount.as_fd(), true, step.recursive_attr).context("set recursive attributes")?;
    }
    Ok(())
}

/// A mount inside /proc could fake what the runtime or the container's programs trust, so only a few files
/// may be covered. Asked of the opened place itself: no spelling of the path gets around it.
pub fn refuse_over_proc(onto: &OwnedFd, destination: &Path) -> Result<()> {
    if again(|| rustix::fs::fstatfs(onto)).context("look at mount point")?.f_type != libc::PROC_SUPER_MAGIC
        || again(|| rustix::fs::fstat(onto)).context("look at mount point")?.st_ino == procfs::ROOT_INODE
    {
        return Ok(());
    }
    let allowed = PROC_OVERMOUNTS.iter().any(|path| Path::new(path) == destination);
    if allowed { Ok(()) } else { Err(Error::invalid("must not be mounted inside /proc")) }
}
