//! One column in one granule, as the payload of its block and as the vector that a query reads.

use std::ops::Range;
use std::sync::Arc;

use super::columns::SegmentColumn;
use super::told::{self, Groups, PARTS, PLAIN, TOLD, Tell};
use super::zone_map;
use crate::codec::{
    Cursor, Decoded, Density, Malformed, Strings, decode_codes, decode_floats, decode_ints, decode_strings,
    encode_codes_at, encode_floats_at, encode_ints_at, encode_ints_in_runs, encode_strings_at, from_ordered,
    put_block, take_block, to_ordered,
};
use crate::id::Stream;
use crate::part::ZoneMap;
use crate::schema::{Bitmap, BytesColumn, ColumnId, ColumnType, ColumnVector, NULL_CODE};

/// A column in a granule, encoded.
pub(super) struct EncodedChunk {
    /// `None` when every value is absent.
    pub(super) payload: Option<Vec<u8>>,
    pub(super) nulls: usize,
    pub(super) zone: Option<ZoneMap>,
}

/// Some rows of a byte column, as a column of their own.
pub(super) fn slice(column: &BytesColumn, rows: Range<usize>) -> BytesColumn {
    let mut out = BytesColumn::new();
    for row in rows {
        out.push(column.get(row));
    }
    out
}

/// What is known of a granule when its columns are encoded.
#[derive(Debug)]
pub(super) struct Around<'a> {
    /// How much work fewer bytes are worth.
    pub(super) density: Density,
    /// Rows where another tenant begins.
    pub(super) breaks: &'a [usize],
    /// The rows by what the columns say that may tell others.
    pub(super) groups: Vec<Groups>,
    /// Rows of each series, of metrics that stay.
    pub(super) series: Vec<usize>,
}

impl Around<'_> {
    /// The groups that may tell a column.
    fn tellers(&self, stream: Stream, column: ColumnId) -> impl Iterator<Item = &Groups> {
        let allowed = told::tellers_of(stream, column);
        self.groups.iter().filter(move |g| allowed.contains(&g.column))
    }

    /// The payload of a text column: its values, or what another column tells.
    pub(super) fn text(&self, stream: Stream, column: ColumnId, values: &BytesColumn) -> Vec<u8> {
        let mut best = vec![PLAIN];
        encode_strings_at(values, self.density, &mut best);
        for groups in self.tellers(stream, column) {
            let Some((firsts, exceptions)) = told::tell(groups, |row| values.get(row)) else { continue };
            let mut payload = Vec::new();
            told::put_head(TOLD, groups, self.breaks, &mut payload);
            let list = |rows: &[usize], out: &mut Vec<u8>| {
                put_block(|b| encode_strings_at(&told::pick(values, rows), self.density, b), out);
            };
            list(&firsts, &mut payload);
            told::put_rows(&exceptions, &mut payload);
            list(&exceptions, &mut payload);
            keep_shorter(&mut best, payload);
        }
        best
    }

    fn codes(&self, stream: Stream, column: ColumnId, codes: &[u32]) -> Vec<u8> {
        let mut best = vec![PLAIN];
        encode_codes_at(codes, self.density, &mut best);
        for groups in self.tellers(stream, column) {
            let Some((firsts, exceptions)) = told::tell(groups, |row| codes.get(row)) else { continue };
            let mut payload = Vec::new();
            told::put_head(TOLD, groups, self.breaks, &mut payload);
            let list = |rows: &[usize], out: &mut Vec<u8>| {
                let some: Vec<u32> = rows.iter().filter_map(|row| codes.get(*row).copied()).collect();
                put_block(|b| encode_codes_at(&some, self.density, b), out);
            };
            list(&firsts, &mut payload);
            told::put_rows(&exceptions, &mut payload);
            list(&exceptions, &mut payload);
            keep_shorter(&mut best, payload);
        }
        best
    }

    fn numbers(&self, stream: Stream, column: ColumnId, values: &[u64]) -> Vec<u8> {
        let mut best = vec![PLAIN];
        if self.series.is_empty() {
            encode_ints_at(values, self.density, &mut best);
        } else {
            encode_ints_in_runs(values, &self.series, self.density, &mut best);
        }
        for groups in self.tellers(stream, column) {
            let Some((firsts, exceptions)) = told::tell(groups, |row| values.get(row)) else { continue };
            let mut payload = Vec::new();
            told::put_head(TOLD, groups, self.breaks, &mut payload);
            let list = |rows: &[usize], out: &mut Vec<u8>| {
                let some: Vec<u64> = rows.iter().filter_map(|row| values.get(*row).copied()).collect();
                put_block(|b| encode_ints_at(&some, self.density, b), out);
            };
            list(&firsts, &mut payload);
            told::put_rows(&exceptions, &mut payload);
            list(&exceptions, &mut payload);
            keep_shorter(&mut best, payload);
        }
        best
    }

    /// Doubles, all together or those of each metric apart: a percentage and a count of bytes have little in
    /// common.
    fn doubles(&self, stream: Stream, column: ColumnId, values: &[f64]) -> Vec<u8> {
        let mut best = vec![PLAIN];
        encode_floats_at(values, self.density, &mut best);
        for groups in self.tellers(stream, column) {
            if groups.count < 2 || groups.count * PART_ROWS_MIN > values.len() {
                continue;
            }
            let mut parts = vec![Vec::new(); groups.count];
            for (value, group) in values.iter().zip(&groups.of_rows) {
                if let Some(part) = parts.get_mut(*group as usize) {
                    part.push(*value);
                }
            }
            let mut payload = Vec::new();
            told::put_head(PARTS, groups, self.breaks, &mut payload);
            for part in parts {
                put_block(|b| encode_floats_at(&part, self.density, b), &mut payload);
            }
            keep_shorter(&mut best, payload);
        }
        best
    }
}

