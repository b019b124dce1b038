//! The wire format of Protocol Buffers (protobuf.dev, "Encoding"), as far as criu's messages need it:
//! variable-length numbers, byte strings and messages in messages. A crate for it would be larger than all of
//! this runtime's own code.

use crate::error::{Error, Kind, Result};

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// A message in the making.
#[derive(Debug, Default, Clone)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Adds a number, an enumeration's value or (0, 1) a truth value.
    pub fn number(&mut self, field: u32, value: u64) {
        self.varint(u64::from(field) << 3 | VARINT);
        self.varint(value);
    }

    /// Adds a string or bytes.
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.varint(u64::from(field) << 3 | BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// Adds a message.
    pub fn message(&mut self, field: u32, value: &Writer) {
        self.bytes(field, &value.0);
    }

    /// The encoded message.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn varint(&mut self, mut value: u64) {
        loop {
            let [lowest, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                return self.0.push(lowest);
            }
            self.0.push(lowest | 0x80);
        }
    }
}

/// A field's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number of whatever encoding.
    Number(u64),
    /// A string, bytes or a message.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// As `int32`: negative ones travel with 64 bits.
    pub fn int(self) -> i32 {
        match self {
            #[expect(clippy::cast_possible_truncation, reason = "the upper half is the sign's")]
            Value::Number(number) => number as i32,
            Value::Bytes(_) => 0,
        }
    }

    /// As `bool`.
    pub fn is_true(self) -> bool {
        matches!(self, Value::Number(number) if number != 0)
    }

    /// As bytes; a number has none.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Value::Bytes(bytes) => bytes,
            Value::Number(_) => &[],
        }
    }

    /// As `string`.
    pub fn text(self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }
}

/// All fields of a message, in order: number and content.
pub fn fields(message: &[u8]) -> Result<Vec<(u32, Value<'_>)>> {
    let mut rest = message;
    let mut result = Vec::new();
    while !rest.is_empty() {
        let tag = take_varint(&mut rest)?;
        let value = match tag & 7 {
            VARINT => Value::Number(take_varint(&mut rest)?),
            FIXED64 => Value::Number(little_endian(take(&mut rest, 8)?)),
            FIXED32 => Value::Number(little_endian(take(&mut rest, 4)?)),
            BYTES => {
                let length = take_varint(&mut rest)?;
                Value::Bytes(take(&mut rest, length)?)
            }
            _ => return Err(malformed()),
        };
        result.push((u32::try_from(tag >> 3).map_err(|_| malformed())?, value));
    }
    Ok(result)
}

fn malformed() -> Error {
    Error::new(Kind::System, "malformed message from criu")
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8]> {
    let length = usize::try_from(length).map_err(|_| malformed())?;
    let (taken, left) = rest.split_at_checked(length).ok_or_else(malformed)?;
    *rest = left;
    Ok(taken)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first().ok_or_else(malformed)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(malformed())
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_specification() {
        let mut inner = Writer::default();
        inner.number(1, 150);
        let mut outer = Writer::default();
        outer.message(3, &inner);
        outer.bytes(2, b"testing");
        // The examples of protobuf.dev, "Encoding".
        assert_eq!(inner.as_bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(outer.as_bytes(), b"\x1a\x03\x08\x96\x01\x12\x07testing");
    }

    #[test]
    fn what_is_written_is_read_and_negative_numbers_too() {
        let mut message = Writer::default();
        message.number(7, i64::from(-17i32) as u64);
        message.number(63, u64::MAX);
        message.bytes(9, b"");
        let read = fields(message.as_bytes()).unwrap();
        assert_eq!(read[0].1.int(), -17);
        assert_eq!(read[1], (63, Value::Number(u64::MAX)));
        assert_eq!(read[2], (9, Value::Bytes(b"")));
    }

    #[test]
    fn fixed_numbers_are_read_and_cut_messages_refused() {
        assert_eq!(fields(b"\x0d\x01\x02\x00\x00").unwrap(), [(1, Value::Number(0x201))]);
        for bad in [
            &b"\x08"[..],
            b"\x12\x05abc",
            b"\x0b",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x09\x01",
        ] {
            assert!(fields(bad).is_err(), "{bad:?}");
        }
    }
}
