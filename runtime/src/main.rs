//! `wharf-runtime`: splits the command line, protects itself, runs the verb, prints an error once, and
//! chooses the exit code.

use std::process::ExitCode;

use wharf_runtime::cli::{self, Words};
use wharf_runtime::error::Result;
use wharf_runtime::{command, log as sink, seal};

fn main() -> ExitCode {
    let mut failed = 1;
    match run(&mut failed) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Err(error) => {
            sink::report(&error);
            ExitCode::from(failed)
        }
    }
}

fn run(failed: &mut u8) -> Result<i32> {
    let mut globals = cli::Globals::default();
    let words = cli::split(std::env::args_os().skip(1), &mut globals).inspect_err(|_| {
        sink::start(&globals).ok(); // the error at hand matters more
    })?;
    if words.verb == "exec" {
        *failed = command::exec::FAILED as u8;
    }
    if enters_a_container(&words) {
        seal::ensure().inspect_err(|_| {
            sink::start(&words.globals).ok(); // the error at hand matters more
        })?;
    }
    sink::start(&words.globals)?;
    if enters_a_container(&words) {
        log::debug!("{} exeseal: using /proc/self/exe clone", sink::program());
        log::debug!("{} exeseal: {}", sink::program(), seal::means());
    }
    command::dispatch(words)
}

fn enters_a_container(words: &Words) -> bool {
    let help = words.rest.iter().any(|word| word == "--help" || word == "-h");
    matches!(words.verb.as_str(), "create" | "run" | "exec") && !help
}
