//! Every fault of the limits, where the rules stop at the first.
//!
//! The rules are about values that depend on each other, and read best as a story that ends at a fault. So to find
//! all faults, what the first one names is taken out and the story told again, until it comes to its end.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::place::{Place, Step};
use crate::plan::findings::Findings;
use crate::spec::Resources;

/// Keeps everything that `resolve` finds wrong.
pub fn check_all<T>(
    resources: &Resources,
    resolve: impl Fn(&Resources) -> Result<T>,
    findings: &mut Findings,
) {
    let Ok(mut rest) = serde_json::to_value(resources) else { return };
    let mut indices = Indices::default();
    while let Ok(Err(error)) = serde_json::from_value(rest.clone()).map(|current| resolve(&current)) {
        let steps = error.place().map(|place| place.0).unwrap_or_default();
        let [Step::Key(linux), Step::Key(name), inside @ ..] = &steps[..] else {
            return findings.push(error);
        };
        let above = Place::default().key(linux).key(name);
        let Some(steps) = indices.take_out(&mut rest, inside) else {
            return findings.push(error);
        };
        let place = Place(above.0.into_iter().chain(steps).collect());
        findings.push(Error::at_as(error.kind(), place.to_string(), error.message_without_field()));
    }
}

/// For each list, by its steps, where its elements stood before some were taken out.
#[derive(Default)]
struct Indices(BTreeMap<String, Vec<usize>>);

impl Indices {
    /// Takes out what the steps lead to: a whole element of a list, else the property. Returns the steps as they
    /// were before anything was taken out; `None` if they lead nowhere.
    fn take_out(&mut self, value: &mut Value, steps: &[Step]) -> Option<Vec<Step>> {
        let (step, rest) = steps.split_first()?;
        match (value, step) {
            (Value::Object(map), Step::Key(key)) => {
                let known = map.get_mut(key)?;
                if let Value::Array(list) = known
                    && let [Step::Index(index), below @ ..] = rest
                {
                    let before = self.0.entry(key.clone()).or_insert_with(|| (0..list.len()).collect());
                    let original = (*index < before.len()).then(|| before.remove(*index))?;
                    list.remove(*index);
                    let head = [Step::Key(key.clone()), Step::Index(original)];
                    return Some(head.into_iter().chain(below.iter().cloned()).collect());
                }
                let mut steps = vec![Step::Key(key.clone())];
                match known {
                    Value::Object(_) if !rest.is_empty() => steps.extend(self.take_out(known, rest)?),
                    _ => {
                        map.remove(key);
                        steps.extend(rest.iter().cloned());
                    }
                }
                Some(steps)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::resources::{devices, resolve_v1, resolve_v2};

    fn faults<T>(text: &str, resolve: impl Fn(&Resources) -> Result<T>) -> Vec<String> {
        let mut findings = Findings::default();
        check_all(&serde_json::from_str(text).unwrap(), resolve, &mut findings);
        findings.into_all().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_fault_is_found_where_it_stood() {
        let text = r#"{
            "memory": {"limit": -5, "swappiness": 101},
            "blockIO": {"weight": 5, "weightDevice": [{"major": -1, "minor": 0, "weight": 10}]},
            "hugepageLimits": [{"pageSize": "x", "limit": 1}, {"pageSize": "2MB", "limit": 1}, {"pageSize": "0KB", "limit": 1}],
            "rdma": {"mlx": {}, "a b": {"hcaHandles": 1}},
            "unified": {"memory.max": "1"},
            "devices": [{"allow": true, "type": "q"}, {"allow": true}, {"allow": true, "access": "z"}]
        }"#;
        let found = faults(text, resolve_v1);
        for field in [
            "memory.limit",
            "memory.swappiness",
            "blockIO.weight:",
            "blockIO.weightDevice[0]",
            "hugepageLimits[0].pageSize",
            "hugepageLimits[2].pageSize",
            "rdma",
            "unified[\"memory.max\"]",
        ] {
            assert!(
                found.iter().any(|f| f.starts_with(&format!("linux.resources.{field}"))),
                "{field}: {found:?}"
            );
        }
        assert_eq!(found.len(), 9, "{found:?}");
        assert_eq!(faults(text, |all| devices::resolve(&all.devices)).len(), 2);
        let found = faults(r#"{"unified": {"x": "1", "memory.max": "1", "/": "2"}}"#, resolve_v2);
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn what_v2_lacks_for_one_device_hides_no_later_fault() {
        let text = r#"{
            "blockIO": {"leafWeight": 10, "weightDevice": [{"major": 7, "minor": 0, "weight": 10, "leafWeight": 10}]},
            "hugepageLimits": [{"pageSize": "x", "limit": 1}]
        }"#;
        let found = faults(text, resolve_v2);
        let fields =
            ["blockIO.leafWeight:", "blockIO.weightDevice[0].leafWeight:", "hugepageLimits[0].pageSize:"];
        for (field, fault) in fields.iter().zip(&found) {
            assert!(fault.starts_with(&format!("linux.resources.{field}")), "{field}: {found:?}");
        }
        assert_eq!(found.len(), fields.len(), "{found:?}");
    }
}
