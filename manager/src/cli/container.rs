//! The words and pictures of the container verbs. Verbs that take several containers go on after one
//! that fails, and fail at the end.

use std::io::{Write, stderr, stdout};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::attach;
use super::options;
use super::render;
use crate::engine;
use crate::engine::pull::PullOptions;
use crate::error::{Context, Error, Kind, Result};
use crate::paths::Paths;
use crate::progress;

/// Containers by id, prefix or name.
#[derive(Debug, Args)]
pub struct Names {
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// `wharf ps`.
#[derive(Debug, Args)]
pub struct Ps {
    /// All containers, not only running ones
    #[arg(short, long)]
    all: bool,
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Show ids and commands whole
    #[arg(long)]
    no_trunc: bool,
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// `wharf logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Go on until the container is over
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "NUMBER|all", default_value = "all")]
    tail: String,
    /// Begin each line with its time
    #[arg(short, long)]
    timestamps: bool,
    container: String,
}

/// `wharf stop`.
#[derive(Debug, Args)]
pub struct Stop {
    /// Seconds until SIGKILL
    #[arg(short, long, visible_alias = "timeout", default_value_t = 10)]
    time: u64,
    #[command(flatten)]
    names: Names,
}

/// `wharf kill`.
#[derive(Debug, Args)]
pub struct Kill {
    /// Name or number
    #[arg(short, long, default_value = "KILL")]
    signal: String,
    #[command(flatten)]
    names: Names,
}

/// `wharf rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// Kill what runs
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    names: Names,
}

/// `wharf run`: exits with the container's code.
pub fn run(paths: &Paths, words: options::Run) -> Result<i32> {
    let wish = words.resolve(attach::terminal_size())?;
    let (tty, stdin, detached) = (wish.tty, wish.stdin, wish.detached);
    if tty && stdin && !detached {
        attach::require_terminal()?;
    }
    let image = engine::pull::obtain(paths, &wish.image, &PullOptions::default(), &*progress::choose(false))?;
    if detached {
        let (container, _) = engine::run::run(paths, &image, wish)?;
        return say(&container.record.id).map(|()| 0);
    }
    // Signals are held from before the container exists, so that none of them can orphan it.
    let client = attach::Client::prepare(tty, stdin)?;
    let (container, connection) = engine::run::run(paths, &image, wish)?;
    client.follow(connection, &|signal| engine::kill::send(paths, &container, signal))
}

/// `wharf exec`: exits with the process's code.
pub fn exec(paths: &Paths, words: options::Exec) -> Result<i32> {
    let (container, request) = words.resolve(attach::terminal_size());
    if request.detached {
        return engine::exec::exec(paths, &container, &request).map(|_| 0);
    }
    if request.tty && request.stdin {
        attach::require_terminal()?;
    }
    let client = attach::Client::prepare(request.tty, request.stdin)?;
    let connection = engine::exec::exec(paths, &container, &request)?;
    // Docker's exec passes no signals on either.
    client.follow(connection, &|_| Ok(()))
}

/// `wharf ps`.
pub fn ps(paths: &Paths, words: &Ps) -> Result<i32> {
    let listed = engine::list::list(paths, words.all)?;
    let text = match (words.quiet, words.format) {
        (true, _) => render::ids(&listed, words.no_trunc),
        (_, Format::Json) => render::json_lines(&listed, words.no_trunc),
        (_, Format::Table) => render::table(&listed, words.no_trunc),
    };
    write_out(text.as_bytes()).map(|()| 0)
}

/// `wharf logs`.
pub fn logs(paths: &Paths, words: &Logs) -> Result<i32> {
    let tail = match words.tail.as_str() {
        "all" => None,
        number => Some(number.parse().context(format!("parse --tail {number}"))?),
    };
    engine::logs::logs(paths, &words.container, (tail, words.follow), &mut |line| {
        let mut text = String::new();
        if words.timestamps {
            text = format!("{} ", line.time);
        }
        text.push_str(&line.log);
        if line.stream == "stderr" {
            return stderr().write_all(text.as_bytes()).context("write to stderr");
        }
        write_out(text.as_bytes())
    })?;
    Ok(0)
}

/// `wharf stop`.
pub fn stop(paths: &Paths, words: &Stop) -> Result<i32> {
    let grace = Duration::from_secs(words.time);
    each(&words.names, |name| engine::stop::stop(paths, name, grace).and_then(|()| say(name)))
}

/// `wharf kill`.
pub fn kill(paths: &Paths, words: &Kill) -> Result<i32> {
    each(&words.names, |name| engine::kill::kill(paths, name, &words.signal).and_then(|()| say(name)))
}

/// `wharf rm`.
pub fn rm(paths: &Paths, words: &Rm) -> Result<i32> {
    each(&words.names, |name| match engine::remove::remove(paths, name, words.force) {
        // By force, gone is what was wanted.
        Err(error) if words.force && error.kind() == Kind::NotFound => Ok(()),
        removed => removed.and_then(|()| say(name)),
    })
}

/// `wharf wait`.
pub fn wait(paths: &Paths, words: &Names) -> Result<i32> {
    each(words, |name| say(&engine::wait::wait(paths, name)?.to_string()))
}

/// `wharf inspect`.
pub fn inspect(paths: &Paths, words: &Names) -> Result<i32> {
    let mut found = Vec::new();
    let code = each(words, |name| {
        found.push(engine::inspect::inspect(paths, name)?);
        Ok(())
    })?;
    say(&serde_json::to_string_pretty(&found).context("encode")?)?;
    Ok(code)
}

/// Does one thing to each container; prints every error, and says by the code whether there was one.
fn each(names: &Names, mut act: impl FnMut(&str) -> Result<()>) -> Result<i32> {
    let mut code = 0;
    for name in &names.containers {
        if let Err(error) = act(name) {
            writeln!(stderr(), "wharf: {error}").context("write to stderr")?;
            code = 1;
        }
    }
    Ok(code)
}

fn say(line: &str) -> Result<()> {
    write_out(format!("{line}\n").as_bytes())
}

fn write_out(bytes: &[u8]) -> Result<()> {
    let mut out = stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(Error::from).context("write to stdout")
}
