//! The one grammar of all streams: an object, an array, `{"events": [...]}`, or a JSON value a line.
//!
//! Text is read once and records are given on as they come. Only text that is no JSON ends the
//! reading; everything else that is wrong is a fault of its record.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::document::{DEPTH_MAX, Scratch};
use super::fault::{Path, code};
use super::raw::{Key, Raw};
use super::record::{Record, Sink};

/// The members of an object that hold the records of a batch.
pub const LIST_KEYS: [&str; 4] = ["events", "records", "points", "batch"];

/// Deepest nesting that is searched for a number that no double holds.
const SEARCH_DEPTH_MAX: usize = DEPTH_MAX + 1;

/// Whether a body was one record or a list of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One object that is a record.
    Single,
    /// A list, whatever its length.
    Batch,
}

/// A body that cannot be read as records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The text is no JSON.
    #[error("{reason} at line {line} column {column}")]
    Malformed {
        /// What is wrong.
        reason: String,
        /// The line, from 1.
        line: usize,
        /// The column in bytes, from 1.
        column: usize,
    },
    /// There are more records than a body may have.
    #[error("a body has at most {max} records")]
    TooMany {
        /// Most records of a body.
        max: usize,
    },
}

/// Reads a body that is one JSON value.
///
/// # Errors
///
/// [`BodyError`]; the sink then holds a part of the records, which must not be kept.
pub fn read_json<'de, S: Sink<'de>>(
    body: &'de [u8],
    records_max: usize,
    sink: &mut S,
    scratch: &mut Scratch,
) -> Result<Shape, BodyError> {
    let text = utf8(body)?;
    let mut reading = Reading { sink, scratch, records: 0, records_max, record: PhantomData };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let result =
        Body(&mut reading).deserialize(&mut deserializer).and_then(|s| deserializer.end().map(|()| s));
    match result {
        Ok(shape) => Ok(shape),
        Err(_) if reading.records > records_max => Err(BodyError::TooMany { max: records_max }),
        Err(error) if is_out_of_range(&error) => {
            reading.sink.reset();
            reading.records = 0;
            read_apart(text, &mut reading)
        }
        Err(error) => Err(malformed(&error)),
    }
}

/// Reads a body of one JSON object a line. A line that is no JSON is a fault of that record alone;
/// blank lines are no records.
///
/// # Errors
///
/// [`BodyError::TooMany`]; the sink then holds a part of the records, which must not be kept.
pub fn read_lines<'de, S: Sink<'de>>(
    body: &'de [u8],
    records_max: usize,
    sink: &mut S,
    scratch: &mut Scratch,
) -> Result<Shape, BodyError> {
    let mut reading = Reading { sink, scratch, records: 0, records_max, record: PhantomData };
    for (line_index, line) in body.split(|b| *b == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if reading.records == records_max {
            return Err(BodyError::TooMany { max: records_max });
        }
        let malformed = match utf8(line) {
            Ok(text) => reading.text(text).err().map(|error| malformed(&error)),
            Err(error) => Some(error),
        };
        if let Some(BodyError::Malformed { reason, column, .. }) = malformed {
            let detail = format!("{reason} at line {} column {column}", line_index + 1);
            reading.refuse("", code::MALFORMED_JSON, detail);
        }
    }
    Ok(Shape::Batch)
}

/// The text of a body, without a byte order mark.
fn utf8(body: &[u8]) -> Result<&str, BodyError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let valid = body.get(..error.valid_up_to()).unwrap_or_default();
        let line_start = valid.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        BodyError::Malformed {
            reason: "text that is not UTF-8".into(),
            line: valid.split(|b| *b == b'\n').count(),
            column: valid.len() - line_start + 1,
        }
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn malformed(error: &serde_json::Error) -> BodyError {
    let message = error.to_string();
    let reason = message.rsplit_once(" at line ").map_or(message.as_str(), |(reason, _)| reason).to_owned();
    BodyError::Malformed { reason, line: error.line(), column: error.column() }
}

/// Whether the parser stopped at a number that no double holds: valid JSON, but an error to it.
fn is_out_of_range(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("number out of range")
}

/// The reading of one body.
struct Reading<'a, 'de, S> {
    sink: &'a mut S,
    scratch: &'a mut Scratch,
    records: usize,
    records_max: usize,
    record: PhantomData<&'de ()>,
}

