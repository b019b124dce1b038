//! The systemd driver (runc's docs/systemd.md): a container is a unit, its limits are the unit's properties and
//! the files of its control group, and neither outlives it. Run in the guest, by `scripts/guest suite`.

use std::process::{Child, Command};

use serde_json::{Value, json};
use wharf_tests::{
    Sandbox, has_cgroup_v1, hierarchies, is_ours, skip, systemd_property, with_systemd_cgroups,
};

fn has_driver() -> bool {
    with_systemd_cgroups() || skip("the systemd driver is not under test (scripts/guest does it)")
}

fn sleeping(change: impl FnOnce(&mut Value)) -> Sandbox {
    let sandbox = Sandbox::new(&["sleep", "1000"], change);
    sandbox.start();
    sandbox
}

fn read(sandbox: &Sandbox, file: &str) -> String {
    let path = sandbox.cgroup(&hierarchies()[0]).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
}

fn limits() -> Value {
    json!({
        "memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20},
        "cpu": {"shares": 512, "quota": 20123, "period": 50000, "cpus": "0-1", "mems": "0"},
        "pids": {"limit": 9},
        "blockIO": {"weight": 100},
        "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}],
    })
}

#[test]
fn limits_are_the_units_properties_and_the_files() {
    if !has_driver() || has_cgroup_v1() {
        return;
    }
    let sandbox = sleeping(|c| c["linux"]["resources"] = limits());
    for (property, value) in [
        ("ActiveState", "active"),
        ("Slice", "system.slice"),
        ("Delegate", "yes"),
        ("DefaultDependencies", "no"),
        ("MemoryMax", "67108864"),
        ("MemorySwapMax", "33554432"),
        ("MemoryLow", "33554432"),
        ("CPUWeight", "59"),
        ("CPUQuotaPerSecUSec", "410ms"),
        ("CPUQuotaPeriodUSec", "50ms"),
        ("AllowedCPUs", "0-1"),
        ("AllowedMemoryNodes", "0"),
        ("TasksMax", "9"),
        ("IOWeight", "910"),
        ("DevicePolicy", "strict"),
    ] {
        assert_eq!(systemd_property(&sandbox.unit(), property), value, "{property}");
    }
    assert!(systemd_property(&sandbox.unit(), "DeviceAllow").contains("/dev/char/1:11 r"));
    for (file, value) in [
        ("memory.max", "67108864"),
        ("memory.swap.max", "33554432"),
        ("cpu.max", "20123 50000"),
        ("cpuset.cpus", "0-1"),
        ("pids.max", "9"),
        ("io.weight", "default 910"),
    ] {
        assert_eq!(read(&sandbox, file), value, "{file}");
    }
}

/// Whatever systemd does when it reads its units anew, a limit that has gone is a container that has escaped.
#[test]
fn daemon_reload_loses_no_limit() {
    if !has_driver() || has_cgroup_v1() {
        return;
    }
    let sandbox = sleeping(|c| c["linux"]["resources"] = limits());
    let files = ["memory.max", "memory.swap.max", "memory.low", "cpu.weight", "cpuset.cpus", "pids.max"];
    let before = files.map(|file| read(&sandbox, file));
    assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
    assert_eq!(files.map(|file| read(&sandbox, file)), before);
    let script = "head -c0 /dev/null && echo null; mknod /tmp/kmsg c 1 11 && head -c0 /tmp/kmsg && echo kmsg; \
                  mknod /tmp/port c 1 4 && head -c1 /tmp/port";
    let said = sandbox.exec(script);
    assert_eq!(said.out, "null\nkmsg\n");
    said.fails(1, &["Operation not permitted"]);
}

#[test]
fn annotations_are_properties_and_bad_ones_are_named() {
    if !has_driver() {
        return;
    }
    let annotate = |name: &str, text: &str| {
        let entry = json!({format!("org.systemd.property.{name}"): text});
        move |c: &mut Value| c["annotations"] = entry
    };
    for (name, text, property, value) in [
        ("TimeoutStopSec", "123.5", "TimeoutStopUSec", "2min 3.5"),
        ("TimeoutStopUSec", "uint64 7000000", "TimeoutStopUSec", "7s"),
        ("CollectMode", "'inactive-or-failed'", "CollectMode", "inactive-or-failed"),
        ("After", "['sshd.service', 'a.service']", "After", "sshd.service"),
    ] {
        let sandbox = sleeping(annotate(name, text));
        let shown = systemd_property(&sandbox.unit(), property);
        assert!(shown.contains(value), "{name}: {shown}");
    }
    for (name, text, part) in [("CollectMode", "oops'", "annotations"), ("NoSuchThing", "'x'", "NoSuchThing")]
    {
        let sandbox = Sandbox::shell("true", annotate(name, text));
        let said = sandbox.create();
        assert_eq!(said.code, 1, "{said:?}");
        assert!(!is_ours() || said.err.contains(part), "{said:?}");
        sandbox.assert_nothing_left();
    }
}

