//! features.md and features-linux.md: what `features` prints is true.
//!
//! An element of a list is recognised when a config that names it is accepted and a made-up one in its place is not.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::container::{Container, accepted, add, add_namespace, add_user_namespace};
use crate::listening::Listener;
use crate::requirement::{Section, Skip, Tried, skip};

section! { FEATURES = "features.md" # "features";
    "Hence, the content of the Features structure SHOULD be determined on the compilation time of the runtime, not on the execution time." => [
        features_are_the_same_in_any_world],
    "The null value MUST NOT be confused with an empty value such as 0, false, \"\", [], and {}." => (
        "binds who reads the document"),
}

section! { VERSION = "features.md" # "featuresSpecificationVersion";
    "ociVersionMin (string, REQUIRED) The minimum recognized version of the Open Container Initiative Runtime Specification." => [
        features_name_the_versions],
    "The runtime MUST accept this value as the ociVersion property of config.json." => [
        versions_of_the_features_are_accepted],
    "ociVersionMax (string, REQUIRED) The maximum recognized version of the Open Container Initiative Runtime Specification." => [
        features_name_the_versions],
    "The value MUST NOT be less than the value of the ociVersionMin property." => [features_name_the_versions],
    "The Features structure MUST NOT contain properties that are not defined in this version of the Open Container Initiative Runtime Specification." => [
        features_have_no_properties_of_their_own],
}

section! { HOOKS = "features.md" # "featuresHooks";
    "The runtime MUST support the elements in this array as the hooks property of config.json." => [
        hooks_of_the_features_are_called],
}

section! { MOUNT_OPTIONS = "features.md" # "featuresMountOptions";
    "The runtime MUST recognize the elements in this array as the options of mounts objects in config.json." => [
        mount_options_of_the_features_are_recognized],
    "Linux: this array SHOULD NOT contain filesystem-specific mount options that are passed to the mount(2) syscall as const void *data." => [
        mount_options_of_the_features_are_of_no_file_system],
}

section! { ANNOTATIONS = "features.md" # "featuresAnnotations";
    "Annotations MUST be a key-value map that follows the same convention as the Key and Values of the annotations property of config.json." => [
        annotations_of_the_features_are_a_map_of_strings],
}

section! { NAMESPACES = "features-linux.md" # "linuxFeaturesNamespaces";
    "The runtime MUST recognize the elements in this array as the type of linux.namespaces objects in config.json." => [
        namespaces_of_the_features_are_recognized],
}

section! { CAPABILITIES = "features-linux.md" # "linuxFeaturesCapabilities";
    "The runtime MUST recognize the elements in this array in the process.capabilities object of config.json." => [
        capabilities_of_the_features_are_recognized],
}

section! { SECCOMP = "features-linux.md" # "linuxFeaturesSeccomp";
    "The runtime MUST recognize the elements in this array in the syscalls[].action property of the linux.seccomp object in config.json." => [
        seccomp_actions_of_the_features_are_recognized],
    "The runtime MUST recognize the elements in this array in the syscalls[].args[].op property of the linux.seccomp object in config.json." => [
        seccomp_operators_of_the_features_are_recognized],
    "The runtime MUST recognize the elements in this array in the architectures property of the linux.seccomp object in config.json." => [
        seccomp_architectures_of_the_features_are_recognized],
    "The runtime MUST recognize the elements in this array in the flags property of the linux.seccomp object in config.json." => [
        seccomp_flags_of_the_features_are_recognized],
    "The runtime MUST recognize and support the elements in this array in the flags property of the linux.seccomp object in config.json." => [
        seccomp_flags_of_the_features_are_recognized],
}

section! { MEMORY_POLICY = "features-linux.md" # "linuxFeaturesMemoryPolicy";
    "The runtime MUST recognize the elements in this array as the mode of linux.memoryPolicy objects in config.json." => [
        memory_policies_of_the_features_are_recognized],
    "The runtime MUST recognize the elements in this in the flags property of the linux.memoryPolicy object in config.json" => [
        memory_policies_of_the_features_are_recognized],
}

section! { MOUNT_EXTENSIONS = "features-linux.md" # "linuxFeaturesMountExtensions";
    "In such cases, runtimes MUST still set this value to true, to indicate that the runtime recognises the uidMappings and gidMappings properties." => [
        features_own_up_to_id_mapped_mounts],
}

/// The sections in order.
pub fn sections() -> Vec<&'static Section> {
    vec![
        &FEATURES,
        &VERSION,
        &HOOKS,
        &MOUNT_OPTIONS,
        &ANNOTATIONS,
        &NAMESPACES,
        &CAPABILITIES,
        &SECCOMP,
        &MEMORY_POLICY,
        &MOUNT_EXTENSIONS,
    ]
}

/// What `features` prints. A runtime may have no such command, and then nothing binds it.
pub fn document() -> Result<Value, Skip> {
    let container = Container::shell("true", |_| ());
    let said = container.verb(&["features"]);
    if said.code != 0 && !wharf_tests::is_ours() {
        return Err(Skip("this runtime has no `features`, which is optional".to_owned()));
    }
    Ok(serde_json::from_str(&said.ok()).unwrap())
}

