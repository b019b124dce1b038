//! Bind mounts and what they cover: flags, sources in the container's own root, id mappings, tmpfs.
//!
//! Sources with flags of their own are mounted in a mount namespace around the runtime, so that the host sees
//! none of them.

use std::process::Command;

use serde_json::{Value, json};
use wharf_tests::{Said, Sandbox, is_ours, runtime_path};

const FLAGS: &str = "grep ' /mnt ' /proc/self/mounts | cut -d' ' -f4";

fn add_mount(config: &mut Value, mount: Value) {
    config["mounts"].as_array_mut().unwrap().push(mount);
}

fn user_namespace(config: &mut Value) {
    config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
}

/// `run` in a mount namespace in which `script` was run before, with the bundle as working directory.
fn run_after(sandbox: &Sandbox, script: &str) -> Said {
    let script = format!("set -e; {script}; exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
    command.arg(runtime_path()).arg("--root").arg(sandbox.root());
    command.args(["run", "--bundle", ".", &sandbox.id]).current_dir(sandbox.bundle());
    command.output().unwrap().into()
}

/// The flags of a bind, asked for by `options`, of a tmpfs that has `flags`.
fn bind_flags(in_user_namespace: bool, flags: &str, options: &[&str]) -> Said {
    let sandbox = Sandbox::shell(FLAGS, |c| {
        let options = [&["bind"], options].concat();
        add_mount(c, json!({"destination": "/mnt", "source": "src", "options": options}));
        if in_user_namespace {
            user_namespace(c);
        }
    });
    std::fs::create_dir(sandbox.bundle().join("src")).unwrap();
    std::fs::create_dir(sandbox.rootfs().join("mnt")).unwrap();
    make_searchable(&sandbox);
    run_after(
        &sandbox,
        &format!(
            "mount -t tmpfs -o strictatime tmpfs src; mount --bind -o remount,strictatime src; \
             mount --bind -o remount,{flags} src"
        ),
    )
}

/// Opens the bundle's folder to ids of a user namespace, as engines do.
fn make_searchable(sandbox: &Sandbox) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(sandbox.bundle(), std::fs::Permissions::from_mode(0o711)).unwrap();
}

#[test]
fn bind_without_options_keeps_the_flags_of_its_source() {
    for in_user_namespace in [false, true] {
        let flags = bind_flags(in_user_namespace, "ro,noexec,nosymfollow,nodiratime", &[]).ok();
        for flag in ["ro", "noexec", "nodiratime", "nosymfollow"] {
            assert!(flags.trim().split(',').any(|has| has == flag), "no {flag} in {flags}");
        }
    }
}

#[test]
fn bind_with_options_has_those_and_keeps_only_access_times() {
    for (source, options, expected) in [
        ("ro,noexec,nodiratime", &["dev"][..], "rw,nodiratime,relatime"),
        ("rw,nosuid,nodev,noexec,noatime", &["ro"], "ro,noatime"),
        ("noatime", &["relatime"], "rw,relatime"),
        ("noatime", &["atime"], "rw,noatime"),
        ("noatime", &["nodiratime"], "rw,nodiratime,relatime"),
    ] {
        let flags = bind_flags(false, source, options).ok();
        let shown = flags.trim().replace(",inode64", "");
        assert_eq!(shown, expected, "{source} with {options:?}");
    }
}

#[test]
fn in_a_user_namespace_flags_of_the_source_are_kept_unless_asked_away_which_is_refused() {
    let flags = bind_flags(true, "ro,nodev,nosymfollow", &["nosuid"]).ok();
    let flags: Vec<&str> = flags.trim().split(',').collect();
    assert!(["ro", "nodev", "nosuid"].iter().all(|flag| flags.contains(flag)), "{flags:?}");
    assert!(!flags.contains(&"nosymfollow"), "{flags:?}");
    for (source, option) in [("ro", "rw"), ("nodev", "dev"), ("noatime", "relatime"), ("relatime", "noatime")]
    {
        let said = bind_flags(true, source, &[option]);
        assert!(
            said.code == 1 && said.err.contains("operation not permitted"),
            "{source} {option}: {said:?}"
        );
    }
}

