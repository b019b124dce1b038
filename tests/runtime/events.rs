//! `events`: the document of statistics, the stream, and the word that memory has run out.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use wharf_tests::Sandbox;

fn sleeper(memory: u64) -> Sandbox {
    let sandbox = Sandbox::new(&["sleep", "1000"], |c| {
        c["linux"]["resources"] = json!({
            "memory": {"limit": memory, "swap": memory}, "pids": {"limit": 20},
        });
    });
    sandbox.start();
    sandbox
}

fn follow(sandbox: &Sandbox, interval: &str) -> (Child, impl Iterator<Item = Value> + use<>) {
    let mut command = sandbox.command();
    command.args(["events", "--interval", interval, &sandbox.id]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()))
}

#[test]
fn statistics_have_the_form_that_runc_gave_them() {
    let sandbox = sleeper(33_554_432);
    let text = sandbox.verb(&["events", "--stats", &sandbox.id]).ok();
    let start = format!("{{\"type\":\"stats\",\"id\":\"{}\",\"data\":{{", sandbox.id);
    assert!(text.starts_with(&start) && text.lines().count() == 1, "{text}");
    let event: Value = serde_json::from_str(&text).unwrap();
    let data = &event["data"];
    for key in ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"] {
        assert!(data.get(key).is_some(), "no {key} in {text}");
    }
    assert_eq!(data["memory"]["usage"]["limit"], 33_554_432);
    assert!(data["memory"]["usage"]["usage"].as_u64().unwrap() > 0);
    assert_eq!((&data["pids"]["current"], &data["pids"]["limit"]), (&json!(1), &json!(20)));
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    assert!(data["memory"]["raw"].as_object().unwrap().len() > 10);
}

#[test]
fn stream_goes_on_until_the_container_ends() {
    let sandbox = sleeper(33_554_432);
    let (mut child, mut events) = follow(&sandbox, "100ms");
    for _ in 0..3 {
        assert_eq!(events.next().unwrap()["type"], "stats");
    }
    sandbox.verb(&["delete", "--force", &sandbox.id]).ok();
    assert!(events.all(|event| event["type"] == "stats"));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn lack_of_memory_is_told_at_once() {
    let sandbox = sleeper(16_777_216);
    let (mut child, mut events) = follow(&sandbox, "20ms");
    assert_eq!(events.next().unwrap()["type"], "stats");
    assert_eq!(sandbox.exec("tail -c 100m /dev/zero > /dev/null").code, 137);
    let oom = events.find(|event| event["type"] == "oom").unwrap();
    assert_eq!(oom, json!({"type": "oom", "id": sandbox.id}));
    sandbox.verb(&["delete", "--force", &sandbox.id]).ok();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn there_are_no_events_of_what_does_not_run() {
    let sandbox = Sandbox::shell("true", |_| ());
    sandbox.start();
    sandbox.wait_for_status("stopped");
    let expected = format!("container with id {} is not running", sandbox.id);
    sandbox.verb(&["events", "--stats", &sandbox.id]).fails(1, &[&expected]);
    sandbox.verb(&["events", "no-such-container"]).fails(1, &["does not exist"]);
    let wrong = sandbox.verb(&["events", "--interval", "0s", &sandbox.id]);
    wrong.fails(1, &["duration interval must be greater than 0"]);
}
