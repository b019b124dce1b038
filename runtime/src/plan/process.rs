//! The user's program: strings for execve, ids, limits and capability masks (config.md, "Process").

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::PathBuf;

use super::findings::Findings;
use super::scheduling::{self, Affinity, Scheduler};
use crate::error::{Error, Result};
use crate::spec;
use crate::sys::capabilities;

/// A program ready to be executed by whoever stands in the right namespaces.
#[derive(Debug, Clone)]
pub struct ProcessPlan {
    /// argv.
    pub args: Vec<CString>,
    /// The environment: the last of duplicates wins; HOME is added later, from the container's passwd.
    pub env: Vec<CString>,
    /// Absolute.
    pub cwd: PathBuf,
    /// Whether there is a terminal, and its first size (rows, columns).
    pub terminal: Option<Option<(u16, u16)>>,
    /// User and group id.
    pub user: (u32, u32),
    /// Supplementary groups; `None`: those of the runtime's caller.
    pub groups: Option<Vec<u32>>,
    /// umask(2), if it is to change.
    pub umask: Option<u32>,
    /// Resource, soft, hard.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// Capability masks; `None` leaves them alone.
    pub capabilities: Option<CapabilityMasks>,
    /// What the config asked for and this host does not know: logged, not refused (config.md, "capabilities").
    pub warnings: Vec<String>,
    /// prctl(2) PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// Written to oom_score_adj, if given.
    pub oom_score_adj: Option<i32>,
    /// For sched_setattr(2).
    pub scheduler: Option<Scheduler>,
    /// For ioprio_set(2).
    pub io_priority: Option<i32>,
    /// For sched_setaffinity(2), in `exec` alone.
    pub exec_affinity: Option<Affinity>,
    /// Empty: none is asked for.
    pub apparmor_profile: String,
    /// Empty: none is asked for.
    pub selinux_label: String,
}

/// The five sets as bit masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of capabilities(7)")]
pub struct CapabilityMasks {
    pub bounding: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub permitted: u64,
    pub ambient: u64,
}

/// Names of getrlimit(2) and the numbers of the generic Linux ABI (asm-generic/resource.h).
const RLIMITS: [(&str, u32); 16] = [
    ("RLIMIT_CPU", 0),
    ("RLIMIT_FSIZE", 1),
    ("RLIMIT_DATA", 2),
    ("RLIMIT_STACK", 3),
    ("RLIMIT_CORE", 4),
    ("RLIMIT_RSS", 5),
    ("RLIMIT_NPROC", 6),
    ("RLIMIT_NOFILE", 7),
    ("RLIMIT_MEMLOCK", 8),
    ("RLIMIT_AS", 9),
    ("RLIMIT_LOCKS", 10),
    ("RLIMIT_SIGPENDING", 11),
    ("RLIMIT_MSGQUEUE", 12),
    ("RLIMIT_NICE", 13),
    ("RLIMIT_RTPRIO", 14),
    ("RLIMIT_RTTIME", 15),
];

/// crun's annotation for containers that keep the supplementary groups of their caller, which podman's
/// `--group-add keep-groups` sets: an ordinary user can name those groups in no other way.
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

impl ProcessPlan {
    /// Takes from the container's annotations what they say of its processes.
    #[must_use]
    pub fn annotated(mut self, annotations: &BTreeMap<String, String>) -> ProcessPlan {
        if annotations.get(KEEP_GROUPS).is_some_and(|value| value == "1") {
            self.groups = None;
        }
        self
    }

