//! `validate`: everything that is wrong with a bundle's config, at once, touching nothing.
//!
//! A finding is of one of three kinds: `spec`, what the specification or this runtime refuses on every host;
//! `host`, what this host lacks; `note`, what is allowed and yet probably not meant. Notes are no faults.

use std::io::Write as _;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::{output, print_json};
use crate::cgroup::Cgroup;
use crate::cli::Globals;
use crate::cli::verbs::Validate;
use crate::error::{Context, Error, Kind as ErrorKind, Result};
use crate::launch::preview;
use crate::place::Place;
use crate::plan::findings::Findings;
use crate::plan::{Plan, seccomp};
use crate::spec::reader::{Reading, Unknown, read_all};
use crate::spec::sections::section;
use crate::spec::{self, Spec};
use crate::sys::capabilities::mask_of;
use crate::sys::files;

/// What sort of finding it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Spec,
    Host,
    Note,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    /// JSON pointer (RFC 6901) into config.json; empty is the whole document.
    pointer: String,
    section: &'static str,
    kind: Kind,
    message: String,
}

impl Finding {
    fn at(place: &Place, kind: Kind, message: impl Into<String>) -> Finding {
        Finding { pointer: place.pointer(), section: section(place), kind, message: message.into() }
    }

    fn of(error: &Error, kind: Kind) -> Finding {
        Finding::at(&error.place().unwrap_or_default(), kind, error.message_without_field())
    }
}

/// The verb. The exit code is 1 if there are faults.
pub fn validate(globals: &Globals, words: &Validate) -> Result<i32> {
    let bundle = words.bundle.as_ref().or(words.path.as_ref()).map_or(Path::new("."), |path| path);
    let bundle = files::canonicalize(bundle).on("open bundle", bundle)?;
    let text = spec::read_text(&bundle.join("config.json"))?;
    let findings = inspect(globals, &bundle, &text);
    if words.format == "json" {
        print_json(&findings)?;
    } else {
        for Finding { pointer, section, kind, message } in &findings {
            let pointer = if pointer.is_empty() { "config.json" } else { pointer };
            let kind = format!("{kind:?}").to_lowercase();
            // One line for one finding, whatever a value holds.
            let message = message.replace('\n', "\\n");
            writeln!(output(), "{kind}: {pointer}: {message} ({section})").context(super::STDOUT)?;
        }
    }
    Ok(i32::from(findings.iter().any(|finding| finding.kind != Kind::Note)))
}

