//! The program's frame: which architecture, then a binary search over the ranges of its numbers.

use super::conditions::{self, JUMP, JUMP_EQUAL, JUMP_GREATER_OR_EQUAL, LOAD, RETURN, instruction};
use super::tables::{Arch, X32_BIT};
use super::{Answer, ENOSYS, Instruction, RET_ERRNO, Table};

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
/// libseccomp's answer to an architecture that the profile does not name: kill the thread.
const BAD_ARCH: u32 = 0;

/// Puts the sections of all architectures together.
pub(crate) fn assemble(tables: &[(Arch, Table)], default: u32) -> Vec<Instruction> {
    let mut code = vec![instruction(LOAD, ARCH)];
    for (arch, table) in tables.iter().filter(|(arch, _)| *arch != Arch::X32) {
        let mut ranges = Ranges::default();
        ranges.extend(0, table, default);
        if *arch == Arch::X86_64 {
            // Both ABIs have one architecture value; x32 numbers have a bit of their own.
            match tables.iter().find(|(arch, _)| *arch == Arch::X32) {
                Some((_, x32)) => ranges.extend(X32_BIT, x32, default),
                None => {
                    ranges.push(X32_BIT, plain(BAD_ARCH));
                    ranges.push(u32::MAX, plain(default)); // -1 is what a tracer writes to skip a call
                }
            }
        }
        let section = search(&ranges.0);
        code.push(Instruction { code: JUMP_EQUAL, jt: 1, jf: 0, k: arch.audit() });
        code.push(instruction(JUMP, length(&section).saturating_add(1)));
        code.push(instruction(LOAD, NUMBER));
        code.extend(section);
    }
    code.push(instruction(RETURN, BAD_ARCH));
    code
}

/// A program that is too long for this is far too long for the kernel, which `load` finds.
fn length(code: &[Instruction]) -> u32 {
    u32::try_from(code.len()).unwrap_or(u32::MAX)
}

fn plain(otherwise: u32) -> Answer {
    Answer { alternatives: Vec::new(), otherwise }
}

/// Where each range of numbers starts and what it gets, up to the next one's start.
#[derive(Default)]
struct Ranges(Vec<(u32, Answer)>);

impl Ranges {
    /// From `start` on `answer`; equal neighbours become one.
    fn push(&mut self, start: u32, answer: Answer) {
        if self.0.last().is_some_and(|(last, _)| *last == start) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|(_, last)| *last != answer) {
            self.0.push((start, answer));
        }
    }

    /// An ABI's numbers from `start` on.
    fn extend(&mut self, start: u32, table: &Table, default: u32) {
        self.push(start, plain(default));
        for (number, answer) in &table.answers {
            self.push(*number, answer.clone());
            self.push(number.saturating_add(1), plain(default));
        }
        if let Some(newer) = table.newer_from {
            self.push(newer, plain(RET_ERRNO | ENOSYS));
        }
    }
}

/// A binary search: at each step half of the ranges is left behind.
fn search(ranges: &[(u32, Answer)]) -> Vec<Instruction> {
    match ranges {
        [] => Vec::new(),
        [(_, answer)] => leaf(answer),
        _ => {
            let (left, right) = ranges.split_at(ranges.len() / 2);
            let (lower, upper) = (search(left), search(right));
            let from = right.first().map_or(u32::MAX, |(from, _)| *from);
            let mut code = match u8::try_from(lower.len()) {
                Ok(distance) => {
                    vec![Instruction { code: JUMP_GREATER_OR_EQUAL, jt: distance, jf: 0, k: from }]
                }
                Err(_) => vec![
                    Instruction { code: JUMP_GREATER_OR_EQUAL, jt: 0, jf: 1, k: from },
                    instruction(JUMP, length(&lower)),
                ],
            };
            code.extend(lower);
            code.extend(upper);
            code
        }
    }
}

fn leaf(answer: &Answer) -> Vec<Instruction> {
    let mut code: Vec<Instruction> =
        answer.alternatives.iter().flat_map(|(list, ret)| conditions::assemble(list, *ret)).collect();
    code.push(instruction(RETURN, answer.otherwise));
    code
}
