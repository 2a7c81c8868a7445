//! Identifiers of organizations, users, applications, sessions, objects and records.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest identifier, in bytes (which are characters: an identifier is ASCII).
pub const IDENTIFIER_BYTES_MAX: usize = 128;

/// What an identifier must look like, for messages.
pub const IDENTIFIER_RULE: &str = "1 to 128 characters of A-Z a-z 0-9 . _ : @ -, not . or .. alone";

/// Which bytes an identifier is made of.
static ALLOWED: [bool; 256] = allowed();

#[expect(clippy::indexing_slicing, reason = "constants below the length of the table")]
const fn allowed() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'@' | b'-');
        byte += 1;
    }
    table
}

/// Text that is not an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an identifier has {IDENTIFIER_RULE}")]
pub struct InvalidIdentifier;

/// Whether `text` is an identifier.
///
/// `.` and `..` alone are not: as a segment of a path a client or a proxy would fold them away.
pub fn is_identifier(text: &str) -> bool {
    let fits = (1..=IDENTIFIER_BYTES_MAX).contains(&text.len());
    fits && text != "."
        && text != ".."
        && text.bytes().all(|b| ALLOWED.get(usize::from(b)).is_some_and(|ok| *ok))
}

/// A checked identifier, kept as given. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identifier(Arc<str>);

impl Identifier {
    /// Takes an identifier.
    ///
    /// # Errors
    ///
    /// [`InvalidIdentifier`] when it is not one.
    pub fn parse(text: &str) -> Result<Self, InvalidIdentifier> {
        if is_identifier(text) { Ok(Self(text.into())) } else { Err(InvalidIdentifier) }
    }

    /// The text, as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Identifier {
    type Error = InvalidIdentifier;

    fn try_from(text: String) -> Result<Self, InvalidIdentifier> {
        Self::parse(&text)
    }
}

impl From<Identifier> for String {
    fn from(identifier: Identifier) -> Self {
        identifier.as_str().to_owned()
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identifier({:?})", &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_agreed_characters_make_an_identifier() {
        let long = "x".repeat(128);
        let too_long = "x".repeat(129);
        let good = [
            "a",
            "42",
            "...",
            "a.b",
            "user@example.com",
            "urn:x:1",
            "-",
            "_",
            "A-Z_0.9:@",
            "018f6b1e-7c1e-7d5a-8e2f-0123456789ab",
            &long,
        ];
        let bad = [
            "",
            ".",
            "..",
            " ",
            "a b",
            "a/b",
            "a\\b",
            "a\0",
            "a\n",
            "caf\u{e9}",
            "a%2e",
            "a+b",
            "a,b",
            "a'b",
            "*",
            "\u{feff}a",
            &too_long,
        ];
        for text in good {
            assert!(is_identifier(text), "{text:?} is an identifier");
            assert_eq!(Identifier::parse(text).unwrap().as_str(), text);
        }
        for text in bad {
            assert!(!is_identifier(text), "{text:?} is no identifier");
            assert_eq!(Identifier::parse(text), Err(InvalidIdentifier));
        }
    }

    #[test]
    fn an_identifier_is_checked_when_it_is_deserialized() {
        assert!(serde_json::from_str::<Identifier>("\"a.b\"").is_ok());
        assert!(serde_json::from_str::<Identifier>("\"a b\"").is_err());
    }
}
