//! Control groups on the host's own hierarchies; an ordinary user, who may not make any, skips most of it.

use super::*;
use crate::spec::Resources;

fn scratch(name: &str) -> Option<Cgroup> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    let path = format!("/wharf-unit-{}-{name}", std::process::id());
    Some(Cgroup::resolve(DriverName::Cgroupfs, &path, "x").unwrap())
}

fn sleeper() -> std::process::Child {
    std::process::Command::new("sleep").arg("1000").spawn().unwrap()
}

#[test]
fn paths_stay_below_the_hierarchy() {
    for good in ["/a/b", "a", "a.slice"] {
        assert!(check_path(good).is_ok(), "{good}");
    }
    for bad in ["/a/../../x", "..", "/", "//.", "a\0b", &"x".repeat(5000)] {
        assert!(check_path(bad).is_err(), "{bad}");
    }
}

#[test]
fn limits_are_in_force_and_nothing_is_left_behind() {
    let Some(mut cgroup) = scratch("limits") else { return };
    cgroup.create(|_| Ok(())).unwrap();
    let dir = cgroup.with("pids").or(cgroup.dirs.first()).unwrap().path.clone();
    if dir.join("pids.max").exists() {
        let pids = crate::spec::Pids { limit: Some(7) };
        cgroup.apply(&Resources { pids: Some(pids), ..Default::default() }).unwrap();
        assert_eq!(std::fs::read_to_string(dir.join("pids.max")).unwrap(), "7\n");
    }
    let mut child = sleeper();
    cgroup.join(child.id() as i32).unwrap();
    assert_eq!(cgroup.pids().unwrap(), [child.id() as i32]);
    cgroup.freeze(true).unwrap();
    assert!(cgroup.is_frozen().unwrap());
    cgroup.kill(libc::SIGKILL).unwrap();
    child.wait().unwrap();
    cgroup.remove().unwrap();
    assert!(!dir.exists());
    cgroup.remove().unwrap();
}

#[test]
fn what_was_there_before_stays() {
    let Some(mut cgroup) = scratch("kept/own") else { return };
    let own: Vec<_> = cgroup.dirs.iter().map(|dir| dir.path.clone()).collect();
    for path in &own {
        std::fs::create_dir_all(path.join("old")).unwrap();
    }
    let mut intended = None;
    cgroup
        .create(|intent| {
            intended = Some(intent.clone());
            Ok(())
        })
        .unwrap();
    for path in &own {
        std::fs::create_dir(path.join("new")).unwrap();
    }
    // By what was written down beforehand alone.
    intended.unwrap().remove().unwrap();
    for path in &own {
        assert!(path.join("old").is_dir() && !path.join("new").exists(), "{}", path.display());
        for level in [path.join("old"), path.clone(), path.parent().unwrap().to_owned()] {
            std::fs::remove_dir(level).unwrap();
        }
    }
}

#[test]
fn parents_go_with_the_last_container_that_we_made_them_for() {
    let (Some(mut first), Some(mut second)) = (scratch("shared/a"), scratch("shared/b")) else { return };
    first.create(|_| Ok(())).unwrap();
    second.create(|_| Ok(())).unwrap();
    let parent = first.dirs[0].path.parent().unwrap().to_owned();
    second.remove().unwrap();
    assert!(parent.is_dir());
    first.remove().unwrap();
    assert!(!parent.exists());
}

#[test]
fn disabled_driver_makes_nothing() {
    let mut cgroup = Cgroup::resolve(DriverName::Disabled, "/x", "x").unwrap();
    cgroup.create(|_| Ok(())).unwrap();
    cgroup.join(1).unwrap();
    cgroup.kill(libc::SIGKILL).unwrap();
    cgroup.remove().unwrap();
    assert!(cgroup.pids().unwrap().is_empty());
}
