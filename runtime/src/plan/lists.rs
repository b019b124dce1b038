//! Lists of CPUs and of memory nodes as the kernel writes them: `0-3,7` (cpuset(7), "List format").

use crate::error::{Error, Result};

/// More than any kernel is built for; a list beyond it is a mistake, and would only cost memory.
const MAX_NUMBER: u32 = 1 << 16;

/// A set of small numbers as a bit mask, lowest word first, as sched_setaffinity(2) and set_mempolicy(2) take it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mask(pub Vec<u64>);

/// One hexadecimal number, as `0x3`.
impl std::fmt::Display for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut words = self.0.iter().rev().skip_while(|word| **word == 0);
        write!(f, "{:#x}", words.next().copied().unwrap_or(0))?;
        words.try_for_each(|word| write!(f, "{word:016x}"))
    }
}

/// Reads a list; `field` is named in the error. An empty text is an empty set.
pub fn parse(field: &str, text: &str) -> Result<Mask> {
    let wrong = || Error::at(field, format_args!("{text:?} is not a list such as 0-3,7"));
    let number = |part: &str| -> Result<u32> {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse().ok().filter(|n| digits && *n < MAX_NUMBER).ok_or_else(wrong)
    };
    let mut mask = Mask::default();
    if text.trim().is_empty() {
        return Ok(mask);
    }
    for part in text.split(',').map(str::trim) {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last {
            return Err(wrong());
        }
        for n in first..=last {
            let word = (n / 64) as usize;
            mask.0.resize(mask.0.len().max(word.saturating_add(1)), 0);
            if let Some(word) = mask.0.get_mut(word) {
                *word |= 1 << (n % 64);
            }
        }
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_ranges_and_numbers_of_any_size() {
        assert_eq!(parse("f", "0-3,7").unwrap(), Mask(vec![0b1000_1111]));
        assert_eq!(parse("f", "64, 65").unwrap(), Mask(vec![0, 3]));
        assert_eq!(parse("f", "2000").unwrap().0.len(), 32);
        assert_eq!(parse("f", "").unwrap(), Mask::default());
        let texts = ["0-1", "64", ""].map(|list| parse("f", list).unwrap().to_string());
        assert_eq!(texts, ["0x3", "0x10000000000000000", "0x0"]);
        for bad in ["a", "3-1", "1-", "-1", "1,,2", "99999999", "+1", "1-2-3"] {
            assert!(parse("f", bad).is_err(), "{bad}");
        }
    }
}