fn inspect(globals: &Globals, bundle: &Path, text: &str) -> Vec<Finding> {
    let whole = |message: String| vec![Finding::at(&Place::default(), Kind::Spec, message)];
    let document: Value = match serde_json::from_str(text) {
        Ok(Value::Null) => return whole("config cannot be null".to_owned()),
        Ok(document) => document,
        Err(error) => return whole(error.to_string()),
    };
    let reading: Reading<Spec> = read_all(document);
    let misfits = reading.misfits.iter().map(|m| Finding::at(&m.place(), Kind::Spec, m.message.as_str()));
    let mut findings: Vec<Finding> = misfits.collect();
    if let (true, Err(error)) = (findings.is_empty(), spec::parse(text)) {
        // Only the text shows this: a property that is there twice.
        return whole(error.to_string());
    }
    let Some(spec) = &reading.value else { return findings };
    let (faults, lacks) = resolve(globals, bundle, spec);
    let mended: Vec<Place> = reading.misfits.iter().map(|misfit| misfit.place()).collect();
    let faults = faults.iter().map(|error| match error.kind() {
        ErrorKind::Invalid => (error, Kind::Spec),
        _ => (error, Kind::Host),
    });
    let lacks = lacks.iter().map(|error| (error, Kind::Host));
    for (error, kind) in faults.chain(lacks).filter(|(error, _)| !follows_from(error, &mended)) {
        let finding = Finding::of(error, kind);
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings.sort_by_key(|finding| finding.kind == Kind::Host); // stable: the spec's come first
    findings.extend(reading.unknown.iter().filter_map(probable_typo));
    let ours = |note: &Finding| mended.iter().any(|place| note.pointer.starts_with(&place.pointer()));
    findings.extend(notes(spec).into_iter().filter(|note| !ours(note)));
    findings
}

/// What the config asks that nobody could do, and what this host can't.
fn resolve(globals: &Globals, bundle: &Path, spec: &Spec) -> (Vec<Error>, Vec<Error>) {
    let (mut faults, mut lacks) = (Findings::default(), Findings::default());
    let id = bundle.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let plan = Plan::resolve_all(&id, bundle, spec, &mut faults);
    let linux = spec.linux.clone().unwrap_or_default();
    if let Some(wishes) = &linux.seccomp {
        let mut wrong = Findings::default();
        seccomp::check(wishes, &mut wrong);
        match wrong.into_all() {
            wrong if wrong.is_empty() => faults.keep(seccomp::compile(wishes).map(|_| ())),
            wrong => wrong.into_iter().for_each(|error| faults.push(error)),
        }
    }
    let cgroup = Cgroup::resolve(globals.cgroup_driver, &linux.cgroups_path, "validate");
    let cgroup = faults.keep(cgroup.map(Some));
    if let Some(cgroup) = &cgroup {
        cgroup.check_annotations(&spec.annotations, &mut faults);
        if let Some(resources) = &linux.resources {
            cgroup.check_values(resources, &mut faults);
        }
    }
    preview::check(spec, &plan, cgroup.as_ref(), &mut lacks);
    (faults.into_all(), lacks.into_all())
}

/// Whether an error is about a value that we put in the place of one that did not fit.
fn follows_from(error: &Error, mended: &[Place]) -> bool {
    let Some(place) = error.place() else { return false };
    let parent = |of: &Place| of.0.strip_prefix(place.0.as_slice()).is_some_and(|rest| rest.len() == 1);
    mended.iter().any(|one| place.0.starts_with(&one.0) || parent(one))
}

/// Unknown properties are allowed (config.md, "Extensibility"); one that is nearly a known one is probably wrong.
fn probable_typo(unknown: &Unknown) -> Option<Finding> {
    let near = unknown.known.iter().map(|known| (distance(&unknown.name, known), known)).min()?;
    let most = if unknown.name.chars().count() > 4 { 2 } else { 1 };
    let message = format!("unknown property, ignored: is {:?} meant?", near.1);
    (near.0 <= most).then(|| Finding::at(&unknown.place, Kind::Note, message))
}

/// How many letters must be put in, taken out or changed to make one word of the other, case aside.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) =
        (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    // How far the beginning of `a` that was looked at is from each longer beginning of `b`.
    let mut row: Vec<usize> = (1..=b.len()).collect();
    for (x, before) in a.iter().zip(0usize..) {
        let (mut diagonal, mut left) = (before, before.saturating_add(1));
        for (y, above) in b.iter().zip(&mut row) {
            let other = left.min(*above).saturating_add(1);
            left = diagonal.saturating_add(usize::from(x != y)).min(other);
            diagonal = std::mem::replace(above, left);
        }
    }
    row.last().copied().unwrap_or(a.len())
}

/// What is allowed and yet worth a word.
fn notes(spec: &Spec) -> Vec<Finding> {
    let mut notes = Vec::new();
    let mut note = |field: String, message: String| {
        notes.push(Finding::at(&Place::parse(&field), Kind::Note, message));
    };
    let minor = |version: &str| version.split('.').nth(1).and_then(|part| part.parse::<u32>().ok());
    if spec.oci_version.starts_with("1.") && minor(&spec.oci_version) > minor(spec::VERSION) {
        let message = format!("newer than {}: what only it defines is ignored", spec::VERSION);
        note("ociVersion".to_owned(), message);
    }
    for (index, mount) in spec.mounts.iter().enumerate().filter(|(_, mount)| mount.destination.is_relative())
    {
        let message = format!("{:?} is relative, which is deprecated", mount.destination);
        note(format!("mounts[{index}].destination"), message);
    }
    let Some(process) = &spec.process else { return notes };
    let sets = process.capabilities.clone().unwrap_or_default();
    let sets = [
        ("bounding", sets.bounding),
        ("effective", sets.effective),
        ("inheritable", sets.inheritable),
        ("permitted", sets.permitted),
        ("ambient", sets.ambient),
    ];
    for (set, names) in sets {
        for (index, name) in names.iter().enumerate().filter(|(_, name)| mask_of(name).is_none()) {
            let message = format!("{name:?} is no capability, and is ignored with a warning");
            note(format!("process.capabilities.{set}[{index}]"), message);
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(text: &str) -> Vec<(Kind, String)> {
        let all = inspect(&Globals::default(), Path::new("/nosuch"), text);
        all.into_iter().map(|finding| (finding.kind, finding.pointer)).collect()
    }

    #[test]
    fn distances_are_counted_in_letters() {
        for (a, b, expected) in [
            ("mount", "mounts", 1),
            ("HostName", "hostname", 0),
            ("a", "", 1),
            ("proces", "process", 1),
            ("abc", "xyz", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn syntax_and_doubles_are_one_finding_with_line_and_column() {
        for text in ["{\n oops", "{\"ociVersion\": \"1.0.0\",\n \"ociVersion\": \"1.0.0\"}"] {
            let findings = inspect(&Globals::default(), Path::new("/nosuch"), text);
            assert_eq!(findings.len(), 1);
            assert!(findings[0].message.contains("line 2 column"), "{findings:?}");
        }
    }

    #[test]
    fn what_follows_from_a_misfit_is_not_told_again() {
        let found = pointers(
            r#"{"ociVersion": 1, "root": "x", "process": {"args": "sh", "cwd": 5}, "linux": {"namespaces": [{"type": 7}]}}"#,
        );
        let expected = ["/linux/namespaces/0/type", "/ociVersion", "/process/args", "/process/cwd", "/root"];
        let mut found: Vec<_> = found.iter().map(|(_, pointer)| pointer.as_str()).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn words_that_are_nearly_known_are_notes() {
        let found = pointers(
            r#"{"ociVersion": "1.9.0", "proces": {}, "com.example.x": 1, "root": {"path": "/", "readOnly": true}}"#,
        );
        let notes: Vec<_> =
            found.iter().filter(|(kind, _)| *kind == Kind::Note).map(|(_, p)| p.as_str()).collect();
        assert_eq!(notes, ["/proces", "/root/readOnly", "/ociVersion"]);
    }
}
