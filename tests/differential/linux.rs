//! `linux` but for resources and seccomp: namespaces, id mappings, devices, paths, sysctl, propagation, names.

use serde_json::{Value, json};

use crate::dice::Dice;
use crate::place::Host;

const DEVICES: [(&str, &str, i64, i64); 8] = [
    ("/dev/fuse", "c", 10, 229),
    ("/dev/null", "c", 1, 3),
    ("/dev/tun", "u", 10, 200),
    ("/dev/deep/down/zero", "c", 1, 5),
    ("/opt/null", "c", 1, 3),
    ("/dev/loop77", "b", 7, 77),
    ("/dev/pipe", "p", 0, 0),
    ("/dev/kmsg", "c", 1, 11),
];

const MASKED: [&str; 9] = [
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/acpi",
    "/sys/firmware",
    "/etc/passwd",
    "/etc",
    "/nosuch",
    "/proc/scsi",
];

const READONLY: [&str; 9] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/etc",
    "/tmp",
    "/nosuch",
    "/etc/passwd",
];

const SYSCTLS: [(&str, &str); 8] = [
    ("net.ipv4.ip_forward", "1"),
    ("net.core.somaxconn", "777"),
    ("net.ipv4.ping_group_range", "0 0"),
    ("kernel.msgmax", "9000"),
    ("kernel.shmmax", "123456"),
    ("kernel.sem", "100 200 300 400"),
    ("fs.mqueue.queues_max", "33"),
    ("net/ipv4/ip_local_port_range", "30000 40000"),
];

/// Writes `linux` and the two names.
pub fn put(dice: &Dice, host: &Host, config: &mut Value) {
    let namespaces = namespaces(dice, host);
    let has = |kind: &str| namespaces.iter().any(|wish| wish["type"] == kind);
    let (user, uts, ipc, net) = (has("user"), has("uts"), has("ipc"), has("network"));
    let mut linux = json!({"namespaces": namespaces});
    if user {
        let mapping = dice.one(&[
            json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]),
            json!([{"containerID": 0, "hostID": 0, "size": 65536}]),
            json!([{"containerID": 0, "hostID": 5000, "size": 1}, {"containerID": 1, "hostID": 200_000, "size": 70000}]),
        ]);
        linux["uidMappings"] = mapping.clone();
        linux["gidMappings"] = mapping;
    }
    if dice.chance(50) {
        linux["devices"] = devices(dice, user);
    }
    if dice.chance(50) {
        linux["maskedPaths"] = json!(dice.some(&MASKED, 40));
    }
    if dice.chance(50) {
        linux["readonlyPaths"] = json!(dice.some(&READONLY, 40));
    }
    if dice.chance(30) {
        linux["sysctl"] = sysctls(dice, ipc, net);
    }
    if dice.chance(40) {
        let refused = dice.chance(2);
        let wish =
            dice.pick(&["private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", ""]);
        linux["rootfsPropagation"] = json!(if refused { "sideways" } else { wish });
    }
    if dice.chance(4) {
        linux["personality"] = json!({"domain": dice.pick(&["LINUX", "LINUX32"])});
    }
    if has("time") && dice.chance(70) {
        linux["timeOffsets"] = json!({"monotonic": {"secs": 1000, "nanosecs": 5}, "boottime": {"secs": 77}});
    }
    if dice.chance(2) {
        linux["memoryPolicy"] = json!({"mode": dice.pick(&["MPOL_INTERLEAVE", "MPOL_BIND"]), "nodes": "0"});
    }
    if dice.chance(2) {
        linux["mountLabel"] = json!("");
    }
    config["linux"] = linux;
    if dice.chance(if uts { 70 } else { 3 }) {
        config["hostname"] = json!(dice.pick(&["box", "a.long.name.example", "x"]));
    }
    if dice.chance(if uts { 5 } else { 0 }) {
        config["domainname"] = json!("example.org");
    }
}

fn namespaces(dice: &Dice, host: &Host) -> Vec<Value> {
    let mut list = Vec::new();
    // Whoever has a user namespace can mount neither proc nor sysfs of namespaces that it does not own.
    let user = dice.chance(15);
    let owned = if user { 97 } else { 80 };
    for (kind, percent) in [
        ("pid", owned),
        ("network", owned),
        ("ipc", owned),
        ("uts", 80),
        ("mount", 98),
        ("cgroup", 40),
        ("user", if user { 100 } else { 0 }),
        ("time", 2),
    ] {
        if !dice.chance(percent) {
            continue;
        }
        let held = host.held.get(kind).filter(|_| dice.chance(if user { 1 } else { 8 }));
        list.push(match held {
            Some(path) => json!({"type": kind, "path": path}),
            None if dice.chance(10) => json!({"type": kind, "path": ""}),
            None => json!({"type": kind}),
        });
    }
    if dice.chance(1) {
        list.push(dice.one(&[
            json!({"type": "ipc", "path": "relative"}),
            json!({"type": "moon"}),
            json!({"type": "mount"}),
        ]));
    }
    if dice.chance(1) {
        list.push(json!({"type": "cgroup"}));
    }
    if dice.chance(30) {
        list.reverse();
    }
    list
}

fn devices(dice: &Dice, user: bool) -> Value {
    let mut list = Vec::new();
    for (path, kind, major, minor) in dice.some(&DEVICES, 25) {
        // Below a user namespace devices are bound from the host, which has to have them.
        if user && !std::path::Path::new(path).exists() {
            continue;
        }
        let mut device = json!({"path": path, "type": kind});
        if kind != "p" {
            (device["major"], device["minor"]) = (json!(major), json!(minor));
        }
        if dice.chance(70) {
            device["fileMode"] = json!(dice.one(&[0o666, 0o600, 0o640, 0o444, 0]));
        }
        if dice.chance(50) {
            (device["uid"], device["gid"]) = (json!(dice.one(&[0, 1000])), json!(dice.one(&[0, 5])));
        }
        list.push(device);
    }
    json!(list)
}

fn sysctls(dice: &Dice, ipc: bool, net: bool) -> Value {
    let mut map = serde_json::Map::new();
    for (name, value) in dice.some(&SYSCTLS, 30) {
        let fits = if name.starts_with("net") { net } else { ipc };
        if fits || dice.chance(5) {
            map.insert(name.to_owned(), json!(value));
        }
    }
    if dice.chance(2) {
        map.insert(dice.pick(&["kernel.printk", "vm.swappiness", "net.no.such"]).to_owned(), json!("1"));
    }
    Value::Object(map)
}
