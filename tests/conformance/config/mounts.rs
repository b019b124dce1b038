//! config.md: "Mounts", all but the options; and how a test reads the mounts of a container.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::container::{Container, add, inside, refused};
use crate::requirement::Tried;

section! { SECTION = "config.md" # "configMounts";
    "The runtime MUST mount entries in the listed order." => [later_mount_covers_an_earlier_one],
    "destination (string, REQUIRED) Destination of mount point: path inside container." => [
        mount_without_a_destination_is_refused, missing_destination_is_made],
    "Linux: This value SHOULD be an absolute path." => ("binds the author of the bundle"),
    "For compatibility with old tools and configurations, it MAY be a relative path, in which case it MUST be interpreted as relative to \"/\"." => [
        relative_destination_is_relative_to_the_root],
    "Windows: This value MUST be an absolute path." => ("another platform"),
    "One mount destination MUST NOT be nested within another mount" => ("another platform"),
    "Solaris: This value MUST be an absolute path." => ("another platform"),
    "For all other platforms: This value MUST be an absolute path." => ("another platform"),
    "Windows: runtimes MUST support ro, mounting the filesystem read-only when ro is given." => ("another platform"),
    "Path values for bind mounts are either absolute or relative to the bundle." => [
        bind_source_is_absolute_or_relative_to_the_bundle, bind_source_that_is_not_there_is_refused],
}

section! { MORE_OPTIONS = "config.md" # "configLinuxMountOptions (unknown options)";
    "The \"MUST\" options correspond to mount(8)." => ("a remark on the table, whose rows are shown one by one"),
    "If a custom option string is already recognized by mount(8), the runtime SHOULD follow the behavior of mount(8)." => [
        advertised_custom_options_are_accepted],
    "Runtimes SHOULD treat unknown options as filesystem-specific ones) and pass those as a comma-separated string to the fifth (const void *data) argument of mount(2)." => [
        unknown_options_reach_the_file_system, option_that_the_file_system_does_not_know_is_refused],
}

/// One line of mountinfo.
#[derive(Debug, Clone)]
pub struct Mounted {
    /// Options of the mount.
    pub options: Vec<String>,
    /// `shared:1 master:2 unbindable`.
    pub propagation: String,
    /// The file system's type.
    pub kind: String,
    /// Options of the superblock.
    pub superblock: Vec<String>,
}

impl Mounted {
    /// Whether the mount or its superblock has an option.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().chain(&self.superblock).any(|have| have == option)
    }
}

/// The mounts that a text in the form of mountinfo names; of several at one place the last.
pub fn parse_mounts(text: &str) -> BTreeMap<String, Mounted> {
    let words = |list: &str| list.split(',').map(str::to_owned).collect();
    let line = |line: &str| {
        let (start, end) = line.split_once(" - ").unwrap();
        let (start, end) = (start.split(' ').collect::<Vec<_>>(), end.split(' ').collect::<Vec<_>>());
        let mounted = Mounted {
            options: words(start[5]),
            propagation: start[6..].join(" "),
            kind: end[0].to_owned(),
            superblock: words(end[2]),
        };
        (start[4].to_owned(), mounted)
    };
    text.lines().map(line).collect()
}

/// The mounts inside a container of this config.
#[track_caller]
pub fn mounts_inside(change: impl FnOnce(&mut Value)) -> BTreeMap<String, Mounted> {
    parse_mounts(&inside("cat /proc/self/mountinfo", change))
}

/// A tmpfs at `destination`.
pub fn tmpfs(destination: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options})
}

fn later_mount_covers_an_earlier_one() {
    let out = inside("ls /a /a/b; ls /c", |c| {
        let mounts = &mut c["mounts"];
        add(mounts, tmpfs("/a", &[]));
        add(mounts, tmpfs("/a/b", &[]));
        add(mounts, json!({"destination": "/a/b", "source": ".", "options": ["bind"]}));
        add(mounts, tmpfs("/c/d", &[]));
        add(mounts, tmpfs("/c", &[]));
    });
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines.contains(&"b") && lines.contains(&"config.json"), "{out}");
    assert!(!lines.contains(&"d"), "a mount on /c must cover /c/d: {out}");
}

fn mount_without_a_destination_is_refused() {
    refused(|c| add(&mut c["mounts"], json!({"type": "tmpfs", "source": "tmpfs"})));
}

fn missing_destination_is_made() {
    let mounts = mounts_inside(|c| add(&mut c["mounts"], tmpfs("/not/there/yet", &[])));
    assert_eq!(mounts["/not/there/yet"].kind, "tmpfs");
}

fn relative_destination_is_relative_to_the_root() {
    let mounts = mounts_inside(|c| {
        c["process"]["cwd"] = json!("/tmp");
        add(&mut c["mounts"], tmpfs("data", &[]));
    });
    assert!(mounts.contains_key("/data"), "{mounts:?}");
}

fn bind_source_is_absolute_or_relative_to_the_bundle() {
    let container = Container::shell("cat /relative /absolute", |_| ());
    let absolute = container.bundle().join("note");
    std::fs::write(&absolute, "note\n").unwrap();
    container.reconfigure(|c| {
        let bind = |to: &str, from: &str| json!({"destination": to, "source": from, "options": ["bind"]});
        add(&mut c["mounts"], bind("/relative", "note"));
        add(&mut c["mounts"], bind("/absolute", absolute.to_str().unwrap()));
    });
    assert_eq!(container.run().ok(), "note\nnote\n");
}

fn bind_source_that_is_not_there_is_refused() {
    refused(|c| {
        add(&mut c["mounts"], json!({"destination": "/d", "source": "/nosuch", "options": ["bind"]}))
    });
}

fn unknown_options_reach_the_file_system() {
    let mounts =
        mounts_inside(|c| add(&mut c["mounts"], tmpfs("/t", &["size=64k", "mode=700", "nr_inodes=99"])));
    for option in ["size=64k", "mode=700", "nr_inodes=99"] {
        assert!(mounts["/t"].has(option), "{option}: {:?}", mounts["/t"]);
    }
}

fn option_that_the_file_system_does_not_know_is_refused() {
    refused(|c| add(&mut c["mounts"], tmpfs("/t", &["nosuchoption"])));
}

/// What mount(8) knows beside the table and a runtime may advertise.
fn advertised_custom_options_are_accepted() -> Tried {
    let features = crate::features::document()?;
    let known =
        ["acl", "noacl", "auto", "noauto", "group", "nofail", "owner", "user", "users", "nouser", "_netdev"];
    let all = features["mountOptions"].as_array().cloned().unwrap_or_default();
    for option in all.iter().filter(|option| known.contains(&option.as_str().unwrap())) {
        mounts_inside(|c| add(&mut c["mounts"], tmpfs("/t", &[option.as_str().unwrap()])));
    }
    Ok(())
}
