//! The systemd driver: a container is a transient unit, its init is put in by systemd as the unit is started, and
//! its limits are properties first and files second.
//!
//! systemd starts a scope around a process, so the control group comes after the clone here, not before it. Nothing
//! is frozen while properties change: systemd may be slow, and a container must not stand still for that.

pub(crate) mod dbus;
pub(crate) mod gvariant;
mod properties;
mod unit;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::apply::write_in_any_order;
use super::files::read_file;
use super::{Cgroup, Driver, Mode};
use crate::error::{Context, Error, Kind, Result};
use crate::plan::resources::{Write, devices};
use crate::spec::Spec;
use crate::sys::files;
use dbus::{Address, Connection, Refusal};
use properties::{Bandwidth, Property};
use wire::Value;

pub use properties::ANNOTATION;
pub use unit::Unit;

const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// Whether the annotations that ask for properties of the unit can be read.
pub(super) fn check_annotations(annotations: &BTreeMap<String, String>) -> Result<()> {
    properties::of_annotations(annotations).map(|_| ())
}

/// Finds the unit, and its control group below the mount point.
pub(super) fn resolve(cgroups_path: &str, id: &str) -> Result<(Unit, PathBuf)> {
    if !Path::new("/run/systemd/system").is_dir() {
        let message = "systemd not running on this host, cannot use systemd cgroup driver";
        return Err(Error::new(Kind::Unsupported, message));
    }
    let unit = Unit::parse(cgroups_path, id, has_only_user_session()?)?;
    let mut path = PathBuf::new();
    if unit.user {
        path.push(unit.connect()?.manager_property("ControlGroup")?.trim_start_matches('/'));
    }
    path.push(unit.path()?);
    Ok((unit, path))
}

/// Whether the system's systemd is not ours to ask: we are an ordinary user, also one that is root of a user
/// namespace.
fn has_only_user_session() -> Result<bool> {
    let map = files::read_to_string("/proc/self/uid_map").context("read /proc/self/uid_map")?;
    let is_initial = map.split_whitespace().eq(["0", "0", "4294967295"]);
    Ok(!is_initial || !rustix::process::geteuid().is_root())
}

/// Where the systemd in question listens, the best first.
fn addresses(user: bool) -> Vec<Address> {
    let own = |path: &[u8]| Address { path: path.to_vec(), bus: false };
    let bus = |path: &[u8]| Address { path: path.to_vec(), bus: true };
    if !user {
        return vec![own(b"/run/systemd/private"), bus(b"/run/dbus/system_bus_socket")];
    }
    let variable = |name| std::env::var_os(name).map(OsStringExt::into_vec).unwrap_or_default();
    let named = String::from_utf8(variable("DBUS_SESSION_BUS_ADDRESS")).unwrap_or_default();
    let mut list: Vec<Address> = named.split(';').filter_map(parse_address).map(|path| bus(&path)).collect();
    let directory = variable("XDG_RUNTIME_DIR");
    if !directory.is_empty() {
        list.push(own(&[&directory, &b"/systemd/private"[..]].concat()));
        list.push(bus(&[&directory, &b"/bus"[..]].concat()));
    }
    list
}

/// The path in `unix:path=...` or `unix:abstract=...` (D-Bus specification, "Server Addresses").
pub(crate) fn parse_address(address: &str) -> Option<Vec<u8>> {
    address.strip_prefix("unix:")?.split(',').find_map(|pair| match pair.split_once('=')? {
        ("path", path) => Some(unescape(path)),
        ("abstract", name) => Some([vec![0], unescape(name)].concat()),
        _ => None,
    })
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.split_at_checked(2).filter(|_| *first == b'%');
        let byte = code.and_then(|(code, after)| {
            Some((u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok()?, after))
        });
        let (byte, after) = byte.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = after;
    }
    bytes
}

impl Unit {
    fn connect(&self) -> Result<Connection> {
        let whose = if self.user { "the user's systemd" } else { "systemd" };
        let addresses = addresses(self.user);
        if addresses.is_empty() {
            let message = "neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR says where it listens";
            return Err(Error::new(Kind::Unsupported, message)).with_context(|| format!("ask {whose}"));
        }
        Connection::open(&addresses).with_context(|| format!("ask {whose}"))
    }

    /// Starts it. A leftover of this name that has failed makes way; one that is alive is
    /// [`Kind::AlreadyExists`].
    fn start(&self, systemd: &mut Connection, properties: &[Property]) -> Result<()> {
        let auxiliary = Value::Array("(sa(sv))".to_owned(), Vec::new());
        let text = |text: &str| Value::Str(text.to_owned());
        let arguments = [text(&self.name), text("replace"), list(properties), auxiliary];
        let mut answer = systemd.manager("StartTransientUnit", &arguments)?;
        if is(&answer, UNIT_EXISTS) {
            self.reset_failed(systemd)?;
            answer = systemd.manager("StartTransientUnit", &arguments)?;
        }
        if is(&answer, UNIT_EXISTS) {
            return Err(Error::new(Kind::AlreadyExists, "another unit has this name"));
        }
        match finish(systemd, answer)?.as_str() {
            "done" => Ok(()),
            result => Err(Error::new(Kind::System, format!("the job's result is {result:?}"))),
        }
    }

