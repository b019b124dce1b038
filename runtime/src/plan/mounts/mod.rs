//! `mounts` of config.json to steps (runtime-spec config.md, "Mounts"): what is mounted where, with which flags.

pub(crate) mod idmap;
mod options;

use std::path::{Component, Path, PathBuf};

use super::findings::Findings;
use super::namespaces::{Namespaces, check_ranges};
use crate::error::{Context as _, Error, Result};
use crate::spec;
use crate::sys::mount::MountAttr;

pub use idmap::{Idmap, Ids};
pub use options::{Flags, known_options};
use options::{Wishes, is_option};

/// One thing to mount. Nothing is left to interpret.
#[derive(Debug, Clone)]
pub struct MountStep {
    /// Place in the config, for messages.
    pub index: usize,
    /// Absolute path in the container.
    pub destination: PathBuf,
    /// What appears there.
    pub what: What,
    /// What the mount itself is to be.
    pub flags: Flags,
    /// Attributes of it and of all below.
    pub recursive_attr: MountAttr,
    /// Propagation changes in order: `MS_*` and whether recursive.
    pub propagation: Vec<(u64, bool)>,
    /// The ids its files show, if they are to be others than on disk.
    pub idmap: Option<Idmap>,
    /// Options that do nothing here, for a warning.
    pub without_effect: Vec<String>,
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
        /// The source is this path of the container's own root, where earlier mounts may have put it.
        inside: Option<PathBuf>,
    },
    /// The mount that is there already gets other attributes, and its file system these parameters.
    Remount(Vec<(String, Option<String>)>),
    /// The container's control groups.
    Cgroup {
        /// Of the unified hierarchy alone, also where the host has others beside it; else all in the host's layout.
        unified: bool,
    },
}

/// Options of a whole hierarchy, which the host's own mount has set: they change nothing in another one.
const OF_A_HIERARCHY: [&str; 7] = [
    "nsdelegate",
    "favordynmods",
    "nofavordynmods",
    "memory_localevents",
    "memory_recursiveprot",
    "memory_hugetlb_accounting",
    "pids_localevents",
];

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

/// Resolves `mounts`.
pub fn resolve_all(
    mounts: &[spec::Mount],
    places: Places<'_>,
    namespaces: &Namespaces,
    findings: &mut Findings,
) -> Vec<MountStep> {
    let mut steps = Vec::new();
    for (index, mount) in mounts.iter().enumerate() {
        for (name, ranges) in [("uidMappings", &mount.uid_mappings), ("gidMappings", &mount.gid_mappings)] {
            check_ranges(&format!("mounts[{index}].{name}"), ranges, findings);
        }
        steps.extend(findings.keep(resolve(index, mount, places, namespaces).map(Some)));
    }
    steps
}

/// What relative sources are relative to, and where the container's root is.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The bundle's folder.
    pub bundle: &'a Path,
    /// The root file system on the host.
    pub rootfs: &'a Path,
}

/// Resolves one entry of `mounts`; relative sources of binds are relative to the bundle.
pub fn resolve(
    index: usize,
    mount: &spec::Mount,
    places: Places<'_>,
    namespaces: &Namespaces,
) -> Result<MountStep> {
    let field = format!("mounts[{index}]");
    if mount.destination.as_os_str().is_empty() {
        return Err(Error::at(format!("{field}.destination"), "is empty"));
    }
    let mut wishes = Wishes::read(&mount.options);
    let what = what(&field, mount, places, &mut wishes)?;
    if let What::New(fs) = &what {
        fs.parameters
            .iter()
            .try_for_each(|parameter| namespaces.check_owner(parameter))
            .in_field(format!("{field}.options"))?;
    }
    // A destination spelled from the host's root is taken as meant for the container's (as runc).
    let destination =
        Path::new("/").join(mount.destination.strip_prefix(places.rootfs).unwrap_or(&mount.destination));
    if is_root(&destination) && !matches!(what, What::Remount(_)) {
        // The container's root would stay what it is, and nobody would ever see the mount.
        let message = "is the root itself, which root.path is for";
        return Err(Error::at(format!("{field}.destination"), message));
    }
    let idmap = idmap::resolve(&field, mount, &wishes, namespaces)?;
    if idmap.is_some() && matches!(what, What::Cgroup { .. } | What::Remount(_)) {
        return Err(Error::at(
            format!("{field}.options"),
            "only a new mount or a bind can have its ids mapped",
        ));
    }
    Ok(MountStep {
        index,
        destination,
        what,
        flags: wishes.flags,
        recursive_attr: wishes.recursive_attr,
        idmap,
        without_effect: if wishes.bind.is_some() { with_values(&wishes.parameters) } else { Vec::new() },
        // Without a mount namespace the container's tree is attached nowhere, and nothing can spread.
        propagation: if namespaces.has(libc::CLONE_NEWNS) { wishes.propagation } else { Vec::new() },
    })
}

fn is_root(destination: &Path) -> bool {
    let depth = destination.components().fold(0usize, |depth, component| match component {
        Component::Normal(_) => depth.saturating_add(1),
        Component::ParentDir => depth.saturating_sub(1),
        _ => depth,
    });
    depth == 0
}

fn with_values(parameters: &[(String, Option<String>)]) -> Vec<String> {
    parameters.iter().filter_map(|(key, value)| Some(format!("{key}={}", value.as_ref()?))).collect()
}

