//! `process`: user, groups, environment, limits, capabilities and the rest of config.md, "Process".

use serde_json::{Value, json};

use crate::dice::Dice;
use crate::place::Host;

const CAPABILITIES: [&str; 16] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
    "CAP_SYS_ADMIN",
    "CAP_SYS_NICE",
];

/// Soft limits that leave both runtimes and the probe enough to work with; the host's hard limit caps them.
const RLIMITS: [(&str, u64); 16] = [
    ("RLIMIT_CPU", 100),
    ("RLIMIT_FSIZE", 1 << 30),
    ("RLIMIT_DATA", 1 << 36),
    ("RLIMIT_STACK", 1 << 22),
    ("RLIMIT_CORE", 0),
    ("RLIMIT_RSS", 1 << 30),
    ("RLIMIT_NPROC", 8192),
    ("RLIMIT_NOFILE", 512),
    ("RLIMIT_MEMLOCK", 65536),
    ("RLIMIT_AS", 1 << 36),
    ("RLIMIT_LOCKS", 100),
    ("RLIMIT_SIGPENDING", 1000),
    ("RLIMIT_MSGQUEUE", 4096),
    ("RLIMIT_NICE", 0),
    ("RLIMIT_RTPRIO", 0),
    ("RLIMIT_RTTIME", 1 << 40),
];

/// Writes `process`.
pub fn put(dice: &Dice, host: &Host, config: &mut Value) {
    let exit = if dice.chance(20) { dice.below(256) } else { 0 };
    let script = "/look/look";
    let cwd = *dice.one(&[&"/", &"/", &"/", &"/tmp", &"/root", &"/made/by/the/runtime", &"/etc", &"/dev"]);
    let mut process = json!({
        "args": ["/bin/sh", script, exit.to_string()],
        "cwd": cwd,
        "env": environment(dice),
        "user": user(dice),
    });
    if dice.chance(3) {
        process["cwd"] =
            json!(dice.pick(&["relative", "", "/etc/passwd", "/etc/../tmp", "/link/", "/bin/.."]));
    }
    if dice.chance(3) {
        process["args"] = dice.one(&[
            json!([]),
            json!(["/nosuch"]),
            json!(["/etc"]),
            json!(["/etc/passwd"]),
            json!(["nosuch"]),
        ]);
    }
    if dice.chance(10) && process["args"][0] == "/bin/sh" {
        process["args"][0] = json!("sh"); // to be found by PATH
    }
    if dice.chance(90) {
        process["capabilities"] = capabilities(dice);
    }
    if dice.chance(50) {
        process["rlimits"] = rlimits(dice, host);
    }
    for (name, value, percent) in flags(dice, host) {
        if dice.chance(percent) {
            process[name] = value;
        }
    }
    config["process"] = process;
}

/// The small properties, each with how often it is there.
fn flags(dice: &Dice, host: &Host) -> Vec<(&'static str, Value, u64)> {
    vec![
        ("noNewPrivileges", json!(dice.chance(70)), 50),
        (
            "oomScoreAdj",
            json!(if dice.chance(5) {
                dice.one(&[-1, 1001])
            } else {
                host.oom_score.max(dice.one(&[0, 1, 100, 500, 1000]))
            }),
            40,
        ),
        ("terminal", json!(dice.chance(30)), 30),
        ("consoleSize", json!({"height": 10, "width": 20}), 10),
        ("apparmorProfile", json!(dice.pick(&["", "nosuch"])), 3),
        ("selinuxLabel", json!(dice.pick(&["", "", "system_u:system_r:x_t:s0"])), 3),
        (
            "scheduler",
            dice.one(&[json!({"policy": "SCHED_OTHER", "nice": 5}), json!({"policy": "SCHED_BATCH"})]),
            4,
        ),
        ("ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": dice.below(8)}), 4),
        ("execCPUAffinity", json!({"initial": "0", "final": "0-1"}), 2),
        ("unheardOf", json!([{}]), 10),
    ]
}

fn environment(dice: &Dice) -> Value {
    let list = [
        "TERM=xterm",
        "HOME=/tmp",
        "HOME=",
        "A=1",
        "A=2",
        "B=",
        "EQ=a=b",
        "SPACE=a b",
        "LINES=a\nb",
        "LANG=C.UTF-8",
        "container=oci",
    ];
    let mut env = dice.some(&list, 30);
    if dice.chance(93) {
        env.insert(0, dice.pick(&["PATH=/bin", "PATH=/usr/bin:/bin", "PATH=/nowhere::/bin"]));
    }
    if dice.chance(2) {
        env.push(dice.pick(&["noequals", "=x", ""]));
    }
    json!(env)
}

fn user(dice: &Dice) -> Value {
    let ids = [0u32, 0, 0, 1000, 65534, 12345, 4242];
    let mut user = json!({"uid": dice.one(&ids), "gid": dice.one(&ids)});
    if dice.chance(40) {
        user["additionalGids"] = json!(dice.some(&[0u32, 5, 1000, 77, 65533, 12345], 40));
    }
    if dice.chance(40) {
        user["umask"] = json!(dice.one(&[0u32, 0o22, 0o27, 0o77, 0o2, 0o777]));
    }
    user
}

fn capabilities(dice: &Dice) -> Value {
    let mut names = CAPABILITIES.to_vec();
    if dice.chance(5) {
        names.push("CAP_FROM_THE_FUTURE");
    }
    let share = dice.one(&[0, 30, 60, 90, 100]);
    let bounding = dice.some(&names, share);
    let mut sets = json!({"bounding": bounding});
    if dice.chance(90) {
        let permitted = dice.some(&bounding, 80);
        sets["effective"] = json!(dice.some(&permitted, 90));
        sets["permitted"] = json!(permitted);
        if dice.chance(40) {
            let inheritable = dice.some(&permitted, 60);
            sets["ambient"] = json!(dice.some(&inheritable, if dice.chance(60) { 60 } else { 0 }));
            sets["inheritable"] = json!(inheritable);
        }
    }
    sets
}

fn rlimits(dice: &Dice, host: &Host) -> Value {
    let mut list = Vec::new();
    for (kind, least) in dice.some(&RLIMITS, 25) {
        let hard = if dice.chance(50) {
            host.hard_limit(kind)
        } else {
            host.hard_limit(kind).min(least.saturating_mul(2))
        };
        let soft = hard.min(least);
        list.push(json!({"type": kind, "hard": hard, "soft": soft}));
    }
    if dice.chance(3) {
        list.push(dice.one(&[
            json!({"type": "RLIMIT_NOFILE", "hard": 9_000_000u64, "soft": 512}),
            json!({"type": "RLIMIT_MOON", "hard": 1, "soft": 1}),
            json!({"type": "RLIMIT_CORE", "hard": 1, "soft": 2}),
        ]));
    }
    json!(list)
}
