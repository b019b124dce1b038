//! The words of the command line: one verb is found, its options are read, and the action of the
//! same name in `engine` is called. What goes to stdout is written here and in `render`.

mod attach;
mod container;
mod image;
mod options;
mod render;

use clap::{Parser, Subcommand};

use crate::error::Result;
use crate::paths::Paths;

/// Run containers without a daemon.
#[derive(Debug, Parser)]
#[command(name = "wharf", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create and run a container from an image
    Run(Box<options::Run>),
    /// Run a command in a running container
    Exec(options::Exec),
    /// List containers
    Ps(container::Ps),
    /// Show what a container has written
    Logs(container::Logs),
    /// Stop containers: their stop signal first, SIGKILL after a while
    Stop(container::Stop),
    /// Send a signal to containers
    Kill(container::Kill),
    /// Remove containers
    Rm(container::Rm),
    /// Wait until containers are over and print their exit codes
    Wait(container::Names),
    /// Show all that is known of containers, as JSON
    Inspect(container::Names),
    /// Fetch an image from a registry
    Pull(image::PullArgs),
    /// Load images from an archive
    Load(image::LoadArgs),
    /// List images
    Images(image::ImagesArgs),
    /// Remove images
    Rmi(image::RemoveImageArgs),
    /// Supervise one container (started by `run`)
    #[command(hide = true)]
    Shim {
        /// The container's id.
        id: String,
    },
}

/// Reads the words and does what they say; returns the exit code.
pub fn run() -> Result<i32> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return render::usage(&error),
    };
    let paths = Paths::from_env();
    match cli.command {
        Command::Run(words) => container::run(&paths, *words),
        Command::Exec(words) => container::exec(&paths, words),
        Command::Ps(words) => container::ps(&paths, &words),
        Command::Logs(words) => container::logs(&paths, &words),
        Command::Stop(words) => container::stop(&paths, &words),
        Command::Kill(words) => container::kill(&paths, &words),
        Command::Rm(words) => container::rm(&paths, &words),
        Command::Wait(words) => container::wait(&paths, &words),
        Command::Inspect(words) => container::inspect(&paths, &words),
        Command::Pull(words) => image::pull(&paths, &words),
        Command::Load(words) => image::load(&paths, &words),
        Command::Images(words) => image::images(&paths, &words),
        Command::Rmi(words) => image::remove(&paths, &words),
        Command::Shim { id } => crate::shim::run(&paths, &id).map(|()| 0),
    }
}
