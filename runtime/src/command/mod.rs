//! One verb, one file, one short story. This file sends a command line to its verb.

pub mod checkpoint;
pub mod create;
pub mod delete;
pub mod events;
pub mod exec;
pub mod features;
pub mod foreground;
pub mod kill;
pub mod list;
pub mod pause;
pub mod ps;
pub mod restore;
pub mod run;
pub mod spec;
pub mod start;
pub mod state;
pub mod time;
pub mod update;
pub mod validate;

use std::io::Write;

use clap::{CommandFactory, FromArgMatches};

use crate::cli::{Globals, Parsed, Words, criu, help, parse, verbs};
use crate::container::record::{Identity, Record};
use crate::container::{Container, not_running};
use crate::error::{Context, Error, Kind, Result};
use crate::sys::missing;
use crate::sys::stream::Stream;

/// Runs a command line. The result is the exit code.
pub fn dispatch(words: Words) -> Result<i32> {
    let Words { globals, verb, rest } = words;
    let g = &globals;
    match verb.as_str() {
        "create" => with(&verb, rest, |w: verbs::Create| create::create(g, &w).map(|()| 0)),
        "start" => with(&verb, rest, |w: verbs::IdOnly| start::start(g, &w.id).map(|()| 0)),
        "run" => with(&verb, rest, |w: verbs::Run| run::run(g, &w)),
        "exec" => with(&verb, rest, |w: verbs::Exec| exec::exec(g, &w)),
        "state" => with(&verb, rest, |w: verbs::IdOnly| state::state(g, &w.id).map(|()| 0)),
        "list" => with(&verb, rest, |w: verbs::List| list::list(g, &w).map(|()| 0)),
        "kill" => with(&verb, rest, |w: verbs::Kill| kill::kill(g, &w).map(|()| 0)),
        "delete" => with(&verb, rest, |w: verbs::Delete| delete::delete(g, &w).map(|()| 0)),
        "pause" => with(&verb, rest, |w: verbs::IdOnly| pause::pause(g, &w.id).map(|()| 0)),
        "resume" => with(&verb, rest, |w: verbs::IdOnly| pause::resume(g, &w.id).map(|()| 0)),
        "update" => with(&verb, rest, |w: verbs::Update| update::update(g, &w).map(|()| 0)),
        "events" => with(&verb, rest, |w: verbs::Events| events::events(g, &w).map(|()| 0)),
        "ps" => with(&verb, rest, |w: verbs::Ps| ps::ps(g, &w).map(|()| 0)),
        "checkpoint" => with(&verb, rest, |w: criu::Checkpoint| checkpoint::checkpoint(g, &w).map(|()| 0)),
        "restore" => with(&verb, rest, |w: criu::Restore| restore::restore(g, &w)),
        "spec" => with(&verb, rest, |w: verbs::SpecWords| spec::spec(&w).map(|()| 0)),
        "validate" => with(&verb, rest, |w: verbs::Validate| validate::validate(g, &w)),
        "features" => with(&verb, rest, |_: verbs::Nothing| features::features().map(|()| 0)),
        "--version" => features::version().map(|()| 0),
        "help" if !rest.is_empty() => help_of_a_verb(globals, &rest),
        "help" => Ok(write!(output(), "{}", help::text()).map(|()| 0).context(STDOUT)?),
        other => {
            Err(Error::invalid(format!("No help topic for '{other}': there is no such verb (see --help)")))
        }
    }
}

/// `help VERB` is `VERB --help`.
fn help_of_a_verb(globals: Globals, words: &[std::ffi::OsString]) -> Result<i32> {
    match words {
        [verb] if verb != "help" => {
            let verb = verb.to_string_lossy().into_owned();
            dispatch(Words { globals, verb, rest: vec!["--help".into()] })
        }
        _ => Err(Error::invalid("help takes the name of one verb")),
    }
}

fn with<T: CommandFactory + FromArgMatches>(
    verb: &str,
    rest: Vec<std::ffi::OsString>,
    run: impl FnOnce(T) -> Result<i32>,
) -> Result<i32> {
    match parse::<T>(verb, rest)? {
        Parsed::Words(words) => run(words),
        Parsed::Help(text) => Ok(write!(output(), "{text}").map(|()| 0).context(STDOUT)?),
    }
}

/// What is being done when [`output`] fails.
pub const STDOUT: &str = "write to standard output";

/// Standard output, line by line.
pub fn output() -> impl Write {
    std::io::LineWriter::new(Stream(std::io::stdout()))
}

/// A container that must be there, and its record.
pub fn open(globals: &Globals, id: &str) -> Result<(Container, Record)> {
    let container = Container::open(&globals.root, &id.parse()?)?;
    let record = container.load()?;
    Ok((container, record))
}

/// The container's init, which there is not yet while its creation has just begun.
pub fn init_of(record: &Record) -> Result<Identity> {
    let being_created = !record.complete && record.creator.is_alive()?;
    record.init.ok_or_else(|| match being_created {
        true => Error::new(Kind::WrongStatus, "container is being created"),
        false => not_running(),
    })
}

/// What a command says that has failed: where the container has ended or was deleted meanwhile, that. What went wrong
/// in detail is but a consequence.
pub fn or_gone<T>(container: &Container, record: &Record, result: Result<T>) -> Result<T> {
    result.map_err(|error| {
        if container.is_there().is_ok_and(|there| !there) {
            return container.does_not_exist();
        }
        match record.init {
            Some(init) if record.complete && init.is_running().is_ok_and(|running| !running) => {
                log::debug!("{error}");
                not_running()
            }
            _ => error,
        }
    })
}

/// Where something failed because the kernel does not know a call, says which ones it lacks and what version has them.
pub fn name_missing_calls(error: Error) -> Error {
    let missing = match error.errno() {
        Some(libc::ENOSYS) => missing::calls(),
        _ => Vec::new(),
    };
    let list: Vec<_> = missing.iter().map(|(call, version)| format!("{call} (Linux {version})")).collect();
    match list.is_empty() {
        true => error,
        false => error.followed(format_args!("ENOSYS: this kernel lacks {}", list.join(", "))),
    }
}

/// Prints a document as runc does: indented, with a newline.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::invalid(e.to_string()))?;
    writeln!(output(), "{text}").context(STDOUT)
}
