//! The runtime's own program, which a container can have executed and reach for (CVE-2019-5736).

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use wharf_tests::{Sandbox, runtime_path};

use crate::order::{everything, verb};

/// What Docker gives by default: no power over others' processes.
const CAPABILITIES: [&str; 8] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_KILL",
    "CAP_SYS_CHROOT",
];

/// A container whose PID 1 attacks, and which has links and scripts that lead to whatever executes them.
fn attacked() -> Sandbox {
    let sandbox = Sandbox::new(&["/attacker"], |c| {
        let sets = ["bounding", "effective", "permitted"];
        c["process"]["capabilities"] = sets.into_iter().map(|set| (set, json!(CAPABILITIES))).collect();
    });
    let attacker = sandbox.rootfs().join("attacker");
    std::fs::copy(env!("CARGO_BIN_EXE_wharf-attacker"), &attacker).unwrap();
    std::os::unix::fs::symlink("/proc/self/exe", sandbox.rootfs().join("bin/self")).unwrap();
    let script = sandbox.rootfs().join("bin/script");
    std::fs::write(&script, "#!/proc/self/exe --version\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    sandbox
}

#[test]
fn runtimes_program_stays_as_it_is_however_often_it_is_executed_beside_an_attacker() {
    let before = std::fs::read(runtime_path()).unwrap();
    let sandbox = attacked();
    sandbox.start();
    let init = sandbox.state()["pid"].to_string();
    // The same root and the attacker's PID namespace, so that it sees this container's init too.
    let guest = Sandbox::new(&["/proc/self/exe", "--version"], |c| {
        c["root"]["path"] = json!(sandbox.rootfs());
        for namespace in c["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "pid" {
                namespace["path"] = json!(format!("/proc/{init}/ns/pid"));
            }
        }
    });
    let bundle = guest.bundle().to_str().unwrap();
    let config = std::fs::read_to_string(guest.bundle().join("config.json")).unwrap();
    for _ in 0..if everything() { 1000 } else { 15 } {
        for program in ["/proc/self/exe", "/bin/self", "/bin/script"] {
            verb(&sandbox, &["exec", &sandbox.id, program, "--version"]);
            guest.write_config(&config.replace("/proc/self/exe", program));
            verb(&guest, &["run", "--bundle", bundle, &guest.id]);
        }
        verb(&sandbox, &["exec", &sandbox.id, "true"]).ok();
    }
    std::fs::write(sandbox.rootfs().join("tmp/stop"), "").unwrap();
    sandbox.wait_for_status("stopped");
    let got = std::fs::read_to_string(sandbox.rootfs().join("tmp/got")).unwrap();
    let mut lines: Vec<&str> = got.lines().collect();
    lines.sort_unstable();
    // It saw whom it wanted to see, and got nothing out of it.
    assert_eq!(lines, ["held the runtime's program", "met somebody"]);
    assert!(std::fs::read(runtime_path()).unwrap() == before, "the runtime's program has changed");
    guest.assert_nothing_left();
}