impl<'de, S: Sink<'de>> Reading<'_, 'de, S> {
    /// Reads one record from text of its own.
    fn text(&mut self, text: &'de str) -> Result<(), serde_json::Error> {
        let before = self.records;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        // The end of the text is checked before the record counts.
        let read =
            Apart(self).deserialize(&mut deserializer).and_then(|record| deserializer.end().map(|()| record));
        match read {
            Ok(Some(record)) => self.finish(record),
            Ok(None) => self.sink.refuse(self.scratch),
            Err(error) if is_out_of_range(&error) => {
                self.records = before;
                let pointer =
                    serde_json::from_str(text).ok().and_then(|raw| out_of_range(raw, &Path::root(""), 0));
                let detail = "a number is at most 1.8e308";
                self.refuse(pointer.unwrap_or_default(), code::NUMBER_OUT_OF_RANGE, detail);
            }
            Err(error) => {
                self.records = before;
                return Err(error);
            }
        }
        Ok(())
    }

    fn finish(&mut self, record: S::Record) {
        self.sink.take(record, self.scratch);
    }

    fn refuse(
        &mut self,
        pointer: impl Into<String>,
        code: &'static str,
        detail: impl Into<std::borrow::Cow<'static, str>>,
    ) {
        self.records += 1;
        self.scratch.clear();
        self.scratch.faults.add(pointer, code, detail);
        self.sink.refuse(self.scratch);
    }

    /// Starts a record; an error when there are too many.
    fn begin<E: Error>(&mut self) -> Result<(), E> {
        self.records += 1;
        if self.records > self.records_max {
            return Err(E::custom("too many records"));
        }
        self.scratch.clear();
        Ok(())
    }

    /// Reads the fields of an object into a record.
    fn fields<A: MapAccess<'de>>(&mut self, record: &mut S::Record, map: &mut A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Key<'de>>()? {
            record.field(&key.0, map, self.scratch)?;
        }
        Ok(())
    }

    fn not_an_object(&mut self, raw: &Raw<'_>) {
        self.scratch.faults.add(
            "",
            code::INVALID_TYPE,
            format!("expected an object, found {}", raw.type_name()),
        );
    }
}

/// Gives the methods of a visitor for the values that are no record, from one that takes a [`Raw`].
macro_rules! other_types {
    ($output:ty) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any JSON value")
        }

        fn visit_unit<E: Error>(self) -> Result<$output, E> {
            self.other(&Raw::Null)
        }

        fn visit_bool<E: Error>(self, b: bool) -> Result<$output, E> {
            self.other(&Raw::Bool(b))
        }

        fn visit_i64<E: Error>(self, n: i64) -> Result<$output, E> {
            self.other(&Raw::I64(n))
        }

        fn visit_u64<E: Error>(self, n: u64) -> Result<$output, E> {
            self.other(&Raw::U64(n))
        }

        fn visit_f64<E: Error>(self, n: f64) -> Result<$output, E> {
            self.other(&Raw::F64(n))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<$output, E> {
            self.other(&Raw::Str(text.into()))
        }
    };
}

/// The whole body: a record, or what holds a list of them.
struct Body<'r, 'a, 'de, S>(&'r mut Reading<'a, 'de, S>);

impl<'de, S: Sink<'de>> Body<'_, '_, 'de, S> {
    fn other<E: Error>(self, raw: &Raw<'_>) -> Result<Shape, E> {
        self.0.begin()?;
        self.0.not_an_object(raw);
        self.0.sink.refuse(self.0.scratch);
        Ok(Shape::Single)
    }
}

impl<'de, S: Sink<'de>> DeserializeSeed<'de> for Body<'_, '_, 'de, S> {
    type Value = Shape;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Sink<'de>> Visitor<'de> for Body<'_, '_, 'de, S> {
    type Value = Shape;

    other_types!(Shape);

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Shape, A::Error> {
        List { reading: self.0, pointer: "" }.visit_seq(seq)?;
        Ok(Shape::Batch)
    }

    /// Reads the fields of a record until a list turns up; then the record was none.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let reading = self.0;
        reading.begin()?;
        let mut record = S::Record::default();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            let Some(list) = LIST_KEYS.into_iter().find(|list| *list == key.0) else {
                record.field(&key.0, &mut map, reading.scratch)?;
                continue;
            };
            reading.records = 0;
            let pointer = format!("/{list}");
            map.next_value_seed(List { reading: &mut *reading, pointer: &pointer })?;
            // What stands beside the list says nothing about its records.
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Shape::Batch);
        }
        reading.finish(record);
        Ok(Shape::Single)
    }
}

/// A list of records.
struct List<'r, 'a, 'de, 'p, S> {
    reading: &'r mut Reading<'a, 'de, S>,
    pointer: &'p str,
}

