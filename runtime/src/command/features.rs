//! `features` and `--version`: what this runtime does, out of the tables that it works by (features.md).

use std::io::Write as _;

use serde_json::json;

use super::{output, print_json};
use crate::error::Result;
use crate::plan::mounts::known_options;
use crate::plan::namespaces::KINDS;

/// The verb.
pub fn features() -> Result<()> {
    let namespaces: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
    let mut capabilities: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
    capabilities.sort();
    print_json(&json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": crate::spec::VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": known_options(),
        "linux": {
            "namespaces": namespaces,
            "capabilities": capabilities,
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": false },
            "seccomp": {
                "enabled": true,
                "actions": ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                            "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"],
                "operators": ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT",
                              "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"],
                "archs": if cfg!(target_arch = "x86_64") {
                    vec!["SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"]
                } else {
                    vec!["SCMP_ARCH_AARCH64"]
                },
                "knownFlags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"],
                "supportedFlags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"],
            },
            "apparmor": { "enabled": false },
            "selinux": { "enabled": false },
            "intelRdt": { "enabled": false },
            "mountExtensions": { "idmap": { "enabled": false } },
            "netDevices": { "enabled": false },
        },
        "annotations": { "org.wharf.runtime.version": env!("CARGO_PKG_VERSION") },
        "potentiallyUnsafeConfigAnnotations": [],
    }))
}

/// `--version`, in the form that Docker takes apart.
pub fn version() -> Result<()> {
    let (version, spec) = (env!("CARGO_PKG_VERSION"), crate::spec::VERSION);
    Ok(writeln!(output(), "wharf-runtime version {version}\nspec: {spec}")?)
}
