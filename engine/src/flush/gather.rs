//! Gathers the columns of a segment from memtable chunks, in the segment's order, text as codes.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::order::{RowRef, i64s, texts, u64s};
use crate::dictionary::{DictionarySet, DictionaryWriter};
use crate::error::{Error, Result};
use crate::id::TenantNo;
use crate::memtable::Chunk;
use crate::part::Part;
use crate::schema::{BytesColumn, ColumnDef, ColumnType, ColumnVector, IdentityKind, NULL_CODE, Schema};
use crate::segment::SegmentColumn;

/// The identities of rows in memory, with the last UTC day of each.
pub(crate) type Identities = BTreeMap<(TenantNo, IdentityKind), HashMap<Vec<u8>, i32>>;

/// Adds the identities of chunks.
///
/// # Errors
///
/// None that a chunk of this engine gives.
pub(crate) fn add_identities(chunks: &[Arc<Chunk>], out: &mut Identities) -> Result<()> {
    for chunk in chunks {
        let day = chunk.runs(chunk.stream()).first().map_or(0, |r| r.max_time.day());
        for def in Schema::of(chunk.stream()).columns {
            let ColumnType::Code(kind) = def.ty else { continue };
            let vector = chunk.column(chunk.stream(), def.id, 0)?;
            let ColumnVector::Dict { values, .. } = vector.as_ref() else { continue };
            if values.is_empty() {
                continue;
            }
            let known = out.entry((chunk.tenant(), kind)).or_default();
            for value in values.iter().flatten() {
                match known.get_mut(value) {
                    Some(last) => *last = day.max(*last),
                    None => {
                        known.insert(value.to_vec(), day);
                    }
                }
            }
        }
    }
    Ok(())
}

/// The codes of the identities of one flush.
#[derive(Debug, Default)]
pub(crate) struct FlushCodes(HashMap<(TenantNo, IdentityKind), HashMap<Vec<u8>, u32>>);

impl FlushCodes {
    /// Gives every identity the code it has, or a new one.
    ///
    /// # Errors
    ///
    /// What the dictionary's files say.
    pub(crate) fn assign(
        identities: Identities,
        set: &DictionarySet,
        writer: &mut DictionaryWriter,
    ) -> Result<Self> {
        let mut out = Self::default();
        for ((tenant, kind), known) in identities {
            // Sorted once, as the dictionary wants them; the chunks ask by hash.
            let mut sorted: Vec<(Vec<u8>, i32)> = known.into_iter().collect();
            sorted.sort_unstable();
            let names: Vec<&[u8]> = sorted.iter().map(|(name, _)| name.as_slice()).collect();
            let days: Vec<i32> = sorted.iter().map(|(_, day)| *day).collect();
            let codes = writer.assign(set, tenant, kind, &names, &days)?;
            out.0.insert((tenant, kind), sorted.into_iter().map(|(name, _)| name).zip(codes).collect());
        }
        Ok(out)
    }

    fn of(&self, tenant: TenantNo, kind: IdentityKind, identity: &[u8]) -> Result<u32> {
        let code = self.0.get(&(tenant, kind)).and_then(|known| known.get(identity));
        code.copied().ok_or_else(|| Error::invalid("an identity that was not gathered"))
    }
}

/// One column of the segment, in its order.
///
/// # Errors
///
/// What `codes` says.
pub(crate) fn column(
    def: &ColumnDef,
    chunks: &[Arc<Chunk>],
    rows: &[RowRef],
    codes: &FlushCodes,
) -> Result<SegmentColumn> {
    Ok(match def.ty {
        ColumnType::Time => SegmentColumn::I64(numbers(def, chunks, rows, i64s)?),
        ColumnType::U64 => SegmentColumn::U64(numbers(def, chunks, rows, u64s)?),
        ColumnType::F64 => SegmentColumn::F64(numbers(def, chunks, rows, f64s)?),
        ColumnType::Code(kind) => SegmentColumn::Codes(code_column(def, kind, chunks, rows, codes)?),
        ColumnType::Str | ColumnType::Document => {
            let columns: Vec<Option<&BytesColumn>> = chunks.iter().map(|c| texts(c, def)).collect();
            let bytes = columns.iter().flatten().map(|c| c.bytes().len()).sum();
            let mut out = BytesColumn::with_capacity(rows.len(), bytes);
            for row in rows {
                let column = columns.get(row.chunk as usize).copied().flatten();
                out.push(column.and_then(|c| c.get(row.row as usize)));
            }
            SegmentColumn::Bytes(out)
        }
    })
}

fn f64s<'a>(chunk: &'a Chunk, def: &ColumnDef) -> Option<&'a [f64]> {
    match chunk.vector(Schema::of(chunk.stream()).index_of(def.id)?)?.as_ref() {
        ColumnVector::F64(values, _) => Some(values),
        _ => None,
    }
}

fn numbers<T: Copy>(
    def: &ColumnDef,
    chunks: &[Arc<Chunk>],
    rows: &[RowRef],
    values_of: for<'a> fn(&'a Chunk, &ColumnDef) -> Option<&'a [T]>,
) -> Result<Vec<T>> {
    let columns: Vec<&[T]> = chunks.iter().map(|c| values_of(c, def).unwrap_or(&[])).collect();
    let value = |row: &RowRef| columns.get(row.chunk as usize).and_then(|c| c.get(row.row as usize)).copied();
    rows.iter()
        .map(|row| value(row).ok_or_else(|| Error::invalid("a row that its chunk does not have")))
        .collect()
}

/// The codes of a code column of one chunk, one a row.
///
/// # Errors
///
/// [`Error::Invalid`] for an identity that was not gathered.
pub(crate) fn codes_of(
    chunk: &Chunk,
    def: &ColumnDef,
    kind: IdentityKind,
    codes: &FlushCodes,
) -> Result<Vec<u32>> {
    let vector = chunk.column(chunk.stream(), def.id, 0)?;
    let ColumnVector::Dict { codes: local, values } = vector.as_ref() else {
        return Err(Error::invalid("a code column that is none"));
    };
    let mut map = Vec::with_capacity(values.len());
    for value in values.iter().flatten() {
        map.push(codes.of(chunk.tenant(), kind, value)?);
    }
    let code = |local: &u32| map.get(*local as usize).copied().unwrap_or(NULL_CODE);
    Ok(local.iter().map(code).collect())
}

fn code_column(
    def: &ColumnDef,
    kind: IdentityKind,
    chunks: &[Arc<Chunk>],
    rows: &[RowRef],
    codes: &FlushCodes,
) -> Result<Vec<u32>> {
    let of_chunks: Vec<Vec<u32>> =
        chunks.iter().map(|c| codes_of(c, def, kind, codes)).collect::<Result<_>>()?;
    let code = |row: &RowRef| of_chunks.get(row.chunk as usize)?.get(row.row as usize).copied();
    rows.iter()
        .map(|row| code(row).ok_or_else(|| Error::invalid("a row without the code its chunk has")))
        .collect()
}
