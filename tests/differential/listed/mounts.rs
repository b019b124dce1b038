//! What may differ in a line about a mount: `mount PLACE on PARENT: ROOT FLAGS [TAGS] - TYPE SOURCE SUPER`, or in
//! what that mount brings about.

use serde_json::Value;

use super::lines::{Rule, whole};
use super::{Of, holds, namespace, place, starts};

/// The rules about mounts.
pub const RULES: &[Rule] = &[
    Rule {
        of: Of::Any,
        why: "a masked file is the host's /dev/null, proved to be 1:3, and not the container's (CVE-2025-31133)",
        erase: |config, line| {
            let null = line.contains(": /null ") || line.contains("/rootfs/dev/null ");
            whole(null && holds(&config["linux"]["maskedPaths"], place(line)))
        },
    },
    Rule {
        of: Of::Any,
        why: "the source of a cgroup mount is a name without meaning; runc gives systemd's another",
        erase: |_, line| whole(line.ends_with(" rw,name=systemd")),
    },
    Rule {
        of: Of::Any,
        why: "the tmpfs over the hierarchies is read-only when the mount asked for that, and 0755",
        erase: |_, line| whole(starts(line, &["mount /sys/fs/cgroup on ", "top /sys/fs/cgroup "])),
    },
    Rule {
        of: Of::Any,
        why: "devices bound into a user namespace are nosuid and noexec: a device needs no more",
        erase: |config, line| {
            whole(namespace(config, "user") && line.contains(" devtmpfs ") && line.starts_with("mount "))
        },
    },
    Rule {
        of: Of::Any,
        why: "recursive attributes are for every mount, and the last of two that contradict each other counts; \
              runc has them for binds, and there the setting ones count",
        erase: |config, line| {
            let recursive = |mount: &Value| options(mount).any(|option| RECURSIVE.contains(&option));
            has_mount(config, line, recursive).then(|| without_flags(line))
        },
    },
    Rule {
        of: Of::Any,
        why: "of several options on access times the last counts; under runc strictatime beats noatime, and that \
              relatime",
        erase: |config, line| {
            let several = has_mount(config, line, |mount| {
                let times = ["relatime", "noatime", "strictatime"];
                options(mount).filter(|option| times.contains(option)).count() > 1
            });
            several.then(|| without_words(line, &["relatime", "noatime", "strictatime", "nodiratime"]))
        },
    },
    Rule {
        of: Of::Any,
        why: "a read-only path is that in whole, with all mounts in it; runc leaves those as they are",
        erase: |config, line| {
            let list = config["linux"]["readonlyPaths"].as_array()?;
            let mut paths = list.iter().filter_map(Value::as_str);
            let below = |path: &str| place(&resolved_line(line)).starts_with(&format!("{path}/"));
            paths.any(below).then(|| without_words(line, &["ro", "rw"]))
        },
    },
    Rule {
        of: Of::Any,
        why: "rootfsPropagation is about the root; a mount has what its own options say. Under runc it may be \
              recursive and comes last; and the mount that the root lies in, which here all binds come from, is \
              made private first",
        erase: |config, line| {
            let wish = config["linux"]["rootfsPropagation"].as_str().unwrap_or_default();
            let from_bundle = line.contains("/bundle/");
            let tags = ["shared", "master", "unbindable"];
            (line.starts_with("mount ") && (wish.starts_with('r') || wish == "shared" || from_bundle))
                .then(|| without_words(line, &tags))
        },
    },
    Rule {
        of: Of::Any,
        why: "a tmpfs that is read-only is so as a file system too",
        erase: |config, line| {
            let read_only = has_mount(config, line, |mount| {
                mount["type"] == "tmpfs" && options(mount).any(|o| o == "ro")
            });
            (read_only && line.contains(" - tmpfs ")).then(|| line.replace(" tmpfs ro", " tmpfs rw"))
        },
    },
    Rule {
        of: Of::Any,
        why: "without a mount namespace the container's tree is attached nowhere, so that neither the host nor \
              mountinfo shows it, and root.readonly and umask hold there too",
        erase: |config, line| {
            let about = [
                "mount ",
                "top ",
                "tree ",
                "dev ",
                "path ",
                "touch ",
                "stat: ",
                "made ",
                "umask ",
                "status Umask",
            ];
            let read_only = config["root"]["readonly"] == true;
            whole(!namespace(config, "mount") && (read_only || starts(line, &about)))
        },
    },
    Rule {
        of: Of::Any,
        why: "read-only last is the tmpfs itself, and not what was mounted on it since",
        erase: |config, line| {
            let list = config["mounts"].as_array()?;
            let here: Vec<&Value> = list.iter().filter(|mount| is_at(mount, place(line))).collect();
            let late = here.iter().any(|mount| mount["type"] == "tmpfs" && options(mount).any(|o| o == "ro"));
            (late && here.len() > 1).then(|| without_flags(line))
        },
    },
    Rule {
        of: Of::Any,
        why: "with rootfsPropagation shared, what is mounted on one bind of a shared mount is on all of them",
        erase: |config, line| {
            let from_bundle =
                |mount: &Value| mount["source"].as_str().is_some_and(|from| from.starts_with("data"));
            let about = starts(line, &["mount ", "top ", "tree ", "touch "]);
            whole(about && is_shared(config) && has_mount(config, line, from_bundle))
        },
    },
    Rule {
        of: Of::New,
        why: "an unbindable mount stays so, and is not in the copy that a read-only path is; runc makes all shared first",
        erase: |config, line| {
            let unbindable = |mount: &Value| options(mount).any(|option| option.ends_with("unbindable"));
            whole(
                is_shared(config)
                    && (has_mount(config, line, unbindable) || line.starts_with("stat: can't stat '/tmp/")),
            )
        },
    },
    Rule {
        of: Of::New,
        why: "under a root that is shared already, what runc mounts over a mount lands twice",
        erase: |config, line| {
            let linux = &config["linux"];
            let covers = |list: &Value| holds(list, place(line));
            let covered = covers(&linux["maskedPaths"]) || covers(&linux["readonlyPaths"]);
            whole(is_shared(config) && line.starts_with("mount ") && covered)
        },
    },
    Rule {
        of: Of::New,
        why: "the empty file system over masked directories needs no limits, as nobody can write to it",
        erase: |config, line| {
            let is_mask = line.contains(" - tmpfs tmpfs ro") && !config["linux"]["maskedPaths"].is_null();
            is_mask.then(|| line.replace(",size=4k,nr_inodes=1", ""))
        },
    },
    Rule {
        of: Of::Any,
        why: "a file system without a source is named after its type",
        erase: |config, line| {
            has_mount(config, line, |mount| mount["source"].is_null())
                .then(|| line.replace(" - tmpfs tmpfs ", " - tmpfs  "))
        },
    },
    Rule {
        of: Of::Old,
        why: "a tmpfs has the mode that was asked for, or that of the directory it covers from the start, as in \
              runc from 1.2 on",
        erase: old_mode,
    },
];

