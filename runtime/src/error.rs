//! The runtime's one error type: a kind for those who branch, a chain of context for those who read.
//!
//! A message reads from left to right as the story of what was being done: `create "web": mount /proc:
//! fsmount(...): EPERM: operation not permitted`. Each layer adds only what it alone knows.

use std::fmt;

/// What went wrong, as far as somebody branches on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// A system call or a child process went wrong.
    System,
}

/// An error with its context. See the module's text for the form of the message.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    errno: Option<i32>,
    message: String,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, errno: None, message: message.into() }))
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

    fn prefixed(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => Kind::NotFound,
            _ => Kind::System,
        };
        let errno = error.raw_os_error();
        let message = errno.map_or_else(|| error.to_string(), describe_errno);
        Error(Box::new(Inner { kind, errno, message }))
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        std::io::Error::from(errno).into()
    }
}

impl From<nix::errno::Errno> for Error {
    fn from(errno: nix::errno::Errno) -> Self {
        std::io::Error::from(errno).into()
    }
}

/// The lower-case text of an error number, as engines match it (`permission denied`, `no such file or
/// directory`, `no such process`).
pub fn describe_errno(errno: i32) -> String {
    nix::errno::Errno::from_raw(errno).desc().to_lowercase()
}

/// Adds the verb phrase of what was being done to an error.
pub trait Context<T> {
    /// Puts `context: ` before the message.
    fn context(self, context: impl fmt::Display) -> Result<T>;
    /// As [`Context::context`], with the text made only on error.
    fn with_context<C: fmt::Display>(self, context: impl FnOnce() -> C) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for Result<T, E> {
    fn context(self, context: impl fmt::Display) -> Result<T> {
        self.map_err(|e| e.into().prefixed(context))
    }

    fn with_context<C: fmt::Display>(self, context: impl FnOnce() -> C) -> Result<T> {
        self.map_err(|e| e.into().prefixed(context()))
    }
}

#[cfg(test)]
mod tests {
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
}
