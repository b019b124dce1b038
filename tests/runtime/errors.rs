//! Wrong input: each error names the thing and the cause, and nothing is left behind.

use serde_json::{Value, json};
use wharf_tests::{Sandbox, is_ours};

#[test]
fn missing_broken_and_empty_configs_are_named() {
    let sandbox = Sandbox::shell("true", |_| ());
    let path = sandbox.bundle().join("config.json");
    std::fs::remove_file(&path).unwrap();
    sandbox.create().fails(1, &["config.json", "not found"]);
    if !is_ours() {
        return;
    }
    sandbox.write_config("{\n  \"ociVersion\": oops");
    sandbox.create().fails(1, &["config.json", "line 2 column 17"]);
    sandbox.write_config("null");
    sandbox.create().fails(1, &["config cannot be null"]);
    sandbox.assert_nothing_left();
}

#[test]
fn bad_values_are_refused_by_name_and_leave_nothing() {
    if !is_ours() {
        return;
    }
    type Change = fn(&mut Value);
    let cases: [(Change, &[&str]); 20] = [
        (|c| c["root"]["path"] = json!("nosuch"), &["root.path", "nosuch", "no such file or directory"]),
        (|c| c["process"]["args"] = json!(["nosuch"]), &["\"nosuch\"", "executable file not found in $PATH"]),
        (|c| c["process"]["args"] = json!(["/etc"]), &["/etc", "is a directory"]),
        (|c| c["process"]["args"] = json!(["/etc/passwd"]), &["/etc/passwd", "permission denied"]),
        (|c| c["process"]["args"] = json!([]), &["process.args"]),
        (|c| c["process"]["cwd"] = json!("rel"), &["process.cwd", "not an absolute path"]),
        (
            |c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_X", "soft": 1, "hard": 1}]),
            &["process.rlimits[0].type", "RLIMIT_X"],
        ),
        (
            |c| c["mounts"][0] = json!({"destination": "/m", "source": "/tmp", "options": ["bind", "nope"]}),
            &["mounts[0].options", "\"nope\""],
        ),
        (
            |c| c["mounts"][0] = json!({"destination": "/m", "source": "/nosuch", "options": ["bind"]}),
            &["/nosuch", "no such file or directory"],
        ),
        (|c| c["hooks"] = json!({"poststop": [{"path": "rel"}]}), &["hooks.poststop[0].path"]),
        (
            |c| c["linux"]["seccomp"] = json!({"defaultAction": "X"}),
            &["linux.seccomp.defaultAction", "\"X\""],
        ),
        (|c| c["process"]["apparmorProfile"] = json!("nosuch"), &["process.apparmorProfile"]),
        (|c| c["process"]["user"]["uid"] = json!(u32::MAX), &["process.user.uid", "stands for none"]),
        (|c| c["process"]["user"]["gid"] = json!(u32::MAX), &["process.user.gid", "stands for none"]),
        (
            |c| c["linux"]["devices"] = json!([{"type": "p", "path": "/dev/fifo", "gid": u32::MAX}]),
            &["linux.devices[0].gid", "stands for none"],
        ),
        (|c| c["hostname"] = json!("a\0b"), &["hostname: \"a\\0b\" is not a name"]),
        (
            |c| c["hooks"] = json!({"poststop": [{"path": "/bin/true", "args": ["a\0b"]}]}),
            &["hooks.poststop[0]: holds a NUL"],
        ),
        (|c| c["process"]["user"]["umask"] = json!(0o1022), &["process.user.umask", "above"]),
        (
            |c| {
                let map = json!([{"containerID": 0, "hostID": 1, "size": 1}]);
                c["mounts"][0]["options"] = json!(["idmap"]);
                (c["mounts"][0]["uidMappings"], c["mounts"][0]["gidMappings"]) = (map.clone(), map);
            },
            &["this kernel can't map the ids of such a file system: invalid argument"],
        ),
        (
            // Few enough for the kernel's count of lines, and too long for its buffer.
            |c| {
                let range = |id: u32| json!({"containerID": id, "hostID": 2_000_000_000 + 2 * id, "size": 1});
                c["linux"]["uidMappings"] = (0..340).map(range).collect();
                c["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 1, "size": 1}]);
                c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            },
            &["linux.uidMappings", "the kernel takes one of less than"],
        ),
    ];
    for (change, parts) in cases {
        let sandbox = Sandbox::shell("true", change);
        sandbox.create().fails(1, parts);
        sandbox.assert_nothing_left();
    }
}

#[test]
fn taken_and_malformed_ids_are_refused() {
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    sandbox.create().ok();
    sandbox.create().fails(1, &["container with given ID already exists"]);
    assert_eq!(sandbox.state()["status"], "created");
    let bundle = sandbox.bundle().to_str().unwrap().to_owned();
    for id in ["..", ".", "a b", "../x", "a\n"] {
        let said = sandbox.verb(&["create", "--bundle", &bundle, id]);
        assert_eq!(said.code, 1, "{id:?}: {said:?}");
    }
}

/// containerd reads the last record of level error; podman takes the whole file as one document.
#[test]
fn json_log_holds_one_record_for_a_failure_and_none_for_a_success() {
    let sandbox = Sandbox::shell("true", |_| ());
    let log = sandbox.bundle().join("log.json");
    let with_log = ["--log", log.to_str().unwrap(), "--log-format", "json", "--log-format=json"];
    let verb = |words: &[&str]| sandbox.verb(&[&with_log[..], words].concat());
    verb(&["features"]).ok();
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "");
    assert_eq!(verb(&["state", "nosuch"]).code, 1);
    let text = std::fs::read_to_string(&log).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["level"], "error");
    assert!(record["msg"].as_str().unwrap().contains("container does not exist"), "{text}");
    assert!(record["time"].as_str().unwrap().contains('T'));
}

