//! From a container's record to the runtime's config.json. Pure: everything the world has to say
//! (who the user is, where the root lies) comes as an argument, so a test is input and output.

use serde_json::{Value, json};

use super::defaults;
use super::seccomp;
use super::user::User;
use crate::container::record::{Bind, Network, Record};

/// What the record can't say because it is only known once the root is mounted.
#[derive(Debug)]
pub struct Place<'a> {
    /// Absolute path of the mounted root.
    pub root: &'a str,
    /// Folder that holds hosts, hostname and resolv.conf.
    pub etc: &'a str,
    /// The resolved user.
    pub user: &'a User,
}

/// The whole config.json.
pub fn config(record: &Record, place: &Place) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": process(record, place.user),
        "root": { "path": place.root, "readonly": record.read_only },
        "hostname": record.hostname,
        "mounts": mounts(record, place.etc),
        "linux": {
            "cgroupsPath": cgroups_path(&record.id),
            "namespaces": namespaces(record.network),
            "resources": resources(record),
            "maskedPaths": defaults::MASKED_PATHS,
            "readonlyPaths": defaults::READONLY_PATHS,
            "seccomp": seccomp::profile(&defaults::CAPABILITIES),
        },
    })
}

/// The container's cgroup: one level below the root, so that removing it leaves nothing.
pub fn cgroups_path(id: &str) -> String {
    format!("/wharf-{id}")
}

/// The process of the container; `exec` starts from the same.
fn process(record: &Record, user: &User) -> Value {
    let mut process = json!({
        "terminal": record.tty,
        "user": user_json(user),
        "args": record.args,
        "env": environment(record, user),
        "cwd": record.cwd,
        "capabilities": capabilities(user),
        "noNewPrivileges": false,
    });
    if let (true, Some((rows, columns))) = (record.tty, record.console_size) {
        process["consoleSize"] = json!({ "height": rows, "width": columns });
    }
    process
}

/// A user as config.json writes it.
pub fn user_json(user: &User) -> Value {
    json!({ "uid": user.uid, "gid": user.gid, "additionalGids": user.groups })
}

/// Root gets the default sets; for anyone else only the bounding set remains, as Docker does, so
/// that set-user-ID programs work and nothing is held at start.
pub fn capabilities(user: &User) -> Value {
    let held: &[&str] = if user.uid == 0 { &defaults::CAPABILITIES } else { &[] };
    json!({ "bounding": defaults::CAPABILITIES, "effective": held, "permitted": held })
}

/// PATH, HOSTNAME, TERM and HOME where the image and the options set none.
fn environment(record: &Record, user: &User) -> Vec<String> {
    let hostname = format!("HOSTNAME={}", record.hostname);
    let home = format!("HOME={}", user.home);
    let mut defaults = vec![defaults::PATH.to_owned(), hostname];
    if record.tty {
        defaults.push("TERM=xterm".into());
    }
    let mut env = merge_env(&defaults, &record.env);
    if !env.iter().any(|variable| variable.starts_with("HOME=")) {
        env.push(home);
    }
    env
}

/// Lays `over` over `base`: the same key is replaced in place, a new one goes to the end.
pub fn merge_env(base: &[String], over: &[String]) -> Vec<String> {
    let mut env = base.to_vec();
    for variable in over {
        let key = variable.split('=').next().unwrap_or(variable);
        match env.iter_mut().find(|held| held.split('=').next() == Some(key)) {
            Some(held) => held.clone_from(variable),
            None => env.push(variable.clone()),
        }
    }
    env
}

