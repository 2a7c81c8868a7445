//! The binary form of `event_data`, `metadata` and the like: canonical, bounded, no JSON text.
//!
//! A value is a tag byte and its content. Keys of an object are sorted and unique, numbers are
//! normalised, so equal values have equal bytes, and a document can be hashed.
//!
//! # Layout
//!
//! | tag | value   | content                                                                   |
//! |----:|---------|---------------------------------------------------------------------------|
//! |   0 | null    | none                                                                      |
//! |   1 | false   | none                                                                      |
//! |   2 | true    | none                                                                      |
//! |   3 | integer | zigzag varint of an i64                                                   |
//! |   4 | integer | varint of a u64 above `i64::MAX`                                          |
//! |   5 | double  | 8 bytes, little-endian; never a number that fits 3 or 4 exactly, see below |
//! |   6 | text    | varint of its bytes, UTF-8                                                |
//! |   7 | array   | varint of its values, the values                                          |
//! |   8 | object  | varint of its members, each: varint of key bytes, key, value              |
//!
//! JSON keeps `1` and `1.0` apart only in writing; here `1.0` stays a double (tag 5), so that what a
//! client sent as a double comes back as one.

use std::sync::Arc;

use crate::error::{Error, Result};

/// Deepest nesting that is decoded; deeper bytes are refused.
pub const DOCUMENT_DEPTH_MAX: usize = 32;

/// A value inside a document, decoded.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing, said explicitly.
    Null,
    /// True or false.
    Bool(bool),
    /// A number that fits an `i64`.
    I64(i64),
    /// A number above `i64::MAX` that fits a `u64`.
    U64(u64),
    /// Any other number; finite.
    F64(f64),
    /// Text.
    Str(String),
    /// A list.
    Array(Vec<Self>),
    /// Members, sorted by key, each key once.
    Object(Vec<(String, Self)>),
}

/// A leaf of a document: what a path can be compared with and grouped by.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// True or false.
    Bool(bool),
    /// A number that fits an `i64`.
    I64(i64),
    /// A number above `i64::MAX`.
    U64(u64),
    /// Any other number.
    F64(f64),
    /// Text.
    Str(Arc<str>),
    /// A null, a list or an object: present, comparable with nothing.
    Other,
}

/// An encoded document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Document(Vec<u8>);

impl Document {
    /// Encodes a value; the keys of objects are sorted, of equal keys the last one wins.
    pub fn encode(value: &Value) -> Self {
        let mut out = Vec::new();
        encode_value(value, &mut out);
        Self(out)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Decodes a whole document.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the bytes are not a canonical document.
    pub fn decode(bytes: &[u8]) -> Result<Value> {
        let mut reader = Reader { bytes, at: 0 };
        let value = reader.value(0)?;
        if reader.at != bytes.len() {
            return Err(Error::invalid("a document with bytes after its end"));
        }
        Ok(value)
    }

    /// The leaf at `path`; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the bytes are not a document.
    pub fn get(bytes: &[u8], path: &[String]) -> Result<Option<Scalar>> {
        let mut reader = Reader { bytes, at: 0 };
        reader.find(path, 0)
    }
}

/// Writes a document member by member, for a parser that streams.
///
/// Members of an object may come in any order; they are sorted when the object ends.
#[derive(Debug, Default)]
pub struct DocumentBuilder {
    stack: Vec<Frame>,
    done: Option<Value>,
}

#[derive(Debug)]
enum Frame {
    Array(Vec<Value>),
    Object(Vec<(String, Value)>, Option<String>),
}

impl DocumentBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens an object.
    pub fn begin_object(&mut self) {
        self.stack.push(Frame::Object(Vec::new(), None));
    }

    /// Opens an array.
    pub fn begin_array(&mut self) {
        self.stack.push(Frame::Array(Vec::new()));
    }

    /// Names the next member of the open object.
    pub fn key(&mut self, key: &str) {
        if let Some(Frame::Object(_, next)) = self.stack.last_mut() {
            *next = Some(key.to_owned());
        }
    }

    /// Adds a leaf.
    pub fn value(&mut self, value: Value) {
        match self.stack.last_mut() {
            None => self.done = Some(value),
            Some(Frame::Array(items)) => items.push(value),
            Some(Frame::Object(members, key)) => {
                if let Some(key) = key.take() {
                    members.push((key, value));
                }
            }
        }
    }

    /// Closes the open object or array.
    pub fn end(&mut self) {
        match self.stack.pop() {
            Some(Frame::Array(items)) => self.value(Value::Array(items)),
            Some(Frame::Object(members, _)) => self.value(Value::Object(members)),
            None => {}
        }
    }

    /// The document, when one whole value was added.
    pub fn finish(self) -> Option<Document> {
        Some(Document::encode(&self.done?))
    }
}

