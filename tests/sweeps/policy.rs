//! The trace policy: once the runtime has entered a root that is not to be trusted, it finds no file but through a
//! descriptor of a folder, by openat2(2) with RESOLVE_* or by a single name that is not followed, and asks no /proc but
//! its own. What else it may do is listed, with the reason.

use std::collections::HashMap;
use std::os::unix::fs::symlink;
use std::time::Duration;

use nix::unistd::Pid;
use serde_json::json;
use wharf_tests::{Sandbox, is_ours, patience};

use crate::tracer::{Action, Stop, Traced};

/// Calls that name a file by a path of their own, and why each may: the call, the path, the reason. `{root}` stands for
/// the root's path on the host, `{program}` for that of the container's program, `*` for anything that follows.
const ALLOWED: [(&str, &str, &str); 15] = [
    ("open_tree", "{root}", "this is how the root is entered, by a path that the caller vouches for"),
    ("open", "{root}", "where the tree is attached: the same path of the host"),
    ("openat", "{root}", "where the tree is attached: the same path of the host"),
    ("open_tree", "/sys/fs/cgroup/*", "the host's cgroups, while the host is still the root"),
    ("openat", "/", "the root directory itself: no name is followed"),
    ("open", "/", "the root directory itself: no name is followed"),
    ("chdir", "/", "the root directory itself: no name is followed"),
    ("pivot_root", ".", "the folder just entered by its descriptor"),
    ("mount", ".", "the old root, entered by its descriptor"),
    ("umount2", ".", "the old root, entered by its descriptor"),
    (
        "newfstatat",
        "{program}",
        "found as execve finds it: as the program's user, with nothing of the host open any more",
    ),
    (
        "stat",
        "{program}",
        "found as execve finds it: as the program's user, with nothing of the host open any more",
    ),
    (
        "faccessat2",
        "{program}",
        "found as execve finds it: as the program's user, with nothing of the host open any more",
    ),
    ("execve", "{program}", "the container's program is the container's"),
    ("chroot", ".", "the folder just entered by its descriptor"),
];

const O_CREAT_EXCL: u64 = (libc_flags::CREAT | libc_flags::EXCL) as u64;

/// Flags of calls as the kernel has them (asm-generic/fcntl.h, linux/fcntl.h, linux/mount.h, linux/openat2.h).
mod libc_flags {
    pub const CREAT: u32 = 0o100;
    pub const EXCL: u32 = 0o200;
    pub const NOFOLLOW: u32 = 0o400_000;
    pub const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
    pub const AT_EMPTY_PATH: u64 = 0x1000;
    pub const FSPICK_EMPTY_PATH: u64 = 8;
    pub const MOVE_MOUNT_EMPTY_PATHS: u64 = 0x44;
    pub const RESOLVE_NO_XDEV: u64 = 1;
    pub const RESOLVE_NO_MAGICLINKS: u64 = 2;
    pub const RESOLVE_NO_SYMLINKS: u64 = 4;
    pub const RESOLVE_BENEATH: u64 = 8;
    pub const RESOLVE_IN_ROOT: u64 = 16;
    pub const PROC_SUPER_MAGIC: i64 = 0x9fa0;
}

use libc_flags::*;

/// One process of the runtime in a hostile root.
#[derive(Default)]
struct Watched {
    /// It has entered one.
    inside: bool,
    /// Its descriptors of what was found in an allowed way.
    found: Vec<i32>,
    /// It has become the container's.
    done: bool,
}

struct Policy {
    root: String,
    program: String,
    processes: HashMap<Pid, Watched>,
    violations: Vec<String>,
    /// Calls that were looked at.
    looked_at: usize,
}

