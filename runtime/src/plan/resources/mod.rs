//! Limits to writes of cgroup files, and device rules to what the kernel takes.
//!
//! Zero and unset follow what engines send: they fill in zeros for what nobody asked, so 0 is "unset" for
//! memory, shares, quota, period and weights, and a value for pids, huge pages, burst, idle and swappiness.
//! No tasks at all is what no container can live with and systemd can't be told, so a pids limit of 0 becomes 1.
//! What the host's version of cgroups can't do is an error that names the field; only `memory.kernel`, which no
//! kernel since 5.16 has and which every other runtime passes over, is a warning.

mod all;
pub mod devices;
mod merge;
mod v1;
mod v2;

use std::fmt;

use crate::error::{Error, Kind, Result};
use crate::place::bracketed;
use crate::spec::{BlockIo, HugepageLimit, Memory, Rdma, ThrottleDevice, WeightDevice};

pub use all::check_all;
pub use merge::{complete, merge};
pub use v1::resolve as resolve_v1;
pub use v2::resolve as resolve_v2;

/// One write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Write {
    /// Who asked, for messages.
    pub field: String,
    /// The v1 controller; on v2, where there is one directory, only for messages.
    pub controller: String,
    /// Files with what each would take: the first that is there gets it.
    pub candidates: Vec<(String, String)>,
    /// Whether it is fine when none is there.
    pub optional: bool,
    /// Whether the text goes behind the first word of what is in the file now.
    pub keeps_first_word: bool,
    /// Neighbours with the same name, other than empty, bound each other: which one may be written first depends
    /// on what is in force.
    pub group: &'static str,
}

impl Write {
    fn or(&mut self, file: impl Into<String>, value: impl fmt::Display) -> &mut Write {
        self.candidates.push((file.into(), value.to_string()));
        self
    }

    fn optional(&mut self) -> &mut Write {
        self.optional = true;
        self
    }

    fn group(&mut self, name: &'static str) -> &mut Write {
        self.group = name;
        self
    }
}

/// Collects writes.
#[derive(Default)]
struct Writes(Vec<Write>);

impl Writes {
    fn add(
        &mut self,
        field: &str,
        controller: &str,
        file: impl Into<String>,
        value: impl fmt::Display,
    ) -> &mut Write {
        let write = Write {
            field: format!("linux.resources.{field}"),
            controller: controller.to_owned(),
            candidates: vec![(file.into(), value.to_string())],
            optional: false,
            keeps_first_word: false,
            group: "",
        };
        self.0.push(write);
        #[expect(clippy::expect_used, reason = "it was pushed just now")]
        self.0.last_mut().expect("there is one")
    }
}

/// The value unless it is absent or 0.
fn set<T: Copy + Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|v| *v != T::default())
}

fn unsupported(field: &str, why: &str) -> Error {
    Error::at_as(Kind::Unsupported, format!("linux.resources.{field}"), why)
}

fn invalid(field: &str, why: impl fmt::Display) -> Error {
    Error::at(format!("linux.resources.{field}"), why)
}

/// The text for `pids.max`.
fn pids(limit: i64) -> String {
    max_or(if limit == 0 { 1 } else { limit })
}