impl<'de, S: Sink<'de>> List<'_, '_, 'de, '_, S> {
    #[expect(clippy::unnecessary_wraps, reason = "the shape of a visitor's methods")]
    fn other<E: Error>(self, raw: &Raw<'_>) -> Result<(), E> {
        let detail = format!("expected an array, found {}", raw.type_name());
        self.reading.refuse(self.pointer, code::INVALID_TYPE, detail);
        Ok(())
    }
}

impl<'de, S: Sink<'de>> DeserializeSeed<'de> for List<'_, '_, 'de, '_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Sink<'de>> Visitor<'de> for List<'_, '_, 'de, '_, S> {
    type Value = ();

    other_types!(());

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(One(&mut *self.reading))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.other(&Raw::Object)
    }
}

/// One record of a list, given to the sink when it was read.
struct One<'r, 'a, 'de, S>(&'r mut Reading<'a, 'de, S>);

impl<'de, S: Sink<'de>> DeserializeSeed<'de> for One<'_, '_, 'de, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match Apart(&mut *self.0).deserialize(deserializer)? {
            Some(record) => self.0.finish(record),
            None => self.0.sink.refuse(self.0.scratch),
        }
        Ok(())
    }
}

/// One record, given to the caller; `None` when the value is no object.
struct Apart<'r, 'a, 'de, S>(&'r mut Reading<'a, 'de, S>);

impl<'de, S: Sink<'de>> Apart<'_, '_, 'de, S> {
    fn other<E: Error>(self, raw: &Raw<'_>) -> Result<Option<S::Record>, E> {
        self.0.begin()?;
        self.0.not_an_object(raw);
        Ok(None)
    }
}

impl<'de, S: Sink<'de>> DeserializeSeed<'de> for Apart<'_, '_, 'de, S> {
    type Value = Option<S::Record>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Sink<'de>> Visitor<'de> for Apart<'_, '_, 'de, S> {
    type Value = Option<S::Record>;

    other_types!(Option<S::Record>);

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        self.other(&Raw::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        self.0.begin()?;
        let mut record = S::Record::default();
        self.0.fields(&mut record, &mut map)?;
        Ok(Some(record))
    }
}

/// Reads a body once more, each record from its own text, so that a number that no double holds is a
/// fault of its record alone.
fn read_apart<'de, S: Sink<'de>>(
    text: &'de str,
    reading: &mut Reading<'_, 'de, S>,
) -> Result<Shape, BodyError> {
    let list = match text.trim_start().as_bytes().first() {
        Some(b'[') => text,
        Some(b'{') => {
            let members: Members<'de> = serde_json::from_str(text).map_err(|error| malformed(&error))?;
            match members.0.iter().find(|(key, _)| LIST_KEYS.contains(&&*key.0)) {
                Some((_, list)) if list.get().starts_with('[') => list.get(),
                Some((key, _)) => {
                    reading.refuse(format!("/{}", key.0), code::INVALID_TYPE, "expected an array");
                    return Ok(Shape::Batch);
                }
                None => return reading.text(text).map(|()| Shape::Single).map_err(|error| malformed(&error)),
            }
        }
        _ => return reading.text(text).map(|()| Shape::Single).map_err(|error| malformed(&error)),
    };
    let records: Vec<&'de RawValue> = serde_json::from_str(list).map_err(|error| malformed(&error))?;
    if records.len() > reading.records_max {
        return Err(BodyError::TooMany { max: reading.records_max });
    }
    for record in records {
        reading.text(record.get()).map_err(|error| malformed(&error))?;
    }
    Ok(Shape::Batch)
}

/// The members of an object, their values as text.
struct Members<'de>(Vec<(Key<'de>, &'de RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

/// The pointer of the first number that no double holds.
fn out_of_range(raw: &RawValue, path: &Path<'_>, depth: usize) -> Option<String> {
    if depth > SEARCH_DEPTH_MAX {
        return None;
    }
    match raw.get().as_bytes().first()? {
        b'{' => {
            let members: Members<'_> = serde_json::from_str(raw.get()).ok()?;
            members.0.iter().find_map(|(key, value)| out_of_range(value, &path.key(&key.0), depth + 1))
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
            items
                .iter()
                .enumerate()
                .find_map(|(index, item)| out_of_range(item, &path.index(index), depth + 1))
        }
        b'-' | b'0'..=b'9' => serde_json::from_str::<f64>(raw.get()).is_err().then(|| path.pointer()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