    /// Resolves a `process` object.
    pub fn resolve(process: &spec::Process, findings: &mut Findings) -> ProcessPlan {
        if process.args.is_empty() {
            findings.push(Error::at("process.args", "must not be empty"));
        }
        if !process.cwd.is_absolute() {
            let message = format_args!("{:?} is not an absolute path", process.cwd);
            findings.push(Error::at("process.cwd", message));
        }
        check_user(&process.user, findings);
        let mut warnings = Vec::new();
        let capabilities = process.capabilities.as_ref().map(|sets| capability_masks(sets, &mut warnings));
        // The kernel's own width; nobody has a terminal of 65536 columns.
        let cells = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        let size = process.console_size.map(|s| (cells(s.height), cells(s.width)));
        ProcessPlan {
            args: c_strings("process.args", &process.args, findings),
            env: environment(&process.env, findings),
            cwd: process.cwd.clone(),
            terminal: process.terminal.then_some(size.filter(|size| *size != (0, 0))),
            user: (process.user.uid, process.user.gid),
            groups: Some(process.user.additional_gids.clone()),
            umask: process.user.umask,
            rlimits: rlimits(&process.rlimits, findings),
            capabilities,
            warnings,
            no_new_privileges: process.no_new_privileges,
            oom_score_adj: findings.keep(oom_score(process.oom_score_adj)),
            scheduler: process.scheduler.as_ref().map(|wish| scheduling::scheduler(wish, findings)),
            io_priority: findings.keep(process.io_priority.as_ref().map(scheduling::io_priority).transpose()),
            exec_affinity: findings
                .keep(process.exec_cpu_affinity.as_ref().map(scheduling::affinity).transpose()),
            apparmor_profile: process.apparmor_profile.clone(),
            selinux_label: process.selinux_label.clone(),
        }
    }

