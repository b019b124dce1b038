//! root, mounts, devices, masked and read-only paths (config.md, config-linux.md).

use std::os::unix::fs::symlink;

use serde_json::{Value, json};
use wharf_tests::{Sandbox, is_ours};

fn add_mount(config: &mut Value, mount: Value) {
    config["mounts"].as_array_mut().unwrap().push(mount);
}

#[test]
fn read_only_root_refuses_writes_and_dev_does_not() {
    let sandbox = Sandbox::shell("touch /x 2>/dev/null || echo refused; touch /dev/x && echo written", |c| {
        c["root"]["readonly"] = json!(true);
    });
    assert_eq!(sandbox.run().ok(), "refused\nwritten\n");
}

#[test]
fn binds_tmpfs_and_relative_destinations_are_mounted_with_their_options() {
    let sandbox = Sandbox::shell(
        "cat /data/f /f2; touch /data/g 2>/dev/null || echo ro; grep -E ' /(data|t) ' /proc/mounts | cut -d' ' -f2-4",
        |c| {
            add_mount(
                c,
                json!({"destination": "data", "type": "none", "source": "src", "options": ["rbind", "ro", "nosuid"]}),
            );
            add_mount(c, json!({"destination": "/f2", "source": "src/f", "options": ["bind"]}));
            add_mount(
                c,
                json!({"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["nodev", "noexec", "size=64k", "mode=700"]}),
            );
        },
    );
    std::fs::create_dir(sandbox.bundle().join("src")).unwrap();
    std::fs::write(sandbox.bundle().join("src/f"), "hello\n").unwrap();
    let out = sandbox.run().ok();
    assert!(out.starts_with("hello\nhello\nro\n"), "{out}");
    assert!(
        out.contains("/data ext4 ro,nosuid")
            || out.contains("/data overlay ro,nosuid")
            || out.contains("ro,nosuid"),
        "{out}"
    );
    assert!(out.contains("/t tmpfs rw,nodev,noexec,relatime,size=64k,mode=700"), "{out}");
    sandbox.assert_nothing_left();
}

#[test]
fn propagation_of_a_mount_is_as_asked() {
    if !is_ours() {
        return;
    }
    let sandbox =
        Sandbox::shell("grep -E ' /(s|p) ' /proc/self/mountinfo | cut -d' ' -f5,7 | cut -d: -f1", |c| {
            add_mount(c, json!({"destination": "/s", "type": "tmpfs", "options": ["rshared"]}));
            add_mount(c, json!({"destination": "/p", "type": "tmpfs", "options": ["rprivate"]}));
        });
    assert_eq!(sandbox.run().ok(), "/s shared\n/p -\n");
}

/// A root file system is the attacker's: links in it are followed inside it, never out.
#[test]
fn links_in_the_root_lead_nowhere_outside() {
    let sandbox = Sandbox::shell("true", |c| {
        add_mount(c, json!({"destination": "/a/deep", "type": "tmpfs"}));
        add_mount(c, json!({"destination": "/b/file", "source": "config.json", "options": ["bind"]}));
    });
    let canary = tempfile::TempDir::new().unwrap();
    let up = format!("../../../../../../../..{}", canary.path().display());
    symlink(&up, sandbox.rootfs().join("a")).unwrap();
    symlink(canary.path(), sandbox.rootfs().join("b")).unwrap();
    sandbox.run().ok();
    assert_eq!(std::fs::read_dir(canary.path()).unwrap().count(), 0);
}

/// CVE-2026-41579 class: /dev of the image is a link to a folder of the host.
#[test]
fn dev_that_is_a_link_does_not_put_nodes_on_the_host() {
    let sandbox = Sandbox::shell("true", |c| {
        c["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
    });
    let canary = tempfile::TempDir::new().unwrap();
    std::fs::remove_dir(sandbox.rootfs().join("dev")).unwrap();
    symlink(canary.path(), sandbox.rootfs().join("dev")).unwrap();
    sandbox.run();
    assert_eq!(std::fs::read_dir(canary.path()).unwrap().count(), 0);
}

#[test]
fn proc_that_is_a_link_is_refused() {
    let sandbox = Sandbox::shell("true", |_| ());
    std::fs::remove_dir(sandbox.rootfs().join("proc")).unwrap();
    symlink("/tmp", sandbox.rootfs().join("proc")).unwrap();
    assert_eq!(sandbox.run().code, 1);
    sandbox.assert_nothing_left();
}

#[test]
fn mounts_inside_proc_are_refused_but_for_harmless_ones() {
    for (path, code) in [("/proc/self/attr", 1), ("/proc/sys/kernel", 1), ("/proc/uptime", 0)] {
        let sandbox = Sandbox::shell("true", |c| {
            let source = if path == "/proc/uptime" { "config.json" } else { "rootfs" };
            add_mount(c, json!({"destination": path, "source": source, "options": ["bind"]}));
        });
        assert_eq!(sandbox.run().code, code, "{path}");
    }
}

#[test]
fn masked_paths_are_empty_and_read_only_paths_refuse_writes() {
    let sandbox = Sandbox::shell(
        "cat /secret; ls /hidden; touch /fixed/x 2>/dev/null || echo refused; stat -c %t:%T /secret",
        |c| {
            c["linux"]["maskedPaths"] = json!(["/secret", "/hidden", "/proc/kcore", "/nosuch"]);
            c["linux"]["readonlyPaths"] = json!(["/fixed", "/nosuch"]);
        },
    );
    std::fs::write(sandbox.rootfs().join("secret"), "secret\n").unwrap();
    std::fs::create_dir_all(sandbox.rootfs().join("hidden/x")).unwrap();
    std::fs::create_dir(sandbox.rootfs().join("fixed")).unwrap();
    assert_eq!(sandbox.run().ok(), "refused\n1:3\n");
}

#[test]
fn devices_are_made_and_a_different_file_in_their_place_is_an_error() {
    let device = json!([{"type": "c", "path": "/opt/dev/zero", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4}]);
    let sandbox = Sandbox::shell(
        "stat -c '%t:%T %a %u:%g' /opt/dev/zero; for d in null zero full random urandom tty; do stat -c %t:%T /dev/$d; done; for l in fd stdin ptmx; do readlink /dev/$l; done",
        |c| {
            c["linux"]["devices"] = device.clone();
        },
    );
    assert_eq!(
        sandbox.run().ok(),
        "1:5 640 3:4\n1:3\n1:5\n1:7\n1:8\n1:9\n5:0\n/proc/self/fd\n/proc/self/fd/0\npts/ptmx\n"
    );
    if is_ours() {
        let sandbox = Sandbox::shell("true", |c| c["linux"]["devices"] = device);
        std::fs::create_dir_all(sandbox.rootfs().join("opt/dev")).unwrap();
        std::fs::write(sandbox.rootfs().join("opt/dev/zero"), "").unwrap();
        sandbox.run().fails(1, &["/opt/dev/zero: something else is there already"]);
        sandbox.assert_nothing_left();
    }
}

/// config-linux.md, "Mount Label": it is SELinux that gives labels a meaning. A host without it has none to give,
/// and one that asks for a mount's label is not refused for it (so crun); for a process's label it is.
#[test]
fn mount_label_is_left_out_on_a_host_without_selinux() {
    if !is_ours() || std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        return; // runc has the kernel refuse it
    }
    let label = "system_u:object_r:container_file_t:s0";
    let sandbox = Sandbox::shell("grep -c context= /proc/self/mountinfo", |c| {
        c["linux"]["mountLabel"] = json!(label);
        c["mounts"].as_array_mut().unwrap().push(json!({"destination": "/new", "type": "tmpfs"}));
    });
    let bundle = sandbox.bundle().to_str().unwrap();
    assert_eq!(sandbox.verb(&["validate", bundle]).code, 0);
    let said = sandbox.verb(&["--debug", "run", "--bundle", bundle, &sandbox.id]);
    assert_eq!(said.out, "0\n", "{}", said.err);
    assert!(said.err.contains("linux.mountLabel: is ignored"), "{}", said.err);
    let sandbox = Sandbox::new(&["true"], |c| c["process"]["selinuxLabel"] = json!(label));
    sandbox.run().fails(1, &["selinux label is specified in config"]);
}
