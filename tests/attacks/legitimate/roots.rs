//! Roots: where they lie, what they are on, what they hold and what they lack.

use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use serde_json::json;
use wharf_tests::Said;

use crate::case::{Odd, works};
use crate::scene::Scene;

const NOTHING: Option<&str> = None;

/// Moves the root to another place and returns that.
fn moved(scene: &Scene, to: &str) -> std::path::PathBuf {
    let to = scene.bundle().join(to);
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::rename(scene.inside(""), &to).unwrap();
    to
}

/// A mount in the suite's own namespace, taken off by nobody: the namespace goes with the suite.
fn mounted(scene: &Scene, kind: &str, data: Option<&str>) {
    mount(Some(kind), &scene.inside(""), Some(kind), MsFlags::empty(), data).unwrap();
}

fn without_pivot(scene: &Scene) -> Said {
    scene.call(&["run", "--no-pivot", "--bundle", scene.bundle().to_str().unwrap(), scene.id()])
}

const SEES_PROC: &str = "test -d /proc/1/fd && test -d /sys/kernel && echo fine";

pub fn cases() -> Vec<Odd> {
    [places(), file_systems(), contents()].into_iter().flatten().collect()
}

fn places() -> Vec<Odd> {
    vec![
        works("root_has_an_absolute_path", |s| s.config["root"]["path"] = json!(s.inside(""))),
        works("root_is_a_link", |s| {
            let to = moved(s, "real");
            symlink(to, s.bundle().join("rootfs")).unwrap();
            s.script(SEES_PROC);
        }),
        works("root_is_a_relative_link", |s| {
            moved(s, "deep/real");
            symlink("deep/real", s.bundle().join("rootfs")).unwrap();
            s.script(SEES_PROC);
        }),
        works("root_is_below_a_link", |s| {
            moved(s, "deep/real/rootfs");
            symlink("deep/real", s.bundle().join("link")).unwrap();
            s.config["root"]["path"] = json!("link/rootfs");
            s.script(SEES_PROC);
        }),
        works("root_path_goes_up", |s| s.config["root"]["path"] = json!("volume/../rootfs")),
        works("root_path_ends_with_a_slash", |s| s.config["root"]["path"] = json!("rootfs/")),
        works("root_path_has_dots", |s| s.config["root"]["path"] = json!("./rootfs/.")),
        works("root_is_named_with_spaces_and_colons", |s| {
            moved(s, "a b:c,d");
            s.config["root"]["path"] = json!("a b:c,d");
        }),
        works("bundle_is_a_link", |_| ()).acting(|s| {
            let link = s.canary("bundle");
            symlink(s.bundle(), &link).unwrap();
            s.call(&["run", "--bundle", &link, s.id()])
        }),
        works("bundle_is_the_current_folder", |_| ()).acting(|s| {
            s.call_with(&["run", s.id()], |command| {
                command.current_dir(s.bundle());
            })
        }),
        works("root_without_pivot", |s| s.script(SEES_PROC)).acting(without_pivot),
        works("root_that_is_a_link_without_pivot", |s| {
            let to = moved(s, "real");
            symlink(to, s.bundle().join("rootfs")).unwrap();
            s.script(SEES_PROC);
        })
        .acting(without_pivot),
    ]
}

fn file_systems() -> Vec<Odd> {
    vec![
        works("root_is_read_only", |s| {
            s.config["root"]["readonly"] = json!(true);
            s.script("touch /x 2>/dev/null || echo fine");
        }),
        works("root_is_on_a_tmpfs", |s| {
            let real = moved(s, "real");
            std::fs::create_dir(s.inside("")).unwrap();
            mounted(s, "tmpfs", None);
            wharf_tests::fill_rootfs(&s.inside(""));
            std::fs::remove_dir_all(real).unwrap();
        }),
        works("root_is_on_an_overlay", |s| {
            let lower = moved(s, "lower");
            for folder in ["rootfs", "upper", "work"] {
                std::fs::create_dir(s.bundle().join(folder)).unwrap();
            }
            let at = |name: &str| s.bundle().join(name).display().to_string();
            let data =
                format!("lowerdir={},upperdir={},workdir={}", lower.display(), at("upper"), at("work"));
            // An overlay upon an overlay or without user attributes is no matter of ours.
            if mount(Some("overlay"), &s.inside(""), Some("overlay"), MsFlags::empty(), Some(data.as_str()))
                .is_err()
            {
                std::fs::remove_dir(s.inside("")).unwrap();
                std::fs::rename(lower, s.inside("")).unwrap();
            }
        }),
        works("root_is_mounted_read_only", |s| {
            // What has no place to be made must be there.
            for folder in ["dev/pts", "dev/shm"] {
                s.folder(folder);
            }
            let root = s.inside("");
            mount(Some(&root), &root, NOTHING, MsFlags::MS_BIND, NOTHING).unwrap();
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(NOTHING, &root, NOTHING, flags, NOTHING).unwrap();
            s.script("touch /x 2>/dev/null || echo fine");
        }),
        works("root_has_a_mount_in_it", |s| {
            s.folder("opt/inner");
            mount(Some("tmpfs"), &s.inside("opt/inner"), Some("tmpfs"), MsFlags::empty(), NOTHING).unwrap();
            std::fs::write(s.inside("opt/inner/file"), "").unwrap();
            s.script("test -f /opt/inner/file && echo fine");
        }),
        works("root_is_a_shared_mount", |s| {
            let root = s.inside("");
            mount(Some(&root), &root, NOTHING, MsFlags::MS_BIND, NOTHING).unwrap();
            mount(NOTHING, &root, NOTHING, MsFlags::MS_SHARED, NOTHING).unwrap();
        }),
        works("propagation_is_shared", |s| s.config["linux"]["rootfsPropagation"] = json!("rshared")),
        works("root_belongs_to_nobody", |s| {
            std::os::unix::fs::chown(s.inside(""), Some(65534), Some(65534)).unwrap();
        }),
        works("root_is_shut_to_others", |s| {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(s.inside(""), std::fs::Permissions::from_mode(0o700)).unwrap();
        }),
    ]
}

