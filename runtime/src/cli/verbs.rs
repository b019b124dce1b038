//! The options of each verb, with runc's names.

use std::path::PathBuf;

use clap::{Args, Parser};

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
    #[allow(missing_docs)]
    pub making: Making,
    /// ID of the container, or (with a slash) its bundle, whose folder's name is then the ID
    pub id: String,
}

/// Create and start a container, wait for it and delete it
#[derive(Debug, Parser)]
pub struct Run {
    #[command(flatten)]
    #[allow(missing_docs)]
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
    /// Set no_new_privs
    #[arg(long)]
    pub no_new_privs: bool,
    /// Add a capability
    #[arg(short, long)]
    pub cap: Vec<String>,
    /// Pass N more descriptors to the process
    #[arg(long, default_value_t = 0)]
    pub preserve_fds: u32,
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
}

/// A verb without words: features
#[derive(Debug, Parser)]
pub struct Nothing {}
