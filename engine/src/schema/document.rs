//! The binary form of `event_data`, `metadata` and the like: canonical, bounded, no JSON text.
//!
//! A value is a tag byte and its content. Keys of an object are sorted and unique, numbers are
//! normalised, so equal values have equal bytes, and a document can be hashed.
//!
//! The bytes are described in `docs/format/encodings.md`.

use std::cmp::Ordering;
use std::sync::Arc;

pub(crate) use crate::codec::put_varint;
use crate::codec::{Cursor, Decoded, Malformed};
use crate::error::{Error, Result};

/// Deepest nesting that is decoded; deeper bytes are refused.
pub const DOCUMENT_DEPTH_MAX: usize = 32;

pub(super) const TAG_NULL: u8 = 0;
pub(super) const TAG_FALSE: u8 = 1;
pub(super) const TAG_TRUE: u8 = 2;
pub(super) const TAG_I64: u8 = 3;
pub(super) const TAG_U64: u8 = 4;
pub(super) const TAG_F64: u8 = 5;
pub(super) const TAG_TEXT: u8 = 6;
pub(super) const TAG_ARRAY: u8 = 7;
pub(super) const TAG_OBJECT: u8 = 8;

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

/// A scalar whose text is where it lies in its document.
#[derive(Debug, Clone, PartialEq)]
pub enum ScalarRef<'a> {
    /// Text.
    Text(&'a str),
    /// Anything else.
    Other(Scalar),
}

impl From<ScalarRef<'_>> for Scalar {
    fn from(scalar: ScalarRef<'_>) -> Self {
        match scalar {
            ScalarRef::Text(text) => Self::Str(text.into()),
            ScalarRef::Other(scalar) => scalar,
        }
    }
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
        let mut reader = Reader::new(bytes);
        let value = reader.value(0).map_err(invalid)?;
        reader.cursor.end().map_err(invalid)?;
        Ok(value)
    }

    /// The leaf at `path`; `None` when there is none. What is passed over on the way is not looked at closely: whether
    /// all of it is a document says [`Self::decode`].
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the way there is not one through a document.
    pub fn get(bytes: &[u8], path: &[String]) -> Result<Option<Scalar>> {
        Ok(Self::leaf(bytes, path)?.map(Scalar::from))
    }

    /// The leaf at `path`, its text not copied; `None` when there is none.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn leaf<'a>(bytes: &'a [u8], path: &[String]) -> Result<Option<ScalarRef<'a>>> {
        Reader::new(bytes).find(path, 0).map_err(invalid)
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

fn encode_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(TAG_NULL),
        Value::Bool(b) => put_bool(*b, out),
        Value::I64(n) => put_i64(*n, out),
        Value::U64(n) => {
            if let Ok(small) = i64::try_from(*n) {
                put_i64(small, out);
            } else {
                out.push(TAG_U64);
                put_varint(*n, out);
            }
        }
        Value::F64(n) => put_f64(*n, out),
        Value::Str(s) => put_text(s, out),
        Value::Array(items) => {
            out.push(TAG_ARRAY);
            put_varint(items.len() as u64, out);
            for item in items {
                encode_value(item, out);
            }
        }
        Value::Object(members) => encode_object(members, out),
    }
}

pub(super) fn put_bool(value: bool, out: &mut Vec<u8>) {
    out.push(if value { TAG_TRUE } else { TAG_FALSE });
}

pub(super) fn put_i64(value: i64, out: &mut Vec<u8>) {
    out.push(TAG_I64);
    put_varint((value.wrapping_shl(1) ^ (value >> 63)).cast_unsigned(), out);
}

