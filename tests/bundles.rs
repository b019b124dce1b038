//! Every example bundle runs and shows what its README claims. A bundle without a claim here fails the suite.
#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wharf_tests::{Said, runtime_path};

/// What each bundle's program must print (a part of it).
const CLAIMS: [(&str, &[&str]); 6] = [
    ("hello", &["Hello from hello, process 1 of its own world", "the root is read-only"]),
    ("terminal", &["/dev/pts/0", "30 100", "standard input is a terminal"]),
    ("hooks", &["\"status\":\"created\"", "\"id\":"]),
    ("seccomp", &["mkdir is denied", "touch is not", "Seccomp:\t2"]),
    ("user-namespace", &["0\n 0 100000 65536\n", "the root is mine"]),
    ("limits", &["no more than 8 processes", "too much memory: 137"]),
];

fn bundles() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("bundles")
}

#[test]
fn every_bundle_shows_what_it_claims() {
    assert!(Command::new(bundles().join("fill")).status().unwrap().success());
    let state = tempfile::TempDir::new().unwrap();
    for entry in std::fs::read_dir(bundles()).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let claim = CLAIMS.iter().find(|(bundle, _)| *bundle == name);
        let (_, parts) = claim.unwrap_or_else(|| panic!("no claim for bundle {name}"));
        let id = format!("bundle-{name}-{}", std::process::id());
        let mut command = Command::new(runtime_path());
        command.arg("--root").arg(state.path()).args(["run", "--bundle"]).arg(&path).arg(&id);
        let said: Said = command.stdin(Stdio::null()).output().unwrap().into();
        for part in *parts {
            assert!(said.out.replace('\r', "").contains(part), "{name}: no {part:?} in {said:?}");
        }
        assert_eq!(said.code, 0, "{name}: {said:?}");
    }
}
