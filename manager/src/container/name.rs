//! Container ids and names. An id is 256 random bits in hex, a name is what a person can say; both
//! become path components, so both are checked here before they touch the disk.

use std::fmt::Write;

use crate::error::{Context, Error, Kind, Result};

const ADJECTIVES: [&str; 32] = [
    "amber", "brave", "brisk", "calm", "candid", "clever", "coastal", "crisp", "deft", "eager", "early",
    "fair", "fond", "frank", "gentle", "glad", "golden", "hardy", "keen", "kind", "lively", "lucid",
    "mellow", "nimble", "noble", "patient", "proud", "quiet", "ready", "steady", "sunny", "tidy",
];
const SURNAMES: [&str; 32] = [
    "abel", "agnesi", "banach", "barton", "bose", "cantor", "cerf", "conway", "cray", "dirac", "euler",
    "fermat", "galois", "germain", "hamming", "hertz", "hilbert", "jansky", "kepler", "kilby", "lamarr",
    "leavitt", "meitner", "napier", "nash", "noether", "ohm", "pascal", "ritchie", "shannon", "tharp",
    "volta",
];

/// A new id: 64 hex digits from the kernel's random source.
pub fn new_id() -> Result<String> {
    let mut id = String::with_capacity(64);
    for byte in random::<32>()? {
        write!(id, "{byte:02x}").map_err(|error| Error::new(Kind::System, error.to_string()))?;
    }
    Ok(id)
}

/// A random name; `attempt` > 0 appends a digit, so that a crowded store still finds a free one.
pub fn random_name(attempt: u32) -> Result<String> {
    let [first, second, digit] = random::<3>()?;
    let (adjective, surname) = (ADJECTIVES[usize::from(first) % 32], SURNAMES[usize::from(second) % 32]);
    Ok(if attempt == 0 {
        format!("{adjective}_{surname}")
    } else {
        format!("{adjective}_{surname}{}", digit % 10)
    })
}

/// Checks a name by Docker's rule: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub fn check_name(name: &str) -> Result<()> {
    let rest_is_fine = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-');
    let bytes = name.as_bytes();
    let fine = matches!(bytes, [first, _, ..] if first.is_ascii_alphanumeric())
        && bytes.iter().all(|c| rest_is_fine(*c));
    if fine && bytes.len() <= 128 {
        return Ok(());
    }
    Err(Error::new(
        Kind::InvalidInput,
        format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
    ))
}

/// The first twelve digits: what tables show and what the host name is.
pub fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("read random bytes")?;
    // Up to 256 bytes are never returned short (getrandom(2)).
    if got == N { Ok(bytes) } else { Err(Error::new(Kind::System, "read random bytes: too few")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_rule() {
        for name in ["web", "a1", "A_b.c-d"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "a", "-a", "..", ".ab", "a/b", "a b", "é1"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn ids_are_64_hex_digits() {
        let id = new_id().unwrap();
        assert!(id.len() == 64 && id.bytes().all(|c| c.is_ascii_hexdigit()));
        assert_eq!(short(&id).len(), 12);
    }
}