    /// The value of an environment variable.
    pub fn env_value(&self, name: &str) -> Option<&[u8]> {
        self.env.iter().find_map(|entry| entry.to_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }
}

fn c_strings(field: &str, list: &[String], findings: &mut Findings) -> Vec<CString> {
    let one = |(index, text): (usize, &String)| {
        let text = CString::new(text.as_str());
        findings.keep(text.map_err(|_| Error::at(format!("{field}[{index}]"), "holds a NUL")))
    };
    list.iter().enumerate().map(one).collect()
}

/// config.md, "Process": `env` is as environ(7), whose strings have the form name=value.
fn environment(list: &[String], findings: &mut Findings) -> Vec<CString> {
    for (index, entry) in list.iter().enumerate().filter(|(_, entry)| !matches!(entry.find('='), Some(1..))) {
        let message = format_args!("invalid environment variable {entry:?}: not of the form NAME=value");
        findings.push(Error::at(format!("process.env[{index}]"), message));
    }
    last_of_each(c_strings("process.env", list, findings))
}

/// As runc: of entries with one name the last counts, in the place of the last.
fn last_of_each(env: Vec<CString>) -> Vec<CString> {
    let mut seen = std::collections::BTreeSet::new();
    let mut is_first = |entry: &CString| {
        let name = entry.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
        seen.insert(name.to_owned())
    };
    let mut result: Vec<CString> = env.into_iter().rev().filter(&mut is_first).collect();
    result.reverse();
    result
}

fn check_user(user: &spec::User, findings: &mut Findings) {
    findings.keep(check_id("process.user.uid", user.uid));
    findings.keep(check_id("process.user.gid", user.gid));
    for (index, gid) in user.additional_gids.iter().enumerate() {
        findings.keep(check_id(&format!("process.user.additionalGids[{index}]"), *gid));
    }
    if let Some(mask) = user.umask.filter(|mask| *mask > 0o777) {
        // umask(2) would pass over the rest of it.
        findings.push(Error::at("process.user.umask", format_args!("{mask} is above 511, which is 0777")));
    }
}

/// The id, unless it is the one that stands for "no change" in setresuid(2) and chown(2).
pub(super) fn check_id(field: &str, id: u32) -> Result<u32> {
    match id {
        u32::MAX => Err(Error::at(field, format_args!("{id} is nobody's id: it stands for none"))),
        id => Ok(id),
    }
}

fn oom_score(score: Option<i32>) -> Result<Option<i32>> {
    match score {
        Some(score) if !(-1000..=1000).contains(&score) => {
            Err(Error::at("process.oomScoreAdj", format_args!("{score} is not within -1000 and 1000")))
        }
        score => Ok(score),
    }
}

/// The number of a resource (asm-generic/resource.h).
pub fn resource(name: &str) -> Option<u32> {
    RLIMITS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

fn rlimits(wishes: &[spec::Rlimit], findings: &mut Findings) -> Vec<(u32, u64, u64)> {
    let mut result: Vec<(u32, u64, u64)> = Vec::new();
    for (index, wish) in wishes.iter().enumerate() {
        let field = |name: &str| format!("process.rlimits[{index}].{name}");
        let Some(number) = resource(&wish.kind) else {
            findings.push(Error::at(field("type"), format_args!("unknown resource limit {:?}", wish.kind)));
            continue;
        };
        if result.iter().any(|(other, ..)| *other == number) {
            findings.push(Error::at(field("type"), format_args!("duplicate {}", wish.kind)));
        }
        if wish.soft > wish.hard {
            findings.push(Error::at(field("soft"), "is above hard"));
        }
        result.push((number, wish.soft, wish.hard));
    }
    result
}

fn capability_masks(sets: &spec::Capabilities, warnings: &mut Vec<String>) -> CapabilityMasks {
    let mut unknown = std::collections::BTreeSet::new();
    let mut mask = |names: &[String]| {
        let mut mask = 0;
        for name in names {
            match capabilities::mask_of(name) {
                Some(bit) => mask |= bit,
                None => drop(unknown.insert(name.clone())),
            }
        }
        mask
    };
    let (inheritable, permitted, ambient) =
        (mask(&sets.inheritable), mask(&sets.permitted), mask(&sets.ambient));
    let masks = CapabilityMasks {
        bounding: mask(&sets.bounding),
        effective: mask(&sets.effective),
        inheritable,
        permitted,
        ambient,
    };
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.into_iter().collect();
        warnings.push(format!("ignoring unknown or unavailable capabilities: [{}]", names.join(" ")));
    }
    // capabilities(7): the kernel refuses others.
    let allowed = inheritable & permitted;
    let refused = |name: &&&str| capabilities::mask_of(name).is_some_and(|bit| ambient & !allowed & bit != 0);
    for capability in capabilities::NAMES.iter().filter(refused) {
        let reason = "it is not both permitted and inheritable";
        warnings.push(format!("can't raise ambient capability {capability}: {reason}"));
    }
    CapabilityMasks { ambient: ambient & allowed, ..masks }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> spec::Process {
        spec::Process { args: vec!["sh".into()], cwd: "/".into(), ..Default::default() }
    }

    fn resolve(process: &spec::Process) -> Result<ProcessPlan> {
        let mut findings = Findings::default();
        let plan = ProcessPlan::resolve(process, &mut findings);
        findings.into_result().map(|()| plan)
    }

    #[test]
    fn variables_have_a_name_and_a_value() {
        for (entry, ok) in [("A=", true), ("A=b=c", true), ("A", false), ("=b", false), ("", false)] {
            let env = vec![entry.to_owned()];
            assert_eq!(resolve(&spec::Process { env, ..process() }).is_ok(), ok, "{entry:?}");
        }
    }

    #[test]
    fn last_of_duplicate_variables_wins() {
        let env = ["A=1", "B=2", "A=3"].map(String::from).to_vec();
        let plan = resolve(&spec::Process { env, ..process() }).unwrap();
        assert_eq!(plan.env, [c"B=2".to_owned(), c"A=3".to_owned()]);
        assert_eq!(plan.env_value("A"), Some(&b"3"[..]));
    }

    #[test]
    fn unknown_capability_is_a_warning() {
        let sets =
            spec::Capabilities { bounding: vec!["CAP_FOO".into(), "CAP_KILL".into()], ..Default::default() };
        let plan = resolve(&spec::Process { capabilities: Some(sets), ..process() }).unwrap();
        assert_eq!(plan.capabilities.unwrap().bounding, 1 << 5);
        assert_eq!(plan.warnings, ["ignoring unknown or unavailable capabilities: [CAP_FOO]"]);
    }

    #[test]
    fn duplicate_rlimits_are_refused() {
        let limit = spec::Rlimit { kind: "RLIMIT_CORE".into(), hard: 1, soft: 1 };
        let error = resolve(&spec::Process { rlimits: vec![limit.clone(), limit], ..process() });
        assert!(error.unwrap_err().to_string().contains("process.rlimits[1].type: duplicate RLIMIT_CORE"));
    }
}
