//! What was asked: config.json as plain structs with public fields (runtime-spec 1.3, config.md and
//! config-linux.md).
//!
//! These are our own types and not `oci-spec`'s, because that crate refuses whole configs that the
//! specification accepts (docs/decisions/0001). Unknown properties are ignored, as the specification's
//! "Extensibility" demands; `null` and an absent property mean the same, as engines written in Go take it.

mod freebsd;
mod linux;
mod process;
pub mod reader;
mod resources;
pub mod sections;
pub mod state;
mod strict;

pub use freebsd::*;
pub use linux::*;
pub use process::*;
pub use resources::*;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Context, Error, Result};
use crate::sys::files;

/// The newest version of the specification that this runtime knows.
pub const VERSION: &str = "1.3.0";

/// `null` means absent: Go's encoder writes it for a nil slice or map.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    d: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// config.json, whole.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// SemVer of the specification the bundle was written for; every 1.x is taken.
    pub oci_version: String,
    /// The program to run; without one, `create` works and `start` is an error (runtime.md, "Start").
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The root file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// Host name in a UTS namespace of the container's own; empty means unset.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// NIS domain name, likewise.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub domainname: String,
    /// Mounts, performed in this order.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Programs run at points of the life cycle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Free text for people and engines.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// All that only Linux has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
    /// All that only FreeBSD has: read and not used.
    #[serde(default, skip_serializing)]
    pub freebsd: Option<FreeBsd>,
}

/// The root file system (config.md, "Root").
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Root {
    /// Absolute, or relative to the bundle.
    pub path: PathBuf,
    /// Whether the container sees it read-only.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "std::ops::Not::not")]
    pub readonly: bool,
}

/// One mount (config.md, "Mounts").
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Path in the container.
    pub destination: PathBuf,
    /// File system type; ignored for bind mounts.
    #[serde(
        rename = "type",
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub kind: String,
    /// Device name, or the path to bind.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Options as in fstab(5), plus the specification's own.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Id-mapped mount: user ids.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// Id-mapped mount: group ids.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
}

/// The six lists of hooks (config.md, "POSIX-platform Hooks").
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// Deprecated twin of `createRuntime`, run before it.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub prestart: Vec<Hook>,
    /// In the runtime's namespaces, during create.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, before its root is pivoted into.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub create_container: Vec<Hook>,
    /// In the container, right before the user's program.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub start_container: Vec<Hook>,
    /// In the runtime's namespaces, after the user's program was started.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    /// In the runtime's namespaces, after the container was deleted.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
}

impl Hooks {
    /// The lists with their names, in the order in which they run.
    pub fn lists(&self) -> [(&'static str, &[Hook]); 6] {
        [
            ("prestart", &self.prestart),
            ("createRuntime", &self.create_runtime),
            ("createContainer", &self.create_container),
            ("startContainer", &self.start_container),
            ("poststart", &self.poststart),
            ("poststop", &self.poststop),
        ]
    }
}

/// One hook.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Hook {
    /// Absolute path of the program.
    pub path: PathBuf,
    /// Its argv, the zeroth included; empty means just the path.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Its environment, exactly; absent means the caller's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// Seconds until it is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

/// Parses the text of a config.json.
pub fn parse(text: &str) -> Result<Spec> {
    from_json::<Option<Spec>>(text)?.ok_or_else(|| Error::invalid("config cannot be null"))
}

/// Parses any JSON document of ours. An error names line and column and, where the text is JSON but not what it
/// should be, the place in the document.
pub fn from_json<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T> {
    strict::from_str(text).map_err(|error| {
        let value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(no_json) => return Error::invalid(no_json.to_string()),
        };
        let Err(misfit) = reader::read::<T>(&value) else { return Error::invalid(error.to_string()) };
        let (line, column) = (error.line(), error.column());
        let message = format!("{} (line {line} column {column})", misfit.message);
        match misfit.place().to_string() {
            whole if whole.is_empty() => Error::invalid(message),
            place => Error::at(place, message),
        }
    })
}

/// Reads and parses `bundle/config.json`.
pub fn load(bundle: &Path) -> Result<Spec> {
    let path = bundle.join("config.json");
    parse(&read_text(&path)?).on("parse", &path)
}

/// The text of a config.json.
pub fn read_text(path: &Path) -> Result<String> {
    match files::read_to_string(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let message = format!("JSON specification file {} not found", path.display());
            Err(Error::new(crate::error::Kind::NotFound, message).with_errno(libc::ENOENT).on_path(path))
        }
        other => other.on("read", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_errors_have_line_and_column() {
        let error = parse("{\n  \"ociVersion\": oops }").unwrap_err().to_string();
        assert!(error.contains("line 2 column 17"), "{error}");
    }

    #[test]
    fn misfits_have_line_column_and_place() {
        let error = parse("{\n\"ociVersion\": \"1.0.0\", \"mounts\": [{}]}").unwrap_err();
        assert_eq!(error.pointer().as_deref(), Some("/mounts/0/destination"));
        assert!(error.to_string().contains("mounts[0].destination: is missing (line 2 column"), "{error}");
    }

    #[test]
    fn document_of_another_type_and_half_a_one_are_told_in_json_words() {
        for (text, message) in [
            ("[]", "an array is not an object (line 1 column"),
            ("\"x\"", "\"x\" is not an object (line 1 column 3)"),
            ("[1", "EOF while parsing a list at line 1 column 2"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn null_is_absent_and_unknown_properties_are_ignored() {
        let spec = parse(r#"{"ociVersion":"1.0.0","mounts":null,"future":{"x":1},"process":{"args":["a"],"cwd":"/","user":null}}"#)
            .unwrap();
        assert!(spec.mounts.is_empty());
        assert_eq!(spec.process.unwrap().user.uid, 0);
    }

    #[test]
    fn null_config_is_refused() {
        assert!(parse("null").unwrap_err().to_string().contains("cannot be null"));
    }
}