    /// Stops it, and makes systemd forget it. That it is gone already is fine.
    pub(super) fn stop(&self) -> Result<()> {
        let context = || format!("stop unit {}", self.name);
        let mut systemd = self.connect().with_context(context)?;
        let arguments = [&self.name, "replace"].map(|text| Value::Str(text.to_owned()));
        let answer = systemd.manager("StopUnit", &arguments).with_context(context)?;
        if !is(&answer, NO_SUCH_UNIT) {
            let result = finish(&mut systemd, answer).with_context(context)?;
            if result != "done" {
                log::debug!("stop unit {}: the job's result is {result:?}", self.name);
            }
        }
        self.reset_failed(&mut systemd).with_context(context)
    }

    fn reset_failed(&self, systemd: &mut Connection) -> Result<()> {
        let answer = systemd.manager("ResetFailedUnit", &[Value::Str(self.name.clone())])?;
        if is(&answer, NO_SUCH_UNIT) { Ok(()) } else { expect(answer).map(|_| ()) }
    }

    /// Moves a process in, where we may not do it ourselves.
    pub(super) fn attach(&self, pid: i32) -> Result<()> {
        let pids = Value::Array("u".to_owned(), vec![Value::U32(pid as u32)]);
        let arguments = [Value::Str(self.name.clone()), Value::Str("/".to_owned()), pids];
        let move_in = || expect(self.connect()?.manager("AttachProcessesToUnit", &arguments)?).map(|_| ());
        move_in().with_context(|| format!("move process {pid} to unit {}", self.name))
    }

    /// Sets properties of the running unit, until it is stopped.
    fn set(&self, systemd: &mut Connection, properties: &[Property]) -> Result<()> {
        let arguments = [Value::Str(self.name.clone()), Value::Bool(true), list(properties)];
        expect(systemd.manager("SetUnitProperties", &arguments)?).map(|_| ())
    }

    /// What every container's unit has.
    fn own_properties(&self, id: &str, pid: i32) -> Vec<Property> {
        let property = |name: &str, value| (name.to_owned(), value);
        let mut properties = vec![property("Description", Value::Str(format!("wharf container {id}")))];
        match self.is_slice() {
            true => {
                let above = vec![Value::Str(self.slice.clone())];
                properties.push(property("Wants", Value::Array("s".to_owned(), above)));
            }
            false => {
                let pids = vec![Value::U32(pid as u32)];
                properties.push(property("Slice", Value::Str(self.slice.clone())));
                properties.push(property("Delegate", Value::Bool(true)));
                properties.push(property("PIDs", Value::Array("u".to_owned(), pids)));
            }
        }
        for name in ["MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting"] {
            properties.push(property(name, Value::Bool(true)));
        }
        properties.push(property("DefaultDependencies", Value::Bool(false)));
        properties
    }
}

impl Cgroup {
    /// Puts the new init into the control groups: it joins those that are made, or systemd makes the unit around
    /// it, with the config's limits in force.
    ///
    /// When somebody else has the unit's name, the control groups are forgotten: they must not be cleaned up.
    pub fn admit(&mut self, id: &str, pid: i32, config: &Spec) -> Result<()> {
        let Driver::Systemd(unit) = self.driver.clone() else { return self.join(pid) };
        let started = self.start_unit(&unit, unit.own_properties(id, pid), config);
        if started.as_ref().is_err_and(|error| error.kind() == Kind::AlreadyExists) {
            self.dirs.clear();
            self.driver = Driver::Disabled;
        }
        started.with_context(|| format!("start unit {}", unit.name))?;
        self.make_missing()?;
        self.join(pid)?;
        // The files too: they have what systemd has no property for, and the exact numbers.
        let resources = config.linux.as_ref().and_then(|linux| linux.resources.clone());
        self.apply(&resources.unwrap_or_default())
    }

    fn start_unit(&self, unit: &Unit, mut properties: Vec<Property>, config: &Spec) -> Result<()> {
        let resources = config.linux.as_ref().and_then(|linux| linux.resources.clone()).unwrap_or_default();
        properties.extend(properties::of_annotations(&config.annotations)?);
        let writes = self.writes(&resources)?;
        let rules = devices::resolve(&resources.devices)?;
        let mut systemd = unit.connect()?;
        properties.extend(properties::of_writes(&writes, &Bandwidth::default(), version(&mut systemd)?));
        properties.extend(properties::of_devices(&rules));
        unit.start(&mut systemd, &properties)
    }

