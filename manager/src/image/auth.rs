//! Who we are to a registry: the challenge it answers with, the credentials in the files that
//! `docker login` and `podman login` write, and the token that one is changed for at the other.
//! Source: distribution's token authentication; RFC 9110 section 11.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::reference::Reference;
use crate::durable;
use crate::error::{Context, Error, Kind, Result};

/// Docker's name for its own registry in credential files.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// One way to authenticate that a registry offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// With name and password.
    Basic,
    /// With a token from elsewhere.
    Bearer {
        /// Where to get it.
        realm: String,
        /// For whom.
        service: Option<String>,
        /// To do what.
        scope: Option<String>,
    },
}

/// Name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    encoded: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// The value of an `Authorization` header.
    pub fn header(&self) -> String {
        format!("Basic {}", self.encoded)
    }
}

/// Parses a `WWW-Authenticate` header. A scheme that is not known is passed over.
pub fn parse_challenges(header: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let (scheme, after) = token(rest);
        if scheme.is_empty() {
            break;
        }
        let (parameters, after) = parameters(after);
        let get = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            challenges.push(Challenge::Bearer { realm, service: get("service"), scope: get("scope") });
        }
        rest = after.trim_start_matches([' ', ',', '\t']);
    }
    challenges
}

/// A run of characters that are allowed in a token.
fn token(text: &str) -> (&str, &str) {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    text.split_at(text.find(|c| !is_part(c)).unwrap_or(text.len()))
}

/// `key=value` pairs up to the next scheme.
fn parameters(mut text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        let rest = text.trim_start_matches([' ', ',', '\t']);
        let (key, after) = token(rest);
        let Some(after) = after.trim_start().strip_prefix('=').filter(|_| !key.is_empty()) else {
            return (found, rest);
        };
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (value, after) = token(after);
                (value.to_owned(), after)
            }
        };
        found.push((key.to_owned(), value));
        text = after;
    }
}

/// The rest of a quoted string, and what is behind it.
fn unquote(text: &str) -> (String, &str) {
    let (mut value, mut escaped) = (String::new(), false);
    for (place, c) in text.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, text.get(place + 1..).unwrap_or_default()),
            c => value.push(c),
        }
    }
    (value, "")
}

/// The URL to ask for a token.
pub fn token_url(realm: &str, service: Option<&str>, scope: Option<&str>) -> String {
    let mut url = realm.to_owned();
    for (key, value) in [("service", service), ("scope", scope)] {
        if let Some(value) = value {
            let separator = if url.contains('?') { '&' } else { '?' };
            url = format!("{url}{separator}{key}={}", encode(value));
        }
    }
    url
}

fn encode(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' | b'/' | b',' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// The token in the answer to [`token_url`].
pub fn parse_token(bytes: &[u8]) -> Result<String> {
    let answer: Value = serde_json::from_slice(bytes).context("parse token")?;
    let token = ["token", "access_token"].iter().find_map(|key| answer.get(key)?.as_str());
    match token {
        Some(token) if !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(token.to_owned())
        }
        _ => Err(Error::new(Kind::Unauthorized, "the answer holds no token")),
    }
}

