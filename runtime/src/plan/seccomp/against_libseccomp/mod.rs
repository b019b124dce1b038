//! Our programs against those of the machine's libseccomp, over every call, in an interpreter; and at sampled points
//! against the kernel, in real processes.

mod listed;
mod profiles;
mod reference;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::tables::{Arch, X32_BIT};
use super::{Program, RET_ALLOW, RET_ERRNO, RET_LOG, RET_NOTIFY, RET_TRACE, action, compile_for};
use crate::fuzzing::models::{Call, answer, kernel_takes};
use crate::spec;
use listed::listed;
use profiles::{Random, boundaries, generated, real};
use reference::{Libseccomp, Reference};

const ARCHES: [(Arch, &str, &str); 4] = [
    (Arch::X86_64, "x86_64", "SCMP_ARCH_X86_64"),
    (Arch::X86, "x86", "SCMP_ARCH_X86"),
    (Arch::X32, "x32", "SCMP_ARCH_X32"),
    (Arch::Aarch64, "aarch64", "SCMP_ARCH_AARCH64"),
];

/// How many profiles are generated, beside the real ones.
const GENERATED: usize = 250;

const PYTHON: &str = "/usr/bin/python3";

/// The architectures of a profile, the native one first.
fn arches_of(profile: &spec::Seccomp) -> Vec<Arch> {
    let named = |(arch, _, name): &(Arch, &str, &str)| {
        (*arch == Arch::NATIVE || profile.architectures.iter().any(|known| known == name)).then_some(*arch)
    };
    ARCHES.iter().filter_map(named).collect()
}

fn default_of(profile: &spec::Seccomp) -> u32 {
    action("linux.seccomp.defaultAction", &profile.default_action, profile.default_errno_ret).unwrap()
}

/// Whether the other compiler is here.
fn can_compare() -> bool {
    let library = "import ctypes; ctypes.CDLL('libseccomp.so.2')";
    let there = Command::new(PYTHON).args(["-c", library]).status().is_ok_and(|status| status.success());
    if !there {
        eprintln!("skipped: no {PYTHON} or no libseccomp");
    }
    there
}

/// Every profile that both take, with both programs.
fn compiled(random: &mut Random) -> Vec<(spec::Seccomp, Program, Reference)> {
    let mut other = Libseccomp::start();
    let (mut all, mut refused) = (Vec::new(), 0);
    let engines = real();
    let engines_count = engines.len();
    for (index, mut profile) in
        engines.into_iter().chain((0..GENERATED).map(|_| generated(random))).enumerate()
    {
        match other.compile(&mut profile) {
            Ok(reference) => {
                let ours = compile_for(&arches_of(&profile), &profile).unwrap();
                kernel_takes(&ours);
                all.push((profile, ours, reference));
            }
            // Rules for one call that contradict each other; ours takes the first.
            Err(error) => {
                assert!(index >= engines_count, "{error}");
                refused += 1;
            }
        }
    }
    eprintln!("{} profiles, {refused} more that libseccomp refuses", all.len());
    all
}

/// A call with arguments around those that the rules name.
fn call(random: &mut Random, values: &[u64], arch: Arch, number: u32) -> Call {
    let args = std::array::from_fn(|_| match random.below(8) {
        0 => random.next(),
        _ => random.one(values),
    });
    Call { arch: arch.audit(), number, args }
}

#[test]
fn answers_to_every_call_are_those_of_libseccomp() {
    if !can_compare() {
        return;
    }
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let all = compiled(&mut random);
    assert!(all.len() >= 200, "{}", all.len());
    let (mut points, mut differences) = (0, BTreeMap::new());
    for (profile, ours, reference) in &all {
        let values = boundaries(profile);
        for (arch, name, _) in ARCHES {
            let bit = if arch == Arch::X32 { X32_BIT } else { 0 };
            for number in (0..1024).map(|number| number | bit).chain([u32::MAX]) {
                let conditional = profile.syscalls.iter().any(|rule| {
                    let is_it = |name: &String| {
                        arch.number(name) == Some(number)
                            || arch.multiplexed(name).is_some_and(|(multiplexer, _)| multiplexer == number)
                    };
                    !rule.args.is_empty() && rule.names.iter().any(is_it)
                });
                for _ in 0..if conditional { 60 } else { 1 } {
                    let call = call(&mut random, &values, arch, number);
                    let (theirs, got) = (reference.answer(arch, &call), answer(ours, &call));
                    points += 1;
                    if theirs == got {
                        continue;
                    }
                    let Some(why) = listed(profile, arch, &call, reference, got) else {
                        panic!("{name} {call:x?}: libseccomp {theirs:#x}, ours {got:#x}: {profile:#?}");
                    };
                    *differences.entry(why).or_insert(0) += 1;
                }
            }
        }
    }
    eprintln!("{points} points; differences that are listed: {differences:?}");
}

