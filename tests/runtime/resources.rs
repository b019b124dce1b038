//! Limits, read back from the container's own control group (config-linux.md, "Control groups").

use serde_json::json;
use wharf_tests::{Sandbox, has_cgroup_v1, hierarchies};

fn read(sandbox: &Sandbox, controller: &str, file: &str) -> String {
    let all = hierarchies();
    let hierarchy = all.iter().find(|path| path.ends_with(controller)).unwrap_or(&all[0]);
    std::fs::read_to_string(hierarchy.join(&sandbox.id).join(file)).unwrap().trim().to_owned()
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
    let (holder, root) = (hierarchies()[0].join(&sandbox.id), sandbox.id.clone());
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
