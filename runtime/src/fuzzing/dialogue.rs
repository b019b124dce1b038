//! What arrives over sockets: from our own child, from systemd, from criu, from the kernel's netlink.

use super::choices::Choices;
use crate::cgroup::systemd::wire::Reader;
use crate::cgroup::systemd::{dbus, gvariant, parse_address};
use crate::container::notify::is_ready;
use crate::criu::message::Response;
use crate::error::{Context as _, Error, Kind};
use crate::launch::network::{attributes, next_message};
use crate::launch::sync::{MAX_PACKET, Message, decode, encode};

/// The dialogue of parent and child: any packet is a message or refused, and an error arrives with what programs
/// branch on, whatever it says.
pub fn dialogue(input: &[u8]) {
    if let Ok(message) = decode(input) {
        let again = decode(&encode(&message)).unwrap_or_else(|error| panic!("{error}: {message:?}"));
        match (&message, &again) {
            (Message::Failed(error), Message::Failed(again)) => arrives(error, again),
            _ => assert_eq!(again, message),
        }
    }
    let mut choices = Choices(input);
    let kind = choices.one(&[Kind::Invalid, Kind::NotFound, Kind::Unsupported, Kind::NotExecutable]);
    let errno = i32::from(choices.byte());
    let times = 1 << choices.below(10); // up to twice what fits
    let text = String::from_utf8_lossy(&choices.0[..choices.0.len().min(64)]).repeat(times);
    let error = Err::<(), _>(Error::new(kind, text.clone()).with_errno(errno));
    let error = match choices.below(3) {
        0 => error.context("mount"),
        1 => error.on("open", &text),
        _ => error.in_field(text),
    };
    let Err(error) = error else { return };
    let packet = encode(&Message::Failed(error.clone()));
    assert!(packet.len() <= MAX_PACKET, "{} bytes", packet.len());
    match decode(&packet) {
        Ok(Message::Failed(again)) => arrives(&error, &again),
        other => panic!("{other:?}"),
    }
}

fn arrives(error: &Error, again: &Error) {
    assert_eq!((again.kind(), again.errno()), (error.kind(), error.errno()));
    let (sent, here) = (error.to_string(), again.to_string());
    assert!(sent.starts_with(&here) && (sent.is_empty() || !here.is_empty()), "{sent:?} {here:?}");
}

/// Messages of others: read or refused.
pub fn wire(input: &[u8]) {
    let (which, rest) = input.split_first().unwrap_or((&0, &[]));
    let text = String::from_utf8_lossy(rest);
    match which % 7 {
        0 => drop(dbus::message_length(rest)),
        1 => drop(dbus::decode(rest)),
        2 => drop(Response::decode(rest)),
        3 => {
            let mut bytes = rest;
            while let Some((_, body, after)) = next_message(bytes) {
                attributes(body);
                assert!(after.len() < bytes.len());
                bytes = after;
            }
        }
        4 => drop(gvariant::parse(&text)),
        5 => {
            let (signature, body) = text.split_once('\n').unwrap_or((&text, ""));
            drop(Reader::new(body.as_bytes()).values(signature));
        }
        _ => {
            is_ready(rest);
            drop(parse_address(&text));
        }
    }
}
