//! Mount destinations and sources: found below the root, and nothing is made or mounted elsewhere.

use std::os::unix::fs::symlink;

use crate::case::{Case, harmless, refused};
use crate::scene::Scene;

const DESTINATION: &str = "mount destination (CVE-2021-30465, CVE-2024-45310)";
const SOURCE: &str = "mount source in the root";
const CHAIN: &str = "links without end (crun 1.28)";

const LOOP: &str = "too many levels of symbolic links";

fn tmpfs(scene: &mut Scene, destination: &str) {
    scene.mount(destination, "tmpfs", "tmpfs", &[]);
}

/// A volume of which the container sees the folder `shown` and nothing else.
fn payload(scene: &mut Scene, destination: &str) {
    std::fs::create_dir(scene.volume("shown")).unwrap();
    scene.bind(destination, scene.volume("shown"));
}

fn file(scene: &mut Scene, destination: &str) {
    scene.bind(destination, scene.bundle().join("config.json"));
}

pub fn cases() -> Vec<Case> {
    [destinations(), made(), chains(), volumes(), sources()].into_iter().flatten().collect()
}

fn destinations() -> Vec<Case> {
    vec![
        harmless("tmpfs_below_a_link_to_the_host", DESTINATION, |s| {
            s.link(s.canary(""), "a");
            tmpfs(s, "/a/new");
        }),
        harmless("tmpfs_below_a_way_up_to_the_host", DESTINATION, |s| {
            s.link(format!("../../../../../../..{}", s.canary("")), "a");
            tmpfs(s, "/a/new");
        }),
        harmless("bind_below_a_link_to_the_host", DESTINATION, |s| {
            s.link(s.canary(""), "a");
            payload(s, "/a/new");
        }),
        harmless("file_below_a_link_to_the_host", DESTINATION, |s| {
            s.link(s.canary(""), "a");
            file(s, "/a/new");
        }),
        harmless("destination_has_a_link_in_its_middle", DESTINATION, |s| {
            s.link(s.canary("x"), "a/b");
            tmpfs(s, "/a/b/y/new");
        }),
        harmless("destination_has_a_link_at_its_third_step", DESTINATION, |s| {
            s.link(s.canary("x/y"), "a/b/c");
            payload(s, "/a/b/c/z/new");
        }),
        harmless("destination_goes_up_and_out", DESTINATION, |s| {
            let path = format!("/../../../../..{}", s.canary("new"));
            tmpfs(s, &path);
        }),
        harmless("destination_goes_up_and_out_of_a_link", DESTINATION, |s| {
            s.link(s.canary("x/y"), "a");
            payload(s, "/a/../new");
        }),
        harmless("destination_goes_up_and_out_of_what_is_missing", DESTINATION, |s| {
            let path = format!("/nosuch/../../../../..{}", s.canary("new"));
            payload(s, &path);
        }),
        refused("destination_goes_through_the_root_of_a_process", DESTINATION, LOOP, |s| {
            let path = format!("/proc/self/root{}", s.canary("new"));
            tmpfs(s, &path);
        }),
        refused("destination_is_a_link_to_the_root_of_a_process", DESTINATION, LOOP, |s| {
            s.link("/proc/self/root", "a");
            let path = format!("/a{}", s.canary("new"));
            payload(s, &path);
        }),
        refused("destination_goes_through_the_folder_of_a_process", DESTINATION, LOOP, |s| {
            s.link("/proc/self/cwd", "a");
            let path = format!("/a/../../../../../../..{}", s.canary("new"));
            payload(s, &path);
        }),
        refused("destination_goes_through_a_descriptor", DESTINATION, "\"/proc/self/fd/9", |s| {
            let path = format!("/proc/self/fd/9{}", s.canary("new"));
            tmpfs(s, &path);
        }),
    ]
}

fn made() -> Vec<Case> {
    vec![
        harmless("tmpfs_on_a_link_to_a_new_folder_of_the_host", DESTINATION, |s| {
            s.link(s.canary("new"), "a");
            tmpfs(s, "/a");
        }),
        harmless("tmpfs_on_a_link_to_a_new_deep_folder_of_the_host", DESTINATION, |s| {
            s.link(s.canary("x/new/er"), "a");
            payload(s, "/a/deep/est");
        }),
        harmless("file_on_a_link_to_a_new_file_of_the_host", DESTINATION, |s| {
            s.link(s.canary("new"), "a");
            file(s, "/a");
        }),
        harmless("file_on_a_link_to_a_link_to_a_new_file_of_the_host", DESTINATION, |s| {
            s.link("b", "etc/a");
            s.link(s.canary("new"), "etc/b");
            file(s, "/etc/a");
        }),
        harmless("resolv_conf_is_a_link_to_a_new_file_of_the_host", DESTINATION, |s| {
            s.link(format!("../../../../../..{}", s.canary("etc/new")), "etc/resolv.conf");
            file(s, "/etc/resolv.conf");
        }),
        harmless("hosts_is_in_a_folder_that_is_a_link_to_the_host", DESTINATION, |s| {
            s.link(s.canary("etc"), "etc");
            file(s, "/etc/hosts");
        }),
        refused("folder_on_a_file", DESTINATION, "not a directory", |s| {
            s.file("a", "");
            payload(s, "/a/new");
            s.script("echo HARM");
        }),
        refused("file_on_a_folder", DESTINATION, "not a directory", |s| {
            s.folder("a");
            file(s, "/a");
            s.script("echo HARM");
        }),
        harmless("copy_up_of_links_to_the_host", DESTINATION, |s| {
            s.link(s.canary("secret"), "a/file");
            s.link(s.canary("folder"), "a/folder");
            s.mount("/a", "tmpfs", "tmpfs", &["tmpcopyup"]);
            s.script("cat /a/file /a/folder/secret 2>/dev/null; echo fine");
        }),
        harmless("remount_of_a_link_to_the_host", DESTINATION, |s| {
            s.link("/proc", "a");
            s.mount("/a", "", "", &["remount", "bind", "ro"]);
            s.script("echo 1 2>/dev/null >/proc/self/oom_score_adj && echo HARM; echo fine");
        }),
    ]
}

