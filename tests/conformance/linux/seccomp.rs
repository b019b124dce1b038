//! config-linux.md: "Seccomp": the sentences that bind; and each action and operator at work.

use serde_json::{Value, json};

use crate::container::{Container, accepted, inside, refused, required};

section! { SECTION = "config-linux.md" # "configLinuxSeccomp";
    "defaultAction (string, REQUIRED) - the default action for seccomp." => [seccomp_without_a_default_action_is_refused],
    "When the action doesn't support an errno, the runtime MUST print and error and fail." => [
        default_errno_of_an_action_without_one_is_refused, errno_of_an_action_without_one_is_refused],
}

section! { CALLS = "config-linux.md" # "configLinuxSeccomp (syscalls)";
    "names (array of strings, REQUIRED) - the names of the syscalls." => [seccomp_rule_without_names_is_refused],
    "names MUST contain at least one entry." => [seccomp_rule_with_no_name_is_refused],
    "action (string, REQUIRED) - the action for seccomp rules." => [seccomp_rule_without_an_action_is_refused],
    "index (uint, REQUIRED) - the index for syscall arguments in seccomp." => [seccomp_argument_without_an_index_is_refused],
    "value (uint64, REQUIRED) - the value for syscall arguments in seccomp." => [seccomp_argument_without_a_value_is_refused],
    "op (string, REQUIRED) - the operator for syscall arguments in seccomp." => [seccomp_argument_without_an_operator_is_refused],
}

/// A filter that lets all pass but what one rule matches.
pub fn rule(rule: &Value) -> impl Fn(&mut Value) + use<> {
    let filter = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    move |c| c["linux"]["seccomp"] = filter.clone()
}

/// The calls that mkdir(1) makes.
fn mkdir(action: &str) -> Value {
    json!({"names": ["mkdir", "mkdirat"], "action": action})
}

fn seccomp_without_a_default_action_is_refused() {
    required("/linux/seccomp/defaultAction", rule(&mkdir("SCMP_ACT_ERRNO")));
}

fn default_errno_of_an_action_without_one_is_refused() {
    accepted(|c| c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW"}));
    for action in ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"] {
        let said =
            refused(|c| c["linux"]["seccomp"] = json!({"defaultAction": action, "defaultErrnoRet": 38}));
        assert!(!said.is_empty(), "nothing printed");
    }
}

fn errno_of_an_action_without_one_is_refused() {
    for action in
        ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP", "SCMP_ACT_LOG"]
    {
        let mut with_errno = mkdir(action);
        with_errno["errnoRet"] = json!(38);
        let said = refused(rule(&with_errno));
        assert!(!said.is_empty(), "nothing printed");
    }
}

fn seccomp_rule_without_names_is_refused() {
    required("/linux/seccomp/syscalls/0/names", rule(&mkdir("SCMP_ACT_ERRNO")));
}

fn seccomp_rule_with_no_name_is_refused() {
    refused(rule(&json!({"names": [], "action": "SCMP_ACT_ERRNO"})));
}

fn seccomp_rule_without_an_action_is_refused() {
    required("/linux/seccomp/syscalls/0/action", rule(&mkdir("SCMP_ACT_ERRNO")));
}

/// kill(2) with a signal that compares.
fn signal(op: &str, value: u64, value_two: u64) -> Value {
    let compared = json!({"index": 1, "value": value, "valueTwo": value_two, "op": op});
    json!({"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [compared]})
}

fn argument_without(field: &str) {
    required(&format!("/linux/seccomp/syscalls/0/args/0/{field}"), rule(&signal("SCMP_CMP_EQ", 12, 0)));
}

fn seccomp_argument_without_an_index_is_refused() {
    argument_without("index");
}

fn seccomp_argument_without_a_value_is_refused() {
    argument_without("value");
}

fn seccomp_argument_without_an_operator_is_refused() {
    argument_without("op");
}

pub fn seccomp_errno_is_the_one_configured() {
    let refusal = |errno: Option<u32>| {
        let mut with_errno = mkdir("SCMP_ACT_ERRNO");
        if let Some(errno) = errno {
            with_errno["errnoRet"] = json!(errno);
        }
        inside("mkdir /made 2>&1; true", rule(&with_errno))
    };
    assert!(refusal(None).contains("Operation not permitted"));
    assert!(refusal(Some(28)).contains("No space left"));
    let out = inside("mkdir /made 2>&1; true", rule(&mkdir("SCMP_ACT_TRACE")));
    assert!(out.contains("not implemented"), "without a tracer it is ENOSYS (seccomp(2)): {out}");
}

/// 159 is the shell's word for SIGSYS.
pub fn seccomp_actions_kill_trap_and_allow() {
    for (action, status) in [
        ("SCMP_ACT_KILL", "159"),
        ("SCMP_ACT_KILL_THREAD", "159"),
        ("SCMP_ACT_KILL_PROCESS", "159"),
        ("SCMP_ACT_TRAP", "159"),
        ("SCMP_ACT_ALLOW", "0"),
        ("SCMP_ACT_LOG", "0"),
    ] {
        let out = inside("sh -c 'mkdir /made' 2>/dev/null; echo $?", rule(&mkdir(action)));
        assert_eq!(out.trim(), status, "{action}");
    }
}

/// Which of the signals 10, 12 and 14 are refused by a comparison with 12.
pub fn seccomp_operators_compare_as_configured() {
    let refused_signals = |op: &str, value: u64, value_two: u64| {
        let script = "trap : 10 12 14; for s in 10 12 14; do kill -$s $$ 2>/dev/null || echo $s; done";
        inside(script, rule(&signal(op, value, value_two))).replace('\n', " ")
    };
    for (op, expected) in [
        ("SCMP_CMP_NE", "10 14 "),
        ("SCMP_CMP_LT", "10 "),
        ("SCMP_CMP_LE", "10 12 "),
        ("SCMP_CMP_EQ", "12 "),
        ("SCMP_CMP_GE", "12 14 "),
        ("SCMP_CMP_GT", "14 "),
    ] {
        assert_eq!(refused_signals(op, 12, 0), expected, "{op}");
    }
    assert_eq!(
        refused_signals("SCMP_CMP_MASKED_EQ", 0b110, 0b100),
        "12 ",
        "of 1010, 1100, 1110 under 0110 is 0100"
    );
}

pub fn seccomp_filters_exec_too() {
    let container = Container::sleeping(rule(&mkdir("SCMP_ACT_ERRNO"))).started();
    assert_eq!(container.exec("mkdir /made 2>/dev/null || echo refused").ok(), "refused\n");
}
