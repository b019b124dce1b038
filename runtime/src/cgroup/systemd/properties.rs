//! Limits as properties of a unit (systemd.resource-control(5)), so that systemd knows them and does not undo them
//! when it is reloaded. What has no property is written to its file alone, as by the cgroupfs driver.
//!
//! The source is the list of file writes, not the config: so `resources.memory` and `resources.unified` can't come
//! out differently here and there.

use std::collections::BTreeMap;

use super::gvariant;
use super::wire::Value;
use crate::error::{Context, Error, Result};
use crate::place::bracketed;
use crate::plan::resources::Write;
use crate::plan::resources::devices::{Rule, split_at_last_total};

/// Name and value.
pub type Property = (String, Value);

/// Annotations with this prefix are properties.
pub const ANNOTATION: &str = "org.systemd.property.";

/// The kernel's default for the period of `cpu.max`, in µs.
const DEFAULT_PERIOD: u64 = 100_000;

/// systemd keeps a quota as whole percents of a processor: this many µs in a second.
const PERCENT: u64 = 10_000;

/// How much processor time there is in a period of how long, in µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bandwidth {
    /// `None` is without limit.
    quota: Option<u64>,
    period: u64,
}

impl Default for Bandwidth {
    fn default() -> Self {
        Bandwidth { quota: None, period: DEFAULT_PERIOD }
    }
}

impl Bandwidth {
    /// Takes the words of the kernel's files.
    pub fn parse(quota: &str, period: &str) -> Bandwidth {
        let period = period.trim().parse().ok().filter(|period| *period > 0);
        Bandwidth { quota: quota.trim().parse().ok(), period: period.unwrap_or(DEFAULT_PERIOD) }
    }

    /// µs in a second, rounded up to what systemd can keep.
    fn per_second(self) -> u64 {
        let Some(quota) = self.quota else { return u64::MAX };
        let in_a_million = u128::from(quota).saturating_mul(1_000_000);
        in_a_million
            .checked_div(self.period.into())
            .and_then(|exact| u64::try_from(exact).ok())
            .and_then(|exact| exact.checked_next_multiple_of(PERCENT))
            .unwrap_or(u64::MAX)
    }
}

/// The properties of these writes, as far as systemd of this version has them. `now` is what a write of half a
/// bandwidth leaves in force.
pub fn of_writes(writes: &[Write], now: &Bandwidth, version: u32) -> Vec<Property> {
    let mut properties: Vec<Property> = of_bandwidth(writes, now, version);
    let texts =
        || writes.iter().flat_map(|write| &write.candidates).map(|(file, text)| (file.as_str(), text.trim()));
    let idle = version >= 252 && texts().any(|text| text == ("cpu.idle", "1"));
    for (file, text) in texts() {
        let found = match (file, text) {
            ("cpu.idle", _) if idle => Some(("CPUWeight", Value::U64(0))),
            ("cpu.weight", _) if idle => None, // systemd has both in one
            ("cpuset.cpus", _) if version >= 244 => bits(text).map(|bits| ("AllowedCPUs", bits)),
            ("cpuset.mems", _) if version >= 244 => bits(text).map(|bits| ("AllowedMemoryNodes", bits)),
            ("memory.oom.group", "0") if version >= 253 => {
                Some(("OOMPolicy", Value::Str("continue".to_owned())))
            }
            ("memory.oom.group", "1") if version >= 253 => Some(("OOMPolicy", Value::Str("kill".to_owned()))),
            _ => of_number(file, text),
        };
        if let Some((name, value)) = found {
            properties.retain(|(other, _)| other != name);
            properties.push((name.to_owned(), value));
        }
    }
    properties
}