const RECURSIVE: [&str; 10] =
    ["rro", "rrw", "rnosuid", "rsuid", "rnodev", "rdev", "rnoexec", "rexec", "rnoatime", "rrelatime"];

fn old_mode(config: &Value, line: &str) -> Option<String> {
    let refused = ["stat: can't stat '", "ls: can't open '"].iter().find_map(|said| line.strip_prefix(said));
    if let Some(place) = refused {
        // What the probe's user may look into follows from the mode.
        return old_mode(config, &format!("top {}", place.split('\'').next()?));
    }
    if starts(line, &["id ", "id: ", "chown: "]) {
        return old_mode(config, "top /etc/passwd"); // names are read there
    }
    if !has_mount(config, line, |mount| mount["type"] == "tmpfs") {
        return None;
    }
    if line.starts_with("mount ") {
        let kept = |word: &&str| !word.starts_with("mode=");
        return Some(line.split(',').filter(kept).collect::<Vec<_>>().join(","));
    }
    whole(starts(line, &["top ", "tree ", "path ", "touch ", "dev ", "entries "]))
}

fn is_shared(config: &Value) -> bool {
    config["linux"]["rootfsPropagation"].as_str().is_some_and(|wish| wish.ends_with("shared"))
}

/// Whether the mount is at this path.
pub fn is_at(mount: &Value, place: &str) -> bool {
    mount["destination"].as_str().is_some_and(|at| resolved(at) == resolved(place))
}

/// Where a path leads in the root file system that all configs have.
fn resolved(path: &str) -> String {
    let place = path.replace("/link/", "/opt/").replace("/abs/", "/tmp/");
    let place = place.replace("/etc/../", "/").replace("/a/../", "/");
    if place.starts_with('/') { place } else { format!("/{place}") }
}

/// The line with its second word resolved.
fn resolved_line(line: &str) -> String {
    line.replacen(place(line), &resolved(place(line)), 1)
}

fn options(mount: &Value) -> impl Iterator<Item = &str> {
    mount["options"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Whether a mount that the line is about, at its path or above, is as wanted.
fn has_mount(config: &Value, line: &str, wanted: fn(&Value) -> bool) -> bool {
    if !starts(line, &["mount ", "top ", "tree ", "path ", "touch ", "dev ", "entries "]) {
        return false;
    }
    let place = resolved(place(line));
    config["mounts"].as_array().into_iter().flatten().any(|mount| {
        let at = resolved(mount["destination"].as_str().unwrap_or_default());
        place.strip_prefix(&at).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) && wanted(mount)
    })
}

/// A mount's line without its flags; a line about what can be done there is left out.
fn without_flags(line: &str) -> String {
    if !line.starts_with("mount ") {
        return if line.starts_with("touch ") { String::new() } else { line.to_owned() };
    }
    let mut words: Vec<&str> = line.split(' ').collect();
    if words.len() > 5 {
        words[5] = "*";
    }
    words.join(" ")
}

/// A mount's line without these flags and tags; a line about what can be done there is left out.
fn without_words(line: &str, gone: &[&str]) -> String {
    if !line.starts_with("mount ") {
        return if line.starts_with("touch ") { String::new() } else { line.to_owned() };
    }
    let (own, file_system) = line.split_once(" - ").unwrap_or((line, ""));
    let words = own
        .split(' ')
        .map(|word| word.split(',').filter(|part| !gone.contains(part)).collect::<Vec<_>>().join(","));
    let words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
    format!("{} - {file_system}", words.join(" "))
}
