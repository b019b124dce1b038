//! What only cgroup v2 has, and what is done another way there: the device program, `cgroup.kill`, the freezer,
//! `unified`, the owner of the control group. Skipped on hosts with v1, where the guest shows it.

use std::os::unix::fs::MetadataExt as _;

use serde_json::{Value, json};
use wharf_tests::{Sandbox, has_cgroup_v1, hierarchies, is_ours, skip};

fn has_v2() -> bool {
    !has_cgroup_v1() || skip("this host has cgroup v1 (scripts/guest has v2)")
}

fn read(sandbox: &Sandbox, file: &str) -> String {
    let path = sandbox.cgroup(&hierarchies()[0]).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
}

fn with_resources(resources: Value) -> Sandbox {
    let sandbox = Sandbox::new(&["sleep", "1000"], |c| c["linux"]["resources"] = resources);
    sandbox.start();
    sandbox
}

/// Major and minor number of a block device of this host.
fn block_device() -> Option<(String, String)> {
    let names = std::fs::read_dir("/sys/block").unwrap().map(|entry| entry.unwrap().path());
    let disk = names.into_iter().find(|path| path.join("device").exists())?;
    let text = std::fs::read_to_string(disk.join("dev")).unwrap();
    text.trim().split_once(':').map(|(major, minor)| (major.to_owned(), minor.to_owned()))
}

#[test]
fn every_controller_has_its_limits() {
    if !has_v2() {
        return;
    }
    let sandbox = with_resources(json!({
        "memory": {"limit": 64 << 20, "swap": 64 << 20, "reservation": 16 << 20},
        "cpu": {"shares": 1024, "period": 40000},
        "pids": {"limit": 0},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}],
        "unified": {"memory.high": "60000000", "memory.oom.group": "1", "cpu.max.burst": "0"},
    }));
    for (file, value) in [
        ("memory.max", "67108864"),
        ("memory.swap.max", "0"),
        ("memory.low", "16777216"),
        ("memory.high", "59998208"), // whole pages
        ("memory.oom.group", "1"),
        ("cpu.weight", "100"),
        ("cpu.max", "max 40000"),
        ("pids.max", "1"), // no container lives with none, nor does systemd know it
        ("hugetlb.2MB.max", "4194304"),
        ("hugetlb.2MB.rsvd.max", "4194304"),
    ] {
        if file != "cpu.weight" || is_ours() {
            assert_eq!(read(&sandbox, file), value, "{file}");
        }
    }
    assert!(!read(&sandbox, "memory.pressure").is_empty());
}

#[test]
fn disk_limits_are_lines_of_io_max() {
    if !has_v2() {
        return;
    }
    let Some((major, minor)) = block_device() else {
        skip("this host has no disk");
        return;
    };
    let rate = |rate: u64| json!([{"major": major.parse::<u32>().unwrap(), "minor": minor.parse::<u32>().unwrap(), "rate": rate}]);
    let sandbox = with_resources(json!({
        "blockIO": {"weight": 500, "throttleReadBpsDevice": rate(1 << 20), "throttleWriteIOPSDevice": rate(77)},
    }));
    assert_eq!(read(&sandbox, "io.max"), format!("{major}:{minor} rbps=1048576 wbps=max riops=max wiops=77"));
}

#[test]
fn unknown_files_and_absent_controllers_are_errors() {
    if !has_v2() {
        return;
    }
    for (key, part) in [("foo.bar", "foo"), ("memory.nosuch", "memory.nosuch"), ("../cpu.max", "cpu.max")] {
        let sandbox = Sandbox::shell("true", |c| c["linux"]["resources"] = json!({"unified": {key: "1"}}));
        let said = sandbox.create();
        assert_eq!(said.code, 1, "{key}: {said:?}");
        assert!(!is_ours() || said.err.contains(part), "{said:?}");
        sandbox.assert_nothing_left();
    }
}