    /// Tells systemd of limits that are about to be written to the files of a running container; other drivers
    /// have nobody to tell.
    pub(super) fn set_properties(&self, writes: &[Write]) -> Result<()> {
        let Driver::Systemd(unit) = &self.driver else { return Ok(()) };
        let set = || {
            let mut systemd = unit.connect()?;
            let mut properties = properties::of_writes(writes, &self.bandwidth()?, version(&mut systemd)?);
            properties.retain(|(name, _)| name != "OOMPolicy"); // it is fixed when the unit is made
            if properties.is_empty() {
                return Ok(());
            }
            let exact = self.bandwidth_files()?;
            unit.set(&mut systemd, &properties)?;
            // systemd has written the whole percents that it keeps, whichever CPU property was meant.
            write_in_any_order(exact.iter().map(|(path, text)| (path.as_path(), text.clone())).collect())
        };
        set().with_context(|| format!("set properties of unit {}", unit.name))
    }

    /// The same for device rules.
    pub(super) fn set_device_properties(&self, rules: &[devices::Rule]) -> Result<()> {
        let Driver::Systemd(unit) = &self.driver else { return Ok(()) };
        let set = || unit.set(&mut unit.connect()?, &properties::of_devices(rules));
        set().with_context(|| format!("set device properties of unit {}", unit.name))
    }

    fn bandwidth_files(&self) -> Result<Vec<(PathBuf, String)>> {
        let (dir, files): (_, &[&str]) = match self.mode {
            Mode::V1 => (self.with("cpu"), &["cpu.cfs_period_us", "cpu.cfs_quota_us"]),
            Mode::V2 => (self.unified(), &["cpu.max"]),
        };
        let paths = dir.into_iter().flat_map(|dir| files.iter().map(|file| dir.path.join(file)));
        let texts = paths.map(|path| Ok(read_file(&path)?.map(|text| (path, text))));
        texts.filter_map(Result::transpose).collect()
    }

    /// Quota and period that are in force.
    fn bandwidth(&self) -> Result<Bandwidth> {
        let dir = if self.mode == Mode::V1 { self.with("cpu") } else { self.unified() };
        let Some(dir) = dir else { return Ok(Bandwidth::default()) };
        let read =
            |file: &str| -> Result<String> { Ok(read_file(&dir.path.join(file))?.unwrap_or_default()) };
        Ok(match self.mode {
            Mode::V1 => Bandwidth::parse(&read("cpu.cfs_quota_us")?, &read("cpu.cfs_period_us")?),
            Mode::V2 => {
                let text = read("cpu.max")?;
                let (quota, period) = text.split_once(' ').unwrap_or_default();
                Bandwidth::parse(quota, period)
            }
        })
    }
}

fn version(systemd: &mut Connection) -> Result<u32> {
    let text = systemd.manager_property("Version")?;
    let digits = text.trim_start_matches('v').split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().map_err(|_| Error::new(Kind::System, format!("systemd's version {text:?} has no number")))
}

fn list(properties: &[Property]) -> Value {
    let entry = |(name, value): &Property| {
        Value::Struct(vec![Value::Str(name.clone()), Value::Variant(Box::new(value.clone()))])
    };
    Value::Array("(sv)".to_owned(), properties.iter().map(entry).collect())
}

fn is(answer: &Result<Vec<Value>, Refusal>, name: &str) -> bool {
    answer.as_ref().is_err_and(|refusal| refusal.name == name)
}

fn expect(answer: Result<Vec<Value>, Refusal>) -> Result<Vec<Value>> {
    answer.map_err(Refusal::into_error)
}

/// Waits for the job that a call has begun, and returns its result.
fn finish(systemd: &mut Connection, answer: Result<Vec<Value>, Refusal>) -> Result<String> {
    let values = expect(answer)?;
    let job = values.first().and_then(Value::text);
    systemd.wait_for_job(job.ok_or_else(|| Error::new(Kind::System, "systemd named no job"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bus_addresses_are_paths_or_abstract_names() {
        assert_eq!(parse_address("unix:path=/run/user/0/bus"), Some(b"/run/user/0/bus".to_vec()));
        assert_eq!(parse_address("unix:guid=1,abstract=/tmp/a%2db"), Some(b"\0/tmp/a-b".to_vec()));
        assert_eq!(parse_address("tcp:host=x"), None);
        assert_eq!(unescape("a%zz%2"), b"a%zz%2");
    }

    #[test]
    fn driver_is_refused_by_name_where_it_can_not_work() {
        let resolved = resolve("", "id").map_err(|error| error.to_string());
        let no_systemd = "systemd not running on this host, cannot use systemd cgroup driver";
        assert!(Path::new("/run/systemd/system").is_dir() || resolved.unwrap_err() == no_systemd);
    }
}