#[test]
fn cgroups_path_names_the_slice_and_the_unit() {
    if !has_driver() {
        return;
    }
    let place = |path: &str| {
        let sandbox = sleeping(|c| c["linux"]["cgroupsPath"] = json!(path));
        let pid = sandbox.state()["pid"].to_string();
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let line =
            text.lines().find(|line| line.starts_with("0::") || line.contains("name=systemd")).unwrap();
        let place = line.rsplit(':').next().unwrap().to_owned();
        let id = sandbox.id.clone();
        sandbox.verb(&["delete", "--force", &id]).ok();
        assert!(!hierarchies()[0].join(&place[1..]).exists(), "{place} is left");
        place
    };
    assert_eq!(place("wharf-a-b.slice:pod:x"), "/wharf.slice/wharf-a.slice/wharf-a-b.slice/pod-x.scope");
    assert_eq!(place("-:pod:x"), "/pod-x.scope");
    if is_ours() {
        assert_eq!(place("wharf.slice::wharf-deep.slice"), "/wharf.slice/wharf-deep.slice");
    }
    for bad in ["/a/b", "a:b", "a.slice:b:c:d", "a--b.slice:p:n", ":p:../x"] {
        let sandbox = Sandbox::shell("true", |c| c["linux"]["cgroupsPath"] = json!(bad));
        assert_eq!(sandbox.create().code, 1, "{bad}");
        assert!(std::fs::read_dir(sandbox.root()).into_iter().flatten().next().is_none(), "{bad}");
    }
}

/// conmon gives the option to `create` alone.
#[test]
fn driver_is_remembered_by_the_other_verbs() {
    if !has_driver() || !is_ours() {
        return;
    }
    let sandbox = sleeping(|_| ());
    let verb = |words: &[&str]| {
        let mut command = Command::new(wharf_tests::runtime_path());
        let output = command.arg("--root").arg(sandbox.root()).args(words).output().unwrap();
        wharf_tests::Said::from(output)
    };
    let inside = verb(&["exec", &sandbox.id, "cat", "/proc/self/cgroup"]).ok();
    assert!(inside.contains(&sandbox.unit()), "{inside}");
    verb(&["delete", "--force", &sandbox.id]).ok();
    sandbox.assert_nothing_left();
}

fn scope(unit: &str, more: &[&str]) -> Child {
    let mut command = Command::new("systemd-run");
    command.args(["--quiet", "--scope", "--unit", unit]).args(more).args(["--", "sleep", "1000"]);
    let child = command.spawn().unwrap();
    wharf_tests::wait_until("the other unit", || systemd_property(unit, "ActiveState") == "active");
    child
}

#[test]
fn unit_of_somebody_else_is_left_alone() {
    if !has_driver() || !is_ours() {
        return;
    }
    let sandbox = Sandbox::shell("true", |_| ());
    // In another slice, so that only systemd can tell that the name is taken.
    let mut other = scope(&sandbox.unit(), &["--slice", "wharf-other.slice"]);
    let said = sandbox.create();
    let state = systemd_property(&sandbox.unit(), "ActiveState");
    other.kill().unwrap();
    other.wait().unwrap();
    said.fails(1, &["start unit", "another unit has this name"]);
    assert_eq!(state, "active");
}

#[test]
fn unit_that_has_failed_makes_way() {
    if !has_driver() {
        return;
    }
    let sandbox = Sandbox::shell("true", |_| ());
    let mut other = scope(&sandbox.unit(), &["-p", "RuntimeMaxSec=1"]);
    other.wait().unwrap();
    wharf_tests::wait_until("failure", || systemd_property(&sandbox.unit(), "ActiveState") == "failed");
    sandbox.run().ok();
    sandbox.assert_nothing_left();
}

#[test]
fn unit_killed_for_memory_is_gone_after_delete() {
    if !has_driver() {
        return;
    }
    let sandbox = Sandbox::shell("tail -c 100m /dev/zero > /dev/null", |c| {
        c["linux"]["resources"] = json!({"memory": {"limit": 16777216}});
    });
    assert_eq!(sandbox.run().code, 137);
    sandbox.assert_nothing_left();
}