#[test]
fn missing_option_value_says_so_in_the_words_that_engines_search_for() {
    let sandbox = Sandbox::shell("true", |_| ());
    sandbox.verb(&["create", "--bundle"]).fails(1, &["flag needs an argument"]);
}

/// As a shell: the program's own failing is not preceded by the story of who tried.
#[test]
fn program_that_cannot_be_executed_is_reported_in_one_plain_line() {
    let sandbox = Sandbox::new(&["/run.sh"], |_| ());
    let script = sandbox.rootfs().join("run.sh");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let said = sandbox.run();
    assert_ne!(said.code, 0);
    assert_eq!(said.err, "exec /run.sh: no such file or directory\n");
    sandbox.assert_nothing_left();
}

#[test]
fn debug_records_go_to_the_log_or_to_standard_error() {
    let sandbox = Sandbox::shell("echo hello", |_| ());
    let run = ["run", "--bundle", sandbox.bundle().to_str().unwrap(), &sandbox.id];
    let said = sandbox.verb(&[&["--debug"], &run[..]].concat());
    assert!(said.err.contains("level=debug msg=\"nsexec container setup"), "{}", said.err);
    assert!(said.err.contains("child process in init()"), "{}", said.err);
    assert_eq!(said.ok(), "hello\n");
    let log = sandbox.bundle().join("log.json");
    let to_file = ["--debug", "--log-format", "json", "--log", log.to_str().unwrap()];
    let said = sandbox.verb(&[&to_file, &run[..]].concat());
    assert_eq!((said.out.as_str(), said.err.as_str()), ("hello\n", ""));
    for line in std::fs::read_to_string(&log).unwrap().lines() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["level"], "debug", "{line}");
    }
}

#[test]
fn help_names_the_program_and_the_verb_as_they_were_called() {
    let sandbox = Sandbox::shell("true", |_| ());
    let name = wharf_tests::runtime_path().file_name().unwrap().to_string_lossy().into_owned();
    let heading = |verb: &[&str]| sandbox.verb(&[verb, &["--help"]].concat()).ok();
    assert!(heading(&[]).starts_with(&format!("NAME:\n   {name} - Open Container Initiative runtime")));
    let verbs =
        ["create", "start", "run", "exec", "state", "list", "ps", "kill", "delete", "pause", "resume"];
    let more = ["update", "events", "checkpoint", "restore", "spec", "features"];
    let of_ours: &[&str] = if is_ours() { &["validate"] } else { &[] };
    let general = heading(&[]);
    for verb in verbs.iter().chain(&more).chain(of_ours) {
        let text = heading(&[verb]);
        assert!(text.starts_with(&format!("NAME:\n   {name} {verb} - ")), "{text}");
        assert!(!text.lines().nth(1).unwrap().ends_with("- "), "{text}");
        assert!(general.contains(&format!("\n   {verb} ")), "{verb}");
        assert_eq!(sandbox.verb(&["help", verb]).ok(), text);
    }
    sandbox.verb(&["help", "nope"]).fails(1, &["No help topic for 'nope'"]);
    sandbox.verb(&["nope", "--help"]).fails(1, &["No help topic for 'nope'"]);
}

#[test]
fn features_and_version_are_what_engines_parse() {
    let sandbox = Sandbox::shell("true", |_| ());
    let version = sandbox.verb(&["--version"]).ok();
    assert!(
        version.lines().next().unwrap().contains(" version ") && version.contains("spec: 1."),
        "{version}"
    );
    if is_ours() {
        let features: Value = serde_json::from_str(&sandbox.verb(&["features"]).ok()).unwrap();
        assert!(features["mountOptions"].as_array().unwrap().contains(&json!("rro")));
        assert_eq!(features["linux"]["seccomp"]["enabled"], true);
    }
}
