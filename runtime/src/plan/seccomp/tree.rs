//! The program's frame: which architecture, then a binary search over the ranges of its numbers.

use std::collections::BTreeMap;

use super::conditions::{self, JUMP, JUMP_EQUAL, JUMP_GREATER_OR_EQUAL, LOAD, RETURN, instruction};
use super::tables::{Arch, X32_BIT};
use super::{Answer, Instruction};

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
/// libseccomp's answer to an architecture that the profile does not name: kill the thread.
const BAD_ARCH: u32 = 0;

/// Puts the sections of all architectures together.
pub(crate) fn assemble(maps: &[(Arch, BTreeMap<u32, Answer>)], default: u32) -> Vec<Instruction> {
    let mut code = vec![instruction(LOAD, ARCH)];
    for (arch, map) in maps.iter().filter(|(arch, _)| *arch != Arch::X32) {
        let mut map = map.clone();
        if *arch == Arch::X86_64 {
            // Both ABIs have one architecture value; x32 numbers have a bit of their own. -1 is what a tracer
            // writes to skip a call.
            map.retain(|number, _| *number < X32_BIT);
            match maps.iter().find(|(arch, _)| *arch == Arch::X32) {
                Some((_, x32)) => {
                    map.insert(X32_BIT, Answer { alternatives: Vec::new(), otherwise: default });
                    map.extend(x32.iter().map(|(number, answer)| (*number, answer.clone())));
                }
                None => {
                    map.insert(X32_BIT, Answer { alternatives: Vec::new(), otherwise: BAD_ARCH });
                }
            }
        }
        let x32_is_refused = maps.iter().all(|(arch, _)| *arch != Arch::X32);
        let section = search(&ranges(&map, *arch, default, x32_is_refused));
        code.push(Instruction { code: JUMP_EQUAL, jt: 1, jf: 0, k: arch.audit() });
        code.push(instruction(JUMP, section.len() as u32 + 1));
        code.push(instruction(LOAD, NUMBER));
        code.extend(section);
    }
    code.push(instruction(RETURN, BAD_ARCH));
    code
}

/// Where each range starts and what it gets. A number with an answer is a range of one; what is between is
/// `default`, but behind the markers for new calls and for x32, which reach to the next range.
fn ranges(map: &BTreeMap<u32, Answer>, arch: Arch, default: u32, x32_is_refused: bool) -> Vec<(u32, Answer)> {
    let plain = |otherwise| Answer { alternatives: Vec::new(), otherwise };
    let mut result: Vec<(u32, Answer)> = vec![(0, plain(default))];
    let mut push = |start: u32, answer: Answer| {
        if result.last().is_some_and(|(last, _)| *last == start) {
            result.pop();
        }
        if result.last().is_none_or(|(_, last)| *last != answer) {
            result.push((start, answer));
        }
    };
    // In each ABI, what follows the last named call holds up to the end of its numbers.
    let open_ended = |number: u32| {
        let (end, has_marker) = if number >= X32_BIT && arch == Arch::X86_64 {
            (Arch::X32.number_after_last(), map.contains_key(&Arch::X32.number_after_last()))
        } else {
            (arch.number_after_last(), map.contains_key(&arch.number_after_last()))
        };
        let last_before_end = map.range(..end).next_back().map(|(last, _)| *last);
        has_marker && (number == end || last_before_end == Some(number))
            || (x32_is_refused && number == X32_BIT)
    };
    for (number, answer) in map {
        push(*number, answer.clone());
        if !open_ended(*number) {
            push(number + 1, plain(default));
        }
    }
    push(u32::MAX, plain(default));
    result
}

/// A binary search: at each step half of the ranges is left behind.
fn search(ranges: &[(u32, Answer)]) -> Vec<Instruction> {
    match ranges {
        [] => Vec::new(),
        [(_, answer)] => leaf(answer),
        _ => {
            let (left, right) = ranges.split_at(ranges.len() / 2);
            let (lower, upper) = (search(left), search(right));
            let mut code = match u8::try_from(lower.len()) {
                Ok(distance) => {
                    vec![Instruction { code: JUMP_GREATER_OR_EQUAL, jt: distance, jf: 0, k: right[0].0 }]
                }
                Err(_) => vec![
                    Instruction { code: JUMP_GREATER_OR_EQUAL, jt: 0, jf: 1, k: right[0].0 },
                    instruction(JUMP, lower.len() as u32),
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
