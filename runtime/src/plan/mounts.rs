//! Option strings to mount steps (runtime-spec config.md, "Mounts").
//!
//! An option either changes the mount (attribute bits), its propagation, the superblock, or the way the
//! mount is made; whatever is none of these is the file system's own and handed to it.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::spec;
use crate::sys::mount::MountAttr;

/// One thing to mount. Nothing is left to interpret.
#[derive(Debug, Clone)]
pub struct MountStep {
    /// Place in the config, for messages.
    pub index: usize,
    /// Absolute path in the container.
    pub destination: PathBuf,
    /// What appears there.
    pub what: What,
    /// Attributes of the mount itself.
    pub attr: MountAttr,
    /// Attributes of it and of all below.
    pub recursive_attr: MountAttr,
    /// Propagation changes in order: `MS_*` and whether recursive.
    pub propagation: Vec<(u64, bool)>,
}

/// What to mount.
#[derive(Debug, Clone)]
pub enum What {
    /// A new instance of a file system.
    New(NewFs),
    /// A file or directory of the host.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// With what is mounted below it.
        recursive: bool,
    },
    /// The mount that is there already gets other attributes.
    Remount,
    /// The container's control groups, in the layout of the host.
    Cgroup,
}

/// A new file system's parameters.
#[derive(Debug, Clone, Default)]
pub struct NewFs {
    /// `proc`, `tmpfs` and so on.
    pub kind: String,
    /// The device or name.
    pub source: String,
    /// Parameters in order; `None` is a flag.
    pub parameters: Vec<(String, Option<String>)>,
    /// Fill it with what the directory below it holds (`tmpcopyup`).
    pub copy_up: bool,
}

enum Effect {
    Set(u64),
    Clear(u64),
    SetAll(u64),
    ClearAll(u64),
    /// Set on the mount and on the superblock, as mount(2) does.
    ReadOnly,
    Superblock,
    Propagate(u64, bool),
    Bind(bool),
    Remount,
    CopyUp,
    Nothing,
}

use libc::{
    MOUNT_ATTR__ATIME as ATIME, MOUNT_ATTR_NOATIME as NOATIME, MOUNT_ATTR_NODEV as NODEV,
    MOUNT_ATTR_NODIRATIME as NODIRATIME, MOUNT_ATTR_NOEXEC as NOEXEC, MOUNT_ATTR_NOSUID as NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW as NOSYMFOLLOW, MOUNT_ATTR_RDONLY as RDONLY,
    MOUNT_ATTR_STRICTATIME as STRICTATIME,
};
const PRIVATE: u64 = libc::MS_PRIVATE;
const SHARED: u64 = libc::MS_SHARED;
const SLAVE: u64 = libc::MS_SLAVE;
const UNBINDABLE: u64 = libc::MS_UNBINDABLE;

