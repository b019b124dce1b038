//! Every verb, as an ordinary user, with the default folder for the state; and who the program is.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};

use serde_json::json;
use wharf_tests::user::USER;
use wharf_tests::{is_ours, wait_until};

use super::{Home, SUB, map_ranges};

#[test]
fn ordinary_user_has_every_verb_and_leaves_nothing() {
    let home = Home::shell("sleep 1000", |_| ());
    let id = home.sandbox.id.as_str();
    home.verb(&["create", id]).ok();
    assert_eq!(home.state()["status"], "created");
    assert_eq!(home.exec("id -u").ok(), "0\n", "exec before start");
    home.verb(&["start", id]).ok();
    assert_eq!(home.state()["status"], "running");
    assert_eq!(home.exec("hostname; exit 0").ok(), "box\n");
    assert_eq!(home.exec("exit 5").code, 5);
    assert_eq!(home.verb(&["list", "-q"]).ok(), format!("{id}\n"));
    let container = &home.states()[0];
    assert_eq!(std::fs::metadata(container).unwrap().uid(), USER);
    if is_ours() {
        let root = std::fs::metadata(container.parent().unwrap()).unwrap();
        assert_eq!(root.permissions().mode() & 0o7777, 0o1700);
        let pid = home.pid();
        wait_until("sh to become sleep", || home.verb(&["ps", id]).ok().contains("sleep 1000"));
        assert!(home.verb(&["ps", "--format", "json", id]).ok().contains(&pid.to_string()));
    }
    home.verb(&["kill", id, "KILL"]).ok();
    wait_until("the end", || home.state()["status"] == "stopped");
    home.verb(&["delete", id]).ok();
    home.assert_nothing_left();
}

#[test]
fn kill_all_reaches_every_process_of_a_container_without_cgroup() {
    if !is_ours() {
        return; // runc finds them by cgroup alone
    }
    let script = "trap 'echo init >> /tmp/got' USR1; (trap 'echo child >> /tmp/got; exit' USR1; touch /tmp/ready; \
                  while :; do sleep 0.1; done) & while :; do wait; done";
    let home = Home::shell(script, |_| ());
    home.start();
    wait_until("the child", || home.path("rootfs/tmp/ready").exists());
    home.verb(&["kill", "--all", &home.sandbox.id, "USR1"]).ok();
    let got = || std::fs::read_to_string(home.path("rootfs/tmp/got")).unwrap_or_default();
    wait_until("both", || got().contains("init") && got().contains("child"));
}

#[test]
fn one_id_is_mapped_without_newuidmap_and_gives_up_setgroups() {
    let home = Home::shell(
        "id -u; tr -s ' ' < /proc/self/uid_map; cat /proc/self/setgroups; touch /tmp/mine",
        |_| (),
    );
    let run = ["env", "PATH=/nowhere", &home.runtime(), "run", &home.sandbox.id].map(str::to_owned);
    let said = if is_ours() {
        home.run_as_user(&run.each_ref().map(String::as_str))
    } else {
        home.run() // runc looks for newuidmap all the same
    };
    assert_eq!(said.ok(), format!("0\n 0 {USER} 1\ndeny\n"));
    assert_eq!(std::fs::metadata(home.path("rootfs/tmp/mine")).unwrap().uid(), USER);
    home.assert_nothing_left();
}

