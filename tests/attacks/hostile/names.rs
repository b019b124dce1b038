//! Names and numbers: users that are none, IDs that lead elsewhere, powers that nobody gave.

use serde_json::json;
use wharf_tests::Said;

use crate::case::{Case, harmless, refused};
use crate::scene::Scene;

const USER: &str = "user by a number that is none (CVE-2024-40635, CVE-2026-30892, CVE-2026-46680)";
const GROUPS: &str = "groups (CVE-2022-2989, CVE-2022-36109, CVE-2023-25173)";
const POWER: &str = "inheritable capabilities (CVE-2022-24769, CVE-2022-27650, CVE-2022-29162)";
const ID: &str = "container ID as a path (crun 1.20, 1.28)";

fn waiting(scene: &mut Scene) {
    scene.script("touch /ready; exec sleep 1000");
    let passwd = "root:x:0:0::/root:/bin/sh\n4294967296:x:0:0::/:/bin/sh\n1000:x:0:0::/:/bin/sh\n-1:x:0:0::/:/bin/sh\n";
    scene.file("etc/passwd", passwd);
}

/// `exec` as such a user, who must not be root.
fn user(scene: &Scene, text: &str) -> Said {
    scene.begin().unwrap_or_else(|| {
        scene.exec(&["--user", text], &["sh", "-c", "test $(id -u) = 0 && echo HARM; echo fine"])
    })
}

fn id(scene: &Scene, id: &str) -> Said {
    let said = scene.call(&["run", "--bundle", scene.bundle().to_str().unwrap(), id]);
    scene.call(&["delete", "--force", id]);
    said
}

/// An ID of which a runtime that takes it must be ashamed.
fn is_taken(scene: &Scene, text: &str) -> Said {
    let said = id(scene, text);
    if said.code == 0 { Said { out: "HARM\n".to_owned(), ..said } } else { said }
}

pub fn cases() -> Vec<Case> {
    [users(), powers(), ids()].into_iter().flatten().collect()
}

fn users() -> Vec<Case> {
    const WORDS: &str = "is not UID or UID:GID";
    vec![
        refused("user_is_two_to_the_32", USER, WORDS, waiting).acting(|s| user(s, "4294967296")),
        refused("user_is_two_to_the_64", USER, WORDS, waiting).acting(|s| user(s, "18446744073709551616")),
        refused("user_is_the_number_that_means_none", USER, WORDS, waiting).acting(|s| user(s, "4294967295")),
        refused("user_is_negative", USER, "'-1'", waiting).acting(|s| user(s, "-1")),
        refused("user_is_hexadecimal", USER, WORDS, waiting).acting(|s| user(s, "0x0")),
        refused("user_is_a_word", USER, WORDS, waiting).acting(|s| user(s, "nobody")),
        refused("user_has_no_number_before_the_colon", USER, WORDS, waiting).acting(|s| user(s, ":2")),
        harmless("user_is_a_number_that_passwd_has_as_a_name", USER, waiting).acting(|s| user(s, "1000")),
        harmless("user_is_two_to_the_31", USER, waiting).acting(|s| user(s, "2147483648")),
        refused("group_is_two_to_the_32", USER, WORDS, waiting).acting(|s| {
            s.begin().unwrap_or_else(|| {
                s.exec(
                    &["--user", "1000:4294967296"],
                    &["sh", "-c", "test $(id -g) = 0 && echo HARM; echo fine"],
                )
            })
        }),
        refused("user_of_the_config_is_two_to_the_32", USER, "process.user.uid", |s| {
            s.config["process"]["user"]["uid"] = json!(4_294_967_296_u64);
            s.script("test $(id -u) = 0 && echo HARM; echo fine");
        }),
        refused("user_of_the_config_is_negative", USER, "process.user.uid", |s| {
            s.config["process"]["user"]["uid"] = json!(-1);
            s.script("test $(id -u) = 0 && echo HARM; echo fine");
        }),
        refused("user_of_the_config_is_a_fraction", USER, "process.user.uid", |s| {
            s.config["process"]["user"]["uid"] = json!(0.4);
            s.script("test $(id -u) = 0 && echo HARM; echo fine");
        }),
    ]
}