pub(super) fn put_f64(value: f64, out: &mut Vec<u8>) {
    out.push(TAG_F64);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

pub(super) fn put_text(value: &str, out: &mut Vec<u8>) {
    out.push(TAG_TEXT);
    put_key(value, out);
}

/// Writes the head of an object of `members` members; each follows as a key and a value, keys ascending.
pub(super) fn put_object(members: usize, out: &mut Vec<u8>) {
    out.push(TAG_OBJECT);
    put_varint(members as u64, out);
}

pub(super) fn put_key(key: &str, out: &mut Vec<u8>) {
    put_varint(key.len() as u64, out);
    out.extend_from_slice(key.as_bytes());
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
    put_object(unique.len(), out);
    for (key, value) in unique {
        put_key(key, out);
        encode_value(value, out);
    }
}

/// Reads canonical values; every length is checked against what is left.
pub(super) struct Reader<'a> {
    pub(super) cursor: Cursor<'a>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { cursor: Cursor::new(bytes) }
    }

    /// A count of things that take at least a byte each.
    pub(super) fn count(&mut self) -> Decoded<usize> {
        let left = self.cursor.rest().len();
        self.cursor.len(left)
    }

    pub(super) fn text(&mut self) -> Decoded<&'a str> {
        let len = self.count()?;
        std::str::from_utf8(self.cursor.take(len)?).map_err(|_| Malformed("text that is not UTF-8"))
    }

    fn value(&mut self, depth: usize) -> Decoded<Value> {
        check_depth(depth)?;
        match self.cursor.u8()? {
            TAG_ARRAY => {
                let n = self.count()?;
                (0..n).map(|_| self.value(depth + 1)).collect::<Decoded<_>>().map(Value::Array)
            }
            TAG_OBJECT => {
                let n = self.count()?;
                let mut members: Vec<(String, Value)> = Vec::with_capacity(n.min(256));
                for _ in 0..n {
                    let key = self.text()?;
                    check_order(members.last().map(|(last, _)| last.as_str()), key)?;
                    members.push((key.to_owned(), self.value(depth + 1)?));
                }
                Ok(Value::Object(members))
            }
            tag => Ok(match self.leaf(tag)? {
                None => Value::Null,
                Some(Scalar::Bool(b)) => Value::Bool(b),
                Some(Scalar::I64(n)) => Value::I64(n),
                Some(Scalar::U64(n)) => Value::U64(n),
                Some(Scalar::F64(n)) => Value::F64(n),
                Some(Scalar::Str(s)) => Value::Str(s.as_ref().to_owned()),
                Some(Scalar::Other) => return Err(Malformed("an unknown tag")),
            }),
        }
    }

    /// The leaf behind a tag that is no list and no object; `None` is null.
    pub(super) fn leaf(&mut self, tag: u8) -> Decoded<Option<Scalar>> {
        Ok(Some(match tag {
            TAG_NULL => return Ok(None),
            TAG_FALSE => Scalar::Bool(false),
            TAG_TRUE => Scalar::Bool(true),
            TAG_I64 => {
                let n = self.cursor.varint()?;
                Scalar::I64((n >> 1).cast_signed() ^ -(n & 1).cast_signed())
            }
            TAG_U64 => {
                let n = self.cursor.varint()?;
                if i64::try_from(n).is_ok() {
                    return Err(Malformed("a small number with the tag of a large one"));
                }
                Scalar::U64(n)
            }
            TAG_F64 => Scalar::F64(f64::from_bits(self.cursor.u64()?)),
            TAG_TEXT => Scalar::Str(self.text()?.into()),
            _ => return Err(Malformed("an unknown tag")),
        }))
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self, depth: usize) -> Decoded<()> {
        check_depth(depth)?;
        match self.cursor.u8()? {
            TAG_ARRAY => (0..self.count()?).try_for_each(|_| self.skip(depth + 1)),
            TAG_OBJECT => {
                let mut last = None;
                for _ in 0..self.count()? {
                    let key = self.text()?;
                    check_order(last.replace(key), key)?;
                    self.skip(depth + 1)?;
                }
                Ok(())
            }
            TAG_TEXT => self.text().map(|_| ()),
            tag => self.leaf(tag).map(|_| ()),
        }
    }

    /// Passes over a value that nobody wants to know: its text may be anything.
    fn pass(&mut self, depth: usize) -> Decoded<()> {
        check_depth(depth)?;
        if self.cursor.rest().first() != Some(&TAG_TEXT) {
            return self.skip(depth);
        }
        self.cursor.u8()?;
        let len = self.count()?;
        self.cursor.take(len).map(|_| ())
    }

    fn find(&mut self, path: &[String], depth: usize) -> Decoded<Option<ScalarRef<'a>>> {
        check_depth(depth)?;
        let tag = self.cursor.u8()?;
        let Some((key, rest)) = path.split_first() else {
            return Ok(Some(match tag {
                TAG_TEXT => ScalarRef::Text(self.text()?),
                TAG_ARRAY | TAG_OBJECT => ScalarRef::Other(Scalar::Other),
                _ => ScalarRef::Other(self.leaf(tag)?.unwrap_or(Scalar::Other)),
            }));
        };
        if tag != TAG_OBJECT {
            return Ok(None);
        }
        for _ in 0..self.count()? {
            let len = self.count()?;
            let member = self.cursor.take(len)?;
            // Keys ascend, so a greater one means that there is no such member.
            match member.cmp(key.as_bytes()) {
                Ordering::Less => self.pass(depth + 1)?,
                Ordering::Equal => return self.find(rest, depth + 1),
                Ordering::Greater => return Ok(None),
            }
        }
        Ok(None)
    }
}

pub(super) const fn check_depth(depth: usize) -> Decoded<()> {
    if depth > DOCUMENT_DEPTH_MAX { Err(Malformed("nested too deep")) } else { Ok(()) }
}

pub(super) fn check_order(last: Option<&str>, key: &str) -> Decoded<()> {
    if last.is_some_and(|last| last >= key) { Err(Malformed("keys out of order")) } else { Ok(()) }
}

fn invalid(reason: Malformed) -> Error {
    Error::invalid(format!("a document that is damaged: {reason}"))
}

#[cfg(test)]
pub(crate) mod tests;
