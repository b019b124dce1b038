//! Conditions on arguments (config-linux.md, "Seccomp", `args`) and their BPF code.
//!
//! A 64-bit argument is two 32-bit loads, the upper half first. In the code of one condition, falling out at
//! the end means that it holds; a jump to `FAIL` leaves for the next alternative and is patched once the
//! length of the whole alternative is known.

use super::Instruction;
use crate::error::{Error, Result};
use crate::plan::findings::Findings;
use crate::spec::SyscallArg;

/// One resolved condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    index: u32,
    operator: Operator,
    value: u64,
    mask: u64,
    is_32_bit: bool,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "they say it all")]
pub enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// The names of libseccomp; the one without an operator compares what a mask leaves.
pub const OPERATORS: [(&str, Option<Operator>); 7] = [
    ("SCMP_CMP_EQ", Some(Operator::Equal)),
    ("SCMP_CMP_GE", Some(Operator::GreaterOrEqual)),
    ("SCMP_CMP_GT", Some(Operator::Greater)),
    ("SCMP_CMP_LE", Some(Operator::LessOrEqual)),
    ("SCMP_CMP_LT", Some(Operator::Less)),
    ("SCMP_CMP_MASKED_EQ", None),
    ("SCMP_CMP_NE", Some(Operator::NotEqual)),
];

/// Finds what is wrong with a condition.
pub(crate) fn check(field: &str, arg: &SyscallArg, findings: &mut Findings) {
    if arg.index > 5 {
        let message = format_args!("{} is above 5", arg.index);
        findings.push(Error::at(format!("{field}.index"), message));
    }
    let operator = Condition::resolve(field, &SyscallArg { index: 0, ..arg.clone() }, false);
    findings.keep(operator.map(|_| ()));
}

pub(crate) const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
pub(crate) const RETURN: u16 = 0x06;
pub(crate) const JUMP: u16 = 0x05;
pub(crate) const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
pub(crate) const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const AND: u16 = 0x54;
/// Stands for "this alternative does not hold" until [`assemble`] knows the distance.
const FAIL: u8 = 0xff;

pub(crate) fn instruction(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// Where the arguments are in `struct seccomp_data`.
const ARGUMENTS: u32 = 16;

/// The upper and the lower half.
fn halves(value: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
    (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
}

impl Condition {
    /// Argument `index` equals `value`, as a 32-bit number.
    pub(crate) fn equal(index: u32, value: u64) -> Condition {
        Condition { index, operator: Operator::Equal, value, mask: u64::MAX, is_32_bit: true }
    }

    fn resolve(field: &str, arg: &SyscallArg, is_32_bit: bool) -> Result<Condition> {
        if arg.index > 5 {
            return Err(Error::at(format!("{field}.index"), format_args!("{} is above 5", arg.index)));
        }
        let known = OPERATORS.iter().find(|(name, _)| *name == arg.op);
        let (operator, value, mask) = match known.map(|(_, operator)| operator) {
            Some(Some(operator)) => (*operator, arg.value, u64::MAX),
            Some(None) => (Operator::Equal, arg.value_two & arg.value, arg.value),
            None => {
                return Err(Error::at(format!("{field}.op"), format_args!("unknown operator {:?}", arg.op)));
            }
        };
        Ok(Condition { index: arg.index, operator, value, mask, is_32_bit })
    }

    /// A mask that leaves nothing of the argument is no condition, as for libseccomp.
    fn always_holds(&self) -> bool {
        self.mask & if self.is_32_bit { u64::from(u32::MAX) } else { u64::MAX } == 0
    }

    fn assemble(&self, code: &mut Vec<Instruction>) {
        let (high, low) = halves(self.value);
        let (high_mask, low_mask) = halves(self.mask);
        let argument = ARGUMENTS.saturating_add(self.index.saturating_mul(8));
        let load = |code: &mut Vec<Instruction>, offset: u32, mask: u32| {
            code.push(instruction(LOAD, argument.saturating_add(offset)));
            if mask != u32::MAX {
                code.push(instruction(AND, mask));
            }
        };
        // How many instructions the lower half takes: a load, perhaps a mask, a jump.
        let (low_length, and_one_more) = if low_mask == u32::MAX { (2, 3) } else { (3, 4) };
        if !self.is_32_bit {
            load(code, 4, high_mask);
            match self.operator {
                Operator::Equal => code.push(jump(JUMP_EQUAL, high, 0, FAIL)),
                Operator::NotEqual => code.push(jump(JUMP_EQUAL, high, 0, low_length)),
                Operator::Greater | Operator::GreaterOrEqual => {
                    code.push(jump(JUMP_GREATER, high, and_one_more, 0));
                    code.push(jump(JUMP_EQUAL, high, 0, FAIL));
                }
                Operator::Less | Operator::LessOrEqual => {
                    code.push(jump(JUMP_GREATER, high, FAIL, 0));
                    code.push(jump(JUMP_EQUAL, high, 0, low_length));
                }
            }
        }
        load(code, 0, low_mask);
        code.push(match self.operator {
            Operator::Equal => jump(JUMP_EQUAL, low, 0, FAIL),
            Operator::NotEqual => jump(JUMP_EQUAL, low, FAIL, 0),
            Operator::Greater => jump(JUMP_GREATER, low, 0, FAIL),
            Operator::GreaterOrEqual => jump(JUMP_GREATER_OR_EQUAL, low, 0, FAIL),
            Operator::Less => jump(JUMP_GREATER_OR_EQUAL, low, FAIL, 0),
            Operator::LessOrEqual => jump(JUMP_GREATER, low, FAIL, 0),
        });
    }
}

/// The alternatives of a rule: one with all conditions, or, if an argument is named twice, one for each
/// condition (runc's reading: libseccomp takes an argument once in a rule). Empty without conditions.
pub(crate) fn resolve(field: &str, args: &[SyscallArg], is_32_bit: bool) -> Result<Vec<Vec<Condition>>> {
    let one =
        |(at, arg): (usize, &SyscallArg)| Condition::resolve(&format!("{field}.args[{at}]"), arg, is_32_bit);
    let mut all = args.iter().enumerate().map(one).collect::<Result<Vec<_>>>()?;
    let repeated = all.iter().enumerate().any(|(at, c)| all.iter().take(at).any(|d| d.index == c.index));
    let before = all.len();
    all.retain(|condition| !condition.always_holds());
    if repeated && all.len() < before {
        all.clear(); // one of the alternatives always holds
    }
    Ok(match (all.is_empty(), repeated) {
        (true, _) => Vec::new(),
        (false, true) => all.into_iter().map(|condition| vec![condition]).collect(),
        (false, false) => vec![all],
    })
}

/// The code of one alternative: returns `ret` if all conditions hold, else runs off its end.
pub(crate) fn assemble(conditions: &[Condition], ret: u32) -> Vec<Instruction> {
    let mut code = Vec::new();
    for condition in conditions {
        condition.assemble(&mut code);
    }
    code.push(instruction(RETURN, ret));
    // At most six conditions of six instructions: the distance fits.
    for (instruction, distance) in code.iter_mut().rev().zip(0..) {
        if matches!(instruction.code, JUMP_EQUAL | JUMP_GREATER | JUMP_GREATER_OR_EQUAL) {
            for target in [&mut instruction.jt, &mut instruction.jf] {
                if *target == FAIL {
                    *target = distance;
                }
            }
        }
    }
    code
}
