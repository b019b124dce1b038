//! Command lines, and the little languages in them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::sync::OnceLock;

use clap::{CommandFactory, FromArgMatches};

use crate::cli::quantities::{duration, size};
use crate::cli::{Globals, Parsed, criu, parse, split, verbs};
use crate::command::checkpoint::parse_page_server;
use crate::command::exec::parse_user;
use crate::command::kill::parse_signal;
use crate::container::id::ContainerId;
use crate::plan::lists;

/// A command line, a word a line.
pub fn words(input: &[u8]) {
    static GLOBALS: OnceLock<Globals> = OnceLock::new();
    let mut globals = GLOBALS.get_or_init(Globals::default).clone();
    let list = input.split(|byte| *byte == b'\n').map(|word| OsString::from_vec(word.to_vec()));
    let text = String::from_utf8_lossy(input);
    text.lines().for_each(little_languages);
    let Ok(words) = split(list, &mut globals) else { return };
    let (verb, rest) = (words.verb.as_str(), words.rest);
    match verb {
        "create" => parse_verb::<verbs::Create>(verb, rest),
        "run" => parse_verb::<verbs::Run>(verb, rest),
        "exec" => parse_verb::<verbs::Exec>(verb, rest),
        "list" => parse_verb::<verbs::List>(verb, rest),
        "kill" => parse_verb::<verbs::Kill>(verb, rest),
        "delete" => parse_verb::<verbs::Delete>(verb, rest),
        "update" => parse_verb::<verbs::Update>(verb, rest),
        "events" => parse_verb::<verbs::Events>(verb, rest),
        "ps" => parse_verb::<verbs::Ps>(verb, rest),
        "checkpoint" => parse_verb::<criu::Checkpoint>(verb, rest),
        "restore" => parse_verb::<criu::Restore>(verb, rest),
        "state" => parse_verb::<verbs::IdOnly>(verb, rest),
        _ => {}
    }
}

fn parse_verb<T: CommandFactory + FromArgMatches>(verb: &str, rest: Vec<OsString>) {
    match parse::<T>(verb, rest) {
        Ok(Parsed::Help(text)) => assert!(!text.is_empty()),
        Ok(Parsed::Words(_)) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn little_languages(text: &str) {
    if let Ok((uid, gid)) = parse_user(text) {
        assert!(uid != u32::MAX && gid != Some(u32::MAX));
    }
    if let Ok(bytes) = size(text) {
        assert!(bytes >= -1, "{text:?} is {bytes}");
    }
    if let Ok(time) = duration(text) {
        assert!(!time.is_zero());
    }
    if let Ok((address, port)) = parse_page_server(text) {
        assert!(!address.is_empty() && port != 0);
    }
    if let Ok(mask) = lists::parse("cpus", text) {
        assert!(mask.0.len() <= 1024);
    }
    if let Ok(id) = text.parse::<ContainerId>() {
        assert!(!id.as_str().contains('/') && !matches!(id.as_str(), "." | ".."));
    }
}

/// Signals: a number from 0 to 64, in any case the same.
pub fn signals(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(number) = parse_signal(&text) {
        assert!((0..=64).contains(&number), "{text:?} is {number}");
        assert_eq!(parse_signal(&text.to_ascii_lowercase()).ok(), Some(number));
    }
}
