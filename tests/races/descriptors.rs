//! What is open in a container: of the parked init, and of a program when it is executed. The lists are written down
//! here; whatever a caller leaves open, or closes, changes nothing of them.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::json;
use wharf_tests::{Said, Sandbox, wait_until};

use crate::order::everything;

/// What careless callers do to their descriptors before they execute the runtime.
const CALLERS: [&str; 5] = [
    "",
    "exec 77</",
    "exec 3</etc 4</ 5</proc 9>/dev/null 200</ 1000</",
    "exec 0<&- 1>&- 2>&-",
    "exec 0<&- 1>&- 2>&- 10</",
];

/// Runs a verb by such a caller. Its output goes nowhere: it may be closed.
fn run_by(caller: &str, sandbox: &Sandbox, words: &[&str]) -> Said {
    let verb = sandbox.command();
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{caller}\nexec \"$@\""), "bash"]).arg(verb.get_program());
    command.args(verb.get_args()).args(words);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    let status = command.stderr(std::process::Stdio::null()).status().unwrap();
    std::process::Output { status, stdout: Vec::new(), stderr: Vec::new() }.into()
}

/// The descriptors of a process by number, without those that it closes meanwhile.
fn descriptors(pid: &str) -> BTreeMap<u32, String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(Result::unwrap);
    let named = entries.filter_map(|entry| {
        let target = std::fs::read_link(entry.path()).ok()?;
        Some((entry.file_name().to_str().unwrap().parse().unwrap(), target.display().to_string()))
    });
    named.collect()
}

#[test]
fn parked_init_holds_the_standard_streams_and_its_two_pipes() {
    for caller in CALLERS {
        for log in [false, true] {
            let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
            let file = sandbox.bundle().join("log");
            let mut words = vec!["create", "--bundle", sandbox.bundle().to_str().unwrap(), &sandbox.id];
            if log {
                words.splice(0..0, ["--debug", "--log", file.to_str().unwrap()]);
            }
            run_by(caller, &sandbox, &words).ok();
            let folder = sandbox.root().join(&sandbox.id);
            let pid = sandbox.state()["pid"].to_string();
            let pipes = ["exec.fifo", "result/exec.fifo"].map(|name| folder.join(name).display().to_string());
            // `create` does not wait until init has closed the dialogue and the log.
            wait_until(&format!("init to let go of all others after {caller:?}"), || {
                descriptors(&pid)
                    .into_iter()
                    .filter(|(fd, _)| *fd > 2)
                    .map(|(_, name)| name)
                    .eq(pipes.clone())
            });
            let streams = descriptors(&pid).into_iter().filter(|(fd, _)| *fd < 3);
            assert_eq!(streams.map(|(_, name)| name).collect::<Vec<_>>(), ["/dev/null"; 3]);
        }
    }
}

#[test]
fn program_has_the_standard_streams_and_what_was_preserved() {
    // The shell itself has the folder open while it makes the list: what is gone afterwards is left out.
    let list = "set -- /proc/$$/fd/*; { for f; do [ -h $f ] && echo -n \"$f \"; done; echo; } > /tmp/open";
    for caller in CALLERS {
        let sandbox = Sandbox::shell(&format!("{list}; while [ ! -e /tmp/end ]; do sleep 1; done"), |_| ());
        let bundle = sandbox.bundle().to_str().unwrap();
        let open = sandbox.rootfs().join("tmp/open");
        let take = |expected: &str| {
            wharf_tests::wait_until("the list", || {
                std::fs::read_to_string(&open).is_ok_and(|t| t.ends_with('\n'))
            });
            let text = std::fs::read_to_string(&open).unwrap();
            std::fs::remove_file(&open).unwrap();
            let numbers: Vec<&str> =
                text.split_whitespace().map(|path| path.rsplit('/').next().unwrap()).collect();
            assert_eq!(numbers, expected.split(' ').collect::<Vec<_>>(), "after {caller:?}");
        };
        run_by(caller, &sandbox, &["run", "--detach", "--bundle", bundle, &sandbox.id]).ok();
        take("0 1 2");
        run_by(caller, &sandbox, &["exec", &sandbox.id, "sh", "-c", list]).ok();
        take("0 1 2");
        let preserving = format!("{caller}\nexec 3</etc/hostname 4</etc/hostname 5</");
        let words = ["exec", "--preserve-fds", "2", &sandbox.id, "sh", "-c", list];
        run_by(&preserving, &sandbox, &words).ok();
        take("0 1 2 3 4");
        sandbox.verb(&["delete", "--force", &sandbox.id]).ok();
        sandbox.assert_nothing_left();
    }
}

/// CVE-2024-21626: a working directory that is a descriptor which somebody left open.
#[test]
fn working_directory_is_never_a_descriptor() {
    let last = if everything() { 1023 } else { 12 };
    let numbers = || (0..=last).chain([77, 200, 1000, 1023]);
    let caller = "for n in {3..60} 77 200 1000 1023; do eval \"exec $n</\"; done";
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
    let link = |number: u32| {
        let path = sandbox.rootfs().join("out");
        std::fs::remove_file(&path).ok();
        std::os::unix::fs::symlink(format!("/proc/self/fd/{number}"), &path).unwrap();
    };
    let bundle = sandbox.bundle().to_str().unwrap();
    let config = std::fs::read_to_string(sandbox.bundle().join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    for number in numbers() {
        link(number);
        for cwd in
            [format!("/proc/self/fd/{number}"), format!("/proc/self/fd/{number}/.."), "/out".to_owned()]
        {
            config["process"]["cwd"] = json!(cwd);
            sandbox.write_config(&config.to_string());
            let said = run_by(caller, &sandbox, &["create", "--bundle", bundle, &sandbox.id]);
            assert_eq!(said.code, 1, "create in {cwd}, descriptor {number}");
            sandbox.assert_nothing_left();
        }
    }
    config["process"]["cwd"] = json!("/");
    sandbox.write_config(&config.to_string());
    sandbox.start();
    for number in numbers() {
        link(number);
        for cwd in
            [format!("/proc/self/fd/{number}"), format!("/proc/self/fd/{number}/.."), "/out".to_owned()]
        {
            let said = run_by(caller, &sandbox, &["exec", "--cwd", &cwd, &sandbox.id, "true"]);
            assert_eq!(said.code, 255, "exec in {cwd}, descriptor {number}");
        }
    }
}