const NONE_INHERITABLE: &str =
    "grep -E 'Cap(Inh|Amb)' /proc/self/status | grep -qv 0000000000000000 && echo HARM; echo fine";

fn few_capabilities(scene: &mut Scene) {
    let sets = json!(["CAP_KILL"]);
    scene.config["process"]["capabilities"] = json!({"bounding": sets, "effective": sets, "permitted": sets});
}

/// A call by somebody who has a capability that he hands on to all.
fn inheriting(scene: &Scene, words: &[&str]) -> Said {
    scene.call_with(words, |command| {
        let mut wrapped = std::process::Command::new("setpriv");
        wrapped.args(["--inh-caps", "+net_raw", "--ambient-caps", "+net_raw", "--"]);
        wrapped.arg(command.get_program()).args(command.get_args());
        wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        *command = wrapped;
        command.stdin(std::process::Stdio::null());
    })
}

fn powers() -> Vec<Case> {
    vec![
        harmless("exec_hands_on_capabilities_of_the_caller", POWER, |s| {
            waiting(s);
            few_capabilities(s);
        })
        .acting(|s| {
            let words = ["exec", "--cap", "CAP_NET_RAW", s.id(), "sh", "-c", NONE_INHERITABLE];
            s.begin().unwrap_or_else(|| inheriting(s, &words))
        }),
        harmless("run_hands_on_capabilities_of_the_caller", POWER, |s| {
            few_capabilities(s);
            s.script(NONE_INHERITABLE);
        })
        .acting(|s| inheriting(s, &["run", "--bundle", s.bundle().to_str().unwrap(), s.id()])),
        harmless("groups_of_the_caller_are_kept", GROUPS, |s| {
            s.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            s.script("test \"$(id -G)\" = 1000 || echo HARM; echo fine");
        }),
        harmless("exec_keeps_the_groups_of_init", GROUPS, waiting).acting(|s| {
            let program = ["sh", "-c", "test \"$(id -G)\" = 1000 || echo HARM; echo fine"];
            s.begin().unwrap_or_else(|| s.exec(&["--user", "1000:1000"], &program))
        }),
        harmless("group_that_is_shut_out_gets_in", GROUPS, |s| {
            use std::os::unix::fs::PermissionsExt as _;
            s.folder("shut");
            s.file("shut/file", "");
            std::os::unix::fs::chown(s.inside("shut"), Some(0), Some(1000)).unwrap();
            std::fs::set_permissions(s.inside("shut"), std::fs::Permissions::from_mode(0o705)).unwrap();
            s.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            s.script("cat /shut/file 2>/dev/null && echo HARM; echo fine");
        }),
    ]
}

fn ids() -> Vec<Case> {
    const WORDS: &str = "container ID";
    fn set(scene: &mut Scene) {
        scene.state_beside_canary();
    }
    vec![
        refused("id_goes_up", ID, WORDS, set).acting(|s| is_taken(s, "../made")),
        refused("id_goes_up_to_a_folder", ID, WORDS, set).acting(|s| is_taken(s, "../../folder")),
        refused("id_is_the_folder_above", ID, WORDS, set).acting(|s| is_taken(s, "..")),
        refused("id_is_the_folder_itself", ID, WORDS, set).acting(|s| is_taken(s, ".")),
        refused("id_has_a_folder", ID, WORDS, set).acting(|s| is_taken(s, "a/b")),
        refused("id_ends_with_a_new_line", ID, WORDS, set).acting(|s| is_taken(s, "wharf-test-a\n")),
        refused("id_has_a_space", ID, WORDS, set).acting(|s| is_taken(s, "wharf-test a")),
        refused("id_is_empty", ID, WORDS, set).acting(|s| is_taken(s, "")),
        refused("delete_of_an_id_that_goes_up", ID, WORDS, set)
            .acting(|s| s.call(&["delete", "--force", "../../folder"])),
    ]
}
