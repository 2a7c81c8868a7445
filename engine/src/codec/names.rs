//! The names of encodings, told from their tags: for statistics and for people.

use super::{floats, ints, strings};

/// What kind of values an encoding holds; tags are told apart within one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Whole numbers, instants, codes.
    Numbers,
    /// Doubles.
    Doubles,
    /// Text and bytes.
    Text,
}

/// The name of the encoding that `payload` starts with; `"unknown"` for bytes that start no encoding.
pub fn encoding_name(values: Values, payload: &[u8]) -> &'static str {
    let name = match values {
        Values::Numbers => ints::name(payload),
        Values::Doubles => floats::name(payload),
        Values::Text => strings::name(payload),
    };
    name.unwrap_or("unknown")
}