/// The credentials for a repository, from the first file that has some.
pub fn find_credentials(reference: &Reference) -> Result<Option<Credentials>> {
    for path in files() {
        let Some(bytes) = durable::read(&path)? else { continue };
        let phrase = || format!("read credentials from {}", path.display());
        if let Some(found) = credentials_in(&bytes, reference).with_context(phrase)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn files() -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let docker = variable("DOCKER_CONFIG").or_else(|| variable("HOME").map(|home| home.join(".docker")));
    [variable("REGISTRY_AUTH_FILE"), docker.map(|dir| dir.join("config.json"))]
        .into_iter()
        .flatten()
        .collect()
}

/// The most specific entry wins: the repository's, its namespace's, the registry's.
fn credentials_in(bytes: &[u8], reference: &Reference) -> Result<Option<Credentials>> {
    let file: Value = serde_json::from_slice(bytes)?;
    let Some(entries) = file.get("auths").and_then(Value::as_object) else { return Ok(None) };
    let full = format!("{}/{}", reference.registry(), reference.repository());
    let ends = full.match_indices('/').map(|(place, _)| place).chain([full.len()]);
    let mut keys: Vec<&str> = ends.filter_map(|end| full.get(..end)).collect();
    keys.reverse();
    if reference.registry() == "docker.io" {
        keys.extend([DOCKER_HUB_KEY, "index.docker.io"]);
    }
    let plain = |key: &str| {
        key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/').to_owned()
    };
    for key in keys {
        let entry = entries.iter().find(|(known, _)| *known == key || plain(known) == key);
        if let Some(encoded) =
            entry.and_then(|(_, entry)| entry.get("auth")?.as_str()).filter(|auth| !auth.is_empty())
        {
            return check(encoded).map(Some);
        }
    }
    Ok(None)
}

/// Base64 of `name:password`, re-encoded so that nothing else gets into a header.
fn check(encoded: &str) -> Result<Credentials> {
    let wrong = || Error::new(Kind::InvalidInput, "an entry is not the base64 of name:password");
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| wrong())?;
    let decoded = decoded.strip_suffix(b"\0").unwrap_or(&decoded);
    if decoded.contains(&b':') { Ok(Credentials { encoded: STANDARD.encode(decoded) }) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Challenge::Bearer { realm: realm.into(), service: owned(service), scope: owned(scope) }
    }

    #[test]
    fn challenges_are_parsed() {
        let table = [
            (r#"Basic realm="x""#, vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (
                r#"Bearer realm="https://a/t",service="reg",scope="repository:x:pull,push""#,
                vec![bearer("https://a/t", Some("reg"), Some("repository:x:pull,push"))],
            ),
            (r#"bearer  Realm = "https://a/\"t" , error=invalid"#, vec![bearer("https://a/\"t", None, None)]),
            (
                r#"Negotiate, Basic realm="a, b", Bearer realm=x"#,
                vec![Challenge::Basic, bearer("x", None, None)],
            ),
            ("Bearer", vec![]),
            (r#"Bearer service="x""#, vec![]),
            ("", vec![]),
            ("===", vec![]),
            (r#"Bearer realm="unclosed"#, vec![bearer("unclosed", None, None)]),
        ];
        for (header, expected) in table {
            assert_eq!(parse_challenges(header), expected, "{header}");
        }
    }

    #[test]
    fn a_token_is_asked_for_as_the_challenge_says() {
        let url = token_url("https://a/t?x=1", Some("my reg"), Some("repository:a/b:pull"));
        assert_eq!(url, "https://a/t?x=1&service=my%20reg&scope=repository:a/b:pull");
        assert_eq!(parse_token(br#"{"access_token":"abc"}"#).unwrap(), "abc");
        assert!(parse_token(br#"{"token":"a\r\nb"}"#).is_err() && parse_token(b"{}").is_err());
    }

    #[test]
    fn the_most_specific_credentials_are_found() {
        let file = br#"{"auths":{
            "localhost:5000":{"auth":"YTpi"}, "localhost:5000/ns/x":{"auth":"Yzpk"},
            "https://index.docker.io/v1/":{"auth":"ZTpm"}, "https://reg.example/":{"auth":"ZzpoAA=="}, "empty.example":{} }}"#;
        let table = [
            ("localhost:5000/x", Some("Basic YTpi")),
            ("localhost:5000/ns/x", Some("Basic Yzpk")),
            ("localhost:5000/ns/xy", Some("Basic YTpi")),
            ("busybox", Some("Basic ZTpm")),
            ("reg.example/x", Some("Basic Zzpo")),
            ("localhost:500/x", None),
            ("localhost/x", None),
            ("empty.example/x", None),
        ];
        for (name, expected) in table {
            let found = credentials_in(file, &name.parse().unwrap()).unwrap();
            assert_eq!(found.map(|found| found.header()).as_deref(), expected, "{name}");
        }
        assert!(
            credentials_in(
                br#"{"auths":{"reg.example":{"auth":"YWI="}}}"#,
                &"reg.example/x".parse().unwrap()
            )
            .is_err()
        );
    }
}
