//! What may be linked: licences, sources, how many versions of a thing, and what the runtime must do without. All
//! of it is read off Cargo.lock and the crates that cargo has, without a network. Why not by a tool:
//! docs/decisions/0006.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::{assert_clean, root};

/// Licences that ask of a binary no more than that their text goes along.
const LICENCES: [&str; 9] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CDLA-Permissive-2.0", // of the list of certificate authorities
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

/// Crates of which there are two versions, and who keeps the older one.
const TWICE: [(&str, &str); 3] = [
    ("base64", "ureq is a version ahead of the manager"),
    ("getrandom", "ring is a version behind tempfile"),
    ("syn", "only macros use it"),
];

/// C libraries that are compiled in, and why there is no way without.
const C_CODE: [(&str, &str); 2] =
    [("ring", "the cryptography of TLS"), ("zstd-sys", "there is no compressor for zstd in Rust as good")];

/// What the runtime is linked with, all in all: a crate more is a decision.
const RUNTIME: [&str; 30] = [
    "anstyle",
    "autocfg",
    "bitflags",
    "cfg-if",
    "cfg_aliases",
    "clap",
    "clap_builder",
    "clap_derive",
    "clap_lex",
    "errno",
    "heck",
    "itoa",
    "libc",
    "linux-raw-sys",
    "log",
    "memchr",
    "memoffset",
    "nix",
    "proc-macro2",
    "quote",
    "rustix",
    "serde",
    "serde_core",
    "serde_derive",
    "serde_json",
    "syn",
    "syscalls",
    "unicode-ident",
    "wharf-runtime",
    "zmij",
];

const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What cargo knows of this workspace, for the host's platform alone.
struct Known {
    packages: Vec<Value>,
    nodes: BTreeMap<String, Value>,
}

impl Known {
    fn ask() -> Known {
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "metadata",
            "--locked",
            "--offline",
            "--format-version=1",
            "--filter-platform",
            &platform,
        ]);
        let output = cargo.current_dir(root()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let all: Value = serde_json::from_slice(&output.stdout).unwrap();
        let nodes = all["resolve"]["nodes"].as_array().unwrap().iter();
        let nodes: BTreeMap<_, _> = nodes.map(|node| (text(&node["id"]).to_owned(), node.clone())).collect();
        let packages = all["packages"].as_array().unwrap().iter();
        let packages = packages.filter(|package| nodes.contains_key(text(&package["id"]))).cloned().collect();
        Known { packages, nodes }
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.packages.iter().filter(move |package| package["name"] == name)
    }

    /// The names of all that a crate of the workspace is built from, tests aside.
    fn tree(&self, name: &str) -> BTreeSet<&str> {
        let mut left: Vec<&str> = self.named(name).map(|package| text(&package["id"])).collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = left.pop() {
            seen.insert(id);
            for dependency in self.nodes[id]["deps"].as_array().unwrap() {
                let id = text(&dependency["pkg"]);
                let kinds = dependency["dep_kinds"].as_array().unwrap();
                if kinds.iter().any(|kind| kind["kind"] != "dev") && !seen.contains(id) {
                    left.push(id);
                }
            }
        }
        let of = |package: &&Value| seen.contains(text(&package["id"]));
        self.packages.iter().filter(of).map(|package| text(&package["name"])).collect()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Whether one of the alternatives of an SPDX expression is made of allowed licences alone.
fn is_allowed(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    // In `(A OR B) AND C` as in `A AND C OR B`, taken apart at each AND, every part must have something allowed.
    plain.split(" AND ").all(|part| part.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}

#[test]
fn licences_are_permissive() {
    let known = Known::ask();
    let refused = known.packages.iter().filter(|package| !is_allowed(text(&package["license"])));
    assert_clean(&refused.map(|p| format!("{}: licence {}", p["name"], p["license"])).collect::<Vec<_>>());
    for (expression, expected) in [
        ("MIT OR GPL-3.0", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("MIT AND GPL-3.0-only", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression), expected, "{expression}");
    }
}

#[test]
fn crates_come_from_one_registry_with_their_checksums() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let faults = lock.split("[[package]]").skip(1).filter(|package| {
        let of = |key: &str| package.lines().find_map(|line| line.strip_prefix(key));
        let ours = of("name = ").is_some_and(|name| name.starts_with("\"wharf"));
        let pinned = of("source = ").is_some_and(|source| source == format!("{SOURCE:?}"));
        !(ours || pinned && of("checksum = ").is_some())
    });
    assert_clean(&faults.map(|package| package.trim().to_owned()).collect::<Vec<_>>());
}

#[test]
fn there_is_one_version_of_each_crate() {
    let known = Known::ask();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in &known.packages {
        versions.entry(text(&package["name"])).or_default().insert(text(&package["version"]));
    }
    let several: Vec<&str> =
        versions.iter().filter(|(_, all)| all.len() > 1).map(|(name, _)| *name).collect();
    assert_eq!(several, TWICE.map(|(name, _)| name), "take a crate off the list that is there once by now");
}

#[test]
fn c_code_is_linked_only_where_it_must_be() {
    let known = Known::ask();
    let links = known.packages.iter().filter(|package| !package["links"].is_null());
    let mut names: Vec<&str> = links.map(|package| text(&package["name"])).collect();
    names.sort_unstable();
    assert_eq!(names, C_CODE.map(|(name, _)| name));
}

#[test]
fn the_runtime_is_made_of_a_written_list_of_crates() {
    let known = Known::ask();
    assert_eq!(known.tree("wharf-runtime").into_iter().collect::<Vec<_>>(), RUNTIME);
}
