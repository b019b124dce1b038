//! `run`: create, start, wait, delete; the exit code is the program's.

use super::create::{Bundle, make, resolve_id};
use super::delete::delete_container;
use super::foreground::{self, Relay, Signals};
use super::start::start_parked;
use crate::cli::Globals;
use crate::cli::verbs::Run;
use crate::error::{Context, Error, Result};

/// The verb.
pub fn run(globals: &Globals, words: &Run) -> Result<i32> {
    let (id, making, _) = resolve_id(&words.id, &words.making)?;
    let context = || format!("{} run failed", crate::log::program());
    let bundle = Bundle::open(&making).with_context(context)?;
    let terminal = bundle.wants_terminal();
    if terminal && words.detach && making.console_socket.is_none() {
        let message =
            "process.terminal: cannot allocate tty if wharf-runtime will detach without --console-socket";
        return Err(Error::invalid(message)).with_context(context);
    }
    let relay = (terminal && making.console_socket.is_none()).then(Relay::prepare).transpose()?;
    let (relay, theirs) = relay.unzip();
    let made = make(globals, &id, &making, bundle, theirs).with_context(context)?;
    let leader = relay.map(Relay::receive_leader).transpose()?;
    let signals = (!words.detach).then(Signals::catch).transpose().with_context(context)?;
    if let Err(error) = start_parked(&made.container, &made.record, &made.init.pidfd) {
        // Nothing may be left of a run that failed.
        delete_container(&made.container)?;
        return Err(error).with_context(context);
    }
    let Some(signals) = signals else { return Ok(0) };
    let code = foreground::wait(&made.init, signals, leader).with_context(context)?;
    if !words.keep {
        delete_container(&made.container).with_context(context)?;
    }
    Ok(code)
}