/// An engine that waits for a runtime that waits for systemd would wait for ever.
#[test]
fn bus_that_hangs_is_an_error_in_time() {
    if !has_driver() || !is_ours() {
        return;
    }
    let sandbox = Sandbox::shell("true", |_| ());
    let socket = sandbox.bundle().join("bus");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap(); // accepts in the kernel, never answers
    for folder in [sandbox.bundle(), &sandbox.rootfs()] {
        std::os::unix::fs::chown(folder, Some(1000), Some(1000)).unwrap();
    }
    std::os::unix::fs::chown(&socket, Some(1000), Some(1000)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=1000", "--regid=1000", "--clear-groups"]).arg(wharf_tests::runtime_path());
    command.arg("--root").arg(sandbox.bundle().join("own")).args(["--systemd-cgroup", "create", "--bundle"]);
    command.arg(sandbox.bundle()).arg(&sandbox.id).env_remove("XDG_RUNTIME_DIR");
    command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", socket.display()));
    let said = wharf_tests::Said::from(command.output().unwrap());
    said.fails(1, &["the user's systemd", "did not answer within"]);
}

/// The guest's ordinary user, whose systemd runs without a login.
const USER: u32 = 1000;

/// A verb as that user calls it.
fn as_user(sandbox: &Sandbox, words: &[&str]) -> wharf_tests::Said {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=1000", "--regid=1000", "--clear-groups", "--inh-caps=-all"]);
    command.arg(wharf_tests::runtime_path()).arg("--root").arg(sandbox.bundle().join("own"));
    command.arg("--systemd-cgroup").args(words).current_dir(sandbox.bundle());
    command.env("XDG_RUNTIME_DIR", format!("/run/user/{USER}")).env_remove("DBUS_SESSION_BUS_ADDRESS");
    let (out, err) = (sandbox.bundle().join("out"), sandbox.bundle().join("err"));
    let file = |path: &std::path::Path| std::fs::File::create(path).unwrap();
    let status = command.stdout(file(&out)).stderr(file(&err)).stdin(std::process::Stdio::null()).status();
    let (stdout, stderr) = (std::fs::read(out).unwrap(), std::fs::read(err).unwrap());
    std::process::Output { status: status.unwrap(), stdout, stderr }.into()
}

#[test]
fn ordinary_user_has_limits_by_his_own_systemd() {
    if !has_driver() || has_cgroup_v1() {
        return;
    }
    if !std::path::Path::new("/run/user/1000/systemd/private").exists() {
        skip("user 1000 has no systemd here");
        return;
    }
    let sandbox = Sandbox::new(&["sleep", "1000"], |c| {
        let linux = c["linux"].as_object_mut().unwrap();
        linux.remove("cgroupsPath");
        let map = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
        linux.insert("uidMappings".into(), map.clone());
        linux.insert("gidMappings".into(), map);
        linux.insert("resources".into(), json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 30}}));
        let namespaces = linux["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({"type": "user"}));
        namespaces.push(json!({"type": "cgroup"}));
    });
    let chown = Command::new("chown").args(["-Rh", "1000:1000"]).arg(sandbox.bundle()).status().unwrap();
    assert!(chown.success());
    as_user(&sandbox, &["create", &sandbox.id]).ok();
    as_user(&sandbox, &["start", &sandbox.id]).ok();
    let state: Value = serde_json::from_str(&as_user(&sandbox, &["state", &sandbox.id]).ok()).unwrap();
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", state["pid"])).unwrap();
    let place = text.trim().strip_prefix("0::/").unwrap().to_owned();
    assert!(place.contains("user@1000.service/") && place.ends_with(".scope"), "{place}");
    let dir = hierarchies()[0].join(&place);
    let limit = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap().trim().to_owned();
    assert_eq!((limit("memory.max"), limit("pids.max")), ("67108864".to_owned(), "30".to_owned()));
    let inside = as_user(&sandbox, &["exec", &sandbox.id, "cat", "/proc/self/cgroup"]).ok();
    assert_eq!(inside, "0::/\n");
    as_user(&sandbox, &["update", "--pids-limit", "40", &sandbox.id]).ok();
    assert_eq!(limit("pids.max"), "40");
    as_user(&sandbox, &["delete", "--force", &sandbox.id]).ok();
    assert!(!dir.exists());
}

#[test]
fn update_changes_properties_and_files_and_takes_both_back_on_error() {
    if !has_driver() || has_cgroup_v1() {
        return;
    }
    let sandbox = sleeping(|c| c["linux"]["resources"] = limits());
    let verb = |words: &[&str]| sandbox.verb(&[&["update"], words, &[&sandbox.id]].concat());
    verb(&[
        "--pids-limit",
        "20",
        "--cpu-quota",
        "10000",
        "--memory",
        "50331648",
        "--memory-swap",
        "67108864",
    ])
    .ok();
    let seen = || {
        let properties = ["TasksMax", "CPUQuotaPerSecUSec", "MemoryMax", "MemorySwapMax"];
        let files = ["pids.max", "cpu.max", "memory.max", "memory.swap.max"];
        (
            properties.map(|name| systemd_property(&sandbox.unit(), name)),
            files.map(|file| read(&sandbox, file)),
        )
    };
    let words = |list: [&str; 4]| list.map(str::to_owned);
    let expected = (
        words(["20", "200ms", "50331648", "16777216"]),
        words(["20", "10000 50000", "50331648", "16777216"]),
    );
    assert_eq!(seen(), expected);
    if is_ours() {
        // systemd keeps whole percents, and what it is told of one CPU limit makes it write all of them.
        verb(&["--cpu-quota", "10123"]).ok();
        verb(&["--cpu-share", "100"]).ok();
        assert_eq!(read(&sandbox, "cpu.max"), "10123 50000");
        verb(&["--cpu-quota", "10000"]).ok();
        assert_ne!(verb(&["--pids-limit", "30", "--cpuset-cpus", "900"]).code, 0);
        assert_eq!(seen(), expected);
    }
}
