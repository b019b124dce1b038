//! `update`: what is named changes, the rest stays, and a change that fails leaves everything as it was.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::json;
use wharf_tests::{Said, Sandbox, has_cgroup_v1, hierarchies, is_ours, skip};

/// A running container with limits.
fn limited() -> Sandbox {
    let sandbox = Sandbox::new(&["sleep", "1000"], |c| {
        c["linux"]["resources"] = json!({
            "memory": {"limit": 33554432, "reservation": 25165824},
            "cpu": {"shares": 100, "quota": 500000, "period": 1000000},
            "pids": {"limit": 20},
        });
    });
    sandbox.start();
    sandbox
}

fn read(sandbox: &Sandbox, controller: &str, file: &str) -> String {
    let all = hierarchies();
    let of = |path: &&std::path::PathBuf| {
        path.file_name().unwrap().to_str().unwrap().split(',').any(|name| name == controller)
    };
    let hierarchy = all.iter().find(of).unwrap_or(&all[0]);
    std::fs::read_to_string(sandbox.cgroup(hierarchy).join(file)).unwrap().trim().to_owned()
}

fn memory_limit(sandbox: &Sandbox) -> String {
    read(sandbox, "memory", if has_cgroup_v1() { "memory.limit_in_bytes" } else { "memory.max" })
}

/// Quota and period, as v2 writes them.
fn bandwidth(sandbox: &Sandbox) -> String {
    if !has_cgroup_v1() {
        return read(sandbox, "", "cpu.max");
    }
    let quota = read(sandbox, "cpu", "cpu.cfs_quota_us");
    let quota = if quota == "-1" { "max".to_owned() } else { quota };
    format!("{quota} {}", read(sandbox, "cpu", "cpu.cfs_period_us"))
}

fn update(sandbox: &Sandbox, options: &[&str]) -> Said {
    sandbox.verb(&[&["update"], options, &[&sandbox.id]].concat())
}

/// `update --resources -` with the document on standard input.
fn update_from_input(sandbox: &Sandbox, document: &serde_json::Value) -> Said {
    let mut command = sandbox.command();
    command.args(["update", "--resources", "-", &sandbox.id]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(document.to_string().as_bytes()).unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn only_what_is_named_changes() {
    let sandbox = limited();
    update(&sandbox, &["--memory", "50M"]).ok();
    assert_eq!((memory_limit(&sandbox), bandwidth(&sandbox)), ("52428800".into(), "500000 1000000".into()));
    update(&sandbox, &["--cpu-period", "900000"]).ok();
    assert_eq!(bandwidth(&sandbox), "500000 900000");
    update(&sandbox, &["--cpu-quota=-1"]).ok();
    assert_eq!(bandwidth(&sandbox), "max 900000");
    update(&sandbox, &["--pids-limit", "-1"]).ok();
    assert_eq!(read(&sandbox, "pids", "pids.max"), "max");
    assert_eq!(memory_limit(&sandbox), "52428800");
}

/// runc 1.1 takes 0 for "unset"; since 1.4 it is the lowest limit there is.
#[test]
fn pids_limit_of_zero_is_one() {
    let sandbox = limited();
    update(&sandbox, &["--pids-limit", "0"]).ok();
    if is_ours() {
        assert_eq!(read(&sandbox, "pids", "pids.max"), "1");
    }
}

#[test]
fn resources_come_from_a_file_or_from_standard_input() {
    let sandbox = limited();
    let document = json!({"memory": {"limit": 67108864}, "pids": {"limit": 11}, "unknown": 1});
    update_from_input(&sandbox, &document).ok();
    assert_eq!(memory_limit(&sandbox), "67108864");
    assert_eq!(read(&sandbox, "pids", "pids.max"), "11");
    let file = sandbox.bundle().join("resources.json");
    std::fs::write(&file, json!({"pids": {"limit": 7}}).to_string()).unwrap();
    update(&sandbox, &["-r", file.to_str().unwrap()]).ok();
    assert_eq!((read(&sandbox, "pids", "pids.max"), memory_limit(&sandbox)), ("7".into(), "67108864".into()));
    assert_ne!(update_from_input(&sandbox, &json!({"pids": {"limit": "x"}})).code, 0);
    assert_ne!(update(&sandbox, &["-r", "/nonexistent"]).code, 0);
}

/// The last write fails, after others went in.
#[test]
fn failed_update_puts_everything_back() {
    let sandbox = limited();
    let document = json!({
        "memory": {"limit": 67108864}, "cpu": {"quota": 300000, "cpus": "4095"}, "pids": {"limit": 7},
    });
    assert_ne!(update_from_input(&sandbox, &document).code, 0);
    if is_ours() {
        assert_eq!(
            (memory_limit(&sandbox), bandwidth(&sandbox)),
            ("33554432".into(), "500000 1000000".into())
        );
        assert_eq!(read(&sandbox, "pids", "pids.max"), "20");
        // Nor does the record know of it.
        update(&sandbox, &["--cpu-period", "900000"]).ok();
        assert_eq!(bandwidth(&sandbox), "500000 900000");
    }
}

/// The specification, config-linux.md, "Memory": "checkBeforeUpdate enables container memory usage check before
/// setting a new limit. If enabled, runtime MAY check if a new memory limit is lower than the current usage, and MUST
/// reject the new limit."
#[test]
fn limit_below_what_is_used_is_rejected_on_demand() {
    if !is_ours() {
        skip("others check on cgroup v2 alone");
        return;
    }
    let sandbox = limited();
    let document = json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}});
    update_from_input(&sandbox, &document).fails(1, &["rejecting memory limit 4096 < usage "]);
    let document = json!({"memory": {"limit": 4096, "swap": 8192, "checkBeforeUpdate": true}});
    update_from_input(&sandbox, &document).fails(1, &["rejecting memory+swap limit 8192 < usage "]);
    assert_eq!(
        (memory_limit(&sandbox), sandbox.state()["status"].clone()),
        ("33554432".into(), json!("running"))
    );
}