/// Where a call names a file: by which arguments the folder and the name are given.
fn names(call: &str) -> &'static [(Option<usize>, usize)] {
    match call {
        "openat" | "openat2" | "mkdirat" | "mknodat" | "unlinkat" | "readlinkat" | "newfstatat" | "statx"
        | "fchownat" | "fchmodat" | "fchmodat2" | "faccessat" | "faccessat2" | "open_tree"
        | "mount_setattr" | "fspick" | "utimensat" | "name_to_handle_at" | "execveat" => &[(Some(0), 1)],
        "symlinkat" => &[(Some(1), 2)],
        "linkat" | "renameat" | "renameat2" | "move_mount" => &[(Some(0), 1), (Some(2), 3)],
        "open" | "creat" | "stat" | "lstat" | "access" | "mkdir" | "rmdir" | "mknod" | "unlink"
        | "readlink" | "chmod" | "chown" | "lchown" | "truncate" | "statfs" | "chdir" | "chroot"
        | "execve" | "umount2" | "getxattr" | "lgetxattr" | "setxattr" | "pivot_root" => &[(None, 0)],
        "mount" | "symlink" => &[(None, 1)],
        "link" | "rename" => &[(None, 0), (None, 1)],
        _ => &[],
    }
}

impl Policy {
    fn is_listed(&self, call: &str, path: &str) -> bool {
        ALLOWED.iter().any(|(name, pattern, _)| {
            let pattern = pattern.replace("{root}", &self.root).replace("{program}", &self.program);
            *name == call
                && pattern.strip_suffix('*').map_or(path == pattern, |start| path.starts_with(start))
        })
    }

    /// What is wrong with a call of a process inside.
    fn judge(&self, stop: &Stop, watched: &Watched) -> Option<String> {
        let name = stop.name();
        for (folder, at) in names(name) {
            let path = stop.text(*at).unwrap_or_default();
            let descriptor = folder.map(|folder| stop.arguments[folder] as i32);
            if self.is_listed(name, &path) {
                continue;
            }
            let wrong = match descriptor {
                None => Some("a path of its own"),
                Some(_) if path.is_empty() && takes_empty(stop) => None,
                Some(fd) if !watched.found.contains(&fd) => {
                    Some("not from a folder that was found in an allowed way")
                }
                Some(_) if name == "openat2" => resolution(stop),
                Some(_) => single(stop, &path),
            };
            if let Some(wrong) = wrong {
                return Some(format!("{} {name}({descriptor:?}, {path:?}): {wrong}", stop.point));
            }
        }
        None
    }

    fn entry(&mut self, stop: &Stop) {
        let caller = stop.point.role.0.is_empty();
        let watched = self.processes.entry(stop.pid).or_default();
        if caller {
            // It stays on the host and has no business in there.
            for (_, at) in names(stop.name()) {
                let path = stop.text(*at).unwrap_or_default();
                if path.starts_with(&format!("{}/", self.root)) {
                    self.violations.push(format!(
                        "{} {}({path:?}): the root is init's",
                        stop.point,
                        stop.name()
                    ));
                }
            }
            return;
        }
        if !watched.inside || watched.done {
            return;
        }
        self.looked_at += 1;
        if let Some(violation) = self.judge(stop, &self.processes[&stop.pid]) {
            self.violations.push(violation);
        }
    }

    /// Which descriptors are good from now on.
    fn exit(&mut self, stop: &Stop, result: i64) {
        let path =
            names(stop.name()).first().map(|(_, at)| stop.text(*at).unwrap_or_default()).unwrap_or_default();
        let enters = stop.name() == "open_tree" && path == self.root || stop.name() == "setns";
        let good = match stop.name() {
            "openat2" | "open_tree" | "fsmount" => true,
            "openat" | "open" => path != self.root, // what would not do has been told of
            _ => false,
        };
        let watched = self.processes.entry(stop.pid).or_default();
        if result < 0 {
            return;
        }
        watched.inside |= enters;
        match stop.name() {
            "close" => watched.found.retain(|fd| *fd != stop.arguments[0] as i32),
            "fcntl" | "dup"
                if watched.found.contains(&(stop.arguments[0] as i32)) && stop.arguments[1] != 1 =>
            {
                watched.found.push(result as i32);
            }
            "execve" => watched.done = true,
            _ if good && watched.inside => watched.found.push(result as i32),
            _ => {}
        }
    }
}

