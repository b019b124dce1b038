//! Files that never end, never answer, or are none: whatever the runtime reads from a root may be that.

use serde_json::json;
use wharf_tests::Said;

use crate::case::{Case, harmless, refused};
use crate::scene::Scene;

const READ: &str = "file that is read is none";
const MOUNT: &str = "odd files in mounts";
const ENTER: &str = "odd files when a container is entered";

fn home(scene: &mut Scene) {
    scene.script("case $HOME in *secret*) echo HARM;; esac; echo fine");
}

fn exec(scene: &Scene, options: &[&str]) -> Said {
    scene.exec(options, &["sh", "-c", "case $HOME in *secret*) echo HARM;; esac; echo fine"])
}

fn waiting(scene: &mut Scene) {
    scene.script("touch /ready; exec sleep 1000");
}

/// A container that first does `spoil` to itself.
fn spoilt(scene: &mut Scene, spoil: &str) {
    scene.script(&format!("{spoil}; touch /ready; exec sleep 1000"));
}

pub fn cases() -> Vec<Case> {
    [passwd(), programs(), mounts(), entering()].into_iter().flatten().collect()
}

fn passwd() -> Vec<Case> {
    vec![
        harmless("passwd_is_a_fifo", READ, |s| {
            s.fifo("etc/passwd");
            home(s);
        }),
        harmless("passwd_is_a_link_to_a_fifo", READ, |s| {
            s.fifo("opt/pipe");
            s.link("/opt/pipe", "etc/passwd");
            home(s);
        }),
        harmless("passwd_is_a_device", READ, |s| {
            s.node("etc/passwd", 1, 5);
            home(s);
        }),
        harmless("passwd_is_huge", READ, |s| {
            std::fs::File::create(s.free("etc/passwd")).unwrap().set_len(1 << 40).unwrap();
            home(s);
        }),
        harmless("passwd_is_a_link_to_the_host", READ, |s| {
            s.link(s.canary("etc/passwd"), "etc/passwd");
            home(s);
        }),
        harmless("passwd_is_a_way_up_to_the_host", READ, |s| {
            s.link(format!("../../../../../../..{}", s.canary("etc/passwd")), "etc/passwd");
            home(s);
        }),
        harmless("etc_is_a_link_to_the_host", READ, |s| {
            s.link(s.canary("etc"), "etc");
            home(s);
        }),
        harmless("group_is_a_fifo", READ, |s| {
            s.fifo("etc/group");
            home(s);
        }),
        harmless("group_is_huge", READ, |s| {
            std::fs::File::create(s.free("etc/group")).unwrap().set_len(1 << 40).unwrap();
            home(s);
        }),
    ]
}

fn programs() -> Vec<Case> {
    fn program(scene: &mut Scene, path: &str) {
        scene.config["process"]["args"] = json!([path]);
    }
    vec![
        refused("program_is_a_fifo", READ, "permission denied", |s| {
            s.fifo("bin/tool");
            program(s, "/bin/tool");
        }),
        refused("program_that_is_searched_is_a_fifo", READ, "permission denied", |s| {
            s.fifo("bin/tool");
            program(s, "tool");
        }),
        refused("cwd_is_a_fifo", READ, "not a directory", |s| {
            s.fifo("work");
            s.config["process"]["cwd"] = json!("/work");
            s.script("echo HARM");
        }),
    ]
}

