//! House rules that a program can check: who may use whom, how long a file may be, how it opens.
#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod dependencies;

use std::path::{Path, PathBuf};

/// For each layer of the runtime, the layers above it, which it must not know.
const LAYERS: [(&str, &[&str]); 10] = [
    ("sys", &["cli", "command", "launch", "init", "container", "cgroup", "hooks", "host"]),
    ("error", &["cli", "command", "spec", "plan", "launch", "init", "container", "cgroup", "hooks", "sys"]),
    ("spec", &["cli", "command", "plan", "launch", "init", "container", "cgroup", "hooks", "sys"]),
    ("plan", &["cli", "command", "launch", "init", "container", "cgroup", "hooks"]),
    ("cgroup", &["cli", "command", "launch", "init", "container", "hooks"]),
    ("container", &["cli", "command", "launch", "init", "hooks"]),
    ("hooks", &["cli", "command", "launch", "init", "container", "cgroup", "plan"]),
    ("criu", &["cli", "command", "launch", "init", "container", "hooks"]),
    ("launch", &["cli", "command", "init"]),
    ("init", &["cli", "command"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// All source files with their text.
fn sources() -> Vec<(PathBuf, String)> {
    let folders = ["runtime/src", "manager/src", "tests"].map(|folder| root().join(folder));
    let files = folders.iter().flat_map(|folder| rust_files(folder));
    files
        .map(|path| (path.strip_prefix(root()).unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

#[track_caller]
fn assert_clean(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn layers_know_only_those_below() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let Ok(inside) = path.strip_prefix("runtime/src") else { continue };
        let layer = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let Some((_, forbidden)) = LAYERS.iter().find(|(name, _)| *name == layer) else { continue };
        // Reading config.json is the one thing that `spec` asks of the system.
        let lines =
            text.lines().enumerate().filter(|(_, line)| layer != "spec" || *line != "use crate::sys::files;");
        for (number, line) in lines {
            for other in *forbidden {
                if line.contains(&format!("crate::{other}::")) || line.contains(&format!("crate::{other};")) {
                    faults.push(format!("{}:{}: {layer} must not use {other}", path.display(), number + 1));
                }
            }
        }
    }
    assert_clean(&faults);
}

#[test]
fn programs_do_not_link_each_other() {
    for (program, other) in [("runtime", "name = \"wharf\""), ("manager", "wharf-runtime")] {
        let text = std::fs::read_to_string(root().join(program).join("Cargo.toml")).unwrap();
        assert!(!text.contains(other), "{program} depends on {other}");
    }
}

#[test]
fn files_open_with_what_they_are_and_stay_readable() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") {
            faults.push(format!("{}:1: does not open with //!", path.display()));
        }
        let limit = if path.starts_with("tests") { 600 } else { 420 };
        let lines = text.lines().count();
        if lines > limit {
            faults.push(format!("{}:{lines}: longer than {limit} lines", path.display()));
        }
        let marker = ["TO", "DO"].concat();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| line.contains(&marker)) {
            faults.push(format!("{}:{}: {line}", path.display(), number + 1));
        }
    }
    assert_clean(&faults);
}

#[test]
fn unsafe_code_is_in_sys_alone() {
    let block = ["unsafe", " {"].concat();
    let faults: Vec<String> = sources()
        .iter()
        .filter(|(path, text)| !path.starts_with("runtime/src/sys") && text.contains(&block))
        .map(|(path, _)| format!("{}: unsafe outside of runtime/src/sys", path.display()))
        .collect();
    assert_clean(&faults);
}

#[test]
fn scripts_are_short() {
    for script in [
        "scripts/test",
        "scripts/run",
        "scripts/make-image",
        "scripts/guest",
        "scripts/bench",
        ".ci/run",
        "bundles/fill",
    ] {
        let lines = std::fs::read_to_string(root().join(script)).unwrap().lines().count();
        assert!(lines <= 50, "{script} has {lines} lines");
    }
}

#[test]
fn nothing_is_put_off() {
    let words = ["not supported ", "not implemented "].map(|words| format!("{words}yet"));
    let faults: Vec<String> = sources()
        .iter()
        .filter(|(path, text)| {
            path.starts_with("runtime/src") && words.iter().any(|words| text.contains(words))
        })
        .map(|(path, _)| format!("{}: something is put off", path.display()))
        .collect();
    assert_clean(&faults);
}
