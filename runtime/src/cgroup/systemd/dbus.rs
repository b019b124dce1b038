//! A D-Bus connection to a systemd manager: authenticate, call, wait for a job's end. Nothing else of D-Bus.
//!
//! The manager's own socket is asked first; it needs no bus daemon, which may be hanging or be missing. No step
//! waits longer than until the connection's deadline: a runtime that is stuck holds up its engine.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::wire::{self, Reader, Value, pad, signature_of};
use crate::deadline::Deadline;
use crate::error::{Cause as _, Context, Error, Kind, Result};
use crate::sys::again::again;

/// How long a connection may live: all that one verb asks of systemd happens within.
const DEADLINE: Duration = Duration::from_secs(30);

/// Longer messages are refused (the specification allows 128 MiB).
const MAX_MESSAGE: usize = 4 << 20;

const DESTINATION: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// The other side's refusal.
#[derive(Debug)]
pub struct Refusal {
    /// `org.freedesktop.systemd1.NoSuchUnit`.
    pub name: String,
    /// The text for people.
    pub message: String,
}

impl Refusal {
    /// The refusal as an error.
    pub fn into_error(self) -> Error {
        Error::new(Kind::System, format!("{} ({})", self.message, self.name))
    }
}

/// A call's answer: inner errors are the manager's, outer ones the connection's.
pub type Answer = Result<Result<Vec<Value>, Refusal>>;

pub(crate) struct Message {
    kind: u8,
    reply_to: Option<u32>,
    member: String,
    error: String,
    body: Vec<Value>,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    deadline: Deadline,
    serial: u32,
    received: Vec<u8>,
    /// Path and result of jobs that ended while something else was waited for.
    ended: VecDeque<(String, String)>,
}

/// A socket on which a manager can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The path; one that starts with NUL is abstract (unix(7)).
    pub path: Vec<u8>,
    /// Whether a bus daemon is in between.
    pub bus: bool,
}

impl Connection {
    /// Connects to the first address that answers.
    pub fn open(addresses: &[Address]) -> Result<Connection> {
        let deadline = Deadline::after(DEADLINE);
        let mut errors = Vec::new();
        for address in addresses {
            let name = String::from_utf8_lossy(&address.path).replace('\0', "@");
            match Connection::connect(address, deadline).with_context(|| format!("connect to {name}")) {
                Ok(connection) => return Ok(connection),
                Err(error) => errors.push(error.to_string()),
            }
        }
        Err(Error::new(Kind::System, errors.join("; ")))
    }

    fn connect(address: &Address, deadline: Deadline) -> Result<Connection> {
        let name = match address.path.split_first() {
            Some((0, rest)) => SocketAddrUnix::new_abstract_name(rest).context("read socket name")?,
            _ => SocketAddrUnix::new(address.path.as_slice()).context("read socket name")?,
        };
        let socket = again(|| {
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        })
        .context("create socket")?;
        // connect(2) heeds it too.
        again(|| set_socket_timeout(&socket, Timeout::Send, Some(DEADLINE))).context("set socket timeout")?;
        again(|| rustix::net::connect(&socket, &name)).context("connect")?;
        let stream = UnixStream::from(socket);
        let mut connection =
            Connection { stream, deadline, serial: 0, received: Vec::new(), ended: VecDeque::new() };
        connection.authenticate().context("authenticate")?;
        if address.bus {
            connection.greet()?;
        }
        Ok(connection)
    }

