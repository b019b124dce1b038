//! Limits, read back from the container's own control group (config-linux.md, "Control groups").

use serde_json::json;
use wharf_tests::{Sandbox, has_cgroup_v1, hierarchies, skip};

/// Several controllers can share a hierarchy: `cpu,cpuacct`.
fn has(hierarchy: &std::path::Path, controller: &str) -> bool {
    hierarchy.file_name().unwrap().to_str().unwrap().split(',').any(|name| name == controller)
}

fn read(sandbox: &Sandbox, controller: &str, file: &str) -> String {
    let all = hierarchies();
    let hierarchy = all.iter().find(|path| has(path, controller)).unwrap_or(&all[0]);
    std::fs::read_to_string(sandbox.cgroup(hierarchy).join(file)).unwrap().trim().to_owned()
}

fn may_make_nodes(config: &mut serde_json::Value) {
    let sets = json!(["CAP_MKNOD"]);
    config["process"]["capabilities"] = json!({"bounding": sets, "effective": sets, "permitted": sets});
}

#[test]
fn limits_are_in_force() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |c| {
        c["linux"]["resources"] = json!({
            "memory": {"limit": 33554432, "swap": 0}, "cpu": {"shares": 512, "quota": 20000, "period": 50000, "cpus": "0"},
            "pids": {"limit": 9},
        });
    });
    sandbox.start();
    let expected: &[(&str, &str, &str)] = if has_cgroup_v1() {
        &[
            ("memory", "memory.limit_in_bytes", "33554432"),
            ("cpu", "cpu.shares", "512"),
            ("cpu", "cpu.cfs_quota_us", "20000"),
            ("cpu", "cpu.cfs_period_us", "50000"),
            ("cpuset", "cpuset.cpus", "0"),
            ("pids", "pids.max", "9"),
        ]
    } else {
        &[
            ("", "memory.max", "33554432"),
            ("", "cpu.max", "20000 50000"),
            ("", "cpuset.cpus", "0"),
            ("", "pids.max", "9"),
        ]
    };
    for (controller, file, value) in expected {
        assert_eq!(read(&sandbox, controller, file), *value, "{file}");
    }
}

#[test]
fn device_rules_hold_inside() {
    let sandbox = Sandbox::shell(
        "echo x > /dev/null && echo null; mknod /tmp/kmsg c 1 11; cat /tmp/kmsg 2>&1 | tail -c 24",
        |c| {
            c["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
            may_make_nodes(c);
        },
    );
    assert_eq!(sandbox.run().ok(), "null\nOperation not permitted\n");
}

#[test]
fn memory_limit_kills_only_the_container() {
    let sandbox = Sandbox::shell("tail -c 100m /dev/zero > /dev/null", |c| {
        c["linux"]["resources"] = json!({"memory": {"limit": 16777216}});
    });
    assert_eq!(sandbox.run().code, 137);
    sandbox.assert_nothing_left();
}

#[test]
fn cgroups_path_never_leaves_the_hierarchy() {
    let sandbox = Sandbox::shell("true", |c| c["linux"]["cgroupsPath"] = json!("/a/../../../tmp/escape"));
    if wharf_tests::is_ours() {
        sandbox.run().fails(1, &["linux.cgroupsPath"]);
    }
    assert!(!std::path::Path::new("/tmp/escape").exists());
}

#[test]
fn sysctl_of_a_namespace_is_set_and_of_the_host_refused() {
    let sandbox = Sandbox::shell("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax", |c| {
        c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "4242"});
    });
    assert_eq!(sandbox.run().ok(), "1\n4242\n");
    let host = Sandbox::shell("true", |c| c["linux"]["sysctl"] = json!({"kernel.panic": "1"}));
    host.run().fails(1, &["kernel.panic"]);
}

/// What a refused `create` did not make it must not clean up.
#[test]
fn refused_create_leaves_the_tasks_of_a_used_cgroup_alone() {
    let sandbox = Sandbox::shell("true", |_| ());
    let (holder, root) = (sandbox.cgroup(&hierarchies()[0]), sandbox.id.clone());
    std::fs::create_dir(&holder).unwrap();
    let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    std::fs::write(holder.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
    let said = sandbox.run();
    let alive = sleeper.try_wait().unwrap().is_none();
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    wharf_tests::wait_until("the cgroup to empty", || std::fs::remove_dir(&holder).is_ok());
    assert!(alive, "the task in {root} was killed");
    if wharf_tests::is_ours() {
        said.fails(1, &["container's cgroup is not empty"]);
    }
}

/// On v1 each controller can have its own; on v2 there is one path for all.
#[test]
fn exec_goes_below_the_container_where_it_is_told_to() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    sandbox.start();
    let all = hierarchies();
    let hierarchy = all.iter().find(|path| path.ends_with("memory")).unwrap_or(&all[0]);
    let below = sandbox.cgroup(hierarchy).join("below");
    std::fs::create_dir(&below).unwrap();
    let exec =
        |cgroup: &str| sandbox.verb(&["exec", "--cgroup", cgroup, &sandbox.id, "cat", "/proc/self/cgroup"]);
    let word = if has_cgroup_v1() { "memory:below" } else { "below" };
    let told = exec(word).ok();
    let place = below.strip_prefix(hierarchy).unwrap().to_str().unwrap();
    assert!(told.lines().any(|line| line.ends_with(place)), "{told}");
    assert!(exec("/").ok().lines().all(|line| !line.ends_with("/below")));
    exec("..").fails(255, &["sub cgroup path"]);
    exec("nowhere").fails(255, &["adding pid ", "o such file or directory"]);
    if has_cgroup_v1() {
        exec("whaaat:/").fails(255, &["unknown controller "]);
        exec("memory:nowhere").fails(255, &["adding pid ", "o such file or directory"]);
    }
}

