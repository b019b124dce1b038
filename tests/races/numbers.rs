//! PIDs that come back: a foreign process that has got the number of a container's init is none of the container's.
//!
//! In a PID namespace of one's own the next number can be chosen (proc(5), ns_last_pid), so this needs neither a small
//! pid_max nor luck.

use std::process::Command;

use wharf_tests::{Said, Sandbox, skip};

/// Creates and starts the container, ends its init, gives its number to another process, and tries all that must not
/// touch that one. Prints what each command said, then whether the other still is as it was.
const SCRIPT: &str = r#"
say() { text=$("$@" 2>&1); echo "$? ${text//$'\n'/ }"; }
"$@" create --bundle "$BUNDLE" "$ID" </dev/null >/dev/null 2>&1 || exit 9
[ "$WHEN" = created ] || "$@" start "$ID"
pid=$(sed 's/.*"init":{"pid":\([0-9]*\).*/\1/' "$STATE")
kill -9 "$pid"
while [ -e "/proc/$pid" ]; do :; done
echo $((pid - 1)) >/proc/sys/kernel/ns_last_pid
sleep 1000 &
[ "$!" = "$pid" ] || exit 8
say "$@" kill "$ID" KILL
say "$@" kill --all "$ID" KILL
say "$@" state "$ID"
say "$@" exec "$ID" true
say "$@" pause "$ID"
say "$@" resume "$ID"
say "$@" update --pids-limit 7 "$ID"
say "$@" start "$ID"
say "$@" delete --force "$ID"
cat "/proc/$pid/comm" "/proc/$pid/cgroup" /proc/self/cgroup
grep State: "/proc/$pid/status"
"#;

#[test]
fn process_with_the_number_of_a_dead_init_is_left_alone() {
    if !std::path::Path::new("/proc/sys/kernel/ns_last_pid").exists() {
        skip("this kernel does not let numbers be chosen (CONFIG_CHECKPOINT_RESTORE)");
        return;
    }
    for when in ["created", "running", "created", "running"] {
        let sandbox = Sandbox::new(&["sleep", "1000"], |_| ());
        let verb = sandbox.command();
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c", SCRIPT, "bash"]);
        command.arg(verb.get_program()).args(verb.get_args()).env("ID", &sandbox.id).env("WHEN", when);
        command
            .env("BUNDLE", sandbox.bundle())
            .env("STATE", sandbox.root().join(&sandbox.id).join("state.json"));
        let said = Said::from(command.output().unwrap());
        assert_eq!(said.code, 0, "{said:?}");
        let lines: Vec<&str> = said.out.lines().collect();
        let stopped = [
            (1, "container not running"),   // kill
            (0, ""),                        // kill --all: nobody is there to be signalled
            (0, "\"status\": \"stopped\""), // state
            (255, "stopped container"),     // exec
            (1, "not running"),             // pause
            (1, "not running"),             // resume
            (1, "not running"),             // update
            (1, "has stopped"),             // start
            (0, ""),                        // delete
        ];
        for (line, (code, text)) in lines.iter().zip(stopped) {
            assert!(line.starts_with(&format!("{code} ")) && line.contains(text), "{line}: {said:?}");
        }
        assert!(lines[2].contains("\"pid\": 0"), "{}", lines[2]);
        let rest = &lines[stopped.len()..];
        assert_eq!((rest[0], *rest.last().unwrap()), ("sleep", "State:\tS (sleeping)"), "{said:?}");
        let groups = &rest[1..rest.len() - 1];
        assert_eq!(groups[..groups.len() / 2], groups[groups.len() / 2..], "it was moved");
        sandbox.assert_nothing_left();
    }
}
