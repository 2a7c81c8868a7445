//! Text and bytes that may be absent.
//!
//! # Layout
//!
//! | tag | encoding   | body                                                                          |
//! |----:|------------|-------------------------------------------------------------------------------|
//! |   0 | plain      | codes of 1 + length (0 is absent), section of all bytes                       |
//! |   1 | dictionary | varint of distinct values, their lengths, section of their bytes, codes       |
//! |   2 | uuid       | presence as numbers 0 and 1, section of 16 bytes for each present value       |
//!
//! Lengths and codes are [whole numbers](super::ints), each behind a varint of its bytes. The values of
//! a dictionary ascend strictly, so ranges and prefixes can be asked of the codes.

use std::sync::Arc;

use hashbrown::HashMap;

use super::cursor::{Cursor, Decoded, Malformed};
use super::ints::{decode_codes, decode_ints, encode_codes, encode_ints};
use super::section::{SECTION_BYTES_MAX, put_section};
use super::varint::put_varint;
use crate::schema::{Bitmap, BytesColumn, NULL_CODE};

const PLAIN: u8 = 0;
const DICTIONARY: u8 = 1;
const UUID: u8 = 2;

/// The name of the encoding that `bytes` start with.
pub(super) fn name(bytes: &[u8]) -> Option<&'static str> {
    Some(match *bytes.first()? {
        PLAIN => "plain",
        DICTIONARY => "dictionary",
        UUID => "uuid",
        _ => return None,
    })
}

/// Decoded text or bytes.
#[derive(Debug, Clone)]
pub enum Strings {
    /// One value a row.
    Plain(BytesColumn),
    /// Codes into distinct, ascending values; [`NULL_CODE`] is absent.
    Dictionary(Vec<u32>, Arc<BytesColumn>),
}

impl Strings {
    /// One value a row.
    pub fn into_plain(self) -> BytesColumn {
        match self {
            Self::Plain(column) => column,
            Self::Dictionary(codes, values) => {
                let mut out = BytesColumn::new();
                for code in codes {
                    out.push(values.get(code as usize));
                }
                out
            }
        }
    }
}

/// Encodes text or bytes: a dictionary when at most half of the rows are distinct, 16 bytes a value
/// when all are UUIDs in canonical form, else plain.
pub fn encode_strings(column: &BytesColumn, out: &mut Vec<u8>) {
    let mut seen: HashMap<&[u8], u32> = HashMap::new();
    let distinct_max = column.len().div_ceil(2);
    for value in column.iter().flatten() {
        seen.entry(value).or_insert(0);
        if seen.len() > distinct_max {
            break;
        }
    }
    if seen.len() <= distinct_max {
        put_dictionary(column, seen, out);
    } else if !put_uuids(column, out) {
        put_plain(column, out);
    }
}

fn put_block(encode: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    let mut block = Vec::new();
    encode(&mut block);
    put_varint(block.len() as u64, out);
    out.extend_from_slice(&block);
}

fn take_block<'a>(cursor: &mut Cursor<'a>) -> Decoded<&'a [u8]> {
    let len = cursor.len(SECTION_BYTES_MAX)?;
    cursor.take(len)
}

fn put_dictionary<'a>(column: &'a BytesColumn, mut seen: HashMap<&'a [u8], u32>, out: &mut Vec<u8>) {
    let mut values: Vec<&[u8]> = seen.keys().copied().collect();
    values.sort_unstable();
    for (code, value) in (0..).zip(&values) {
        seen.insert(value, code);
    }
    let codes: Vec<u32> =
        column.iter().map(|v| v.and_then(|v| seen.get(v).copied()).unwrap_or(NULL_CODE)).collect();
    let lens: Vec<u64> = values.iter().map(|v| v.len() as u64).collect();
    out.push(DICTIONARY);
    put_varint(values.len() as u64, out);
    put_block(|b| encode_ints(&lens, b), out);
    put_section(&values.concat(), out);
    put_block(|b| encode_codes(&codes, b), out);
}

fn put_plain(column: &BytesColumn, out: &mut Vec<u8>) {
    let lens: Vec<u64> = column.iter().map(|v| v.map_or(0, |v| v.len() as u64 + 1)).collect();
    out.push(PLAIN);
    put_block(|b| encode_ints(&lens, b), out);
    put_section(column.bytes(), out);
}

