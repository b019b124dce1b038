//! Limits and device access.
//!
//! Some limits bound each other (memory and memory with swap, period and quota and burst), so the order that works
//! depends on what is in force. Rather than to know each kernel's rules, the members of such a group are tried in
//! turn until all went in or none does any more.

use std::path::{Path, PathBuf};

use super::files::{read_file, write_file};
use super::make::levels;
use super::{Cgroup, Dir, Driver, Mode, v1, v2};
use crate::error::{Context, Error, Kind, Result};
use crate::plan::resources::{self, Write, devices};
use crate::spec::{DeviceRule, Memory, Resources};
use crate::sys::files;

impl Cgroup {
    /// Sets limits and device access of a container that is being made, before its init is there. systemd makes
    /// its unit around the init, so there it is all done when that is admitted.
    pub fn prepare(&self, resources: &Resources) -> Result<()> {
        if matches!(self.driver, Driver::Systemd(_)) { Ok(()) } else { self.apply(resources) }
    }

    /// Sets limits and device access in the file system.
    pub(super) fn apply(&self, resources: &Resources) -> Result<()> {
        let writes = self.writes(resources)?;
        self.enable_for(&writes)?;
        self.set_limits(&writes)?;
        self.set_devices(&resources.devices)
    }

    /// The writes that limits come to.
    pub(super) fn writes(&self, resources: &Resources) -> Result<Vec<Write>> {
        if resources.memory.as_ref().is_some_and(|memory| memory.kernel.is_some_and(|limit| limit > 0)) {
            log::warn!("linux.resources.memory.kernel: is ignored, kernels have no such limit any more");
        }
        match self.mode {
            Mode::V1 => resources::resolve_v1(resources),
            Mode::V2 => resources::resolve_v2(resources),
        }
    }

    pub(super) fn set_limits(&self, writes: &[Write]) -> Result<()> {
        let same_group = |a: &Write, b: &Write| !a.group.is_empty() && a.group == b.group;
        for group in writes.chunk_by(same_group) {
            let mut pending = Vec::new();
            for write in group {
                pending.extend(self.locate(write)?.map(|(path, value)| (path, value, write.field.as_str())));
            }
            let field = pending.first().map(|(_, _, field)| *field).unwrap_or_default();
            let pending = pending.iter().map(|(path, value, _)| (path.as_path(), value.clone())).collect();
            write_in_any_order(pending).map_err(|error| self.explain(error, field)).in_field(field)?;
        }
        Ok(())
    }

    /// The file that takes a write, and the text for it; `None` where it can be done without.
    pub(super) fn locate(&self, write: &Write) -> Result<Option<(PathBuf, String)>> {
        let dir = self.holder(&write.controller);
        let mut found = None;
        let candidates = dir.into_iter().flat_map(|dir| write.candidates.iter().map(move |c| (dir, c)));
        for (dir, (file, value)) in candidates {
            let path = dir.path.join(file);
            if files::exists(&path).on("look for", &path)? {
                found = Some((path, value));
                break;
            }
        }
        match found {
            None if write.optional => Ok(None),
            None => Err(self.missing(write, dir)),
            Some((path, value)) if write.keeps_first_word => {
                let now = read_file(&path)?.unwrap_or_default();
                let first = now.split_whitespace().next().unwrap_or("max");
                Ok(Some((path, format!("{first} {value}"))))
            }
            Some((path, value)) => Ok(Some((path, value.clone()))),
        }
    }

    /// The directory in the hierarchy that a controller's files are in.
    pub(super) fn holder(&self, controller: &str) -> Option<&Dir> {
        match self.mode {
            Mode::V1 => self.with(controller).or_else(|| self.left_to_unified(controller)),
            Mode::V2 => self.unified(),
        }
    }

    /// The unified hierarchy of a hybrid host, for a controller that no v1 hierarchy has and whose limits can be
    /// written to both.
    pub(super) fn left_to_unified(&self, controller: &str) -> Option<&Dir> {
        let can_be = self.mode == Mode::V1 && ["hugetlb", "pids", "rdma"].contains(&controller);
        let has = |dir: &&Dir| v2::controllers(&dir.mount_point).iter().any(|one| one == controller);
        self.unified().filter(|_| can_be && self.with(controller).is_none()).filter(has)
    }

    /// Enables what a hybrid host has in the unified hierarchy: nobody else does there.
    pub(super) fn enable_for(&self, writes: &[Write]) -> Result<()> {
        for write in writes {
            if let Some(dir) = self.left_to_unified(&write.controller) {
                levels(dir)
                    .iter()
                    .filter_map(|path| path.parent())
                    .try_for_each(|above| v2::enable_controllers(above, Some(&write.controller)))?;
            }
        }
        Ok(())
    }

