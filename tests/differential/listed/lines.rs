//! Lines of the view that may differ, but for those about mounts.

use serde_json::Value;

use super::mounts::{RULES as MOUNTS, is_at};
use super::{Of, holds, namespace, place, starts};

/// Something in a line that may differ.
pub struct Rule {
    /// The runc that it is so with.
    pub of: Of,
    /// The reason.
    pub why: &'static str,
    /// The line without it, if the rule is about this line of this config.
    pub erase: fn(&Value, &str) -> Option<String>,
}

/// All rules, in the order in which they are applied.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    RULES.iter().chain(MOUNTS)
}

/// The whole line goes.
pub fn whole(covered: bool) -> Option<String> {
    covered.then(String::new)
}

const RULES: &[Rule] = &[
    Rule {
        of: Of::Any,
        why: "a foreground run without a terminal hands its own stdio on; runc copies through pipes",
        erase: |_, line| whole(starts(line, &["fd 0 ", "fd 1 ", "fd 2 "])),
    },
    Rule {
        of: Of::Any,
        why: "signals that the caller (or the Go runtime) ignores stay ignored under runc",
        erase: |_, line| whole(line.starts_with("status SigIgn")),
    },
    Rule {
        of: Of::Any,
        why: "without an absolute cgroupsPath the cgroup is below the hierarchy's root, not below the caller's",
        erase: |config, line| {
            let absolute = config["linux"]["cgroupsPath"].as_str().is_some_and(|path| path.starts_with('/'));
            whole(!absolute && (line.starts_with("cgroup ") || line.contains(" - cgroup cgroup rw,memory")))
        },
    },
    Rule {
        of: Of::Any,
        why: "runc takes ONLCR off a foreground terminal when the program may have looked already; ours is set before",
        erase: |_, line| match line {
            "stty ff0" => whole(true), // the end of the line below, where that is a word longer
            _ if line.starts_with("stty opost ") => Some(line.replace("-onlcr", "onlcr").replace(" ff0", "")),
            _ => None,
        },
    },
    Rule {
        of: Of::Any,
        why: "kernelTCP is set where cgroup v1 has it; runc ignores it",
        erase: |config, line| {
            let given = config["linux"]["resources"]["memory"]["kernelTCP"].is_number();
            whole(given && line.contains("memory.kmem.tcp.limit_in_bytes"))
        },
    },
    Rule {
        of: Of::Any,
        why: "the folder of the message queues belongs to who made the IPC namespace, which is not yet the user \
              namespace's root: one clone makes both",
        erase: |config, line| {
            let list = config["mounts"].as_array()?;
            let mut queues = list.iter().filter(|mount| mount["type"] == "mqueue");
            let about = starts(line, &["dev ", "top ", "tree "]);
            whole(about && namespace(config, "user") && queues.any(|mount| is_at(mount, place(line))))
        },
    },
    Rule {
        of: Of::Any,
        why: "a line of /etc/passwd without all its fields is no user, and does not stand for user 0",
        erase: |_, line| whole(line == "env HOME=" || line == "env HOME=/"),
    },
    Rule {
        of: Of::Any,
        why: "with rootfsPropagation shared, what is mounted on a bind of a shared mount is mounted on the host too",
        erase: |config, line| {
            let wish = config["linux"]["rootfsPropagation"].as_str().unwrap_or_default();
            whole(line.starts_with("left mount ") && wish.ends_with("shared"))
        },
    },
    Rule {
        of: Of::Any,
        why: "poststart hooks read running, as runtime.md has it; runc says created",
        erase: |_, line| whole(line.starts_with("hook poststart")),
    },
    Rule {
        of: Of::Any,
        why: "hooks before start read created: by then all that the specification means by it is there",
        erase: |_, line| {
            let early = starts(line, &["hook prestart", "hook createRuntime", "hook createContainer"]);
            early.then(|| line.replace(" S=creating", " S=created"))
        },
    },
    Rule {
        of: Of::Any,
        why: "the terminal is given to the user before a filter is loaded that may forbid that",
        erase: |config, line| {
            let forbidden = config["linux"]["seccomp"].to_string().contains("\"fchown\"");
            whole(forbidden && starts(line, &["dev ", "top "]) && place(line) == "/dev/console")
        },
    },
    Rule {
        of: Of::Any,
        why: "a failing poststop hook is warned of, and the others run (runtime.md, \"Lifecycle\")",
        erase: |config, line| {
            let fails = config["hooks"]["poststop"].to_string().contains("exit 3");
            whole(fails && (line.starts_with("hooks ") || line.starts_with("hook poststop")))
        },
    },
    Rule {
        of: Of::New,
        why: "a createContainer hook without env has the program's, as one of startContainer, and as in runc 1.1",
        erase: |_, line| {
            let about = line.starts_with("hook createContainer");
            about.then(|| line.replace(" A=1 ", " A= ").replace(" A=2 ", " A= "))
        },
    },
    Rule {
        of: Of::Any,
        why: "a foreground terminal has the caller's size from the start; under runc the program may be earlier",
        erase: |config, line| {
            let given = config["process"]["terminal"] == true;
            whole(given && starts(line, &["terminal ", "stty speed", "stty: "]))
        },
    },
    Rule {
        of: Of::Old,
        why: "a process without capabilities keeps all of them, as in runc from 1.2 on",
        erase: |config, line| {
            let what =
                ["status Cap", "made ", "stat: ", "chown", "mknod", "chroot", "unshare", "nice", "open "];
            whole(config["process"]["capabilities"].is_null() && starts(line, &what))
        },
    },
    Rule {
        of: Of::Old,
        why: "of duplicate variables the last counts, in the place of the last, as in runc from 1.3 on",
        erase: |config, line| whole(starts(line, &["order "]) && has_duplicates(&config["process"]["env"])),
    },
    Rule { of: Of::Old, why: "properties that runc 1.1 does not know", erase: unknown_to_old },
];

fn unknown_to_old(config: &Value, line: &str) -> Option<String> {
    let (linux, process) = (&config["linux"], &config["process"]);
    let cpu = &linux["resources"]["cpu"];
    whole(
        (starts(line, &["sysctl domainname"]) && config["domainname"].is_string())
            || (line.contains("cfs_burst_us") && cpu["burst"].is_number())
            || (line.contains("cpu.idle") && cpu["idle"].is_number())
            || (starts(line, &["sched ", "nice"]) && process["scheduler"].is_object())
            || (starts(line, &["ionice "]) && process["ioPriority"].is_object())
            || (starts(line, &["personality ", "uname "]) && linux["personality"].is_object())
            || (starts(line, &["policy "]) && linux["memoryPolicy"].is_object()),
    )
}

/// An empty HOME counts as one more: it is filled in from the container's passwd.
fn has_duplicates(env: &Value) -> bool {
    let names: Vec<&str> =
        env.as_array().into_iter().flatten().filter_map(|entry| entry.as_str()?.split('=').next()).collect();
    holds(env, "HOME=") || names.iter().enumerate().any(|(at, name)| names[..at].contains(name))
}
