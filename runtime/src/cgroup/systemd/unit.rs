//! Which unit a container is, and where systemd puts its control group (runc's docs/systemd.md; systemd.unit(5);
//! systemd.slice(5)).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A transient unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name, with `.scope` or `.slice`.
    pub name: String,
    /// The slice above it.
    pub slice: String,
    /// Whether it belongs to the user's own systemd.
    pub user: bool,
}

/// systemd takes no longer names.
const MAX_NAME: usize = 255;

impl Unit {
    /// `slice:prefix:name`, each of which has a default: the scope `wharf-<id>.scope` in `system.slice`, or in
    /// `user.slice` of the user's own systemd. A name that ends in `.slice` is a slice itself.
    pub fn parse(cgroups_path: &str, id: &str, user: bool) -> Result<Unit> {
        let parts: Vec<&str> =
            if cgroups_path.is_empty() { vec![""; 3] } else { cgroups_path.split(':').collect() };
        let &[slice, prefix, name] = parts.as_slice() else {
            return Err(Error::at(
                "linux.cgroupsPath",
                format_args!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \
                     {cgroups_path:?} instead"
                ),
            ));
        };
        let or = |given: &str, default: &str| if given.is_empty() { default } else { given }.to_owned();
        let slice = match slice {
            "-" => "-.slice".to_owned(),
            slice => or(slice, if user { "user.slice" } else { "system.slice" }),
        };
        let name = or(name, id);
        let name = match name.ends_with(".slice") {
            true => name,
            false => format!("{}-{}.scope", escape(&or(prefix, "wharf")), escape(&name)),
        };
        let unit = Unit { name, slice, user };
        unit.path()?;
        if unit.name.len() > MAX_NAME || unit.name.contains(['/', '\0']) {
            return Err(Error::at("linux.cgroupsPath", format_args!("{:?} is not a unit name", unit.name)));
        }
        Ok(unit)
    }

    /// Whether it is a slice, which holds no processes of its own for systemd.
    pub fn is_slice(&self) -> bool {
        self.name.ends_with(".slice")
    }

    /// Its control group below that of the systemd it belongs to.
    pub fn path(&self) -> Result<PathBuf> {
        match self.is_slice() {
            true => expand_slice(&self.name),
            false => Ok(expand_slice(&self.slice)?.join(&self.name)),
        }
    }
}

/// `a-b.slice` lies in `a.slice`: `a.slice/a-b.slice`. The root slice is the empty path.
fn expand_slice(slice: &str) -> Result<PathBuf> {
    let invalid = || Error::at("linux.cgroupsPath", format_args!("invalid slice name: {slice}"));
    let stem = slice.strip_suffix(".slice").ok_or_else(invalid)?;
    let mut path = PathBuf::new();
    if stem == "-" {
        return Ok(path);
    }
    if stem.split('-').any(|part| part.is_empty() || part.contains('/') || part.starts_with('.')) {
        return Err(invalid());
    }
    for end in stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]) {
        path.push(format!("{}.slice", stem.split_at(end).0));
    }
    Ok(path)
}

/// What a container's ID may hold and a unit's name may not (`+`), as `\x2b`; a `/` is left, to be refused.
fn escape(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@/".contains(c);
    let mut bytes = [0; 4];
    text.chars()
        .map(|c| match plain(c) {
            true => c.to_string(),
            false => c.encode_utf8(&mut bytes).bytes().map(|byte| format!("\\x{byte:02x}")).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(cgroups_path: &str, user: bool) -> (String, String) {
        let unit = Unit::parse(cgroups_path, "id", user).unwrap();
        (unit.slice.clone(), unit.path().unwrap().display().to_string())
    }

    #[test]
    fn cgroups_path_names_slice_prefix_and_name() {
        for (given, slice, path) in [
            ("", "system.slice", "system.slice/wharf-id.scope"),
            ("::", "system.slice", "system.slice/wharf-id.scope"),
            ("machine.slice:libpod:x", "machine.slice", "machine.slice/libpod-x.scope"),
            ("a-b-c.slice:p:n", "a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice/p-n.scope"),
            ("-:p:n", "-.slice", "p-n.scope"),
            ("-.slice:p:n", "-.slice", "p-n.scope"),
            ("a.slice:ignored:a-b.slice", "a.slice", "a.slice/a-b.slice"),
            (":p:n+1", "system.slice", "system.slice/p-n\\x2b1.scope"),
        ] {
            assert_eq!(place(given, false), (slice.to_owned(), path.to_owned()), "{given}");
        }
        assert_eq!(place("", true).0, "user.slice");
    }

    #[test]
    fn other_forms_are_refused() {
        for bad in [
            "/a/b",
            "a:b",
            "a:b:c:d",
            "a:p:n",
            "a--b.slice:p:n",
            "-a.slice:p:n",
            ".slice:p:n",
            "a/b.slice:p:n",
            "...slice:p:n",
            ":p:a/b",
            ":p:../../x",
            ":p:a/b.slice",
            &format!(":p:{}", "n".repeat(300)),
        ] {
            assert!(Unit::parse(bad, "id", false).is_err(), "{bad}");
        }
    }
}
