//! `event_data`, `metadata`, `changes`, `targets` and `labels`: from JSON text straight into the
//! engine's canonical bytes, within limits.

use std::fmt;
use std::ops::Range;

use insights_engine::schema::DocumentEncoder;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::fault::{Faults, Path, code};
use super::raw::Key;
use crate::domain::audit::{MASK, is_secret_field};
use crate::domain::metric::{LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX};

/// Deepest nesting of a document; the document itself is the first level.
pub const DEPTH_MAX: usize = 8;
/// Most keys of one object of a document.
pub const KEYS_MAX: usize = 256;
/// Most bytes of a document, as it is stored: never more than its shortest JSON.
pub const BYTES_MAX: usize = 64 << 10;

/// Bytes of an object without members: its tag and its count.
const EMPTY_OBJECT_BYTES: usize = 2;

/// What documents of a record are written into.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The documents, one after the other.
    pub encoder: DocumentEncoder,
    /// What is wrong with the record so far.
    pub faults: Faults,
}

impl Scratch {
    /// Makes room for the next record.
    pub fn clear(&mut self) {
        self.encoder.clear();
        self.faults.clear();
    }

    /// The bytes of a document of this record.
    pub fn document(&self, range: Option<&Range<usize>>) -> Option<&[u8]> {
        self.encoder.as_bytes().get(range?.clone())
    }
}

/// What a document may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// An object of anything.
    Object,
    /// An object of pairs, secrets masked: field -> [before, after].
    Changes,
    /// A list of anything.
    List,
    /// An object of short text.
    Labels,
}

/// Reads one document field; gives where its bytes are, or nothing for null or after a fault.
#[derive(Debug)]
pub struct DocumentSeed<'a> {
    /// What it may be.
    pub rule: Rule,
    /// Where it is in the record.
    pub pointer: &'a str,
    /// Where it goes.
    pub scratch: &'a mut Scratch,
}

impl<'de> DeserializeSeed<'de> for DocumentSeed<'_> {
    type Value = Option<Range<usize>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let start = self.scratch.encoder.len();
        let mut writer = Writer { scratch: self.scratch, start, sound: true, stopped: false };
        let path = Path::root(self.pointer);
        let position = match self.rule {
            Rule::Object => Position::Top { list: false },
            Rule::List => Position::Top { list: true },
            Rule::Changes => Position::Changes,
            Rule::Labels => Position::Labels,
        };
        let present =
            deserializer.deserialize_any(Node { writer: &mut writer, path: &path, depth: 1, position })?;
        // A series without labels is one series, however that was said.
        let no_labels =
            self.rule == Rule::Labels && writer.scratch.encoder.len() == start + EMPTY_OBJECT_BYTES;
        if !writer.sound || !present || no_labels {
            writer.scratch.encoder.truncate(start);
            return Ok(None);
        }
        Ok(Some(start..writer.scratch.encoder.len()))
    }
}

/// The document that is being written.
struct Writer<'a> {
    scratch: &'a mut Scratch,
    start: usize,
    /// Whether nothing was wrong yet.
    sound: bool,
    /// Whether a limit was passed: from there on nothing is written, and all is read over.
    stopped: bool,
}

impl Writer<'_> {
    fn fault(
        &mut self,
        path: &Path<'_>,
        code: &'static str,
        detail: impl Into<std::borrow::Cow<'static, str>>,
    ) {
        self.sound = false;
        self.scratch.faults.add(path.pointer(), code, detail);
    }

    /// Tells that a limit is passed, once.
    fn stop(&mut self, path: &Path<'_>, code: &'static str, detail: String) {
        if !self.stopped {
            self.fault(path, code, detail);
            self.stopped = true;
        }
    }

    /// Whether more may be written; tells once when the document has grown too large.
    fn has_room(&mut self, path: &Path<'_>) -> bool {
        if self.scratch.encoder.len() - self.start > BYTES_MAX {
            self.stop(path, code::TOO_LARGE, format!("a document has at most {BYTES_MAX} bytes"));
        }
        !self.stopped
    }
}

/// Where in a document a value is, as far as that decides what it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// The document itself.
    Top { list: bool },
    /// The document itself, field -> [before, after].
    Changes,
    /// The document itself, name -> text.
    Labels,
    /// A value of a label.
    Label,
    /// The pair of a changed field.
    Pair,
    /// Inside of `changes`, where keys may name secrets.
    Masked,
    /// Anywhere else.
    Inside,
}

/// One value of a document.
struct Node<'w, 'a, 'p> {
    writer: &'w mut Writer<'a>,
    path: &'p Path<'p>,
    depth: usize,
    position: Position,
}