fn chains() -> Vec<Case> {
    vec![
        refused("destination_is_a_chain_of_a_thousand_links", CHAIN, LOOP, |s| {
            for n in 0..1000 {
                s.link(format!("/l/{}", n + 1), &format!("l/{n}"));
            }
            s.folder("l/1000");
            tmpfs(s, "/l/0/new");
            s.script("echo HARM");
        }),
        refused("destination_is_two_links_to_one_another", CHAIN, LOOP, |s| {
            s.link("/b", "a");
            s.link("/a", "b");
            file(s, "/a/file");
            s.script("echo HARM");
        }),
        refused("file_on_a_link_to_itself", CHAIN, LOOP, |s| {
            s.link("a", "a");
            file(s, "/a");
            s.script("echo HARM");
        }),
        refused("links_that_grow_with_every_step", CHAIN, LOOP, |s| {
            s.link("a/b", "a");
            payload(s, "/a");
            s.script("echo HARM");
        }),
        refused("name_of_three_hundred_characters", CHAIN, "file name too long", |s| {
            tmpfs(s, &format!("/{}", "n".repeat(300)));
            s.script("echo HARM");
        }),
    ]
}

fn volumes() -> Vec<Case> {
    vec![
        harmless("destination_in_a_volume_with_a_link_to_the_host", DESTINATION, |s| {
            s.bind("/vol", s.volume(""));
            symlink(s.canary(""), s.volume("a")).unwrap();
            tmpfs(s, "/vol/a/new");
        }),
        harmless("destination_in_a_volume_with_a_link_to_a_new_file_of_the_host", DESTINATION, |s| {
            s.bind("/vol", s.volume(""));
            symlink(s.canary("new"), s.volume("a")).unwrap();
            file(s, "/vol/a");
        }),
        harmless("destination_in_a_volume_in_a_volume", DESTINATION, |s| {
            std::fs::create_dir_all(s.volume("b/c")).unwrap();
            symlink(s.canary("x"), s.volume("b/c/a")).unwrap();
            s.bind("/vol", s.volume(""));
            s.bind("/vol/b/inner", s.volume("b"));
            payload(s, "/vol/b/inner/c/a/new");
        }),
        harmless("destination_in_a_volume_with_a_link_to_all", DESTINATION, |s| {
            s.bind("/vol", s.volume(""));
            symlink("/", s.volume("a")).unwrap();
            let path = format!("/vol/a{}", s.canary("new"));
            payload(s, &path);
        }),
        harmless("cgroup_below_a_link_to_the_host", DESTINATION, |s| {
            s.without_mounts("/sys");
            s.link(s.canary(""), "sys/fs");
            s.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro"]);
        }),
        harmless("cgroup_on_a_link_to_a_new_folder_of_the_host", DESTINATION, |s| {
            s.link(s.canary("made"), "groups");
            s.mount("/groups", "cgroup", "cgroup", &[]);
        }),
    ]
}

fn sources() -> Vec<Case> {
    const SHOW: &str = "cat /got /got/secret 2>/dev/null; echo fine";
    vec![
        refused("source_in_the_root_is_a_link_to_the_host", SOURCE, "no such file or directory", |s| {
            s.link(s.canary("folder"), "data");
            s.bind("/got", s.inside("data"));
            s.script(SHOW);
        }),
        refused("source_in_the_root_is_below_a_link_to_the_host", SOURCE, "no such file or directory", |s| {
            s.link(s.canary(""), "data");
            s.bind("/got", s.inside("data/folder"));
            s.script(SHOW);
        }),
        refused("source_in_the_root_is_a_way_up_to_the_host", SOURCE, "no such file or directory", |s| {
            s.link(format!("../../../../../..{}", s.canary("secret")), "data");
            s.bind("/got", s.inside("data"));
            s.script(SHOW);
        }),
        refused("source_in_the_root_goes_through_a_process", SOURCE, LOOP, |s| {
            s.link(format!("/proc/self/root{}", s.canary("folder")), "data");
            s.bind("/got", s.inside("data"));
            s.script(SHOW);
        }),
        refused(
            "source_in_a_volume_in_the_root_is_a_link_to_the_host",
            SOURCE,
            "no such file or directory",
            |s| {
                symlink(s.canary("folder"), s.volume("sub")).unwrap();
                s.bind("/vol", s.volume(""));
                s.bind("/got", s.inside("vol/sub"));
                s.script(SHOW);
            },
        ),
        refused("source_in_the_root_spelled_another_way", SOURCE, "no such file or directory", |s| {
            s.link(s.canary("folder"), "data");
            s.bind("/got", s.bundle().join("volume/../rootfs/data"));
            s.script(SHOW);
        }),
    ]
}
