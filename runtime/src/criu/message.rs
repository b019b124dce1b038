//! criu's messages: the field numbers of its `images/rpc.proto`, by names of ours.
//!
//! Options are written straight into the message: each is named by an enumeration whose values are the field
//! numbers, so there is one list of them and not two.

use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::wire::{Writer, fields};
use crate::error::Result;

/// `criu_req_type`: what is asked, and what an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "criu's own words")]
pub enum Type {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

/// The name of a type as criu and runc print it.
pub fn type_name(number: i32) -> String {
    const NAMES: [&str; 14] = [
        "EMPTY",
        "DUMP",
        "RESTORE",
        "CHECK",
        "PRE_DUMP",
        "PAGE_SERVER",
        "NOTIFY",
        "CPUINFO_DUMP",
        "CPUINFO_CHECK",
        "FEATURE_CHECK",
        "VERSION",
        "WAIT_PID",
        "PAGE_SERVER_CHLD",
        "SINGLE_PRE_DUMP",
    ];
    let name = usize::try_from(number).ok().and_then(|index| NAMES.get(index));
    name.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// Options that are on or off; `criu_opts`' field numbers.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "criu(8) has options of these names")]
pub enum Flag {
    LeaveRunning = 3,
    ExtUnixSk = 4,
    TcpEstablished = 5,
    EvasiveDevices = 6,
    ShellJob = 7,
    FileLocks = 8,
    NotifyScripts = 12,
    TrackMem = 15,
    AutoDedup = 16,
    LinkRemap = 18,
    ManageCgroups = 24,
    RestoreSibling = 26,
    TcpSkipInFlight = 46,
    LazyPages = 48,
    OrphanPtsMaster = 50,
}

/// Options that are numbers.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "criu(8) has options of these names")]
pub enum Number {
    Pid = 2,
    LogLevel = 9,
    ManageCgroupsMode = 34,
    EmptyNs = 38,
}

/// Options that are folders, by our descriptor: criu opens them through our /proc/PID/fd.
#[derive(Debug, Clone, Copy)]
pub enum Folder {
    /// Where the images are.
    Images = 1,
    /// Where the log is written.
    Work = 17,
}

/// Options that are text.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "criu(8) has options of these names")]
pub enum Text {
    LogFile = 10,
    Root = 13,
    ParentImg = 14,
    External = 37,
    FreezeCgroup = 44,
    ConfigFile = 51,
    LsmProfile = 53,
    LsmMountContext = 63,
}

/// `criu_cg_mode`: what of the control groups is saved and restored (criu(8), `--manage-cgroups`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "criu(8) describes each")]
pub enum CgroupMode {
    Ignore = 0,
    Soft = 3,
    Full = 4,
    Strict = 5,
    Default = 6,
}

/// `criu_opts`.
#[derive(Debug, Default, Clone)]
pub struct Options(Writer);

impl Options {
    /// Sets a flag; what is off by default need not be told.
    pub fn flag(&mut self, flag: Flag, on: bool) {
        if on {
            self.0.number(flag as u32, 1);
        }
    }

    /// Sets a number.
    pub fn number(&mut self, option: Number, value: i32) {
        self.0.number(option as u32, i64::from(value) as u64);
    }

    /// Sets a folder.
    pub fn folder(&mut self, option: Folder, folder: BorrowedFd<'_>) {
        self.0.number(option as u32, folder.as_raw_fd() as u64);
    }

    /// Sets a text, or adds one to those that can be repeated.
    pub fn text(&mut self, option: Text, value: impl AsRef<Path>) {
        self.0.bytes(option as u32, value.as_ref().as_os_str().as_bytes());
    }

    /// Has memory sent to a page server.
    pub fn page_server(&mut self, address: &str, port: u16) {
        let mut server = Writer::default();
        server.bytes(1, address.as_bytes());
        server.number(2, u64::from(port));
        self.0.message(11, &server);
    }

    /// Puts the control groups of one v1 controller (or, with an empty name, of v2) below `path`.
    pub fn cgroup_root(&mut self, controller: &str, path: &str) {
        let mut root = Writer::default();
        root.bytes(1, controller.as_bytes());
        root.bytes(2, path.as_bytes());
        self.0.message(25, &root);
    }

    /// Puts `fd` in the place of the file that the images call `key`.
    pub fn inherit(&mut self, key: &str, fd: BorrowedFd<'_>) {
        let mut inherited = Writer::default();
        inherited.bytes(1, key.as_bytes());
        inherited.number(2, fd.as_raw_fd() as u64);
        self.0.message(27, &inherited);
    }

    /// Has the restored processes join a namespace: `net`, `ipc`, `uts`, `user`, `time`.
    pub fn join_namespace(&mut self, kind: &str, path: &Path) {
        let mut joined = Writer::default();
        joined.bytes(1, kind.as_bytes());
        joined.bytes(2, path.as_os_str().as_bytes());
        self.0.message(39, &joined);
    }
}

/// What criu and the kernel may or may not be able to do (`criu_features`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Follow which memory has been written: what `--pre-dump` saves by.
    MemTrack = 1,
    /// Restore memory when it is touched.
    LazyPages = 2,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// What is asked.
    pub kind: Type,
    message: Writer,
}

impl Request {
    fn new(kind: Type) -> Request {
        let mut message = Writer::default();
        message.number(1, kind as u64);
        Request { kind, message }
    }

