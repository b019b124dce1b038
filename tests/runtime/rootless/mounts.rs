//! What an ordinary user can't mount or make, and what he gets instead.

use serde_json::json;
use wharf_tests::is_ours;

use super::{Home, map_ranges};

#[test]
fn devices_are_the_hosts_and_none_can_be_made() {
    let script = "for name in null zero full random urandom tty; do [ -c /dev/$name ] || echo no $name; done
        echo x > /dev/null && grep -c ' /dev/null ' /proc/self/mountinfo; mknod /tmp/n c 1 3 2> /dev/null || echo refused";
    let home = Home::shell(script, |_| ());
    assert_eq!(home.run().ok(), "1\nrefused\n");
}

#[test]
fn ptmx_that_is_asked_for_is_the_containers_own_all_the_same() {
    let home = Home::shell("readlink /dev/ptmx", |c| {
        c["linux"]["devices"] = json!([{"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2}]);
    });
    assert_eq!(home.run().ok(), "pts/ptmx\n");
}

#[test]
fn device_that_the_host_has_not_is_refused() {
    let home = Home::shell("true", |c| {
        c["linux"]["devices"] = json!([{"path": "/dev/nosuch", "type": "c", "major": 1, "minor": 3}]);
    });
    home.run().fails(1, &["/dev/nosuch"]);
    home.assert_nothing_left();
}

/// sysfs shows the devices of a network namespace, so only the owner of that may mount it.
#[test]
fn sys_is_the_hosts_when_the_network_is() {
    if !is_ours() {
        return; // runc leaves that to who writes the config
    }
    let script = "ls /sys/class/net; grep -o ' /sys ro' /proc/self/mountinfo";
    let sysfs = json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]});
    let host = std::fs::read_dir("/sys/class/net").unwrap().count();
    let home = Home::shell(script, |c| c["mounts"][4] = sysfs.clone());
    let lines = home.run().ok();
    assert_eq!(lines.lines().count(), host + 1, "{lines}");
    let own = Home::shell(script, |c| {
        c["mounts"][4] = sysfs.clone();
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "network"}));
    });
    assert_eq!(own.run().ok(), "lo\n /sys ro\n");
}

#[test]
fn bundle_without_proc_runs() {
    let home =
        Home::shell("id -u", |c| c["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/proc"));
    if is_ours() {
        // It says "denied" of setgroups in no file, and needs none.
        assert_eq!(home.run().ok(), "0\n");
        home.assert_nothing_left();
    }
}

#[test]
fn group_of_terminals_must_be_mapped() {
    let with_group = |c: &mut serde_json::Value| {
        c["mounts"][2]["options"].as_array_mut().unwrap().push(json!("gid=5"));
    };
    let one = Home::shell("true", with_group);
    one.run().fails(1, &["gid=", "unmapped"]);
    one.assert_nothing_left();
    let ranges = Home::shell("stat -c %g $(tty)", |c| {
        with_group(c);
        map_ranges(c);
        c["process"]["terminal"] = json!(true);
    });
    assert_eq!(ranges.run_in_terminal(), "5\n");
}

#[test]
fn read_only_binds_and_masked_paths_hold() {
    let script =
        "echo x > /shown/file; cat /shown/file; cat /etc/passwd | wc -c; echo 1 > /proc/sys/kernel/hostname";
    let home = Home::shell(script, |c| {
        c["mounts"].as_array_mut().unwrap().push(json!(
            {"destination": "/shown", "type": "bind", "source": "shown", "options": ["rbind", "ro", "nosuid"]}));
        c["linux"]["maskedPaths"] = json!(["/etc/passwd"]);
        c["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
    });
    std::fs::create_dir(home.path("shown")).unwrap();
    std::fs::write(home.path("shown/file"), "kept\n").unwrap();
    let said = home.run();
    assert_eq!(said.out, "kept\n0\n");
    assert_eq!(said.err.matches("Read-only file system").count(), 2, "{}", said.err);
}

#[test]
fn mount_of_cgroups_shows_those_that_it_is_in_and_only_to_read() {
    let script = "cd /sys/fs/cgroup; for file in cgroup.procs */cgroup.procs; do [ -e $file ] || continue
        echo shown; grep -qx $$ $file || echo elsewhere; echo $$ > $file 2> /dev/null && echo written; done | sort -u";
    for own_namespace in [true, false] {
        let home = Home::shell(script, |c| {
            if own_namespace {
                c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
            }
            let options = json!(["nosuid", "noexec", "nodev", "relatime"]);
            c["mounts"].as_array_mut().unwrap().push(
                json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}),
            );
            // Its own /sys would hide what the host has mounted there.
            c["mounts"][4] =
                json!({"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "ro"]});
        });
        assert_eq!(home.run().ok(), "shown\n", "own namespace: {own_namespace}");
    }
}
