//! `process`: the program, who it is, and what it may do (config.md, "Process").

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::or_default;

/// The program of the container, or of an `exec` (the same document there).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Whether it gets a pseudo-terminal as standard streams.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "std::ops::Not::not")]
    pub terminal: bool,
    /// The terminal's first size; ignored without a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console_size: Option<ConsoleSize>,
    /// Ids.
    #[serde(default, deserialize_with = "or_default")]
    pub user: User,
    /// Argument vector; the first is looked up in the container's PATH.
    #[serde(default, deserialize_with = "or_default")]
    pub args: Vec<String>,
    /// `KEY=value` entries.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Absolute working directory.
    #[serde(default, deserialize_with = "or_default")]
    pub cwd: PathBuf,
    /// The five capability sets; absent means: leave them alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Resource limits, setrlimit(2).
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<Rlimit>,
    /// prctl(2) PR_SET_NO_NEW_PRIVS.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "std::ops::Not::not")]
    pub no_new_privileges: bool,
    /// AppArmor profile; not done yet.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub apparmor_profile: String,
    /// proc(5) oom_score_adj; absent means: leave it alone, and 0 is a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// SELinux label; not done yet.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub selinux_label: String,
    /// sched_setattr(2); not done yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<serde_json::Value>,
    /// ioprio_set(2); not done yet.
    #[serde(rename = "ioPriority", default, skip_serializing_if = "Option::is_none")]
    pub io_priority: Option<serde_json::Value>,
    /// CPU affinity of exec; not done yet.
    #[serde(rename = "execCPUAffinity", default, skip_serializing_if = "Option::is_none")]
    pub exec_cpu_affinity: Option<serde_json::Value>,
}

/// A terminal's size in character cells.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct ConsoleSize {
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// POSIX ids.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// User id in the container.
    #[serde(default, deserialize_with = "or_default")]
    pub uid: u32,
    /// Group id in the container.
    #[serde(default, deserialize_with = "or_default")]
    pub gid: u32,
    /// umask(2); absent means unchanged, and 0 is a value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// Supplementary groups.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
}

/// Names (`CAP_CHOWN`) of the five sets of capabilities(7).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// Upper bound of what execve can give.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub bounding: Vec<String>,
    /// In force.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub effective: Vec<String>,
    /// Kept across execve of files that have them inheritable.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub inheritable: Vec<String>,
    /// May be made effective.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub permitted: Vec<String>,
    /// Kept across execve of ordinary files.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub ambient: Vec<String>,
}

/// One resource limit.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_NOFILE` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// The ceiling.
    pub hard: u64,
    /// In force.
    pub soft: u64,
}
