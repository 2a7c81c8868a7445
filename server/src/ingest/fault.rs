//! What is wrong with a record, and where.

use std::borrow::Cow;
use std::fmt::Write;

/// Most faults that are told of one record.
pub const FAULTS_OF_RECORD_MAX: usize = 16;

/// Codes of faults; they are stable.
pub mod code {
    /// A field that must be there is absent.
    pub const REQUIRED: &str = "required";
    /// A JSON value of the wrong type.
    pub const INVALID_TYPE: &str = "invalid_type";
    /// A value of the right type that means nothing here.
    pub const INVALID: &str = "invalid";
    /// Text over its limit.
    pub const TOO_LONG: &str = "too_long";
    /// A document over its limit of bytes.
    pub const TOO_LARGE: &str = "too_large";
    /// More keys or items than allowed.
    pub const TOO_MANY: &str = "too_many";
    /// A document nested too deep.
    pub const TOO_DEEP: &str = "too_deep";
    /// A number that no double holds.
    pub const NUMBER_OUT_OF_RANGE: &str = "number_out_of_range";
    /// An instant too far ahead of the server's clock.
    pub const TIMESTAMP_IN_FUTURE: &str = "timestamp_in_future";
    /// An instant before the late window.
    pub const TIMESTAMP_TOO_OLD: &str = "timestamp_too_old";
    /// An instant before what the organization's retention keeps.
    pub const OLDER_THAN_RETENTION: &str = "older_than_retention";
    /// Contradicts what is stored.
    pub const CONFLICT: &str = "conflict";
    /// A name that only the server uses.
    pub const RESERVED: &str = "reserved";
    /// A line that is no JSON.
    pub const MALFORMED_JSON: &str = "malformed_json";
    /// The credential does not allow it.
    pub const FORBIDDEN: &str = "forbidden";
}

/// One thing that is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where: an RFC 6901 pointer into the record.
    pub pointer: String,
    /// What, for programs: one of [`code`].
    pub code: Cow<'static, str>,
    /// What, in words.
    pub detail: Cow<'static, str>,
}

/// The faults of one record, at most [`FAULTS_OF_RECORD_MAX`] of them.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Adds a fault.
    pub fn add(
        &mut self,
        pointer: impl Into<String>,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) {
        if self.0.len() < FAULTS_OF_RECORD_MAX {
            self.0.push(Fault { pointer: pointer.into(), code: code.into(), detail: detail.into() });
        }
    }

    /// Whether one is at `pointer` already.
    pub fn mention(&self, pointer: &str) -> bool {
        self.0.iter().any(|fault| fault.pointer == pointer)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Gives them away.
    pub fn drain(&mut self) -> impl Iterator<Item = Fault> + '_ {
        self.0.drain(..)
    }
}

/// A place inside a record, from the outside in; written out only when something is wrong there.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    segment: Segment<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Segment<'a> {
    /// A pointer that is already written.
    Root(&'a str),
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    /// The place of a pointer.
    pub fn root(pointer: &'a str) -> Self {
        Self { parent: None, segment: Segment::Root(pointer) }
    }

    /// The member `key` of the object here.
    #[must_use]
    pub fn key(&'a self, key: &'a str) -> Self {
        Self { parent: Some(self), segment: Segment::Key(key) }
    }

    /// The item `index` of the array here.
    #[must_use]
    pub fn index(&'a self, index: usize) -> Self {
        Self { parent: Some(self), segment: Segment::Index(index) }
    }

    /// The RFC 6901 pointer.
    pub fn pointer(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        if let Some(parent) = self.parent {
            parent.write(out);
        }
        match self.segment {
            Segment::Root(pointer) => out.push_str(pointer),
            Segment::Key(key) => push_token(key, out),
            Segment::Index(index) => {
                let written = write!(out, "/{index}");
                debug_assert!(written.is_ok(), "a string takes everything");
            }
        }
    }
}

/// Adds a key as one token of a pointer: `~` is `~0`, `/` is `~1`.
pub fn push_token(key: &str, out: &mut String) {
    out.push('/');
    for c in key.chars() {
        match c {
            '~' => out.push_str("~0"),
            '/' => out.push_str("~1"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_escapes_its_tokens() {
        let root = Path::root("/event_data");
        let list = root.key("a/b~c");
        assert_eq!(list.index(3).pointer(), "/event_data/a~1b~0c/3");
        assert_eq!(Path::root("").pointer(), "");
    }

    #[test]
    fn only_so_many_faults_of_a_record_are_kept() {
        let mut faults = Faults::default();
        (0..100).for_each(|_| faults.add("/a", code::INVALID, "wrong"));
        assert_eq!(faults.drain().count(), FAULTS_OF_RECORD_MAX);
        assert!(faults.is_empty());
    }
}
