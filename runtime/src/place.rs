//! Places in a JSON document: the way from its root to one value.
//!
//! The same place is written in three ways: as the steps themselves, as a JSON pointer (RFC 6901) for programs,
//! and as `linux.devices[0].path` for people, where a key that is no plain name stands as `["net.ipv4"]`.

use std::fmt;

use serde_json::Value;

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Into an object.
    Key(String),
    /// Into an array.
    Index(usize),
}

/// The steps from the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place(pub Vec<Step>);

impl Place {
    /// Reads the form for people.
    pub fn parse(text: &str) -> Place {
        let (mut steps, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let (step, after) = if let Some(inside) = rest.strip_prefix('[').filter(|r| r.starts_with('"')) {
                let (key, after) = quoted(inside);
                (Step::Key(key), after.strip_prefix(']').unwrap_or(after))
            } else if let Some((index, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'))
            {
                (index.parse().map_or_else(|_| Step::Key(index.to_owned()), Step::Index), after)
            } else {
                // One character at least, so that this ends whatever the text is.
                let end = rest.char_indices().skip(1).find(|(_, c)| matches!(c, '.' | '['));
                let (key, after) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
                (Step::Key(key.to_owned()), after)
            };
            steps.push(step);
            rest = after.strip_prefix('.').unwrap_or(after);
        }
        Place(steps)
    }

    /// The place of a property of the object here.
    #[must_use]
    pub fn key(&self, name: &str) -> Place {
        self.with(Step::Key(name.to_owned()))
    }

    fn with(&self, step: Step) -> Place {
        Place(self.0.iter().cloned().chain([step]).collect())
    }

    /// The JSON pointer.
    pub fn pointer(&self) -> String {
        let part = |step: &Step| match step {
            Step::Key(key) => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Step::Index(index) => format!("/{index}"),
        };
        self.0.iter().map(part).collect()
    }

    /// The value here, made where its parent has no such property.
    pub fn value_in<'a>(&self, root: &'a mut Value) -> Option<&'a mut Value> {
        self.0.iter().try_fold(root, |value, step| match (step, value) {
            (Step::Key(key), Value::Object(map)) => Some(map.entry(key.as_str()).or_insert(Value::Null)),
            (Step::Index(index), Value::Array(list)) => list.get_mut(*index),
            _ => None,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if key.is_empty() || key.contains(['.', '[', '"']) => {
                    f.write_str(&bracketed(key))?
                }
                Step::Key(key) if depth == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

/// A key that may be no plain name, as it stands in a place for people.
pub fn bracketed(key: &str) -> String {
    format!("[{}]", Value::from(key))
}

/// The text at the start of `text`, which is in quotes, and what follows. Keys that were put into quotes as they
/// are end at the bracket.
fn quoted(text: &str) -> (String, &str) {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    if let Some(Ok(key)) = values.next() {
        return (key, text.get(values.byte_offset()..).unwrap_or_default());
    }
    let inner = text.trim_start_matches('"');
    inner.split_once("\"]").map_or((inner.to_owned(), ""), |(key, after)| (key.to_owned(), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_people_read_can_be_read_back() {
        for (text, pointer) in [
            ("linux.devices[0].path", "/linux/devices/0/path"),
            ("linux.sysctl[\"net.ipv4/x\"]", "/linux/sysctl/net.ipv4~1x"),
            ("annotations[\"a \\\"b\\\"]\"]", "/annotations/a \"b\"]"),
            ("linux.sysctl[\"a\u{1}b\"].c", "/linux/sysctl/a\u{1}b/c"),
            ("hooks.prestart[1].timeout", "/hooks/prestart/1/timeout"),
            ("root", "/root"),
            ("a[", "/a/["),
            ("[[]]x]", "/[/]x]"),
        ] {
            assert_eq!(Place::parse(text).pointer(), pointer, "{text}");
        }
    }

    /// Rust's own way to write such a text between quotes is none that is read back.
    #[test]
    fn keys_that_can_not_be_printed_are_read_back() {
        for key in ["mem.\u{7f}ry", "a.\0", "[\u{301}'"] {
            let place = Place::default().key("linux").key(key);
            assert_eq!(Place::parse(&place.to_string()), place);
            assert_eq!(Place::parse(&format!("linux{}", bracketed(key))), place);
        }
    }

    #[test]
    fn places_are_written_for_programs_and_for_people() {
        let place = Place::default().key("linux").key("sysctl").key("net.ipv4/x");
        assert_eq!(place.pointer(), "/linux/sysctl/net.ipv4~1x");
        assert_eq!(Place::parse(&place.to_string()), place);
        assert_eq!(place.to_string(), "linux.sysctl[\"net.ipv4/x\"]");
        let place = Place(vec![Step::Key("mounts".into()), Step::Index(3), Step::Key("type".into())]);
        assert_eq!(
            (place.pointer().as_str(), place.to_string().as_str()),
            ("/mounts/3/type", "mounts[3].type")
        );
    }
}
