//! `wharf-runtime`: splits the command line, protects itself, runs the verb, prints an error once, and
//! chooses the exit code.
//!
//! It is entered as a C program is. What the standard library's own entry does before is done in `sys::process::begin`,
//! but for a handler that names stack overflows: to find the stack's end it reads /proc/self/maps, which costs more
//! than all else at the start of a program, and half the C library comes in with it.
#![no_main]

#[cfg(not(any(debug_assertions, test)))]
mod unwinder;

use std::io::Write as _;

use wharf_runtime::cli::{self, Words};
use wharf_runtime::error::Result;
use wharf_runtime::{command, log as sink, seal};

#[expect(unsafe_code, reason = "only the name is meant: the C library's start-up code calls this, once")]
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    wharf_runtime::sys::process::begin();
    let mut failed = 1;
    let code = match run(&mut failed) {
        Ok(code) => u8::try_from(code).unwrap_or(u8::MAX),
        Err(error) => {
            let error = command::name_missing_calls(error);
            sink::report(&error);
            failed
        }
    };
    std::io::stdout().flush().ok(); // nobody is left to tell
    i32::from(code)
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
