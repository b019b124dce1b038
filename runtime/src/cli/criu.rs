//! The options of `checkpoint` and `restore`, with runc's names.

use std::path::PathBuf;

use clap::{Args, Parser};

/// Options shared by both.
#[derive(Debug, Clone, Args)]
pub struct Both {
    /// Folder of the images
    #[arg(long, default_value = "checkpoint")]
    pub image_path: PathBuf,
    /// Folder of criu's log and statistics; by default that of the images
    #[arg(long)]
    pub work_path: Option<PathBuf>,
    /// Allow established TCP connections
    #[arg(long)]
    pub tcp_established: bool,
    /// Allow unix sockets that are connected to the outside
    #[arg(long)]
    pub ext_unix_sk: bool,
    /// Allow a session leader or a terminal that is outside
    #[arg(long)]
    pub shell_job: bool,
    /// Allow file locks
    #[arg(long)]
    pub file_locks: bool,
    /// What of the control groups' properties to save or restore: soft, full, strict or ignore; soft by default
    #[arg(long, value_name = "MODE", value_parser = ["soft", "full", "strict", "ignore"])]
    pub manage_cgroups_mode: Option<String>,
    /// Create a namespace of this kind but do not restore its content; network is always treated so
    #[arg(long, value_name = "KIND", value_parser = ["network"])]
    pub empty_ns: Vec<String>,
    /// Punch holes into images of memory that later images have anew
    #[arg(long)]
    pub auto_dedup: bool,
    /// Serve memory to, or take it from, a `criu lazy-pages` only when it is needed
    #[arg(long)]
    pub lazy_pages: bool,
}

/// Save a running container's state into images
#[derive(Debug, Parser)]
pub struct Checkpoint {
    #[command(flatten)]
    #[allow(missing_docs, reason = "the help says it")]
    pub both: Both,
    /// Folder of a pre-dump's images, relative to this one's
    #[arg(long)]
    pub parent_path: Option<PathBuf>,
    /// Let the container run on; otherwise it is deleted
    #[arg(long)]
    pub leave_running: bool,
    /// Leave out TCP connections that are not accepted yet
    #[arg(long)]
    pub tcp_skip_in_flight: bool,
    /// Allow files that are open but deleted, by linking them anew
    #[arg(long)]
    pub link_remap: bool,
    /// Descriptor (3 or more) that a zero byte is written to once lazy pages can be had; needs --lazy-pages
    #[arg(long, value_name = "FD", requires = "lazy_pages")]
    pub status_fd: Option<i32>,
    /// ADDRESS:PORT of a page server that takes the memory
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub page_server: Option<String>,
    /// Save memory only, for a later checkpoint to build on, and let the container run on
    #[arg(long)]
    pub pre_dump: bool,
    /// ID of the container
    pub id: String,
}

/// Restore a container from images
#[derive(Debug, Parser)]
pub struct Restore {
    #[command(flatten)]
    #[allow(missing_docs, reason = "the help says it")]
    pub both: Both,
    /// Path of the bundle
    #[arg(short, long, default_value = ".")]
    pub bundle: PathBuf,
    /// Do not wait
    #[arg(short, long)]
    pub detach: bool,
    /// File that receives the init's PID
    #[arg(long)]
    pub pid_file: Option<PathBuf>,
    /// Socket that receives the leader of the container's terminal
    #[arg(long)]
    pub console_socket: Option<PathBuf>,
    /// Stay in the caller's session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
    /// TYPE:NAME of a security module's profile in place of the saved one
    #[arg(long, value_name = "TYPE:NAME")]
    pub lsm_profile: Option<String>,
    /// Security context of the mounts in place of the saved one
    #[arg(long, value_name = "CONTEXT")]
    pub lsm_mount_context: Option<String>,
    /// Accepted for runc's sake: a container's init is our own child, so we never become a subreaper
    #[arg(long)]
    pub no_subreaper: bool,
    /// Accepted for runc's sake: criu enters the root in a way of its own
    #[arg(long)]
    pub no_pivot: bool,
    /// ID of the container
    pub id: String,
}
