//! `linux.seccomp` to a classic BPF program (seccomp(2)), equal in effect to what libseccomp makes of it.
//!
//! For each architecture the numbers of all named calls are sorted into ranges with one answer each, and the
//! program is a binary search over them: some ten steps a call instead of one comparison per rule, and the
//! kernel installs it several times faster than a linear one. `seccompiler` can't express several
//! architectures, several actions or x32, so it is not used (docs/decisions/0003).

mod conditions;
mod tables;
mod tree;

use std::collections::BTreeMap;

use super::findings::Findings;
use crate::error::{Error, Result};
use crate::spec;
use conditions::Condition;
use tables::Arch;

pub use conditions::OPERATORS;
pub use tables::architectures;

/// One classic BPF instruction (`struct sock_filter`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
#[allow(missing_docs, reason = "the names of linux/filter.h")]
pub struct Instruction {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

/// A filter ready to be loaded.
#[derive(Debug, Clone)]
pub struct Program {
    /// At most 4096 (BPF_MAXINSNS).
    pub instructions: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`, as the kernel gets them.
    pub flags: u32,
}

impl Program {
    /// Whether a system call can go to an agent.
    pub const fn notifies(&self) -> bool {
        self.flags & NEW_LISTENER != 0
    }
}

/// The answers of one architecture.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// By system call number; numbers in between get the default.
    pub(crate) answers: BTreeMap<u32, Answer>,
    /// From this number on, above all others, calls are newer than the profile and get ENOSYS.
    pub(crate) newer_from: Option<u32>,
}

/// What one system call number gets: the first alternative whose conditions all hold, else `otherwise`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) alternatives: Vec<(Vec<Condition>, u32)>,
    pub(crate) otherwise: u32,
}

const RET_ALLOW: u32 = 0x7fff_0000;
const RET_LOG: u32 = 0x7ffc_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_TRACE: u32 = 0x7ff0_0000;
const RET_NOTIFY: u32 = 0x7fc0_0000;
const EPERM: u32 = libc::EPERM as u32;
const ENOSYS: u32 = libc::ENOSYS as u32;

/// Finds everything that is wrong with the wishes.
pub fn check(seccomp: &spec::Seccomp, findings: &mut Findings) {
    let field = |name: &str| format!("linux.seccomp.{name}");
    let default = action(&field("defaultAction"), &seccomp.default_action, seccomp.default_errno_ret);
    if findings.keep(default) == RET_NOTIFY {
        // Our own calls on the way to execve would wait for an agent that does not have them yet.
        findings.push(Error::at(field("defaultAction"), "SCMP_ACT_NOTIFY cannot be used as default action"));
    }
    for (index, name) in seccomp.architectures.iter().enumerate() {
        findings.keep(Arch::parse(&field(&format!("architectures[{index}]")), name));
    }
    for (index, name) in seccomp.flags.iter().flatten().enumerate() {
        findings.keep(flag(index, name));
    }
    for (index, rule) in seccomp.syscalls.iter().enumerate() {
        let field = field(&format!("syscalls[{index}]"));
        if rule.names.is_empty() {
            findings.push(Error::at(format!("{field}.names"), "must not be empty"));
        }
        findings.keep(action(&format!("{field}.action"), &rule.action, rule.errno_ret));
        if rule.action == NOTIFY && rule.names.iter().any(|name| name == "write") {
            findings.push(Error::at(field.as_str(), "SCMP_ACT_NOTIFY cannot be used for the write syscall"));
        }
        for (at, arg) in rule.args.iter().enumerate() {
            conditions::check(&format!("{field}.args[{at}]"), arg, findings);
        }
    }
    if notifies(seccomp) && seccomp.listener_path.is_empty() {
        findings.push(Error::at(field("listenerPath"), "SCMP_ACT_NOTIFY needs one"));
    }
    if !seccomp.listener_metadata.is_empty() && seccomp.listener_path.is_empty() {
        findings.push(Error::at(field("listenerMetadata"), "needs a listenerPath"));
    }
}

fn notifies(seccomp: &spec::Seccomp) -> bool {
    seccomp.syscalls.iter().any(|rule| rule.action == NOTIFY)
}

/// Compiles the filter.
pub fn compile(seccomp: &spec::Seccomp) -> Result<Program> {
    let mut findings = Findings::default();
    check(seccomp, &mut findings);
    findings.into_result()?;
    let mut architectures = vec![Arch::NATIVE];
    for name in &seccomp.architectures {
        if let Some(arch) = Arch::parse("linux.seccomp.architectures", name)?
            && !architectures.contains(&arch)
        {
            architectures.push(arch);
        }
    }
    compile_for(&architectures, seccomp)
}

/// The same for these architectures.
fn compile_for(architectures: &[Arch], seccomp: &spec::Seccomp) -> Result<Program> {
    let default = action("linux.seccomp.defaultAction", &seccomp.default_action, seccomp.default_errno_ret)?;
    let mut maps = Vec::new();
    for &arch in architectures {
        maps.push((arch, answers(arch, seccomp, default)?));
    }
    let instructions = tree::assemble(&maps, default);
    if instructions.len() > 4096 {
        return Err(Error::at("linux.seccomp", "the filter is too long for the kernel (4096 instructions)"));
    }
    Ok(Program { instructions, flags: flags(seccomp.flags.as_deref(), notifies(seccomp))? })
}

/// The answers of one architecture. Numbers after the last named call get ENOSYS: calls newer than the profile
/// should look as if the kernel did not have them, so that the C library falls back to older ones (runc's rule).
fn answers(arch: Arch, seccomp: &spec::Seccomp, default: u32) -> Result<Table> {
    let mut map: BTreeMap<u32, Answer> = BTreeMap::new();
    let mut last = None;
    for (index, rule) in seccomp.syscalls.iter().enumerate() {
        let field = format!("linux.seccomp.syscalls[{index}]");
        let ret = action(&format!("{field}.action"), &rule.action, rule.errno_ret)?;
        let alternatives = conditions::resolve(&field, &rule.args, arch.is_32_bit())?;
        for name in &rule.names {
            let number = arch.number(name);
            last = last.max(number);
            if ret == default {
                continue;
            }
            if let Some(number) = number {
                add(map.entry(number).or_insert_with(|| answer(default)), &alternatives, (ret, default));
            }
            if let Some((multiplexer, call)) = arch.multiplexed(name)
                && (rule.args.is_empty() || is_stricter(ret, default))
            {
                let first_argument = vec![vec![Condition::equal(0, u64::from(call))]];
                add(
                    map.entry(multiplexer).or_insert_with(|| answer(default)),
                    &first_argument,
                    (ret, default),
                );
            }
        }
    }
    let permissive = matches!(default, RET_ALLOW | RET_LOG) || default & 0xffff_0000 == RET_TRACE;
    let silent = permissive || default == RET_ERRNO | ENOSYS;
    let newest = last.max(map.keys().next_back().copied());
    Ok(Table {
        answers: map,
        newer_from: newest
            .filter(|_| !silent && last.is_some_and(|last| last > 0))
            .map(|number| number.saturating_add(1)),
    })
}

/// Whether the kernel would choose the first of two answers (seccomp(2): they are numbers with a sign, the lower wins).
/// A multiplexer's arguments are where no filter sees them, so that is what a rule with conditions comes to there.
fn is_stricter(ret: u32, than: u32) -> bool {
    let rank = |ret: u32| (ret & 0xffff_0000).cast_signed();
    rank(ret) < rank(than)
}

fn answer(otherwise: u32) -> Answer {
    Answer { alternatives: Vec::new(), otherwise }
}

/// Adds a rule. The first one without conditions beats all others, whatever their order, as with libseccomp.
fn add(answer: &mut Answer, alternatives: &[Vec<Condition>], (ret, default): (u32, u32)) {
    if answer.otherwise != default {
        return;
    }
    if alternatives.is_empty() {
        *answer = self::answer(ret);
    } else {
        answer.alternatives.extend(alternatives.iter().map(|conditions| (conditions.clone(), ret)));
    }
}

/// An action's return value for the kernel (linux/seccomp.h).
fn action(field: &str, name: &str, errno: Option<u32>) -> Result<u32> {
    if let Some(errno) = errno.filter(|errno| *errno > 0xffff) {
        return Err(Error::at(field, format_args!("errnoRet {errno} is above 65535")));
    }
    let Some((_, value)) = ACTIONS.iter().find(|(known, _)| *known == name) else {
        return Err(Error::at(field, format_args!("unknown action {name:?}")));
    };
    match errno {
        errno if matches!(*value, RET_ERRNO | RET_TRACE) => Ok(value | errno.unwrap_or(EPERM)),
        Some(errno) => Err(Error::at(field, format_args!("{name} takes no errno (errnoRet is {errno})"))),
        None => Ok(*value),
    }
}

/// The actions and their return values (linux/seccomp.h).
pub const ACTIONS: [(&str, u32); 9] = [
    ("SCMP_ACT_ALLOW", RET_ALLOW),
    ("SCMP_ACT_ERRNO", RET_ERRNO),
    ("SCMP_ACT_KILL", 0),
    ("SCMP_ACT_KILL_PROCESS", 0x8000_0000),
    ("SCMP_ACT_KILL_THREAD", 0),
    ("SCMP_ACT_LOG", RET_LOG),
    (NOTIFY, RET_NOTIFY),
    ("SCMP_ACT_TRACE", RET_TRACE),
    ("SCMP_ACT_TRAP", 0x0003_0000),
];

/// The action that sends a call to an agent.
const NOTIFY: &str = "SCMP_ACT_NOTIFY";

/// The flags of seccomp(2) that a config can name.
pub const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_LOG", 2),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", 4),
    ("SECCOMP_FILTER_FLAG_TSYNC", 1),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 32),
];

fn flag(index: usize, name: &str) -> Result<u32> {
    let found = FLAGS.iter().find(|(known, _)| *known == name);
    found.map(|(_, flag)| *flag).ok_or_else(|| {
        Error::at(format!("linux.seccomp.flags[{index}]"), format_args!("unknown flag {name:?}"))
    })
}

/// Nobody asks for it by name: an action that notifies needs it.
const NEW_LISTENER: u32 = 8;

fn flags(names: Option<&[String]>, notifies: bool) -> Result<u32> {
    let mut flags = if notifies { NEW_LISTENER } else { 0 };
    // As runc: the mitigation costs more than it gives.
    let Some(names) = names else { return Ok(flags | 4) };
    for (index, name) in names.iter().enumerate() {
        let flag = flag(index, name)?;
        match flag {
            // This program has one thread: to set the filter on all would change nothing.
            1 => {}
            // It says how a notification is waited for; without a listener the kernel refuses it.
            32 if !notifies => {}
            flag => flags |= flag,
        }
    }
    Ok(flags)
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod against_libseccomp;
#[cfg(test)]
mod tests;
