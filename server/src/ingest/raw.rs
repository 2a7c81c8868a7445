//! One JSON value of any type, borrowed: what a field is read as, so that a wrong type is a fault of
//! the field and not the end of the parse.

use std::borrow::Cow;
use std::fmt;

use insights_engine::time::TimestampUs;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::fault::{Faults, code};
use crate::domain::identifier::{IDENTIFIER_RULE, is_identifier};
use crate::domain::instant;

/// A JSON value; of arrays and objects only the type is kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Raw<'de> {
    /// Null: as good as absent.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    I64(i64),
    /// A whole number above `i64::MAX`.
    U64(u64),
    /// Any other number.
    F64(f64),
    /// Text.
    Str(Cow<'de, str>),
    /// A list.
    Array,
    /// An object.
    Object,
}

impl<'de> Deserialize<'de> for Raw<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Raw<'de>, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E: Error>(self, b: bool) -> Result<Raw<'de>, E> {
        Ok(Raw::Bool(b))
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Raw<'de>, E> {
        Ok(Raw::I64(n))
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Raw<'de>, E> {
        Ok(i64::try_from(n).map_or(Raw::U64(n), Raw::I64))
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<Raw<'de>, E> {
        Ok(Raw::F64(n))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Raw<'de>, E> {
        Ok(Raw::Str(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Raw<'de>, E> {
        Ok(Raw::Str(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Raw::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Raw::Object)
    }
}

/// A key of an object, borrowed where it has no escapes.
#[derive(Debug)]
pub struct Key<'de>(pub Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(text.to_owned())))
    }
}

impl<'de> Raw<'de> {
    /// What the value is, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::I64(_) | Self::U64(_) | Self::F64(_) => "a number",
            Self::Str(_) => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }

    /// Text of at most `chars_max` characters; null and empty text are absent.
    pub fn text(self, pointer: &str, chars_max: usize, faults: &mut Faults) -> Option<Cow<'de, str>> {
        match self {
            Self::Null => None,
            Self::Str(text) if text.is_empty() => None,
            // Bytes are at least as many as characters, so most texts are not counted.
            Self::Str(text) if text.len() > chars_max && text.chars().count() > chars_max => {
                faults.add(pointer, code::TOO_LONG, format!("this has at most {chars_max} characters"));
                None
            }
            Self::Str(text) => Some(text),
            other => wrong_type(&other, "a string", pointer, faults),
        }
    }

    /// An identifier: text, or a whole number as its decimal text; null and empty text are absent.
    pub fn identifier(self, pointer: &str, faults: &mut Faults) -> Option<Cow<'de, str>> {
        let text = match self {
            Self::Null => return None,
            Self::Str(text) if text.is_empty() => return None,
            Self::Str(text) => text,
            Self::I64(n) => Cow::Owned(n.to_string()),
            Self::U64(n) => Cow::Owned(n.to_string()),
            other => return wrong_type(&other, "a string or a whole number", pointer, faults),
        };
        if is_identifier(&text) {
            return Some(text);
        }
        faults.add(pointer, code::INVALID, format!("an identifier has {IDENTIFIER_RULE}"));
        None
    }

    /// An instant: RFC 3339, or a number as text or as it is; null and empty text are absent.
    pub fn instant(self, pointer: &str, faults: &mut Faults) -> Option<TimestampUs> {
        let parsed = match self {
            Self::Null => return None,
            Self::Str(text) if text.is_empty() => return None,
            Self::Str(text) => instant::parse(&text),
            Self::I64(n) => instant::from_integer(n),
            Self::U64(_) => Err(instant::InvalidInstant),
            Self::F64(n) => instant::from_double(n),
            other => return wrong_type(&other, "a string or a number", pointer, faults),
        };
        parsed.map_err(|error| faults.add(pointer, code::INVALID, error.to_string())).ok()
    }

    /// A finite number; null is absent.
    #[expect(clippy::cast_precision_loss, reason = "a metric's value is a double, by contract")]
    pub fn number(self, pointer: &str, faults: &mut Faults) -> Option<f64> {
        match self {
            Self::Null => None,
            Self::I64(n) => Some(n as f64),
            Self::U64(n) => Some(n as f64),
            Self::F64(n) => Some(n),
            other => wrong_type(&other, "a number", pointer, faults),
        }
    }
}

/// Tells that a field has the wrong JSON type.
pub fn wrong_type<T>(raw: &Raw<'_>, expected: &str, pointer: &str, faults: &mut Faults) -> Option<T> {
    faults.add(pointer, code::INVALID_TYPE, format!("expected {expected}, found {}", raw.type_name()));
    None
}
