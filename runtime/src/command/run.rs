//! `run`: create, start, wait, delete; the exit code is the program's.

use super::create::{make, resolve_id};
use super::delete::delete_container;
use super::foreground::{self, Relay};
use super::start::start_container;
use crate::cli::Globals;
use crate::cli::verbs::Run;
use crate::error::{Context, Error, Result};

/// The verb.
pub fn run(globals: &Globals, words: &Run) -> Result<i32> {
    let (id, making, _) = resolve_id(&words.id, &words.making)?;
    let context = || format!("{} run failed", crate::log::program());
    let terminal = crate::spec::load(&making.bundle)
        .with_context(context)?
        .process
        .is_some_and(|process| process.terminal);
    if terminal && words.detach && making.console_socket.is_none() {
        let message =
            "process.terminal: cannot allocate tty if wharf-runtime will detach without --console-socket";
        return Err(Error::invalid(message)).with_context(context);
    }
    let relay = (terminal && making.console_socket.is_none()).then(Relay::prepare).transpose()?;
    let (relay, theirs) = relay.unzip();
    let made = make(globals, &id, &making, theirs).with_context(context)?;
    let leader = relay.map(Relay::receive_leader).transpose()?;
    if let Err(error) = start_container(&made.container, &made.record) {
        // Nothing may be left of a run that failed.
        delete_container(&made.container, &made.record)?;
        return Err(error).with_context(context);
    }
    if words.detach {
        return Ok(0);
    }
    let code = foreground::wait(&made.init, leader).with_context(context)?;
    if !words.keep {
        delete_container(&made.container, &made.record).with_context(context)?;
    }
    Ok(code)
}
