//! The one error of this crate: a kind that callers branch on, a cause, and the story that led to
//! it. Context is a verb phrase that names its object; read from left to right the phrases tell
//! what was being done: `pull localhost:5000/x:1: fetch manifest: connection refused`.

use std::borrow::Cow;
use std::fmt;

/// What went wrong, as far as someone decides by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The thing that was named does not exist.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The thing is in a state that forbids this.
    Conflict,
    /// What was asked for makes no sense or does not parse.
    InvalidInput,
    /// The other side wants other credentials.
    Unauthorized,
    /// Bytes are not what their digest, size or format promises.
    Integrity,
    /// The other side can't be reached or can't answer now.
    Unavailable,
    /// The OCI runtime refused.
    Runtime,
    /// The container's program exists but can't be executed.
    NotExecutable,
    /// The container's program does not exist.
    CommandNotFound,
    /// The kernel or the file system refused.
    System,
}

impl Kind {
    /// The exit code, as `docker run` gives it: 125 the engine, 126 not executable, 127 not found.
    pub fn exit_code(self) -> i32 {
        match self {
            Self::NotExecutable => 126,
            Self::CommandNotFound => 127,
            _ => 125,
        }
    }
}

/// An error with the story that led to it.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    /// Outermost last.
    story: Vec<Cow<'static, str>>,
    cause: String,
}

/// The result of nearly everything here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with no story yet.
    pub fn new(kind: Kind, cause: impl Into<String>) -> Self {
        Self { kind, story: Vec::new(), cause: cause.into() }
    }

    /// What callers branch on.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same error as another kind: the caller knows better what it means.
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for phrase in self.story.iter().rev() {
            write!(f, "{phrase}: ")?;
        }
        f.write_str(&self.cause)
    }
}

impl std::error::Error for Error {}

/// Adds a phrase to the story of an error.
pub trait Context<T> {
    /// Says what was being done.
    fn context(self, phrase: impl Into<Cow<'static, str>>) -> Result<T>;

    /// The same, for a phrase that costs something to make.
    fn with_context<P: Into<Cow<'static, str>>>(self, phrase: impl FnOnce() -> P) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, phrase: impl Into<Cow<'static, str>>) -> Result<T> {
        self.with_context(|| phrase)
    }

    fn with_context<P: Into<Cow<'static, str>>>(self, phrase: impl FnOnce() -> P) -> Result<T> {
        self.map_err(|error| {
            let mut error = error.into();
            error.story.push(phrase().into());
            error
        })
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => nix::errno::Errno::from_raw(number).into(),
            // One of ours that had to travel through a reader.
            None => {
                error.downcast::<Self>().unwrap_or_else(|error| Self::new(Kind::System, error.to_string()))
            }
        }
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

impl From<nix::errno::Errno> for Error {
    fn from(errno: nix::errno::Errno) -> Self {
        use nix::errno::Errno;
        let kind = match errno {
            Errno::ENOENT => Kind::NotFound,
            Errno::EEXIST => Kind::AlreadyExists,
            Errno::ECONNREFUSED | Errno::ECONNRESET | Errno::EHOSTUNREACH | Errno::ENETUNREACH => {
                Kind::Unavailable
            }
            _ => Kind::System,
        };
        let text = errno.desc();
        let (first, rest) = text.split_at(1);
        Self::new(kind, first.to_ascii_lowercase() + rest)
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(errno: rustix::io::Errno) -> Self {
        nix::errno::Errno::from_raw(errno.raw_os_error()).into()
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::new(Kind::InvalidInput, error.to_string())
    }
}

impl From<std::num::ParseIntError> for Error {
    fn from(error: std::num::ParseIntError) -> Self {
        Self::new(Kind::InvalidInput, error.to_string())
    }
}

impl From<std::str::Utf8Error> for Error {
    fn from(error: std::str::Utf8Error) -> Self {
        Self::new(Kind::InvalidInput, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_the_story_from_left_to_right() {
        let refused = std::io::Error::from_raw_os_error(111);
        let error: Result<()> = Err(refused).context("fetch manifest");
        let error = error.with_context(|| format!("pull {}", "localhost:5000/x:1")).unwrap_err();
        assert_eq!(error.to_string(), "pull localhost:5000/x:1: fetch manifest: connection refused");
        assert_eq!(error.kind(), Kind::Unavailable);
    }

    #[test]
    fn an_error_keeps_its_kind_through_a_reader() {
        let inner: Result<()> = Err(Error::new(Kind::Integrity, "digest differs")).context("read layer");
        let outer: Error = std::io::Error::from(inner.unwrap_err()).into();
        assert_eq!(
            (outer.kind(), outer.to_string().as_str()),
            (Kind::Integrity, "read layer: digest differs")
        );
    }
}