fn put_uuids(column: &BytesColumn, out: &mut Vec<u8>) -> bool {
    let mut packed = Vec::with_capacity(column.len() * 16);
    for value in column.iter().flatten() {
        let Some(uuid) = parse_uuid(value) else { return false };
        packed.extend_from_slice(&uuid);
    }
    let present: Vec<u64> = column.iter().map(|v| u64::from(v.is_some())).collect();
    out.push(UUID);
    put_block(|b| encode_ints(&present, b), out);
    put_section(&packed, out);
    true
}

/// Decodes what [`encode_strings`] wrote of `rows` values.
///
/// # Errors
///
/// [`Malformed`] when `bytes` are anything else.
pub fn decode_strings(bytes: &[u8], rows: usize) -> Decoded<Strings> {
    let mut cursor = Cursor::new(bytes);
    let strings = match cursor.u8()? {
        PLAIN => take_plain(&mut cursor, rows).map(Strings::Plain),
        DICTIONARY => take_dictionary(&mut cursor, rows),
        UUID => take_uuids(&mut cursor, rows).map(Strings::Plain),
        _ => Err(Malformed("an unknown encoding of text")),
    }?;
    cursor.end()?;
    Ok(strings)
}

/// A column from the lengths of its values, 0 for absent and one more than the length for the others.
fn column_of(lens: &[u64], bytes: Vec<u8>) -> Decoded<BytesColumn> {
    let mut ends = Vec::with_capacity(lens.len());
    let mut present = Bitmap::default();
    let mut end = 0_u64;
    for &len in lens {
        present.push(len > 0);
        end = end.saturating_add(len.saturating_sub(1));
        ends.push(u32::try_from(end).map_err(|_| Malformed("text above 4 GiB"))?);
    }
    BytesColumn::from_parts(ends, bytes, present).map_err(|_| Malformed("lengths that do not add up"))
}

fn take_plain(cursor: &mut Cursor<'_>, rows: usize) -> Decoded<BytesColumn> {
    let lens = decode_ints(take_block(cursor)?, rows)?;
    column_of(&lens, cursor.section()?.into_owned())
}

fn take_dictionary(cursor: &mut Cursor<'_>, rows: usize) -> Decoded<Strings> {
    let distinct = cursor.len(rows)?;
    let mut lens = decode_ints(take_block(cursor)?, distinct)?;
    for len in &mut lens {
        *len = len.saturating_add(1);
    }
    let values = column_of(&lens, cursor.section()?.into_owned())?;
    if !values.iter().is_sorted_by(|a, b| a < b) {
        return Err(Malformed("a dictionary out of order"));
    }
    let codes = decode_codes(take_block(cursor)?, rows)?;
    if codes.iter().any(|c| *c != NULL_CODE && *c as usize >= distinct) {
        return Err(Malformed("a code outside of its dictionary"));
    }
    Ok(Strings::Dictionary(codes, Arc::new(values)))
}

fn take_uuids(cursor: &mut Cursor<'_>, rows: usize) -> Decoded<BytesColumn> {
    let present = decode_ints(take_block(cursor)?, rows)?;
    let packed = cursor.section()?;
    let (uuids, tail) = packed.as_chunks::<16>();
    let mut uuids = uuids.iter();
    let mut out = BytesColumn::new();
    for present in present {
        if present == 0 {
            out.push(None);
        } else {
            let uuid = uuids.next().ok_or(Malformed("fewer UUIDs than rows"))?;
            out.push(Some(&format_uuid(uuid)));
        }
    }
    if uuids.next().is_some() || !tail.is_empty() {
        return Err(Malformed("more UUIDs than rows"));
    }
    Ok(out)
}

const fn is_dash(index: usize) -> bool {
    matches!(index, 8 | 13 | 18 | 23)
}

/// The 16 bytes of a UUID in lower-case canonical text.
fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    let mut value = 0_u128;
    for (index, byte) in text.iter().enumerate() {
        if is_dash(index) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u128::from(digit);
    }
    // The text's order: first digit in the first byte.
    let mut bytes = value.to_le_bytes();
    bytes.reverse();
    Some(bytes)
}

fn format_uuid(uuid: &[u8; 16]) -> [u8; 36] {
    let mut digits = uuid.iter().flat_map(|b| [b >> 4, b & 15]);
    std::array::from_fn(|index| {
        if is_dash(index) {
            return b'-';
        }
        match digits.next().unwrap_or(0) {
            digit @ 0..10 => b'0' + digit,
            digit => b'a' + digit - 10,
        }
    })
}
