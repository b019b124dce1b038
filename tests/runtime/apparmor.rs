//! AppArmor (config.md, "apparmorProfile"): the program and what is exec'd beside it are confined by the profile.
//! Skipped where the kernel has no AppArmor; the guest has.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;
use wharf_tests::{Sandbox, skip};

fn is_enabled() -> bool {
    let text = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    text.starts_with('Y') || skip("AppArmor is not enabled here (scripts/guest has it)")
}

/// A loaded profile, unloaded at the end.
struct Profile(String);

impl Profile {
    fn load(name: &str, rules: &str) -> Profile {
        let name = format!("wharf-test-{name}-{}", std::process::id());
        let text = format!(
            "profile {name} flags=(attach_disconnected,mediate_deleted) {{
                file, capability, network, mount, umount, pivot_root, signal, ptrace, unix, dbus,
                {rules}
            }}"
        );
        parse("--replace", &text);
        Profile(name)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        parse("--remove", &format!("profile {} {{ }}", self.0));
    }
}

fn parse(action: &str, text: &str) {
    let mut parser = Command::new("apparmor_parser");
    let mut child = parser.args([action, "--skip-cache"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
}

const TRY: &str = "cat /proc/self/attr/current; echo x > /tmp/secret || echo refused";

#[test]
fn profile_confines_the_program_and_what_is_execd() {
    if !is_enabled() {
        return;
    }
    let (own, other) =
        (Profile::load("own", "deny /tmp/secret w,"), Profile::load("other", "deny /tmp/open w,"));
    let sandbox = Sandbox::shell(&format!("{TRY}; sleep 1000"), |c| {
        c["process"]["apparmorProfile"] = json!(own.0);
    });
    sandbox.start();
    let said = |script: &str, more: &[&str]| {
        let words = [&["exec"], more, &[&sandbox.id, "sh", "-c", script]].concat();
        sandbox.verb(&words).ok()
    };
    assert_eq!(said(TRY, &[]), format!("{} (enforce)\nrefused\n", own.0));
    assert_eq!(said(TRY, &["--apparmor", &other.0]), format!("{} (enforce)\n", other.0));
    let pid = sandbox.state()["pid"].to_string();
    let label = std::fs::read_to_string(format!("/proc/{pid}/attr/current")).unwrap();
    assert_eq!(label.trim_end(), format!("{} (enforce)", own.0));
    sandbox.verb(&["delete", "--force", &sandbox.id]).ok();
    sandbox.assert_nothing_left();
}

#[test]
fn profile_that_is_not_loaded_is_an_error_and_nothing_is_left() {
    if !is_enabled() {
        return;
    }
    let sandbox =
        Sandbox::shell("true", |c| c["process"]["apparmorProfile"] = json!("wharf-no-such-profile"));
    sandbox.create().fails(1, &["apparmor"]);
    sandbox.assert_nothing_left();
}
