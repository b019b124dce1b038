//! Mounts: on what is there and what is not, in one another, many, and by every way that leads to them.

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::case::{Odd, works};
use crate::scene::{Scene, fifo};

fn file(scene: &mut Scene, destination: &str) {
    std::fs::write(scene.volume("given"), "given").unwrap();
    scene.bind(destination, scene.volume("given"));
    scene.script(&format!("grep -q given {destination} && echo fine"));
}

fn folder(scene: &mut Scene, destination: &str) {
    std::fs::write(scene.volume("given"), "").unwrap();
    scene.bind(destination, scene.volume(""));
    scene.script(&format!("test -f {destination}/given && echo fine"));
}

pub fn cases() -> Vec<Odd> {
    [places(), nested(), sources(), protected()].into_iter().flatten().collect()
}

fn places() -> Vec<Odd> {
    vec![
        works("file_on_a_link_to_a_file", |s| {
            s.file("opt/real", "");
            s.link("/opt/real", "etc/conf");
            file(s, "/etc/conf");
        }),
        works("file_on_a_relative_link_to_a_file", |s| {
            s.file("run/systemd/stub", "");
            s.link("../run/systemd/stub", "etc/resolv.conf");
            file(s, "/etc/resolv.conf");
        }),
        works("file_on_a_link_to_nothing", |s| {
            s.link("/run/systemd/stub", "etc/resolv.conf");
            file(s, "/etc/resolv.conf");
        }),
        works("folder_on_a_link_to_nothing", |s| {
            s.link("/opt/later", "data");
            folder(s, "/data");
        }),
        works("folder_on_a_link_to_a_folder", |s| {
            s.folder("opt/real");
            s.link("opt/real", "data");
            folder(s, "/data");
        }),
        works("thirty_links_on_the_way", |s| {
            for n in 0..30 {
                s.link(format!("/l/{}", n + 1), &format!("l/{n}"));
            }
            s.folder("l/30");
            folder(s, "/l/0/data");
        }),
        works("destination_goes_up", |s| {
            s.folder("opt");
            folder(s, "/opt/../data");
        }),
        works("destination_goes_up_from_the_root", |s| folder(s, "/../../data")),
        works("destination_has_double_slashes", |s| folder(s, "//data///deep/")),
        works("destination_is_relative", |s| {
            folder(s, "/data");
            s.config["mounts"].as_array_mut().unwrap().last_mut().unwrap()["destination"] = json!("data");
        }),
        works("destination_has_every_kind_of_letter", |s| folder(s, "/a:b,c#ü=%20")),
        works("destination_is_twenty_folders_deep", |s| folder(s, &"/deep".repeat(20))),
        works("destination_below_a_set_group_id_folder", |s| {
            use std::os::unix::fs::PermissionsExt as _;
            s.folder("shared");
            std::os::unix::fs::chown(s.inside("shared"), None, Some(50)).unwrap();
            std::fs::set_permissions(s.inside("shared"), std::fs::Permissions::from_mode(0o2775)).unwrap();
            folder(s, "/shared/made");
            s.script("test -f /shared/made/given && echo fine");
        }),
        works("destination_is_a_socket", |s| {
            std::os::unix::net::UnixListener::bind(s.free("run/socket")).unwrap();
            file(s, "/run/socket");
        }),
        works("destination_is_a_device", |s| {
            s.node("etc/hosts", 5, 0);
            file(s, "/etc/hosts");
        }),
        works("fifo_on_a_file", |s| {
            fifo(&s.volume("pipe"));
            s.file("etc/hosts", "");
            s.bind("/etc/hosts", s.volume("pipe"));
            s.script("test -p /etc/hosts && echo fine");
        }),
        works("file_over_a_file_of_proc", |s| {
            std::fs::write(s.volume("uptime"), "1.00 1.00\n").unwrap();
            s.bind("/proc/uptime", s.volume("uptime"));
            s.script("test \"$(cat /proc/uptime)\" = '1.00 1.00' && echo fine");
        }),
    ]
}

