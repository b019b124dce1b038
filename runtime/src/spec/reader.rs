//! Reads a JSON value into the types of this module and says *where* it does not fit.
//!
//! serde_json alone tells line and column of the first misfit, and what was wanted in Rust's words. `validate`
//! wants every misfit, and the place of each; so this is a deserializer over [`Value`] that knows where it is,
//! and [`read_all`] mends what does not fit and reads on. It also sees which properties nobody asked for.

use std::cell::RefCell;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, Expected, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::{Value, json};

use crate::place::{Place, Step};

/// A value that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Where; `None` until somebody who knows has said so.
    place: Option<Place>,
    /// The property that is not there.
    missing: Option<&'static str>,
    /// What is wrong.
    pub message: String,
}

impl Misfit {
    /// Where it is, or should be.
    pub fn place(&self) -> Place {
        let place = self.place.clone().unwrap_or_default();
        self.missing.map_or(place.clone(), |name| place.key(name))
    }

    fn at(mut self, here: &Link<'_>) -> Misfit {
        self.place.get_or_insert_with(|| here.place());
        self
    }
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Misfit {}

impl serde::de::Error for Misfit {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Misfit { place: None, missing: None, message: message.to_string() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Unit => "null".to_owned(),
            Unexpected::Seq => "an array".to_owned(),
            Unexpected::Map => "an object".to_owned(),
            Unexpected::Str(text) => format!("{text:?}"),
            Unexpected::Bool(value) => value.to_string(),
            Unexpected::Unsigned(number) => number.to_string(),
            Unexpected::Signed(number) => number.to_string(),
            Unexpected::Float(number) => format!("{number:?}"),
            other => other.to_string(),
        };
        Misfit::custom(format_args!("{found} is not {}", in_json_words(&expected.to_string())))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Misfit::invalid_type(found, expected)
    }

    fn missing_field(name: &'static str) -> Self {
        Misfit { place: None, missing: Some(name), message: "is missing".to_owned() }
    }
}

/// What serde says that it expects, in words that mean something to the writer of a config.
fn in_json_words(expected: &str) -> String {
    match expected {
        "a sequence" => "an array".to_owned(),
        "a map" => "an object".to_owned(),
        "path string" => "a string".to_owned(),
        "u16" => format!("an integer from 0 to {}", u16::MAX),
        "u32" => format!("an integer from 0 to {}", u32::MAX),
        "u64" => format!("an integer from 0 to {}", u64::MAX),
        "i32" => format!("an integer from {} to {}", i32::MIN, i32::MAX),
        "i64" => format!("an integer from {} to {}", i64::MIN, i64::MAX),
        other if other.starts_with("struct ") => "an object".to_owned(),
        other => other.to_owned(),
    }
}

/// A property that no type has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Where it is.
    pub place: Place,
    /// Its name.
    pub name: String,
    /// The names that would be known there.
    pub known: &'static [&'static str],
}

/// Reads a value, or says what is the first that does not fit.
pub fn read<T: for<'de> Deserialize<'de>>(value: &Value) -> Result<T, Misfit> {
    read_noting(value, &RefCell::default())
}

fn read_noting<T: for<'de> Deserialize<'de>>(
    value: &Value,
    unknown: &RefCell<Vec<Unknown>>,
) -> Result<T, Misfit> {
    T::deserialize(Node { value, here: &Link::Root, unknown })
}

/// A value read as far as it can be.
#[derive(Debug)]
pub struct Reading<T> {
    /// The value, with something harmless where a misfit was; `None` if there were too many of them.
    pub value: Option<T>,
    /// All that did not fit.
    pub misfits: Vec<Misfit>,
    /// All properties that nobody asked for.
    pub unknown: Vec<Unknown>,
}

/// No person makes more mistakes, and each costs a few readings.
const MOST_MISFITS: usize = 1000;

/// Reads a value that may be wrong in many places: notes each misfit, puts the first plain value that fits in
/// its place, and reads again. What is found in a mended place is nobody's fault but ours, and not noted.
pub fn read_all<T: for<'de> Deserialize<'de>>(mut root: Value) -> Reading<T> {
    let mut misfits: Vec<Misfit> = Vec::new();
    for _ in 0..MOST_MISFITS {
        let unknown = RefCell::default();
        match read_noting(&root, &unknown) {
            Ok(value) => return Reading { value: Some(value), misfits, unknown: unknown.into_inner() },
            Err(misfit) => {
                let place = misfit.place();
                let mended = mend::<T>(&mut root, &misfit);
                if !misfits.iter().any(|noted| place.0.starts_with(&noted.place().0)) {
                    misfits.push(misfit);
                }
                if !mended {
                    break;
                }
            }
        }
    }
    Reading { value: None, misfits, unknown: Vec::new() }
}

fn mend<T: for<'de> Deserialize<'de>>(root: &mut Value, misfit: &Misfit) -> bool {
    let plain = [Value::Null, json!(""), json!(0), json!(false), json!([]), json!({})];
    plain.into_iter().any(|candidate| {
        let Some(value) = misfit.place().value_in(root) else { return false };
        *value = candidate;
        read::<T>(root).map_or_else(
            |next| (next.place(), next.missing.is_some()) != (misfit.place(), misfit.missing.is_some()),
            |_| true,
        )
    })
}

/// Where the reading is; the steps lie on the stack and are collected only for an error.
enum Link<'a> {
    Root,
    Key(&'a Link<'a>, &'a str),
    Index(&'a Link<'a>, usize),
}

