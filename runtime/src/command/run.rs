//! `run`: create, start, wait, delete; the exit code is the program's.

use super::create::{Bundle, Made, make, resolve_id};
use super::delete::{delete_own, or_delete_own};
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
    let ended = follow(&made, relay, !words.detach);
    match or_delete_own(&made.container, ended).with_context(context)? {
        None => Ok(0),
        Some(code) if words.keep => Ok(code),
        Some(code) => delete_own(&made.container).with_context(context).map(|()| code),
    }
}

/// Starts it, and waits for its exit code if it is to stay in the foreground.
fn follow(made: &Made, relay: Option<Relay>, waits: bool) -> Result<Option<i32>> {
    let leader = relay.map(Relay::receive_leader).transpose()?;
    let signals = waits.then(Signals::catch).transpose()?;
    start_parked(&made.container, &made.record, &made.init.pidfd)?;
    signals.map(|signals| foreground::wait(&made.init, signals, leader)).transpose()
}