/// A list of the document, empty where it is not there.
fn list(pointer: &str) -> Result<Vec<String>, Skip> {
    let document = document()?;
    let items = document.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(items.iter().map(|item| item.as_str().unwrap().to_owned()).collect())
}

/// Without an environment, in another folder, as a host that has neither /proc nor /sys.
fn features_are_the_same_in_any_world() -> Tried {
    let expected = document()?;
    let plain = wharf_tests::runtime_path();
    let mut command = std::process::Command::new("unshare");
    let script = "mount -t tmpfs none /sys && mount -t tmpfs none /proc && cd / && exec env -i \"$@\"";
    command
        .args(["--mount", "--net", "--pid", "--fork", "sh", "-c", script, "sh"])
        .arg(which(&plain))
        .arg("features");
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), expected, "{output:?}");
    Ok(())
}

/// An absolute path, for a world without PATH.
fn which(runtime: &std::path::Path) -> std::path::PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|folder| folder.join(runtime)).find(|path| path.is_file());
    found.unwrap().canonicalize().unwrap()
}

/// Major, minor, patch.
#[track_caller]
fn numbers(version: &Value) -> Vec<u32> {
    let text = version.as_str().expect("a version");
    let numbers = text.split(['-', '+']).next().unwrap();
    numbers.split('.').map(|number| number.parse().unwrap()).collect()
}

fn features_name_the_versions() -> Tried {
    let features = document()?;
    let (min, max) = (numbers(&features["ociVersionMin"]), numbers(&features["ociVersionMax"]));
    assert!(min.len() == 3 && max.len() == 3 && min <= max, "{min:?} {max:?}");
    Ok(())
}

fn versions_of_the_features_are_accepted() -> Tried {
    let features = document()?;
    for key in ["ociVersionMin", "ociVersionMax"] {
        accepted(|c| c["ociVersion"] = features[key].clone());
    }
    Ok(())
}

/// Properties by where they stand, of specification 1.3.
const DEFINED: [(&str, &[&str]); 4] = [
    (
        "",
        &[
            "ociVersionMin",
            "ociVersionMax",
            "hooks",
            "mountOptions",
            "linux",
            "annotations",
            "potentiallyUnsafeConfigAnnotations",
        ],
    ),
    (
        "/linux",
        &[
            "namespaces",
            "capabilities",
            "cgroup",
            "seccomp",
            "apparmor",
            "selinux",
            "memoryPolicy",
            "intelRdt",
            "mountExtensions",
            "netDevices",
        ],
    ),
    ("/linux/cgroup", &["v1", "v2", "systemd", "systemdUser", "rdma"]),
    ("/linux/seccomp", &["enabled", "actions", "operators", "archs", "knownFlags", "supportedFlags"]),
];

fn features_have_no_properties_of_their_own() -> Tried {
    let features = document()?;
    for (place, defined) in DEFINED {
        let Some(object) = features.pointer(place).and_then(Value::as_object) else { continue };
        let unknown: Vec<_> = object.keys().filter(|key| !defined.contains(&key.as_str())).collect();
        assert!(unknown.is_empty(), "{place}: {unknown:?}");
    }
    Ok(())
}

fn hooks_of_the_features_are_called() -> Tried {
    let witness = crate::config::Witness::deleted();
    for kind in list("/hooks")? {
        witness.has_run(&kind);
    }
    Ok(())
}

/// A mount to which an option can apply.
fn mount_for(option: &str, number: usize) -> Value {
    let destination = format!("/t{number}");
    let mapping = json!([{"containerID": 0, "hostID": 5000, "size": 100}]);
    match option {
        "bind" | "rbind" => json!({"destination": destination, "source": ".", "options": [option]}),
        "idmap" | "ridmap" => {
            json!({"destination": destination, "source": "rootfs/etc", "options": ["rbind", option],
            "uidMappings": mapping, "gidMappings": mapping})
        }
        "remount" => {
            json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [option, "nosuid", "nodev", "noexec"]})
        }
        _ => json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": [option]}),
    }
}

fn mount_options_of_the_features_are_recognized() -> Tried {
    let options = list("/mountOptions")?;
    let mounts = |c: &mut Value| {
        for (number, option) in options.iter().enumerate() {
            add(&mut c["mounts"], mount_for(option, number));
        }
    };
    if Container::shell("true", mounts).run().code == 0 {
        return Ok(());
    }
    let fails = |option: &&String| {
        Container::shell("true", |c| add(&mut c["mounts"], mount_for(option, 0))).run().code != 0
    };
    let unknown: Vec<&String> = options.iter().filter(fails).collect();
    assert!(unknown.is_empty(), "not recognized: {unknown:?}");
    Ok(())
}

fn mount_options_of_the_features_are_of_no_file_system() -> Tried {
    let options = list("/mountOptions")?;
    for option in
        ["size", "mode", "uid", "gid", "data", "lowerdir", "newinstance", "ptmxmode", "hidepid", "subset"]
    {
        let found = options.iter().find(|have| have.split('=').next() == Some(option));
        assert!(found.is_none(), "{found:?}");
    }
    Ok(())
}