impl Node<'_, '_, '_> {
    /// Checks that a leaf may stand here; the caller writes it if so.
    fn leaf(&mut self, found: &str) -> bool {
        let expected = match self.position {
            Position::Inside | Position::Masked => return !self.writer.stopped,
            Position::Top { list: true } => "an array",
            Position::Top { list: false } | Position::Changes | Position::Labels => "an object",
            Position::Pair => "an array of two values, before and after",
            Position::Label => "a string",
        };
        self.writer.fault(self.path, code::INVALID_TYPE, format!("expected {expected}, found {found}"));
        false
    }

    /// Checks that an object or array may stand here.
    fn may_nest(&mut self, found: &str) -> bool {
        let expected = match (self.position, found) {
            (Position::Top { list: false } | Position::Changes | Position::Labels, "an array") => "an object",
            (Position::Top { list: true }, "an object") => "an array",
            (Position::Pair, "an object") => "an array of two values, before and after",
            (Position::Label, _) => "a string",
            _ if self.depth > DEPTH_MAX => {
                let detail = format!("a document is nested at most {DEPTH_MAX} deep");
                self.writer.stop(self.path, code::TOO_DEEP, detail);
                return false;
            }
            _ => return !self.writer.stopped,
        };
        self.writer.fault(self.path, code::INVALID_TYPE, format!("expected {expected}, found {found}"));
        false
    }

    /// What the values inside of this one are.
    fn inside(&self) -> Position {
        match self.position {
            Position::Changes => Position::Pair,
            Position::Labels => Position::Label,
            Position::Pair | Position::Masked => Position::Masked,
            Position::Top { .. } | Position::Label | Position::Inside => Position::Inside,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_, '_> {
    /// Whether there was a value; only a null in place of the whole document is none.
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(mut self) -> Result<bool, E> {
        if self.depth == 1 {
            return Ok(false);
        }
        if self.leaf("null") {
            self.writer.scratch.encoder.null();
        }
        Ok(true)
    }

    fn visit_bool<E: Error>(mut self, b: bool) -> Result<bool, E> {
        if self.leaf("a boolean") {
            self.writer.scratch.encoder.bool(b);
        }
        Ok(true)
    }

    fn visit_i64<E: Error>(mut self, n: i64) -> Result<bool, E> {
        if self.leaf("a number") {
            self.writer.scratch.encoder.i64(n);
        }
        Ok(true)
    }

    fn visit_u64<E: Error>(mut self, n: u64) -> Result<bool, E> {
        if self.leaf("a number") {
            self.writer.scratch.encoder.u64(n);
        }
        Ok(true)
    }

    fn visit_f64<E: Error>(mut self, n: f64) -> Result<bool, E> {
        if self.leaf("a number") {
            self.writer.scratch.encoder.f64(n);
        }
        Ok(true)
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<bool, E> {
        if self.position == Position::Label {
            if text.len() <= LABEL_VALUE_BYTES_MAX {
                self.writer.scratch.encoder.str(text);
            } else {
                let detail = format!("the value of a label has at most {LABEL_VALUE_BYTES_MAX} bytes");
                self.writer.fault(self.path, code::TOO_LONG, detail);
            }
        } else if self.leaf("a string") {
            self.writer.scratch.encoder.str(text);
        }
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<bool, A::Error> {
        if !self.may_nest("an array") {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(true);
        }
        self.writer.scratch.encoder.begin_array();
        let position = self.inside();
        let mut items = 0;
        loop {
            let path = self.path.index(items);
            let more = if self.writer.has_room(self.path) {
                let item = Node { writer: &mut *self.writer, path: &path, depth: self.depth + 1, position };
                seq.next_element_seed(item)?.is_some()
            } else {
                seq.next_element::<IgnoredAny>()?.is_some()
            };
            if !more {
                break;
            }
            items += 1;
        }
        self.writer.scratch.encoder.end();
        if self.position == Position::Pair && items != 2 {
            let detail = "a change is an array of two values, before and after";
            self.writer.fault(self.path, code::INVALID, detail);
        }
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<bool, A::Error> {
        if !self.may_nest("an object") {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(true);
        }
        self.writer.scratch.encoder.begin_object();
        let mut keys = 0;
        while let Some(key) = map.next_key::<Key<'de>>()? {
            keys += 1;
            if self.takes_key(&key.0, keys) {
                self.member(&key.0, &mut map)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        self.writer.scratch.encoder.end();
        // Told here too, for the last member.
        self.writer.has_room(self.path);
        Ok(true)
    }
}

impl Node<'_, '_, '_> {
    /// Whether the next member may be written.
    fn takes_key(&mut self, key: &str, keys: usize) -> bool {
        let keys_max = if self.position == Position::Labels { LABELS_MAX } else { KEYS_MAX };
        if keys > keys_max {
            self.writer.stop(self.path, code::TOO_MANY, format!("this object has at most {keys_max} keys"));
        }
        if self.position == Position::Labels
            && !self.writer.stopped
            && !(1..=LABEL_NAME_BYTES_MAX).contains(&key.len())
        {
            let detail = format!("the name of a label has 1 to {LABEL_NAME_BYTES_MAX} bytes");
            self.writer.fault(&self.path.key(key), code::INVALID, detail);
        }
        self.writer.has_room(self.path)
    }

    fn member<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        self.writer.scratch.encoder.key(key);
        let masked = matches!(self.position, Position::Changes | Position::Masked) && is_secret_field(key);
        if masked {
            map.next_value::<IgnoredAny>()?;
            self.mask();
            return Ok(());
        }
        let path = self.path.key(key);
        let position = self.inside();
        map.next_value_seed(Node {
            writer: &mut *self.writer,
            path: &path,
            depth: self.depth + 1,
            position,
        })?;
        Ok(())
    }

    /// Writes what stands in place of a secret; of a changed field both values.
    fn mask(&mut self) {
        let encoder = &mut self.writer.scratch.encoder;
        if self.position == Position::Changes {
            encoder.begin_array();
            encoder.str(MASK);
            encoder.str(MASK);
            encoder.end();
        } else {
            encoder.str(MASK);
        }
    }
}
