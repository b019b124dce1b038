//! The bundles that are measured: the config.json that `spec` writes, changed in one thing each.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::docker_seccomp;

/// Where they are made.
pub struct Bundles {
    base: Value,
    folder: PathBuf,
    payload: PathBuf,
}

impl Bundles {
    /// Asks `runtime` for the config to start from.
    pub fn new(runtime: &Path, folder: &Path, payload: &Path) -> Bundles {
        let spec = folder.join("spec");
        std::fs::create_dir_all(&spec).expect("make a folder");
        let done = Command::new(runtime).args(["spec", "--bundle"]).arg(&spec).status();
        assert!(done.expect("run spec").success());
        let text = std::fs::read_to_string(spec.join("config.json")).expect("read config.json");
        let mut base: Value = serde_json::from_str(&text).expect("parse config.json");
        base["ociVersion"] = json!("1.0.2"); // which all know
        base["process"]["terminal"] = json!(false);
        base["process"]["args"] = json!(["/payload"]);
        let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"];
        base["linux"]["namespaces"] = namespaces.iter().map(|kind| json!({"type": kind})).collect();
        Bundles { base, folder: folder.to_owned(), payload: payload.to_owned() }
    }

    /// A bundle with a root of its own.
    pub fn make(&self, name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
        let bundle = self.folder.join(name);
        for folder in ["dev", "proc", "sys", "data"] {
            std::fs::create_dir_all(bundle.join("rootfs").join(folder)).expect("make a folder");
        }
        std::fs::copy(&self.payload, bundle.join("rootfs/payload")).expect("copy the payload");
        let mut config = self.base.clone();
        change(&mut config);
        std::fs::write(bundle.join("config.json"), config.to_string()).expect("write config.json");
        bundle
    }
}

/// Waits for a signal.
pub fn waits(config: &mut Value) {
    config["process"]["args"] = json!(["/payload", "wait"]);
}

/// Docker's default profile.
pub fn with_docker_seccomp(config: &mut Value) {
    config["linux"]["seccomp"] = docker_seccomp::profile(&[]);
}

/// A user namespace; the root file system is given to it.
pub fn with_user_namespace(config: &mut Value) {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
    push(&mut config["linux"]["namespaces"], json!({"type": "user"}));
}

/// Gives the root file system of a bundle to the root of its user namespace.
pub fn give_away(bundle: &Path) {
    let given = Command::new("chown").args(["-R", "100000:100000"]).arg(bundle.join("rootfs")).status();
    assert!(given.expect("run chown").success());
}

/// So many bind mounts more.
pub fn with_binds(count: usize) -> impl FnOnce(&mut Value) {
    move |config| {
        for index in 0..count {
            let (source, place) = ("/usr", format!("/dev/bind{index}"));
            let options = ["bind", "ro", "nosuid", "nodev"];
            let mount = json!({"destination": place, "type": "bind", "source": source, "options": options});
            push(&mut config["mounts"], mount);
        }
    }
}

/// So many devices more, each with a rule.
pub fn with_devices(count: usize) -> impl FnOnce(&mut Value) {
    move |config| {
        let mut devices = Vec::new();
        for minor in 0..count {
            devices
                .push(json!({"path": format!("/dev/d{minor}"), "type": "c", "major": 240, "minor": minor}));
            let rule = json!({"allow": true, "type": "c", "major": 240, "minor": minor, "access": "rw"});
            push(&mut config["linux"]["resources"]["devices"], rule);
        }
        config["linux"]["devices"] = json!(devices);
    }
}

/// A system call filter of so many rules.
pub fn with_seccomp_rules(count: usize) -> impl FnOnce(&mut Value) {
    const CALLS: [&str; 8] =
        ["ioctl", "fcntl", "prctl", "socket", "personality", "madvise", "flock", "setns"];
    move |config| {
        let rule = |index: usize| {
            let argument = json!({"index": 1, "value": 4096 + index, "op": "SCMP_CMP_EQ"});
            json!({"names": [CALLS[index % CALLS.len()]], "action": "SCMP_ACT_ERRNO", "args": [argument]})
        };
        let rules: Vec<Value> = (0..count).map(rule).collect();
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
    }
}

/// A limit of memory and a place for the control groups.
pub fn with_memory(limit: Option<u64>, cgroup: &str) -> impl FnOnce(&mut Value) {
    move |config| {
        config["linux"]["cgroupsPath"] = json!(cgroup);
        if let Some(limit) = limit {
            config["linux"]["resources"]["memory"] = json!({"limit": limit});
        }
    }
}

fn push(list: &mut Value, item: Value) {
    list.as_array_mut().expect("a list").push(item);
}
