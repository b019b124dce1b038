//! /dev: nodes, links and the console are made in the container's, whatever the image has put there.

use serde_json::json;

use crate::case::{Case, harmless, refused};
use crate::scene::{Scene, fifo};

const NODES: &str = "nodes in /dev (CVE-2026-41579, CVE-2026-47766)";
const CONSOLE: &str = "console (CVE-2025-52565)";

/// The image's own /dev is to be the container's.
fn bare(scene: &mut Scene) {
    scene.without_mounts("/dev");
}

fn terminal(scene: &mut Scene) {
    scene.config["process"]["terminal"] = json!(true);
}

/// The container's /dev is a folder of the host that the attacker fills.
fn bound(scene: &mut Scene) {
    bare(scene);
    scene.bind("/dev", scene.volume(""));
    terminal(scene);
}

fn device(scene: &mut Scene, path: &str) {
    scene.config["linux"]["devices"] =
        json!([{"path": path, "type": "c", "major": 1, "minor": 5, "fileMode": 0o666}]);
}

pub fn cases() -> Vec<Case> {
    [folders(), nodes(), consoles()].into_iter().flatten().collect()
}

fn folders() -> Vec<Case> {
    vec![
        harmless("dev_is_a_link_to_the_host", NODES, |s| {
            bare(s);
            s.link(s.canary(""), "dev");
        }),
        harmless("dev_is_a_way_up_to_the_host", NODES, |s| {
            bare(s);
            s.link(format!("../../../../../..{}", s.canary("")), "dev");
        }),
        harmless("dev_is_a_link_to_a_link_to_the_host", NODES, |s| {
            bare(s);
            s.link("opt/a", "dev");
            s.link(s.canary("folder"), "opt/a");
        }),
        harmless("dev_that_is_mounted_over_is_a_link_to_the_host", NODES, |s| s.link(s.canary(""), "dev")),
        harmless("pts_is_a_link_to_a_new_folder_of_the_host", NODES, |s| {
            s.without_mounts("/dev/shm");
            s.config["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/dev");
            s.link(s.canary("made"), "dev/pts");
        }),
        harmless("shm_is_a_link_to_a_new_folder_of_the_host", NODES, |s| {
            bare(s);
            s.mount("/dev/shm", "tmpfs", "shm", &[]);
            s.link(s.canary("made"), "dev/shm");
        }),
        harmless("mqueue_is_a_link_to_a_new_folder_of_the_host", NODES, |s| {
            bare(s);
            s.mount("/dev/mqueue", "mqueue", "mqueue", &[]);
            s.link(s.canary("made"), "dev/mqueue");
        }),
        refused("dev_is_a_link_to_itself", NODES, "too many levels of symbolic links", |s| {
            s.link("dev", "dev");
            s.script("echo HARM");
        }),
        refused("dev_is_a_file", NODES, "not a directory", |s| {
            s.file("dev", "");
            s.script("echo HARM");
        }),
        refused("dev_is_a_link_through_proc", NODES, "too many levels of symbolic links", |s| {
            bare(s);
            s.link(format!("/proc/self/root{}", s.canary("")), "dev");
        }),
        refused("dev_is_a_link_through_a_descriptor", NODES, "too many levels of symbolic links", |s| {
            bare(s);
            s.link(format!("/proc/self/cwd/../../../../..{}", s.canary("")), "dev");
        }),
    ]
}

