//! The options of each verb, with runc's names.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};

use super::quantities::{duration, size};

/// Options shared by `create` and `run`.
#[derive(Debug, Clone, Args)]
pub struct Making {
    /// Path of the bundle
    #[arg(short, long, default_value = ".")]
    pub bundle: PathBuf,
    /// Socket that receives the leader of the container's terminal
    #[arg(long)]
    pub console_socket: Option<PathBuf>,
    /// File that receives the init's PID
    #[arg(long)]
    pub pid_file: Option<PathBuf>,
    /// Socket that receives a pidfd of the init
    #[arg(long)]
    pub pidfd_socket: Option<PathBuf>,
    /// Use a moving mount and chroot instead of pivot_root
    #[arg(long)]
    pub no_pivot: bool,
    /// Stay in the caller's session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Pass N more descriptors to the container (3 to 2+N)
    #[arg(long, default_value_t = 0)]
    pub preserve_fds: u32,
}

/// Create a container
#[derive(Debug, Parser)]
pub struct Create {
    #[command(flatten)]
    #[allow(missing_docs, reason = "the help says it")]
    pub making: Making,
    /// ID of the container, or (with a slash) its bundle, whose folder's name is then the ID
    pub id: String,
}

/// Create and start a container, wait for it and delete it
#[derive(Debug, Parser)]
pub struct Run {
    #[command(flatten)]
    #[allow(missing_docs, reason = "the help says it")]
    pub making: Making,
    /// Do not wait
    #[arg(short, long)]
    pub detach: bool,
    /// Do not delete the container when it ends
    #[arg(long)]
    pub keep: bool,
    /// Accepted for runc's sake: a container's init is our own child, so we never become a subreaper
    #[arg(long)]
    pub no_subreaper: bool,
    /// ID of the container, or its bundle (with a slash)
    pub id: String,
}

/// Run a process in a container
#[derive(Debug, Parser)]
pub struct Exec {
    /// Socket that receives the leader of the process's terminal
    #[arg(long)]
    pub console_socket: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long)]
    pub cwd: Option<PathBuf>,
    /// Environment variable KEY=VALUE
    #[arg(short, long)]
    pub env: Vec<String>,
    /// Allocate a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// UID[:GID]
    #[arg(short, long)]
    pub user: Option<String>,
    /// Additional group id
    #[arg(short = 'g', long)]
    pub additional_gids: Vec<u32>,
    /// JSON file with the whole process
    #[arg(short, long)]
    pub process: Option<PathBuf>,
    /// Do not wait
    #[arg(short, long)]
    pub detach: bool,
    /// File that receives the process's PID
    #[arg(long)]
    pub pid_file: Option<PathBuf>,
    /// Socket that receives a pidfd of the process
    #[arg(long)]
    pub pidfd_socket: Option<PathBuf>,
    /// SELinux label
    #[arg(long)]
    pub process_label: Option<String>,
    /// AppArmor profile
    #[arg(long)]
    pub apparmor: Option<String>,
    /// Set no_new_privs
    #[arg(long)]
    pub no_new_privs: bool,
    /// Add a capability
    #[arg(short, long)]
    pub cap: Vec<String>,
    /// Pass N more descriptors to the process
    #[arg(long, default_value_t = 0)]
    pub preserve_fds: u32,
    /// Run in a control group below the container's: [CONTROLLER[,...]:]PATH
    #[arg(long, value_name = "[CONTROLLER:]PATH")]
    pub cgroup: Vec<String>,
    /// Go on though the container is paused
    #[arg(long)]
    pub ignore_paused: bool,
    /// ID of the container, then the command
    #[arg(trailing_var_arg = true, required = true, value_name = "ID [COMMAND...]")]
    pub id_and_command: Vec<String>,
}

/// A verb that takes an ID alone: start, state, pause, resume
#[derive(Debug, Parser)]
pub struct IdOnly {
    /// ID of the container
    pub id: String,
}

/// Send a signal to a container's init
#[derive(Debug, Parser)]
pub struct Kill {
    /// Send it to all processes of the container
    #[arg(short, long)]
    pub all: bool,
    /// ID of the container
    pub id: String,
    /// Name or number
    #[arg(default_value = "SIGTERM")]
    pub signal: String,
}

/// Delete a container that is not running
#[derive(Debug, Parser)]
pub struct Delete {
    /// Kill it first if need be; a container that does not exist is no error
    #[arg(short, long)]
    pub force: bool,
    /// ID of the container
    pub id: String,
}

