//! One column in one granule, as the payload of its block and as the vector that a query reads.

use std::ops::Range;
use std::sync::Arc;

use super::columns::SegmentColumn;
use super::zone_map;
use crate::codec::{
    Decoded, Strings, decode_codes, decode_floats, decode_ints, decode_strings, encode_codes, encode_floats,
    encode_ints, encode_strings, from_ordered, to_ordered,
};
use crate::part::ZoneMap;
use crate::schema::{Bitmap, BytesColumn, ColumnType, ColumnVector, NULL_CODE};

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

/// Encodes `rows` of a column that is no document column.
pub(super) fn encode(column: &SegmentColumn, rows: Range<usize>) -> EncodedChunk {
    let mut payload = Vec::new();
    let (zone, nulls) = match column {
        SegmentColumn::I64(values) => {
            let values = values.get(rows).unwrap_or(&[]);
            let ordered: Vec<u64> = values.iter().map(|v| to_ordered(*v)).collect();
            encode_ints(&ordered, &mut payload);
            (zone_map::of_i64(values), 0)
        }
        SegmentColumn::U64(values) => {
            let values = values.get(rows).unwrap_or(&[]);
            encode_ints(values, &mut payload);
            (zone_map::of_u64(values), 0)
        }
        SegmentColumn::F64(values) => {
            let values = values.get(rows).unwrap_or(&[]);
            encode_floats(values, &mut payload);
            (zone_map::of_f64(values), 0)
        }
        SegmentColumn::Codes(codes) => {
            let codes = codes.get(rows).unwrap_or(&[]);
            encode_codes(codes, &mut payload);
            zone_map::of_codes(codes)
        }
        SegmentColumn::Bytes(column) => {
            let values = slice(column, rows);
            encode_strings(&values, &mut payload);
            zone_map::of_bytes(&values)
        }
    };
    let payload = (zone != Some(ZoneMap::Null)).then_some(payload);
    EncodedChunk { payload, nulls, zone }
}

/// Decodes the payload of a column that is no document column.
pub(super) fn decode(ty: ColumnType, payload: &[u8], rows: usize) -> Decoded<ColumnVector> {
    Ok(match ty {
        ColumnType::Time => {
            ColumnVector::I64(decode_ints(payload, rows)?.into_iter().map(from_ordered).collect(), None)
        }
        ColumnType::U64 => ColumnVector::U64(decode_ints(payload, rows)?, None),
        ColumnType::F64 => ColumnVector::F64(decode_floats(payload, rows)?, None),
        ColumnType::Code(_) => ColumnVector::Codes(decode_codes(payload, rows)?),
        ColumnType::Str | ColumnType::Document => match decode_strings(payload, rows)? {
            Strings::Plain(column) => ColumnVector::Bytes(Arc::new(column)),
            Strings::Dictionary(codes, values) => ColumnVector::Dict { codes, values },
        },
    })
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
