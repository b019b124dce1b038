//! As much of JSON Schema (draft 4) as the specification's schemas use. A keyword that is not known here is a panic:
//! none is passed over.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Map, Value};

/// The schemas of a checkout, by file name.
pub struct Schemas(BTreeMap<String, Value>);

/// A keyword of a schema that applies to a value.
struct Met<'a> {
    pointer: String,
    keyword: &'a str,
    /// The schema that it stands in: `minimum` and `maximum` are looked at together.
    schema: &'a Map<String, Value>,
    value: &'a Value,
}

impl Schemas {
    /// Reads `checkout/schema`.
    pub fn of(checkout: &Path) -> Schemas {
        let files = std::fs::read_dir(checkout.join("schema")).unwrap().map(|entry| entry.unwrap().path());
        let schemas = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        Schemas(schemas.map(|path| (file_name(&path), read(&path))).collect())
    }

    /// What is wrong with a document.
    pub fn faults(&self, file: &str, document: &Value) -> Vec<String> {
        let met = self.met(file, document);
        let broken = met.iter().filter(|met| !met.holds());
        broken.map(|met| format!("{}: {} {}", met.pointer, met.keyword, met.schema[met.keyword])).collect()
    }

    /// The rules that apply to a document, one in a line.
    pub fn rules(&self, file: &str, document: &Value) -> BTreeSet<String> {
        self.met(file, document).iter().flat_map(Met::rules).collect()
    }

    /// The properties that could be in a document and are not.
    pub fn absent(&self, file: &str, document: &Value) -> BTreeSet<String> {
        let mut absent = BTreeSet::new();
        for met in self.met(file, document).iter().filter(|met| met.keyword == "properties") {
            let names = met.schema["properties"].as_object().unwrap().keys();
            let missing = names.filter(|name| met.value.get(name.as_str()).is_none());
            absent.extend(missing.map(|name| format!("{}/{name}", met.pointer)));
        }
        absent
    }

    fn met<'a>(&'a self, file: &'a str, document: &'a Value) -> Vec<Met<'a>> {
        let mut met = Vec::new();
        self.meet(file, &self.0[file], document, String::new(), &mut met);
        met
    }

    /// Collects what a schema says of a value and of all that is in it.
    fn meet<'a>(
        &'a self,
        file: &'a str,
        schema: &'a Value,
        value: &'a Value,
        pointer: String,
        met: &mut Vec<Met<'a>>,
    ) {
        let schema = schema.as_object().unwrap();
        for (keyword, says) in schema {
            met.push(Met { pointer: pointer.clone(), keyword, schema, value });
            let object = value.as_object().into_iter().flatten();
            match keyword.as_str() {
                "$ref" => {
                    let (other, place) = says.as_str().unwrap().split_once('#').unwrap();
                    let file = if other.is_empty() { file } else { other };
                    self.meet(file, self.0[file].pointer(place).unwrap(), value, pointer.clone(), met);
                }
                "properties" => {
                    for (name, value) in object.filter(|(name, _)| says.get(name.as_str()).is_some()) {
                        self.meet(file, &says[name], value, format!("{pointer}/{name}"), met);
                    }
                }
                "additionalProperties" => {
                    for (name, value) in object {
                        self.meet(file, says, value, format!("{pointer}/{name}"), met);
                    }
                }
                "patternProperties" => {
                    let (pattern, says) = says.as_object().unwrap().iter().next().unwrap();
                    for (name, value) in object.filter(|(name, _)| matches(pattern, name)) {
                        self.meet(file, says, value, format!("{pointer}/{name}"), met);
                    }
                }
                "items" => {
                    for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                        self.meet(file, says, value, format!("{pointer}/{index}"), met);
                    }
                }
                // Those with an alternative have only one.
                "allOf" | "anyOf" => {
                    assert!(keyword == "allOf" || says.as_array().unwrap().len() == 1, "{says}");
                    for part in says.as_array().unwrap() {
                        self.meet(file, part, value, pointer.clone(), met);
                    }
                }
                _ => (),
            }
        }
    }
}

impl Met<'_> {
    fn holds(&self) -> bool {
        let (says, value) = (&self.schema[self.keyword], self.value);
        match self.keyword {
            "type" => match says.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64() || value.is_u64(),
                other => panic!("type {other}"),
            },
            "required" => {
                let names = says.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                !value.is_object() || names.into_iter().all(|name| value.get(name).is_some())
            }
            "enum" => says.as_array().unwrap().contains(value),
            "pattern" => value.as_str().is_none_or(|text| matches(says.as_str().unwrap(), text)),
            "minimum" => integer(value).is_none_or(|number| number >= integer(says).unwrap()),
            "maximum" => integer(value).is_none_or(|number| number <= integer(says).unwrap()),
            "minItems" => value.as_array().is_none_or(|list| list.len() as i128 >= integer(says).unwrap()),
            "$ref"
            | "properties"
            | "additionalProperties"
            | "patternProperties"
            | "items"
            | "allOf"
            | "anyOf"
            | "description"
            | "$schema" => true,
            other => panic!("keyword {other}"),
        }
    }

    fn rules(&self) -> Vec<String> {
        let (says, pointer) = (&self.schema[self.keyword], &self.pointer);
        let bound = |keyword: &str| self.schema.get(keyword).map(ToString::to_string).unwrap_or_default();
        match self.keyword {
            "type" if says == "integer" => {
                vec![format!("{pointer} integer {}..{}", bound("minimum"), bound("maximum"))]
            }
            "type" => vec![format!("{pointer} {}", says.as_str().unwrap())],
            "required" => {
                let names = says.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                names.map(|name| format!("{pointer}/{name} required")).collect()
            }
            "enum" | "pattern" => vec![format!("{pointer} word")],
            "minItems" => vec![format!("{pointer} filled")],
            _ => Vec::new(),
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn integer(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or(value.as_u64().map(i128::from))
}

/// Whether a regular expression is met somewhere in a text. Of the same expression and text grep is asked once.
fn matches(pattern: &str, text: &str) -> bool {
    thread_local! { static KNOWN: RefCell<BTreeMap<(String, String), bool>> = RefCell::default() }
    let ask = || {
        let mut grep = Command::new("grep");
        grep.args(["-qzP", "--", pattern]).stdin(Stdio::piped());
        let mut grep = grep.spawn().unwrap();
        grep.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        grep.wait().unwrap().success()
    };
    let question = (pattern.to_owned(), text.to_owned());
    KNOWN.with_borrow_mut(|known| *known.entry(question).or_insert_with(ask))
}
