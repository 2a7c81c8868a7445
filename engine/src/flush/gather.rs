//! Gathers the columns of a segment from memtable chunks, in the segment's order, text as codes.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::order::{RowRef, i64s, texts, u64s};
use crate::dictionary::{DictionarySet, DictionaryWriter};
use crate::error::{Error, Result};
use crate::id::{Stream, TenantNo};
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

    pub(super) fn of(&self, tenant: TenantNo, kind: IdentityKind, identity: &[u8]) -> Result<u32> {
        let code = self.0.get(&(tenant, kind)).and_then(|known| known.get(identity));
        code.copied().ok_or_else(|| Error::invalid("an identity that was not gathered"))
    }
}

/// The columns of the chunks of one stream, from which rows are gathered a granule at a time: the rows of
/// a flush are never in memory twice.
#[derive(Debug)]
pub(crate) struct Gather<'a>(Vec<Source<'a>>);

/// One column of all chunks, by the index of the chunk.
#[derive(Debug)]
enum Source<'a> {
    I64(Vec<&'a [i64]>),
    U64(Vec<&'a [u64]>),
    F64(Vec<&'a [f64]>),
    Codes(Vec<ChunkCodes>),
    Bytes(Vec<Option<&'a BytesColumn>>),
    /// Text that no row of any chunk has.
    NoText,
}

impl<'a> Gather<'a> {
    /// The columns of `chunks`, which are of one stream, in the order of its schema.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an identity that `codes` was not made with.
    pub(crate) fn new(stream: Stream, chunks: &'a [Arc<Chunk>], codes: &FlushCodes) -> Result<Self> {
        let source = |def: &ColumnDef| -> Result<Source<'a>> {
            Ok(match def.ty {
                ColumnType::Time => Source::I64(numbers(chunks, def, i64s)),
                ColumnType::U64 => Source::U64(numbers(chunks, def, u64s)),
                ColumnType::F64 => Source::F64(numbers(chunks, def, f64s)),
                ColumnType::Code(kind) => {
                    let of = |chunk: &Arc<Chunk>| ChunkCodes::new(chunk, def, kind, codes);
                    Source::Codes(chunks.iter().map(of).collect::<Result<_>>()?)
                }
                ColumnType::Str | ColumnType::Document => {
                    let texts: Vec<_> = chunks.iter().map(|c| texts(c, def)).collect();
                    let has_text = texts.iter().flatten().any(|text| text.present().count_ones() > 0);
                    if has_text { Source::Bytes(texts) } else { Source::NoText }
                }
            })
        };
        Ok(Self(Schema::of(stream).columns.iter().map(source).collect::<Result<_>>()?))
    }

    /// These rows, in their order.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a row that its chunk does not have.
    pub(crate) fn columns(&self, rows: &[RowRef]) -> Result<Vec<SegmentColumn>> {
        self.0.iter().map(|source| source.column(rows)).collect()
    }
}

impl Source<'_> {
    fn column(&self, rows: &[RowRef]) -> Result<SegmentColumn> {
        Ok(match self {
            Self::I64(chunks) => SegmentColumn::I64(picked(chunks, rows)?),
            Self::U64(chunks) => SegmentColumn::U64(picked(chunks, rows)?),
            Self::F64(chunks) => SegmentColumn::F64(picked(chunks, rows)?),
            Self::Codes(chunks) => {
                let local: Vec<&[u32]> = chunks.iter().map(ChunkCodes::local).collect();
                let mut codes = picked(&local, rows)?;
                for (code, row) in codes.iter_mut().zip(rows) {
                    *code = chunks.get(row.chunk as usize).map_or(NULL_CODE, |chunk| chunk.code(*code));
                }
                SegmentColumn::Codes(codes)
            }
            Self::Bytes(chunks) => {
                let value = |row: &RowRef| chunks.get(row.chunk as usize)?.as_ref()?.get(row.row as usize);
                // Looked up once: the rows lie all over the memory of the chunks.
                let values: Vec<Option<&[u8]>> = rows.iter().map(value).collect();
                SegmentColumn::Bytes(BytesColumn::of_values(&values))
            }
            Self::NoText => SegmentColumn::Bytes(BytesColumn::absent(rows.len())),
        })
    }
}

fn numbers<'a, T>(
    chunks: &'a [Arc<Chunk>],
    def: &ColumnDef,
    values_of: for<'c> fn(&'c Chunk, &ColumnDef) -> Option<&'c [T]>,
) -> Vec<&'a [T]> {
    chunks.iter().map(|chunk| values_of(chunk, def).unwrap_or(&[])).collect()
}

fn picked<T: Copy>(chunks: &[&[T]], rows: &[RowRef]) -> Result<Vec<T>> {
    let mut out = Vec::with_capacity(rows.len());
    for row in rows {
        let value = chunks.get(row.chunk as usize).and_then(|chunk| chunk.get(row.row as usize));
        out.push(*value.ok_or_else(no_row)?);
    }
    Ok(out)
}

fn no_row() -> Error {
    Error::invalid("a row that its chunk does not have")
}

fn f64s<'a>(chunk: &'a Chunk, def: &ColumnDef) -> Option<&'a [f64]> {
    match chunk.vector(Schema::of(chunk.stream()).index_of(def.id)?)?.as_ref() {
        ColumnVector::F64(values, _) => Some(values),
        _ => None,
    }
}

/// A code column of one chunk, with the dictionary's codes for the chunk's own.
#[derive(Debug)]
pub(crate) struct ChunkCodes {
    column: Arc<ColumnVector>,
    map: Vec<u32>,
}

impl ChunkCodes {
    /// # Errors
    ///
    /// [`Error::Invalid`] for an identity that was not gathered.
    pub(crate) fn new(
        chunk: &Chunk,
        def: &ColumnDef,
        kind: IdentityKind,
        codes: &FlushCodes,
    ) -> Result<Self> {
        let column = chunk.column(chunk.stream(), def.id, 0)?;
        let ColumnVector::Dict { values, .. } = column.as_ref() else {
            return Err(Error::invalid("a code column that is none"));
        };
        let map =
            values.iter().flatten().map(|v| codes.of(chunk.tenant(), kind, v)).collect::<Result<_>>()?;
        Ok(Self { column, map })
    }

    /// The code of each row; [`NULL_CODE`] is absent.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.local().iter().map(|local| self.code(*local))
    }

    fn code(&self, local: u32) -> u32 {
        self.map.get(local as usize).copied().unwrap_or(NULL_CODE)
    }

    fn local(&self) -> &[u32] {
        match self.column.as_ref() {
            ColumnVector::Dict { codes, .. } => codes,
            _ => &[],
        }
    }
}