/// Right by right, the last rule that speaks of it decides.
#[test]
fn device_program_follows_the_rules() {
    if !has_v2() {
        return;
    }
    let device = |allow: bool, major: u32, minor: Option<u32>, access: &str| match minor {
        Some(minor) => json!({"allow": allow, "type": "c", "major": major, "minor": minor, "access": access}),
        None => json!({"allow": allow, "type": "c", "major": major, "access": access}),
    };
    let deny_all = json!({"allow": false, "access": "rwm"});
    let script = "try() { if (eval \"$2\") 2>/dev/null; then echo $1 yes; else echo $1 no; fi; }
        mknod /tmp/mem c 1 1; mknod /tmp/kmsg c 1 11; mknod /tmp/loop b 7 0
        try null 'head -c0 /dev/null'
        try read-kmsg 'dd if=/tmp/kmsg of=/dev/null bs=1 count=0'
        try write-kmsg ': > /tmp/kmsg'
        try mem 'dd if=/tmp/mem of=/dev/null bs=1 count=0'
        try loop 'dd if=/tmp/loop of=/dev/null bs=1 count=0'";
    for (rules, expected) in [
        (json!([deny_all.clone()]), ["yes", "no", "no", "no", "no"]),
        (json!([deny_all.clone(), device(true, 1, Some(11), "r")]), ["yes", "yes", "no", "no", "no"]),
        (
            json!([deny_all, device(true, 1, None, "rw"), device(false, 1, Some(11), "w")]),
            ["yes", "yes", "no", "yes", "no"],
        ),
        (
            json!([{"allow": true, "access": "rwm"}, device(false, 1, Some(11), "r")]),
            ["yes", "no", "yes", "yes", "yes"],
        ),
    ] {
        let sandbox = Sandbox::shell(script, |c| c["linux"]["resources"] = json!({"devices": rules}));
        let out = sandbox.run().ok();
        let answers: Vec<&str> = out.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
        // There may be no such disk; then nothing but a refusal can be told from its absence.
        let seen = if std::path::Path::new("/dev/loop0").exists() { 5 } else { 4 };
        assert_eq!(answers[..seen], expected[..seen], "{rules}");
    }
}

#[test]
fn kill_all_reaches_a_tree_that_keeps_forking() {
    if !has_v2() {
        return;
    }
    let sandbox = Sandbox::shell("f() { sleep 0.01; f & f & }; f; sleep 1000", |c| {
        c["linux"]["resources"] = json!({"pids": {"limit": 200}});
    });
    sandbox.start();
    wharf_tests::wait_until("a crowd", || read(&sandbox, "pids.current").parse::<u32>().unwrap() > 50);
    sandbox.verb(&["kill", "--all", &sandbox.id, "KILL"]).ok();
    sandbox.wait_for_status("stopped");
    // systemd has removed it when nobody is left.
    let events = sandbox.cgroup(&hierarchies()[0]).join("cgroup.events");
    let text = || std::fs::read_to_string(&events).unwrap_or_else(|_| "populated 0".to_owned());
    wharf_tests::wait_until("nobody", || text().contains("populated 0"));
    sandbox.verb(&["delete", &sandbox.id]).ok();
    sandbox.assert_nothing_left();
}

#[test]
fn paused_container_stands_still_below_too() {
    if !has_v2() {
        return;
    }
    let sandbox = Sandbox::shell("i=0; while :; do i=$((i+1)); echo $i > /tmp/count; done", |_| ());
    sandbox.start();
    let count = || std::fs::read_to_string(sandbox.rootfs().join("tmp/count")).unwrap_or_default();
    wharf_tests::wait_until("a count", || !count().is_empty());
    sandbox.verb(&["pause", &sandbox.id]).ok();
    assert_eq!(read(&sandbox, "cgroup.freeze"), "1");
    assert_eq!(sandbox.state()["status"], "paused");
    let (before, usage) = (count(), read(&sandbox, "cpu.stat"));
    assert!(!sandbox.exec("true").err.is_empty());
    assert_eq!((count(), read(&sandbox, "cpu.stat").lines().next()), (before.clone(), usage.lines().next()));
    sandbox.verb(&["resume", &sandbox.id]).ok();
    wharf_tests::wait_until("the count to go on", || count() != before && !count().is_empty());
}

/// config-linux.md, "Cgroup ownership".
#[test]
fn control_group_belongs_to_the_user_who_runs_in_it() {
    if !has_v2() {
        return;
    }
    let change = |options: Value| {
        move |c: &mut Value| {
            c["process"]["user"] = json!({"uid": 7, "gid": 7});
            c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
            let mount = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options});
            c["mounts"].as_array_mut().unwrap().push(mount);
        }
    };
    let owners = |sandbox: &Sandbox| {
        let dir = sandbox.cgroup(&hierarchies()[0]);
        let files =
            ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads", "memory.max", "cgroup.freeze"];
        files.map(|file| std::fs::metadata(dir.join(file)).unwrap().uid())
    };
    if is_ours() || wharf_tests::with_systemd_cgroups() {
        let writable = Sandbox::shell(
            "mkdir /sys/fs/cgroup/below && echo $$ > /sys/fs/cgroup/below/cgroup.procs && sleep 1000",
            change(json!([])),
        );
        writable.start();
        wharf_tests::wait_until("its group", || writable.cgroup(&hierarchies()[0]).join("below").exists());
        assert_eq!(owners(&writable), [7, 7, 7, 7, 0, 0]);
        writable.verb(&["delete", "--force", &writable.id]).ok();
        writable.assert_nothing_left();
    }
    let readonly = Sandbox::new(&["sleep", "1000"], change(json!(["ro"])));
    readonly.start();
    assert_eq!(owners(&readonly), [0; 6]);
}
