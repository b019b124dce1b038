//! Where messages go: warnings and errors to standard error and to `--log`, in the form that engines read.
//!
//! containerd reads the file as a stream of records and shows the last error; podman reads it as *one* record.
//! So the error of a failed command alone goes there, once, unless `--debug` asks for more; without `--log`, debug
//! records go to standard error. Beside the level,
//! message and time that engines read it has what a program can branch on: `code` (see [`Kind::code`]), `errno`
//! by name, the `path` that a system call failed on, and `field`, the JSON pointer (RFC 6901) into config.json.
//!
//! [`Kind::code`]: crate::error::Kind::code

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::sync::OnceLock;

use log::{Level, LevelFilter, Log, Metadata, Record};
use serde::Serialize;

use crate::cli::Globals;
use crate::command::time;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::again::again;
use crate::sys::stream::Stream;

struct Sink {
    file: Option<File>,
    /// Standard error as it was at the start, for debug records: a container's init may have another one.
    error: Option<File>,
    json: bool,
}

static SINK: OnceLock<Sink> = OnceLock::new();

/// One record. The order of the fields is that of the text form.
#[derive(Serialize)]
struct Entry<'a> {
    time: String,
    level: &'a str,
    msg: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

impl<'a> Entry<'a> {
    fn new(level: &'a str, msg: &'a str) -> Self {
        Entry { time: time::now(), level, msg, code: None, errno: None, path: None, field: None }
    }

    /// The form of Go's logrus, which people's tools know.
    fn text(&self) -> String {
        let mut line = format!("time={} level={} msg={}", quote(&self.time), self.level, quote(self.msg));
        let code = self.code.map(str::to_owned);
        let more = [("code", &code), ("errno", &self.errno), ("path", &self.path), ("field", &self.field)];
        for (name, value) in more {
            if let Some(value) = value {
                line += &format!(" {name}={}", quote(value));
            }
        }
        line
    }
}

/// A value as logrus writes it: bare where that is plain, else in the quotes of Go's `%q`.
fn quote(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted += "\\n",
            '\r' => quoted += "\\r",
            '\t' => quoted += "\\t",
            c if c.is_ascii_control() => quoted += &format!("\\x{:02x}", c as u32),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// Opens `--log` and puts the sink in place.
pub fn start(globals: &Globals) -> Result<()> {
    let open = |path: &std::path::PathBuf| {
        again(|| OpenOptions::new().append(true).create(true).open(path)).on("--log: open", path)
    };
    let file = globals.log.as_ref().map(open).transpose()?;
    let wants_error = globals.debug && file.is_none();
    let error = wants_error.then(|| std::io::stderr().as_fd().try_clone_to_owned()).transpose();
    let error = error.context("duplicate standard error")?.map(File::from);
    let sink = SINK.get_or_init(|| Sink { file, error, json: globals.json });
    if log::set_logger(sink).is_ok() {
        log::set_max_level(if globals.debug { LevelFilter::Debug } else { LevelFilter::Warn });
    }
    Ok(())
}

/// What messages go to besides standard error.
pub fn descriptor() -> Option<RawFd> {
    let sink = SINK.get()?;
    sink.file.as_ref().or(sink.error.as_ref()).map(|file| file.as_raw_fd())
}

/// Says nothing more, in a process that is to hold on to nothing of the host.
pub fn end() {
    log::set_max_level(LevelFilter::Off);
    descriptor().into_iter().for_each(crate::sys::process::close_for_good);
}

/// What this program was called as: engines and people put it in the place of runc.
pub fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&called).file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.map(|name| name.trim_end_matches(crate::seal::MARK).to_owned());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "wharf-runtime".to_owned())
}

/// Writes the one record of a command that failed. Before there is a sink, standard error has it alone.
pub fn report(error: &Error) {
    let message = error.to_string();
    // Standard error may be closed, and there is no other place to say so.
    let program = program();
    let names_us = message.strip_prefix(&program).is_some_and(|rest| rest.starts_with(' '));
    // What the program itself is to blame for is complete as it stands.
    let bare = names_us || error.kind() == Kind::NotExecutable;
    let prefix = if bare { String::new() } else { format!("{program}: error: ") };
    Stream(std::io::stderr()).write_all(format!("{prefix}{message}\n").as_bytes()).ok();
    if let Some(sink) = SINK.get() {
        sink.write(&Entry {
            code: Some(error.kind().code()),
            errno: error.errno_name(),
            path: error.path().map(|path| path.display().to_string()),
            field: error.pointer(),
            ..Entry::new("error", &message)
        });
    }
}

impl Sink {
    fn write(&self, entry: &Entry<'_>) {
        let error = self.error.as_ref().filter(|_| entry.level == "debug");
        let Some(file) = self.file.as_ref().or(error) else { return };
        let line = match self.json {
            true => serde_json::to_string(entry).unwrap_or_default(),
            false => entry.text(),
        };
        // One write, so that records of several processes do not mix.
        Stream(file).write_all(format!("{line}\n").as_bytes()).ok();
    }
}

impl Log for Sink {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let message = record.args().to_string();
        let level = match record.level() {
            Level::Error => "error",
            Level::Warn => "warning",
            Level::Info => "info",
            Level::Debug | Level::Trace => "debug",
        };
        if record.level() <= Level::Warn {
            let line = format!("{}: {level}: {message}\n", program());
            Stream(std::io::stderr()).write_all(line.as_bytes()).ok();
        }
        if record.level() == Level::Error || log::max_level() >= LevelFilter::Debug {
            self.write(&Entry::new(level, &message));
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_records_quote_as_go_does() {
        let entry = Entry { field: Some("/a/0".into()), ..Entry::new("error", "say \"x\"\n\u{1b}[0mä") };
        let text = entry.text();
        assert!(text.starts_with("time=\"2"), "{text}");
        assert!(text.ends_with(r#" level=error msg="say \"x\"\n\x1b[0mä" field=/a/0"#), "{text}");
        assert_eq!(quote(""), "\"\"");
    }
}
