//! The two compilers: of system call filters, and of device rules.

use super::choices::Choices;
use super::models::{Access, Call, Controller, allows, answer, kernel_takes, verify};
use crate::plan::resources::devices::{Exceptions, program, resolve};
use crate::plan::seccomp::{ACTIONS, FLAGS, OPERATORS, compile};
use crate::spec::{DeviceRule, Seccomp, SyscallArg, SyscallRule};

/// Calls of all sorts: old and new ones, those that i386 has behind another, those that x32 numbers anew or does
/// not have, and one that nobody has.
const NAMES: [&str; 16] = [
    "read",
    "write",
    "clone",
    "personality",
    "socket",
    "accept4",
    "semop",
    "shmat",
    "execve",
    "uselib",
    "ptrace",
    "clone3",
    "openat2",
    "mseal",
    "socketcall",
    "no_such_call",
];
const ARCHITECTURES: [&str; 6] = [
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_NATIVE",
    "SCMP_ARCH_PDP11",
];

/// A filter: whatever compiles is taken by the kernel, and has an answer to every call.
pub fn seccomp(input: &[u8]) {
    let mut choices = Choices(input);
    let profile = profile(&mut choices);
    let Ok(program) = compile(&profile) else { return };
    kernel_takes(&program);
    for arch in [0xc000_003e, 0x4000_0003, 0xc000_00b7, 0] {
        for number in [0, 1, 56, 101, 102, 117, 435, 462, 0x4000_0000, 0x4000_0208, 0x4000_03ff, u32::MAX] {
            let args = std::array::from_fn(|_| choices.number());
            let ret = answer(&program, &Call { arch, number, args });
            assert!(ACTIONS.iter().any(|(_, action)| ret & 0xffff_0000 == *action), "{ret:#x}");
        }
    }
}

fn profile(choices: &mut Choices<'_>) -> Seccomp {
    let action = |choices: &mut Choices<'_>| ACTIONS[choices.below(ACTIONS.len())].0.to_owned();
    let errno = |choices: &mut Choices<'_>| match choices.below(4) {
        0 => Some(choices.id()),
        _ => None,
    };
    let mut profile = Seccomp {
        default_action: action(choices),
        default_errno_ret: errno(choices),
        architectures: (0..choices.below(4)).map(|_| choices.one(&ARCHITECTURES).to_owned()).collect(),
        flags: choices.coin().then(|| vec![FLAGS[choices.below(FLAGS.len())].0.to_owned()]),
        listener_path: "/agent".to_owned(),
        ..Seccomp::default()
    };
    while !choices.is_empty() && profile.syscalls.len() < 200 {
        profile.syscalls.push(SyscallRule {
            names: (0..=choices.below(4)).map(|_| choices.one(&NAMES).to_owned()).collect(),
            action: action(choices),
            errno_ret: errno(choices),
            args: (0..choices.below(5))
                .map(|_| SyscallArg {
                    index: choices.below(7) as u32,
                    value: choices.number(),
                    value_two: choices.number(),
                    op: OPERATORS[choices.below(OPERATORS.len())].0.to_owned(),
                })
                .collect(),
        });
    }
    profile
}

/// Device rules: the program, and v1's lists where they can hold them, decide as the last rule that matches.
pub fn devices(input: &[u8]) {
    let mut choices = Choices(input);
    let first = rules(&mut choices);
    let second = rules(&mut choices);
    let mut in_force: Option<(Controller, Exceptions)> = None;
    for wishes in [first, second] {
        let Ok(resolved) = resolve(&wishes) else { continue };
        let code = program(&resolved);
        verify(&code);
        let exceptions = Exceptions::follow(&resolved).ok();
        if let Some(exceptions) = exceptions {
            let (mut controller, writes) = match in_force.take() {
                // As `update` does it: from the lists that are there.
                Some((controller, old)) => (controller, old.writes_to(&exceptions)),
                None => (Controller::default(), exceptions.writes()),
            };
            writes.iter().for_each(|(file, line)| controller.write(file, line));
            in_force = Some((controller, exceptions));
        }
        for access in accesses(&wishes) {
            let expected = is_allowed(&wishes, access);
            assert_eq!(allows(&code, access), expected, "{access:?} {wishes:?}");
            // The kernel asks for mknod alone, never with the others.
            if let (Some((controller, exceptions)), true) = (&in_force, access.3 == 1 || access.3 & 1 == 0)
                && Exceptions::follow(&resolved).as_ref() == Ok(exceptions)
            {
                assert_eq!(controller.allows(access), expected, "{access:?} {controller:?} {wishes:?}");
            }
        }
    }
}

