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

/// A hybrid host's, as files: which controllers its unified hierarchy has depends on who has mounted what since boot.
#[test]
fn huge_pages_are_limited_where_a_hybrid_host_has_them() {
    let folder = std::env::temp_dir().join(format!("wharf-hybrid-{}", std::process::id()));
    let own = folder.join("unified/box");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::create_dir_all(folder.join("pids/box")).unwrap();
    for dir in [own.as_path(), own.parent().unwrap()] {
        std::fs::write(dir.join("cgroup.controllers"), "hugetlb pids\n").unwrap();
        std::fs::write(dir.join("cgroup.subtree_control"), "").unwrap();
    }
    for file in ["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max", "hugetlb.2MB.current", "pids.max"] {
        std::fs::write(own.join(file), "0\n").unwrap();
    }
    std::fs::write(folder.join("pids/box/pids.max"), "").unwrap();
    let dir = |name: &str, controllers: &[&str]| Dir {
        name: name.to_owned(),
        controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
        unified: controllers.is_empty(),
        mount_point: folder.join(name),
        path: folder.join(name).join("box"),
        created: Vec::new(),
        found: Vec::new(),
    };
    let dirs = vec![dir("pids", &["pids"]), dir("unified", &[])];
    let cgroup = Cgroup { mode: Mode::V1, dirs, driver: Driver::Cgroupfs, tolerant: false, explicit: true };
    let resources: Resources = serde_json::from_str(
        r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}], "pids": {"limit": 7}}"#,
    )
    .unwrap();
    let mut lacks = crate::plan::findings::Findings::default();
    cgroup.check(&resources, &mut lacks);
    assert_eq!(lacks.into_all().iter().filter(|lack| lack.to_string().contains("controller")).count(), 0);
    let writes = cgroup.writes(&resources).unwrap();
    cgroup.enable_for(&writes).unwrap();
    cgroup.set_limits(&writes).unwrap();
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
    assert_eq!(read("unified/cgroup.subtree_control"), "+hugetlb");
    assert_eq!(
        [read("unified/box/hugetlb.2MB.max"), read("unified/box/hugetlb.2MB.rsvd.max")],
        ["4194304"; 2]
    );
    assert_eq!([read("pids/box/pids.max"), read("unified/box/pids.max")], ["7", "0\n"]);
    assert!(cgroup.left_to_unified("memory").is_none() && cgroup.left_to_unified("pids").is_none());
    std::fs::remove_dir_all(folder).unwrap();
}