/// A part of fewer doubles costs more than it saves.
const PART_ROWS_MIN: usize = 64;

/// What another column tells is read through that column: it must be shorter by a tenth.
fn keep_shorter(best: &mut Vec<u8>, other: Vec<u8>) {
    if other.len() < best.len() / 10 * 9 {
        *best = other;
    }
}

/// Encodes `rows` of a column that is no document column.
pub(super) fn encode(
    around: &Around<'_>,
    (stream, id): (Stream, ColumnId),
    column: &SegmentColumn,
    rows: Range<usize>,
) -> EncodedChunk {
    let (payload, zone, nulls) = match column {
        SegmentColumn::I64(values) => {
            let values = values.get(rows).unwrap_or(&[]);
            let ordered: Vec<u64> = values.iter().map(|v| to_ordered(*v)).collect();
            (around.numbers(stream, id, &ordered), zone_map::of_i64(values), 0)
        }
        SegmentColumn::U64(values) => {
            let values = values.get(rows).unwrap_or(&[]);
            (around.numbers(stream, id, values), zone_map::of_u64(values), 0)
        }
        SegmentColumn::F64(values) => {
            let values = values.get(rows).unwrap_or(&[]);
            (around.doubles(stream, id, values), zone_map::of_f64(values), 0)
        }
        SegmentColumn::Codes(codes) => {
            let codes = codes.get(rows).unwrap_or(&[]);
            let (zone, nulls) = zone_map::of_codes(codes);
            (around.codes(stream, id, codes), zone, nulls)
        }
        SegmentColumn::Bytes(column) => {
            let values = slice(column, rows);
            let (zone, nulls) = zone_map::of_bytes(&values);
            (around.text(stream, id, &values), zone, nulls)
        }
    };
    let payload = (zone != Some(ZoneMap::Null)).then_some(payload);
    EncodedChunk { payload, nulls, zone }
}

/// Decodes the payload of a column that is no document column.
pub(super) fn decode(ty: ColumnType, payload: &[u8], rows: usize, tell: &dyn Tell) -> Decoded<ColumnVector> {
    Ok(match ty {
        ColumnType::Time => {
            let numbers = decode_numbers(payload, rows, tell)?;
            ColumnVector::I64(numbers.into_iter().map(from_ordered).collect(), None)
        }
        ColumnType::U64 => ColumnVector::U64(decode_numbers(payload, rows, tell)?, None),
        ColumnType::F64 => ColumnVector::F64(decode_doubles(payload, rows, tell)?, None),
        ColumnType::Code(_) => ColumnVector::Codes(told_values(payload, rows, tell, decode_codes)?),
        ColumnType::Str | ColumnType::Document => decode_text(payload, rows, tell)?,
    })
}

fn decode_numbers(payload: &[u8], rows: usize, tell: &dyn Tell) -> Decoded<Vec<u64>> {
    told_values(payload, rows, tell, decode_ints)
}

