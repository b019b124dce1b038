//! What the kernel does with what we hand it: classic BPF as seccomp(2) checks and runs it, eBPF as far as device
//! programs go, and the lists of cgroup v1's devices controller.

use crate::plan::seccomp::Program;
use crate::sys::bpf;

/// `struct seccomp_data`, but for the instruction pointer, which no program of ours reads.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// The system call's number.
    pub number: u32,
    /// Its arguments.
    pub args: [u64; 6],
}

impl Call {
    fn load(&self, offset: u32) -> u32 {
        let argument = |at: u32| self.args[at as usize / 8] >> (8 * (at % 8));
        match offset {
            0 => self.number,
            4 => self.arch,
            16..64 => argument(offset - 16) as u32,
            _ => panic!("load from {offset}"),
        }
    }
}

const LOAD: u16 = 0x20;
const RETURN: u16 = 0x06;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const JUMP_SET: u16 = 0x45;
const AND: u16 = 0x54;

/// What the kernel asks of a filter before it takes it (net/core/filter.c, bpf_check_classic; kernel/seccomp.c,
/// seccomp_check_filter).
pub fn kernel_takes(program: &Program) {
    let code = &program.instructions;
    assert!(matches!(code.len(), 1..=4096), "{} instructions", code.len());
    assert_eq!(code.last().map(|last| last.code), Some(RETURN));
    for (at, i) in code.iter().enumerate() {
        let left = code.len() - at - 1;
        match i.code {
            LOAD => assert!(i.k % 4 == 0 && i.k < 64, "load from {}", i.k),
            JUMP => assert!((i.k as usize) < left, "jump at {at}"),
            JUMP_EQUAL | JUMP_GREATER | JUMP_GREATER_OR_EQUAL | JUMP_SET => {
                assert!(usize::from(i.jt.max(i.jf)) < left, "jump at {at}");
            }
            RETURN | AND => {}
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// Runs a filter over a call; every jump is forward, so it ends.
pub fn answer(program: &Program, call: &Call) -> u32 {
    let (mut at, mut a) = (0, 0);
    loop {
        let i = program.instructions[at];
        at += 1;
        let mut branch = |taken: bool| at += usize::from(if taken { i.jt } else { i.jf });
        match i.code {
            LOAD => a = call.load(i.k),
            RETURN => return i.k,
            JUMP => at += i.k as usize,
            JUMP_EQUAL => branch(a == i.k),
            JUMP_GREATER => branch(a > i.k),
            JUMP_GREATER_OR_EQUAL => branch(a >= i.k),
            JUMP_SET => branch(a & i.k != 0),
            AND => a &= i.k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// What is asked of the devices controller: `b` or `c`, major, minor, and `BPF_DEVCG_ACC_*` bits.
pub type Access = (char, u32, u32, u8);

/// What the kernel's verifier asks of a device program: jumps go forward and stay inside, nothing is out of reach,
/// and it does not run off its end.
pub fn verify(program: &[bpf::Instruction]) {
    let mut reached = vec![false; program.len()];
    reached[0] = true;
    for (at, i) in program.iter().enumerate() {
        assert!(reached[at], "instruction {at} can't be reached");
        let next = match i.code {
            0x95 => vec![],
            0x15 | 0x55 | 0x56 => vec![at + 1, at + 1 + usize::try_from(i.offset).unwrap_or(usize::MAX)],
            _ => vec![at + 1],
        };
        for target in next {
            assert!(target < program.len(), "{at} leads to {target}");
            reached[target] = true;
        }
    }
}

/// Runs a device program.
pub fn allows(program: &[bpf::Instruction], (kind, major, minor, access): Access) -> bool {
    let kind = if kind == 'b' { 1 } else { 2 };
    let context = [u64::from(access) << 16 | kind, u64::from(major), u64::from(minor)];
    let (mut registers, mut at) = ([0u64; 10], 0);
    loop {
        let bpf::Instruction { code, registers: pair, offset, immediate } = program[at];
        let (target, source) = (usize::from(pair & 15), usize::from(pair >> 4));
        let wide = i64::from(immediate) as u64;
        at += 1;
        match code {
            0x61 => registers[target] = context[offset as usize / 4],
            0xbc => registers[target] = registers[source] & 0xffff_ffff,
            0xb7 => registers[target] = wide,
            0x54 => registers[target] &= u64::from(immediate as u32),
            0x74 => registers[target] = (registers[target] & 0xffff_ffff) >> immediate,
            0x15 if registers[target] == wide => at += offset as usize,
            0x55 if registers[target] != wide => at += offset as usize,
            0x56 if registers[target] as u32 != immediate as u32 => at += offset as usize,
            0x15 | 0x55 | 0x56 => {}
            0x95 => return registers[0] == 1,
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// cgroup v1's devices controller (security/device_cgroup.c), of a group whose parent allows all.
#[derive(Debug, Clone)]
pub struct Controller {
    allows: bool,
    exceptions: Vec<(char, Option<u32>, Option<u32>, u8)>,
}

impl Default for Controller {
    fn default() -> Self {
        Controller { allows: true, exceptions: Vec::new() }
    }
}

impl Controller {
    /// What a write to `devices.allow` or `devices.deny` does.
    pub fn write(&mut self, file: &str, line: &str) {
        let allow = match file {
            "devices.allow" => true,
            "devices.deny" => false,
            other => panic!("write to {other}"),
        };
        if line.starts_with('a') {
            *self = Controller { allows: allow, exceptions: Vec::new() };
            return;
        }
        let [kind, numbers, letters] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line:?}") };
        assert!(matches!(kind, "b" | "c") && matches!(letters.len(), 1..=3), "{line:?}");
        let (major, minor) = numbers.split_once(':').unwrap_or_else(|| panic!("{line:?}"));
        let number = |text: &str| match text {
            "*" => None,
            digits => Some(digits.parse().unwrap_or_else(|_| panic!("{line:?}"))),
        };
        let bit = |letter: char| 1 << "mrw".find(letter).unwrap_or_else(|| panic!("{line:?}"));
        let access = letters.chars().fold(0, |all, letter| all | bit(letter));
        let device = (if kind == "b" { 'b' } else { 'c' }, number(major), number(minor));
        // Only an exception for the very same device is changed.
        let same = self.exceptions.iter().position(|(k, a, b, _)| (*k, *a, *b) == device);
        match (allow == self.allows, same) {
            (true, Some(at)) => {
                self.exceptions[at].3 &= !access;
                if self.exceptions[at].3 == 0 {
                    self.exceptions.remove(at);
                }
            }
            (true, None) => {}
            (false, Some(at)) => self.exceptions[at].3 |= access,
            (false, None) => self.exceptions.push((device.0, device.1, device.2, access)),
        }
    }

    /// Whether an access is allowed: by default if no exception touches it, else if one covers it.
    pub fn allows(&self, (kind, major, minor, access): Access) -> bool {
        let mut matching = self.exceptions.iter().filter(|(k, a, b, _)| {
            *k == kind && a.is_none_or(|a| a == major) && b.is_none_or(|b| b == minor)
        });
        match self.allows {
            true => !matching.any(|(.., rights)| rights & access != 0),
            false => matching.any(|(.., rights)| access & !rights == 0),
        }
    }
}