/// Properties that are the file's own number.
fn of_number(file: &str, text: &str) -> Option<(&'static str, Value)> {
    let name = match file {
        "memory.max" => "MemoryMax",
        "memory.high" => "MemoryHigh",
        "memory.low" => "MemoryLow",
        "memory.min" => "MemoryMin",
        "memory.swap.max" => "MemorySwapMax",
        "memory.limit_in_bytes" => "MemoryLimit",
        "cpu.weight" => "CPUWeight",
        "cpu.shares" => "CPUShares",
        "io.weight" => "IOWeight",
        "blkio.weight" => "BlockIOWeight",
        "pids.max" => "TasksMax",
        _ => return None,
    };
    let plain = text.strip_prefix("default ").unwrap_or(text).trim();
    let number = if matches!(plain, "max" | "-1") { u64::MAX } else { plain.parse().ok()? };
    // systemd takes no 0 for TasksMax; the file gets it afterwards.
    Some((name, Value::U64(if name == "TasksMax" { number.max(1) } else { number })))
}

fn of_bandwidth(writes: &[Write], now: &Bandwidth, version: u32) -> Vec<Property> {
    let (mut quota, mut period) = (None, None);
    for write in writes {
        let Some((file, text)) = write.candidates.first() else { continue };
        let mut words = text.split_whitespace();
        match file.as_str() {
            "cpu.max" if write.keeps_first_word => period = words.next(),
            "cpu.max" => (quota, period) = (words.next(), words.next()),
            "cpu.cfs_quota_us" => quota = words.next(),
            "cpu.cfs_period_us" => period = words.next(),
            _ => {}
        }
    }
    if quota.is_none() && period.is_none() {
        return Vec::new();
    }
    let wanted = Bandwidth {
        quota: quota.map_or(now.quota, |quota| quota.parse().ok()),
        period: period
            .and_then(|period| period.parse().ok())
            .filter(|period| *period > 0)
            .unwrap_or(now.period),
    };
    let mut properties = vec![("CPUQuotaPerSecUSec".to_owned(), Value::U64(wanted.per_second()))];
    if period.is_some() && version >= 242 {
        properties.push(("CPUQuotaPeriodUSec".to_owned(), Value::U64(wanted.period)));
    }
    properties
}

/// `0-2,7` as a string of bits, the lowest first; `None` for what the kernel is going to refuse.
fn bits(list: &str) -> Option<Value> {
    const MAX: usize = 8192; // CONFIG_NR_CPUS can't be more
    let mut bytes: Vec<u8> = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= MAX {
            return None;
        }
        for bit in first..=last {
            let at = bit / 8;
            bytes.resize(bytes.len().max(at.saturating_add(1)), 0);
            if let Some(byte) = bytes.get_mut(at) {
                *byte |= 1 << (bit % 8);
            }
        }
    }
    let bytes = bytes.into_iter().map(Value::Byte).collect::<Vec<_>>();
    if bytes.is_empty() { None } else { Some(Value::Array("y".to_owned(), bytes)) }
}

/// Device rules. systemd has a list of what is allowed and nothing else; where that can't say it, systemd allows
/// all and our own program, which is on the control group in either case, decides alone.
pub fn of_devices(rules: &[Rule]) -> Vec<Property> {
    let entries = |entries: &[(String, String)]| {
        let entry = |(path, access): &(String, String)| {
            Value::Struct(vec![Value::Str(path.clone()), Value::Str(access.clone())])
        };
        ("DeviceAllow".to_owned(), Value::Array("(ss)".to_owned(), entries.iter().map(entry).collect()))
    };
    let policy = |policy: &str| ("DevicePolicy".to_owned(), Value::Str(policy.to_owned()));
    match allowed_devices(rules) {
        // The empty list clears what the unit has.
        Some(allowed) => vec![entries(&[]), policy("strict"), entries(&allowed)],
        None => vec![entries(&[]), policy("auto")],
    }
}