fn annotations_of_the_features_are_a_map_of_strings() -> Tried {
    let features = document()?;
    let Some(annotations) = features.get("annotations").filter(|annotations| !annotations.is_null()) else {
        return Ok(());
    };
    let map = annotations.as_object().expect("a map");
    assert!(map.iter().all(|(key, value)| !key.is_empty() && value.is_string()), "{annotations}");
    Ok(())
}

fn namespaces_of_the_features_are_recognized() -> Tried {
    for kind in list("/linux/namespaces")? {
        let container = Container::shell("true", |c| match kind.as_str() {
            "user" => add_user_namespace(c),
            _ => add_namespace(c, json!({"type": kind})),
        });
        container.give_away().run().ok();
    }
    Ok(())
}

/// No warning names them, as one would an unknown name.
fn capabilities_of_the_features_are_recognized() -> Tried {
    let names = list("/linux/capabilities")?;
    let container = Container::shell("true", |c| c["process"]["capabilities"] = json!({"bounding": names}));
    let said = container.run();
    let named = names.iter().find(|name| said.err.contains(name.as_str()));
    assert!(said.code == 0 && named.is_none(), "{named:?}: {said:?}");
    Ok(())
}

/// `create` accepts a filter for each name, and refuses one for a made-up name.
#[track_caller]
fn recognized(names: &[String], filter: impl Fn(&str) -> Value) {
    for name in names {
        let container = Container::sleeping(|c| c["linux"]["seccomp"] = filter(name));
        let listener = Listener::at(&container.bundle().join("agent"));
        container.reconfigure(|c| c["linux"]["seccomp"]["listenerPath"] = json!(listener.path));
        let said = container.create();
        // Known and refused for another reason is known too: an architecture of the other byte order.
        assert!(said.code == 0 || !said.err.contains(name.as_str()), "{name}: {said:?}");
    }
    let made_up = Container::sleeping(|c| c["linux"]["seccomp"] = filter("SCMP_NO_SUCH_NAME"));
    assert_ne!(made_up.create().code, 0, "a made-up name is accepted");
}

fn seccomp_actions_of_the_features_are_recognized() -> Tried {
    recognized(
        &list("/linux/seccomp/actions")?,
        |action| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["swapon"], "action": action}]}),
    );
    Ok(())
}

fn seccomp_operators_of_the_features_are_recognized() -> Tried {
    recognized(&list("/linux/seccomp/operators")?, |op| {
        let compared = json!({"index": 0, "value": 77, "valueTwo": 7, "op": op});
        json!({"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO", "args": [compared]}]})
    });
    Ok(())
}

fn seccomp_architectures_of_the_features_are_recognized() -> Tried {
    recognized(&list("/linux/seccomp/archs")?, |arch| {
        json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": [arch],
            "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]})
    });
    Ok(())
}

fn seccomp_flags_of_the_features_are_recognized() -> Tried {
    let mut flags = list("/linux/seccomp/knownFlags")?;
    let supported = list("/linux/seccomp/supportedFlags")?;
    assert!(supported.iter().all(|flag| flags.contains(flag)), "{supported:?} in {flags:?}");
    flags.retain(|flag| supported.contains(flag));
    recognized(&flags, |flag| {
        let action = if flag.ends_with("WAIT_KILLABLE_RECV") { "SCMP_ACT_NOTIFY" } else { "SCMP_ACT_ERRNO" };
        json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": [flag], "syscalls": [{"names": ["swapon"], "action": action}]})
    });
    Ok(())
}

fn memory_policies_of_the_features_are_recognized() -> Tried {
    let (modes, flags) = (list("/linux/memoryPolicy/modes")?, list("/linux/memoryPolicy/flags")?);
    if modes.is_empty() {
        return skip("this runtime's `features` name no memory policies, which is optional");
    }
    for mode in modes {
        let has_nodes = !["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode.as_str());
        let said = Container::sleeping(|c| {
            c["linux"]["memoryPolicy"] = json!({"mode": mode});
            if has_nodes {
                c["linux"]["memoryPolicy"]["nodes"] = json!("0");
            }
        })
        .create();
        // A kernel without the mode says so; a runtime without it says something else.
        assert!(said.code == 0 || said.err.contains("nvalid argument"), "{mode}: {said:?}");
    }
    for flag in flags {
        accepted(|c| {
            c["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]})
        });
    }
    Ok(())
}

/// It says `true` if and only if it parses the mappings of a mount.
fn features_own_up_to_id_mapped_mounts() -> Tried {
    let features = document()?;
    let said =
        Container::shell("stat -c %u /m/passwd", |c| add(&mut c["mounts"], mount_for("idmap", 0))).create();
    let works = said.code == 0;
    let claims = features.pointer("/linux/mountExtensions/idmap/enabled");
    match claims {
        Some(claims) => assert_eq!(claims, &json!(works), "{said:?}"),
        None => assert!(!works, "id-mapped mounts work and the features do not say so"),
    }
    Ok(())
}
