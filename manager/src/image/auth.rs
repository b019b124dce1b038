//! How a registry asks who we are, and the credentials that Docker's and Podman's logins keep on disk.

use std::path::PathBuf;

use base64::Engine as _;
use serde_json::Value;

/// A challenge of a 401 response (RFC 9110, section 11.6.1), as registries use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// Ask `realm` for a token.
    Bearer {
        /// URL of the token server.
        realm: String,
        /// What the token is for.
        service: Option<String>,
    },
    /// Send name and password.
    Basic,
}

/// Reads a WWW-Authenticate header.
pub fn parse_challenge(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let realm = parameter(rest, "realm")?;
    Some(Challenge::Bearer { realm, service: parameter(rest, "service") })
}

/// The value of `name="…"`. Commas inside the quotes belong to the value.
fn parameter(text: &str, name: &str) -> Option<String> {
    let mut rest = text;
    loop {
        let (key, after) = rest.split_once('=')?;
        let key = key.trim_matches([' ', ',']);
        let (value, tail) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.eq_ignore_ascii_case(name) {
            return Some(value.to_owned());
        }
        rest = tail;
    }
}

/// `user:password` in base64 for a registry, from the first of the usual files that has it.
pub fn stored_credentials(registry: &str) -> Option<String> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let candidates = [
        variable("REGISTRY_AUTH_FILE"),
        variable("DOCKER_CONFIG").map(|folder| folder.join("config.json")),
        variable("HOME").map(|home| home.join(".docker/config.json")),
        variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")),
    ];
    let keys =
        [registry.to_owned(), format!("https://{registry}/v1/"), format!("https://index.{registry}/v1/")];
    candidates.into_iter().flatten().find_map(|path| {
        let document: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let auth = keys.iter().find_map(|key| document["auths"][key]["auth"].as_str())?;
        base64::prelude::BASE64_STANDARD.decode(auth).ok().map(|_| auth.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_with_commas_in_their_values() {
        let header =
            r#"Bearer realm="https://auth.test/token",service="reg,istry",scope="repository:x:pull,push""#;
        let expected =
            Challenge::Bearer { realm: "https://auth.test/token".into(), service: Some("reg,istry".into()) };
        assert_eq!(parse_challenge(header), Some(expected));
        assert_eq!(parse_challenge("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(parse_challenge("Negotiate"), None);
        assert_eq!(parse_challenge("Bearer scope=\"x\""), None);
    }
}
