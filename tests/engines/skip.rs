//! Skips: each says why and is counted, and each is backed by the reference runtime failing in the same place.

use std::io::Write as _;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use wharf_tests::{Said, Sandbox};

/// Says that something was skipped.
pub fn skip(what: &str, why: &str) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    // Not by eprintln!, which the harness keeps to itself when a test goes well.
    let mut out = std::io::stderr().lock();
    writeln!(out, "skipped ({count}): {what}: {why}").unwrap();
}

/// Whether an engine's checkpoint succeeded. If not, runc must fail here too, and then it is skipped with what
/// criu's log complains of first.
pub fn succeeded(what: &str, checkpoint: &Said) -> bool {
    static FAULT: OnceLock<Option<String>> = OnceLock::new();
    if checkpoint.code == 0 {
        return true;
    }
    assert!(checkpoint.err.contains("criu failed: type DUMP"), "{checkpoint:?}");
    let fault = FAULT.get_or_init(try_runc).as_deref();
    skip(what, fault.unwrap_or_else(|| panic!("{what} fails, though not under runc: {checkpoint:?}")));
    false
}

fn try_runc() -> Option<String> {
    let sandbox = Sandbox::new(&["sleep", "1000"], |_| {});
    let folder = sandbox.bundle().to_str().unwrap().to_owned();
    let images = format!("{folder}/checkpoint");
    let runc = |arguments: &[&str]| -> Said {
        let mut command = sandbox.command_of(Path::new("runc"));
        let output = std::fs::File::create(format!("{folder}/runc.log")).unwrap();
        command.args(arguments).stdout(output.try_clone().unwrap()).stderr(output);
        let status = command.status().unwrap();
        std::process::Output { status, stdout: Vec::new(), stderr: Vec::new() }.into()
    };
    runc(&["run", "--detach", "--bundle", &folder, &sandbox.id]).ok();
    let checkpoint = runc(&["checkpoint", "--image-path", &images, "--work-path", &images, &sandbox.id]);
    runc(&["delete", "--force", &sandbox.id]);
    if checkpoint.code == 0 {
        return None;
    }
    let log = std::fs::read_to_string(format!("{images}/dump.log")).unwrap();
    Some(log.lines().find(|line| line.contains("Error")).unwrap().to_owned())
}