fn mounts() -> Vec<Case> {
    vec![
        harmless("file_on_a_fifo", MOUNT, |s| {
            s.fifo("etc/hosts");
            s.bind("/etc/hosts", s.bundle().join("config.json"));
            s.script("test -f /etc/hosts && echo fine");
        }),
        refused("tmpfs_on_a_fifo", MOUNT, "", |s| {
            s.fifo("opt/a");
            s.mount("/opt/a", "tmpfs", "tmpfs", &[]);
            s.script("echo HARM");
        }),
        refused("tmpfs_below_a_fifo", MOUNT, "not a directory", |s| {
            s.fifo("opt/a");
            s.mount("/opt/a/b", "tmpfs", "tmpfs", &[]);
            s.script("echo HARM");
        }),
        refused("proc_is_a_fifo", MOUNT, "not a directory", |s| {
            s.fifo("proc");
            s.script("echo HARM");
        }),
        harmless("copy_up_of_fifos_devices_and_sockets", MOUNT, |s| {
            s.fifo("odd/pipe");
            s.node("odd/terminal", 5, 0);
            std::os::unix::net::UnixListener::bind(s.free("odd/socket")).unwrap();
            s.link("pipe", "odd/link");
            s.mount("/odd", "tmpfs", "tmpfs", &["tmpcopyup"]);
            s.script("test -p /odd/pipe && echo fine");
        }),
        refused("copy_up_of_a_folder_of_a_thousand_steps", MOUNT, "deep", |s| {
            std::fs::create_dir_all(s.free(&format!("odd/{}", "a/".repeat(1000)))).unwrap();
            s.mount("/odd", "tmpfs", "tmpfs", &["tmpcopyup"]);
            s.script("echo HARM");
        }),
        harmless("console_is_a_fifo", MOUNT, |s| {
            s.without_mounts("/dev");
            s.mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666"]);
            s.fifo("dev/console");
            s.config["process"]["terminal"] = json!(true);
            s.script("stty -onlcr; test -c /dev/console && echo fine");
        }),
        refused("console_is_a_folder", MOUNT, "/dev/console", |s| {
            s.without_mounts("/dev");
            s.mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666"]);
            s.folder("dev/console");
            s.config["process"]["terminal"] = json!(true);
            s.script("echo HARM");
        }),
    ]
}

fn entering() -> Vec<Case> {
    vec![
        harmless("passwd_becomes_a_fifo", ENTER, waiting).acting(|s| {
            s.begin().unwrap_or_else(|| {
                s.fifo("etc/passwd");
                exec(s, &[])
            })
        }),
        harmless("passwd_becomes_a_link_to_the_host", ENTER, waiting).acting(|s| {
            s.begin().unwrap_or_else(|| {
                s.link(s.canary("etc/passwd"), "etc/passwd");
                exec(s, &[])
            })
        }),
        harmless("group_becomes_a_fifo", ENTER, waiting).acting(|s| {
            s.begin().unwrap_or_else(|| {
                s.fifo("etc/group");
                exec(s, &["--user", "1000:1000"])
            })
        }),
        harmless("null_becomes_a_fifo", ENTER, |s| spoilt(s, "rm /dev/null; mkfifo /dev/null"))
            .acting(|s| s.begin().unwrap_or_else(|| exec(s, &[]))),
        refused("terminals_become_a_fifo", ENTER, "devpts", |s| {
            spoilt(s, "mount -t tmpfs tmpfs /dev/pts; mkfifo /dev/pts/ptmx");
        })
        .acting(|s| s.begin().unwrap_or_else(|| s.exec(&["--tty"], &["echo", "HARM"]))),
        refused("terminals_become_a_file", ENTER, "devpts", |s| {
            spoilt(s, "mount -t tmpfs tmpfs /dev/pts; touch /dev/pts/ptmx");
        })
        .acting(|s| s.begin().unwrap_or_else(|| s.exec(&["--tty"], &["echo", "HARM"]))),
        harmless("proc_becomes_a_folder_of_fifos", ENTER, |s| {
            spoilt(s, "mount -t tmpfs tmpfs /proc; mkdir -p /proc/self/attr /proc/1; mkfifo /proc/self/attr/exec /proc/self/status /proc/1/status");
        })
        .acting(|s| s.begin().unwrap_or_else(|| exec(s, &[]))),
        refused("cwd_becomes_a_fifo", ENTER, "not a directory", |s| spoilt(s, "mkfifo /work"))
            .acting(|s| s.begin().unwrap_or_else(|| s.exec(&["--cwd", "/work"], &["echo", "HARM"]))),
    ]
}