fn nested() -> Vec<Odd> {
    vec![
        works("volume_in_a_volume", |s| {
            std::fs::create_dir_all(s.volume("inner/deep")).unwrap();
            s.bind("/vol", s.volume(""));
            s.mount("/vol/inner", "tmpfs", "tmpfs", &[]);
            s.bind("/vol/inner/again", s.volume("inner"));
            s.script("test -d /vol/inner/again/deep && echo fine");
        }),
        works("mount_behind_a_link_of_a_volume", |s| {
            symlink("/run", s.volume("link")).unwrap();
            s.bind("/vol", s.volume(""));
            s.mount("/vol/link/data", "tmpfs", "tmpfs", &[]);
            s.script("grep -q ' /run/data ' /proc/mounts && echo fine");
        }),
        works("file_in_a_mounted_folder", |s| {
            std::fs::write(s.volume("conf"), "old").unwrap();
            std::fs::write(s.bundle().join("new"), "new").unwrap();
            s.bind("/etc", s.volume(""));
            s.bind("/etc/conf", s.bundle().join("new"));
            s.script("grep -q new /etc/conf && echo fine");
        }),
        works("mounts_on_one_another", |s| {
            for _ in 0..5 {
                s.mount("/data", "tmpfs", "tmpfs", &[]);
            }
            s.bind("/data", s.volume(""));
            std::fs::write(s.volume("top"), "").unwrap();
            s.script("test -f /data/top && echo fine");
        }),
        works("two_thousand_mounts_of_long_names", |s| {
            // More than a netlink message holds (CVE-2021-43784).
            for n in 0..2000 {
                s.mount(&format!("/m/{}/{}", "x".repeat(100), n % 10), "bind", s.volume(""), &["rbind"]);
            }
            s.script("test $(grep -c ' /m/' /proc/mounts) = 2000 && echo fine");
        }),
        works("two_hundred_mounts", |s| {
            for n in 0..200 {
                s.mount(&format!("/m/{n}"), "tmpfs", "tmpfs", &["size=4k"]);
            }
            s.script("test $(grep -c ' /m/' /proc/mounts) = 200 && echo fine");
        }),
        works("read_only_tmpfs_with_a_mount_in_it", |s| {
            s.mount("/data", "tmpfs", "tmpfs", &["ro"]);
            s.bind("/data/inner", s.volume(""));
            s.script("touch /data/x 2>/dev/null || touch /data/inner/x && echo fine");
        }),
        works("tmpfs_with_what_it_covers", |s| {
            s.file("data/deep/file", "text");
            s.link("deep/file", "data/link");
            s.fifo("data/pipe");
            s.mount("/data", "tmpfs", "tmpfs", &["tmpcopyup"]);
            s.script("grep -q text /data/link && test -p /data/pipe && echo fine");
        }),
        works("second_proc_elsewhere", |s| {
            s.mount("/chroot/proc", "proc", "proc", &[]);
            s.script("test -d /chroot/proc/1 && echo fine");
        }),
        works("control_groups", |s| {
            s.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid"]);
            s.script("test -n \"$(ls /sys/fs/cgroup)\" && echo fine");
        }),
    ]
}

fn sources() -> Vec<Odd> {
    vec![
        works("source_is_relative", |s| {
            folder(s, "/data");
            s.config["mounts"].as_array_mut().unwrap().last_mut().unwrap()["source"] = json!("volume");
        }),
        works("source_is_a_link", |s| {
            let link = s.bundle().join("link");
            symlink("volume", &link).unwrap();
            folder(s, "/data");
            s.config["mounts"].as_array_mut().unwrap().last_mut().unwrap()["source"] = json!(link);
        }),
        works("source_is_below_a_link", |s| {
            std::fs::create_dir(s.volume("sub")).unwrap();
            std::fs::write(s.volume("sub/given"), "").unwrap();
            let link = s.bundle().join("link");
            symlink(s.volume(""), &link).unwrap();
            s.bind("/data", link.join("sub"));
            s.script("test -f /data/given && echo fine");
        }),
        works("source_is_in_the_root", |s| {
            s.file("real/given", "");
            s.bind("/data", s.inside("real"));
            s.script("test -f /data/given && echo fine");
        }),
        works("source_in_the_root_is_a_link_of_it", |s| {
            s.file("real/given", "");
            s.link("/real", "link");
            s.bind("/data", s.inside("link"));
            s.script("test -f /data/given && echo fine");
        }),
        works("source_in_the_root_by_a_way_around", |s| {
            s.file("real/given", "");
            s.link("/real", "link");
            s.bind("/data", s.bundle().join("volume/../rootfs/link"));
            s.script("test -f /data/given && echo fine");
        }),
        works("source_is_an_earlier_mount", |s| {
            std::fs::write(s.volume("given"), "").unwrap();
            s.bind("/first", s.volume(""));
            s.bind("/second", s.inside("first"));
            s.script("test -f /second/given && echo fine");
        }),
        works("source_is_a_fifo", |s| {
            fifo(&s.volume("pipe"));
            s.bind("/pipe", s.volume("pipe"));
            s.script("test -p /pipe && echo fine");
        }),
        works("source_is_a_socket", |s| {
            std::os::unix::net::UnixListener::bind(s.volume("socket")).unwrap();
            s.bind("/run/docker.sock", s.volume("socket"));
            s.script("test -S /run/docker.sock && echo fine");
        }),
        works("source_is_a_device", |s| {
            s.bind("/opt/zero", "/dev/zero");
            s.script("test -c /opt/zero && echo fine");
        }),
        works("source_is_a_descriptor_of_the_caller", |s| {
            std::fs::write(s.volume("given"), "").unwrap();
            s.script("test -f /data/given && echo fine");
        })
        .acting(|s| {
            // As kubelet has it: the folder that it has opened can't be exchanged any more.
            let folder = std::fs::File::open(s.volume("")).unwrap();
            let path =
                format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&folder));
            let mut config = s.config.clone();
            let mount = json!({"destination": "/data", "type": "bind", "source": path, "options": ["rbind"]});
            config["mounts"].as_array_mut().unwrap().push(mount);
            std::fs::write(s.bundle().join("config.json"), config.to_string()).unwrap();
            s.run()
        }),
    ]
}

