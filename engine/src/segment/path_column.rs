//! Typed sub-columns of a path, as bytes and as the vectors that a query reads.
//!
//! The bytes are described in `docs/format/segment.md`.

use std::sync::Arc;

use hashbrown::HashMap;

use super::column_chunk::{Around, decode_text};
use super::paths::ZONES;
use super::shred::{ShreddedPath, Sparse};
use super::told::{self, Tell};
use super::zone_map;
use crate::codec::{
    self, Cursor, Decoded, Density, Malformed, Strings, Values, decode_floats, decode_ints, encode_floats_at,
    encode_ints_at, from_ordered, put_varint, to_ordered,
};
use crate::id::Stream;
use crate::part::ZoneMap;
use crate::schema::{Bitmap, BytesColumn, ColumnId, ColumnVector, NULL_CODE, Scalar};

/// The payloads of a path's sub-columns, in the order text, i64, f64, bool.
pub(super) fn encode(
    path: &ShreddedPath,
    around: &Around<'_>,
    at: (Stream, ColumnId),
) -> [Option<Vec<u8>>; 4] {
    let density = around.density;
    let mut out = [const { None }; 4];
    let [text, i64s, f64s, bools] = &mut out;
    if let Some(column) = &path.text {
        *text = Some(around.text(at.0, at.1, column));
    }
    if let Some(sparse) = &path.i64 {
        let bytes = i64s.insert(Vec::new());
        put_present(&sparse.present, density, bytes);
        let ordered: Vec<u64> = sparse.values.iter().map(|n| to_ordered(*n)).collect();
        encode_ints_at(&ordered, density, bytes);
    }
    if let Some(sparse) = &path.f64 {
        let bytes = f64s.insert(Vec::new());
        put_present(&sparse.present, density, bytes);
        encode_floats_at(&sparse.values, density, bytes);
    }
    if let Some(sparse) = &path.bool {
        let mut values = sparse.values.iter();
        let numbers: Vec<u64> = (0..sparse.present.len())
            .map(|row| if sparse.present.get(row) { 1 + u64::from(values.next() == Some(&true)) } else { 0 })
            .collect();
        encode_ints_at(&numbers, density, bools.insert(Vec::new()));
    }
    out
}

/// The zone maps of a path's text, i64 and f64.
pub(super) fn zones(path: &ShreddedPath) -> [Option<ZoneMap>; ZONES] {
    [
        path.text.as_ref().and_then(|column| zone_map::of_bytes(column).0),
        path.i64.as_ref().and_then(|sparse| zone_map::of_i64(&sparse.values)),
        path.f64.as_ref().and_then(|sparse| zone_map::of_f64(&sparse.values)),
    ]
}

/// The name of the encoding of a sub-column's values; `kind` as in [`encode`].
pub(super) fn encoding_name(kind: usize, payload: &[u8]) -> &'static str {
    let values = || {
        let mut cursor = Cursor::new(payload);
        let len = cursor.len(cursor.rest().len()).ok()?;
        cursor.take(len).ok()?;
        Some(cursor.rest())
    };
    match kind {
        0 => told::encoding_name(Values::Text, payload),
        1 => codec::encoding_name(Values::Numbers, values().unwrap_or(&[])),
        2 => codec::encoding_name(Values::Doubles, values().unwrap_or(&[])),
        _ => codec::encoding_name(Values::Numbers, payload),
    }
}

fn put_present(present: &Bitmap, density: Density, out: &mut Vec<u8>) {
    let bits: Vec<u64> = (0..present.len()).map(|row| u64::from(present.get(row))).collect();
    let mut bytes = Vec::new();
    encode_ints_at(&bits, density, &mut bytes);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(&bytes);
}

fn take_present(cursor: &mut Cursor<'_>, rows: usize) -> Decoded<Bitmap> {
    let len = cursor.len(cursor.rest().len())?;
    let mut present = Bitmap::default();
    for bit in decode_ints(cursor.take(len)?, rows)? {
        if bit > 1 {
            return Err(Malformed("a presence that is neither 0 nor 1"));
        }
        present.push(bit == 1);
    }
    Ok(present)
}

/// Decodes sub-columns; `payloads` in the order text, i64, f64, bool.
pub(super) fn decode(
    keys: &[String],
    in_residual: bool,
    payloads: [Option<&[u8]>; 4],
    rows: usize,
    tell: &dyn Tell,
) -> Decoded<ShreddedPath> {
    let [text, i64s, f64s, bools] = payloads;
    Ok(ShreddedPath {
        keys: keys.to_vec(),
        in_residual,
        text: text.map(|p| decode_text(p, rows, tell).map(plain)).transpose()?,
        i64: i64s.map(|p| decode_i64(p, rows)).transpose()?,
        f64: f64s.map(|p| decode_f64(p, rows)).transpose()?,
        bool: bools.map(|p| decode_bool(p, rows)).transpose()?,
    })
}