#[test]
fn ranges_are_mapped_by_newuidmap() {
    let home = Home::shell("id -u; id -g; tr -s ' ' < /proc/self/gid_map; touch /tmp/mine", |c| {
        map_ranges(c);
        c["process"]["user"] = json!({"uid": 1000, "gid": 1001});
    });
    std::fs::set_permissions(home.path("rootfs/tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    let maps = format!(" 0 {USER} 1\n 1 {} {}\n", SUB.0, SUB.1);
    assert_eq!(home.run().ok(), format!("1000\n1001\n{maps}"));
    let mine = std::fs::metadata(home.path("rootfs/tmp/mine")).unwrap();
    assert_eq!((mine.uid(), mine.gid()), (SUB.0 + 999, SUB.0 + 1000));
}

#[test]
fn supplementary_groups_come_out_of_the_range() {
    if !is_ours() {
        return; // runc refuses them to ordinary users
    }
    let home = Home::shell("grep Groups /proc/self/status", |c| {
        map_ranges(c);
        c["process"]["user"]["additionalGids"] = json!([7, 8]);
    });
    assert_eq!(home.run().ok().split_whitespace().collect::<Vec<_>>(), ["Groups:", "7", "8"]);
    let one = Home::shell("true", |c| c["process"]["user"]["additionalGids"] = json!([0]));
    one.run().fails(1, &["process.user.additionalGids", "operation not permitted"]);
    one.assert_nothing_left();
}

#[test]
fn range_of_somebody_else_is_refused_by_newuidmap() {
    let home = Home::shell("true", |c| {
        map_ranges(c);
        c["linux"]["uidMappings"][1]["hostID"] = json!(9_000_000);
    });
    home.run().fails(1, &["newuidmap"]);
    home.assert_nothing_left();
}

#[test]
fn user_without_a_mapping_is_refused_by_name() {
    if !is_ours() {
        return;
    }
    for (field, value) in [("uid", json!(5)), ("gid", json!(5)), ("additionalGids", json!([5]))] {
        let home = Home::shell("true", |c| c["process"]["user"][field] = value);
        home.run().fails(1, &[&format!("process.user.{field}: 5 is not mapped")]);
        home.assert_nothing_left();
    }
}

#[test]
fn exec_has_the_containers_oom_score() {
    let home = Home::shell("exec sleep 1000", |c| c["process"]["oomScoreAdj"] = json!(321));
    home.start();
    assert_eq!(home.exec("cat /proc/1/oom_score_adj /proc/self/oom_score_adj").ok(), "321\n321\n");
}

#[test]
fn rootless_example_runs_as_it_is() {
    let home = Home::shell("true", |_| ());
    std::fs::remove_file(home.path("config.json")).unwrap();
    home.verb(&["spec", "--rootless"]).ok();
    // All but the terminal, which this test has none for.
    let text = std::fs::read_to_string(home.path("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/id", "-u"]);
    std::fs::write(home.path("config.json"), config.to_string()).unwrap();
    assert_eq!(home.run().ok(), "0\n");
    home.assert_nothing_left();
}

#[test]
fn hooks_may_enter_the_namespaces() {
    // What a network needs: the hook opens them by the PID in the state.
    let hook = "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); nsenter --target $pid --user --preserve-credentials readlink /proc/self/ns/user > \"$0\"";
    let home = Home::shell("readlink /proc/self/ns/user", map_ranges);
    let text = std::fs::read_to_string(home.path("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let seen = home.path("seen").display().to_string();
    config["hooks"]["createRuntime"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", hook, seen]}]);
    home.sandbox.write_config(&config.to_string());
    let inside = home.run().ok();
    assert_eq!(std::fs::read_to_string(home.path("seen")).unwrap(), inside);
}

#[test]
fn terminal_belongs_to_the_programs_user() {
    let home = Home::shell("tty; stat -c %u $(tty)", |c| {
        map_ranges(c);
        c["process"]["terminal"] = json!(true);
        c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    });
    assert_eq!(home.run_in_terminal(), "/dev/pts/0\n1000\n");
}

#[test]
fn scheduler_beyond_the_users_rights_is_not_put_down_to_cpus() {
    if !is_ours() {
        return; // runc 1.1 does not know schedulers
    }
    let home =
        Home::shell("true", |c| c["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": -5}));
    let said = home.run();
    assert!(!said.err.contains("AllowedCPUs"), "{}", said.err);
    said.fails(1, &["process.scheduler", "operation not permitted"]);
    home.assert_nothing_left();
}