#[test]
fn idle_container_gets_its_shares_back() {
    if !is_ours() {
        skip("runc 1.1 has no --cpu-idle");
        return;
    }
    let sandbox = limited();
    let has_idle = |cpu: &str| hierarchies().iter().any(|path| sandbox.cgroup(path).join(cpu).exists());
    if !has_idle("cpu.idle") {
        skip("the kernel has no cpu.idle");
        return;
    }
    update(&sandbox, &["--cpu-idle", "1"]).ok();
    assert_eq!(read(&sandbox, "cpu", "cpu.idle"), "1");
    update(&sandbox, &["--cpu-period", "900000"]).ok();
    assert_eq!(read(&sandbox, "cpu", "cpu.idle"), "1");
    update(&sandbox, &["--cpu-idle", "0"]).ok();
    if has_cgroup_v1() {
        assert_eq!(read(&sandbox, "cpu", "cpu.shares"), "100");
    }
}

#[test]
fn paused_container_is_updated_and_stays_paused() {
    let sandbox = limited();
    sandbox.verb(&["pause", &sandbox.id]).ok();
    update(&sandbox, &["--pids-limit", "30"]).ok();
    assert_eq!(read(&sandbox, "pids", "pids.max"), "30");
    assert_eq!(sandbox.state()["status"], "paused");
    sandbox.verb(&["resume", &sandbox.id]).ok();
}

/// The limit of memory and swap together goes with the memory limit that an earlier update has set.
#[test]
fn updates_are_remembered() {
    let sandbox = limited();
    update(&sandbox, &["--memory", "64m", "--memory-swap", "96m"]).ok();
    if is_ours() {
        update(&sandbox, &["--memory", "128m"]).fails(1, &["memory+swap limit should be >= memory limit"]);
    }
    assert_eq!(memory_limit(&sandbox), "67108864");
    update(&sandbox, &["--memory", "-1"]).ok();
    update(&sandbox, &["--memory", "128m"]).ok();
    assert_eq!(memory_limit(&sandbox), "134217728");
}

#[test]
fn device_rules_are_updated_while_others_stay_in_force() {
    let sandbox = Sandbox::shell("mknod /tmp/full c 1 7; mknod /tmp/kmsg c 1 11; sleep 1000", |c| {
        c["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
        let sets = json!(["CAP_MKNOD"]);
        c["process"]["capabilities"] = json!({"bounding": sets, "effective": sets, "permitted": sets});
    });
    sandbox.start();
    let kmsg = || sandbox.exec("dd if=/dev/null of=/tmp/kmsg 2>&1 | grep -c permitted");
    let mknod_is_done = || sandbox.exec("test -e /tmp/kmsg").code == 0;
    wharf_tests::wait_until("the nodes", mknod_is_done);
    assert_eq!(kmsg().out, "1\n");
    if !is_ours() {
        skip("others pass over devices in an update");
        return;
    }
    let wider = json!({"devices": [
        {"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwm"},
    ]});
    update_from_input(&sandbox, &wider).ok();
    assert_eq!(kmsg().out, "0\n");
    assert_eq!(sandbox.exec("echo x > /dev/null && echo null").ok(), "null\n");
    // An update that does not name them leaves them alone.
    update(&sandbox, &["--pids-limit", "100"]).ok();
    assert_eq!(kmsg().out, "0\n");
    for (allow, denials) in [(false, "1\n"), (true, "0\n"), (false, "1\n")] {
        update_from_input(&sandbox, &json!({"devices": [{"allow": allow, "access": "rwm"}]})).ok();
        assert_eq!((kmsg().out.as_str(), &sandbox.state()["status"]), (denials, &json!("running")));
    }
}

#[test]
fn container_without_a_process_is_not_updated() {
    let sandbox = Sandbox::shell("true", |_| ());
    sandbox.start();
    sandbox.wait_for_status("stopped");
    update(&sandbox, &["--pids-limit", "5"]).fails(1, &["container not running"]);
    sandbox.verb(&["update", "--pids-limit", "5", "no-such-container"]).fails(1, &["does not exist"]);
}

#[test]
fn values_that_mean_nothing_are_refused() {
    let sandbox = limited();
    for options in [
        &["--memory", "12x"][..],
        &["--cpu-quota", "many"],
        &["--cpu-period", "-5"],
        &["--cpu-idle", "2"],
        &["--l3-cache-schema", "L3:0=f"],
        &["--mem-bw-schema", "MB:0=20"],
    ] {
        assert_eq!(update(&sandbox, options).code, 1, "{options:?}");
    }
}