/// What is allowed, when that is all there is to say.
fn allowed_devices(rules: &[Rule]) -> Option<Vec<(String, String)>> {
    // What comes before a rule for everything counts no more.
    let (total, rules) = split_at_last_total(rules);
    if total.is_some_and(|rule| rule.allow) {
        return None;
    }
    let mut allowed = Vec::new();
    for rule in rules {
        if !rule.allow {
            return None;
        }
        for (kind, letter) in [("char", 'c'), ("block", 'b')] {
            if rule.kind != letter && rule.kind != 'a' {
                continue;
            }
            let path = match rule.numbers {
                (None, None) => format!("{kind}-*"),
                (Some(major), None) => format!("{kind}-{major}"),
                (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
                (None, Some(_)) => return None,
            };
            allowed.push((path, rule.rights()));
        }
    }
    Some(allowed)
}

/// The properties that annotations ask for.
pub fn of_annotations(annotations: &BTreeMap<String, String>) -> Result<Vec<Property>> {
    let mut properties = Vec::new();
    for (key, text) in annotations {
        if let Some(name) = key.strip_prefix(ANNOTATION) {
            properties.push(of_annotation(name, text).in_field(format!("annotations{}", bracketed(key)))?);
        }
    }
    Ok(properties)
}

/// A name in `Sec` (`TimeoutStopSec`), as the manual pages have them, is given in seconds; on D-Bus it is `USec`.
fn of_annotation(name: &str, text: &str) -> Result<Property> {
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(Error::invalid("is not a property's name"));
    }
    let value = gvariant::parse(text)?;
    match name.strip_suffix("Sec") {
        Some(stem) if stem.ends_with(|c: char| c.is_ascii_lowercase()) => {
            Ok((format!("{stem}USec"), Value::U64(microseconds(&value)?)))
        }
        _ => Ok((name.to_owned(), value)),
    }
}

