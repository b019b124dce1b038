//! The texts that engines search our errors for, and the records that they read them from.
//!
//! Each row is one real command that fails. It is run three times: without a log, with a JSON log and with a text
//! log; the texts must stand in all three, and each log must hold exactly one record. The texts are shown right on
//! runc (`RUNTIME=runc`), whose words they are; code, errno, path and field are ours alone.
//!
//! Some of what engines search for are other words for the same, for other runtimes or Go's library, and no row is
//! needed: `os: process already finished` and `invalid process` beside `container not running`, `requires an
//! argument` beside `flag needs an argument`, `open executable` and `failed to run runc create/exec call` beside
//! `executable file not found in $PATH`. `no such process` takes a race; the runtime's own tests hold its letters.

use serde_json::{Value, json};
use wharf_tests::{Said, Sandbox, is_ours, skip};

/// How far the container is when the command comes.
#[derive(Clone, Copy)]
enum Stage {
    None,
    Created,
    Running,
    Paused,
    Stopped,
}

/// One command that fails.
struct Row {
    /// Who searches for it, and where.
    who: &'static str,
    /// The verb and its words; ID and BUNDLE stand for the container's.
    command: &'static [&'static str],
    stage: Stage,
    config: fn(&mut Value),
    code: i32,
    /// What the message must hold.
    says: &'static [&'static str],
    /// Whether the runc of Debian 12 says something else than newer ones.
    newer: bool,
    /// `code`, `errno` and `field` of the record.
    record: [&'static str; 3],
}

impl Default for Row {
    fn default() -> Row {
        Row {
            who: "",
            command: &[],
            stage: Stage::None,
            config: |_| (),
            code: 1,
            says: &[],
            newer: false,
            record: ["", "", ""],
        }
    }
}

const CREATE: &[&str] = &["create", "--bundle", "BUNDLE", "ID"];
const ENOENT: &str = "no such file or directory";

/// containerd 1.6 pkg/process/utils.go and init.go; moby 20.10 daemon/errors.go; podman 4.3 libpod/oci_util.go;
/// CRI-O internal/oci/runtime_oci.go.
fn rows() -> Vec<Row> {
    let mut rows = of_missing_and_stopped_containers();
    rows.extend(of_programs());
    rows.extend(of_states());
    rows.extend(of_words());
    rows.retain(|row| is_ours() || !row.newer);
    rows
}

fn of_missing_and_stopped_containers() -> Vec<Row> {
    let missing = |who, command| Row {
        who,
        command,
        says: &["does not exist", "container does not exist"],
        record: ["not-found", "", ""],
        ..Row::default()
    };
    let stopped = |who, command| Row {
        who,
        command,
        stage: Stage::Stopped,
        says: &["container not running"],
        record: ["wrong-status", "", ""],
        ..Row::default()
    };
    vec![
        missing("containerd: Delete of a container that is gone is no error", &["delete", "ID"]),
        missing("containerd: Kill says NotFound", &["kill", "ID", "9"]),
        missing("CRI-O: state of a container that is gone", &["state", "ID"]),
        missing("people: start", &["start", "ID"]),
        stopped("containerd, CRI-O: Kill says NotFound", &["kill", "ID", "9"]),
        stopped("buildah: kill without a signal", &["kill", "ID"]),
        stopped("people: pause", &["pause", "ID"]),
    ]
}

