//! Masked and read-only paths: what they name in the container is what gets hidden and protected.

use serde_json::json;

use crate::case::{Case, harmless, refused};
use crate::scene::{Scene, fifo};

const NULL: &str = "masked by the container's /dev/null (CVE-2025-31133)";
const WHERE: &str = "masked and read-only paths go elsewhere (GHSA-3q8j-pf29-vwv8)";

fn mask(scene: &mut Scene, path: &str) {
    scene.config["linux"]["maskedPaths"] = json!([path]);
    scene.script(&format!(
        "grep -q hidden {path} {path}/* 2>&- && echo HARM; cat {path} 2>&-; (echo more >{path}) 2>&-; echo fine"
    ));
}

fn read_only(scene: &mut Scene, path: &str) {
    scene.config["linux"]["readonlyPaths"] = json!([path]);
    scene.script(&format!("touch {path}/made 2>&- && echo HARM; echo fine"));
}

/// The container's /dev is a folder of the host that the attacker fills, and a file is to be masked.
fn hostile_null(scene: &mut Scene) {
    scene.without_mounts("/dev");
    scene.bind("/dev", scene.volume(""));
    scene.file("masked", "hidden");
    mask(scene, "/masked");
}

pub fn cases() -> Vec<Case> {
    [nulls(), masks(), read_onlys()].into_iter().flatten().collect()
}

fn nulls() -> Vec<Case> {
    vec![
        harmless("null_of_a_volume_is_a_link_to_the_host", NULL, |s| {
            hostile_null(s);
            std::os::unix::fs::symlink(s.canary("null"), s.volume("null")).unwrap();
        }),
        harmless("null_of_a_volume_is_a_link_to_proc", NULL, |s| {
            hostile_null(s);
            std::os::unix::fs::symlink("/proc/sys/kernel/hostname", s.volume("null")).unwrap();
            s.script("grep -q box /masked && echo HARM; echo fine");
        }),
        harmless("null_of_a_volume_is_missing", NULL, hostile_null),
        harmless("null_of_a_volume_is_a_file", NULL, |s| {
            hostile_null(s);
            std::fs::write(s.volume("null"), "hidden").unwrap();
        }),
        harmless("null_of_a_volume_is_a_folder", NULL, |s| {
            hostile_null(s);
            std::fs::create_dir(s.volume("null")).unwrap();
        }),
        harmless("null_of_a_volume_is_a_fifo", NULL, |s| {
            hostile_null(s);
            fifo(&s.volume("null"));
            s.script("test -c /masked || echo HARM; echo fine");
        }),
        harmless("null_of_a_volume_is_another_device", NULL, |s| {
            hostile_null(s);
            crate::scene::node(&s.volume("null"), 1, 5);
            s.script("test $(stat -c %t%T /masked) = 13 || echo HARM; echo fine");
        }),
        harmless("null_of_a_volume_is_the_masked_file_itself", NULL, |s| {
            hostile_null(s);
            std::os::unix::fs::symlink("/masked", s.volume("null")).unwrap();
        }),
    ]
}

fn masks() -> Vec<Case> {
    vec![
        harmless("masked_file_is_below_a_link", WHERE, |s| {
            s.file("real/file", "hidden");
            s.link("/real", "link");
            mask(s, "/link/file");
        }),
        harmless("masked_file_is_a_link", WHERE, |s| {
            s.file("real/file", "hidden");
            s.link("/real/file", "link");
            mask(s, "/link");
        }),
        harmless("masked_folder_is_a_link", WHERE, |s| {
            s.file("real/file", "hidden");
            s.link("/real", "link");
            mask(s, "/link");
        }),
        harmless("masked_file_is_beyond_a_way_up", WHERE, |s| {
            s.file("real/file", "hidden");
            mask(s, "/real/../../../../real/file");
        }),
        refused("masked_path_is_a_link_to_itself", WHERE, "too many levels of symbolic links", |s| {
            s.link("loop", "loop");
            mask(s, "/loop");
            s.script("echo HARM");
        }),
        refused("masked_path_goes_through_a_process", WHERE, "too many levels of symbolic links", |s| {
            s.link("/proc/self/root/real", "link");
            s.file("real/file", "hidden");
            mask(s, "/link/file");
            s.script("echo HARM");
        }),
    ]
}

fn read_onlys() -> Vec<Case> {
    vec![
        harmless("read_only_folder_is_below_a_link", WHERE, |s| {
            s.folder("real/fixed");
            s.link("/real", "link");
            read_only(s, "/link/fixed");
        }),
        harmless("read_only_folder_is_a_link", WHERE, |s| {
            s.folder("real");
            s.link("/real", "link");
            read_only(s, "/link");
        }),
        harmless("read_only_folder_holds_a_mount", WHERE, |s| {
            s.mount("/fixed/inner", "tmpfs", "tmpfs", &[]);
            read_only(s, "/fixed/inner");
            s.config["linux"]["readonlyPaths"] = json!(["/fixed"]);
        }),
        refused("read_only_path_is_a_link_to_itself", WHERE, "too many levels of symbolic links", |s| {
            s.link("loop", "loop");
            read_only(s, "/loop");
            s.script("echo HARM");
        }),
    ]
}
