//! The specification's JSON schemas: every good document is taken, every bad one refused, and what we write is valid.
//!
//! The schemas and their samples are not part of this project. `schema/rules.txt` says what a schema says of the one
//! document below, a rule in a line; each rule is broken once. `WHARF_SPEC_CHECKOUT=folder` proves that these are the
//! rules of that checkout's schema and that no property is left out, and tries its own samples too.

mod draft4;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use wharf_tests::{Sandbox, base_config, is_ours, skip, with_systemd_cgroups};

use draft4::Schemas;

const CONFIG: &str = "config-schema.json";

/// A config that has every property of the schema but those of other platforms.
fn whole() -> Value {
    let mut whole: Value = serde_json::from_str(include_str!("schema/whole.json")).unwrap();
    if with_systemd_cgroups() {
        whole["linux"]["cgroupsPath"] = json!("system.slice:wharf:schema"); // what systemd takes
    }
    whole
}

/// Other good documents: with next to nothing, for another platform, and with much that nobody knows.
fn good() -> Vec<Value> {
    let mut strange = base_config(&["true"]);
    strange["org.example.later"] = json!({"a": [1, null, {"b": 1.5}]});
    strange["process"]["org.example.later"] = json!(false);
    strange["linux"]["resources"] = json!({"org.example.later": []});
    strange["vm"] = json!({"kernel": {"path": "/vmlinuz"}, "hypervisor": {"path": "/hypervisor"}});
    vec![
        json!({"ociVersion": "1.0.0", "root": {"path": "rootfs"}}),
        json!({"ociVersion": "1.2.1+dev", "root": {"path": "rootfs"}, "linux": {}, "mounts": [], "hooks": {}}),
        json!({"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "freebsd": {"jail": {"vnet": "inherit", "ip4": "disable"}}}),
        json!({"ociVersion": "1.0.0", "root": {"path": "rootfs"}, "solaris": {"milestone": "x"}, "windows": {"layerFolders": ["x"]}}),
        base_config(&["true"]),
        strange,
        whole(),
    ]
}

/// Rules that are stricter than the text of the specification, and why it is the text that counts.
const LENIENT: [&str; 2] = [
    "/linux/devices/0/fileMode integer 0..511", // runc up to 1.0.0-rc92, and dockerd with it, send the file's type along
    "/linux/resources/pids/limit required",     // config-linux.md: OPTIONAL
];

/// The whole document with one rule broken, in each way that there is.
fn broken(rule: &str) -> Vec<Value> {
    let mut words = rule.split(' ');
    let (pointer, kind) = (words.next().unwrap(), words.next().unwrap());
    let out_of = |range: &str| {
        let (low, high) = range.split_once("..").unwrap();
        let bound = |text: &str| text.parse::<i128>().ok();
        let outside = bound(low).map(|low| low - 1).into_iter().chain(bound(high).map(|high| high + 1));
        // What no integer of JSON's readers holds is written as a fraction.
        let number = |n: i128| i64::try_from(n).map_or_else(|_| json!(n as f64 * 2.0), |n| json!(n));
        outside.map(number).chain([json!("1")]).collect()
    };
    let values: Vec<Value> = match kind {
        "object" => vec![json!([])],
        "array" => vec![json!({})],
        "string" => vec![json!(5)],
        "boolean" => vec![json!("true")],
        "integer" => out_of(words.next().unwrap()),
        "word" => vec![json!("no such word")],
        "filled" => vec![json!([])],
        "required" => {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            let mut document = whole();
            document.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
            return vec![document];
        }
        other => panic!("{other}"),
    };
    let put = |value| {
        let mut document = whole();
        *document.pointer_mut(pointer).unwrap() = value;
        document
    };
    values.into_iter().map(put).collect()
}

/// The places of what `validate` says is wrong with a config on every host.
fn findings(sandbox: &Sandbox, config: &str) -> Vec<String> {
    sandbox.write_config(config);
    let said =
        sandbox.verb(&["validate", "--format", "json", "--bundle", sandbox.bundle().to_str().unwrap()]);
    let all: Value = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}"));
    let wrong = all.as_array().unwrap().iter().filter(|finding| finding["kind"] == "spec");
    wrong.map(|finding| finding["pointer"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn good_documents_are_taken() {
    if !is_ours() {
        return;
    }
    let sandbox = Sandbox::shell("true", |_| ());
    for document in good() {
        let found = findings(&sandbox, &document.to_string());
        assert!(found.is_empty(), "{found:?} in {document}");
    }
}

#[test]
fn each_broken_rule_is_found_at_its_place() {
    if !is_ours() {
        return;
    }
    let sandbox = Sandbox::shell("true", |_| ());
    let mut faults = Vec::new();
    for rule in RULES.lines() {
        let (pointer, _) = rule.split_once(' ').unwrap();
        for document in broken(rule) {
            let found = findings(&sandbox, &document.to_string());
            if !found.iter().any(|place| place.starts_with(pointer) || pointer.starts_with(place)) {
                faults.push(rule);
            }
        }
    }
    assert_eq!(faults, LENIENT);
}

const RULES: &str = include_str!("schema/rules.txt");

/// The folder of the checkout, or the word that there is none.
fn checkout() -> Option<PathBuf> {
    let folder = std::env::var_os("WHARF_SPEC_CHECKOUT").map(PathBuf::from);
    if folder.is_none() {
        skip("WHARF_SPEC_CHECKOUT names no checkout of the specification");
    }
    folder
}

#[test]
fn rules_are_those_of_the_checkout() {
    let Some(folder) = checkout() else { return };
    let schemas = Schemas::of(&folder);
    let rules: Vec<String> = schemas.rules(CONFIG, &whole()).into_iter().collect();
    if let Some(path) = std::env::var_os("WHARF_SPEC_RULES") {
        std::fs::write(path, rules.join("\n") + "\n").unwrap();
    }
    let differ = rules.iter().map(String::as_str).zip(RULES.lines()).find(|(rule, line)| rule != line);
    assert_eq!((differ, rules.len()), (None, RULES.lines().count()));
    let elsewhere =
        ["/freebsd", "/process/commandLine", "/process/user/username", "/solaris", "/vm", "/windows", "/zos"];
    assert_eq!(schemas.absent(CONFIG, &whole()), BTreeSet::from(elsewhere.map(str::to_owned)));
    // Our own documents are judged as the schema judges them.
    for document in good() {
        assert_eq!(schemas.faults(CONFIG, &document), [""; 0], "{document}");
    }
    for (rule, document) in rules.iter().flat_map(|rule| broken(rule).into_iter().map(move |d| (rule, d))) {
        assert_ne!(schemas.faults(CONFIG, &document), [""; 0], "{rule}: {document}");
    }
}

#[test]
fn samples_of_the_checkout_are_judged_as_they_are_named() {
    let Some(folder) = checkout().filter(|_| is_ours()) else { return };
    let schemas = Schemas::of(&folder);
    let sandbox = Sandbox::shell("true", |_| ());
    let mut seen = 0;
    for kind in ["config", "features", "state"] {
        for (name, good) in [("good", true), ("bad", false)] {
            for path in files(&folder.join("schema/test").join(kind).join(name)) {
                let text = std::fs::read_to_string(&path).unwrap();
                let faults = serde_json::from_str(&text).map_or_else(
                    |error| vec![error.to_string()],
                    |document| schemas.faults(&format!("{kind}-schema.json"), &document),
                );
                assert_eq!(faults.is_empty(), good, "{}: {faults:?}", path.display());
                if kind == "config" {
                    let found = findings(&sandbox, &text);
                    assert_eq!(found.is_empty(), good, "{}: {found:?}", path.display());
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 0, "no samples in {}", folder.display());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn features_and_states_are_valid() {
    let Some(folder) = checkout() else { return };
    let schemas = Schemas::of(&folder);
    let sandbox = Sandbox::shell("sleep 100", |c| c["annotations"] = json!({"com.example.a": "b"}));
    let features = sandbox.verb(&["features"]).ok();
    let features = serde_json::from_str(&features).unwrap();
    assert_eq!(schemas.faults("features-schema.json", &features), [""; 0]);
    for (step, status) in [("create", "created"), ("start", "running"), ("kill", "stopped")] {
        match step {
            "create" => sandbox.create().ok(),
            "kill" => sandbox.verb(&["kill", &sandbox.id, "KILL"]).ok(),
            _ => sandbox.verb(&[step, &sandbox.id]).ok(),
        };
        sandbox.wait_for_status(status);
        let state = sandbox.state();
        assert_eq!(schemas.faults("state-schema.json", &state), [""; 0], "{state}");
    }
    sandbox.verb(&["delete", &sandbox.id]).ok();
}