fn of_programs() -> Vec<Row> {
    let create =
        |who, config, says, record| Row { who, command: CREATE, config, says, record, ..Row::default() };
    let exec = |who, command, says, record| Row {
        who,
        command,
        stage: Stage::Running,
        code: 255,
        says,
        record,
        ..Row::default()
    };
    const PROGRAM: &str = "/process/args/0";
    vec![
        create(
            "docker, podman: exit code 127",
            |c| c["process"]["args"] = json!(["nosuch"]),
            &["exec: \"nosuch\": executable file not found in $PATH"],
            ["not-found", "ENOENT", PROGRAM],
        ),
        create(
            "docker, podman: exit code 127",
            |c| c["process"]["args"] = json!(["/nosuch"]),
            &["exec: \"/nosuch\": stat /nosuch: no such file or directory"],
            ["not-found", "ENOENT", PROGRAM],
        ),
        create(
            "docker, podman: exit code 126",
            |c| c["process"]["args"] = json!(["/etc/passwd"]),
            &["exec: \"/etc/passwd\"", "permission denied"],
            ["not-found", "EACCES", PROGRAM],
        ),
        Row {
            newer: true,
            ..create(
                "docker: exit code 126",
                |c| c["process"]["args"] = json!(["/etc"]),
                &["exec: \"/etc\"", "is a directory"],
                ["not-found", "EISDIR", PROGRAM],
            )
        },
        create(
            "docker: exit code 127, and a hint about files mounted onto directories",
            |c| {
                c["mounts"][0] =
                    json!({"destination": "/etc", "source": "/proc/version", "options": ["bind"]})
            },
            &["not a directory"],
            ["system", "ENOTDIR", "/mounts/0"],
        ),
        create(
            "docker, podman: exit code 127",
            |c| c["mounts"][0] = json!({"destination": "/a", "source": "/nosuch", "options": ["bind"]}),
            &["/nosuch", ENOENT],
            ["not-found", "ENOENT", "/mounts/0/source"],
        ),
        create(
            "docker: exit code 127",
            |c| c["process"]["args"] = json!(["/etc/passwd/x"]),
            &["exec: \"/etc/passwd/x\": stat /etc/passwd/x: not a directory"],
            ["not-found", "ENOTDIR", PROGRAM],
        ),
        create(
            "docker, podman: exit code 127, for want of a name",
            |c| c["process"]["args"] = json!([""]),
            &["exec: \"\": executable file not found in $PATH"],
            ["not-found", "ENOENT", PROGRAM],
        ),
        exec(
            "docker, podman: exec exits with 127",
            &["exec", "ID", "nosuch"],
            &["exec: \"nosuch\": executable file not found in $PATH"],
            ["not-found", "ENOENT", PROGRAM],
        ),
        exec(
            "docker, podman: exec exits with 127",
            &["exec", "ID", "/nosuch"],
            &["\"/nosuch\": stat /nosuch: no such file or directory"],
            ["not-found", "ENOENT", PROGRAM],
        ),
        exec(
            "docker, podman: exec exits with 126",
            &["exec", "ID", "/etc/passwd"],
            &["/etc/passwd", "permission denied"],
            ["not-found", "EACCES", PROGRAM],
        ),
    ]
}

fn of_states() -> Vec<Row> {
    let row = |who, command, stage, says| Row {
        who,
        command,
        stage,
        says,
        record: ["wrong-status", "", ""],
        ..Row::default()
    };
    vec![
        Row {
            record: ["already-exists", "", ""],
            ..row("people: create", CREATE, Stage::Created, &["container with given ID already exists"])
        },
        row(
            "containerd's tests: start",
            &["start", "ID"],
            Stage::Running,
            &["cannot start an already running container"],
        ),
        row(
            "people: start",
            &["start", "ID"],
            Stage::Stopped,
            &["cannot start a container that has stopped"],
        ),
        row(
            "people: delete",
            &["delete", "ID"],
            Stage::Running,
            &["cannot delete container", "that is not stopped: running"],
        ),
        row("people: resume", &["resume", "ID"], Stage::Running, &["container not paused"]),
        Row {
            code: 255,
            ..row(
                "people: exec",
                &["exec", "ID", "true"],
                Stage::Stopped,
                &["cannot exec in a stopped container"],
            )
        },
        Row {
            code: 255,
            ..row(
                "people: exec",
                &["exec", "ID", "true"],
                Stage::Paused,
                &["cannot exec in a paused container (use --ignore-paused to override)"],
            )
        },
    ]
}

fn of_words() -> Vec<Row> {
    let row = |who, command, says| Row { who, command, says, record: ["invalid", "", ""], ..Row::default() };
    vec![
        row(
            "podman, CRI-O: whether checkpoints go into pods",
            &["restore", "--lsm-mount-context"],
            &["flag needs an argument"],
        ),
        Row {
            config: |c| c["process"]["terminal"] = json!(true),
            ..row("people: create -t", CREATE, &["cannot allocate tty if", "will detach without"])
        },
    ]
}