/// Every option this runtime knows; `features` prints the names, the planner obeys the effects.
const OPTIONS: &[(&str, Effect)] = &[
    ("async", Effect::Superblock),
    ("atime", Effect::Clear(NOATIME)),
    ("bind", Effect::Bind(false)),
    ("defaults", Effect::Nothing),
    ("dev", Effect::Clear(NODEV)),
    ("diratime", Effect::Clear(NODIRATIME)),
    ("dirsync", Effect::Superblock),
    ("exec", Effect::Clear(NOEXEC)),
    ("iversion", Effect::Superblock),
    ("lazytime", Effect::Superblock),
    ("loud", Effect::Nothing),
    ("mand", Effect::Superblock),
    ("noatime", Effect::Set(NOATIME)),
    ("nodev", Effect::Set(NODEV)),
    ("nodiratime", Effect::Set(NODIRATIME)),
    ("noexec", Effect::Set(NOEXEC)),
    ("noiversion", Effect::Nothing),
    ("nolazytime", Effect::Superblock),
    ("nomand", Effect::Superblock),
    ("norelatime", Effect::Set(STRICTATIME)),
    ("nostrictatime", Effect::Clear(STRICTATIME)),
    ("nosuid", Effect::Set(NOSUID)),
    ("nosymfollow", Effect::Set(NOSYMFOLLOW)),
    ("private", Effect::Propagate(PRIVATE, false)),
    ("ratime", Effect::ClearAll(NOATIME)),
    ("rbind", Effect::Bind(true)),
    ("rdev", Effect::ClearAll(NODEV)),
    ("rdiratime", Effect::ClearAll(NODIRATIME)),
    ("relatime", Effect::Clear(ATIME)),
    ("remount", Effect::Remount),
    ("rexec", Effect::ClearAll(NOEXEC)),
    ("rnoatime", Effect::SetAll(NOATIME)),
    ("rnodev", Effect::SetAll(NODEV)),
    ("rnodiratime", Effect::SetAll(NODIRATIME)),
    ("rnoexec", Effect::SetAll(NOEXEC)),
    ("rnorelatime", Effect::SetAll(STRICTATIME)),
    ("rnostrictatime", Effect::ClearAll(STRICTATIME)),
    ("rnosuid", Effect::SetAll(NOSUID)),
    ("rnosymfollow", Effect::SetAll(NOSYMFOLLOW)),
    ("ro", Effect::ReadOnly),
    ("rprivate", Effect::Propagate(PRIVATE, true)),
    ("rrelatime", Effect::ClearAll(ATIME)),
    ("rro", Effect::SetAll(RDONLY)),
    ("rrw", Effect::ClearAll(RDONLY)),
    ("rshared", Effect::Propagate(SHARED, true)),
    ("rslave", Effect::Propagate(SLAVE, true)),
    ("rstrictatime", Effect::SetAll(STRICTATIME)),
    ("rsuid", Effect::ClearAll(NOSUID)),
    ("rsymfollow", Effect::ClearAll(NOSYMFOLLOW)),
    ("runbindable", Effect::Propagate(UNBINDABLE, true)),
    ("rw", Effect::Clear(RDONLY)),
    ("shared", Effect::Propagate(SHARED, false)),
    ("silent", Effect::Nothing),
    ("slave", Effect::Propagate(SLAVE, false)),
    ("strictatime", Effect::Set(STRICTATIME)),
    ("suid", Effect::Clear(NOSUID)),
    ("symfollow", Effect::Clear(NOSYMFOLLOW)),
    ("sync", Effect::Superblock),
    ("tmpcopyup", Effect::CopyUp),
    ("unbindable", Effect::Propagate(UNBINDABLE, false)),
];

/// The names of all known options, sorted.
pub fn known_options() -> Vec<&'static str> {
    OPTIONS.iter().map(|(name, _)| *name).collect()
}

/// What a mount's options add up to, before it is known what kind of mount it is.
#[derive(Default)]
struct Wishes {
    attr: MountAttr,
    recursive_attr: MountAttr,
    propagation: Vec<(u64, bool)>,
    parameters: Vec<(String, Option<String>)>,
    unknown: Vec<String>,
    bind: Option<bool>,
    remount: bool,
    copy_up: bool,
}

/// Resolves one entry of `mounts`; relative sources of binds are relative to the bundle.
pub fn resolve(index: usize, mount: &spec::Mount, bundle: &std::path::Path) -> Result<MountStep> {
    let field = format!("mounts[{index}]");
    if mount.destination.as_os_str().is_empty() {
        return Err(Error::invalid(format!("{field}.destination: is empty")));
    }
    if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
        let message = format!("{field}.uidMappings: id-mapped mounts are not supported yet");
        return Err(Error::new(crate::error::Kind::Unsupported, message));
    }
    let wishes = read_options(&field, &mount.options)?;
    let what = if wishes.remount {
        What::Remount
    } else if let Some(recursive) = wishes.bind {
        if let Some(option) = wishes.unknown.first() {
            let message = format!(
                "{field}.options: unknown option {option:?}: a bind mount has no file system options"
            );
            return Err(Error::invalid(message));
        }
        if mount.source.is_empty() {
            return Err(Error::invalid(format!("{field}.source: a bind mount needs one")));
        }
        What::Bind { source: bundle.join(&mount.source), recursive }
    } else if mount.kind == "cgroup" || mount.kind == "cgroup2" {
        What::Cgroup
    } else if mount.kind.is_empty() || mount.kind == "none" || mount.kind == "bind" {
        return Err(Error::invalid(format!(
            "{field}.type: {:?} needs the option \"bind\" or \"rbind\"",
            mount.kind
        )));
    } else {
        let source = if mount.source.is_empty() { mount.kind.clone() } else { mount.source.clone() };
        What::New(NewFs {
            kind: mount.kind.clone(),
            source,
            parameters: wishes.parameters,
            copy_up: wishes.copy_up,
        })
    };
    Ok(MountStep {
        index,
        destination: std::path::Path::new("/").join(&mount.destination),
        what,
        attr: wishes.attr,
        recursive_attr: wishes.recursive_attr,
        propagation: wishes.propagation,
    })
}