fn microseconds(seconds: &Value) -> Result<u64> {
    let seconds = match *seconds {
        Value::Double(seconds) if (0.0..1e12).contains(&seconds) => {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "what is below a microsecond is meant to go"
            )]
            return Ok((seconds * 1e6) as u64);
        }
        Value::Byte(v) => i128::from(v),
        Value::I16(v) => i128::from(v),
        Value::U16(v) => i128::from(v),
        Value::I32(v) => i128::from(v),
        Value::U32(v) => i128::from(v),
        Value::I64(v) => i128::from(v),
        Value::U64(v) => i128::from(v),
        _ => return Err(Error::invalid("is not a number of seconds")),
    };
    u64::try_from(seconds.saturating_mul(1_000_000)).map_err(|_| Error::invalid("is out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::resources;
    use crate::spec::Resources;

    fn properties(text: &str, version: u32) -> Vec<Property> {
        let resources: Resources = serde_json::from_str(text).unwrap();
        let writes = resources::resolve_v2(&resources).unwrap();
        of_writes(&writes, &Bandwidth { quota: Some(30_000), period: 200_000 }, version)
    }

    fn number(properties: &[Property], name: &str) -> Option<u64> {
        match properties.iter().find(|(n, _)| n == name) {
            Some((_, Value::U64(number))) => Some(*number),
            _ => None,
        }
    }

    #[test]
    fn limits_have_properties_and_unified_ones_too() {
        let text = r#"{"memory":{"limit":100,"swap":150,"reservation":50},"cpu":{"shares":1024,"cpus":"0-1,9"},
                       "pids":{"limit":0},"unified":{"memory.high":"90","cpu.weight":"42","misc.max":"x 1"}}"#;
        let found = properties(text, 252);
        for (name, value) in [
            ("MemoryMax", 100),
            ("MemorySwapMax", 50),
            ("MemoryLow", 50),
            ("TasksMax", 1),
            ("MemoryHigh", 90),
        ] {
            assert_eq!(number(&found, name), Some(value), "{name}");
        }
        assert_eq!(found.iter().filter(|(name, _)| name == "CPUWeight").count(), 1);
        assert_eq!(number(&found, "CPUWeight"), Some(42));
        let bytes = [3, 2].map(Value::Byte).to_vec();
        assert!(found.contains(&("AllowedCPUs".to_owned(), Value::Array("y".into(), bytes))));
        assert!(properties(text, 243).iter().all(|(name, _)| name != "AllowedCPUs"));
    }

    #[test]
    fn bandwidth_is_whole_percents_and_half_of_it_keeps_the_other_half() {
        for (text, per_second, period) in [
            (r#"{"cpu":{"quota":20001,"period":100000}}"#, 210_000, Some(100_000)),
            (r#"{"cpu":{"quota":-1,"period":50000}}"#, u64::MAX, Some(50_000)),
            (r#"{"cpu":{"quota":20000}}"#, 100_000, None),
            (r#"{"cpu":{"period":100000}}"#, 300_000, Some(100_000)),
            (r#"{"unified":{"cpu.max":"max"}}"#, u64::MAX, None),
        ] {
            let found = properties(text, 252);
            assert_eq!(number(&found, "CPUQuotaPerSecUSec"), Some(per_second), "{text}");
            assert_eq!(number(&found, "CPUQuotaPeriodUSec"), period, "{text}");
        }
        assert_eq!(number(&properties(r#"{"cpu":{"idle":1,"shares":2}}"#, 252), "CPUWeight"), Some(0));
        let resources: Resources = serde_json::from_str(
            r#"{"cpu":{"quota":5000,"period":100000,"shares":7},"memory":{"limit":-1}}"#,
        )
        .unwrap();
        let found = of_writes(&resources::resolve_v1(&resources).unwrap(), &Bandwidth::default(), 252);
        assert_eq!(number(&found, "CPUQuotaPerSecUSec"), Some(50_000));
        assert_eq!((number(&found, "CPUShares"), number(&found, "MemoryLimit")), (Some(7), Some(u64::MAX)));
    }

    #[test]
    fn devices_are_a_list_where_a_list_can_say_it() {
        let resolve = |text: &str| {
            let resources: Resources = serde_json::from_str(text).unwrap();
            allowed_devices(&resources::devices::resolve(&resources.devices).unwrap())
        };
        let listed =
            resolve(r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]}"#)
                .unwrap();
        assert_eq!(listed[0], ("/dev/char/10:229".to_owned(), "rw".to_owned()));
        assert!(listed.contains(&("block-*".to_owned(), "m".to_owned())));
        assert!(listed.contains(&("char-136".to_owned(), "mrw".to_owned())));
        assert_eq!(resolve(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#), None);
        assert_eq!(
            resolve(r#"{"devices":[{"allow":false,"type":"c","major":1,"minor":3,"access":"w"}]}"#),
            None
        );
    }

    #[test]
    fn annotations_name_properties_and_seconds_are_converted() {
        let one = |name: &str, text: &str| {
            of_annotations(&[(format!("org.systemd.property.{name}"), text.to_owned())].into())
        };
        let property = |name: &str, value| vec![(name.to_owned(), value)];
        assert_eq!(one("TimeoutStopUSec", "uint64 5").unwrap(), property("TimeoutStopUSec", Value::U64(5)));
        assert_eq!(
            one("TimeoutStopSec", "123.456").unwrap(),
            property("TimeoutStopUSec", Value::U64(123_456_000))
        );
        assert_eq!(one("TimeoutStopSec", "2").unwrap(), property("TimeoutStopUSec", Value::U64(2_000_000)));
        assert_eq!(one("CollectMode", "'x'").unwrap(), property("CollectMode", Value::Str("x".into())));
        for (name, text) in
            [("TimeoutStopSec", "'x'"), ("TimeoutStopSec", "-1"), ("X", "1"), ("A-b", "1"), ("Abc", "")]
        {
            let message = one(name, text).unwrap_err().to_string();
            assert!(message.starts_with("annotations[\"org.systemd.property."), "{message}");
        }
        assert!(of_annotations(&[("other".to_owned(), "[".to_owned())].into()).unwrap().is_empty());
    }
}
