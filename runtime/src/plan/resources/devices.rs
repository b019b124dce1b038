//! Device rules: what a list of them allows, as an eBPF program for cgroup v2 and as writes for v1.
//!
//! The meaning is the specification's, rules in order: for each of read, write and mknod by itself, the last rule
//! that matches the device and names that right decides, and without one it is denied. v1's lists know no such
//! history. They have a default and exceptions from it, so the rules are followed here and the outcome is written.

use std::fmt;

use crate::error::{Error, Kind, Result};
use crate::spec::DeviceRule;
use crate::sys::bpf::Instruction;

/// The three rights, by the kernel's bits (`BPF_DEVCG_ACC_*`).
const RIGHTS: [(char, u8); 3] = [('m', 1), ('r', 2), ('w', 4)];
const ALL: u8 = 7;
/// To read and to write.
const OPENING: u8 = 6;

/// One resolved device rule; absent numbers are wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Allow or deny.
    pub allow: bool,
    /// `a`, `b` or `c`.
    pub kind: char,
    /// Major and minor number.
    pub numbers: (Option<u32>, Option<u32>),
    /// Bits of `RIGHTS`.
    pub access: u8,
    /// Whether it is one of those that every container has, behind the config's.
    pub default: bool,
}

impl Rule {
    /// Whether it speaks of every right to every device, so that nothing before it matters.
    pub fn is_total(&self) -> bool {
        self.kind == 'a' && self.numbers == (None, None) && self.access == ALL
    }

    /// The rights as letters.
    pub fn rights(&self) -> String {
        Letters(self.access).to_string()
    }
}

/// The config's rules with those of the default devices behind them.
pub fn resolve(wishes: &[DeviceRule]) -> Result<Vec<Rule>> {
    let mut rules: Vec<Rule> =
        wishes.iter().enumerate().map(|(index, wish)| resolve_one(index, wish)).collect::<Result<_>>()?;
    let default = |kind, numbers, access| Rule { allow: true, kind, numbers, access, default: true };
    rules.push(default('c', (None, None), 1));
    rules.push(default('b', (None, None), 1));
    let nodes = [(1, 3), (1, 8), (1, 7), (5, 0), (1, 5), (1, 9), (5, 2), (10, 200)];
    rules.extend(nodes.map(|(major, minor)| default('c', (Some(major), Some(minor)), ALL)));
    rules.push(default('c', (Some(136), None), ALL));
    Ok(rules)
}

fn resolve_one(index: usize, wish: &DeviceRule) -> Result<Rule> {
    let field = format!("linux.resources.devices[{index}]");
    let kind = match wish.kind.as_str() {
        "" | "a" => 'a',
        "b" => 'b',
        "c" | "u" => 'c',
        other => {
            return Err(Error::at(format!("{field}.type"), format_args!("unknown device type {other:?}")));
        }
    };
    let access = access(wish).map_err(|message| Error::at(format!("{field}.access"), message))?;
    let number = |name: &str, n: Option<i64>| match n {
        None | Some(-1) => Ok(None), // as for runc
        Some(n) => u32::try_from(n)
            .map(Some)
            .map_err(|_| Error::at(format!("{field}.{name}"), format_args!("{n} is out of range"))),
    };
    let numbers = (number("major", wish.major)?, number("minor", wish.minor)?);
    Ok(Rule { allow: wish.allow, kind, numbers, access, default: false })
}

/// The rights of a rule; none named are all. A letter twice does no harm, nor does an `a`, v1's word for a type,
/// among others: it names no right (as runc).
fn access(wish: &DeviceRule) -> Result<u8, String> {
    let right = |letter: char| match RIGHTS.iter().find(|(known, _)| *known == letter) {
        Some((_, bit)) => Ok(*bit),
        None if letter == 'a' => Ok(0),
        None => Err(format!("{:?} has letters besides r, w and m", wish.access)),
    };
    if wish.access.is_empty() {
        return Ok(ALL);
    }
    match wish.access.chars().try_fold(0, |all, letter| right(letter).map(|bit| all | bit))? {
        0 => Err(format!("{:?} names no right", wish.access)),
        rights => Ok(rights),
    }
}

/// The last rule that speaks of everything, and the rules behind it, which alone count beside it.
pub fn split_at_last_total(rules: &[Rule]) -> (Option<&Rule>, &[Rule]) {
    let before = rules.rsplit(Rule::is_total).next().unwrap_or_default();
    let total = rules.iter().rev().find(|rule| rule.is_total());
    (total, before)
}

