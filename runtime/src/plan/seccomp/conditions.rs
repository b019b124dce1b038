//! Conditions on arguments (config-linux.md, "Seccomp", `args`) and their BPF code.
//!
//! A 64-bit argument is two 32-bit loads, the upper half first. In the code of one condition, falling out at
//! the end means that it holds; a jump to `FAIL` leaves for the next alternative and is patched once the
//! length of the whole alternative is known.

use super::Instruction;
use crate::error::{Error, Result};
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
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

impl Condition {
    /// Argument `index` equals `value`, as a 32-bit number.
    pub(crate) fn equal(index: u32, value: u64) -> Condition {
        Condition { index, operator: Operator::Equal, value, mask: u64::MAX, is_32_bit: true }
    }

    fn resolve(field: &str, arg: &SyscallArg, is_32_bit: bool) -> Result<Condition> {
        if arg.index > 5 {
            return Err(Error::invalid(format!("{field}.index: {} is above 5", arg.index)));
        }
        let (operator, value, mask) = match arg.op.as_str() {
            "SCMP_CMP_EQ" => (Operator::Equal, arg.value, u64::MAX),
            "SCMP_CMP_NE" => (Operator::NotEqual, arg.value, u64::MAX),
            "SCMP_CMP_GT" => (Operator::Greater, arg.value, u64::MAX),
            "SCMP_CMP_GE" => (Operator::GreaterOrEqual, arg.value, u64::MAX),
            "SCMP_CMP_LT" => (Operator::Less, arg.value, u64::MAX),
            "SCMP_CMP_LE" => (Operator::LessOrEqual, arg.value, u64::MAX),
            "SCMP_CMP_MASKED_EQ" => (Operator::Equal, arg.value_two & arg.value, arg.value),
            other => return Err(Error::invalid(format!("{field}.op: unknown operator {other:?}"))),
        };
        Ok(Condition { index: arg.index, operator, value, mask, is_32_bit })
    }

    fn assemble(&self, code: &mut Vec<Instruction>) {
        let (high, low) = ((self.value >> 32) as u32, self.value as u32);
        let load = |code: &mut Vec<Instruction>, offset: u32, mask: u32| {
            code.push(instruction(LOAD, 16 + 8 * self.index + offset));
            if mask != u32::MAX {
                code.push(instruction(AND, mask));
            }
        };
        let low_mask = self.mask as u32;
        // How many instructions the lower half takes: a load, perhaps a mask, a jump.
        let low_length = if low_mask == u32::MAX { 2 } else { 3 };
        if !self.is_32_bit {
            load(code, 4, (self.mask >> 32) as u32);
            match self.operator {
                Operator::Equal => code.push(jump(JUMP_EQUAL, high, 0, FAIL)),
                Operator::NotEqual => code.push(jump(JUMP_EQUAL, high, 0, low_length)),
                Operator::Greater | Operator::GreaterOrEqual => {
                    code.push(jump(JUMP_GREATER, high, low_length + 1, 0));
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
    let all = args.iter().enumerate().map(one).collect::<Result<Vec<_>>>()?;
    let repeated = all.iter().enumerate().any(|(at, c)| all[..at].iter().any(|d| d.index == c.index));
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
    let length = code.len();
    for (at, instruction) in code.iter_mut().enumerate() {
        // At most six conditions of six instructions: the distance fits.
        let distance = (length - at - 1) as u8;
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
