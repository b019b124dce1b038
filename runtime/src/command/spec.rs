//! `spec`: a config.json to start from, as runc writes it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::verbs::SpecWords;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::again::again;
use crate::sys::stream::Stream;

/// The verb.
pub fn spec(words: &SpecWords) -> Result<()> {
    let path = words.bundle.join("config.json");
    let mut config = example();
    if words.rootless {
        make_rootless(&mut config);
    }
    let text = serde_json::to_string_pretty(&config).map_err(|e| Error::invalid(e.to_string()))?;
    match again(|| OpenOptions::new().write(true).create_new(true).open(&path)) {
        Ok(file) => writeln!(Stream(file), "{text}").on("write", &path),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Error::new(Kind::AlreadyExists, "File config.json exists. Remove it first").on_path(&path))
        }
        Err(e) => Err(e).with_context(|| format!("create {}", path.display())),
    }
}

fn example() -> Value {
    let mut namespaces = vec!["pid", "network", "ipc", "uts", "mount"];
    // On a host with cgroup v1 runc leaves it out, and programs that read /proc/self/cgroup expect to match mounts.
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        namespaces.push("cgroup");
    }
    let namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({"type": kind})).collect();
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": destination, "type": kind, "source": source, "options": options});
    json!({
        "ociVersion": crate::spec::VERSION,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "wharf",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": namespaces,
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// Changes the example to what the caller may do without privilege, as runc does: a user namespace with his id
/// as root's, the host's network and with it the host's /sys, no owners that have no id, no limits.
fn make_rootless(config: &mut Value) {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let linux = &mut config["linux"];
    linux["uidMappings"] = json!([{"containerID": 0, "hostID": uid, "size": 1}]);
    linux["gidMappings"] = json!([{"containerID": 0, "hostID": gid, "size": 1}]);
    if let Some(list) = linux["namespaces"].as_array_mut() {
        list.retain(|namespace| namespace["type"] != "network");
        list.push(json!({"type": "user"}));
    }
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        if mount["destination"] == "/sys" {
            // A new one shows the network namespace's devices, so only its owner may mount it.
            let options = ["rbind", "nosuid", "noexec", "nodev", "ro"];
            *mount = json!({"destination": "/sys", "type": "none", "source": "/sys", "options": options});
        } else if let Some(options) = mount["options"].as_array_mut() {
            let is_owner = |option: &Value| {
                option.as_str().is_some_and(|text| text.starts_with("uid=") || text.starts_with("gid="))
            };
            options.retain(|option| !is_owner(option));
        }
    }
}