/// `rwa` has been seen in configs: letters that name no right do no harm, but they give none either.
#[test]
fn harmless_letters_in_device_access_are_passed_over() {
    let rules = json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rra"}]);
    let sandbox = Sandbox::shell(
        "mknod /tmp/kmsg c 1 11; dd if=/dev/null of=/tmp/kmsg 2>&1 | grep -c permitted",
        |c| {
            c["linux"]["resources"] = json!({ "devices": rules });
            c["process"]["capabilities"] =
                json!({"bounding": ["CAP_MKNOD"], "effective": ["CAP_MKNOD"], "permitted": ["CAP_MKNOD"]});
        },
    );
    assert_eq!(sandbox.run().ok(), "1\n");
}

/// What a refused `create` found frozen stays frozen.
#[test]
fn frozen_cgroup_is_refused_and_not_thawed() {
    let sandbox = Sandbox::shell("true", |_| ());
    let all = hierarchies();
    let found = all.iter().find(|path| path.ends_with("freezer"));
    let holder = sandbox.cgroup(found.unwrap_or(&all[0]));
    let (file, frozen) = match found {
        Some(_) => ("freezer.state", "FROZEN"),
        None => ("cgroup.freeze", "1"),
    };
    std::fs::create_dir(&holder).unwrap();
    std::fs::write(holder.join(file), frozen).unwrap();
    let said = sandbox.create();
    let now = std::fs::read_to_string(holder.join(file)).unwrap();
    std::fs::remove_dir(&holder).unwrap();
    said.fails(1, &["container's cgroup unexpectedly frozen"]);
    assert_eq!(now.trim(), frozen);
}

#[test]
fn unified_limits_are_refused_on_v1() {
    if !has_cgroup_v1() {
        skip("the host has cgroup v2");
        return;
    }
    let sandbox = Sandbox::shell("true", |c| {
        c["linux"]["resources"] = json!({"unified": {"memory.min": "131072"}});
    });
    sandbox.run().fails(1, &["invalid configuration"]);
    sandbox.assert_nothing_left();
}

/// A container that may write to its cgroups can move itself out, and the directory that it was made with can go.
#[test]
fn exec_follows_an_init_that_has_left_its_cgroup() {
    if wharf_tests::with_systemd_cgroups() || !wharf_tests::is_ours() {
        skip("systemd ends a unit that is empty, and runc 1.1 knows one place only");
        return;
    }
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    sandbox.start();
    let pid = sandbox.state()["pid"].to_string();
    let made: Vec<_> = hierarchies().iter().map(|path| sandbox.cgroup(path)).filter(|p| p.is_dir()).collect();
    let elsewhere = |own: &std::path::Path| own.with_file_name(format!("{}-elsewhere", sandbox.id));
    for own in &made {
        std::fs::create_dir(elsewhere(own)).unwrap();
        for file in ["cpuset.cpus", "cpuset.mems"].iter().filter(|file| own.join(file).exists()) {
            std::fs::copy(own.join(file), elsewhere(own).join(file)).unwrap();
        }
        std::fs::write(elsewhere(own).join("cgroup.procs"), &pid).unwrap();
        std::fs::remove_dir(own).unwrap();
    }
    let seen = sandbox.exec("cat /proc/self/cgroup");
    let no_limit = sandbox.verb(&["update", "--pids-limit", "5", &sandbox.id]);
    let deleted = sandbox.verb(&["delete", "--force", &sandbox.id]);
    for own in &made {
        wharf_tests::wait_until("the cgroup to empty", || std::fs::remove_dir(elsewhere(own)).is_ok());
    }
    assert!(seen.ok().lines().filter(|line| line.contains("-elsewhere")).count() == made.len());
    no_limit.fails(1, &["linux.resources.pids.limit", "cgroup is gone"]);
    deleted.ok();
    sandbox.assert_nothing_left();
}

#[test]
fn mount_of_type_cgroup2_is_the_unified_hierarchy_beside_others_too() {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    if !mounts.lines().any(|line| line.contains(" cgroup2 ")) {
        skip("this host has no unified hierarchy");
        return;
    }
    for own_namespace in [true, false] {
        let sandbox = Sandbox::shell("grep ' /cg' /proc/self/mountinfo; cat /cg/cgroup.procs", |c| {
            let mount =
                json!({"destination": "/cg", "type": "cgroup2", "source": "cgroup", "options": ["ro"]});
            c["mounts"].as_array_mut().unwrap().push(mount);
            let namespaces = c["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|n| n["type"] != "cgroup");
            if own_namespace {
                namespaces.push(json!({"type": "cgroup"}));
            }
        });
        let out = sandbox.run().ok();
        let mounts: Vec<&str> = out.lines().filter(|line| line.contains(" /cg")).collect();
        assert!(mounts.len() == 1 && mounts[0].contains(" - cgroup2 "), "{out}");
        assert!(out.lines().any(|line| line == "1"), "init is not in it: {out}");
    }
}
