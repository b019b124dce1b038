//! The values of `org.systemd.property.*` annotations: GVariant's text format (GLib documentation, "GVariant Text
//! Format"), as far as properties of units need it. Numbers without a type are 32-bit, as there.

use super::wire::Value;
use crate::error::{Error, Result};

/// The words that give a number its type, with D-Bus's letter for it.
const TYPES: [(&str, u8); 12] = [
    ("byte", b'y'),
    ("boolean", b'b'),
    ("int16", b'n'),
    ("uint16", b'q'),
    ("int32", b'i'),
    ("uint32", b'u'),
    ("int64", b'x'),
    ("uint64", b't'),
    ("double", b'd'),
    ("string", b's'),
    ("objectpath", b'o'),
    ("signature", b'g'),
];

/// Arrays and tuples may not be nested deeper.
const MAX_DEPTH: u8 = 8;

/// The value that a text stands for.
pub fn parse(text: &str) -> Result<Value> {
    let mut parser = Parser { rest: text };
    let value = parser.value(None, 0)?;
    parser.skip_space();
    if parser.rest.is_empty() { Ok(value) } else { Err(parser.unexpected()) }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn unexpected(&self) -> Error {
        match self.rest.chars().next() {
            Some(_) => Error::invalid(format!("unexpected {:?}", self.rest)),
            None => Error::invalid("ends too early"),
        }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: char) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// A value, of this type when that is known already.
    fn value(&mut self, kind: Option<&str>, depth: u8) -> Result<Value> {
        self.skip_space();
        match self.rest.chars().next() {
            _ if depth > MAX_DEPTH => Err(Error::invalid("is nested too deep")),
            Some('@') => {
                self.eat('@');
                let kind = self.take_while(|c| c.is_ascii_alphabetic() || c == '(' || c == ')');
                self.value(Some(kind), depth)
            }
            Some('[') => self.array(kind.and_then(|kind| kind.strip_prefix('a')), depth),
            Some('(') => self.tuple(depth),
            Some('\'' | '"') => {
                let text = self.string()?;
                Ok(match kind {
                    Some("o") => Value::Path(text),
                    Some("g") => Value::Signature(text),
                    Some("s") | None => Value::Str(text),
                    Some(_) => return Err(Error::invalid(format!("{text:?} is a string"))),
                })
            }
            Some(c) if c.is_ascii_alphanumeric() || "+-.".contains(c) => self.word(kind, depth),
            _ => Err(self.unexpected()),
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// `true`, `false`, a number, or a type's name before one of them.
    fn word(&mut self, kind: Option<&str>, depth: u8) -> Result<Value> {
        let word = self.take_while(|c| c.is_ascii_alphanumeric() || "+-._".contains(c));
        if let Some((_, letter)) = TYPES.iter().find(|(name, _)| *name == word) {
            return self.value(Some(char::from(*letter).encode_utf8(&mut [0; 4])), depth.saturating_add(1));
        }
        match (word, kind) {
            ("true" | "false", None | Some("b")) => Ok(Value::Bool(word == "true")),
            _ => number(word, kind),
        }
    }

    fn string(&mut self) -> Result<String> {
        let mut characters = self.rest.chars();
        let quote = characters.next();
        let mut text = String::new();
        loop {
            match characters.next() {
                None => return Err(Error::invalid("a string has no end")),
                end if end == quote => break,
                Some('\\') => match characters.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('\n') => {}
                    Some(plain @ ('\\' | '\'' | '"')) => text.push(plain),
                    _ => return Err(Error::invalid("a string has an unknown escape")),
                },
                Some('\0') => return Err(Error::invalid("a string has a NUL")),
                Some(plain) => text.push(plain),
            }
        }
        self.rest = characters.as_str();
        Ok(text)
    }

    /// The first element's type is that of all.
    fn array(&mut self, element: Option<&str>, depth: u8) -> Result<Value> {
        self.eat('[');
        let mut element = element.map(str::to_owned);
        let mut values: Vec<Value> = Vec::new();
        while !self.eat(']') {
            if !values.is_empty() && !self.eat(',') {
                return Err(self.unexpected());
            }
            let value = self.value(element.as_deref(), depth.saturating_add(1))?;
            let kind = value.signature();
            if element.get_or_insert_with(|| kind.clone()) != &kind {
                return Err(Error::invalid("an array's elements are of different types"));
            }
            values.push(value);
        }
        let element = element.ok_or_else(|| Error::invalid("an empty array needs a type, as in @as []"))?;
        Ok(Value::Array(element, values))
    }

    fn tuple(&mut self, depth: u8) -> Result<Value> {
        self.eat('(');
        let mut fields = Vec::new();
        while !self.eat(')') {
            if !fields.is_empty() && !self.eat(',') {
                return Err(self.unexpected());
            }
            fields.push(self.value(None, depth.saturating_add(1))?);
        }
        if fields.is_empty() { Err(Error::invalid("a tuple is empty")) } else { Ok(Value::Struct(fields)) }
    }
}

fn number(word: &str, kind: Option<&str>) -> Result<Value> {
    let wrong = || Error::invalid(format!("{word:?} is not a value of type {:?}", kind.unwrap_or("i")));
    if kind == Some("d") || (kind.is_none() && word.contains('.')) {
        return word.parse().map(Value::Double).map_err(|_| wrong());
    }
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let magnitude = match digits.strip_prefix("0x") {
        Some(digits) => i128::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    let value = magnitude
        .ok()
        .filter(|v| *v >= 0)
        .map(|v| if negative { v.saturating_neg() } else { v })
        .ok_or_else(wrong)?;
    Ok(match kind {
        Some("y") => Value::Byte(value.try_into().map_err(|_| wrong())?),
        Some("n") => Value::I16(value.try_into().map_err(|_| wrong())?),
        Some("q") => Value::U16(value.try_into().map_err(|_| wrong())?),
        Some("i") | None => Value::I32(value.try_into().map_err(|_| wrong())?),
        Some("u") => Value::U32(value.try_into().map_err(|_| wrong())?),
        Some("x") => Value::I64(value.try_into().map_err(|_| wrong())?),
        Some("t") => Value::U64(value.try_into().map_err(|_| wrong())?),
        Some(_) => return Err(wrong()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_typed_values() {
        let text = |s: &str| Value::Str(s.to_owned());
        for (given, value) in [
            ("'inactive-or-failed'", text("inactive-or-failed")),
            (r#" "it's \"so\"" "#, text("it's \"so\"")),
            ("true", Value::Bool(true)),
            ("-7", Value::I32(-7)),
            ("0x10", Value::I32(16)),
            ("uint64 123456789", Value::U64(123_456_789)),
            ("@t 5", Value::U64(5)),
            ("byte 255", Value::Byte(255)),
            ("1.5", Value::Double(0.5 + 1.0)),
            ("double 2", Value::Double(2.0)),
            ("objectpath '/x'", Value::Path("/x".into())),
            ("['a', 'b']", Value::Array("s".into(), vec![text("a"), text("b")])),
            ("[uint32 1, 2]", Value::Array("u".into(), vec![Value::U32(1), Value::U32(2)])),
            ("@as []", Value::Array("s".into(), vec![])),
            ("('x', uint64 1)", Value::Struct(vec![text("x"), Value::U64(1)])),
        ] {
            assert_eq!(parse(given).unwrap(), value, "{given}");
        }
    }

    #[test]
    fn wrong_texts_are_refused() {
        for bad in [
            "",
            "'x",
            "5x",
            "uint64",
            "uint64 -1",
            "byte 256",
            "3000000000",
            "[]",
            "[1, 'a']",
            "[1 2]",
            "1 2",
            "()",
            "foo",
            "uint64 'x'",
            "string 5",
            "--5",
            "0x",
            "-0x-5",
            "@",
            &"[".repeat(99),
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