fn contents() -> Vec<Odd> {
    vec![
        works("var_run_is_a_link_to_run", |s| {
            s.folder("run");
            s.link("/run", "var/run");
            s.mount("/var/run/user", "tmpfs", "tmpfs", &[]);
            s.script("touch /run/user/x && test -f /var/run/user/x && echo fine");
        }),
        works("bin_is_a_link_to_usr_bin", |s| {
            s.folder("usr");
            std::fs::rename(s.inside("bin"), s.inside("usr/bin")).unwrap();
            s.link("usr/bin", "bin");
        }),
        works("shell_is_behind_three_links", |s| {
            s.link("/opt/2/sh", "opt/1/sh");
            s.link("../3/sh", "opt/2/sh");
            s.link("/bin/sh", "opt/3/sh");
            s.config["process"]["args"][0] = json!("/opt/1/sh");
        }),
        works("program_is_a_script_of_a_linked_interpreter", |s| {
            s.link("/bin/sh", "opt/sh");
            s.program("bin/tool", "#!/opt/sh\necho fine\n");
            s.config["process"]["args"] = json!(["tool"]);
        }),
        works("program_is_relative_to_the_working_directory", |s| {
            s.program("work/tool", "#!/bin/sh\necho fine\n");
            s.config["process"]["cwd"] = json!("/work");
            s.config["process"]["args"] = json!(["./tool"]);
        }),
        works("passwd_is_missing", |s| {
            std::fs::remove_file(s.inside("etc/passwd")).unwrap();
            s.script("test $HOME = / && echo fine");
        }),
        works("etc_is_missing", |s| std::fs::remove_dir_all(s.inside("etc")).unwrap()),
        works("proc_sys_and_dev_are_missing", |s| {
            for folder in ["proc", "sys", "dev"] {
                std::fs::remove_dir(s.inside(folder)).unwrap();
            }
            s.script(SEES_PROC);
        }),
        works("only_the_program_is_there", |s| {
            for folder in ["proc", "sys", "dev", "etc", "tmp", "root"] {
                std::fs::remove_dir_all(s.inside(folder)).unwrap();
            }
        }),
        works("passwd_is_a_link_in_the_root", |s| {
            s.file("usr/share/passwd", "root:x:0:0::/found:/bin/sh\n");
            s.link("../usr/share/passwd", "etc/passwd");
            s.script("test $HOME = /found && echo fine");
        }),
        works("passwd_has_odd_lines", |s| {
            s.file("etc/passwd", "\n#\n:::\n+::::::\nx:y\nroot:x:0:0:a:b:c\nroot:x:0:0::/late:\n");
            s.script("test $HOME = b && echo fine");
        }),
        works("passwd_does_not_end", |s| s.file("etc/passwd", &"x".repeat(3 << 20))),
        works("passwd_is_a_terminal", |s| s.node("etc/passwd", 5, 0)),
        works("passwd_is_a_folder", |s| s.folder("etc/passwd")),
        works("passwd_is_a_socket", |s| {
            std::os::unix::net::UnixListener::bind(s.free("etc/passwd")).unwrap();
        }),
        works("passwd_is_a_link_to_itself", |s| s.link("passwd", "etc/passwd")),
        works("passwd_is_a_link_to_a_descriptor", |s| s.link("/proc/self/fd/0", "etc/passwd")),
        works("environment_of_a_hundred_thousand_characters", |s| {
            s.config["process"]["env"] = json!(["PATH=/bin", format!("LONG={}", "x".repeat(100_000))]);
            s.script("test ${#LONG} = 100000 && echo fine");
        }),
        works("passwd_is_a_device_of_no_driver", |s| s.node("etc/passwd", 240, 7)),
        works("passwd_is_a_link_to_nothing", |s| s.link("/nosuch", "etc/passwd")),
        works("cwd_is_a_link", |s| {
            s.folder("real/work");
            s.link("/real/work", "work");
            s.config["process"]["cwd"] = json!("/work");
            s.script("test $(pwd -P) = /real/work && echo fine");
        }),
        works("cwd_is_missing", |s| {
            s.config["process"]["cwd"] = json!("/made/for/it");
            s.script("test $(pwd -P) = /made/for/it && echo fine");
        }),
        works("cwd_is_below_a_link_to_nothing", |s| {
            s.link("/run/later", "work");
            s.config["process"]["cwd"] = json!("/work/here");
            s.script("test $(pwd -P) = /run/later/here && echo fine");
        }),
        works("cwd_is_in_proc", |s| {
            s.config["process"]["cwd"] = json!("/proc/self");
            s.script("test $(pwd -P) = /proc/1 && echo fine");
        }),
        works("cwd_is_open_to_the_user_alone", |s| {
            use std::os::unix::fs::PermissionsExt as _;
            s.folder("home");
            std::os::unix::fs::chown(s.inside("home"), Some(1000), Some(1000)).unwrap();
            std::fs::set_permissions(s.inside("home"), std::fs::Permissions::from_mode(0o700)).unwrap();
            s.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            s.config["process"]["cwd"] = json!("/home");
        }),
        works("links_of_the_root_lead_up_and_stay", |s| {
            s.link(Path::new("../../../../../../run/x"), "opt/up");
            s.mount("/opt/up/y", "tmpfs", "tmpfs", &[]);
            s.script("grep -q ' /run/x/y ' /proc/mounts && echo fine");
        }),
    ]
}
