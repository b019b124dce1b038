//! The compiler's programs, run in a small interpreter of classic BPF.

use super::conditions::{JUMP, JUMP_EQUAL, JUMP_GREATER_OR_EQUAL, LOAD, RETURN};
use super::*;

/// Runs a program over one call; every jump is forward, so it ends.
fn run(program: &Program, arch: Arch, number: u32, args: [u64; 6]) -> u32 {
    let mut data = vec![number, arch.audit(), 0, 0];
    data.extend(args.iter().flat_map(|arg| [*arg as u32, (*arg >> 32) as u32]));
    let (mut at, mut a) = (0usize, 0u32);
    loop {
        let i = program.instructions[at];
        at += 1;
        let mut branch = |taken: bool| at += usize::from(if taken { i.jt } else { i.jf });
        match i.code {
            LOAD => a = data[i.k as usize / 4],
            RETURN => return i.k,
            JUMP => at += i.k as usize,
            JUMP_EQUAL => branch(a == i.k),
            JUMP_GREATER_OR_EQUAL => branch(a >= i.k),
            0x25 => branch(a > i.k),
            0x54 => a &= i.k,
            other => panic!("code {other:#x}"),
        }
    }
}

fn profile(text: &str) -> Result<Program> {
    compile(&serde_json::from_str(text).unwrap())
}

const NONE: [u64; 6] = [0; 6];
const EPERM_RET: u32 = RET_ERRNO | 1;
const ENOSYS_RET: u32 = RET_ERRNO | 38;

#[test]
fn named_calls_are_allowed_others_denied_and_newer_ones_unknown() {
    let program = profile(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"],
            "syscalls":[{"names":["read","openat2","nosuchcall"],"action":"SCMP_ACT_ALLOW"},
                        {"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#,
    )
    .unwrap();
    let x = |number| run(&program, Arch::X86_64, number, NONE);
    assert_eq!([x(0), x(437), x(1), x(436)], [RET_ALLOW, RET_ALLOW, EPERM_RET, EPERM_RET]);
    assert_eq!([x(435), x(438), x(9999), x(u32::MAX)], [ENOSYS_RET, ENOSYS_RET, ENOSYS_RET, ENOSYS_RET]);
    assert_eq!(run(&program, Arch::X86, 3, NONE), RET_ALLOW);
    assert_eq!(run(&program, Arch::X86, 4, NONE), EPERM_RET);
    assert_eq!(x(X32_BIT), RET_ALLOW);
    assert_eq!(x(X32_BIT | 1), EPERM_RET);
    assert_eq!(x(X32_BIT | 500), ENOSYS_RET);
    assert_eq!(run(&program, Arch::Aarch64, 0, NONE), 0);
}

use super::tables::X32_BIT;

#[test]
fn x32_numbers_are_killed_unless_x32_is_named() {
    let program = profile(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).unwrap();
    assert_eq!(run(&program, Arch::X86_64, 1, NONE), RET_ALLOW);
    assert_eq!(run(&program, Arch::X86_64, X32_BIT | 1, NONE), 0);
    assert_eq!(run(&program, Arch::X86_64, u32::MAX, NONE), RET_ALLOW);
}

#[test]
fn every_operator_compares_all_64_bits() {
    let big = 0x1_0000_0005u64;
    type Holds = fn(u64, u64) -> bool;
    let cases: [(&str, Holds); 6] = [
        ("EQ", |a, b| a == b),
        ("NE", |a, b| a != b),
        ("GT", |a, b| a > b),
        ("GE", |a, b| a >= b),
        ("LT", |a, b| a < b),
        ("LE", |a, b| a <= b),
    ];
    for (name, holds) in cases {
        let text = format!(
            r#"{{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{{"names":["personality"],"action":"SCMP_ACT_ERRNO",
                "args":[{{"index":2,"value":{big},"op":"SCMP_CMP_{name}"}}]}}]}}"#
        );
        let program = profile(&text).unwrap();
        for value in [0, 5, 6, big - 1, big, big + 1, 0x2_0000_0000, 0x1_0000_0000, u64::MAX] {
            let expected = if holds(value, big) { EPERM_RET } else { RET_ALLOW };
            assert_eq!(
                run(&program, Arch::X86_64, 135, [9, 9, value, 9, 9, 9]),
                expected,
                "{name} {value:#x}"
            );
        }
    }
}