    /// Asks for criu's version.
    pub fn version() -> Request {
        Request::new(Type::Version)
    }

    /// Asks whether a feature is there.
    pub fn feature(feature: Feature) -> Request {
        let mut request = Request::new(Type::FeatureCheck);
        let mut features = Writer::default();
        features.number(feature as u32, 1);
        request.message.message(5, &features);
        request
    }

    /// Asks for a dump or a restore.
    pub fn with_options(kind: Type, options: &Options) -> Request {
        let mut request = Request::new(kind);
        request.message.message(2, &options.0);
        request
    }

    /// Answers a notification.
    pub fn consent(go_on: bool) -> Request {
        let mut request = Request::new(Type::Notify);
        request.message.number(3, u64::from(go_on));
        request
    }

    /// The encoded message.
    pub fn as_bytes(&self) -> &[u8] {
        self.message.as_bytes()
    }
}

/// `criu_resp`, flat.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// What it answers, see [`Type`].
    pub kind: i32,
    /// Whether it went well.
    pub success: bool,
    /// The cause, an error number of the system; 0 if criu has none.
    pub errno: i32,
    /// The cause in words, if criu has any.
    pub message: String,
    /// What a notification is about.
    pub script: String,
    /// The restored init, in some notifications.
    pub pid: i32,
    /// Field numbers of the features that are there.
    pub features: Vec<u32>,
    /// Major × 10000 + minor × 100 + sublevel.
    pub version: i32,
}

impl Response {
    /// Decodes one.
    pub fn decode(packet: &[u8]) -> Result<Response> {
        let mut response = Response::default();
        for (field, value) in fields(packet)? {
            match field {
                1 => response.kind = value.int(),
                2 => response.success = value.is_true(),
                5 => {
                    for (field, value) in fields(value.bytes())? {
                        match field {
                            1 => response.script = value.text(),
                            2 => response.pid = value.int(),
                            _ => {}
                        }
                    }
                }
                7 => response.errno = value.int(),
                8 => {
                    let there = fields(value.bytes())?.into_iter().filter(|(_, value)| value.is_true());
                    response.features = there.map(|(field, _)| field).collect();
                }
                9 => response.message = value.text(),
                10 => {
                    for (field, value) in fields(value.bytes())? {
                        let weight = match field {
                            1 => 10_000,
                            2 => 100,
                            4 => 1,
                            _ => 0,
                        };
                        response.version =
                            response.version.saturating_add(value.int().saturating_mul(weight));
                    }
                }
                _ => {}
            }
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_real_criu_are_understood() {
        // What Debian's criu 3.17.1 sent: to VERSION, and to a FEATURE_CHECK on a kernel it can't handle.
        let version = Response::decode(b"\x08\x0a\x10\x01\x52\x06\x08\x03\x10\x11\x20\x01").unwrap();
        assert_eq!((version.kind, version.success, version.version), (Type::Version as i32, true, 31_701));
        let refusal = Response::decode(b"\x08\x09\x10\x00").unwrap();
        assert_eq!((type_name(refusal.kind).as_str(), refusal.success), ("FEATURE_CHECK", false));
    }

    #[test]
    fn requests_hold_what_was_set() {
        let mut options = Options::default();
        options.flag(Flag::ShellJob, true);
        options.flag(Flag::LeaveRunning, false);
        options.text(Text::External, "mnt[/a]:/b");
        options.number(Number::Pid, 7);
        let request = Request::with_options(Type::Dump, &options);
        assert_eq!(request.as_bytes(), b"\x08\x01\x12\x11\x38\x01\xaa\x02\x0amnt[/a]:/b\x10\x07");
    }
}
