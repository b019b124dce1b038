//! The conformance suite: every MUST and SHOULD of runtime-spec 1.3 that binds a runtime on Linux, each with the
//! cases that show it, looked at from inside a container.
//!
//! Each module opens with its section of the specification: sentence ⇒ cases, or the reason why the sentence binds
//! somebody else. The program below runs the cases by itself and not under libtest, because a case has three ends
//! here (pass, fail, skip with a kernel or hardware reason) and what a runtime misses is a result, not a crash.
//! `RUNTIME=runc` takes any runtime, and `WHARF_TEST_USER=ordinary` calls it as a user without privilege.
//! `WHARF_CONFORMANCE_OUT=file` records the results, one JSON line each, in place of failing; `scripts/conformance`
//! makes docs/spec-conformance.md out of such records.
#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

#[macro_use]
mod requirement;
mod bundle;
mod config;
mod container;
mod document;
mod features;
mod linux;
mod listening;
mod pending;
mod record;
mod runtime;
mod sentences;
mod user;
mod world;

use std::process::ExitCode;

use requirement::Section;

/// All sections, in the order of the specification.
pub fn sections() -> Vec<&'static Section> {
    let mut all = vec![&bundle::SECTION];
    all.extend(runtime::sections());
    all.extend(config::sections());
    all.extend(linux::sections());
    all.extend(features::sections());
    all
}

fn main() -> ExitCode {
    if std::env::var_os("WHARF_CONFORMANCE_DOC").is_some() {
        document::write();
        return ExitCode::SUCCESS;
    }
    let asked = record::Asked::of_the_command_line();
    if asked.only_list {
        return record::list();
    }
    world::enter();
    let _folder = user::enter();
    record::run(&asked)
}
