//! Image references, `[registry/]repository[:tag][@digest]`: parsed once, valid for ever. The
//! grammar is the distribution project's and the expansion of short names is Docker's, because
//! that is what everybody types. Written out, a reference always has its registry and its tag.

use std::fmt;
use std::str::FromStr;

use super::digest::{Digest, is_hex};
use crate::error::{Error, Kind, Result};

/// The registry that names without one belong to.
const DEFAULT_REGISTRY: &str = "docker.io";
/// The longest registry and repository together.
const NAME_LENGTH: usize = 255;
/// The longest tag.
const TAG_LENGTH: usize = 128;

/// A parsed reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// `host[:port]`; `docker.io` if none was given.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in the registry, such as `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag. There is always a tag or a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What a registry is asked for: the digest if there is one, for it says more than a tag.
    pub fn wanted(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// Under which name an image is kept: a tag beside a digest promises nothing, so it goes.
    pub fn stored(&self) -> Self {
        let tag = if self.digest.is_some() { None } else { self.tag.clone() };
        Self { tag, ..self.clone() }
    }

    /// Registry and repository as people write them: `busybox`, `user/thing`, `localhost:5000/x`.
    pub fn familiar_name(&self) -> String {
        if self.registry != DEFAULT_REGISTRY {
            return format!("{}/{}", self.registry, self.repository);
        }
        match self.repository.strip_prefix("library/") {
            Some(name) if !name.contains('/') => name.to_owned(),
            _ => self.repository.clone(),
        }
    }

    /// The whole reference as people write it.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        tag + &digest
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.registry, self.repository, self.suffix())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text)
            .map_err(|why| Error::new(Kind::InvalidInput, format!("invalid reference {text:?}: {why}")))
    }
}

fn parse(text: &str) -> std::result::Result<Reference, &'static str> {
    if text.len() == 64 && is_hex(text) {
        return Err("64 hexadecimal digits are an image id, not a name");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| "its digest is none")?)),
        None => (text, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err("its tag is none");
    }
    let (registry, path) = split_registry(name);
    if !is_registry(registry) {
        return Err("its registry is no host[:port]");
    }
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("a repository name must be lower case");
    }
    if !path.split('/').all(is_path_component) {
        return Err("its repository name is none");
    }
    let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
    let official = registry == DEFAULT_REGISTRY && !path.contains('/');
    let repository = if official { format!("library/{path}") } else { path.to_owned() };
    if registry.len() + 1 + repository.len() > NAME_LENGTH {
        return Err("its name is longer than 255 characters");
    }
    let tag = match (tag, &digest) {
        (None, None) => Some("latest".to_owned()),
        (tag, _) => tag.map(str::to_owned),
    };
    Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
}

/// The first component is a registry if it can't be part of a repository's name, or is `localhost`.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first == "localhost" || first.contains(['.', ':']) || has_upper_case(first) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn has_upper_case(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    if port.is_some_and(|port| port.is_empty() || port.parse::<u16>().is_err() || port.starts_with('+')) {
        return false;
    }
    if let Some(address) = host.strip_prefix('[') {
        return address
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let is_label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    host.split('.').all(is_label)
}

/// Runs of letters and digits, joined by one `.`, one or two `_`, or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let edges = text.bytes().next().is_some_and(is_word) && text.bytes().last().is_some_and(is_word);
    let mut separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let joined = |separator: &str| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
    };
    edges && separators.all(joined)
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let inner = text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'));
    text.len() <= TAG_LENGTH && inner && text.bytes().next().is_some_and(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_expand_as_dockers_do() {
        let digest = format!("@sha256:{DIGITS}");
        let table = [
            ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
            ("user/thing", "docker.io/user/thing:latest", "user/thing:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("localhost:5000/x:1", "localhost:5000/x:1", "localhost:5000/x:1"),
            ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c:latest", "127.0.0.1:5000/a/b/c:latest"),
            ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
            ("[::1]/x", "[::1]/x:latest", "[::1]/x:latest"),
            ("reg.example/x", "reg.example/x:latest", "reg.example/x:latest"),
            ("Host/x", "Host/x:latest", "Host/x:latest"),
            ("a__b/c-d--e.f_g", "docker.io/a__b/c-d--e.f_g:latest", "a__b/c-d--e.f_g:latest"),
            ("x:A.b-c_", "docker.io/library/x:A.b-c_", "x:A.b-c_"),
        ];
        for (text, full, familiar) in table {
            let reference: Reference = text.parse().unwrap();
            assert_eq!((reference.to_string().as_str(), reference.familiar().as_str()), (full, familiar));
            let again: Reference = full.parse().unwrap();
            assert_eq!(again, reference);
        }
        let both: Reference = format!("x:1{digest}").parse().unwrap();
        assert_eq!(both.to_string(), format!("docker.io/library/x:1{digest}"));
        assert_eq!(both.stored().familiar(), format!("x{digest}"));
        assert_eq!(both.wanted(), digest[1..]);
        let alone: Reference = format!("x{digest}").parse().unwrap();
        assert_eq!(alone.tag(), None);
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let long_tag = format!("x:{}", "a".repeat(129));
        let long_name = "a/".repeat(128) + "a";
        let wrong = [
            "",
            ":",
            "x:",
            ":x",
            "@",
            "x@",
            "Busybox",
            "user/Thing",
            "a//b",
            "/a",
            "a/",
            "a/../b",
            "../a",
            "./a",
            ".a",
            "a.",
            "_a",
            "a_",
            "a___b",
            "a..b",
            "-a",
            "a-",
            "x:-1",
            "x:.1",
            "x:a b",
            " x",
            "x ",
            "x\n",
            "x\0",
            "é",
            "x@sha256:abc",
            "localhost:port/x",
            "localhost:/x",
            "localhost:99999/x",
            "[::1/x",
            "[zz]/x",
            "-a.b/x",
            "a..b/x",
            "http://reg/x",
            "x:1:2",
            "docker.io",
            DIGITS,
            &long_tag,
            &long_name,
        ];
        // A host alone is the name of a repository: Docker reads it so, too.
        for text in wrong.into_iter().filter(|text| *text != "docker.io") {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
        let error = "Busybox".parse::<Reference>().unwrap_err();
        assert_eq!(error.to_string(), "invalid reference \"Busybox\": a repository name must be lower case");
    }
}