fn what(field: &str, mount: &spec::Mount, places: Places<'_>, wishes: &mut Wishes) -> Result<What> {
    if wishes.remount {
        // With `bind` only the mount changes, not the file system behind it (mount(2), MS_REMOUNT | MS_BIND).
        let all = std::mem::take(&mut wishes.parameters);
        return Ok(What::Remount(if wishes.bind.is_some() { Vec::new() } else { all }));
    }
    if let Some(recursive) = wishes.bind {
        // What has a value is a file system's parameter, which mount(2) ignores on a bind; a bare word is a mistake.
        let is_mistake = |(word, value): &&(String, Option<String>)| value.is_none() && !is_option(word);
        if let Some((word, _)) = wishes.parameters.iter().find(is_mistake) {
            let message = format_args!("unknown option {word:?}: a bind mount has no file system options");
            return Err(Error::at(format!("{field}.options"), message));
        }
        if mount.source.is_empty() {
            return Err(Error::at(format!("{field}.source"), "a bind mount needs one"));
        }
        let source = places.bundle.join(&mount.source);
        let inside = source.strip_prefix(places.rootfs).ok().map(Path::to_owned);
        return Ok(What::Bind { source, recursive, inside });
    }
    match mount.kind.as_str() {
        kind @ ("cgroup" | "cgroup2") => {
            let known = |word: &str| is_option(word) || OF_A_HIERARCHY.contains(&word);
            if let Some((word, _)) = wishes.parameters.iter().find(|(word, _)| !known(word)) {
                return Err(Error::at(format!("{field}.options"), format_args!("unknown option {word:?}")));
            }
            Ok(What::Cgroup { unified: kind == "cgroup2" })
        }
        "" | "none" | "bind" => {
            let message = format_args!("{:?} needs the option \"bind\" or \"rbind\"", mount.kind);
            Err(Error::at(format!("{field}.type"), message))
        }
        kind => Ok(What::New(NewFs {
            kind: kind.to_owned(),
            source: if mount.source.is_empty() { kind.to_owned() } else { mount.source.clone() },
            parameters: parameters(kind, wishes),
            copy_up: wishes.copy_up,
        })),
    }
}

fn parameters(kind: &str, wishes: &mut Wishes) -> Vec<(String, Option<String>)> {
    let mut parameters = std::mem::take(&mut wishes.parameters);
    // A tmpfs becomes read-only when all is in it.
    if kind != "tmpfs" && wishes.flags.set & libc::MOUNT_ATTR_RDONLY != 0 {
        parameters.push(("ro".to_owned(), None));
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(kind: &str, options: &[&str]) -> Result<MountStep> {
        step_at("data", kind, options)
    }

    fn step_at(destination: &str, kind: &str, options: &[&str]) -> Result<MountStep> {
        let mount = spec::Mount {
            destination: destination.into(),
            kind: kind.into(),
            source: "src".into(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
            ..Default::default()
        };
        let places = Places { bundle: Path::new("/b"), rootfs: Path::new("/b/rootfs") };
        resolve(0, &mount, places, &Namespaces::default())
    }

    #[test]
    fn last_option_wins_and_relative_paths_get_their_base() {
        let step = step("none", &["rbind", "ro", "rw", "nosuid", "noatime", "relatime"]).unwrap();
        assert_eq!(step.destination, PathBuf::from("/data"));
        assert!(
            matches!(&step.what, What::Bind { source, recursive: true, inside: None } if source == "/b/src".as_ref() as &Path)
        );
        assert_eq!(step.flags.set, libc::MOUNT_ATTR_NOSUID);
        assert_eq!(step.flags.atime, Some(libc::MOUNT_ATTR_RELATIME));
    }

    #[test]
    fn unknown_option_goes_to_the_file_system_and_on_a_bind_to_nobody_or_is_refused() {
        let tmpfs = step("tmpfs", &["size=1m", "mode=755"]).unwrap();
        let What::New(fs) = tmpfs.what else { panic!() };
        assert_eq!(fs.parameters[0], ("size".to_owned(), Some("1m".to_owned())));
        assert_eq!(step("none", &["bind", "size=1m"]).unwrap().without_effect, ["size=1m"]);
        let error = step("none", &["bind", "sizes"]).unwrap_err().to_string();
        assert!(error.contains("mounts[0].options: unknown option \"sizes\""), "{error}");
    }

    #[test]
    fn nothing_is_mounted_over_the_root_itself() {
        for root in ["/", ".", "//", "/a/..", "/../b/./..", "/b/rootfs"] {
            let error = step_at(root, "tmpfs", &[]).unwrap_err().to_string();
            assert!(error.contains("mounts[0].destination: is the root itself"), "{root}: {error}");
        }
        assert!(step_at("/a/../b", "tmpfs", &[]).is_ok());
        assert!(matches!(step_at("/", "none", &["remount", "ro"]).unwrap().what, What::Remount(_)));
    }

    #[test]
    fn control_groups_take_no_option_that_would_do_nothing() {
        let of_the_host = step("cgroup", &["ro", "nosuid", "nsdelegate", "memory_recursiveprot"]);
        assert!(matches!(of_the_host.unwrap().what, What::Cgroup { unified: false }));
        assert!(matches!(step("cgroup2", &[]).unwrap().what, What::Cgroup { unified: true }));
        for wrong in ["size=1m", "bogus", "idmap=uids=0-0-1;gids=0-0-1"] {
            let error = step("cgroup", &[wrong]).unwrap_err().to_string();
            assert!(error.contains("mounts[0].options: "), "{error}");
        }
    }
}