impl Link<'_> {
    fn place(&self) -> Place {
        let (above, step) = match self {
            Link::Root => return Place::default(),
            Link::Key(above, key) => (above, Step::Key((*key).to_owned())),
            Link::Index(above, index) => (above, Step::Index(*index)),
        };
        let mut place = above.place();
        place.0.push(step);
        place
    }
}

/// One value with its place.
#[derive(Clone, Copy)]
struct Node<'a> {
    value: &'a Value,
    here: &'a Link<'a>,
    unknown: &'a RefCell<Vec<Unknown>>,
}

impl<'de> Node<'_> {
    fn visit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::String(text) => visitor.visit_str(text),
            Value::Array(list) => visitor.visit_seq(Elements { node: self, rest: list.iter().enumerate() }),
            Value::Object(map) => {
                visitor.visit_map(Properties { node: self, rest: map.iter(), current: None })
            }
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => visitor.visit_u64(number),
                (None, Some(number)) => visitor.visit_i64(number),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
        }
    }

    fn note_unknown(&self, known: &'static [&'static str]) {
        let Value::Object(map) = self.value else { return };
        let unknown = map.keys().filter(|key| !known.contains(&key.as_str())).map(|key| Unknown {
            place: self.here.place().key(key),
            name: key.clone(),
            known,
        });
        self.unknown.borrow_mut().extend(unknown);
    }
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.visit(visitor).map_err(|misfit| misfit.at(self.here))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
        .map_err(|misfit| misfit.at(self.here))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.note_unknown(fields);
        if self.value.is_array() {
            // serde would take the elements for the fields in their order.
            return Err(Misfit::invalid_type(Unexpected::Seq, &visitor).at(self.here));
        }
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Elements<'a> {
    node: Node<'a>,
    rest: std::iter::Enumerate<std::slice::Iter<'a, Value>>,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Misfit;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Misfit> {
        let Some((index, value)) = self.rest.next() else { return Ok(None) };
        let here = &Link::Index(self.node.here, index);
        seed.deserialize(Node { value, here, unknown: self.node.unknown }).map(Some)
    }
}

struct Properties<'a> {
    node: Node<'a>,
    rest: serde_json::map::Iter<'a>,
    current: Option<(&'a String, &'a Value)>,
}

impl<'de> MapAccess<'de> for Properties<'_> {
    type Error = Misfit;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Misfit> {
        self.current = self.rest.next();
        let Some((key, _)) = self.current else { return Ok(None) };
        let here = Link::Key(self.node.here, key);
        let key: StrDeserializer<'_, Misfit> = serde::de::IntoDeserializer::into_deserializer(key.as_str());
        seed.deserialize(key).map(Some).map_err(|misfit| misfit.at(&here))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Misfit> {
        let Some((key, value)) = self.current.take() else { return Err(Misfit::custom("no value")) };
        let here = &Link::Key(self.node.here, key);
        seed.deserialize(Node { value, here, unknown: self.node.unknown })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;

    fn faults(value: Value) -> Vec<String> {
        let reading: Reading<Spec> = read_all(value);
        reading.misfits.iter().map(|m| format!("{}: {}", m.place(), m.message)).collect()
    }

    #[test]
    fn every_misfit_is_found_and_named_in_words_of_json() {
        let found = faults(json!({
            "process": {"args": "sh", "user": {"uid": -1, "gid": "0"}, "terminal": 1, "rlimits": [{"type": 5, "soft": 1}]},
            "root": [],
            "mounts": [{"destination": "/a"}, "x", {"source": "/b"}],
            "linux": {"namespaces": {"type": "pid"}, "resources": {"pids": {"limit": 1.5}}, "sysctl": {"net.x": 1}},
            "annotations": {"a": true},
        }));
        let mut expected = [
            "annotations.a: true is not a string",
            "linux.namespaces: an object is not an array",
            "linux.resources.pids.limit: 1.5 is not an integer from -9223372036854775808 to 9223372036854775807",
            "linux.sysctl[\"net.x\"]: 1 is not a string",
            "mounts[1]: \"x\" is not an object",
            "mounts[2].destination: is missing",
            "ociVersion: is missing",
            "process.args: \"sh\" is not an array",
            "process.rlimits[0].hard: is missing",
            "process.rlimits[0].type: 5 is not a string",
            "process.terminal: 1 is not a boolean",
            "process.user.gid: \"0\" is not an integer from 0 to 4294967295",
            "process.user.uid: -1 is not an integer from 0 to 4294967295",
            "root: an array is not an object",
        ];
        let mut found: Vec<&str> = found.iter().map(String::as_str).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_fits_is_kept_and_a_config_that_is_nothing_at_all_is_one_misfit() {
        let reading: Reading<Spec> =
            read_all(json!({"ociVersion": "1.0.0", "hostname": "a", "mounts": 3, "prozess": {}}));
        assert_eq!(reading.value.unwrap().hostname, "a");
        assert_eq!(reading.misfits.len(), 1);
        assert_eq!(reading.unknown[0].name, "prozess");
        assert!(reading.unknown[0].known.contains(&"process"));
        assert_eq!(faults(json!("x")), [": \"x\" is not an object"]);
        let hopeless: Reading<Spec> =
            read_all(json!({"ociVersion": "1.0.0", "mounts": vec![5; MOST_MISFITS + 1]}));
        assert!(hopeless.value.is_none());
    }
}