    fn missing(&self, write: &Write, dir: Option<&Dir>) -> Error {
        let (field, controller) = (&write.field, &write.controller);
        let has_controller = dir.is_some_and(|dir| {
            dir.has(controller)
                || controller == "cgroup"
                || v2::controllers(&dir.path).iter().any(|one| one == controller)
        });
        let message = match (has_controller, &self.driver) {
            _ if dir.is_some_and(|dir| !files::is_dir(&dir.path).unwrap_or(true)) => {
                "the container's cgroup is gone".to_owned()
            }
            (true, _) => {
                let file = write.candidates.first().map(|(file, _)| file.as_str()).unwrap_or_default();
                format!("the kernel has no {file}")
            }
            (false, Driver::Disabled) => "can't be set with cgroups disabled".to_owned(),
            (false, _) if self.tolerant => {
                // Engines know it from runc.
                format!("cannot set {controller} limit: container could not join or create cgroup")
            }
            (false, _) => format!("no {controller} controller on this host"),
        };
        Error::at_as(Kind::Unsupported, field.as_str(), message)
    }

    /// `checkBeforeUpdate`: a limit below what is used would get something killed (config-linux.md, "Memory").
    pub(super) fn check_usage(&self, memory: &Memory) -> Result<()> {
        if memory.check_before_update != Some(true) {
            return Ok(());
        }
        let (used, with_swap) = (self.memory_usage(false)?, self.memory_usage(true)?);
        for (name, limit, usage) in [("memory+swap", memory.swap, with_swap), ("memory", memory.limit, used)]
        {
            if let Some(limit) = limit.and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit > 0)
                && limit < usage
            {
                return Err(Error::at(
                    "linux.resources.memory",
                    format_args!("rejecting {name} limit {limit} < usage {usage}"),
                ));
            }
        }
        Ok(())
    }

    /// Bytes in use now; 0 where nothing is counted.
    fn memory_usage(&self, with_swap: bool) -> Result<u64> {
        let (dir, files): (_, &[&str]) = match (self.mode, with_swap) {
            (Mode::V1, false) => (self.with("memory"), &["memory.usage_in_bytes"]),
            (Mode::V1, true) => (self.with("memory"), &["memory.memsw.usage_in_bytes"]),
            (Mode::V2, false) => (self.unified(), &["memory.current"]),
            (Mode::V2, true) => (self.unified(), &["memory.current", "memory.swap.current"]),
        };
        let Some(dir) = dir else { return Ok(0) };
        files.iter().try_fold(0u64, |sum, file| {
            let text = read_file(&dir.path.join(file))?.unwrap_or_default();
            Ok(sum.saturating_add(text.parse().unwrap_or(0)))
        })
    }

    /// EBUSY is what v1 says of a limit that it can't get usage below.
    fn explain(&self, error: Error, field: &str) -> Error {
        if error.errno() != Some(libc::EBUSY) || !field.contains(".memory.") {
            return error;
        }
        match self.memory_usage(false) {
            Ok(usage) => Error::new(Kind::System, format!("{error} (current usage: {usage})")),
            Err(_) => error,
        }
    }

    /// Puts the rules in force: v1's device lists where there is that hierarchy, else the eBPF program on the
    /// unified one, which a hybrid host has too. Where there is neither, only rules that nobody wrote are let go.
    fn set_devices(&self, wishes: &[DeviceRule]) -> Result<()> {
        let rules = devices::resolve(wishes)?;
        let result = match (self.with("devices"), self.unified()) {
            (Some(dir), _) => v1::set_devices(dir, &rules),
            (None, Some(dir)) => v2::set_devices(dir, &rules),
            (None, None) if wishes.is_empty() => Ok(()),
            (None, None) => self.no_devices(),
        };
        match result.in_field("linux.resources.devices") {
            // Who may not filter devices has no right to make or open any that the host's permissions forbid.
            Err(error) if self.was_denied(&error) => {
                log::debug!("{error}");
                Ok(())
            }
            other => other,
        }
    }

    pub(super) fn no_devices(&self) -> Result<()> {
        if self.tolerant || self.driver == Driver::Disabled {
            log::debug!("device access is not restricted: there is no cgroup to do it with");
            return Ok(());
        }
        Err(Error::new(Kind::Unsupported, "no devices controller on this host"))
    }
}

/// Writes all, and those that the kernel calls invalid again as long as others go in.
pub(super) fn write_in_any_order(mut pending: Vec<(&Path, String)>) -> Result<()> {
    loop {
        let (before, mut refused) = (pending.len(), Ok(()));
        let mut left = Vec::new();
        for (path, value) in pending {
            match write_file(path, &value) {
                Ok(()) => {}
                Err(error) if error.errno() == Some(libc::EINVAL) && before > 1 => {
                    refused = refused.and(Err(error));
                    left.push((path, value));
                }
                Err(error) => return Err(error),
            }
        }
        if left.is_empty() || left.len() == before {
            return refused;
        }
        pending = left;
    }
}
