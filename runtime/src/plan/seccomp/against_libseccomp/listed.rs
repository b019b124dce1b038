//! The specification's own words for a filter, and where libseccomp, or runc with it, says something else.

use super::{Reference, default_of};
use crate::fuzzing::models::{Call, answer};
use crate::plan::seccomp::tables::Arch;
use crate::plan::seccomp::{ENOSYS, RET_ERRNO, action, is_stricter};
use crate::spec;

/// Whether a condition holds, by the specification's words (config-linux.md, "Seccomp").
pub fn holds(arg: &spec::SyscallArg, args: &[u64; 6], is_32_bit: bool) -> bool {
    let cut = |number: u64| if is_32_bit { number & 0xffff_ffff } else { number };
    let (value, a, b) = (cut(args[arg.index as usize]), cut(arg.value), cut(arg.value_two));
    match arg.op.as_str() {
        "SCMP_CMP_EQ" => value == a,
        "SCMP_CMP_NE" => value != a,
        "SCMP_CMP_GT" => value > a,
        "SCMP_CMP_GE" => value >= a,
        "SCMP_CMP_LT" => value < a,
        "SCMP_CMP_LE" => value <= a,
        _ => value & a == b & a,
    }
}

/// The alternatives that a rule with conditions is: all of them at once, or where an argument is named twice, each.
pub fn alternatives(rule: &spec::SyscallRule) -> Vec<&[spec::SyscallArg]> {
    let repeated =
        rule.args.iter().enumerate().any(|(at, a)| rule.args[..at].iter().any(|b| a.index == b.index));
    if repeated { rule.args.chunks(1).collect() } else { vec![&rule.args[..]] }
}

/// What the rules say of a call, in their order: the answers of those that hold, the same one once.
pub fn said(profile: &spec::Seccomp, arch: Arch, call: &Call) -> Vec<u32> {
    let default = default_of(profile);
    let (mut conditional, mut always) = (Vec::new(), None);
    for rule in &profile.syscalls {
        let ret = action("a", &rule.action, rule.errno_ret).unwrap();
        if ret == default {
            continue;
        }
        let all = |list: &[spec::SyscallArg]| list.iter().all(|arg| holds(arg, &call.args, arch.is_32_bit()));
        let named = rule.names.iter().any(|name| arch.number(name) == Some(call.number));
        if named && rule.args.is_empty() {
            always = always.or(Some(ret));
        }
        let behind = rule.names.iter().any(|name| is_behind(name, arch, call));
        let hidden = behind && (rule.args.is_empty() || is_stricter(ret, default));
        let held = named && !rule.args.is_empty() && alternatives(rule).into_iter().any(all);
        if (held || hidden) && !conditional.contains(&ret) {
            conditional.push(ret);
        }
    }
    always.map_or(conditional, |ret| vec![ret])
}

pub fn is_behind(name: &str, arch: Arch, call: &Call) -> bool {
    arch.multiplexed(name) == Some((call.number, call.args[0] as u32))
}

/// Where a filter of libseccomp, as runc installs it, may answer otherwise than ours; docs/behaviour-notes.md has the
/// reasons. Ours must then say what the specification's words say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listed {
    /// runc's stub does not count i386 calls that socketcall(2) and ipc(2) have too, and so says ENOSYS to them.
    BehindMultiplexersNotCounted,
    /// Of several rules that hold for a call and differ in what they say, ours obeys the first.
    Contradiction,
    /// libseccomp puts the comparisons of one argument by several rules into a tree, and loses some of them.
    LostComparison,
    /// Conditions on a call behind socketcall(2) or ipc(2), whose registers do not hold the call's arguments.
    HiddenCondition,
    /// libseccomp's program for an architecture forgets to load the number, and compares something else.
    NumberNotLoaded,
}

/// Why this answer of ours may be another than the reference's, if it may.
pub fn listed(
    profile: &spec::Seccomp,
    arch: Arch,
    call: &Call,
    reference: &Reference,
    ours: u32,
) -> Option<Listed> {
    if arch == Arch::X86 && ours == counting_those_behind(profile, call, reference) {
        return Some(Listed::BehindMultiplexersNotCounted);
    }
    let held = said(profile, arch, call);
    if ours != held.first().copied().unwrap_or(default_of(profile)) {
        return None;
    }
    let rules = || profile.syscalls.iter().flat_map(|rule| rule.names.iter().map(move |name| (rule, name)));
    let mut compared: Vec<u32> = rules()
        .filter(|(_, name)| arch.number(name) == Some(call.number))
        .flat_map(|(rule, _)| rule.args.iter().map(|arg| arg.index))
        .collect();
    compared.sort_unstable();
    let of_number = |number| answer(&reference.program, &Call { number, ..*call });
    if held.len() > 1 {
        Some(Listed::Contradiction)
    } else if compared.windows(2).any(|pair| pair[0] == pair[1]) {
        Some(Listed::LostComparison)
    } else if rules().any(|(rule, name)| !rule.args.is_empty() && is_behind(name, arch, call)) {
        Some(Listed::HiddenCondition)
    } else if held.len() == 1 && (0..1024).all(|number| of_number(number) == of_number(call.number)) {
        Some(Listed::NumberNotLoaded)
    } else {
        None
    }
}

/// The reference's answer if its stub counted the i386 calls behind others with their own numbers.
fn counting_those_behind(profile: &spec::Seccomp, call: &Call, reference: &Reference) -> u32 {
    let direct = |name: &String| {
        let (multiplexer, _) = Arch::X86.multiplexed(name)?;
        Some(Arch::X86.number(name).unwrap_or(multiplexer))
    };
    let behind = profile.syscalls.iter().flat_map(|rule| &rule.names).filter_map(direct).max();
    let stub = reference.last.as_ref().and_then(|last| last.get("x86").copied().max(behind));
    match stub {
        Some(last) if call.number > last => RET_ERRNO | ENOSYS,
        _ => answer(&reference.program, call),
    }
}
