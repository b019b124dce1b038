//! Layouts that are odd and legal: hardening must not break them.

mod files;
mod mounts;
mod roots;

use crate::case::Odd;

/// All of them.
pub fn cases() -> Vec<Odd> {
    [roots::cases(), mounts::cases(), files::cases()].into_iter().flatten().collect()
}