/// Change the limits of a container; what is not named stays
#[derive(Debug, Parser)]
pub struct Update {
    /// JSON file with limits as in linux.resources of config.json, or - for standard input
    #[arg(short, long, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "the help says it")]
    pub limits: Limits,
    /// Line for L3 caches in the schemata of the container's class in resctrl
    #[arg(long)]
    pub l3_cache_schema: Option<String>,
    /// The same for memory bandwidth
    #[arg(long)]
    pub mem_bw_schema: Option<String>,
    /// ID of the container
    pub id: String,
}

/// Limits one by one. Sizes take k, m, g, t and p; -1 is no limit.
#[derive(Debug, Args)]
pub struct Limits {
    /// Weight for block devices, 10 to 1000
    #[arg(long)]
    pub blkio_weight: Option<u16>,
    /// Length in microseconds of a period that --cpu-quota counts for
    #[arg(long)]
    pub cpu_period: Option<u64>,
    /// Processor time in microseconds in one period
    #[arg(long, allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,
    /// Processor time in microseconds that may be saved up for later periods
    #[arg(long)]
    pub cpu_burst: Option<u64>,
    /// Share of the processors beside other containers
    #[arg(long)]
    pub cpu_share: Option<u64>,
    /// Length in microseconds of a period that --cpu-rt-runtime counts for
    #[arg(long)]
    pub cpu_rt_period: Option<u64>,
    /// Real-time processor time in microseconds in one period
    #[arg(long, allow_hyphen_values = true)]
    pub cpu_rt_runtime: Option<i64>,
    /// 1: run only when nobody else wants to; 0: as others
    #[arg(long, allow_hyphen_values = true)]
    pub cpu_idle: Option<i64>,
    /// Processors, as 0-3,7
    #[arg(long)]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes
    #[arg(long)]
    pub cpuset_mems: Option<String>,
    /// Memory
    #[arg(long, allow_hyphen_values = true, value_parser = size)]
    pub memory: Option<i64>,
    /// Memory that is left to the container when others need some
    #[arg(long, allow_hyphen_values = true, value_parser = size)]
    pub memory_reservation: Option<i64>,
    /// Memory and swap together
    #[arg(long, allow_hyphen_values = true, value_parser = size)]
    pub memory_swap: Option<i64>,
    /// Memory of the kernel: no kernel limits it any more
    #[arg(long, allow_hyphen_values = true, value_parser = size, hide = true)]
    pub kernel_memory: Option<i64>,
    /// Memory of TCP buffers, on cgroup v1
    #[arg(long, allow_hyphen_values = true, value_parser = size, hide = true)]
    pub kernel_memory_tcp: Option<i64>,
    /// Number of processes and threads
    #[arg(long, allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
}

/// Print what happens to a container, one JSON document a line: statistics at intervals, and each time that it runs
/// out of memory
#[derive(Debug, Parser)]
pub struct Events {
    /// Time between statistics: 5s, 100ms, 1m30s
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub interval: Duration,
    /// Print statistics once
    #[arg(long)]
    pub stats: bool,
    /// ID of the container
    pub id: String,
}

/// List containers
#[derive(Debug, Parser)]
pub struct List {
    /// table or json
    #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
    pub format: String,
    /// Only IDs
    #[arg(short, long)]
    pub quiet: bool,
}

/// List a container's processes
#[derive(Debug, Parser)]
pub struct Ps {
    /// table or json
    #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
    pub format: String,
    /// ID of the container, then options for ps(1)
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true,
        value_name = "ID [PS OPTIONS...]"
    )]
    pub id_and_options: Vec<String>,
}

/// Write a config.json to start from
#[derive(Debug, Parser)]
pub struct SpecWords {
    /// Folder to write it to
    #[arg(short, long, default_value = ".")]
    pub bundle: PathBuf,
    /// Make it one that an ordinary user can run
    #[arg(long)]
    pub rootless: bool,
}

/// Show everything that is wrong with a bundle's config, touching nothing
#[derive(Debug, Parser)]
pub struct Validate {
    /// text or json
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    pub format: String,
    /// Path of the bundle
    #[arg(short, long)]
    pub bundle: Option<PathBuf>,
    /// The same
    #[arg(value_name = "BUNDLE", conflicts_with = "bundle")]
    pub path: Option<PathBuf>,
}

/// A verb without words: features
#[derive(Debug, Parser)]
pub struct Nothing {}
