//! The runtime's one error type: a kind for those who branch, a chain of context for those who read.
//!
//! A message reads from left to right as the story of what was being done: `create "web": mount /proc:
//! fsmount(...): EPERM: operation not permitted`. Each layer adds only what it alone knows.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::place::Place;

/// What went wrong, as far as somebody branches on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// config.json, an option or an argument asks for something that is wrong.
    Invalid,
    /// The container, file or namespace is not there.
    NotFound,
    /// The container ID is taken.
    AlreadyExists,
    /// The container's status forbids the verb.
    WrongStatus,
    /// The request is valid, but this runtime or this host does not do it.
    Unsupported,
    /// All is made, but the container's program can't be executed.
    NotExecutable,
    /// A system call or a child process went wrong.
    System,
}

impl Kind {
    /// A word that stays the same for ever: `code` in the JSON log.
    pub fn code(self) -> &'static str {
        match self {
            Kind::Invalid => "invalid",
            Kind::NotFound => "not-found",
            Kind::AlreadyExists => "already-exists",
            Kind::WrongStatus => "wrong-status",
            Kind::Unsupported => "unsupported",
            Kind::NotExecutable => "not-executable",
            Kind::System => "system",
        }
    }
}

/// An error with its context. See the module's text for the form of the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Inner {
    kind: Kind,
    errno: Option<i32>,
    message: String,
    field: Option<String>,
    path: Option<PathBuf>,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, errno: None, message: message.into(), field: None, path: None }))
    }

    /// A wrong value at `field` of config.json, named as `linux.devices[0].path`.
    pub fn at(field: impl Into<String>, message: impl fmt::Display) -> Self {
        Self::at_as(Kind::Invalid, field, message)
    }

    /// As [`Error::at`], of another kind.
    pub fn at_as(kind: Kind, field: impl Into<String>, message: impl fmt::Display) -> Self {
        let field = field.into();
        let mut error = Self::new(kind, format!("{field}: {message}"));
        error.0.field = Some(field);
        error
    }

    /// A wrong wish: [`Kind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// The kind, for callers that branch.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The system's error number, when a system call was the cause.
    pub fn errno(&self) -> Option<i32> {
        self.0.errno
    }

    /// Its name: `ENOENT`.
    pub fn errno_name(&self) -> Option<String> {
        self.0.errno.map(|errno| format!("{:?}", nix::errno::Errno::from_raw(errno)))
    }

    /// The message without the place in config.json, for those who show that beside it.
    pub fn message_without_field(&self) -> &str {
        let field = self.0.field.as_deref().unwrap_or_default();
        let rest = self.0.message.strip_prefix(field).and_then(|rest| rest.strip_prefix(": "));
        rest.unwrap_or(&self.0.message)
    }

    /// The JSON pointer (RFC 6901) of the value in config.json that is wrong, if it is one.
    pub fn pointer(&self) -> Option<String> {
        self.place().map(|place| place.pointer())
    }

    /// The steps to that value.
    pub fn place(&self) -> Option<Place> {
        self.0.field.as_deref().map(Place::parse)
    }

    /// The same as it stands in messages.
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The file that a system call failed on, if it is known.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// Names the file, unless a lower layer has.
    #[must_use]
    pub fn on_path(mut self, path: &Path) -> Self {
        self.0.path.get_or_insert_with(|| path.to_owned());
        self
    }

    /// Names the system's error number, where the message was not made of it.
    #[must_use]
    pub fn with_errno(mut self, errno: i32) -> Self {
        self.0.errno.get_or_insert(errno);
        self
    }

    /// Names the place in config.json without a word in the message.
    #[must_use]
    pub fn about(mut self, field: impl Into<String>) -> Self {
        self.0.field.get_or_insert_with(|| field.into());
        self
    }

    /// The error as it travels from one process of the runtime to another. The message is cut and a path or a place
    /// left out where they are too long: of what does not fit into a packet nothing would arrive as it was.
    pub fn encode(&self) -> Vec<u8> {
        let mut inner = (*self.0).clone();
        let mut longest = MAX_ENCODED / 2;
        loop {
            truncate(&mut inner.message, longest);
            inner.path = inner.path.filter(|path| path.as_os_str().len() <= longest);
            inner.field = inner.field.filter(|field| field.len() <= longest);
            match serde_json::to_vec(&inner) {
                Ok(bytes) if bytes.len() < MAX_ENCODED => return bytes,
                Ok(_) => longest /= 2,
                // JSON has no words for such a path.
                Err(_) if inner.path.take().is_some() => {}
                Err(_) => return inner.message.into_bytes(),
            }
        }
    }

    /// The reverse of [`Error::encode`]. Whatever else comes is the message of a [`Kind::System`] error.
    pub fn decode(bytes: &[u8]) -> Self {
        match serde_json::from_slice::<Inner>(bytes) {
            Ok(inner) => Error(Box::new(inner)),
            Err(_) => Self::new(Kind::System, String::from_utf8_lossy(bytes)),
        }
    }

    /// Names the place in config.json, unless a lower layer has, and puts it before the message.
    #[must_use]
    pub fn in_field(self, field: impl Into<String>) -> Self {
        let field = field.into();
        let mut error = self.prefixed(&field);
        error.0.field.get_or_insert(field);
        error
    }

    /// The same error as another kind.
    #[must_use]
    pub fn of(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Puts `: remark` behind the message.
    #[must_use]
    pub fn followed(mut self, remark: impl fmt::Display) -> Self {
        self.0.message = format!("{}: {remark}", self.0.message);
        self
    }

    /// Puts `context: ` before the message.
    #[must_use]
    pub fn prefixed(mut self, context: impl fmt::Display) -> Self {
        // What is wrong with the program itself is said as a shell says it, without our story before it.
        if self.0.kind != Kind::NotExecutable {
            self.0.message = format!("{context}: {}", self.0.message);
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

/// What [`Context`] is added to. The system's errors are none of ours before that, so that `?` alone, which would say
/// nothing of what was being done, does not compile.
pub trait Cause {
    /// The error; the system's without a word of context.
    fn into_error(self) -> Error;
}

impl Cause for Error {
    fn into_error(self) -> Error {
        self
    }
}

impl Cause for std::io::Error {
    fn into_error(self) -> Error {
        let kind = match self.kind() {
            std::io::ErrorKind::NotFound => Kind::NotFound,
            _ => Kind::System,
        };
        let errno = self.raw_os_error();
        let message = errno.map_or_else(|| self.to_string(), describe_errno);
        Error(Box::new(Inner { kind, errno, message, field: None, path: None }))
    }
}

impl Cause for rustix::io::Errno {
    fn into_error(self) -> Error {
        std::io::Error::from(self).into_error()
    }
}

impl Cause for nix::errno::Errno {
    fn into_error(self) -> Error {
        std::io::Error::from(self).into_error()
    }
}

/// What an encoded error fits into.
const MAX_ENCODED: usize = 16 * 1024;

fn truncate(text: &mut String, longest: usize) {
    text.truncate(text.floor_char_boundary(longest));
}

/// The lower-case text of an error number, as engines match it (`permission denied`, `no such file or
/// directory`, `no such process`).
pub fn describe_errno(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// Adds the verb phrase of what was being done to an error.
pub trait Context<T> {
    /// Puts `context: ` before the message.
    fn context(self, context: impl fmt::Display) -> Result<T>;
    /// As [`Context::context`], with the text made only on error.
    fn with_context<C: fmt::Display>(self, context: impl FnOnce() -> C) -> Result<T>;
    /// As [`Context::context`] with `doing` and a path, which the error keeps too.
    fn on(self, doing: &str, path: impl AsRef<Path>) -> Result<T>;
    /// Names the place in config.json without a word in the message.
    fn about(self, field: impl Into<String>) -> Result<T>;
    /// Puts the place in config.json before the message, which the error keeps too.
    fn in_field(self, field: impl Into<String>) -> Result<T>;
}

impl<T, E: Cause> Context<T> for Result<T, E> {
    fn context(self, context: impl fmt::Display) -> Result<T> {
        self.map_err(|e| e.into_error().prefixed(context))
    }

    fn with_context<C: fmt::Display>(self, context: impl FnOnce() -> C) -> Result<T> {
        self.map_err(|e| e.into_error().prefixed(context()))
    }

    fn on(self, doing: &str, path: impl AsRef<Path>) -> Result<T> {
        let path = path.as_ref();
        self.map_err(|e| e.into_error().prefixed(format_args!("{doing} {}", path.display())).on_path(path))
    }

    fn about(self, field: impl Into<String>) -> Result<T> {
        self.map_err(|e| e.into_error().about(field))
    }

    fn in_field(self, field: impl Into<String>) -> Result<T> {
        self.map_err(|e| e.into_error().in_field(field))
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn context_reads_from_left_to_right() {
        let error = Err::<(), _>(std::io::Error::from_raw_os_error(libc::EACCES))
            .context("open /x")
            .context("create \"web\"")
            .unwrap_err();
        assert_eq!(error.to_string(), "create \"web\": open /x: permission denied");
        assert_eq!(error.errno(), Some(libc::EACCES));
    }

    /// CRI-O tells a process that is gone by these letters, in this case.
    #[test]
    fn system_errors_read_as_engines_match_them() {
        for (errno, text) in [
            (libc::ESRCH, "no such process"),
            (libc::ENOENT, "no such file or directory"),
            (libc::EACCES, "permission denied"),
            (libc::EPERM, "operation not permitted"),
            (libc::EISDIR, "is a directory"),
            (libc::ENOTDIR, "not a directory"),
        ] {
            assert_eq!(describe_errno(errno), text);
        }
    }

    #[test]
    fn error_arrives_in_the_other_process_with_all_its_parts() {
        let error = Err::<(), _>(std::io::Error::from_raw_os_error(libc::ENOENT))
            .on("open", "/x")
            .in_field("mounts[0].source")
            .unwrap_err();
        assert_eq!(error.errno_name().as_deref(), Some("ENOENT"));
        assert_eq!(Error::decode(&error.encode()), error);
        assert_eq!(Error::decode(b"plain").to_string(), "plain");
    }

    /// A packet is cut where it is too long, and what is cut is no error any more but its raw text.
    #[test]
    fn error_of_any_length_arrives_whole_but_for_the_end_of_its_message() {
        for text in ["ä", "\u{1}", "\\", "a"].map(|letter| letter.repeat(MAX_ENCODED)) {
            let errors = [
                Error::invalid(text.clone()).with_errno(libc::ENAMETOOLONG),
                Err::<(), _>(std::io::Error::from_raw_os_error(libc::ENAMETOOLONG))
                    .on("open", &text)
                    .unwrap_err(),
                Error::at(text, "is wrong").with_errno(libc::ENAMETOOLONG),
                Error::invalid("no text").on_path(OsStr::from_bytes(b"/\xff").as_ref()),
            ];
            for error in errors {
                let bytes = error.encode();
                assert!(bytes.len() < MAX_ENCODED, "{}", bytes.len());
                let arrived = Error::decode(&bytes);
                assert_eq!((arrived.kind(), arrived.errno()), (error.kind(), error.errno()));
                assert!(
                    error.to_string().starts_with(&arrived.to_string()) && !arrived.to_string().is_empty()
                );
            }
        }
    }
}
