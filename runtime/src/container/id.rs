//! Container IDs: parsed once, valid for ever after. An ID becomes a folder's name, so what is not plainly a
//! file name is refused.

use std::str::FromStr;

use crate::error::{Error, Result};

/// A valid container ID: `[A-Za-z0-9_+.-]`, 1 to 255 characters, neither `.` nor `..` (as runc).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerId(String);

impl ContainerId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_+.-".contains(c);
        if text.is_empty() {
            return Err(Error::invalid("container ID is empty"));
        }
        if text.len() > 255
            || text == "."
            || text == ".."
            || text.starts_with('-')
            || !text.chars().all(plain)
        {
            return Err(Error::invalid(format!("invalid container ID format: {text:?}")));
        }
        Ok(ContainerId(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_file_names_are_ids() {
        for good in ["a", "A-b_c.d+1", "...", "0"] {
            assert!(good.parse::<ContainerId>().is_ok(), "{good:?}");
        }
        for bad in ["", ".", "..", "a/b", "../x", "a b", "a\n", "ä", "-x", &"x".repeat(256)] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad:?}");
        }
    }
}
