//! `features` and `--version`: what this runtime does, out of the tables that it works by (features.md).

use std::io::Write as _;

use serde_json::{Value, json};

use super::{output, print_json};
use crate::error::{Context, Result};
use crate::log::program;
use crate::plan::mounts::known_options;
use crate::plan::namespaces::KINDS;
use crate::plan::scheduling::{MEMORY_FLAGS, MEMORY_MODES};
use crate::plan::seccomp::{ACTIONS, FLAGS, OPERATORS, architectures};
use crate::spec::Hooks;

/// The oldest version of the specification that is taken: the first of its major version.
const OLDEST_VERSION: &str = "1.0.0";

/// Annotations of a config that change what we do; one that ends in a dot stands for all that start so.
const UNSAFE_ANNOTATIONS: [&str; 3] =
    [crate::criu::CONFIG_ANNOTATION, crate::cgroup::UNIT_ANNOTATION, crate::plan::process::KEEP_GROUPS];

/// The verb.
pub fn features() -> Result<()> {
    print_json(&document())
}

fn names<T>(table: &[(&'static str, T)]) -> Vec<&'static str> {
    table.iter().map(|(name, _)| *name).collect()
}

fn document() -> Value {
    let mut capabilities = crate::sys::capabilities::NAMES;
    capabilities.sort_unstable();
    json!({
        "ociVersionMin": OLDEST_VERSION,
        "ociVersionMax": crate::spec::VERSION,
        "hooks": names(&Hooks::default().lists()),
        "mountOptions": known_options(),
        "linux": {
            "namespaces": names(&KINDS),
            "capabilities": capabilities.as_slice(),
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true },
            "seccomp": {
                "enabled": true,
                "actions": names(&ACTIONS),
                "operators": names(&OPERATORS),
                "archs": architectures().collect::<Vec<_>>(),
                "knownFlags": names(&FLAGS),
                // Which the running kernel has is not asked: the document is the same on every host.
                "supportedFlags": names(&FLAGS),
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "memoryPolicy": { "modes": names(&MEMORY_MODES), "flags": names(&MEMORY_FLAGS) },
            "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true },
        },
        "annotations": {
            "org.wharf.runtime.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.runc.checkpoint.enabled": "true",
        },
        "potentiallyUnsafeConfigAnnotations": UNSAFE_ANNOTATIONS,
    })
}

/// `--version`, in the form that Docker takes apart.
pub fn version() -> Result<()> {
    let (name, version, spec) = (program(), env!("CARGO_PKG_VERSION"), crate::spec::VERSION);
    // Builders that know it say so; a source archive does not.
    let commit = option_env!("WHARF_COMMIT").unwrap_or("unknown");
    writeln!(output(), "{name} version {version}\ncommit: {commit}\nspec: {spec}").context(super::STDOUT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::plan::seccomp::compile;
    use crate::spec::Spec;

    fn list(document: &Value, pointer: &str) -> Vec<Value> {
        document.pointer(pointer).unwrap().as_array().unwrap().clone()
    }

    /// A config with `linux` and `process`, resolved as `create` does it.
    fn accepts(change: &Value) -> Result<()> {
        let mut config = json!({
            "ociVersion": "1.0.0", "root": {"path": "/r"},
            "process": {"args": ["a"], "cwd": "/"},
            "linux": {"namespaces": [{"type": "mount"}]},
        });
        for (key, value) in change.as_object().unwrap() {
            config[key] = value.clone();
        }
        let spec: Spec = serde_json::from_value(config).unwrap();
        Plan::resolve("id", std::path::Path::new("/b"), &spec)?;
        spec.linux.and_then(|linux| linux.seccomp).map_or(Ok(()), |seccomp| compile(&seccomp).map(|_| ()))
    }

    #[test]
    fn everything_named_is_taken_and_nothing_like_it() {
        let document = document();
        let seccomp = |rule: Value| json!({"linux": {"seccomp": rule}});
        let wish = |kind: &str, name: &Value| match kind {
            "/ociVersionMin" | "/ociVersionMax" => json!({"ociVersion": name}),
            "/hooks" => json!({"hooks": {name.as_str().unwrap(): [{"path": "relative"}]}}),
            "/linux/namespaces" => {
                let maps = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
                let maps = if name == "user" { maps } else { Value::Null };
                json!({"linux": {"namespaces": [{"type": name}], "uidMappings": maps, "gidMappings": maps}})
            }
            "/linux/seccomp/actions" => {
                let rule = json!({"names": ["read"], "action": name});
                seccomp(json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/l", "syscalls": [rule]}))
            }
            "/linux/seccomp/operators" => {
                let arg = json!({"index": 0, "value": 1, "op": name});
                let rule = json!({"names": ["read"], "action": "SCMP_ACT_LOG", "args": [arg]});
                seccomp(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
            }
            "/linux/seccomp/archs" => {
                seccomp(json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": [name]}))
            }
            "/linux/seccomp/supportedFlags" | "/linux/seccomp/knownFlags" => {
                seccomp(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": [name]}))
            }
            "/linux/memoryPolicy/modes" => {
                let nodes = if name == "MPOL_DEFAULT" || name == "MPOL_LOCAL" { "" } else { "0" };
                json!({"linux": {"memoryPolicy": {"mode": name, "nodes": nodes}}})
            }
            "/linux/memoryPolicy/flags" => {
                json!({"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": [name]}}})
            }
            other => panic!("{other}"),
        };
        for kind in [
            "/linux/namespaces",
            "/linux/seccomp/actions",
            "/linux/seccomp/operators",
            "/linux/seccomp/archs",
            "/linux/seccomp/knownFlags",
            "/linux/seccomp/supportedFlags",
            "/linux/memoryPolicy/modes",
            "/linux/memoryPolicy/flags",
        ] {
            let names = list(&document, kind);
            assert!(names.len() >= 3, "{kind}");
            for name in &names {
                accepts(&wish(kind, name)).unwrap_or_else(|error| panic!("{kind}: {name}: {error}"));
            }
            let other = json!(format!("{}_X", names[0].as_str().unwrap()));
            assert!(accepts(&wish(kind, &other)).is_err(), "{kind}: {other}");
        }
        for kind in ["/ociVersionMin", "/ociVersionMax"] {
            accepts(&wish(kind, &document.pointer(kind).unwrap().clone())).unwrap();
        }
        for name in list(&document, "/hooks") {
            // A hook that is known is looked at, and this one has a relative path.
            let error = accepts(&wish("/hooks", &name)).unwrap_err();
            assert_eq!(error.pointer().unwrap(), format!("/hooks/{}/0/path", name.as_str().unwrap()));
        }
    }

    #[test]
    fn capabilities_are_all_that_the_kernel_knows_by_name() {
        let document = document();
        let names = list(&document, "/linux/capabilities");
        assert_eq!(names.len(), 41); // CAP_CHOWN, 0, to CAP_CHECKPOINT_RESTORE, 40 (linux/capability.h)
        for name in names {
            let name = name.as_str().unwrap().to_owned();
            let sets = crate::spec::Capabilities { bounding: vec![name.clone()], ..Default::default() };
            let process = crate::spec::Process { capabilities: Some(sets), ..Default::default() };
            let plan = crate::plan::process::ProcessPlan::resolve(&process, &mut Default::default());
            assert!(plan.warnings.is_empty() && plan.capabilities.unwrap().bounding != 0, "{name}");
        }
    }

    #[test]
    fn mount_options_are_no_file_systems_own() {
        let document = document();
        let names = list(&document, "/mountOptions");
        for name in ["rro", "idmap", "ridmap", "tmpcopyup", "rsymfollow"] {
            assert!(names.contains(&json!(name)), "{name}");
        }
        for name in names {
            // A bind mount refuses what is left for a file system.
            let mut mount = json!({"destination": "/a", "source": "/b", "options": ["bind", name]});
            if name.as_str().unwrap().ends_with("idmap") {
                let mapping = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
                (mount["uidMappings"], mount["gidMappings"]) = (mapping.clone(), mapping);
            }
            accepts(&json!({"mounts": [mount]})).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}