    /// EXTERNAL with an empty identity: the socket's credentials say who we are, also out of a user namespace,
    /// where our own number would be the wrong one.
    ///
    /// BEGIN goes along without waiting for the OK, and nothing follows before that has come: a message that
    /// systemd reads together with BEGIN lies in its buffer until more arrives, which may be never.
    fn authenticate(&mut self) -> Result<()> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        loop {
            let end = loop {
                match self.received.windows(2).position(|pair| pair == b"\r\n") {
                    Some(end) => break end,
                    None => self.receive_more()?,
                }
            };
            let line: Vec<u8> = self.received.drain(..end).collect();
            self.received.drain(..2);
            match line.as_slice() {
                b"DATA" => {}
                ok if ok.starts_with(b"OK ") => return Ok(()),
                other => {
                    let text = String::from_utf8_lossy(other).into_owned();
                    return Err(Error::new(Kind::System, format!("access refused: {text}")));
                }
            }
        }
    }

    /// What a bus wants: a name for us, and to hear that we wait for ended jobs.
    fn greet(&mut self) -> Result<()> {
        let bus = |member| Call {
            destination: "org.freedesktop.DBus",
            object: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member,
        };
        self.ask(&bus("Hello"), &[])?.map_err(Refusal::into_error).context("Hello")?;
        let rule = format!("type='signal',interface='{MANAGER}',member='JobRemoved'");
        self.ask(&bus("AddMatch"), &[Value::Str(rule)])?.map_err(Refusal::into_error).context("AddMatch")?;
        self.manager("Subscribe", &[])?.map_err(Refusal::into_error).context("Subscribe").map(|_| ())
    }

    /// Calls a method of the manager.
    pub fn manager(&mut self, member: &str, arguments: &[Value]) -> Answer {
        let call = Call { destination: DESTINATION, object: OBJECT, interface: MANAGER, member };
        self.ask(&call, arguments).with_context(|| format!("call {member}"))
    }

    /// A property of the manager that is a string.
    pub fn manager_property(&mut self, name: &str) -> Result<String> {
        let (interface, member) = ("org.freedesktop.DBus.Properties", "Get");
        let call = Call { destination: DESTINATION, object: OBJECT, interface, member };
        let arguments = [Value::Str(MANAGER.to_owned()), Value::Str(name.to_owned())];
        let context = || format!("get property {name} of systemd");
        let values = self
            .ask(&call, &arguments)
            .with_context(context)?
            .map_err(Refusal::into_error)
            .with_context(context)?;
        let text = values.first().and_then(Value::text).map(str::to_owned);
        text.ok_or_else(|| Error::new(Kind::System, "is not a string")).with_context(context)
    }

    /// Waits until the job has ended and returns its result: `done`, `failed`, `canceled` and so on.
    pub fn wait_for_job(&mut self, job: &str) -> Result<String> {
        loop {
            if let Some(index) = self.ended.iter().position(|(path, _)| path == job) {
                return Ok(self.ended.swap_remove_back(index).map(|(_, result)| result).unwrap_or_default());
            }
            let message = self.receive().with_context(|| format!("wait for the end of {job}"))?;
            self.note(message);
        }
    }

    fn note(&mut self, message: Message) {
        if message.kind == SIGNAL
            && message.member == "JobRemoved"
            && let [_, path, _, result] = message.body.as_slice()
            && let (Some(path), Some(result)) = (path.text(), result.text())
        {
            self.ended.push_back((path.to_owned(), result.to_owned()));
        }
    }

    fn ask(&mut self, call: &Call<'_>, arguments: &[Value]) -> Answer {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        self.send(&call.encode(serial, arguments))?;
        loop {
            let message = self.receive()?;
            match message.kind {
                METHOD_RETURN if message.reply_to == Some(serial) => return Ok(Ok(message.body)),
                ERROR if message.reply_to == Some(serial) => {
                    let text = message.body.first().and_then(Value::text).unwrap_or_default().to_owned();
                    return Ok(Err(Refusal { name: message.error, message: text }));
                }
                _ => self.note(message),
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let left = self.time_left()?;
        again(|| self.stream.set_write_timeout(Some(left))).context("set socket timeout")?;
        self.stream.write_all(bytes).map_err(explain).context("send")
    }

    fn time_left(&self) -> Result<Duration> {
        let left = self.deadline.left().unwrap_or(DEADLINE);
        if left.is_zero() { Err(explain(ErrorKind::TimedOut.into())) } else { Ok(left) }
    }

    fn receive_more(&mut self) -> Result<()> {
        let left = self.time_left()?;
        again(|| self.stream.set_read_timeout(Some(left))).context("set socket timeout")?;
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(Error::new(Kind::System, "systemd closed the connection")),
            Ok(count) => {
                self.received.extend(bytes.iter().take(count));
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(explain(error)),
        }
    }

    fn receive(&mut self) -> Result<Message> {
        loop {
            if let Some(length) = message_length(&self.received)?
                && self.received.len() >= length
            {
                let bytes: Vec<u8> = self.received.drain(..length).collect();
                return decode(&bytes);
            }
            self.receive_more()?;
        }
    }
}

/// A read or write that took until the deadline says so.
fn explain(error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            Error::new(Kind::System, format!("systemd did not answer within {} s", DEADLINE.as_secs()))
        }
        _ => error.into_error(),
    }
}