fn rules(choices: &mut Choices<'_>) -> Vec<DeviceRule> {
    let number = |choices: &mut Choices<'_>| match choices.below(8) {
        0 | 1 => None,
        2 => Some(-1),
        3 => Some(i64::from(choices.id())),
        4 => Some(choices.number() as i64),
        small => Some(small as i64 - 5),
    };
    (0..choices.below(6))
        .map(|_| DeviceRule {
            allow: choices.coin(),
            kind: choices.one(&["a", "b", "c", "u", "", "c", "b", "p"]).to_owned(),
            major: number(choices),
            minor: number(choices),
            access: choices.one(&["", "rwm", "r", "w", "m", "rw", "wm", "rm", "mrw", "arw", "x"]).to_owned(),
        })
        .collect()
}

/// Every kind, every set of rights, and every number that a rule names beside one that none does.
fn accesses(wishes: &[DeviceRule]) -> Vec<Access> {
    let numbers = |of: fn(&DeviceRule) -> Option<i64>| {
        let mut all: Vec<u32> = wishes.iter().filter_map(of).filter_map(|n| u32::try_from(n).ok()).collect();
        all.extend([1, 77]);
        all.sort_unstable();
        all.dedup();
        all
    };
    let (majors, minors) = (numbers(|rule| rule.major), numbers(|rule| rule.minor));
    let mut all = Vec::new();
    for kind in ['b', 'c'] {
        for major in &majors {
            for minor in &minors {
                all.extend((1..8).map(|access| (kind, *major, *minor, access)));
            }
        }
    }
    all
}

/// The devices that every container has (config-linux.md, "Default Devices"; `mknod` for all; terminals; tun).
const ALWAYS: [(u32, Option<u32>); 9] = [
    (1, Some(3)),
    (1, Some(8)),
    (1, Some(7)),
    (5, Some(0)),
    (1, Some(5)),
    (1, Some(9)),
    (5, Some(2)),
    (10, Some(200)),
    (136, None),
];

/// The specification's own words: for each right the last rule that matches decides, without one it is denied.
fn is_allowed(wishes: &[DeviceRule], (kind, major, minor, access): Access) -> bool {
    let always = |bit: u8| {
        bit == 1 || kind == 'c' && ALWAYS.iter().any(|(a, b)| *a == major && b.is_none_or(|b| b == minor))
    };
    let meets =
        |wish: Option<i64>, number: u32| matches!(wish, None | Some(-1)) || wish == Some(number.into());
    let matches = |rule: &DeviceRule, letter: char| {
        let kinds = match rule.kind.as_str() {
            "" | "a" => "bc",
            "b" => "b",
            _ => "c",
        };
        let rights = if rule.access.is_empty() { "rwm" } else { &rule.access };
        kinds.contains(kind)
            && meets(rule.major, major)
            && meets(rule.minor, minor)
            && rights.contains(letter)
    };
    let right =
        |letter: char| wishes.iter().rev().find(|rule| matches(rule, letter)).is_some_and(|rule| rule.allow);
    [('m', 1), ('r', 2), ('w', 4)]
        .into_iter()
        .filter(|(_, bit)| access & bit != 0)
        .all(|(letter, bit)| always(bit) || right(letter))
}