fn protected() -> Vec<Odd> {
    vec![
        works("protected_paths_that_are_missing", |s| {
            s.config["linux"]["maskedPaths"] = json!(["/nosuch", "/nosuch/deep", "/etc/passwd/x"]);
            s.config["linux"]["readonlyPaths"] = json!(["/nosuch", "/nosuch/deep", "/etc/passwd/x"]);
        }),
        works("thousands_of_masked_paths", |s| {
            let paths: Vec<String> = (0..3000).map(|n| format!("/nosuch/{}/{n}", "x".repeat(200))).collect();
            s.file("last", "hidden");
            s.config["linux"]["maskedPaths"] = json!([&paths[..], &["/last".to_owned()]].concat());
            s.script("grep -q hidden /last || echo fine");
        }),
        works("masked_file_of_a_volume", |s| {
            std::fs::write(s.volume("file"), "hidden").unwrap();
            s.bind("/vol", s.volume(""));
            s.config["linux"]["maskedPaths"] = json!(["/vol/file"]);
            s.script("grep -q hidden /vol/file || echo fine");
        }),
        works("masked_fifo_device_and_socket", |s| {
            s.fifo("opt/pipe");
            s.node("opt/zero", 1, 5);
            std::os::unix::net::UnixListener::bind(s.free("opt/socket")).unwrap();
            s.config["linux"]["maskedPaths"] = json!(["/opt/pipe", "/opt/zero", "/opt/socket"]);
            s.script("cd /opt; test \"$(stat -c %t%T pipe zero socket | uniq)\" = 13 && echo fine");
        }),
        works("read_only_folder_of_a_volume", |s| {
            std::fs::create_dir(s.volume("fixed")).unwrap();
            s.bind("/vol", s.volume(""));
            s.config["linux"]["readonlyPaths"] = json!(["/vol/fixed"]);
            s.script("touch /vol/fixed/x 2>/dev/null || touch /vol/x && echo fine");
        }),
        works("masked_path_twice", |s| {
            s.file("secret", "hidden");
            s.config["linux"]["maskedPaths"] = json!(["/secret", "/secret"]);
            s.script("grep -q hidden /secret || echo fine");
        }),
        works("path_both_masked_and_read_only", |s| {
            s.file("real/secret", "hidden");
            s.config["linux"]["maskedPaths"] = json!(["/real"]);
            s.config["linux"]["readonlyPaths"] = json!(["/real"]);
            s.script("test -z \"$(ls /real)\" && echo fine");
        }),
        works("read_only_path_is_a_file_behind_a_link", |s| {
            s.file("real", "text");
            s.link("/real", "link");
            s.config["linux"]["readonlyPaths"] = json!(["/link"]);
            s.script("grep -q text /link && ! echo 2>/dev/null >/real && echo fine");
        }),
    ]
}
