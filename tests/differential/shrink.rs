//! Cuts a config down to what its difference needs: whatever can go while the two still differ in the same
//! fact goes.

use serde_json::Value;

use crate::place::Place;

/// The fact that a difference is about.
fn fact(difference: &str) -> String {
    difference.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// The smallest config found that still has the first of these differences.
pub fn smallest(config: &Value, differences: &[String], place: &mut Place) -> Value {
    let mut small = config.clone();
    let wanted = fact(&differences[0]);
    loop {
        let before = small.clone();
        let mut pointers = Vec::new();
        collect(&small, "", &mut pointers);
        for pointer in pointers {
            let mut cut = small.clone();
            if remove(&mut cut, &pointer)
                && place.judge(&cut).differences.iter().any(|one| fact(one) == wanted)
            {
                small = cut;
            }
        }
        if small == before {
            return small;
        }
    }
}

/// Pointers to all members, outer ones first, later list items before earlier ones so that indices stay true.
fn collect(value: &Value, at: &str, pointers: &mut Vec<String>) {
    let kept = ["/process", "/process/args", "/root", "/ociVersion", "/mounts"];
    let mut inner = |key: String, value: &Value| {
        let pointer = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        let probe = value["destination"] == "/look" || value["destination"] == "/proc";
        if !kept.contains(&pointer.as_str()) && !probe {
            pointers.push(pointer.clone());
        }
        if pointer != "/process/args" && !pointer.ends_with("/names") && !probe {
            collect(value, &pointer, pointers);
        }
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| inner(key.clone(), value)),
        Value::Array(items) => {
            items.iter().enumerate().rev().for_each(|(index, value)| inner(index.to_string(), value))
        }
        _ => {}
    }
}

fn remove(config: &mut Value, pointer: &str) -> bool {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/").replace("~0", "~");
    match config.pointer_mut(parent) {
        Some(Value::Object(members)) => members.remove(&key).is_some(),
        Some(Value::Array(items)) => key
            .parse()
            .ok()
            .filter(|index| *index < items.len())
            .map(|index: usize| items.remove(index))
            .is_some(),
        _ => false,
    }
}
