//! Text and bytes that may be absent.
//!
//! The bytes are described in `docs/format/encodings.md`.

use std::sync::Arc;

use hashbrown::HashMap;

use super::blocks::{put_block, put_numbers, take_block, take_numbers};
use super::cursor::{Cursor, Decoded, Malformed};
use super::density::Density;
use super::ints::{decode_codes, encode_codes_at};
use super::section::put_section_at;
use super::varint::put_varint;
use super::{formats, template};
use crate::schema::{Bitmap, BytesColumn, NULL_CODE};

const PLAIN: u8 = 0;
const DICTIONARY: u8 = 1;
const UUID: u8 = 2;
const HEX: u8 = 3;
const IPV4: u8 = 4;
const DECIMAL: u8 = 5;
const TEMPLATE: u8 = 6;
const RECENT: u8 = 7;
const FIRST_SEEN: u8 = 8;

/// Writes the present values of a column, if they are all of one format.
type Format = fn(&BytesColumn, Density, &mut Vec<u8>) -> bool;

/// The name of the encoding that `bytes` start with.
pub(super) fn name(bytes: &[u8]) -> Option<&'static str> {
    Some(match *bytes.first()? {
        PLAIN => "plain",
        DICTIONARY => "dictionary",
        UUID => "uuid",
        HEX => "hex",
        IPV4 => "ipv4",
        DECIMAL => "decimal",
        TEMPLATE => "template",
        RECENT => "recent",
        FIRST_SEEN => "first seen",
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
    /// Codes into values, each value once unless every row has its own; [`NULL_CODE`] is absent.
    pub fn into_dictionary(self) -> (Vec<u32>, Arc<BytesColumn>) {
        match self {
            Self::Dictionary(codes, values) => (codes, values),
            Self::Plain(column) => {
                let code = |(row, value): (u32, Option<&[u8]>)| if value.is_some() { row } else { NULL_CODE };
                ((0..).zip(column.iter()).map(code).collect(), Arc::new(column))
            }
        }
    }

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

/// Encodes text or bytes of fresh rows.
pub fn encode_strings(column: &BytesColumn, out: &mut Vec<u8>) {
    encode_strings_at(column, Density::Fast, out);
}

/// Encodes text or bytes: a dictionary when at most half of the rows are distinct, else what the values are
/// written out from (UUIDs, hex and the like) when they all are, else plain.
pub fn encode_strings_at(column: &BytesColumn, density: Density, out: &mut Vec<u8>) {
    let mut seen: HashMap<&[u8], u32> = HashMap::new();
    let distinct_max = column.len().div_ceil(2);
    for value in column.iter().flatten() {
        let next = u32::try_from(seen.len()).unwrap_or(NULL_CODE);
        seen.entry(value).or_insert(next);
        if seen.len() > distinct_max {
            break;
        }
    }
    if seen.len() > distinct_max {
        put_values(column, density, out);
    } else if density == Density::Dense {
        put_recent(column, &seen, out);
    } else {
        put_dictionary(column, seen, out);
    }
}

/// Writes values one by one, in the format that takes the fewest bytes.
fn put_values(column: &BytesColumn, density: Density, out: &mut Vec<u8>) {
    let start = out.len();
    let mut formats: &[(u8, Format)] = &[(UUID, formats::put_uuids)];
    if density == Density::Dense {
        formats = &[
            (UUID, formats::put_uuids),
            (IPV4, formats::put_ipv4),
            (DECIMAL, formats::put_decimals),
            (HEX, formats::put_hex),
        ];
    }
    let present: Vec<u64> = column.iter().map(|v| u64::from(v.is_some())).collect();
    let with = |tag: u8, format: Format, out: &mut Vec<u8>| {
        let start = out.len();
        out.push(tag);
        put_numbers(&present, density, out);
        let fits = format(column, density, out);
        if !fits {
            out.truncate(start);
        }
        fits
    };
    if column.present().count_ones() > 0 && formats.iter().any(|(tag, format)| with(*tag, *format, out)) {
        return;
    }
    put_plain(column, density, out);
    if density == Density::Dense {
        let mut templates = Vec::new();
        if with(TEMPLATE, template::put_templates, &mut templates) && templates.len() < out.len() - start {
            out.truncate(start);
            out.extend_from_slice(&templates);
        }
    }
}

/// A dictionary in the order of first sight: of a value that comes again it says how many new ones came since.
fn put_recent(column: &BytesColumn, seen: &HashMap<&[u8], u32>, out: &mut Vec<u8>) {
    let mut values: Vec<(&[u8], u32)> = seen.iter().map(|(value, code)| (*value, *code)).collect();
    values.sort_unstable_by_key(|(_, code)| *code);
    let mut distinct = BytesColumn::new();
    for (value, _) in &values {
        distinct.push(Some(value));
    }
    let mut ages = Vec::with_capacity(column.len());
    let mut codes = Vec::with_capacity(column.len());
    let mut known = 0_u64;
    for value in column.iter() {
        let code = value.and_then(|v| seen.get(v).copied());
        codes.push(code.unwrap_or(NULL_CODE));
        ages.push(match code.map(u64::from) {
            None => 0,
            Some(code) if code == known => {
                known += 1;
                1
            }
            Some(code) => known - code + 1,
        });
    }
    let (mut by_age, mut by_code) = (Vec::new(), Vec::new());
    put_numbers(&ages, Density::Dense, &mut by_age);
    put_block(|b| encode_codes_at(&codes, Density::Dense, b), &mut by_code);
    let (tag, body) = if by_age.len() < by_code.len() { (RECENT, by_age) } else { (FIRST_SEEN, by_code) };
    out.push(tag);
    put_varint(values.len() as u64, out);
    put_block(|b| put_values(&distinct, Density::Dense, b), out);
    out.extend_from_slice(&body);
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
    put_numbers(&lens, Density::Fast, out);
    put_section_at(&values.concat(), Density::Fast, out);
    put_block(|b| encode_codes_at(&codes, Density::Fast, b), out);
}

fn put_plain(column: &BytesColumn, density: Density, out: &mut Vec<u8>) {
    let lens: Vec<u64> = column.iter().map(|v| v.map_or(0, |v| v.len() as u64 + 1)).collect();
    out.push(PLAIN);
    put_numbers(&lens, density, out);
    put_section_at(column.bytes(), density, out);
}

/// Decodes what [`encode_strings`] wrote of `rows` values.
///
/// # Errors
///
/// [`Malformed`] when `bytes` are anything else.
pub fn decode_strings(bytes: &[u8], rows: usize) -> Decoded<Strings> {
    let mut cursor = Cursor::new(bytes);
    let tag = cursor.u8()?;
    let strings = match tag {
        PLAIN => take_plain(&mut cursor, rows).map(Strings::Plain),
        DICTIONARY => take_dictionary(&mut cursor, rows),
        RECENT | FIRST_SEEN => take_recent(tag, &mut cursor, rows),
        UUID | HEX | IPV4 | DECIMAL | TEMPLATE => take_formatted(tag, &mut cursor, rows).map(Strings::Plain),
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
    let lens = take_numbers(cursor, rows)?;
    column_of(&lens, cursor.section()?.into_owned())
}

fn take_dictionary(cursor: &mut Cursor<'_>, rows: usize) -> Decoded<Strings> {
    let distinct = cursor.len(rows)?;
    let mut lens = take_numbers(cursor, distinct)?;
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

/// Values in a format of their own, and which rows have one.
fn take_formatted(tag: u8, cursor: &mut Cursor<'_>, rows: usize) -> Decoded<BytesColumn> {
    let present = take_numbers(cursor, rows)?;
    if present.iter().any(|p| *p > 1) {
        return Err(Malformed("a presence that is neither 0 nor 1"));
    }
    let count = present.iter().filter(|p| **p == 1).count();
    let values = match tag {
        UUID => formats::take_uuids(cursor, count),
        HEX => formats::take_hex(cursor, count),
        IPV4 => formats::take_ipv4(cursor, count),
        DECIMAL => formats::take_decimals(cursor, count),
        _ => template::take_templates(cursor, count),
    }?;
    if count == rows {
        return Ok(values);
    }
    let mut values = values.iter();
    let mut out = BytesColumn::new();
    for p in &present {
        out.push(if *p == 1 { values.next().flatten() } else { None });
    }
    Ok(out)
}

fn take_recent(tag: u8, cursor: &mut Cursor<'_>, rows: usize) -> Decoded<Strings> {
    let distinct = cursor.len(rows)?;
    let block = take_block(cursor)?;
    if matches!(block.first(), Some(&(RECENT | FIRST_SEEN | DICTIONARY))) {
        return Err(Malformed("a dictionary inside of a dictionary"));
    }
    let values = decode_strings(block, distinct)?.into_plain();
    let codes = if tag == FIRST_SEEN {
        decode_codes(take_block(cursor)?, rows)?
    } else {
        codes_of_ages(&take_numbers(cursor, rows)?)?
    };
    if codes.iter().any(|c| *c != NULL_CODE && *c as usize >= distinct) {
        return Err(Malformed("a code outside of its dictionary"));
    }
    if values.present().count_ones() != distinct {
        return Err(Malformed("a dictionary with an absent value"));
    }
    Ok(Strings::Dictionary(codes, Arc::new(values)))
}

fn codes_of_ages(ages: &[u64]) -> Decoded<Vec<u32>> {
    let mut known = 0_u32;
    let mut codes = Vec::with_capacity(ages.len());
    for age in ages {
        codes.push(match age {
            0 => NULL_CODE,
            1 => {
                known += 1;
                known - 1
            }
            age => {
                let back = u32::try_from(age - 1).ok().and_then(|back| known.checked_sub(back));
                back.ok_or(Malformed("a value from before the first"))?
            }
        });
    }
    Ok(codes)
}