struct Call<'a> {
    destination: &'a str,
    object: &'a str,
    interface: &'a str,
    member: &'a str,
}

impl Call<'_> {
    fn encode(&self, serial: u32, arguments: &[Value]) -> Vec<u8> {
        let field = |code, value| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]);
        let text = |text: &str| Value::Str(text.to_owned());
        let mut fields = vec![
            field(1, Value::Path(self.object.to_owned())),
            field(2, text(self.interface)),
            field(3, text(self.member)),
            field(6, text(self.destination)),
        ];
        if !arguments.is_empty() {
            fields.push(field(8, Value::Signature(signature_of(arguments))));
        }
        let mut body = Vec::new();
        arguments.iter().for_each(|argument| argument.write(&mut body));
        let mut message = vec![b'l', METHOD_CALL, 0, 1];
        Value::U32(wire::length(body.len())).write(&mut message);
        Value::U32(serial).write(&mut message);
        Value::Array("(yv)".to_owned(), fields).write(&mut message);
        pad(&mut message, 8);
        message.extend(body);
        message
    }
}

fn malformed() -> Error {
    Error::new(Kind::System, "malformed D-Bus message")
}

/// The length of the message that starts here, once its first 16 bytes tell.
pub(crate) fn message_length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(start) = bytes.first_chunk::<16>() else { return Ok(None) };
    let &[order, _, _, _, a, b, c, d, _, _, _, _, e, f, g, h] = start;
    let (body, fields) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    let header = fields.checked_add(16).and_then(|length| length.checked_next_multiple_of(8));
    let length = header.and_then(|header| header.checked_add(body)).ok_or_else(malformed)? as usize;
    if order != b'l' || length > MAX_MESSAGE { Err(malformed()) } else { Ok(Some(length)) }
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Message> {
    let mut header = Reader::new(bytes).values("yyyyuua(yv)")?;
    let Some(Value::Array(_, fields)) = header.pop() else { return Err(malformed()) };
    let [_, Value::Byte(kind), _, _, Value::U32(body_length), _] = header.as_slice() else {
        return Err(malformed());
    };
    let mut message = Message {
        kind: *kind,
        reply_to: None,
        member: String::new(),
        error: String::new(),
        body: Vec::new(),
    };
    let mut signature = String::new();
    for field in fields {
        let Value::Struct(pair) = field else { return Err(malformed()) };
        let [Value::Byte(code), Value::Variant(value)] = pair.as_slice() else { return Err(malformed()) };
        let text = || value.text().unwrap_or_default().to_owned();
        match (code, value.as_ref()) {
            (3, _) => message.member = text(),
            (4, _) => message.error = text(),
            (5, Value::U32(serial)) => message.reply_to = Some(*serial),
            (8, _) => signature = text(),
            _ => {}
        }
    }
    let body = bytes.len().checked_sub(*body_length as usize).and_then(|at| bytes.get(at..));
    message.body = Reader::new(body.ok_or_else(malformed)?).values(&signature)?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_is_a_message_of_the_length_it_says() {
        let call = Call { destination: DESTINATION, object: OBJECT, interface: MANAGER, member: "StopUnit" };
        let arguments = [Value::Str("x.scope".into()), Value::Str("replace".into())];
        let bytes = call.encode(3, &arguments);
        assert_eq!(message_length(&bytes).unwrap(), Some(bytes.len()));
        let message = decode(&bytes).unwrap();
        assert_eq!((message.member.as_str(), message.body.as_slice()), ("StopUnit", &arguments[..]));
        assert!(message_length(b"B\x01\0\x01aaaaaaaaaaaa").is_err());
        assert!(message_length(b"l\x01\0\x01\xff\xff\xff\xff\0\0\0\0\0\0\0\0").is_err());
    }
}
