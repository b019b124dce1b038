//! The container's class of service and monitoring group in resctrl (config-linux.md, "IntelRdt"): like a
//! control group, it goes into the record before it is made.

pub mod stats;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Kind, Result};
use crate::plan::rdt::Rdt;
use crate::sys::again::again;
use crate::sys::files;
use crate::sys::mountinfo;
use crate::sys::stream::Stream;

/// Folders in a mounted resctrl.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The class.
    pub dir: PathBuf,
    /// Whether it is ours: made by this runtime and not named by the config.
    pub created: bool,
    /// The monitoring group, always ours.
    pub monitor: Option<PathBuf>,
}

impl Group {
    /// Finds the group's place and whether the class is there.
    pub fn resolve(plan: &Rdt) -> Result<Group> {
        let mount = mountinfo::read()?.into_iter().find(|mount| mount.kind == "resctrl");
        let root = mount.map(|mount| mount.point).ok_or_else(|| {
            Error::at_as(
                Kind::Unsupported,
                "linux.intelRdt",
                "no resctrl file system is mounted on this host",
            )
        })?;
        Group::resolve_below(&root, plan)
    }

    fn resolve_below(root: &Path, plan: &Rdt) -> Result<Group> {
        let dir = root.join(&plan.class);
        let exists = files::is_dir(&dir).on("look for", &dir)?;
        if plan.named && !exists && plan.compared.is_empty() && plan.schemata.is_empty() {
            let message =
                format_args!("{} is not there, and no schemata are given to make it", dir.display());
            return Err(Error::at_as(Kind::NotFound, "linux.intelRdt.closID", message).on_path(&dir));
        }
        if plan.named && exists {
            let path = dir.join("schemata");
            let present = files::read_to_string(&path).on("read", &path)?;
            if let Some(line) = plan.compared.iter().find(|line| !holds(&present, line)) {
                let message = format_args!("{line:?} is not what {} holds", path.display());
                return Err(Error::at("linux.intelRdt", message).on_path(&path));
            }
        }
        let monitor = plan.monitor.as_ref().map(|name| dir.join("mon_groups").join(name));
        Ok(Group { created: !plan.named && !exists, dir, monitor })
    }

    /// Makes the class where it is missing, and the monitoring group.
    pub fn create(&self, plan: &Rdt) -> Result<()> {
        let existed = files::is_dir(&self.dir).on("look for", &self.dir)?;
        if !existed {
            files::create_dir(&self.dir).on("create", &self.dir)?;
        }
        // An existing class was compared; writing the same again could only race with its owner.
        let compared = plan.compared.iter().filter(|_| !(existed && plan.named));
        for line in compared.chain(&plan.schemata) {
            append(&self.dir.join("schemata"), line).in_field("linux.intelRdt")?;
        }
        if let Some(monitor) = &self.monitor {
            files::create_dir(monitor).on("create", monitor).in_field("linux.intelRdt.enableMonitoring")?;
        }
        Ok(())
    }

    /// Moves a process into them.
    pub fn join(&self, pid: i32) -> Result<()> {
        for dir in std::iter::once(&self.dir).chain(&self.monitor) {
            append(&dir.join("tasks"), &pid.to_string()).in_field("linux.intelRdt")?;
        }
        Ok(())
    }

    /// Writes lines of schemata and returns those that were there before, for writing them back. On error those are
    /// written back already.
    pub fn update(&self, lines: &[String]) -> Result<Vec<String>> {
        let path = self.dir.join("schemata");
        let present = files::read_to_string(&path).on("read", &path)?;
        let resource = |line: &str| line.trim().split(':').next().unwrap_or_default().to_owned();
        let mut before: Vec<String> = Vec::new();
        for line in lines {
            let old =
                present.lines().find(|old| resource(old) == resource(line)).map(|old| old.trim().to_owned());
            if let Err(error) = append(&path, line) {
                before.iter().rev().try_for_each(|line| append(&path, line))?;
                return Err(error);
            }
            before.extend(old);
        }
        Ok(before)
    }