#[test]
fn masks_several_conditions_and_repeated_arguments() {
    let program = profile(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]},
            {"names":["dup2"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":1,"value":2,"op":"SCMP_CMP_EQ"}]},
            {"names":["dup"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":0,"value":4,"op":"SCMP_CMP_EQ"}]}]}"#,
    )
    .unwrap();
    let x = |number, a, b| run(&program, Arch::X86_64, number, [a, b, 0, 0, 0, 0]) == RET_ALLOW;
    assert!(x(56, 0x11, 0) && !x(56, 0x1000_0000, 0));
    assert!(x(33, 1, 2) && !x(33, 1, 3) && !x(33, 2, 2));
    assert!(x(32, 1, 0) && x(32, 4, 0) && !x(32, 2, 0));
}

#[test]
fn socket_is_allowed_through_socketcall_too() {
    let program = profile(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],
            "syscalls":[{"names":["socket"],"action":"SCMP_ACT_ALLOW"}]}"#,
    )
    .unwrap();
    assert_eq!(run(&program, Arch::X86, 102, [1, 0, 0, 0, 0, 0]), RET_ALLOW);
    assert_eq!(run(&program, Arch::X86, 102, [2, 0, 0, 0, 0, 0]), EPERM_RET);
}

#[test]
fn wrong_words_are_named() {
    for (text, part) in [
        (r#"{"defaultAction":"SCMP_ACT_MAYBE"}"#, "linux.seccomp.defaultAction: unknown action"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","defaultErrnoRet":1}"#, "takes no errno"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_PDP11"]}"#, "unknown architecture"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["X"]}"#, "unknown flag"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":[],"action":"SCMP_ACT_TRAP"}]}"#,
            "syscalls[0].names: must not be empty",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["dup"],"action":"SCMP_ACT_TRAP","args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
            "args[0].index: 6 is above 5",
        ),
    ] {
        let error = profile(text).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn multiplexer_above_the_last_named_call_opens_nothing_behind_it() {
    let program = profile(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],
            "syscalls":[{"names":["read","write","exit","recv"],"action":"SCMP_ACT_ALLOW"}]}"#,
    )
    .unwrap();
    let ten = [10, 0, 0, 0, 0, 0];
    assert_eq!(run(&program, Arch::X86, 102, ten), RET_ALLOW);
    for number in [103, 120, 300, 400] {
        assert_eq!(run(&program, Arch::X86, number, ten), ENOSYS_RET, "{number}");
    }
}

/// The registers of socketcall(2) hold a pointer to the call's arguments, which no filter can follow.
#[test]
fn condition_that_a_multiplexer_hides_counts_for_the_stricter_answer() {
    let socket = |default: &str, action: &str| {
        let program = profile(&format!(
            r#"{{"defaultAction":"{default}","architectures":["SCMP_ARCH_X86"],"syscalls":[
                {{"names":["socket"],"action":"{action}","args":[{{"index":0,"value":17,"op":"SCMP_CMP_EQ"}}]}}]}}"#
        ));
        run(&program.unwrap(), Arch::X86, 102, [1, 0xffff_d000, 0, 0, 0, 0])
    };
    assert_eq!(socket("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"), EPERM_RET);
    assert_eq!(socket("SCMP_ACT_ERRNO", "SCMP_ACT_KILL"), 0);
    assert_eq!(socket("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"), EPERM_RET);
}

/// Of an argument of 32 bits a mask of upper bits leaves nothing.
#[test]
fn mask_that_leaves_nothing_is_no_condition() {
    let program = profile(
        r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86"],"syscalls":[
            {"names":["dup"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":4294967296,"valueTwo":4294967296,"op":"SCMP_CMP_MASKED_EQ"}]},
            {"names":["dup"],"action":"SCMP_ACT_TRAP"}]}"#,
    )
    .unwrap();
    assert_eq!(run(&program, Arch::X86, 41, NONE), RET_ALLOW);
    assert_eq!(run(&program, Arch::X86_64, 32, NONE), 0x0003_0000);
}

#[test]
fn first_unconditional_rule_beats_later_and_conditional_ones() {
    let rule = |action: &str, args: &str| format!(r#"{{"names":["dup"],"action":"{action}","args":{args}}}"#);
    let (one, none) = (r#"[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]"#, "[]");
    let first = |rules: [String; 2]| {
        let program =
            profile(&format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{}]}}"#, rules.join(",")))
                .unwrap();
        run(&program, Arch::X86_64, 32, [1, 0, 0, 0, 0, 0])
    };
    assert_eq!(first([rule("SCMP_ACT_KILL_PROCESS", none), rule("SCMP_ACT_ALLOW", none)]), 0x8000_0000);
    assert_eq!(first([rule("SCMP_ACT_KILL_PROCESS", none), rule("SCMP_ACT_ALLOW", one)]), 0x8000_0000);
    assert_eq!(first([rule("SCMP_ACT_ALLOW", one), rule("SCMP_ACT_KILL_PROCESS", none)]), 0x8000_0000);
}
