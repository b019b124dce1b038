//! The bundle as each run finds it: a root file system of busybox, folders to bind from, and the probe with its
//! lists of what to look at. It is made anew for every run, for the one before may have changed anything.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;
use wharf_tests::hierarchies;

use crate::place::Host;

const KINDS: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
const APPLETS: &str = "sh awk cat chmod chown chroot cut env find grep head hostname id ionice ip kill ln ls mkdir mknod nice readlink \
 rm rmdir sed setsid sort stat stty taskset touch tr true uname unshare wc";

/// Everything that a run may have changed is made anew.
pub fn refill(host: &Host, config: &Value) {
    let bundle = &host.bundle;
    for name in ["rootfs", "data", "look"] {
        fs::remove_dir_all(bundle.join(name)).ok();
        fs::create_dir(bundle.join(name)).unwrap();
    }
    fs::remove_file(bundle.join("hooks")).ok();
    let root = bundle.join("rootfs");
    for name in ["bin", "etc", "tmp", "proc", "sys", "dev", "root", "opt", "var"] {
        fs::create_dir(root.join(name)).unwrap();
    }
    for open in ["tmp", "var"] {
        fs::set_permissions(root.join(open), fs::Permissions::from_mode(0o1777)).unwrap();
    }
    fs::hard_link(bundle.join("busybox"), root.join("bin/busybox")).unwrap();
    for applet in APPLETS.split_whitespace() {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    symlink("/opt", root.join("link")).unwrap();
    symlink("../../../../tmp", root.join("abs")).unwrap();
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n",
    )
    .unwrap();
    fs::create_dir_all(bundle.join("data/dir/sub")).unwrap();
    fs::create_dir(bundle.join("data/other")).unwrap();
    fs::write(bundle.join("data/dir/file"), "in a folder").unwrap();
    fs::write(bundle.join("data/file"), "text").unwrap();
    symlink("dir", bundle.join("data/link")).unwrap();
    if let Some(owner) = config["linux"]["uidMappings"][0]["hostID"].as_u64() {
        give(&root, owner as u32);
    }
    fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    write_lists(host, config);
}

/// What the probe is to look at.
fn write_lists(host: &Host, config: &Value) {
    let strings = |list: &Value, key: &str| -> Vec<String> {
        let take =
            |item: &Value| if key.is_empty() { item.as_str() } else { item[key].as_str() }.map(str::to_owned);
        list.as_array().into_iter().flatten().filter_map(take).collect()
    };
    let linux = &config["linux"];
    let mut touch = strings(&config["mounts"], "destination");
    // What is written there may be the host's: the queues of its IPC namespace, its control groups.
    touch.retain(|at| !["/proc", "/sys", "/dev", "/look", "/hostcg"].iter().any(|skip| at.starts_with(skip)));
    let hosts = |kind: &Value| ["mqueue", "proc", "sysfs", "devpts"].iter().any(|name| kind == name);
    for mount in config["mounts"].as_array().into_iter().flatten() {
        if hosts(&mount["type"]) || mount["source"] == "/sys/fs/cgroup" {
            touch.retain(|at| mount["destination"] != at.as_str());
        }
    }
    touch.extend(["/", "/tmp", "/etc"].map(str::to_owned));
    let paths = [strings(&linux["maskedPaths"], ""), strings(&linux["readonlyPaths"], "")].concat();
    let mut devices = strings(&linux["devices"], "path");
    devices.extend(
        ["null", "zero", "full", "random", "urandom", "tty", "ptmx"].map(|name| format!("/dev/{name}")),
    );
    let cgroup = linux["cgroupsPath"].as_str().filter(|path| path.starts_with('/'));
    let seen = |hierarchy: PathBuf| {
        let below = hierarchy.strip_prefix("/sys/fs/cgroup").unwrap_or(&hierarchy);
        Path::new("/hostcg").join(below).display().to_string() + cgroup.unwrap()
    };
    let cgroups = if cgroup.is_some() { hierarchies().into_iter().map(seen).collect() } else { Vec::new() };
    for (name, list) in [
        ("touch", touch),
        ("paths", paths),
        ("devices", devices),
        ("cgroups", cgroups),
        ("known", known(host)),
    ] {
        let text: String = list.iter().map(|line| format!("{line}\n")).collect();
        fs::write(host.bundle.join("look").join(name), text).unwrap();
    }
    fs::write(host.bundle.join("look/look"), include_str!("look")).unwrap();
}

fn known(host: &Host) -> Vec<String> {
    let link = |path: String| fs::read_link(path).unwrap().to_str().unwrap().to_owned();
    let outer = KINDS.iter().map(|kind| format!("host {}", link(format!("/proc/thread-self/ns/{kind}"))));
    let held = host.held.values().map(|path| format!("held {}", link(path.clone())));
    outer.chain(held).collect()
}

/// As an engine would, the root of a user namespace gets its root file system.
fn give(path: &Path, owner: u32) {
    lchown(path, Some(owner), Some(owner)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), owner));
    }
}