/// Whether the call says that an empty path is the descriptor itself.
fn takes_empty(stop: &Stop) -> bool {
    let flags = |at: usize, flag: u64| stop.arguments[at] & flag == flag;
    match stop.name() {
        "open_tree" | "mount_setattr" => flags(2, AT_EMPTY_PATH),
        "newfstatat" | "fchmodat2" => flags(3, AT_EMPTY_PATH),
        "statx" => flags(2, AT_EMPTY_PATH),
        "fchownat" => flags(4, AT_EMPTY_PATH),
        "fspick" => flags(2, FSPICK_EMPTY_PATH),
        "move_mount" => flags(4, MOVE_MOUNT_EMPTY_PATHS),
        "readlinkat" => true, // an empty path never was anything else here
        _ => false,
    }
}

/// What is wrong with how a path of openat2 is followed.
fn resolution(stop: &Stop) -> Option<&'static str> {
    let [_, _, resolve] = stop.words::<3>(2)?;
    let has = |flag: u64| resolve & flag != 0;
    let is_proc = rustix::fs::statfs(format!("/proc/{}/fd/{}", stop.pid, stop.arguments[0]))
        .is_ok_and(|found| found.f_type == PROC_SUPER_MAGIC);
    if !has(RESOLVE_IN_ROOT) && !has(RESOLVE_BENEATH) {
        return Some("may leave its folder");
    }
    if !has(RESOLVE_NO_MAGICLINKS) && !has(RESOLVE_NO_SYMLINKS) {
        return Some("may follow a magic link");
    }
    if is_proc && !(has(RESOLVE_NO_XDEV) && has(RESOLVE_NO_SYMLINKS) && has(RESOLVE_BENEATH)) {
        return Some("may leave /proc");
    }
    (is_proc && is_attached(stop)).then_some("a /proc that others can mount over")
}

/// Whether the mount that a descriptor is on is in sight of anybody.
fn is_attached(stop: &Stop) -> bool {
    let info = std::fs::read_to_string(format!("/proc/{}/fdinfo/{}", stop.pid, stop.arguments[0]))
        .unwrap_or_default();
    let number = info
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:"))
        .map(str::trim)
        .unwrap_or_default()
        .to_owned();
    let mounts = std::fs::read_to_string(format!("/proc/{}/mountinfo", stop.pid)).unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').next() == Some(&number))
}

/// What is wrong with a name that is not resolved by openat2.
fn single(stop: &Stop, path: &str) -> Option<&'static str> {
    if path.is_empty() || path == ".." || path.contains('/') {
        return Some("not a single name");
    }
    let follows = match stop.name() {
        _ if path == "." => false, // the folder itself
        "openat" => {
            stop.arguments[2] & (u64::from(NOFOLLOW)) == 0 && stop.arguments[2] & O_CREAT_EXCL != O_CREAT_EXCL
        }
        "newfstatat" => stop.arguments[3] & AT_SYMLINK_NOFOLLOW == 0,
        "statx" => stop.arguments[2] & AT_SYMLINK_NOFOLLOW == 0,
        "fchownat" => stop.arguments[4] & AT_SYMLINK_NOFOLLOW == 0,
        "mkdirat" | "mknodat" | "symlinkat" | "unlinkat" | "readlinkat" => false, // they never do
        _ => true,
    };
    follows.then_some("may follow a link")
}