/// A source below the root is what earlier mounts have put there, and a destination may be spelled from the
/// host's root.
#[test]
fn source_in_the_root_is_what_earlier_mounts_have_put_there() {
    for (in_user_namespace, is_mapped) in [(false, false), (true, false), (false, true), (true, true)] {
        if is_mapped && !is_ours() {
            continue;
        }
        let sandbox = Sandbox::shell("cat /final/x/file; stat -c %u /final/x/file", |c| {
            if in_user_namespace {
                user_namespace(c);
            }
        });
        let (bundle, rootfs) = (sandbox.bundle().to_owned(), sandbox.rootfs());
        for folder in ["a/x", "b", "rootfs/m", "rootfs/final"] {
            std::fs::create_dir_all(bundle.join(folder)).unwrap();
        }
        std::fs::write(bundle.join("b/file"), "b\n").unwrap();
        let mut config: Value =
            serde_json::from_slice(&std::fs::read(bundle.join("config.json")).unwrap()).unwrap();
        add_mount(&mut config, json!({"destination": "/m", "source": bundle.join("a"), "options": ["bind"]}));
        add_mount(
            &mut config,
            json!({"destination": "/m/x", "source": bundle.join("b"), "options": ["bind"]}),
        );
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        let mut last =
            json!({"destination": rootfs.join("final"), "source": rootfs.join("m"), "options": ["rbind"]});
        if is_mapped {
            last["options"] = json!(["rbind", "ridmap"]);
            (last["uidMappings"], last["gidMappings"]) = (map.clone(), map);
        }
        add_mount(&mut config, last);
        sandbox.write_config(&config.to_string());
        make_searchable(&sandbox);
        let owner = match (in_user_namespace, is_mapped) {
            (false, false) | (true, true) => "0",
            (false, true) => "100000",
            (true, false) => "65534",
        };
        assert_eq!(sandbox.run().ok(), format!("b\n{owner}\n"), "{in_user_namespace} {is_mapped}");
    }
}

#[test]
fn tmpfs_takes_the_mode_of_what_it_covers_else_its_own_default() {
    let sandbox = Sandbox::shell("stat -c %a /covered /new /asked", |c| {
        for (path, options) in
            [("/covered", json!([])), ("/new", json!([])), ("/asked", json!(["mode=1500"]))]
        {
            add_mount(
                c,
                json!({"destination": path, "type": "tmpfs", "source": "tmpfs", "options": options}),
            );
        }
    });
    use std::os::unix::fs::PermissionsExt as _;
    for path in ["covered", "asked"] {
        std::fs::create_dir(sandbox.rootfs().join(path)).unwrap();
        let mode = std::fs::Permissions::from_mode(0o710);
        std::fs::set_permissions(sandbox.rootfs().join(path), mode).unwrap();
    }
    let shown = sandbox.run().ok();
    if is_ours() {
        assert_eq!(shown, "710\n1777\n1500\n"); // runc before 1.3.3 gave 755 to a new one
    }
}

#[test]
fn read_only_tmpfs_takes_later_mounts_and_devices_first() {
    let sandbox = Sandbox::shell("echo > /dev/null; cat /ro/f; touch /ro/x /dev/x 2>&1 | wc -l", |c| {
        c["mounts"][1]["options"].as_array_mut().unwrap().push(json!("ro"));
        add_mount(c, json!({"destination": "/ro", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}));
        add_mount(c, json!({"destination": "/ro/f", "source": "f", "options": ["bind"]}));
    });
    std::fs::write(sandbox.bundle().join("f"), "there\n").unwrap();
    assert_eq!(sandbox.run().ok(), "there\n2\n");
}

#[test]
fn masked_directories_share_one_file_system_and_a_path_is_masked_once() {
    let sandbox = Sandbox::shell("stat -c %d /a /b | uniq | wc -l; grep -c ' /a ' /proc/self/mounts", |c| {
        c["linux"]["maskedPaths"] = json!(["/a", "/b", "/a"]);
    });
    for path in ["a", "b"] {
        std::fs::create_dir(sandbox.rootfs().join(path)).unwrap();
    }
    let shown = sandbox.run().ok();
    if is_ours() {
        assert_eq!(shown, "1\n1\n");
    }
}

