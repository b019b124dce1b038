//! The user's program: strings for execve, ids, limits and capability masks (config.md, "Process").

use std::ffi::CString;
use std::path::PathBuf;
use std::str::FromStr as _;

use crate::error::{Context, Error, Result};
use crate::spec;

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
    /// Supplementary groups.
    pub groups: Vec<u32>,
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

impl ProcessPlan {
    /// Resolves a `process` object.
    pub fn resolve(process: &spec::Process) -> Result<ProcessPlan> {
        super::support::refuse_in_process(process)?;
        if process.args.is_empty() {
            return Err(Error::invalid("process.args: must not be empty"));
        }
        if !process.cwd.is_absolute() {
            return Err(Error::invalid(format!("process.cwd: {:?} is not an absolute path", process.cwd)));
        }
        let mut warnings = Vec::new();
        let capabilities = process.capabilities.as_ref().map(|sets| capability_masks(sets, &mut warnings));
        Ok(ProcessPlan {
            args: c_strings("process.args", &process.args)?,
            env: c_strings("process.env", &last_of_each(&process.env))?,
            cwd: process.cwd.clone(),
            terminal: process
                .terminal
                .then(|| process.console_size.map(|s| (s.height, s.width)).filter(|size| *size != (0, 0))),
            user: (process.user.uid, process.user.gid),
            groups: process.user.additional_gids.clone(),
            umask: process.user.umask,
            rlimits: rlimits(&process.rlimits)?,
            capabilities,
            warnings,
            no_new_privileges: process.no_new_privileges,
            oom_score_adj: process.oom_score_adj,
        })
    }

    /// The value of an environment variable.
    pub fn env_value(&self, name: &str) -> Option<&[u8]> {
        self.env.iter().find_map(|entry| entry.to_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }
}

fn c_strings(field: &str, list: &[String]) -> Result<Vec<CString>> {
    list.iter()
        .map(|text| CString::new(text.as_str()).map_err(|_| Error::invalid(format!("{text:?} holds a NUL"))))
        .collect::<Result<_>>()
        .context(field)
}

/// As runc: of entries with one name the last counts, in the place of the last.
fn last_of_each(env: &[String]) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut seen = std::collections::HashSet::new();
    let mut result: Vec<String> =
        env.iter().rev().filter(|entry| seen.insert(name(entry))).cloned().collect();
    result.reverse();
    result
}

fn rlimits(wishes: &[spec::Rlimit]) -> Result<Vec<(u32, u64, u64)>> {
    let mut result: Vec<(u32, u64, u64)> = Vec::new();
    for (index, wish) in wishes.iter().enumerate() {
        let field = format!("process.rlimits[{index}]");
        let Some((_, number)) = RLIMITS.iter().find(|(name, _)| *name == wish.kind) else {
            return Err(Error::invalid(format!("{field}.type: unknown resource limit {:?}", wish.kind)));
        };
        if result.iter().any(|(other, ..)| other == number) {
            return Err(Error::invalid(format!("{field}.type: duplicate {}", wish.kind)));
        }
        if wish.soft > wish.hard {
            return Err(Error::invalid(format!("{field}.soft: is above hard")));
        }
        result.push((*number, wish.soft, wish.hard));
    }
    Ok(result)
}

fn capability_masks(sets: &spec::Capabilities, warnings: &mut Vec<String>) -> CapabilityMasks {
    let mut mask = |names: &[String]| {
        let mut mask = 0;
        for name in names {
            match caps::Capability::from_str(name) {
                Ok(capability) => mask |= 1 << capability.index(),
                Err(_) => warnings.push(format!("ignoring unknown capability {name:?}")),
            }
        }
        mask
    };
    CapabilityMasks {
        bounding: mask(&sets.bounding),
        effective: mask(&sets.effective),
        inheritable: mask(&sets.inheritable),
        permitted: mask(&sets.permitted),
        ambient: mask(&sets.ambient),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> spec::Process {
        spec::Process { args: vec!["sh".into()], cwd: "/".into(), ..Default::default() }
    }

    #[test]
    fn last_of_duplicate_variables_wins() {
        let env = ["A=1", "B=2", "A=3"].map(String::from).to_vec();
        let plan = ProcessPlan::resolve(&spec::Process { env, ..process() }).unwrap();
        assert_eq!(plan.env, [c"B=2".to_owned(), c"A=3".to_owned()]);
        assert_eq!(plan.env_value("A"), Some(&b"3"[..]));
    }

    #[test]
    fn unknown_capability_is_a_warning() {
        let sets =
            spec::Capabilities { bounding: vec!["CAP_FOO".into(), "CAP_KILL".into()], ..Default::default() };
        let plan = ProcessPlan::resolve(&spec::Process { capabilities: Some(sets), ..process() }).unwrap();
        assert_eq!(plan.capabilities.unwrap().bounding, 1 << 5);
        assert_eq!(plan.warnings, ["ignoring unknown capability \"CAP_FOO\""]);
    }

    #[test]
    fn duplicate_rlimits_are_refused() {
        let limit = spec::Rlimit { kind: "RLIMIT_CORE".into(), hard: 1, soft: 1 };
        let error = ProcessPlan::resolve(&spec::Process { rlimits: vec![limit.clone(), limit], ..process() });
        assert!(error.unwrap_err().to_string().contains("process.rlimits[1].type: duplicate RLIMIT_CORE"));
    }
}
