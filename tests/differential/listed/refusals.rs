//! Configs that only one of the two runs.

use serde_json::Value;

use super::{Of, namespace};

/// Configs that one of the two may refuse.
pub struct Rule {
    /// The runc that it is so with.
    pub of: Of,
    /// The reason.
    pub why: &'static str,
    /// Who refuses.
    pub by_ours: bool,
    /// The config, and what the refusing one said.
    pub covers: fn(&Value, &str) -> bool,
}

/// All of them.
pub const RULES: &[Rule] = &[
    Rule {
        of: Of::Any,
        why: "sysfs of a network namespace that the user namespace does not own is bound from the host, not refused",
        by_ours: false,
        covers: |config, said| namespace(config, "user") && said.contains("mounting \\\"sysfs\\\""),
    },
    Rule {
        of: Of::Any,
        why: "no mount may hide a part of /proc but for the listed files, whatever its type (CVE-2025-52881)",
        by_ours: true,
        covers: |_, said| said.contains("must not be mounted inside /proc"),
    },
    Rule {
        of: Of::Any,
        why: "a device of linux.devices that is one of the default devices may be used as those may",
        by_ours: false,
        covers: |config, said| {
            let devices = config["linux"]["devices"].as_array();
            said.contains("error reopening /dev/null")
                && devices.is_some_and(|list| list.iter().any(|device| device["path"] == "/dev/null"))
        },
    },
    Rule {
        of: Of::Any,
        why: "what is unbindable can be made read-only or masked, and copied up to, all the same",
        by_ours: false,
        covers: |config, said| {
            let unbindable = config.to_string().contains("unbindable\"");
            unbindable && (said.contains("read-only: mount") || said.contains("runctop"))
        },
    },
    Rule {
        of: Of::Any,
        why: "the runtime needs neither a /proc nor a /dev/pts in the container",
        by_ours: false,
        covers: |config, said| {
            let has = |place: &str| {
                config["mounts"].as_array().is_some_and(|list| list.iter().any(|m| m["destination"] == place))
            };
            (!has("/proc")
                && (said.contains("/proc/") || said.contains("procfs") || said.contains("no such file")))
                || (!has("/dev/pts") && config["process"]["terminal"] == true)
        },
    },
    Rule {
        of: Of::Any,
        why: "a filter loaded before capabilities are dropped must allow what the runtime does from then on, which \
              is less with ours",
        by_ours: false,
        covers: |config, said| {
            let symptoms = [
                "already dead",
                "not implemented",
                "bad system call",
                "not permitted",
                "unable to setup user",
            ];
            config["linux"]["seccomp"].is_object() && symptoms.iter().any(|symptom| said.contains(symptom))
        },
    },
    Rule {
        of: Of::Any,
        why: "nothing can be mounted below a new file system that is recursively read-only; runc ignores that option",
        by_ours: true,
        covers: |config, said| {
            said.contains("read-only file system") && config.to_string().contains("\"rro\"")
        },
    },
    Rule {
        of: Of::Any,
        why: "without PATH the default one is searched, as by execvp(3), whose semantics args have (config.md)",
        by_ours: false,
        covers: |config, said| {
            let env = config["process"]["env"].to_string();
            said.contains("executable file not found in $PATH") && !env.contains("PATH=")
        },
    },
    Rule {
        of: Of::Any,
        why: "proc and sysfs are mounted through no link, in whichever component (CVE-2019-19921)",
        by_ours: true,
        covers: |_, said| said.contains("must be mounted on ordinary directory"),
    },
    Rule {
        of: Of::Any,
        why: "the option defaults is of no consequence; runc hands it to the file system, or refuses it on binds",
        by_ours: false,
        covers: |_, said| {
            ["data=defaults", "data: defaults", "Data:defaults"].iter().any(|w| said.contains(w))
        },
    },
    Rule {
        of: Of::Any,
        why: "recursive attributes can be given in a user namespace, for sources are opened outside it",
        by_ours: false,
        covers: |config, said| namespace(config, "user") && said.contains("operation not permitted"),
    },
    Rule {
        of: Of::Old,
        why: "properties that runc 1.1 does not know",
        by_ours: true,
        covers: |config, said| config["domainname"].is_string() && said.contains("set domain name"),
    },
    Rule {
        of: Of::New,
        why: "a bind mount ignores file system options, as mount(2) and runc 1.1 do",
        by_ours: false,
        covers: |_, said| said.contains("bind mounts cannot have any filesystem-specific options"),
    },
    Rule {
        of: Of::Old,
        why: "user ids are numbers; runc 1.1 reads /etc/passwd nevertheless, whatever it is",
        by_ours: false,
        covers: |_, said| said.contains("unable to find user"),
    },
    Rule {
        of: Of::Old,
        why: "properties that runc 1.1 does not know",
        by_ours: false,
        covers: |_, said| {
            said.contains("seccomp flags are not yet supported")
                || said.contains("namespace {") && said.contains("time")
        },
    },
];