/// Values that are there one a row, or told.
fn told_values<T: Copy>(
    payload: &[u8],
    rows: usize,
    tell: &dyn Tell,
    decode: fn(&[u8], usize) -> Decoded<Vec<T>>,
) -> Decoded<Vec<T>> {
    let mut cursor = Cursor::new(payload);
    match cursor.u8()? {
        PLAIN => decode(cursor.rest(), rows),
        TOLD => {
            let groups = told::take_head(&mut cursor, rows, tell)?;
            let values = decode(take_block(&mut cursor)?, groups.count)?;
            let exceptions = told::take_rows(&mut cursor, rows)?;
            let others = decode(take_block(&mut cursor)?, exceptions.len())?;
            cursor.end()?;
            told::spread(&groups, &values, &exceptions, &others)
        }
        _ => Err(Malformed("an unknown kind of column")),
    }
}

fn decode_doubles(payload: &[u8], rows: usize, tell: &dyn Tell) -> Decoded<Vec<f64>> {
    let mut cursor = Cursor::new(payload);
    match cursor.u8()? {
        PLAIN => decode_floats(cursor.rest(), rows),
        PARTS => {
            let groups = told::take_head(&mut cursor, rows, tell)?;
            let mut sizes = vec![0_usize; groups.count];
            for group in &groups.of_rows {
                if let Some(size) = sizes.get_mut(*group as usize) {
                    *size += 1;
                }
            }
            let mut parts = Vec::with_capacity(groups.count);
            for size in sizes {
                parts.push(decode_floats(take_block(&mut cursor)?, size)?.into_iter());
            }
            cursor.end()?;
            let next = |group: &u32| parts.get_mut(*group as usize).and_then(Iterator::next);
            let values: Option<Vec<f64>> = groups.of_rows.iter().map(next).collect();
            values.ok_or(Malformed("fewer doubles than rows"))
        }
        _ => Err(Malformed("an unknown kind of column")),
    }
}

/// Decodes text, one value a row or told.
pub(super) fn decode_text(payload: &[u8], rows: usize, tell: &dyn Tell) -> Decoded<ColumnVector> {
    let mut cursor = Cursor::new(payload);
    match cursor.u8()? {
        PLAIN => Ok(match decode_strings(cursor.rest(), rows)? {
            Strings::Plain(column) => ColumnVector::Bytes(Arc::new(column)),
            Strings::Dictionary(codes, values) => ColumnVector::Dict { codes, values },
        }),
        TOLD => {
            let groups = told::take_head(&mut cursor, rows, tell)?;
            let values = decode_strings(take_block(&mut cursor)?, groups.count)?.into_dictionary();
            let exceptions = told::take_rows(&mut cursor, rows)?;
            let others = decode_strings(take_block(&mut cursor)?, exceptions.len())?.into_dictionary();
            cursor.end()?;
            let (codes, values) =
                told::spread_text(&groups, (&values.0, &values.1), &exceptions, (&others.0, &others.1))?;
            Ok(ColumnVector::Dict { codes, values: Arc::new(values) })
        }
        _ => Err(Malformed("an unknown kind of column")),
    }
}

/// A column of which every value is absent; `None` for a type whose values cannot be absent.
pub(super) fn absent(ty: ColumnType, rows: usize) -> Option<ColumnVector> {
    match ty {
        ColumnType::Time | ColumnType::U64 | ColumnType::F64 => None,
        ColumnType::Code(_) => Some(ColumnVector::Codes(vec![NULL_CODE; rows])),
        ColumnType::Str => {
            Some(ColumnVector::Dict { codes: vec![NULL_CODE; rows], values: Arc::new(BytesColumn::new()) })
        }
        ColumnType::Document => {
            let none =
                BytesColumn::from_parts(vec![0; rows], Vec::new(), Bitmap::filled(rows, false)).ok()?;
            Some(ColumnVector::Bytes(Arc::new(none)))
        }
    }
}

/// Null count and zone map of a decoded column, to compare with what its directory says.
pub(super) fn statistics(vector: &ColumnVector) -> (Option<ZoneMap>, usize) {
    match vector {
        ColumnVector::I64(values, _) => (zone_map::of_i64(values), 0),
        ColumnVector::U64(values, _) => (zone_map::of_u64(values), 0),
        ColumnVector::F64(values, _) => (zone_map::of_f64(values), 0),
        ColumnVector::Codes(codes) => zone_map::of_codes(codes),
        ColumnVector::Bytes(column) => zone_map::of_bytes(column),
        ColumnVector::Dict { codes, values } => {
            let mut column = BytesColumn::new();
            for code in codes {
                column.push(values.get(*code as usize));
            }
            zone_map::of_bytes(&column)
        }
        ColumnVector::Scalars(leaves) => (None, leaves.iter().filter(|l| l.is_none()).count()),
    }
}
