//! Changing the limits of a container that runs, all or nothing.
//!
//! Before a file is written its text is noted, so that the first write that the kernel refuses is followed by
//! putting back what went in before it. Device rules are changed by their difference: a rule that stays is never
//! out of force, not even for an instant.

use std::path::{Path, PathBuf};

use super::apply::write_in_any_order;
use super::files::read_file;
use super::{Cgroup, Mode, v1, v2};
use crate::error::{Context, Result};
use crate::plan::resources::devices::{self, Exceptions};
use crate::plan::resources::{Write, complete};
use crate::spec::{DeviceRule, Memory, Resources};

/// How to have again what was in force before an update.
#[derive(Debug, Default)]
pub struct Undo {
    /// Files with what has to be written to them, in the order in which they were changed.
    files: Vec<(PathBuf, String)>,
    /// The rules that are in force and those that were before.
    devices: Option<(Vec<DeviceRule>, Vec<DeviceRule>)>,
}

impl Cgroup {
    /// Changes what `change` names, in a container whose limits so far are `old`. On error all is as before; on
    /// success the result can still be given to [`Cgroup::put_back`].
    pub fn update(&self, old: &Resources, change: &Resources) -> Result<Undo> {
        let mut undo = Undo::default();
        match self.change(old, change, &mut undo) {
            Ok(()) => Ok(undo),
            Err(error) => {
                if let Err(second) = self.put_back(undo) {
                    log::warn!("{second}");
                }
                Err(error)
            }
        }
    }

    /// Takes an update back.
    pub fn put_back(&self, undo: Undo) -> Result<()> {
        let as_write = |(path, text): &(PathBuf, String)| {
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            Write { candidates: vec![(file, text.clone())], ..Write::default() }
        };
        let properties = self.set_properties(&undo.files.iter().map(as_write).collect::<Vec<_>>());
        let pending = undo.files.iter().rev().map(|(path, old)| (path.as_path(), old.clone())).collect();
        let files = write_in_any_order(pending);
        let devices = match &undo.devices {
            Some((now, before)) => self.change_devices(now, before),
            None => Ok(()),
        };
        files.and(properties).and(devices).context("put limits back")
    }

    fn change(&self, old: &Resources, change: &Resources, undo: &mut Undo) -> Result<()> {
        devices::resolve(&change.devices)?;
        let completed = complete(old, change);
        let mut writes = self.writes(&completed)?;
        if self.mode == Mode::V1 {
            writes.retain(|write| is_asked_on_v1(change.memory.as_ref(), &write.field));
        }
        completed.memory.iter().try_for_each(|memory| self.check_usage(memory))?;
        self.enable_for(&writes)?;
        for write in &writes {
            if let Some((path, value)) = self.locate(write)? {
                undo.files.extend(before(&path, &value)?);
            }
        }
        self.set_properties(&writes)?;
        self.set_limits(&writes)?;
        if change.devices.is_empty() {
            return Ok(()); // whoever else has widened them (a GPU's hook) keeps what it did
        }
        undo.devices = Some((change.devices.clone(), old.devices.clone()));
        self.change_devices(&old.devices, &change.devices).in_field("linux.resources.devices")
    }

    fn change_devices(&self, old: &[DeviceRule], new: &[DeviceRule]) -> Result<()> {
        let (old, new) = (devices::resolve(old)?, devices::resolve(new)?);
        self.set_device_properties(&new)?;
        match (self.with("devices"), self.unified()) {
            (Some(dir), _) => {
                let (old, new) = (Exceptions::follow(&old)?, Exceptions::follow(&new)?);
                let change = || v1::change_devices(dir, &old, &new);
                // When the default itself turns, nobody may look while the list is empty.
                if old.default_allow == new.default_allow { change() } else { self.while_frozen(change) }
            }
            (None, Some(dir)) => v2::set_devices(dir, &new),
            (None, None) => self.no_devices(),
        }
    }

    fn while_frozen(&self, change: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.is_frozen()? {
            return change();
        }
        let changed = self.freeze(true).and_then(|()| change());
        let thawed = self.freeze(false);
        changed.and(thawed)
    }
}

/// A memory limit is judged together with the swap limit in force; v1 has a file for each, so there the one that
/// nobody named is not written.
fn is_asked_on_v1(memory: Option<&Memory>, field: &str) -> bool {
    let names = |value: Option<i64>| value.is_some_and(|v| v != 0);
    let Some(memory) = memory else { return true };
    match field {
        "linux.resources.memory.limit" => names(memory.limit),
        "linux.resources.memory.swap" => names(memory.swap) || memory.limit == Some(-1),
        _ => true,
    }
}

/// What must be written to a file to have again what it says now, after `value` was written to it. In files with
/// one line for each device, only that device's line is meant.
fn before(path: &Path, value: &str) -> Result<Option<(PathBuf, String)>> {
    let Some(text) = read_file(path)? else { return Ok(None) };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let key = value.split(' ').next().unwrap_or_default();
    let line = text.lines().find(|line| line.split(' ').next() == Some(key)).map(str::to_owned);
    let old = match name.as_str() {
        "io.max" => line.unwrap_or_else(|| format!("{key} rbps=max wbps=max riops=max wiops=max")),
        "io.weight" | "io.bfq.weight" if key.contains(':') => {
            line.unwrap_or_else(|| format!("{key} default"))
        }
        "io.weight" | "io.bfq.weight" => text.lines().next().unwrap_or_default().to_owned(),
        "rdma.max" => line.unwrap_or_else(|| format!("{key} hca_handle=max hca_object=max")),
        "net_prio.ifpriomap" => line.unwrap_or_else(|| format!("{key} 0")),
        "memory.oom_control" => u8::from(text.contains("oom_kill_disable 1")).to_string(),
        name if name.starts_with("blkio.") && key.contains(':') => line.unwrap_or_else(|| format!("{key} 0")),
        _ => text,
    };
    Ok(Some((path.to_owned(), old)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that takes a number only if it is not above another file's would need a kernel: what is tested here
    /// is the text that is put back.
    #[test]
    fn what_is_put_back_is_what_the_file_takes() {
        let folder = std::env::temp_dir().join(format!("wharf-before-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (file, now, value, expected) in [
            ("memory.max", "max\n", "5", "max"),
            (
                "io.max",
                "8:0 rbps=1 wbps=max riops=max wiops=max\n",
                "8:0 wbps=7",
                "8:0 rbps=1 wbps=max riops=max wiops=max",
            ),
            ("io.max", "", "8:0 wbps=7", "8:0 rbps=max wbps=max riops=max wiops=max"),
            ("io.weight", "default 100\n8:0 5\n", "200", "default 100"),
            ("io.weight", "default 100\n", "8:0 200", "8:0 default"),
            ("blkio.throttle.read_bps_device", "8:0 9\n", "8:16 4", "8:16 0"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", "1", "0"),
        ] {
            let path = folder.join(file);
            std::fs::write(&path, now).unwrap();
            assert_eq!(before(&path, value).unwrap(), Some((path, expected.to_owned())), "{file}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_memory_limit_that_nobody_named_is_not_written() {
        let memory = |limit, swap| Some(Memory { limit, swap, ..Default::default() });
        let asked = |memory: Option<Memory>, name: &str| {
            is_asked_on_v1(memory.as_ref(), &format!("linux.resources.memory.{name}"))
        };
        assert!(!asked(memory(None, Some(5)), "limit") && asked(memory(None, Some(5)), "swap"));
        assert!(!asked(memory(Some(5), None), "swap") && asked(memory(Some(-1), None), "swap"));
        assert!(asked(memory(None, None), "reservation"));
    }
}