/// Writes a varint: seven bits a byte, the lowest first.
pub(crate) fn put_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn encode_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0),
        Value::Bool(b) => out.push(if *b { 2 } else { 1 }),
        Value::I64(n) => {
            out.push(3);
            put_varint((n.wrapping_shl(1) ^ (n >> 63)).cast_unsigned(), out);
        }
        Value::U64(n) => match i64::try_from(*n) {
            Ok(small) => encode_value(&Value::I64(small), out),
            Err(_) => {
                out.push(4);
                put_varint(*n, out);
            }
        },
        Value::F64(n) => {
            out.push(5);
            out.extend_from_slice(&n.to_bits().to_le_bytes());
        }
        Value::Str(s) => {
            out.push(6);
            put_varint(s.len() as u64, out);
            out.extend_from_slice(s.as_bytes());
        }
        Value::Array(items) => {
            out.push(7);
            put_varint(items.len() as u64, out);
            for item in items {
                encode_value(item, out);
            }
        }
        Value::Object(members) => encode_object(members, out),
    }
}

fn encode_object(members: &[(String, Value)], out: &mut Vec<u8>) {
    let mut sorted: Vec<&(String, Value)> = members.iter().collect();
    // Stable, so of equal keys the last one stays last; the others are dropped.
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let mut unique: Vec<&(String, Value)> = Vec::with_capacity(sorted.len());
    for member in sorted {
        match unique.last_mut() {
            Some(last) if last.0 == member.0 => *last = member,
            _ => unique.push(member),
        }
    }
    out.push(8);
    put_varint(unique.len() as u64, out);
    for (key, value) in unique {
        put_varint(key.len() as u64, out);
        out.extend_from_slice(key.as_bytes());
        encode_value(value, out);
    }
}

/// Reads values; every length is checked against what is left.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8> {
        let b = *self.bytes.get(self.at).ok_or_else(short)?;
        self.at += 1;
        Ok(b)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(len).ok_or_else(short)?;
        let out = self.bytes.get(self.at..end).ok_or_else(short)?;
        self.at = end;
        Ok(out)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let b = self.byte()?;
            let bits = u64::from(b & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Error::invalid("a varint above 64 bits"));
            }
            n |= bits << shift;
            if b & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(Error::invalid("a varint without end"))
    }

    /// A count of things that take at least a byte each.
    fn count(&mut self) -> Result<usize> {
        let n = usize::try_from(self.varint()?).map_err(|_| short())?;
        if n > self.bytes.len() - self.at {
            return Err(short());
        }
        Ok(n)
    }

    fn text(&mut self) -> Result<&'a str> {
        let len = self.count()?;
        std::str::from_utf8(self.take(len)?).map_err(|_| Error::invalid("text in a document that is not UTF-8"))
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        if depth > DOCUMENT_DEPTH_MAX {
            return Err(Error::invalid("a document nested too deep"));
        }
        match self.byte()? {
            7 => {
                let n = self.count()?;
                (0..n).map(|_| self.value(depth + 1)).collect::<Result<_>>().map(Value::Array)
            }
            8 => {
                let n = self.count()?;
                let mut members: Vec<(String, Value)> = Vec::with_capacity(n.min(256));
                for _ in 0..n {
                    let key = self.text()?;
                    if members.last().is_some_and(|(last, _)| last.as_str() >= key) {
                        return Err(Error::invalid("keys of a document out of order"));
                    }
                    members.push((key.to_owned(), self.value(depth + 1)?));
                }
                Ok(Value::Object(members))
            }
            tag => self.leaf(tag),
        }
    }

    fn leaf(&mut self, tag: u8) -> Result<Value> {
        Ok(match tag {
            0 => Value::Null,
            1 => Value::Bool(false),
            2 => Value::Bool(true),
            3 => {
                let n = self.varint()?;
                Value::I64((n >> 1).cast_signed() ^ -(n & 1).cast_signed())
            }
            4 => Value::U64(self.varint()?),
            5 => {
                let mut bits = [0; 8];
                bits.copy_from_slice(self.take(8)?);
                Value::F64(f64::from_bits(u64::from_le_bytes(bits)))
            }
            6 => Value::Str(self.text()?.to_owned()),
            _ => return Err(Error::invalid("an unknown tag in a document")),
        })
    }

    fn find(&mut self, path: &[String], depth: usize) -> Result<Option<Scalar>> {
        if depth > DOCUMENT_DEPTH_MAX {
            return Err(Error::invalid("a document nested too deep"));
        }
        let Some((key, rest)) = path.split_first() else {
            return Ok(Some(match self.value(depth)? {
                Value::Bool(b) => Scalar::Bool(b),
                Value::I64(n) => Scalar::I64(n),
                Value::U64(n) => Scalar::U64(n),
                Value::F64(n) => Scalar::F64(n),
                Value::Str(s) => Scalar::Str(s.into()),
                Value::Null | Value::Array(_) | Value::Object(_) => Scalar::Other,
            }));
        };
        if self.byte()? != 8 {
            return Ok(None);
        }
        for _ in 0..self.count()? {
            let found = self.text()? == key;
            if found {
                return self.find(rest, depth + 1);
            }
            self.value(depth + 1)?;
        }
        Ok(None)
    }
}

fn short() -> Error {
    Error::invalid("a document that ends too early")
}
