//! Amounts as Go programs write them: sizes with a unit (`1.5g`) and durations (`1m30s`).
//!
//! runc's own parsers set what is understood: scripts that call it must find the same here.

use std::time::Duration;

/// Bytes, with a decimal fraction and a unit of 1024 if need be: `64m`, `1.5 GiB`, `-1`.
pub fn size(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let wrong = || format!("{text:?} is not a size such as 64m");
    let (number, rest) = split_number(text).ok_or_else(wrong)?;
    let unit = rest.trim_start().to_ascii_lowercase();
    let power = match unit.strip_suffix('b').unwrap_or(&unit) {
        "" => 0,
        "k" | "ki" => 1,
        "m" | "mi" => 2,
        "g" | "gi" => 3,
        "t" | "ti" => 4,
        "p" | "pi" => 5,
        _ => return Err(wrong()),
    };
    // Without a fraction it is exact.
    let bytes = match number.parse::<i64>() {
        Ok(whole) => whole.checked_mul(1024i64.pow(power)),
        #[expect(clippy::cast_possible_truncation, reason = "a fraction of a byte is meant to go")]
        Err(_) => number
            .parse::<f64>()
            .ok()
            .map(|n| n * 1024i64.pow(power) as f64)
            .filter(|n| *n < 9e18)
            .map(|n| n as i64),
    };
    bytes.ok_or_else(wrong)
}

/// A time as Go's `time.ParseDuration` reads it, above zero: `100ms`, `1m30s`, `1.5h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 1m30s");
    let (mut rest, mut total) = (text, 0f64);
    while !rest.is_empty() || text.is_empty() {
        let (number, after) = split_number(rest).ok_or_else(wrong)?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            // Go takes a bare 0, which is then refused like every other.
            "" if number == "0" => 0.0,
            _ => return Err(wrong()),
        };
        total += number.parse::<f64>().map_err(|_| wrong())? * seconds;
        rest = after;
    }
    match Duration::try_from_secs_f64(total) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) => Err("duration interval must be greater than 0".to_owned()),
        Err(_) => Err(wrong()),
    }
}

/// Digits with at most one point among them, and what follows.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let is_number = number.starts_with(|c: char| c.is_ascii_digit()) && number.matches('.').count() <= 1;
    is_number.then_some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("-1", -1),
            ("67108864", 67_108_864),
            ("50M", 50 << 20),
            ("50mb", 50 << 20),
            ("1.5 GiB", 3 << 29),
            ("1k", 1024),
            ("2T", 2 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "-2", "m", "1x", "1mm", "1.2.3", "9999999p", "+1", "0x10"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_sums_and_never_zero() {
        for (text, milliseconds) in [("5s", 5000), ("100ms", 100), ("1m30s", 90_000), ("1.5h", 5_400_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for bad in ["", "5", "s", "-1s", "1x", "0", "0s", "1s ", "999999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
