//! D-Bus values as bytes and back (D-Bus specification, "Marshaling"): little-endian, each value aligned to its
//! natural size from the start of the message, of which header and body both begin at a multiple of eight.
//!
//! Only what systemd's manager takes and gives is here. Everything read is checked against the bytes that are
//! there, whoever sent them.

use crate::error::{Error, Kind, Result};

/// A value with its type.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Bool(bool),
    /// `n`
    I16(i16),
    /// `q`
    U16(u16),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `d`
    Double(f64),
    /// `s`
    Str(String),
    /// `o`
    Path(String),
    /// `g`
    Signature(String),
    /// `a`, with the signature of an element, which an empty array has too.
    Array(String, Vec<Value>),
    /// `(...)`
    Struct(Vec<Value>),
    /// `v`
    Variant(Box<Value>),
}

/// Deeper nesting is refused (the specification allows 64).
const MAX_DEPTH: usize = 16;

impl Value {
    /// Its type.
    pub fn signature(&self) -> String {
        let plain = match self {
            Value::Byte(_) => "y",
            Value::Bool(_) => "b",
            Value::I16(_) => "n",
            Value::U16(_) => "q",
            Value::I32(_) => "i",
            Value::U32(_) => "u",
            Value::I64(_) => "x",
            Value::U64(_) => "t",
            Value::Double(_) => "d",
            Value::Str(_) => "s",
            Value::Path(_) => "o",
            Value::Signature(_) => "g",
            Value::Variant(_) => "v",
            Value::Array(element, _) => return format!("a{element}"),
            Value::Struct(fields) => return format!("({})", signature_of(fields)),
        };
        plain.to_owned()
    }

    /// The text of a string, a path or a signature.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Str(text) | Value::Path(text) | Value::Signature(text) => Some(text),
            Value::Variant(inner) => inner.text(),
            _ => None,
        }
    }

    /// Appends it to a message.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Byte(v) => out.push(*v),
            Value::Bool(v) => put(out, 4, &u32::from(*v).to_le_bytes()),
            Value::I16(v) => put(out, 2, &v.to_le_bytes()),
            Value::U16(v) => put(out, 2, &v.to_le_bytes()),
            Value::I32(v) => put(out, 4, &v.to_le_bytes()),
            Value::U32(v) => put(out, 4, &v.to_le_bytes()),
            Value::I64(v) => put(out, 8, &v.to_le_bytes()),
            Value::U64(v) => put(out, 8, &v.to_le_bytes()),
            Value::Double(v) => put(out, 8, &v.to_le_bytes()),
            Value::Str(text) | Value::Path(text) => {
                put(out, 4, &length(text.len()).to_le_bytes());
                out.extend([text.as_bytes(), &[0]].concat());
            }
            Value::Signature(text) => write_signature(text, out),
            Value::Array(element, values) => write_array(element, values, out),
            Value::Struct(fields) => {
                pad(out, 8);
                fields.iter().for_each(|field| field.write(out));
            }
            Value::Variant(inner) => {
                write_signature(&inner.signature(), out);
                inner.write(out);
            }
        }
    }
}

/// The types of several values in a row.
pub fn signature_of(values: &[Value]) -> String {
    values.iter().map(Value::signature).collect()
}

/// A length as messages have it. What is longer than that the other end refuses, as it refuses all that is beyond its
/// limits, which are far below.
pub fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn write_signature(text: &str, out: &mut Vec<u8>) {
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend([text.as_bytes(), &[0]].concat());
}

/// The length counts the elements, not the padding before the first.
fn write_array(element: &str, values: &[Value], out: &mut Vec<u8>) {
    pad(out, 4);
    let length_at = out.len();
    out.extend([0; 4]);
    pad(out, alignment(element.as_bytes()));
    let start = out.len();
    values.iter().for_each(|value| value.write(out));
    let length = length(out.len().saturating_sub(start));
    for (to, from) in out.iter_mut().skip(length_at).zip(length.to_le_bytes()) {
        *to = from;
    }
}

fn put(out: &mut Vec<u8>, align: usize, bytes: &[u8]) {
    pad(out, align);
    out.extend(bytes);
}

/// Fills up with zeros to a multiple of `align`.
pub fn pad(out: &mut Vec<u8>, align: usize) {
    out.resize(out.len().next_multiple_of(align), 0);
}

fn alignment(signature: &[u8]) -> usize {
    match signature.first() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'o' | b'a') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

/// Reads values off a message.
#[derive(Debug)]
pub struct Reader<'a> {
    data: &'a [u8],
    at: usize,
}

fn malformed() -> Error {
    Error::new(Kind::System, "malformed D-Bus message")
}

impl<'a> Reader<'a> {
    /// From the first byte of `data`, which is the first of a header or a body.
    pub fn new(data: &'a [u8]) -> Self {
        Reader { data, at: 0 }
    }

    /// All values of these types.
    pub fn values(&mut self, signature: &str) -> Result<Vec<Value>> {
        self.list(signature.as_bytes(), 0)
    }

    fn list(&mut self, mut signature: &[u8], depth: usize) -> Result<Vec<Value>> {
        let mut values = Vec::new();
        while !signature.is_empty() {
            let (first, rest) = signature.split_at(first_type(signature, depth)?);
            values.push(self.value(first, depth)?);
            signature = rest;
        }
        Ok(values)
    }

