//! Cursors on the wire: opaque, authenticated, and bound to the question they continue.
//!
//! A cursor is base64url of the place where a page ended and a tag, HMAC-SHA256 under a secret of the store, cut to
//! 16 bytes. The tag covers the [`Question`] too, so that a cursor of another organization, list or filter does not
//! pass. Two kinds of lists have cursors: rows, whose place is [`Cursor`], and tables, whose place is [`TablePlace`].

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use insights_engine::query::Cursor;
use insights_engine::time::TimestampUs;
use sha2::Sha256;

use super::error::{ApiError, Code};

/// Name of the secret of the store that authenticates cursors.
pub const SECRET: &str = "cursors";

/// Version of the bytes of a place among rows; another one is no cursor of this server.
const VERSION: u8 = 0;
/// Version of the bytes of a place in a table.
const TABLE_VERSION: u8 = 1;
/// Bytes of the place: version, LSN, time, tenant, seq.
const PLACE_BYTES: usize = 1 + 8 + 8 + 4 + 8;
/// Bytes in front of the name in the place of a table: version, instant, rank.
const TABLE_HEAD_BYTES: usize = 1 + 8 + 8;
/// Longest name of a row of a table in bytes; the longest that ingest takes has 128 characters.
const NAME_BYTES_MAX: usize = 512;
/// Bytes of the tag.
const TAG_BYTES: usize = 16;

/// What a cursor is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The parts, each with its length in front, so that no two questions run together.
    bytes: Vec<u8>,
}

impl Question {
    /// The question that `route` answers for `organization` (all of them when `None`) with these parameters.
    ///
    /// The order of `parameters` does not matter. Those that do not change which rows there are (`limit`, `cursor`,
    /// `format`, `fields`) are left out by the caller.
    pub fn new<'a>(
        route: &str,
        organization: Option<&str>,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut parameters: Vec<_> = parameters.into_iter().collect();
        parameters.sort_unstable();
        let mut question = Self { bytes: Vec::new() };
        question.part(route);
        question.part(if organization.is_some() { "one" } else { "all" });
        question.part(organization.unwrap_or_default());
        for (name, value) in parameters {
            question.part(name);
            question.part(value);
        }
        question
    }

    fn part(&mut self, text: &str) {
        self.bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
    }
}

/// The text of a cursor.
pub fn encode(cursor: Cursor, question: &Question, secret: &[u8; 32]) -> String {
    let mut bytes = Vec::with_capacity(PLACE_BYTES + TAG_BYTES);
    bytes.push(VERSION);
    bytes.extend_from_slice(&cursor.lsn_max.to_le_bytes());
    bytes.extend_from_slice(&cursor.time.0.to_le_bytes());
    bytes.extend_from_slice(&cursor.tenant.to_le_bytes());
    bytes.extend_from_slice(&cursor.seq.to_le_bytes());
    let tag = mac(&bytes, question, secret).finalize().into_bytes();
    bytes.extend(tag.iter().take(TAG_BYTES));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The cursor of a text that [`encode`] made for the same question under the same secret.
///
/// # Errors
///
/// `invalid_cursor` for anything else; the tag is compared in constant time.
pub fn decode(text: &str, question: &Question, secret: &[u8; 32]) -> Result<Cursor, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
    let (place, tag) = bytes.split_first_chunk::<PLACE_BYTES>().ok_or_else(invalid)?;
    if tag.len() != TAG_BYTES {
        return Err(invalid());
    }
    mac(place, question, secret).verify_truncated_left(tag).map_err(|_| invalid())?;
    parse(place).ok_or_else(invalid)
}

/// Where a page of a table ended. Rows are ordered by rank, the highest first, then by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePlace {
    /// What was received later than this does not count on later pages, where the table can tell.
    pub as_of: TimestampUs,
    /// The rank of the last row.
    pub rank: u64,
    /// Its name.
    pub name: String,
}

impl TablePlace {
    /// Whether a row of this place comes after one of `other`.
    pub fn is_after(&self, other: &Self) -> bool {
        (other.rank, &self.name) > (self.rank, &other.name)
    }
}

