//! Control groups that may not be made, that are somebody else's, and that were given to the user.

use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use wharf_tests::user::USER;
use wharf_tests::{has_cgroup_v1, hierarchies, is_ours, with_systemd_cgroups};

use super::Home;

#[test]
fn limit_without_a_cgroup_is_refused_in_runcs_words() {
    let home = Home::shell("true", |c| c["linux"]["resources"] = json!({"pids": {"limit": 20}}));
    home.run().fails(1, &["cannot set pids limit: container could not join or create cgroup"]);
    home.assert_nothing_left();
}

#[test]
fn cgroup_that_is_named_must_be_had() {
    let home = Home::shell("true", |c| c["linux"]["cgroupsPath"] = json!("/nobodys/own"));
    home.run().fails(1, &["unable to apply cgroup configuration", "permission denied"]);
    home.assert_nothing_left();
}

#[test]
fn option_rootless_says_whether_cgroups_may_be_missing() {
    let home = Home::shell("echo ran", |_| ());
    for value in ["true", "auto"] {
        assert_eq!(home.verb(&["--rootless", value, "run", &home.sandbox.id]).ok(), "ran\n");
    }
    home.verb(&["--rootless=false", "run", &home.sandbox.id]).fails(1, &["permission denied"]);
    home.assert_nothing_left();
    home.verb(&["--rootless=maybe", "run", &home.sandbox.id]).fails(1, &["maybe"]);
}

#[test]
fn pause_without_a_cgroup_is_refused() {
    let home = Home::shell("sleep 1000", |_| ());
    home.start();
    assert_ne!(home.verb(&["pause", &home.sandbox.id]).code, 0);
    assert_eq!(home.state()["status"], "running");
}

/// A container of root's may have the same ID.
#[test]
fn cgroup_of_somebody_else_is_left_alone() {
    let home = Home::shell("sleep 1000", |_| ());
    let made = Delegated::new(&home.sandbox.id, 0);
    let mut stranger = Stranger(Command::new("sleep").arg("1000").stdout(Stdio::null()).spawn().unwrap());
    made.join(stranger.0.id());
    home.start();
    home.verb(&["delete", "--force", &home.sandbox.id]).ok();
    assert_eq!(stranger.0.try_wait().unwrap(), None, "killed");
}

/// A process that is not the container's, ended when dropped.
struct Stranger(Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// "The runtime ... MAY" have a part of the hierarchies delegated to it; there limits work as root's do.
#[test]
fn delegated_cgroup_holds_the_limits() {
    if with_systemd_cgroups() || (!is_ours() && has_cgroup_v1()) {
        return; // runc wants cpuset's files to be the user's
    }
    let mut home = Home::shell("sleep 1000", |_| ());
    let name = format!("{}-part", home.sandbox.id);
    let made = Delegated::new(&name, USER);
    home.join = made.inner.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(" ");
    let text = std::fs::read_to_string(home.path("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["linux"]["cgroupsPath"] = json!(format!("/{name}/box"));
    config["linux"]["resources"] = json!({"pids": {"limit": 17}});
    home.sandbox.write_config(&config.to_string());
    home.start();
    let limit = made.dirs.iter().map(|dir| dir.join("box/pids.max")).find(|path| path.exists()).unwrap();
    assert_eq!(std::fs::read_to_string(&limit).unwrap(), "17\n");
    let procs = std::fs::read_to_string(limit.with_file_name("cgroup.procs")).unwrap();
    assert!(procs.contains(&home.pid().to_string()), "{procs}");
    home.exec("true").ok();
    home.verb(&["pause", &home.sandbox.id]).ok();
    assert_eq!(home.state()["status"], "paused");
    home.verb(&["resume", &home.sandbox.id]).ok();
    home.verb(&["delete", "--force", &home.sandbox.id]).ok();
    assert!(!limit.exists());
    home.assert_nothing_left();
}

/// Directories of one name in every hierarchy, owned by `owner`, each with one below for who uses them.
struct Delegated {
    dirs: Vec<PathBuf>,
    inner: Vec<PathBuf>,
}

impl Delegated {
    fn new(name: &str, owner: u32) -> Delegated {
        let dirs: Vec<PathBuf> = hierarchies().into_iter().map(|point| point.join(name)).collect();
        let inner: Vec<PathBuf> = dirs.iter().map(|dir| dir.join("user")).collect();
        for dir in &dirs {
            let above = dir.parent().unwrap();
            if above.join("cgroup.controllers").exists() && !has_cgroup_v1() {
                std::fs::write(above.join("cgroup.subtree_control"), "+pids").unwrap();
            }
            std::fs::create_dir(dir).unwrap();
            for file in ["", "cgroup.procs", "tasks", "cgroup.subtree_control", "cgroup.threads"] {
                let path = if file.is_empty() { dir.clone() } else { dir.join(file) };
                if path.exists() {
                    chown(path, Some(owner), Some(owner)).unwrap();
                }
            }
            std::fs::create_dir(dir.join("user")).unwrap();
            inherit_cpuset(dir);
            chown(dir.join("user"), Some(owner), Some(owner)).unwrap();
            chown(dir.join("user/cgroup.procs"), Some(owner), Some(owner)).unwrap();
        }
        Delegated { dirs, inner }
    }

    fn join(&self, pid: u32) {
        for dir in &self.inner {
            std::fs::write(dir.join("cgroup.procs"), pid.to_string()).unwrap();
        }
    }
}

/// On v1 a new cpuset is empty, and nothing can be put into it.
fn inherit_cpuset(dir: &std::path::Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        for path in [dir.to_owned(), dir.join("user")] {
            let above = path.parent().unwrap().join(file);
            if let (Ok(value), true) = (std::fs::read(above), path.join(file).exists() && has_cgroup_v1()) {
                std::fs::write(path.join(file), value).unwrap();
            }
        }
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for dir in self.inner.iter().chain(&self.dirs) {
            // Whoever was in it has ended, and the kernel may take a moment to notice.
            wharf_tests::wait_until("an empty cgroup", || std::fs::remove_dir(dir).is_ok() || !dir.exists());
        }
    }
}