    fn value(&mut self, signature: &[u8], depth: usize) -> Result<Value> {
        self.align(alignment(signature))?;
        let (first, inner) = signature.split_first().ok_or_else(malformed)?;
        Ok(match first {
            b'y' => Value::Byte(self.byte()?),
            b'b' => Value::Bool(self.u32()? != 0),
            b'n' => Value::I16(i16::from_le_bytes(self.array()?)),
            b'q' => Value::U16(u16::from_le_bytes(self.array()?)),
            b'i' => Value::I32(i32::from_le_bytes(self.array()?)),
            b'u' | b'h' => Value::U32(self.u32()?),
            b'x' => Value::I64(i64::from_le_bytes(self.array()?)),
            b't' => Value::U64(u64::from_le_bytes(self.array()?)),
            b'd' => Value::Double(f64::from_le_bytes(self.array()?)),
            b's' => Value::Str(self.string()?),
            b'o' => Value::Path(self.string()?),
            b'g' => Value::Signature(self.signature()?),
            b'v' => {
                let inner = self.signature()?;
                let mut values = self.list(inner.as_bytes(), depth.saturating_add(1))?;
                let value = values.pop().filter(|_| values.is_empty()).ok_or_else(malformed)?;
                Value::Variant(Box::new(value))
            }
            b'a' => self.elements(inner, depth)?,
            b'(' | b'{' => {
                let (_, inner) = inner.split_last().ok_or_else(malformed)?;
                Value::Struct(self.list(inner, depth.saturating_add(1))?)
            }
            _ => return Err(malformed()),
        })
    }

    fn elements(&mut self, element: &[u8], depth: usize) -> Result<Value> {
        let length = self.u32()? as usize;
        self.align(alignment(element))?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.data.len()).ok_or_else(malformed)?;
        let mut values = Vec::new();
        while self.at < end {
            values.push(self.value(element, depth.saturating_add(1))?);
        }
        let element = String::from_utf8(element.to_vec()).map_err(|_| malformed())?;
        if self.at == end { Ok(Value::Array(element, values)) } else { Err(malformed()) }
    }

    fn align(&mut self, align: usize) -> Result<()> {
        let padding = self.at.next_multiple_of(align).saturating_sub(self.at);
        self.take(padding).map(|_| ())
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count).ok_or_else(malformed)?;
        let bytes = self.data.get(self.at..end).ok_or_else(malformed)?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| malformed())
    }

    fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn string(&mut self) -> Result<String> {
        let length = self.u32()? as usize;
        self.text(length)
    }

    fn signature(&mut self) -> Result<String> {
        let length = self.byte()?;
        self.text(length.into())
    }

    fn text(&mut self, length: usize) -> Result<String> {
        let bytes = self.take(length)?.to_vec();
        if self.take(1)? != [0] {
            return Err(malformed());
        }
        String::from_utf8(bytes).map_err(|_| malformed())
    }
}

/// The length of the first complete type.
fn first_type(signature: &[u8], depth: usize) -> Result<usize> {
    if depth > MAX_DEPTH {
        return Err(malformed());
    }
    let (first, inner) = signature.split_first().ok_or_else(malformed)?;
    let depth = depth.saturating_add(1);
    match first {
        b'a' => Ok(first_type(inner, depth)?.saturating_add(1)),
        b'(' | b'{' => {
            let mut rest = inner;
            while !matches!(rest.first(), Some(b')' | b'}')) {
                rest = rest.get(first_type(rest, depth)?..).ok_or_else(malformed)?;
            }
            if rest.len() == inner.len() {
                return Err(malformed()); // an empty struct would take no bytes
            }
            Ok(signature.len().saturating_sub(rest.len()).saturating_add(1))
        }
        _ => Ok(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were_written() {
        let variant = |value| Value::Variant(Box::new(value));
        let values = vec![
            Value::Byte(7),
            Value::Str("a.scope".into()),
            Value::Array("t".into(), vec![]),
            Value::Array(
                "(sv)".into(),
                vec![
                    Value::Struct(vec![
                        Value::Str("PIDs".into()),
                        variant(Value::Array("u".into(), vec![Value::U32(1)])),
                    ]),
                    Value::Struct(vec![Value::Str("Delegate".into()), variant(Value::Bool(true))]),
                ],
            ),
            Value::Struct(vec![Value::I16(-1), Value::U64(u64::MAX), Value::Double(0.5)]),
            Value::Path("/x".into()),
        ];
        let mut bytes = Vec::new();
        values.iter().for_each(|value| value.write(&mut bytes));
        let signature = signature_of(&values);
        assert_eq!(signature, "ysata(sv)(ntd)o");
        assert_eq!(Reader::new(&bytes).values(&signature).unwrap(), values);
        for length in 0..bytes.len() {
            assert!(Reader::new(&bytes[..length]).values(&signature).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn hostile_messages_are_refused() {
        let deep = "a".repeat(200) + "y";
        for (signature, bytes) in [
            (deep.as_str(), &[0; 64][..]),
            ("(", &[0; 8]),
            ("()", &[0; 8]),
            ("a()", &[8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ("s", &[255, 255, 255, 255, 0]),
            ("s", &[1, 0, 0, 0, b'x', b'y']),
            ("ay", &[9, 0, 0, 0, 1]),
            ("v", &[2, b'y', b'y', 0, 1, 1]),
            ("?", &[0; 8]),
        ] {
            assert!(Reader::new(bytes).values(signature).is_err(), "{signature}");
        }
    }
}