fn prepare(row: &Row) -> Sandbox {
    // A config that can't be created would be in the way of what comes before.
    let sandbox = match row.stage {
        Stage::None => Sandbox::new(&["sleep", "1000"], row.config),
        Stage::Stopped => Sandbox::new(&["true"], row.config),
        _ => Sandbox::new(&["sleep", "1000"], row.config),
    };
    match row.stage {
        Stage::None => {}
        Stage::Created => drop(sandbox.create().ok()),
        Stage::Running => sandbox.start(),
        Stage::Paused => {
            sandbox.start();
            sandbox.verb(&["pause", &sandbox.id]).ok();
        }
        Stage::Stopped => {
            sandbox.start();
            sandbox.wait_for_status("stopped");
        }
    }
    sandbox
}

/// Runs the row's command with further global options.
fn run(sandbox: &Sandbox, row: &Row, options: &[&str]) -> Said {
    let bundle = sandbox.bundle().to_str().unwrap();
    let words = row.command.iter().map(|word| match *word {
        "ID" => sandbox.id.as_str(),
        "BUNDLE" => bundle,
        other => other,
    });
    sandbox.verb(&options.iter().copied().chain(words).collect::<Vec<_>>())
}

/// The file that `--log FORMAT` was written to, with one failure in it.
fn logged(sandbox: &Sandbox, row: &Row, format: &str) -> String {
    let log = sandbox.bundle().join(format!("log.{format}"));
    let said = run(sandbox, row, &["--log", log.to_str().unwrap(), "--log-format", format]);
    assert_eq!(said.code, row.code, "{}: {said:?}", row.who);
    std::fs::read_to_string(&log).unwrap()
}

#[track_caller]
fn assert_says(row: &Row, text: &str) {
    for part in row.says {
        assert!(text.contains(part), "{} ({:?}): no {part:?} in {text}", row.who, row.command);
    }
}

#[test]
fn errors_hold_the_words_that_engines_search_for() {
    for row in rows() {
        let sandbox = prepare(&row);
        let said = run(&sandbox, &row, &[]);
        assert_eq!(said.code, row.code, "{} ({:?}): {said:?}", row.who, row.command);
        // runc's own is a log line, with quotes in its quotes.
        assert_says(&row, &said.err.replace("\\\"", "\""));
        if is_ours() {
            assert_eq!(said.err.lines().count(), 1, "{}: more than one line: {}", row.who, said.err);
        }
    }
}

#[test]
fn json_log_of_a_failure_is_one_record() {
    for row in rows() {
        let sandbox = prepare(&row);
        let text = logged(&sandbox, &row, "json");
        // As podman reads it: the whole file is one document.
        let record: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(record["level"], "error");
        assert_says(&row, record["msg"].as_str().unwrap());
        assert!(is_rfc3339(record["time"].as_str().unwrap()), "{text}");
        if is_ours() {
            let field = |name: &str| record[name].as_str().unwrap_or_default();
            assert_eq!(
                ["code", "errno", "field"].map(field),
                row.record,
                "{} ({:?}): {text}",
                row.who,
                row.command
            );
        }
    }
}

#[test]
fn text_log_of_a_failure_is_one_line_in_the_form_of_logrus() {
    for row in rows() {
        let sandbox = prepare(&row);
        let text = logged(&sandbox, &row, "text");
        assert_eq!(text.lines().count(), 1, "{text}");
        let (time, rest) = text.strip_prefix("time=\"").unwrap().split_once("\" level=error msg=").unwrap();
        assert!(is_rfc3339(time), "{text}");
        // The message is in quotes and its own are escaped, so it can be told from what follows.
        let message: String = serde_json::Deserializer::from_str(rest).into_iter().next().unwrap().unwrap();
        assert_says(&row, &message);
    }
}

/// `2026-01-02T03:04:05[.678]Z`, or an offset: Go's decoder stops at anything else.
fn is_rfc3339(time: &str) -> bool {
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let (seconds, rest) = shape.split_at_checked(19).unwrap_or_default();
    let rest = rest.strip_prefix('.').map_or(rest, |rest| rest.trim_start_matches('0'));
    seconds == "0000-00-00T00:00:00" && (rest == "Z" || matches!(rest, "+00:00" | "-00:00"))
}

