//! `mounts`: the usual ones, most of the time, and some from a list of unusual ones, all with random options.
//!
//! Two mounts are the probe's own: `/look` with its script, `/hostcg` with the host's control groups.

use serde_json::{Value, json};

use crate::dice::Dice;
use crate::place::Host;

const FLAGS: [&str; 16] = [
    "ro",
    "rw",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "noexec",
    "exec",
    "noatime",
    "atime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "nodiratime",
    "diratime",
];
const RECURSIVE: [&str; 10] =
    ["rro", "rrw", "rnosuid", "rsuid", "rnodev", "rdev", "rnoexec", "rexec", "rnoatime", "rrelatime"];
const PROPAGATION: [&str; 8] =
    ["private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"];
const RARE: [&str; 8] = ["async", "sync", "dirsync", "defaults", "silent", "loud", "lazytime", "nomand"];

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": kind, "source": source, "options": options})
}

/// Writes `mounts`.
pub fn put(dice: &Dice, host: &Host, config: &mut Value) {
    let mut list = usual(dice);
    let uids = config["linux"]["uidMappings"].is_array();
    for _ in 0..dice.below(5) {
        list.push(unusual(dice, host, uids && dice.chance(90)));
    }
    if dice.chance(8) {
        list.push(odd(dice));
    }
    list.push(mount("/look", "bind", "look", &["bind", "ro"]));
    list.push(mount("/hostcg", "bind", "/sys/fs/cgroup", &["rbind", "ro"]));
    config["mounts"] = json!(list);
}

fn usual(dice: &Dice) -> Vec<Value> {
    let all = [
        (mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]), 99),
        (mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]), 95),
        (
            mount(
                "/dev/pts",
                "devpts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            ),
            90,
        ),
        (mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]), 80),
        (mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]), 50),
        (mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]), 70),
        (mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]), 40),
    ];
    let mut list: Vec<Value> = Vec::new();
    for (wish, percent) in all {
        let in_sys = wish["destination"] == "/sys/fs/cgroup";
        if dice.chance(percent) && (!in_sys || list.iter().any(|other| other["destination"] == "/sys")) {
            list.push(wish);
        }
    }
    list
}

/// Access times are `locked` on what a user namespace binds but does not own.
fn options(dice: &Dice, locked: bool) -> Vec<&'static str> {
    let mut options = dice.some(&FLAGS, 15);
    if locked {
        options.retain(|option| !option.contains("atime"));
    }
    if dice.chance(20) {
        options.extend(dice.some(&RECURSIVE, 20));
    }
    if dice.chance(30) {
        options.push(dice.pick(&PROPAGATION));
    }
    if dice.chance(10) {
        options.push(dice.pick(&RARE));
    }
    options
}

fn unusual(dice: &Dice, host: &Host, locked: bool) -> Value {
    let place = dice.pick(&[
        "/m1",
        "/m2",
        "/m3",
        "/m4/deep/down",
        "/link/m5",
        "/m1/below",
        "/etc",
        "/tmp/m6",
        "/etc/../m7",
        "/abs/m8",
    ]);
    let mut options: Vec<&str> = options(dice, locked);
    let layer = |name: &str| format!("{}/data/{name}", host.bundle.display());
    let lower = format!("lowerdir={}:{}", layer("dir"), layer("other"));
    match dice.below(11) {
        0..=2 => {
            options.insert(0, dice.pick(&["bind", "rbind"]));
            mount(
                place,
                dice.pick(&["bind", "none", ""]),
                dice.pick(&["data/dir", "data", "data/link"]),
                &options,
            )
        }
        3 => {
            options.insert(0, "bind");
            mount(dice.pick(&["/file1", "/etc/passwd", "/f/i/le"]), "bind", "data/file", &options)
        }
        4..=6 => {
            options.extend(
                dice.some(&["size=1m", "mode=1777", "mode=700", "uid=1000", "gid=5", "nr_inodes=100"], 30),
            );
            if dice.chance(15) {
                options.push("tmpcopyup");
            }
            mount(place, "tmpfs", "tmpfs", &options)
        }
        7 => mount(place, "ramfs", "ramfs", &options),
        8 => {
            options.push(&lower);
            mount(place, "overlay", "overlay", &options)
        }
        9 => mount(place, dice.pick(&["proc", "sysfs", "mqueue", "devpts"]), "x", &options),
        _ => {
            options.insert(0, "rbind");
            mount(place, "bind", "/sys/fs/cgroup", &options)
        }
    }
}

/// What at least one of the two may refuse.
fn odd(dice: &Dice) -> Value {
    dice.one(&[
        mount("/odd", "bind", "data/nosuch", &["bind"]),
        mount("/odd", "bind", "data/dir", &[]),
        mount("/odd", "nosuchfs", "x", &[]),
        mount("/odd", "tmpfs", "x", &["nosuchoption"]),
        mount("/odd", "bind", "data/dir", &["bind", "size=1"]),
        mount("/proc/self/attr", "tmpfs", "x", &[]),
        mount("/proc/uptime", "bind", "data/file", &["bind"]),
        mount("/proc/sys/x", "bind", "data/file", &["bind"]),
        mount("/etc/passwd", "bind", "data/dir", &["bind"]),
        mount("/etc", "bind", "data/file", &["bind"]),
        mount("/tmp", "tmpfs", "x", &["remount", "ro"]),
        json!({"destination": "/odd", "type": "tmpfs"}),
        json!({"destination": "/odd", "source": "data/dir", "options": ["rbind", "rro"]}),
        json!({"type": "tmpfs"}),
        mount("relative/m9", "tmpfs", "x", &[]),
        mount("/a/../m10", "tmpfs", "x", &[]),
    ])
}