/// The eBPF program. The context (`struct bpf_cgroup_dev_ctx`) is access and type in one word, major, minor. Going
/// through the rules backwards, r3 holds the rights that no rule has decided yet.
pub fn program(rules: &[Rule]) -> Vec<Instruction> {
    let op = |code, registers, offset, immediate| Instruction { code, registers, offset, immediate };
    const LDX_W: u8 = 0x61; // register = memory
    const MOV32_X: u8 = 0xbc;
    const MOV_K: u8 = 0xb7;
    const AND32_K: u8 = 0x54;
    const RSH32_K: u8 = 0x74;
    const JEQ_K: u8 = 0x15;
    const JNE_K: u8 = 0x55;
    const JNE32_K: u8 = 0x56; // of the lower 32 bits (Linux 5.1): in 64 the immediate would have a sign
    const EXIT: u8 = 0x95;
    let mut program = vec![
        op(LDX_W, 0x12, 0, 0), // r2 = type and access
        op(MOV32_X, 0x23, 0, 0),
        op(RSH32_K, 0x03, 0, 16),     // r3 = access
        op(AND32_K, 0x02, 0, 0xffff), // r2 = type
        op(LDX_W, 0x14, 4, 0),        // r4 = major
        op(LDX_W, 0x15, 8, 0),        // r5 = minor
    ];
    // The verifier takes no instruction that can't be reached, so what a total rule hides is left out.
    let (total, rules) = split_at_last_total(rules);
    for rule in rules.iter().rev() {
        let mut block = Vec::new();
        if rule.kind != 'a' {
            block.push(op(JNE_K, 0x02, 0, if rule.kind == 'b' { 1 } else { 2 }));
        }
        for (register, number) in [(0x04, rule.numbers.0), (0x05, rule.numbers.1)] {
            if let Some(number) = number {
                block.push(op(JNE32_K, register, 0, number as i32));
            }
        }
        if rule.allow {
            // Those rights are settled; the access is allowed once all are.
            block.push(op(AND32_K, 0x03, 0, i32::from(ALL & !rule.access)));
            block.push(op(JNE_K, 0x03, 0, 0));
        } else {
            block.push(op(MOV32_X, 0x31, 0, 0));
            block.push(op(AND32_K, 0x01, 0, i32::from(rule.access)));
            block.push(op(JEQ_K, 0x01, 0, 0));
        }
        block.push(op(MOV_K, 0x00, 0, i32::from(rule.allow)));
        block.push(op(EXIT, 0, 0, 0));
        // Behind the last instruction of the block, a distance of 0 would be.
        for (instruction, distance) in block.iter_mut().rev().zip(0..) {
            if matches!(instruction.code, JNE_K | JNE32_K | JEQ_K) {
                instruction.offset = distance;
            }
        }
        program.extend(block);
    }
    let rest = total.is_some_and(|rule| rule.allow);
    program.extend([op(MOV_K, 0, 0, i32::from(rest)), op(EXIT, 0, 0, 0)]);
    program
}

/// A default and the exceptions from it, as cgroup v1 has them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Exceptions {
    /// Whether what is no exception is allowed.
    pub default_allow: bool,
    /// Rights by device, in the order of the rules.
    pub list: Vec<(Device, u8)>,
}

/// A kind, `b` or `c`, with its numbers; absent ones are wildcards.
type Device = (char, Option<u32>, Option<u32>);

fn covers(wide: &Device, narrow: &Device) -> bool {
    wide.0 == narrow.0
        && wide.1.is_none_or(|major| narrow.1 == Some(major))
        && wide.2.is_none_or(|minor| narrow.2 == Some(minor))
}

fn overlaps(a: &Device, b: &Device) -> bool {
    let meets = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
    a.0 == b.0 && meets(a.1, b.1) && meets(a.2, b.2)
}

