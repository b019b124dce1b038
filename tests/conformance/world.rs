//! The world the runtime under test lives in: mount and network namespaces of the suite's own.
//!
//! So a case may mount, pin namespaces and make network devices as it likes, and nothing of it is on the host. All
//! mounts are shared, as systemd has them on most hosts: what a runtime lets out is seen.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::requirement::Skip;

/// Leaves the host's mount and network namespaces, before there are threads.
pub fn enter() {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("the suite needs root");
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    let unified = "/sys/fs/cgroup/unified";
    if std::env::var_os("WHARF_CONFORMANCE_LEGACY").is_some() && Path::new(unified).exists() {
        // crun refuses a hybrid layout whose unified part has controllers: it gets to see the v1 part alone.
        mount(Some(unified), "/mnt", nothing, MsFlags::MS_MOVE, nothing).unwrap();
    }
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SHARED, nothing).unwrap();
    ip(&["link", "set", "lo", "up"]);
}

/// Runs iproute2's `ip`.
#[track_caller]
pub fn ip(words: &[&str]) -> String {
    let output = Command::new("ip").args(words).output().expect("iproute2");
    assert!(output.status.success(), "ip {words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// MS_NOSYMFOLLOW of mount(2) (Linux 5.10), which nix does not name.
pub const NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(256);

/// A mount that is gone at the end.
pub struct Mounting(PathBuf);

impl Mounting {
    /// Mounts a tmpfs on `folder`, which is made; `flags` are the mount's own, not the superblock's.
    pub fn tmpfs(folder: &Path, flags: MsFlags) -> Mounting {
        std::fs::create_dir_all(folder).unwrap();
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some("mode=755")).unwrap();
        let this = Mounting(folder.to_owned());
        Mounting::change(folder, flags);
        this
    }

    /// Mounts `folder`, which is made, onto itself.
    pub fn bind(folder: &Path) -> Mounting {
        std::fs::create_dir_all(folder).unwrap();
        let nothing: Option<&str> = None;
        mount(Some(folder), folder, nothing, MsFlags::MS_BIND, nothing).unwrap();
        Mounting(folder.to_owned())
    }

    /// Gives the mount at `folder` other flags.
    pub fn change(folder: &Path, flags: MsFlags) {
        let nothing: Option<&str> = None;
        mount(nothing, folder, nothing, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags, nothing).unwrap();
    }
}

impl Drop for Mounting {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).ok();
    }
}

/// A process that keeps namespaces alive; killed at the end.
pub struct Holder(Child);

impl Holder {
    /// `unshare` with these options.
    pub fn of(options: &[&str]) -> Holder {
        let words = options.iter().chain(&["sh", "-c", "echo ready; exec sleep 1000"]);
        let mut child =
            Command::new("unshare").args(words).stdout(Stdio::piped()).spawn().expect("util-linux");
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        Holder(child)
    }

    /// Maps the ids of its user namespace from 100000 on.
    pub fn with_mapped_ids(self) -> Holder {
        for file in ["uid_map", "gid_map"] {
            std::fs::write(format!("/proc/{}/{file}", self.0.id()), "0 100000 65536").unwrap();
        }
        self
    }

    /// The path of one of its namespaces.
    pub fn path(&self, file: &str) -> String {
        format!("/proc/{}/ns/{file}", self.0.id())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The identity of a namespace, `net:[4026531840]`.
pub fn namespace(path: &str) -> String {
    std::fs::read_link(path).unwrap().to_str().unwrap().to_owned()
}

/// Skips where a file of the kernel is not there.
pub fn need(path: &str, what: &str) -> Result<(), Skip> {
    if Path::new(path).exists() { Ok(()) } else { Err(Skip(format!("kernel: {what}"))) }
}

/// Whether the kernel has this file system.
pub fn kernel_has_file_system(kind: &str) -> bool {
    let all = std::fs::read_to_string("/proc/filesystems").unwrap();
    all.lines().any(|line| line.split('\t').next_back() == Some(kind))
}