/// The text of a cursor of a table.
pub fn encode_table(place: &TablePlace, question: &Question, secret: &[u8; 32]) -> String {
    let mut bytes = Vec::with_capacity(TABLE_HEAD_BYTES + place.name.len() + TAG_BYTES);
    bytes.push(TABLE_VERSION);
    bytes.extend_from_slice(&place.as_of.0.to_le_bytes());
    bytes.extend_from_slice(&place.rank.to_le_bytes());
    bytes.extend_from_slice(place.name.as_bytes());
    let tag = mac(&bytes, question, secret).finalize().into_bytes();
    bytes.extend(tag.iter().take(TAG_BYTES));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The place of a text that [`encode_table`] made for the same question under the same secret.
///
/// # Errors
///
/// `invalid_cursor` for anything else; the tag is compared in constant time.
pub fn decode_table(text: &str, question: &Question, secret: &[u8; 32]) -> Result<TablePlace, ApiError> {
    // Four characters are three bytes: what is longer is none of ours, and is not decoded.
    if text.len() > (TABLE_HEAD_BYTES + NAME_BYTES_MAX + TAG_BYTES).div_ceil(3) * 4 {
        return Err(invalid());
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
    let (place, tag) = bytes.split_last_chunk::<TAG_BYTES>().ok_or_else(invalid)?;
    mac(place, question, secret).verify_truncated_left(tag).map_err(|_| invalid())?;
    parse_table(place).ok_or_else(invalid)
}

fn parse_table(place: &[u8]) -> Option<TablePlace> {
    let (&[version], rest) = place.split_first_chunk()?;
    let (as_of, rest) = rest.split_first_chunk()?;
    let (rank, name) = rest.split_first_chunk()?;
    (version == TABLE_VERSION).then_some(TablePlace {
        as_of: TimestampUs(i64::from_le_bytes(*as_of)),
        rank: u64::from_le_bytes(*rank),
        name: String::from_utf8(name.to_vec()).ok()?,
    })
}

fn invalid() -> ApiError {
    ApiError::new(Code::InvalidCursor, "use next_cursor as it was given, with the same parameters")
}

fn parse(place: &[u8; PLACE_BYTES]) -> Option<Cursor> {
    let (&[version], rest) = place.split_first_chunk()?;
    let (lsn, rest) = rest.split_first_chunk()?;
    let (time, rest) = rest.split_first_chunk()?;
    let (tenant, rest) = rest.split_first_chunk()?;
    (version == VERSION).then_some(Cursor {
        lsn_max: u64::from_le_bytes(*lsn),
        time: TimestampUs(i64::from_le_bytes(*time)),
        tenant: u32::from_le_bytes(*tenant),
        seq: u64::from_le_bytes(rest.try_into().ok()?),
    })
}

fn mac(place: &[u8], question: &Question, secret: &[u8; 32]) -> Hmac<Sha256> {
    // HMAC pads a short key with zeros to the block of its hash (RFC 2104, section 2).
    let mut block = [0; 64];
    let (key, _) = block.split_at_mut(secret.len());
    key.copy_from_slice(secret);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(&question.bytes);
    mac.update(place);
    mac
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: [u8; 32] = [7; 32];
    const CURSOR: Cursor = Cursor { lsn_max: 1, time: TimestampUs(-2), tenant: 3, seq: u64::MAX };

    fn question(route: &str, organization: Option<&str>, parameters: &[(&str, &str)]) -> Question {
        Question::new(route, organization, parameters.iter().copied())
    }

    #[test]
    fn a_cursor_comes_back_for_its_own_question_alone() {
        let own = question("audit", Some("a"), &[("user_id", "u"), ("q", "x")]);
        let text = encode(CURSOR, &own, &SECRET);
        assert_eq!(decode(&text, &own, &SECRET), Ok(CURSOR));
        let reordered = question("audit", Some("a"), &[("q", "x"), ("user_id", "u")]);
        assert_eq!(decode(&text, &reordered, &SECRET), Ok(CURSOR));
        for other in [
            question("events", Some("a"), &[("user_id", "u"), ("q", "x")]),
            question("audit", Some("b"), &[("user_id", "u"), ("q", "x")]),
            question("audit", None, &[("user_id", "u"), ("q", "x")]),
            question("audit", Some("a"), &[("user_id", "u")]),
            question("audit", Some("a"), &[("user_id", "ux"), ("q", "")]),
        ] {
            assert_eq!(decode(&text, &other, &SECRET).unwrap_err().code(), Code::InvalidCursor, "{other:?}");
        }
        assert!(decode(&text, &own, &[8; 32]).is_err());
    }

    #[test]
    fn a_changed_character_does_not_pass() {
        let own = question("audit", Some("a"), &[]);
        let text = encode(CURSOR, &own, &SECRET);
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(decode(std::str::from_utf8(&changed).unwrap(), &own, &SECRET).is_err(), "{at}");
        }
    }

    #[test]
    fn the_places_of_rows_and_of_tables_are_told_apart() {
        let own = question("keys", Some("a"), &[]);
        let row = encode(CURSOR, &own, &SECRET);
        let place = TablePlace { as_of: TimestampUs(7), rank: 1, name: "n".to_owned() };
        let table = encode_table(&place, &own, &SECRET);
        assert!(decode_table(&row, &own, &SECRET).is_err());
        assert!(decode(&table, &own, &SECRET).is_err());
        let other = question("keys", Some("b"), &[]);
        assert_eq!(decode_table(&table, &other, &SECRET).unwrap_err().code(), Code::InvalidCursor);
    }

    #[test]
    fn higher_ranks_and_then_earlier_names_come_first() {
        let place = |rank, name: &str| TablePlace { as_of: TimestampUs(0), rank, name: name.to_owned() };
        assert!(place(1, "a").is_after(&place(2, "z")));
        assert!(place(2, "b").is_after(&place(2, "a")));
        assert!(!place(2, "a").is_after(&place(2, "a")));
        assert!(!place(3, "z").is_after(&place(2, "a")));
    }

    proptest! {
        #[test]
        fn the_place_of_a_table_comes_back(as_of: i64, rank: u64, name in "\\PC{0,128}") {
            let own = question("metrics", None, &[]);
            let place = TablePlace { as_of: TimestampUs(as_of), rank, name };
            prop_assert_eq!(decode_table(&encode_table(&place, &own, &SECRET), &own, &SECRET), Ok(place));
        }

        #[test]
        fn a_changed_cursor_of_a_table_does_not_pass(name in "[a-z.]{0,40}", at: proptest::sample::Index) {
            let own = question("metrics", None, &[]);
            let place = TablePlace { as_of: TimestampUs(1), rank: 2, name };
            let mut bytes = URL_SAFE_NO_PAD.decode(encode_table(&place, &own, &SECRET)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1;
            prop_assert!(decode_table(&URL_SAFE_NO_PAD.encode(bytes), &own, &SECRET).is_err());
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = decode(&text, &question("audit", None, &[]), &SECRET);
            let _ = decode_table(&text, &question("keys", None, &[]), &SECRET);
        }
    }
}
