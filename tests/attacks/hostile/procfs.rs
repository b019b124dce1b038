//! /proc and /sys: mounted where they belong, asked through a handle of our own, and never mounted into.

use serde_json::json;

use crate::case::{Case, harmless, refused};
use crate::scene::Scene;

const LINK: &str = "/proc is a link (CVE-2019-19921, CVE-2023-27561, CVE-2023-28642)";
const INTO: &str = "mount into /proc (CVE-2019-16884)";
const FAKE: &str = "false /proc (CVE-2025-52881)";

const ORDINARY: &str = "must be mounted on ordinary directory";
const INSIDE: &str = "must not be mounted inside /proc";

/// A folder, whose files are others of the host by another name, is bound where /proc belongs.
fn fake_proc(scene: &mut Scene) {
    scene.without_mounts("/proc");
    let fake = scene.bundle().join("fake");
    std::fs::create_dir_all(fake.join("self/attr")).unwrap();
    std::fs::create_dir_all(fake.join("sys/net/ipv4")).unwrap();
    for file in ["self/oom_score_adj", "self/attr/exec", "sys/net/ipv4/ip_forward"] {
        std::fs::hard_link(scene.canary(file), fake.join(file)).unwrap();
    }
    scene.bind("/proc", fake);
}

fn into(scene: &mut Scene, destination: &str) {
    scene.folder("opt");
    scene.bind(destination, scene.volume(""));
    scene.script("echo HARM");
}

pub fn cases() -> Vec<Case> {
    [links(), intos(), fakes()].into_iter().flatten().collect()
}

fn links() -> Vec<Case> {
    vec![
        refused("proc_is_a_link_to_a_folder", LINK, ORDINARY, |s| {
            s.folder("bad");
            s.link("/bad", "proc");
            s.script("test -e /proc/self || echo HARM; test -e /bad/self && echo HARM");
        }),
        refused("proc_is_a_relative_link", LINK, ORDINARY, |s| {
            s.folder("bad");
            s.link("bad", "proc");
            s.script("test -e /proc/self || echo HARM; test -e /bad/self && echo HARM");
        }),
        refused("proc_is_a_link_to_the_host", LINK, ORDINARY, |s| {
            s.link(s.canary("folder"), "proc");
            s.script("test -e /proc/self || echo HARM");
        }),
        refused("proc_is_a_link_to_a_new_folder_of_the_host", LINK, "proc", |s| {
            s.link(s.canary("new"), "proc");
            s.script("echo HARM");
        }),
        refused("proc_is_a_file", LINK, "not a directory", |s| {
            s.file("proc", "");
            s.script("echo HARM");
        }),
        refused("sys_is_a_link_to_a_folder", LINK, ORDINARY, |s| {
            s.folder("bad");
            s.link("/bad", "sys");
            s.script("test -e /sys/kernel || echo HARM; test -e /bad/kernel && echo HARM");
        }),
        refused("sys_is_a_link_to_a_new_folder_of_the_host", LINK, "sys", |s| {
            s.link(s.canary("new"), "sys");
            s.script("echo HARM");
        }),
        refused("proc_elsewhere_is_below_a_link", LINK, ORDINARY, |s| {
            s.folder("bad/proc");
            s.link("bad", "chroot");
            s.mount("/chroot/proc", "proc", "proc", &[]);
            s.script("test -e /bad/proc/self && echo HARM");
        }),
    ]
}

fn intos() -> Vec<Case> {
    vec![
        refused("mount_on_the_labels_of_processes", INTO, INSIDE, |s| into(s, "/proc/self/attr")),
        refused("mount_on_kernel_parameters", INTO, INSIDE, |s| into(s, "/proc/sys/kernel")),
        refused("mount_on_a_process", INTO, INSIDE, |s| into(s, "/proc/1")),
        refused("mount_into_proc_by_a_way_around", INTO, INSIDE, |s| into(s, "/proc/../proc/self")),
        refused("mount_into_proc_by_a_link", INTO, INSIDE, |s| {
            s.link("/proc/self/attr", "link");
            into(s, "/link");
        }),
        refused("mount_into_proc_by_a_relative_destination", INTO, INSIDE, |s| into(s, "proc/sys")),
        refused("tmpfs_on_kernel_parameters", INTO, INSIDE, |s| {
            s.mount("/proc/sys", "tmpfs", "tmpfs", &[]);
            s.script("echo HARM");
        }),
        refused("file_on_the_label_of_a_process", INTO, INSIDE, |s| {
            s.bind("/proc/self/oom_score_adj", s.bundle().join("config.json"));
            s.script("echo HARM");
        }),
        refused("control_groups_in_proc", INTO, INSIDE, |s| {
            s.mount("/proc/sys", "cgroup", "cgroup", &[]);
            s.script("echo HARM");
        }),
        refused("proc_in_proc", INTO, INSIDE, |s| {
            s.mount("/proc/sys", "proc", "proc", &[]);
            s.script("echo HARM");
        }),
        refused("harmless_file_of_proc_by_a_link_to_another", INTO, INSIDE, |s| {
            s.link("/proc/self/oom_score_adj", "uptime");
            s.bind("/uptime", s.bundle().join("config.json"));
            s.script("echo HARM");
        }),
    ]
}

fn fakes() -> Vec<Case> {
    vec![
        harmless("kernel_parameter_with_a_false_proc", FAKE, |s| {
            fake_proc(s);
            s.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
        }),
        harmless("oom_score_with_a_false_proc", FAKE, |s| {
            fake_proc(s);
            s.config["process"]["oomScoreAdj"] = json!(321);
        }),
        harmless("kernel_parameter_with_a_tmpfs_for_proc", FAKE, |s| {
            s.without_mounts("/proc");
            s.mount("/proc", "tmpfs", "tmpfs", &[]);
            s.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
            // What was asked for has been done, wherever the container's /proc is.
            s.script("mount -t proc proc /root; test $(cat /root/sys/net/ipv4/ip_forward) = 1 || echo HARM; echo fine");
        }),
        harmless("kernel_parameter_without_any_proc", FAKE, |s| {
            s.without_mounts("/proc");
            s.link(s.canary(""), "proc");
            s.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
        }),
    ]
}