impl Exceptions {
    /// Follows the rules. Taking a part out of an exception with wildcards is more than v1 can hold, and it would
    /// silently do nothing: so that is an error, also where it is for what every container has.
    pub fn follow(rules: &[Rule]) -> Result<Exceptions> {
        let mut result = Exceptions::default();
        for (index, rule) in rules.iter().enumerate() {
            if rule.is_total() {
                result = Exceptions { default_allow: rule.allow, list: Vec::new() };
                continue;
            }
            let kinds: &[char] = if rule.kind == 'a' { &['b', 'c'] } else { &[rule.kind] };
            for kind in kinds {
                let device = (*kind, rule.numbers.0, rule.numbers.1);
                if rule.allow != result.default_allow {
                    result.add(device, rule.access);
                } else if !result.take_back(&device, rule.access) {
                    let (field, what) = match rule.default {
                        true => ("linux.resources.devices".to_owned(), "what every container has"),
                        false => (format!("linux.resources.devices[{index}]"), "this"),
                    };
                    let message = format!(
                        "{what} is a part of an earlier rule with wildcards, from which cgroup v1 can't take it"
                    );
                    return Err(Error::at_as(Kind::Unsupported, field, message));
                }
            }
        }
        if !result.default_allow {
            result.unite();
        }
        Ok(result)
    }

    fn take_back(&mut self, device: &Device, access: u8) -> bool {
        let in_part = |(known, rights): &(Device, u8)| {
            *rights & access != 0 && overlaps(known, device) && !covers(device, known)
        };
        if self.list.iter().any(in_part) {
            return false;
        }
        self.list.retain_mut(|(known, rights)| {
            if covers(device, known) {
                *rights &= !access;
            }
            *rights != 0
        });
        true
    }

    fn add(&mut self, device: Device, access: u8) {
        match self.list.iter_mut().find(|(known, _)| *known == device) {
            Some((_, rights)) => *rights |= access,
            None => self.list.push((device, access)),
        }
    }

    fn rights(&self, device: &Device) -> u8 {
        self.list.iter().find(|(known, _)| known == device).map_or(0, |(_, rights)| *rights)
    }

    /// v1 allows an access if a single exception has all its rights. Reading and writing are asked for together,
    /// mknod alone (security/device_cgroup.c); so each gets those two of the wider ones too, and where two with one
    /// wildcard each cross, there is one for the crossing.
    fn unite(&mut self) {
        let known = self.list.clone();
        for (a, _) in known.iter().filter(|(device, _)| device.2.is_none()) {
            for (b, _) in known.iter().filter(|(device, _)| device.1.is_none() && device.2.is_some()) {
                if overlaps(a, b) && a.1.is_some() {
                    self.add((a.0, a.1, b.2), 0);
                }
            }
        }
        for (device, rights) in &mut self.list {
            let wider = known.iter().filter(|(wide, _)| covers(wide, device));
            *rights |= wider.fold(0, |all, (_, more)| all | more) & OPENING;
        }
        self.list.retain(|(_, rights)| *rights != 0);
    }

    /// What to write to which file, in this order.
    pub fn writes(&self) -> Vec<(&'static str, String)> {
        let (default, other) = match self.default_allow {
            true => ("devices.allow", "devices.deny"),
            false => ("devices.deny", "devices.allow"),
        };
        let lines = self.list.iter().map(|(device, rights)| (other, line(device, *rights)));
        std::iter::once((default, "a".to_owned())).chain(lines).collect()
    }

    /// What to write to go from these to `new`: what is new goes in first, then what is no more comes out.
    pub fn writes_to(&self, new: &Exceptions) -> Vec<(&'static str, String)> {
        if self.default_allow != new.default_allow {
            return new.writes();
        }
        let (more, less) = match self.default_allow {
            true => ("devices.deny", "devices.allow"),
            false => ("devices.allow", "devices.deny"),
        };
        let beyond = |from: &Exceptions, other: &Exceptions, file| -> Vec<(&'static str, String)> {
            let left = |(device, rights): &(Device, u8)| {
                let rights = rights & !other.rights(device);
                (rights != 0).then(|| (file, line(device, rights)))
            };
            from.list.iter().filter_map(left).collect()
        };
        let (mut writes, out) = (beyond(new, self, more), beyond(self, new, less));
        writes.extend(out);
        writes
    }
}

/// One exception as v1's files take it.
fn line((kind, major, minor): &Device, rights: u8) -> String {
    let number = |n: &Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
    format!("{kind} {}:{} {}", number(major), number(minor), Letters(rights))
}

/// Rights as letters.
struct Letters(u8);

impl fmt::Display for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = RIGHTS.iter().filter(|(_, bit)| self.0 & bit != 0);
        letters.into_iter().try_for_each(|(letter, _)| write!(f, "{letter}"))
    }
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