fn max_or(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

/// How readily memory is swapped out, in percent; engines send -1 for "as it is", in 64 bits without a sign.
fn swappiness(memory: &Memory) -> Result<Option<u64>> {
    match memory.swappiness {
        None | Some(u64::MAX) => Ok(None),
        Some(percent @ 0..=100) => Ok(Some(percent)),
        Some(other) => Err(invalid("memory.swappiness", format!("{other} is not between 0 and 100"))),
    }
}

/// Limit and swap as asked, once they fit each other. Swap counts memory too, as on v1.
fn memory_and_swap(memory: &Memory) -> Result<(Option<i64>, Option<i64>)> {
    let values = [("limit", memory.limit), ("swap", memory.swap), ("reservation", memory.reservation)];
    if let Some((name, Some(value))) = values.iter().find(|(_, value)| value.is_some_and(|v| v < -1)) {
        return Err(invalid(&format!("memory.{name}"), format!("{value} is neither bytes nor -1")));
    }
    let (limit, swap) = (set(memory.limit), set(memory.swap));
    match (limit, swap) {
        (None, Some(swap)) if swap > 0 => {
            Err(invalid("memory.swap", "unable to set swap limit without memory limit"))
        }
        (Some(-1), Some(swap)) if swap > 0 => {
            Err(invalid("memory.swap", "has no meaning with memory.limit -1"))
        }
        (Some(limit), Some(swap)) if swap > 0 && swap < limit => {
            Err(invalid("memory.swap", "memory+swap limit should be >= memory limit"))
        }
        // Who lifts the one and says nothing of the other means both.
        (Some(-1), None) => Ok((limit, Some(-1))),
        _ => Ok((limit, swap)),
    }
}

/// Reservations first, where the kernel has those (Linux 5.7), and then what is really faulted in. `files` are the
/// endings of the names, the likelier one first.
fn hugepages(limits: &[HugepageLimit], writes: &mut Writes, files: &[&str]) -> Result<()> {
    for (index, wish) in limits.iter().enumerate() {
        let (field, size) = (format!("hugepageLimits[{index}]"), wish.page_size.as_str());
        let digits = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit)).unwrap_or_default();
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !is_number || digits.starts_with('0') {
            return Err(invalid(
                &format!("{field}.pageSize"),
                format!("{size:?} is not a size like 64KB, 2MB, 1GB"),
            ));
        }
        for (counted, optional) in
            [(format!("hugetlb.{size}.rsvd"), true), (format!("hugetlb.{size}"), false)]
        {
            let candidates = files.iter().map(|file| (format!("{counted}.{file}"), wish.limit.to_string()));
            let write = writes.add(&field, "hugetlb", "", wish.limit);
            (write.candidates, write.optional) = (candidates.collect(), optional);
        }
    }
    Ok(())
}

fn rdma<'a>(devices: impl IntoIterator<Item = (&'a String, &'a Rdma)>, writes: &mut Writes) -> Result<()> {
    for (name, wish) in devices {
        let field = format!("rdma{}", bracketed(name));
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(invalid(&field, "is not a device name"));
        }
        let parts = [("hca_handle", wish.hca_handles), ("hca_object", wish.hca_objects)];
        let parts: Vec<String> =
            parts.iter().filter_map(|(key, value)| Some(format!("{key}={}", (*value)?))).collect();
        if parts.is_empty() {
            return Err(invalid(&field, "needs hcaHandles or hcaObjects"));
        }
        writes.add(&field, "rdma", "rdma.max", format!("{name} {}", parts.join(" ")));
    }
    Ok(())
}

/// A block device's two numbers as cgroup files take them.
fn device_number(field: &str, major: i64, minor: i64) -> Result<String> {
    match (u32::try_from(major), u32::try_from(minor)) {
        (Ok(major), Ok(minor)) => Ok(format!("{major}:{minor}")),
        _ => Err(invalid(field, format!("{major}:{minor} is not a device number"))),
    }
}

/// A weight that is in the range of the specification; 0 is none.
fn weight(field: &str, value: Option<u16>) -> Result<Option<u16>> {
    match set(value) {
        Some(weight) if !(10..=1000).contains(&weight) => {
            Err(invalid(field, format!("{weight} is not between 10 and 1000")))
        }
        other => Ok(other),
    }
}

/// An entry must have a weight or a leaf weight. 0 is what engines write for none.
fn some_weight(field: &str, device: &WeightDevice) -> Result<()> {
    match (device.weight, device.leaf_weight) {
        (None, None) => Err(invalid(field, "has neither a weight nor a leafWeight")),
        _ => Ok(()),
    }
}

/// One list of ceilings: its field, the list, the v1 file, the v2 key.
type Throttle<'a> = (&'static str, &'a [ThrottleDevice], &'static str, &'static str);

fn throttles(io: &BlockIo) -> [Throttle<'_>; 4] {
    [
        ("throttleReadBpsDevice", &io.throttle_read_bps_device, "blkio.throttle.read_bps_device", "rbps"),
        ("throttleWriteBpsDevice", &io.throttle_write_bps_device, "blkio.throttle.write_bps_device", "wbps"),
        ("throttleReadIOPSDevice", &io.throttle_read_iops_device, "blkio.throttle.read_iops_device", "riops"),
        (
            "throttleWriteIOPSDevice",
            &io.throttle_write_iops_device,
            "blkio.throttle.write_iops_device",
            "wiops",
        ),
    ]
}

#[cfg(test)]
mod tests;