/// The kernel lets a user namespace mount a procfs of its own wherever it sees a whole one; with `--no-pivot`
/// the host's would still be there to be seen.
#[test]
fn without_pivot_no_whole_procfs_is_left_to_a_nested_namespace() {
    let script = "unshare -Urmpf sh -c 'mount -t proc none /proc && echo mounted' 2>&1 | tail -n1";
    let sandbox = Sandbox::shell(script, |c| c["linux"]["readonlyPaths"] = json!(["/proc/sys"]));
    let bundle = sandbox.bundle().to_str().unwrap().to_owned();
    let said = sandbox.verb(&["run", "--no-pivot", "--bundle", &bundle, &sandbox.id]).ok();
    assert!(said.contains("denied") || said.contains("not permitted"), "{said}");
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(mounts.lines().any(|line| line.split(' ').nth(1) == Some("/proc")), "the host lost its /proc");
}

#[test]
fn mount_that_fails_names_source_destination_and_cause() {
    let sandbox = Sandbox::shell("true", |c| {
        add_mount(c, json!({"destination": "/m", "type": "nosuchfs", "source": "none"}));
    });
    sandbox.run().fails(1, &["error mounting", "to rootfs at", "no such device"]);
    sandbox.assert_nothing_left();
}

/// Programs that read the list from top to bottom take the last mount of a place for the one that is seen.
#[test]
fn mounts_are_listed_in_the_order_of_the_config() {
    let sandbox =
        Sandbox::shell("grep -o ' /mnt[^ ]* ' /proc/self/mounts; cat /mnt/file /mnt/sub/name", |c| {
            add_mount(c, json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"}));
            add_mount(c, json!({"destination": "/mnt/file", "source": "file", "options": ["bind", "ro"]}));
            add_mount(c, json!({"destination": "/mnt/sub", "type": "tmpfs", "source": "tmpfs"}));
            add_mount(c, json!({"destination": "/mnt/sub", "source": "dir", "options": ["rbind", "rslave"]}));
        });
    std::fs::create_dir_all(sandbox.bundle().join("dir")).unwrap();
    std::fs::write(sandbox.bundle().join("dir/name"), "dir\n").unwrap();
    std::fs::write(sandbox.bundle().join("file"), "file\n").unwrap();
    let said = run_after(&sandbox, "true");
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let places: Vec<&str> = said.out.split_whitespace().collect();
    assert_eq!(places, ["/mnt", "/mnt/file", "/mnt/sub", "/mnt/sub", "file", "dir"]);
}

#[test]
fn bind_covers_what_is_unbindable() {
    let sandbox = Sandbox::shell("cat /mnt/name", |c| {
        add_mount(
            c,
            json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["unbindable"]}),
        );
        add_mount(c, json!({"destination": "/mnt", "source": "dir", "options": ["bind"]}));
    });
    std::fs::create_dir_all(sandbox.bundle().join("dir")).unwrap();
    std::fs::write(sandbox.bundle().join("dir/name"), "dir\n").unwrap();
    assert_eq!(run_after(&sandbox, "true").ok(), "dir\n");
}

/// In a namespace of its own a container has mounted its control groups itself, says criu, and can't save one that
/// takes mounts from a mount of the host's.
#[test]
fn control_groups_in_a_namespace_of_their_own_take_no_mounts_from_the_host() {
    let script = "grep '/sys/fs/cgroup' /proc/self/mountinfo";
    let sandbox = Sandbox::shell(script, |c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
        add_mount(c, json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}));
    });
    // Where the host's mounts are shared, as on most hosts they are.
    let said = run_after(&sandbox, "mount --make-rshared /").ok();
    let (own, others): (Vec<_>, Vec<_>) = said.lines().partition(|line| !line.contains(" master:"));
    assert_eq!(others, Vec::<&str>::new());
    assert!(own.iter().any(|line| line.contains(" - cgroup")), "{said}");
}