/// Calls that do no harm and never return 0: getpid, getppid, gettid.
fn harmless(arch: Arch) -> [u32; 3] {
    match arch {
        Arch::X86 => [20, 64, 224],
        _ => [39, 110, 186],
    }
}

/// uretprobe(2) of x86-64, which goes past every filter (Linux 6.13).
const UNFILTERED: u32 = 335;

/// What a process sees of an answer; `None` for what our point does not tell apart.
fn seen(ret: u32) -> Option<Value> {
    let enosys = -i64::from(libc::ENOSYS);
    match (ret & 0xffff_0000, ret & 0xffff) {
        (RET_ALLOW | RET_LOG, _) => None,
        // The kernel's highest error number (MAX_ERRNO).
        (RET_ERRNO, errno) => Some(json!(-i64::from(errno.min(4095)))),
        // Nobody traces or listens.
        (RET_TRACE | RET_NOTIFY, _) => Some(json!(enosys)),
        _ => Some(json!("killed")),
    }
}

#[test]
fn kernel_answers_as_the_interpreter_does() {
    if !can_compare() {
        return;
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let all = compiled(&mut random);
    let (mut wishes, mut expected) = (String::new(), Vec::new());
    for (profile, ours, _) in &all {
        let values = boundaries(profile);
        let mut calls = Vec::new();
        for (arch, name, _) in &ARCHES[..3] {
            let bit = if *arch == Arch::X32 { X32_BIT } else { 0 };
            let named: Vec<u32> = profile
                .syscalls
                .iter()
                .flat_map(|rule| rule.names.iter().filter_map(|name| arch.number(name)))
                .collect();
            for round in 0..4 {
                let number = match round {
                    0 => random.one(&harmless(*arch)) | bit,
                    1 if !named.is_empty() => random.one(&named),
                    _ => random.below(500) as u32 | bit,
                };
                let call = call(&mut random, &values, *arch, number);
                let ret = answer(ours, &call);
                // What is allowed is made in earnest: so only where that does no harm.
                if (seen(ret).is_some() || round == 0) && number != UNFILTERED {
                    calls.push(json!({"arch": name, "number": number, "args": call.args}));
                    expected.push((ret, call, profile));
                }
            }
        }
        let bytes = ours.instructions.iter().flat_map(|i| {
            let (code, k) = (i.code.to_ne_bytes(), i.k.to_ne_bytes());
            [code[0], code[1], i.jt, i.jf, k[0], k[1], k[2], k[3]]
        });
        let hex: String = bytes.map(|byte| format!("{byte:02x}")).collect();
        wishes += &format!("{}\n", json!({"program": hex, "calls": calls}));
    }
    assert!(expected.len() >= 500, "{} points", expected.len());
    let script = Path::new(file!()).with_file_name("calls.py");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(script);
    let mut child =
        Command::new(PYTHON).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(wishes.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let results: Vec<Value> =
        lines.lines().flat_map(|line| serde_json::from_str::<Vec<Value>>(line).unwrap()).collect();
    assert_eq!(results.len(), expected.len());
    for (result, (ret, call, profile)) in results.iter().zip(&expected) {
        let allowed = || {
            let number = result.as_i64().unwrap_or_default();
            // Kernels need not have x32.
            number > 0 || (call.number & X32_BIT != 0 && number == -i64::from(libc::ENOSYS))
        };
        let as_expected = seen(*ret).map_or_else(allowed, |seen| *result == seen);
        assert!(as_expected, "{ret:#x} for {call:x?} came to {result}: {profile:#?}");
    }
    eprintln!("{} calls in real processes", expected.len());
}