#[test]
fn warnings_stay_out_of_the_log_unless_debug_asks_for_more() {
    if !is_ours() {
        return;
    }
    let unknown = json!({"bounding": ["CAP_FLY"], "effective": ["CAP_KILL"]});
    let sandbox = Sandbox::new(&["nosuch"], |c| c["process"]["capabilities"] = unknown);
    let row = Row { command: CREATE, ..Row::default() };
    let records = |options: &[&str]| -> Vec<Value> {
        let log = sandbox.bundle().join("log");
        std::fs::remove_file(&log).ok();
        let options = [options, &["--log", log.to_str().unwrap(), "--log-format", "json"]].concat();
        assert_eq!(run(&sandbox, &row, &options).code, 1);
        let text = std::fs::read_to_string(&log).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    assert_eq!(records(&[]).len(), 1);
    let all = records(&["--debug"]);
    assert!(all.iter().any(|r| r["level"] == "warning" && r["msg"].as_str().unwrap().contains("CAP_FLY")));
    // containerd takes the last one.
    let errors = all.iter().filter(|record| record["level"] == "error").count();
    assert_eq!((errors, &all.last().unwrap()["level"]), (1, &json!("error")), "{all:#?}");
}

/// And a second failure is a second record behind the first: the file is the engine's, which may keep it for long.
#[test]
fn json_log_of_a_success_is_empty_whatever_there_was_to_warn_of() {
    let sets =
        json!({"bounding": ["CAP_FLY", "CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]});
    let sandbox = Sandbox::new(&["sleep", "1000"], |c| c["process"]["capabilities"] = sets);
    let log = sandbox.bundle().join("log.json");
    let options = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    let verb = |words: &[&str]| sandbox.verb(&[&options[..], words].concat());
    let (id, bundle) = (sandbox.id.as_str(), sandbox.bundle().to_str().unwrap());
    let commands: [&[&str]; 12] = [
        &["--version"],
        &["features"],
        &["create", "--bundle", bundle, id],
        &["state", id],
        &["start", id],
        &["exec", id, "true"],
        &["ps", "--format", "json", id],
        &["pause", id],
        &["resume", id],
        &["update", "--pids-limit", "100", id],
        &["kill", id, "KILL"],
        &["delete", "--force", id],
    ];
    for command in commands {
        let said = verb(command);
        assert_eq!(said.code, 0, "{command:?}: {said:?}");
        // What engines read as one with standard output has nothing to warn of.
        let is_read = !["create", "exec"].contains(&command[0]);
        assert!(!is_read || said.err.is_empty(), "{command:?}: {said:?}");
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        assert!(!is_ours() || text.is_empty(), "{command:?}: {text}");
    }
    std::fs::remove_file(&log).unwrap();
    for _ in 0..2 {
        assert_eq!(verb(&["kill", id, "KILL"]).code, 1);
    }
    let text = std::fs::read_to_string(&log).unwrap();
    let levels = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["level"].clone());
    assert_eq!(levels.collect::<Vec<_>>(), ["error", "error"]);
}

#[test]
fn start_of_what_can_not_be_executed_tells_code_and_errno() {
    if !is_ours() {
        return;
    }
    // Found by `create`, and gone when `start` comes to execute it: the error comes from the other process.
    let sandbox = Sandbox::new(&["/bin/tool"], |_| ());
    let tool = sandbox.rootfs().join("bin/tool");
    std::fs::copy("/bin/busybox", &tool).unwrap();
    sandbox.create().ok();
    std::fs::remove_file(&tool).unwrap();
    let row = Row { command: &["start", "ID"], ..Row::default() };
    let record: Value = serde_json::from_str(&logged(&sandbox, &row, "json")).unwrap();
    assert_eq!(record["errno"], "ENOENT", "{record}");
    assert_eq!(record["path"], "/bin/tool");
    assert_eq!(record["field"], "/process/args/0");
    assert!(record["msg"].as_str().unwrap().contains(ENOENT));
}

#[test]
fn documents_that_are_no_json_are_told_with_line_and_column() {
    if !is_ours() {
        return;
    }
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    sandbox.start();
    let file = sandbox.bundle().join("process.json");
    let exec = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let log = sandbox.bundle().join("log.json");
        std::fs::remove_file(&log).ok();
        let options = ["--log", log.to_str().unwrap(), "--log-format=json", "exec", "--process"];
        let words = [&options[..], &[file.to_str().unwrap(), sandbox.id.as_str()]].concat();
        assert_eq!(sandbox.verb(&words).code, 255);
        serde_json::from_str::<Value>(&std::fs::read_to_string(&log).unwrap()).unwrap()
    };
    let record = exec("{\n\"args\": [\"true\",]}");
    assert!(record["msg"].as_str().unwrap().contains("line 2 column 17"), "{record}");
    assert_eq!((&record["code"], &record["path"]), (&json!("invalid"), &json!(file)));
    let record = exec("{\n\"args\": \"true\"}");
    assert!(record["msg"].as_str().unwrap().contains("(line 2 column "), "{record}");
    assert_eq!(record["field"], "/args");
}

/// containerd shows the first line, and copies the log that the second one names.
#[test]
fn failure_of_criu_is_told_on_the_first_line() {
    if std::process::Command::new("criu").arg("--version").output().is_err() {
        skip("there is no criu");
        return;
    }
    let sandbox = Sandbox::shell("true", |_| ());
    let images = sandbox.bundle().join("images");
    std::fs::create_dir(&images).unwrap();
    std::fs::write(images.join("descriptors.json"), "[\"/dev/null\",\"/dev/null\",\"/dev/null\"]").unwrap();
    let log = sandbox.bundle().join("log.json");
    let (bundle, images) = (sandbox.bundle().to_str().unwrap(), images.to_str().unwrap());
    let options = ["--log", log.to_str().unwrap(), "--log-format=json", "restore", "--bundle", bundle];
    let paths = ["--image-path", images, "--work-path", bundle, sandbox.id.as_str()];
    assert_eq!(sandbox.verb(&[&options[..], &paths].concat()).code, 1);
    let record: Value = serde_json::from_str(&std::fs::read_to_string(&log).unwrap()).unwrap();
    let mut lines = record["msg"].as_str().unwrap().lines();
    assert!(lines.next().unwrap().contains("criu failed: type RESTORE errno 0"), "{record}");
    assert_eq!(lines.next().unwrap(), format!("log file: {bundle}/restore.log"));
}

/// podman takes the backquoted path out of the message to tell which kind of label failed.
#[test]
fn label_that_can_not_be_set_is_told_with_its_file_in_backquotes() {
    let loaded = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if !loaded.is_ok_and(|text| text.starts_with('Y')) {
        skip("AppArmor is off (scripts/guest has it)");
        return;
    }
    let sandbox = Sandbox::shell("true", |c| c["process"]["apparmorProfile"] = json!("no-such-profile"));
    let said = sandbox.create();
    assert_eq!(said.code, 1, "{said:?}");
    let path = said.err.split('`').nth(1).unwrap_or_default();
    assert!(path.starts_with("/proc/") && path.contains("/attr/") && path.ends_with("/exec"), "{said:?}");
}

#[test]
fn wrong_global_option_is_logged_where_the_others_say() {
    if !is_ours() {
        return;
    }
    let sandbox = Sandbox::shell("true", |_| ());
    let row = Row { command: &["--nope", "state", "ID"], ..Row::default() };
    let record: Value = serde_json::from_str(&logged(&sandbox, &row, "json")).unwrap();
    assert!(record["msg"].as_str().unwrap().contains("--nope"), "{record}");
}

#[test]
fn config_that_is_there_already_is_not_written_over() {
    let sandbox = Sandbox::shell("true", |_| ());
    let before = std::fs::read(sandbox.bundle().join("config.json")).unwrap();
    let words = ["spec", "--bundle", sandbox.bundle().to_str().unwrap()];
    sandbox.verb(&words).fails(1, &["File config.json exists. Remove it first"]);
    assert_eq!(std::fs::read(sandbox.bundle().join("config.json")).unwrap(), before);
}
