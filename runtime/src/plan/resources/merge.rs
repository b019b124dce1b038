//! Changing limits that are in force: what `update` names goes over what was there, the rest stays.

use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::spec::Resources;

/// The old limits with the changed ones over them. Lists are taken entry by entry: by device number, by page
/// size, by name. Only access rules, whose order is their meaning, are replaced as a whole.
pub fn merge(old: &Resources, change: &Resources) -> Result<Resources> {
    let broken = |e: serde_json::Error| Error::new(Kind::System, e.to_string());
    let mut old = old.clone();
    if !change.devices.is_empty() {
        old.devices.clear();
    }
    let mut document = serde_json::to_value(old).map_err(broken)?;
    overlay(&mut document, serde_json::to_value(change).map_err(broken)?);
    serde_json::from_value(document).map_err(broken)
}

/// The change with what its own fields can't be understood without, or bring along: a swap limit counts from the
/// memory limit, and goes with it.
pub fn complete(old: &Resources, change: &Resources) -> Resources {
    let mut change = change.clone();
    if let (Some(old), Some(new)) = (&old.memory, &mut change.memory) {
        let is_set = |value: Option<i64>| value.is_some_and(|v| v != 0);
        if is_set(new.limit) && !is_set(new.swap) {
            new.swap = if new.limit == Some(-1) { Some(-1) } else { old.swap };
        } else if is_set(new.swap) && !is_set(new.limit) {
            new.limit = old.limit;
        }
        new.check_before_update = new.check_before_update.or(old.check_before_update);
    }
    if let (Some(old), Some(new)) = (&old.cpu, &mut change.cpu) {
        // Who is no longer idle has the default weight (Linux, sched_group_set_idle), not his own again.
        if new.idle == Some(0) && old.idle == Some(1) && new.shares.is_none_or(|shares| shares == 0) {
            new.shares = old.shares;
        }
    }
    change
}

fn overlay(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                overlay(old.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for entry in new {
                // Of two for one device the kernel keeps the later.
                match old.iter_mut().rev().find(|known| is_same(known, &entry)) {
                    Some(known) => overlay(known, entry),
                    None => old.push(entry),
                }
            }
        }
        (old, new) => *old = new,
    }
}

fn is_same(a: &Value, b: &Value) -> bool {
    ["major", "minor", "pageSize", "name"].iter().all(|key| a.get(key) == b.get(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(text: &str) -> Resources {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn only_what_is_named_changes() {
        let old = resources(
            r#"{"memory":{"limit":100,"swap":200},"cpu":{"shares":5,"cpus":"0"},
                "blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1},{"major":8,"minor":1,"rate":1}]}}"#,
        );
        let change = resources(
            r#"{"cpu":{"quota":7},"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":1,"rate":2}]}}"#,
        );
        let merged = merge(&old, &change).unwrap();
        let (cpu, io) = (merged.cpu.unwrap(), merged.block_io.unwrap());
        assert_eq!((cpu.shares, cpu.quota, cpu.cpus.as_str()), (Some(5), Some(7), "0"));
        assert_eq!(merged.memory.unwrap().limit, Some(100));
        let rates: Vec<u64> = io.throttle_read_bps_device.iter().map(|d| d.rate).collect();
        assert_eq!(rates, [1, 2]);
    }

    #[test]
    fn access_rules_are_replaced_whole_and_in_order() {
        let rule =
            |allow: bool, minor: u8| format!(r#"{{"allow":{allow},"type":"c","major":1,"minor":{minor}}}"#);
        let old = resources(&format!(r#"{{"devices":[{},{}]}}"#, rule(true, 1), rule(false, 2)));
        let change = resources(&format!(r#"{{"devices":[{},{}]}}"#, rule(false, 3), rule(true, 3)));
        let minors = |r: &Resources| r.devices.iter().map(|d| (d.allow, d.minor)).collect::<Vec<_>>();
        assert_eq!(minors(&merge(&old, &change).unwrap()), [(false, Some(3)), (true, Some(3))]);
        assert_eq!(minors(&merge(&old, &resources("{}")).unwrap()), [(true, Some(1)), (false, Some(2))]);
    }

    #[test]
    fn shares_come_back_when_a_container_is_idle_no_more() {
        let old = resources(r#"{"cpu":{"shares":100,"idle":1}}"#);
        let cpu = |text| complete(&old, &resources(text)).cpu.unwrap();
        assert_eq!(cpu(r#"{"cpu":{"idle":0}}"#).shares, Some(100));
        assert_eq!(cpu(r#"{"cpu":{"idle":0,"shares":7}}"#).shares, Some(7));
        assert_eq!(cpu(r#"{"cpu":{"quota":5}}"#).shares, None);
    }

    #[test]
    fn memory_limit_takes_its_swap_along() {
        let old = resources(r#"{"memory":{"limit":100,"swap":200}}"#);
        let memory = |text| complete(&old, &resources(text)).memory.unwrap();
        assert_eq!(memory(r#"{"memory":{"limit":150}}"#).swap, Some(200));
        assert_eq!(memory(r#"{"memory":{"limit":-1}}"#).swap, Some(-1));
        assert_eq!(memory(r#"{"memory":{"swap":300}}"#).limit, Some(100));
        assert_eq!(memory(r#"{"memory":{"reservation":3}}"#).limit, None);
    }
}