fn decode_i64(payload: &[u8], rows: usize) -> Decoded<Sparse<i64>> {
    let mut cursor = Cursor::new(payload);
    let present = take_present(&mut cursor, rows)?;
    let ordered = decode_ints(cursor.rest(), present.count_ones())?;
    Ok(Sparse { values: ordered.into_iter().map(from_ordered).collect(), present })
}

fn decode_f64(payload: &[u8], rows: usize) -> Decoded<Sparse<f64>> {
    let mut cursor = Cursor::new(payload);
    let present = take_present(&mut cursor, rows)?;
    Ok(Sparse { values: decode_floats(cursor.rest(), present.count_ones())?, present })
}

fn decode_bool(payload: &[u8], rows: usize) -> Decoded<Sparse<bool>> {
    let mut out = Sparse { values: Vec::new(), present: Bitmap::default() };
    for number in decode_ints(payload, rows)? {
        if number > 2 {
            return Err(Malformed("a truth that is none"));
        }
        out.present.push(number > 0);
        if number > 0 {
            out.values.push(number == 2);
        }
    }
    Ok(out)
}

/// The leaves at a path that has one sub-column only, or none.
///
/// # Errors
///
/// [`Malformed`] for damaged payloads.
pub(super) fn vector_of_one(
    payloads: [Option<&[u8]>; 4],
    rows: usize,
    tell: &dyn Tell,
) -> Decoded<ColumnVector> {
    match payloads {
        [Some(text), None, None, None] => Ok(match decode_text(text, rows, tell)? {
            ColumnVector::Bytes(column) => dictionary_of(&column),
            dictionary => dictionary,
        }),
        [None, Some(i64s), None, None] => {
            let sparse = decode_i64(i64s, rows)?;
            Ok(ColumnVector::I64(spread(&sparse), Some(sparse.present)))
        }
        [None, None, Some(f64s), None] => {
            let sparse = decode_f64(f64s, rows)?;
            Ok(ColumnVector::F64(spread(&sparse), Some(sparse.present)))
        }
        other => Ok(ColumnVector::from_scalars(scalars(&decode(&[], false, other, rows, tell)?, rows)?)),
    }
}

/// Text, one value a row.
fn plain(vector: ColumnVector) -> BytesColumn {
    match vector {
        ColumnVector::Dict { codes, values } => Strings::Dictionary(codes, values).into_plain(),
        ColumnVector::Bytes(column) => Arc::unwrap_or_clone(column),
        _ => BytesColumn::new(),
    }
}

/// One value a row, the default where it is absent.
fn spread<T: Copy + Default>(sparse: &Sparse<T>) -> Vec<T> {
    let mut values = sparse.values.iter();
    (0..sparse.present.len())
        .map(
            |row| {
                if sparse.present.get(row) {
                    values.next().copied().unwrap_or_default()
                } else {
                    T::default()
                }
            },
        )
        .collect()
}

fn dictionary_of(column: &BytesColumn) -> ColumnVector {
    let mut values = BytesColumn::new();
    let mut seen: HashMap<&[u8], u32> = HashMap::new();
    let mut next = 0_u32;
    let codes = column
        .iter()
        .map(|value| match value {
            None => NULL_CODE,
            Some(bytes) => *seen.entry(bytes).or_insert_with(|| {
                values.push(Some(bytes));
                next += 1;
                next - 1
            }),
        })
        .collect();
    ColumnVector::Dict { codes, values: Arc::new(values) }
}

/// The leaves of a path, one a row, whatever their types.
///
/// # Errors
///
/// [`Malformed`] when a row has leaves of two types, or text that is not UTF-8.
pub(super) fn scalars(path: &ShreddedPath, rows: usize) -> Decoded<Vec<Option<Scalar>>> {
    let mut out: Vec<Option<Scalar>> = vec![None; rows];
    if let Some(text) = &path.text {
        for (slot, value) in out.iter_mut().zip(text.iter()) {
            *slot = match value {
                None => None,
                Some(bytes) => {
                    let text = std::str::from_utf8(bytes).map_err(|_| Malformed("text that is not UTF-8"))?;
                    Some(Scalar::Str(text.into()))
                }
            };
        }
    }
    fill(&mut out, path.i64.as_ref(), Scalar::I64)?;
    fill(&mut out, path.f64.as_ref(), Scalar::F64)?;
    fill(&mut out, path.bool.as_ref(), Scalar::Bool)?;
    Ok(out)
}

fn fill<T: Copy>(
    out: &mut [Option<Scalar>],
    sparse: Option<&Sparse<T>>,
    scalar: fn(T) -> Scalar,
) -> Decoded<()> {
    let Some(sparse) = sparse else { return Ok(()) };
    let mut values = sparse.values.iter();
    for (row, slot) in out.iter_mut().enumerate() {
        if sparse.present.get(row) {
            let value = values.next().ok_or(Malformed("fewer values than are present"))?;
            if slot.replace(scalar(*value)).is_some() {
                return Err(Malformed("a path with two values in one row"));
            }
        }
    }
    Ok(())
}
