//! `wharf-runtime`: splits the command line, protects itself, runs the verb, prints an error once, and
//! chooses the exit code.

use std::process::ExitCode;

use wharf_runtime::cli::{self, Words};
use wharf_runtime::error::Result;
use wharf_runtime::{command, log as sink, seal, sys};

fn main() -> ExitCode {
    let mut failed = 1;
    match run(&mut failed) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Err(error) => {
            log::error!("{error}");
            ExitCode::from(failed)
        }
    }
}

fn run(failed: &mut u8) -> Result<i32> {
    let words = cli::split(std::env::args_os().skip(1)).inspect_err(|_| {
        // Nobody has said where messages go; they must not be lost.
        let nowhere = cli::Globals { root: "/".into(), log: None, json: false, debug: false };
        sink::start(&nowhere).ok();
    })?;
    if words.verb == "exec" {
        *failed = command::exec::FAILED as u8;
    }
    if enters_a_container(&words) {
        sys::process::close_from(3 + preserved(&words))?;
        seal::ensure().inspect_err(|_| {
            sink::start(&words.globals).ok();
        })?;
    }
    sink::start(&words.globals)?;
    command::dispatch(words)
}

fn enters_a_container(words: &Words) -> bool {
    let help = words.rest.iter().any(|word| word == "--help" || word == "-h");
    matches!(words.verb.as_str(), "create" | "run" | "exec") && !help
}

/// How many descriptors beyond the standard ones the caller means to pass on. Asked before the verb's words
/// are parsed, because what is not passed on is closed before anything is opened.
fn preserved(words: &Words) -> u32 {
    let mut rest = words.rest.iter().filter_map(|word| word.to_str());
    let mut count = 0;
    while let Some(word) = rest.next() {
        let value = match word.trim_start_matches('-') {
            "preserve-fds" if word.starts_with('-') => rest.next(),
            other => other.strip_prefix("preserve-fds=").filter(|_| word.starts_with('-')),
        };
        count = value.and_then(|value| value.parse().ok()).unwrap_or(count);
    }
    count
}