/// A container that asks for all that is done by path.
fn demanding(terminal: bool, user_namespace: bool) -> Sandbox {
    let sandbox = Sandbox::new(&["/opt/busybox", "echo", "fine"], |c| {
        let mounts = c["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/dev");
        mounts.extend([
            json!({"destination": "/link/new/er", "type": "tmpfs", "source": "tmpfs"}),
            json!({"destination": "/covered", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"]}),
            json!({"destination": "/vol", "type": "bind", "source": "volume", "options": ["rbind", "ro"]}),
            json!({"destination": "/link/file", "type": "bind", "source": "volume/file", "options": ["bind"]}),
            json!({"destination": "/again", "type": "bind", "source": "rootfs/covered", "options": ["rbind"]}),
            json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}),
        ]);
        c["linux"]["maskedPaths"] = json!(["/proc/kcore", "/covered/folder", "/link/file", "/nosuch"]);
        c["linux"]["readonlyPaths"] = json!(["/proc/sys", "/link"]);
        c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
        c["linux"]["devices"] =
            json!([{"path": "/link/node", "type": "c", "major": 1, "minor": 5, "uid": 5, "gid": 6}]);
        c["process"]["cwd"] = json!("/link/work/new");
        c["process"]["terminal"] = json!(terminal);
        c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        c["root"]["readonly"] = json!(true);
        if user_namespace {
            // The nodes of the host are bound there, and other ones can not be made.
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            let map = json!([{"containerID": 0, "hostID": 0, "size": 65536}]);
            (c["linux"]["uidMappings"], c["linux"]["gidMappings"]) = (map.clone(), map);
            c["linux"]["devices"] = json!([]);
        }
    });
    let at = |path: &str| sandbox.rootfs().join(path);
    for folder in ["opt", "run", "covered/folder", "../volume"] {
        std::fs::create_dir_all(at(folder)).unwrap();
    }
    symlink("/run", at("link")).unwrap();
    symlink("folder/file", at("covered/link")).unwrap();
    std::fs::write(at("covered/folder/file"), "").unwrap();
    std::fs::write(at("../volume/file"), "").unwrap();
    std::fs::copy("/bin/busybox", at("opt/busybox")).unwrap();
    sandbox
}

/// What a command does against the policy, and how much was looked at.
fn watch(sandbox: &Sandbox, words: &[&str]) -> (Vec<String>, usize) {
    let mut command = sandbox.command();
    command.args(words);
    let traced = Traced {
        command: &command,
        output: &sandbox.bundle().join("output"),
        deadline: Duration::from_secs(60) * patience(),
        besides: None,
    };
    let root = sandbox.rootfs().to_str().unwrap().to_owned();
    let mut policy = Policy {
        root,
        program: "/opt/busybox".to_owned(),
        processes: HashMap::new(),
        violations: Vec::new(),
        looked_at: 0,
    };
    let outcome = traced.run(|stop| {
        // A child of one that is inside is inside.
        let parent_is_inside = words[0] == "exec" && stop.point.role.0.len() > 1;
        policy.processes.entry(stop.pid).or_default().inside |= parent_is_inside;
        match stop.result {
            None => policy.entry(stop),
            Some(result) => policy.exit(stop, result),
        }
        Action::Go
    });
    let said = std::fs::read_to_string(sandbox.bundle().join("output")).unwrap();
    assert_eq!((outcome.code, said.trim()), (0, "fine"));
    (policy.violations, policy.looked_at)
}

#[test]
fn hostile_root_is_walked_by_descriptor_alone() {
    if !is_ours() {
        return;
    }
    for (terminal, user_namespace) in [(false, false), (true, false), (false, true)] {
        let sandbox = demanding(terminal, user_namespace);
        let (violations, looked_at) =
            watch(&sandbox, &["run", "--bundle", sandbox.bundle().to_str().unwrap(), &sandbox.id]);
        assert!(violations.is_empty(), "{}", violations.join("\n"));
        assert!(looked_at > 200, "only {looked_at} calls in the root");
    }
}

#[test]
fn running_container_is_entered_by_descriptor_alone() {
    if !is_ours() {
        return;
    }
    let sandbox = demanding(false, false);
    let text = std::fs::read_to_string(sandbox.bundle().join("config.json")).unwrap();
    sandbox.write_config(&text.replacen("[\"/opt/busybox\",\"echo\",\"fine\"]", "[\"sleep\",\"1000\"]", 1));
    sandbox.start();
    for options in [&["exec"][..], &["exec", "--tty"], &["exec", "--cwd", "/link/work", "--user", "5:5"]] {
        let words = [options, &[&sandbox.id, "/opt/busybox", "echo", "fine"]].concat();
        let (violations, looked_at) = watch(&sandbox, &words);
        assert!(violations.is_empty(), "{options:?}: {}", violations.join("\n"));
        assert!(looked_at > 30, "only {looked_at} calls in the root");
    }
}
