//! Zone maps: least and greatest value of a column in a granule, and how many values are absent.
//!
//! The bytes are described in `docs/format/segment.md`.

use crate::codec::{Cursor, Decoded, Malformed, put_varint};
use crate::part::ZoneMap;
use crate::schema::{BytesColumn, NULL_CODE};

/// Bytes of text that a zone map keeps; the upper bound is made larger when it is cut.
const TEXT_BYTES_MAX: usize = 32;

pub(super) fn of_i64(values: &[i64]) -> Option<ZoneMap> {
    Some(ZoneMap::I64 { min: *values.iter().min()?, max: *values.iter().max()? })
}

pub(super) fn of_u64(values: &[u64]) -> Option<ZoneMap> {
    Some(ZoneMap::U64 { min: *values.iter().min()?, max: *values.iter().max()? })
}

pub(super) fn of_codes(codes: &[u32]) -> (Option<ZoneMap>, usize) {
    let present = || codes.iter().copied().filter(|c| *c != NULL_CODE);
    let nulls = codes.len() - present().count();
    let zone = match (present().min(), present().max()) {
        (Some(min), Some(max)) => ZoneMap::U64 { min: u64::from(min), max: u64::from(max) },
        _ => ZoneMap::Null,
    };
    (Some(zone), nulls)
}

pub(super) fn of_f64(values: &[f64]) -> Option<ZoneMap> {
    if values.iter().any(|v| v.is_nan()) {
        return None;
    }
    let min = values.iter().copied().min_by(f64::total_cmp)?;
    let max = values.iter().copied().max_by(f64::total_cmp)?;
    Some(ZoneMap::F64 { min, max })
}

pub(super) fn of_bytes(column: &BytesColumn) -> (Option<ZoneMap>, usize) {
    let nulls = column.len() - column.present().count_ones();
    let mut values = column.iter().flatten();
    let Some(first) = values.next() else { return (Some(ZoneMap::Null), nulls) };
    let (mut min, mut max) = (first, first);
    for value in values {
        if value > max {
            max = value;
        } else if value < min {
            min = value;
        }
    }
    let zone = upper_bound(max)
        .map(|max| ZoneMap::Bytes { min: min.get(..TEXT_BYTES_MAX).unwrap_or(min).to_vec(), max });
    (zone, nulls)
}

/// The least short text that is not under `max`; none when all its bytes are 0xff.
fn upper_bound(max: &[u8]) -> Option<Vec<u8>> {
    let Some(cut) = max.get(..TEXT_BYTES_MAX).filter(|cut| cut.len() < max.len()) else {
        return Some(max.to_vec());
    };
    let mut bound = cut.to_vec();
    while let Some(last) = bound.pop() {
        if last < 0xff {
            bound.push(last + 1);
            return Some(bound);
        }
    }
    None
}

pub(super) fn encode(zone: Option<&ZoneMap>, out: &mut Vec<u8>) {
    match zone {
        None => out.push(0),
        Some(ZoneMap::Null) => out.push(1),
        Some(ZoneMap::I64 { min, max }) => {
            out.push(2);
            out.extend_from_slice(&min.to_le_bytes());
            out.extend_from_slice(&max.to_le_bytes());
        }
        Some(ZoneMap::U64 { min, max }) => {
            out.push(3);
            put_varint(*min, out);
            put_varint(*max, out);
        }
        Some(ZoneMap::F64 { min, max }) => {
            out.push(4);
            out.extend_from_slice(&min.to_bits().to_le_bytes());
            out.extend_from_slice(&max.to_bits().to_le_bytes());
        }
        Some(ZoneMap::Bytes { min, max }) => {
            out.push(5);
            for bound in [min, max] {
                put_varint(bound.len() as u64, out);
                out.extend_from_slice(bound);
            }
        }
    }
}

pub(super) fn decode(cursor: &mut Cursor<'_>) -> Decoded<Option<ZoneMap>> {
    Ok(Some(match cursor.u8()? {
        0 => return Ok(None),
        1 => ZoneMap::Null,
        2 => ZoneMap::I64 { min: cursor.u64()?.cast_signed(), max: cursor.u64()?.cast_signed() },
        3 => ZoneMap::U64 { min: cursor.varint()?, max: cursor.varint()? },
        4 => ZoneMap::F64 { min: f64::from_bits(cursor.u64()?), max: f64::from_bits(cursor.u64()?) },
        5 => ZoneMap::Bytes { min: take_text(cursor)?, max: take_text(cursor)? },
        _ => return Err(Malformed("an unknown zone map")),
    }))
}

fn take_text(cursor: &mut Cursor<'_>) -> Decoded<Vec<u8>> {
    let len = cursor.len(TEXT_BYTES_MAX)?;
    Ok(cursor.take(len)?.to_vec())
}