fn read_options(field: &str, options: &[String]) -> Result<Wishes> {
    let mut wishes = Wishes::default();
    for option in options.iter().flat_map(|o| o.split(',')).filter(|o| !o.is_empty()) {
        let Ok(at) = OPTIONS.binary_search_by(|(name, _)| (*name).cmp(option)) else {
            if option == "idmap" || option == "ridmap" {
                let message = format!("{field}.options: {option:?} is not supported yet");
                return Err(Error::new(crate::error::Kind::Unsupported, message));
            }
            wishes.unknown.push(option.to_owned());
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (option, None),
            };
            wishes.parameters.push((key.to_owned(), value));
            continue;
        };
        let change = |attr: &mut MountAttr, set: u64, clear: u64| {
            if (set | clear) & ATIME != 0 {
                attr.set &= !ATIME; // the last word on access times counts
                attr.clear |= ATIME;
            }
            attr.set = (attr.set & !clear) | set;
            attr.clear = (attr.clear & !set) | clear;
        };
        match OPTIONS[at].1 {
            Effect::Set(bits) => change(&mut wishes.attr, bits, 0),
            Effect::Clear(bits) => change(&mut wishes.attr, 0, bits),
            Effect::SetAll(bits) => change(&mut wishes.recursive_attr, bits, 0),
            Effect::ClearAll(bits) => change(&mut wishes.recursive_attr, 0, bits),
            Effect::ReadOnly => {
                change(&mut wishes.attr, RDONLY, 0);
                wishes.parameters.push(("ro".to_owned(), None));
            }
            Effect::Superblock => wishes.parameters.push((option.to_owned(), None)),
            Effect::Propagate(flags, recursive) => wishes.propagation.push((flags, recursive)),
            Effect::Bind(recursive) => wishes.bind = Some(recursive || wishes.bind.unwrap_or(false)),
            Effect::Remount => wishes.remount = true,
            Effect::CopyUp => wishes.copy_up = true,
            Effect::Nothing => {}
        }
    }
    Ok(wishes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(kind: &str, options: &[&str]) -> Result<MountStep> {
        let mount = spec::Mount {
            destination: "data".into(),
            kind: kind.into(),
            source: "src".into(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
            ..Default::default()
        };
        resolve(0, &mount, std::path::Path::new("/b"))
    }

    #[test]
    fn options_are_sorted_for_the_search() {
        assert!(OPTIONS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn last_option_wins_and_relative_paths_get_their_base() {
        let step = step("none", &["rbind", "ro", "rw", "nosuid", "noatime", "relatime"]).unwrap();
        assert_eq!(step.destination, PathBuf::from("/data"));
        assert!(
            matches!(&step.what, What::Bind { source, recursive: true } if source == "/b/src".as_ref() as &std::path::Path)
        );
        assert_eq!(step.attr.set, NOSUID);
        assert_eq!(step.attr.clear & (RDONLY | ATIME), RDONLY | ATIME);
    }

    #[test]
    fn unknown_option_goes_to_the_file_system_and_is_refused_on_a_bind() {
        let tmpfs = step("tmpfs", &["size=1m", "mode=755"]).unwrap();
        let What::New(fs) = tmpfs.what else { panic!() };
        assert_eq!(fs.parameters[0], ("size".to_owned(), Some("1m".to_owned())));
        let error = step("none", &["bind", "size=1m"]).unwrap_err().to_string();
        assert!(error.contains("mounts[0].options: unknown option \"size=1m\""), "{error}");
    }
}