    /// Removes what is ours. What is gone is fine.
    pub fn remove(&self) -> Result<()> {
        let class = self.created.then_some(&self.dir);
        for dir in self.monitor.iter().chain(class) {
            match files::remove_dir(dir) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                other => other.on("remove", dir)?,
            }
        }
        Ok(())
    }
}

fn append(path: &Path, line: &str) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let file = again(|| std::fs::OpenOptions::new().append(true).open(path))?;
        Stream(&file).write_all(format!("{line}\n").as_bytes())
    };
    write().on(&format!("write {line:?} to"), path)
}

/// Whether every entry of `line` (`L3:0=f;1=ff`) stands in `schemata`; leading zeros do not count.
fn holds(schemata: &str, line: &str) -> bool {
    let parse = |line: &str| -> Option<(String, Vec<(String, String)>)> {
        let (resource, entries) = line.trim().split_once(':')?;
        let entry = |entry: &str| {
            let (id, value) = entry.split_once('=')?;
            Some((id.trim().to_owned(), value.trim().trim_start_matches('0').to_lowercase()))
        };
        Some((resource.to_owned(), entries.split(';').filter_map(entry).collect()))
    };
    let Some((resource, wanted)) = parse(line) else { return false };
    let present = schemata.lines().filter_map(parse).find(|(name, _)| *name == resource);
    present.is_some_and(|(_, entries)| wanted.iter().all(|entry| entries.contains(entry)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Rdt {
        let compared = vec!["L3:0=f;1=f".to_owned()];
        Rdt { class: "web".into(), named: false, compared, schemata: Vec::new(), monitor: Some("web".into()) }
    }

    /// A folder that stands for a mounted resctrl: the kernel's own makes these files by itself.
    fn tree(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("wharf-rdt-{name}-{}", std::process::id()));
        let class = root.join("given");
        std::fs::create_dir_all(class.join("mon_groups")).unwrap();
        std::fs::write(class.join("schemata"), "    L3:0=00f;1=00F\n    MB:0=100\n").unwrap();
        std::fs::write(class.join("tasks"), "").unwrap();
        root
    }

    #[test]
    fn named_class_is_compared_joined_and_kept() {
        let root = tree("named");
        let named = Rdt { class: "given".into(), named: true, monitor: None, ..plan() };
        let group = Group::resolve_below(&root, &named).unwrap();
        group.create(&named).unwrap();
        group.join(42).unwrap();
        assert_eq!(std::fs::read_to_string(root.join("given/tasks")).unwrap(), "42\n");
        group.remove().unwrap();
        assert!(root.join("given").is_dir());
        let other = Rdt { compared: vec!["L3:0=1".into()], ..named.clone() };
        assert!(Group::resolve_below(&root, &other).is_err());
        let missing = Rdt { class: "nosuch".into(), compared: Vec::new(), ..named };
        assert!(Group::resolve_below(&root, &missing).unwrap_err().to_string().contains("nosuch"));
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn lines_of_an_update_are_answered_with_those_before() {
        let root = tree("update");
        let group = Group { dir: root.join("given"), created: false, monitor: None };
        let lines = ["L3:0=1".to_owned(), "MB:0=50".to_owned()];
        assert_eq!(group.update(&lines).unwrap(), ["L3:0=00f;1=00F", "MB:0=100"]);
        assert!(std::fs::read_to_string(root.join("given/schemata")).unwrap().ends_with("L3:0=1\nMB:0=50\n"));
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn class_of_the_container_is_made_and_removed() {
        let root = tree("own");
        let plan = Rdt { compared: Vec::new(), monitor: None, ..plan() };
        let group = Group::resolve_below(&root, &plan).unwrap();
        assert!(group.created);
        group.create(&plan).unwrap();
        assert!(root.join("web").is_dir());
        group.remove().unwrap();
        group.remove().unwrap();
        assert!(!root.join("web").exists());
        std::fs::remove_dir_all(root).unwrap();
    }
}
