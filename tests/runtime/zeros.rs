//! Zeros and absent values: engines send a zero for what nobody asked, and for some properties a zero is a wish.

use serde_json::{Value, json};
use wharf_tests::{Sandbox, has_cgroup_v1, hierarchies, is_ours};

/// Files of the container's control group by controller (v1) and name, with what they say; those that this host does
/// not have are left out.
fn limits(resources: Value, files: &[(&str, &str)]) -> Vec<String> {
    let sandbox = Sandbox::new(&["sleep", "1000"], |c| c["linux"]["resources"] = resources);
    sandbox.create().ok();
    let read = |(controller, file): &(&str, &str)| {
        let all = hierarchies();
        let is_its = |path: &&std::path::PathBuf| {
            path.file_name().unwrap().to_str().unwrap().split(',').any(|name| name == *controller)
        };
        let hierarchy = all.iter().find(is_its).or(all.first().filter(|_| !has_cgroup_v1()))?;
        let text = std::fs::read_to_string(sandbox.cgroup(hierarchy).join(file)).ok()?;
        Some(format!("{file} {}", text.lines().next()?))
    };
    files.iter().filter_map(read).collect()
}

/// The same container with and without: what the kernel says must be the same.
#[test]
fn zeros_that_engines_send_leave_a_limit_alone() {
    let files = [
        ("memory", "memory.limit_in_bytes"),
        ("memory", "memory.memsw.limit_in_bytes"),
        ("memory", "memory.max"),
        ("memory", "memory.swap.max"),
        ("memory", "memory.low"),
        ("cpu", "cpu.shares"),
        ("cpu", "cpu.cfs_quota_us"),
        ("cpu", "cpu.cfs_period_us"),
        ("cpu", "cpu.weight"),
        ("cpu", "cpu.max"),
        ("blkio", "blkio.bfq.weight"),
        ("io", "io.bfq.weight"),
    ];
    let zeros = json!({
        "memory": {"limit": 0, "swap": 0, "reservation": 0, "kernel": 0, "kernelTCP": 0},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0, "cpus": "", "mems": ""},
        "blockIO": {"weight": 0, "leafWeight": 0}, "pids": {}, "network": {"classID": 0},
    });
    let zeros = if is_ours() { zeros } else { json!({"memory": {"limit": 0}, "cpu": {"shares": 0}}) };
    let seen = limits(zeros, &files);
    assert_eq!(seen, limits(json!({}), &files));
    assert!(seen.len() > 2, "{seen:?}");
}

#[test]
fn zeros_that_are_limits_are_written() {
    if !is_ours() {
        return;
    }
    let files = [
        ("cpu", "cpu.cfs_burst_us"),
        ("cpu", "cpu.max.burst"),
        ("cpu", "cpu.idle"),
        ("pids", "pids.max"),
        ("memory", "memory.swappiness"),
    ];
    let mut wish = json!({"cpu": {"burst": 0, "idle": 0}, "pids": {"limit": 0}});
    if has_cgroup_v1() {
        wish["memory"] = json!({"swappiness": 0});
    }
    for line in limits(wish, &files) {
        let (file, value) = line.split_once(' ').unwrap();
        // With none at all not even init could be there.
        assert_eq!(value, if file == "pids.max" { "1" } else { "0" }, "{file}");
    }
}

#[test]
fn minus_one_lifts_a_limit() {
    let files =
        [("cpu", "cpu.cfs_quota_us"), ("cpu", "cpu.max"), ("pids", "pids.max"), ("memory", "memory.max")];
    let wish = json!({"cpu": {"quota": -1}, "pids": {"limit": -1}, "memory": {"limit": -1}});
    for line in limits(wish, &files) {
        let value = line.split(' ').nth(1).unwrap();
        assert!(["-1", "max"].contains(&value), "{line}");
    }
}

/// The caller has other values, so that what is left alone can be told from what is set to 0.
#[test]
fn zeros_of_the_process_are_values_and_absent_ones_are_the_callers() {
    let seen = |change: fn(&mut Value)| {
        let script = "umask; cat /proc/self/oom_score_adj; mkdir /made; ls -d /made* 2>/dev/null; true";
        let sandbox = Sandbox::shell(script, change);
        let run = sandbox.command();
        let mut caller = std::process::Command::new("sh");
        caller.args(["-c", "umask 027; echo 77 > /proc/self/oom_score_adj; exec \"$@\"", "sh"]);
        caller.arg(run.get_program()).args(run.get_args());
        caller.args(["run", "--bundle", sandbox.bundle().to_str().unwrap(), &sandbox.id]);
        let said = wharf_tests::Said::from(caller.output().unwrap());
        said.ok().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let umask = if is_ours() { "0027" } else { "0022" }; // runc 1.1 has one of its own
    assert_eq!(seen(|_| ()), [umask, "77", "/made"]);
    let zeros = seen(|c| {
        c["process"]["user"]["umask"] = json!(0);
        c["process"]["oomScoreAdj"] = json!(0);
        // Errno 0 is success: the call is not made, and its caller thinks it was.
        let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0});
        c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    });
    assert_eq!(zeros, ["0000", "0"]);
}

#[test]
fn empty_texts_are_absent() {
    if !is_ours() {
        return;
    }
    let sandbox = Sandbox::shell("hostname; grep -c ' /m ' /proc/self/mounts", |c| {
        c["mounts"].as_array_mut().unwrap().push(json!({"destination": "/m", "type": "tmpfs", "source": ""}));
        c["linux"]["namespaces"].as_array_mut().unwrap().iter_mut().for_each(|n| n["path"] = json!(""));
        for key in ["cgroupsPath", "rootfsPropagation", "mountLabel"] {
            c["linux"][key] = json!("");
        }
        for key in ["apparmorProfile", "selinuxLabel"] {
            c["process"][key] = json!("");
        }
    });
    assert_eq!(sandbox.run().ok(), "box\n1\n");
}
