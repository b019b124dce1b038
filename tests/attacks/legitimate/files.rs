//! /dev of every make, and containers that change before they are entered.

use serde_json::json;

use crate::case::{Odd, works};
use crate::scene::{Scene, node};

/// A folder with all the nodes of a /dev.
fn fill(scene: &Scene) {
    for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        node(&scene.volume(name), 1, minor);
    }
    node(&scene.volume("tty"), 5, 0);
    std::os::unix::fs::symlink("pts/ptmx", scene.volume("ptmx")).unwrap();
    std::fs::create_dir(scene.volume("pts")).unwrap();
}

fn waiting(scene: &mut Scene) {
    scene.script("touch /ready; exec sleep 1000");
}

pub fn cases() -> Vec<Odd> {
    vec![
        works("dev_is_bound_read_only", |s| {
            fill(s);
            s.without_mounts("/dev");
            s.mount("/dev", "bind", s.volume(""), &["rbind", "ro"]);
            s.script("echo x >/dev/null && ! touch /dev/x 2>/dev/null && echo fine");
        }),
        works("dev_is_a_read_only_tmpfs", |s| {
            s.without_mounts("/dev");
            s.mount("/dev", "tmpfs", "tmpfs", &["ro", "mode=755"]);
            s.script("echo x >/dev/null && ! touch /dev/x 2>/dev/null && echo fine");
        }),
        works("dev_of_the_image_is_used", |s| {
            s.without_mounts("/dev");
            s.script("echo x >/dev/null && test $(readlink /dev/ptmx) = pts/ptmx && echo fine");
        }),
        works("dev_of_the_image_is_complete_and_read_only", |s| {
            fill(s);
            s.without_mounts("/dev");
            for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
                s.node(&format!("dev/{name}"), 1, minor);
            }
            s.node("dev/tty", 5, 0);
            for (name, target) in
                [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")]
            {
                s.link(target, &format!("dev/{name}"));
            }
            s.link("pts/ptmx", "dev/ptmx");
            s.link("/proc/kcore", "dev/core");
            let root = s.inside("");
            let nothing: Option<&str> = None;
            let flags = nix::mount::MsFlags::MS_BIND;
            nix::mount::mount(Some(&root), &root, nothing, flags, nothing).unwrap();
            let flags = flags | nix::mount::MsFlags::MS_REMOUNT | nix::mount::MsFlags::MS_RDONLY;
            nix::mount::mount(nothing, &root, nothing, flags, nothing).unwrap();
        }),
        works("dev_is_a_link_in_the_root", |s| {
            s.without_mounts("/dev");
            s.folder("opt/dev");
            s.link("/opt/dev", "dev");
            s.script("test -c /opt/dev/null && echo fine");
        }),
        works("ptmx_is_another_link", |s| {
            s.without_mounts("/dev");
            s.link("/dev/pts/ptmx", "dev/ptmx");
            s.script("test $(readlink /dev/ptmx) = pts/ptmx && echo fine");
        }),
        works("fd_is_a_folder", |s| {
            s.without_mounts("/dev");
            s.folder("dev/fd");
        }),
        works("device_is_there_already", |s| {
            s.node("opt/zero", 1, 5);
            s.config["linux"]["devices"] = json!([{"path": "/opt/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600, "uid": 7, "gid": 8}]);
            s.script("test \"$(stat -c %a:%u:%g /opt/zero)\" = 600:7:8 && echo fine");
        }),
        works("device_is_behind_a_link", |s| {
            s.folder("real");
            s.link("/real", "opt/link");
            s.config["linux"]["devices"] =
                json!([{"path": "/opt/link/zero", "type": "c", "major": 1, "minor": 5}]);
            s.script("test -c /real/zero && echo fine");
        }),
        works("terminal_with_the_console_there_already", |s| {
            s.without_mounts("/dev");
            s.mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666"]);
            s.file("dev/console", "");
            s.config["process"]["terminal"] = json!(true);
            s.script("test -c /dev/console && test -t 0 && echo fine");
        }),
        works("terminal_with_a_dev_behind_a_link", |s| {
            s.without_mounts("/dev");
            s.folder("opt/dev");
            s.link("/opt/dev", "dev");
            s.mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666"]);
            s.config["process"]["terminal"] = json!(true);
            s.script("test -c /dev/console && test -t 0 && echo fine");
        }),
        works("exec_without_a_null_device", |s| s.script("rm /dev/null; touch /ready; exec sleep 1000"))
            .acting(|s| s.begin().unwrap_or_else(|| s.exec(&[], &["echo", "fine"]))),
        works("exec_in_a_linked_folder", |s| {
            s.folder("real");
            s.link("/real", "work");
            waiting(s);
        })
        .acting(|s| {
            s.begin().unwrap_or_else(|| {
                s.exec(&["--cwd", "/work"], &["sh", "-c", "test $(pwd -P) = /real && echo fine"])
            })
        }),
        works("exec_without_proc", |s| {
            s.without_mounts("/proc");
            waiting(s);
        })
        .acting(|s| s.begin().unwrap_or_else(|| s.exec(&[], &["echo", "fine"]))),
        works("exec_with_a_terminal", waiting).acting(|s| {
            s.begin().unwrap_or_else(|| s.exec(&["--tty"], &["sh", "-c", "test -t 0 && echo fine"]))
        }),
        works("exec_after_the_root_was_filled_with_links", waiting).acting(|s| {
            s.begin().unwrap_or_else(|| {
                s.link("/nosuch", "etc/passwd");
                s.link("/nosuch", "etc/group");
                s.exec(&["--user", "1000:1000"], &["echo", "fine"])
            })
        }),
    ]
}