fn mounts(record: &Record, etc: &str) -> Vec<Value> {
    let mut mounts = defaults::mounts();
    let taken = |target: &str| record.binds.iter().any(|bind| bind.target == target);
    for file in ["resolv.conf", "hostname", "hosts"] {
        let target = format!("/etc/{file}");
        if !taken(&target) {
            mounts.push(json!({
                "destination": target, "type": "bind", "source": format!("{etc}/{file}"),
                "options": ["rbind", "rprivate"],
            }));
        }
    }
    // Shorter targets first, so that a bind inside another bind is not hidden by it.
    let mut binds: Vec<&Bind> = record.binds.iter().collect();
    binds.sort_by_key(|bind| bind.target.split('/').count());
    mounts.extend(binds.into_iter().map(bind_mount));
    mounts
}

fn bind_mount(bind: &Bind) -> Value {
    let mut options = vec!["rbind".to_owned()];
    let propagation = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];
    if !bind.options.iter().any(|option| propagation.contains(&option.as_str())) {
        options.push("rprivate".into());
    }
    options.extend(bind.options.iter().cloned());
    json!({ "destination": bind.target, "type": "bind", "source": bind.source, "options": options })
}

fn namespaces(network: Network) -> Vec<Value> {
    let mut kinds = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    if network == Network::None {
        kinds.push("network");
    }
    kinds.into_iter().map(|kind| json!({ "type": kind })).collect()
}

fn resources(record: &Record) -> Value {
    let mut resources = json!({ "devices": defaults::device_rules() });
    if let Some(memory) = record.memory {
        // As Docker: as much swap again.
        resources["memory"] = json!({ "limit": memory, "swap": memory.saturating_mul(2) });
    }
    if let Some(quota) = record.cpu_quota {
        resources["cpu"] = json!({ "quota": quota, "period": 100_000 });
    }
    if let Some(limit) = record.pids_limit {
        resources["pids"] = json!({ "limit": limit });
    }
    resources
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_of(record: &Record) -> Value {
        let user = User { uid: 0, gid: 0, groups: vec![], home: "/root".into() };
        config(record, &Place { root: "/r", etc: "/e", user: &user })
    }

    fn record() -> Record {
        Record {
            id: "ab".into(),
            hostname: "h".into(),
            args: vec!["sh".into()],
            cwd: "/".into(),
            ..Record::default()
        }
    }

    #[test]
    fn options_reach_the_config() {
        let plain = config_of(&record());
        assert_eq!(plain["linux"]["cgroupsPath"], "/wharf-ab");
        assert_eq!(plain["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 14);
        assert!(plain["linux"]["resources"].get("memory").is_none());
        let limited = Record {
            memory: Some(1 << 20),
            cpu_quota: Some(50_000),
            pids_limit: Some(9),
            read_only: true,
            ..record()
        };
        let limited = config_of(&limited);
        assert_eq!(limited["linux"]["resources"]["memory"]["limit"], 1 << 20);
        assert_eq!(limited["linux"]["resources"]["cpu"], json!({ "quota": 50_000, "period": 100_000 }));
        assert_eq!(limited["linux"]["resources"]["pids"]["limit"], 9);
        assert_eq!(limited["root"], json!({ "path": "/r", "readonly": true }));
    }

    #[test]
    fn the_host_network_is_no_namespace() {
        let kinds =
            |record: &Record| config_of(record)["linux"]["namespaces"].to_string().contains("network");
        assert!(kinds(&record()));
        assert!(!kinds(&Record { network: Network::Host, ..record() }));
    }

    #[test]
    fn a_bind_over_etc_hosts_replaces_ours() {
        let bind = Bind { source: "/x".into(), target: "/etc/hosts".into(), options: vec!["ro".into()] };
        let config = config_of(&Record { binds: vec![bind], ..record() });
        let hosts: Vec<_> = config["mounts"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|mount| mount["destination"] == "/etc/hosts")
            .collect();
        assert_eq!(hosts.len(), 1);
        assert_eq!(hosts[0]["options"], json!(["rbind", "rprivate", "ro"]));
    }

    #[test]
    fn the_later_variable_wins_in_place() {
        let text = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(merge_env(&text(&["A=1", "B=2"]), &text(&["A=3", "C="])), text(&["A=3", "B=2", "C="]));
    }
}