fn nodes() -> Vec<Case> {
    vec![
        refused("null_is_a_link_to_a_file_of_the_host", NODES, "something else is there", |s| {
            bare(s);
            s.link(s.canary("null"), "dev/null");
        }),
        refused("null_is_a_link_to_a_new_file_of_the_host", NODES, "something else is there", |s| {
            bare(s);
            s.link(s.canary("made"), "dev/null");
        }),
        refused("null_is_a_file", NODES, "something else is there", |s| {
            bare(s);
            s.file("dev/null", "");
            s.script("test -f /dev/null && echo HARM");
        }),
        refused("null_is_a_folder", NODES, "something else is there", |s| {
            bare(s);
            s.folder("dev/null");
            s.script("test -d /dev/null && echo HARM");
        }),
        refused("null_is_a_fifo", NODES, "something else is there", |s| {
            bare(s);
            s.fifo("dev/null");
            s.script("test -p /dev/null && echo HARM");
        }),
        refused("null_is_another_device", NODES, "something else is there", |s| {
            bare(s);
            s.node("dev/null", 1, 5);
            s.script("test $(stat -c %t%T /dev/null) = 15 && echo HARM");
        }),
        harmless("ptmx_is_a_link_to_the_host", NODES, |s| {
            bare(s);
            s.link(s.canary("ptmx"), "dev/ptmx");
            s.script("test $(readlink /dev/ptmx) = pts/ptmx && echo fine");
        }),
        harmless("ptmx_is_in_a_folder_that_is_a_link_to_the_host", NODES, |s| {
            bare(s);
            s.link(s.canary(""), "dev");
            s.script("test $(readlink /dev/ptmx) = pts/ptmx && echo fine");
        }),
        refused("ptmx_is_a_folder", NODES, "/dev/ptmx", |s| {
            bare(s);
            s.folder("dev/ptmx");
            s.script("test -d /dev/ptmx && echo HARM");
        }),
        harmless("device_goes_through_a_link_to_the_host", NODES, |s| {
            s.link(s.canary("folder"), "opt/link");
            device(s, "/opt/link/node");
        }),
        harmless("device_goes_up_and_out", NODES, |s| {
            let path = format!("/../../../..{}", s.canary("folder/node"));
            device(s, &path);
        }),
        refused("device_is_a_link_to_a_new_file_of_the_host", NODES, "something else is there", |s| {
            s.link(s.canary("made"), "opt/node");
            device(s, "/opt/node");
        }),
        harmless("device_is_in_a_folder_to_be_made_on_the_host", NODES, |s| {
            s.link(s.canary("made"), "opt/link");
            device(s, "/opt/link/deep/node");
        }),
    ]
}

fn consoles() -> Vec<Case> {
    vec![
        refused("console_is_a_link_to_the_host", CONSOLE, "/dev/console", |s| {
            bare(s);
            s.mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666"]);
            terminal(s);
            s.link(s.canary("console"), "dev/console");
        }),
        refused("console_is_a_link_to_a_new_file_of_the_host", CONSOLE, "/dev/console", |s| {
            bare(s);
            s.mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666"]);
            terminal(s);
            s.link(s.canary("made"), "dev/console");
        }),
        refused("console_is_a_link_into_proc", CONSOLE, "/dev/console", |s| {
            bare(s);
            s.mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666"]);
            terminal(s);
            s.link("/proc/self/oom_score_adj", "dev/console");
            s.script("grep -q ' /proc/.*/oom_score_adj ' /proc/mounts && echo HARM");
        }),
        refused("pts_of_a_volume_has_a_file_for_ptmx", CONSOLE, "devpts", |s| {
            bound(s);
            std::fs::create_dir(s.volume("pts")).unwrap();
            std::fs::write(s.volume("pts/ptmx"), "").unwrap();
            s.script("echo HARM");
        }),
        refused("pts_of_a_volume_has_the_null_device_for_ptmx", CONSOLE, "devpts", |s| {
            bound(s);
            std::fs::create_dir(s.volume("pts")).unwrap();
            crate::scene::node(&s.volume("pts/ptmx"), 1, 3);
            s.script("echo HARM");
        }),
        refused("pts_of_a_volume_has_a_fifo_for_ptmx", CONSOLE, "devpts", |s| {
            bound(s);
            std::fs::create_dir(s.volume("pts")).unwrap();
            fifo(&s.volume("pts/ptmx"));
            s.script("echo HARM");
        }),
        refused("pts_of_a_volume_is_a_link_to_the_host", CONSOLE, "/dev/pts", |s| {
            bound(s);
            std::os::unix::fs::symlink(s.canary("pts"), s.volume("pts")).unwrap();
            s.script("echo HARM");
        }),
        refused("pts_of_a_volume_is_full_of_links_to_the_host", CONSOLE, "devpts", |s| {
            bound(s);
            std::fs::create_dir(s.volume("pts")).unwrap();
            for name in ["ptmx", "0", "1", "2", "3"] {
                let place = s.volume(&format!("pts/{name}"));
                std::os::unix::fs::symlink(s.canary("console"), place).unwrap();
            }
            s.script("echo HARM");
        }),
    ]
}
