//! Rows that are durable in the WAL and not yet in a segment, in columns, readable at once.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hashbrown::HashMap;

use crate::error::{Error, Result};
use crate::id::{Lsn, Stream, TenantNo};
use crate::part::{Part, Run, ZoneMap, path_of_documents};
use crate::query::PartId;
use crate::schema::{Column, ColumnId, ColumnType, ColumnVector, Schema, stream};
use crate::sequencer::sequence::LOST_LEAF;
use crate::time::TimestampUs;

/// Rows that are gathered before they are sealed into a [`Chunk`].
pub(crate) const CHUNK_ROWS: usize = 1_024;

/// Rows of a batch from which it becomes a chunk by itself, without a copy.
const WHOLE_BATCH_ROWS: usize = CHUNK_ROWS / 2;

/// Bytes of memory a tenant's rows of a stream take beside them: a few dozen vectors.
const TENANT_OVERHEAD_BYTES: u64 = 1_536;

/// Bytes of memory a row takes beside its columns: vectors' spare capacity, chunk headers.
const ROW_OVERHEAD_BYTES: u64 = 16;

/// Immutable rows of one tenant and one stream in memory; one granule.
#[derive(Debug)]
pub(crate) struct Chunk {
    run: [Run; 1],
    stream: Stream,
    rows: usize,
    bytes: u64,
    /// The first and the last frame that rows came in.
    lsns: (u64, u64),
    /// The columns in the schema's order; text as [`ColumnVector::Bytes`].
    vectors: Vec<Arc<ColumnVector>>,
    /// Code columns as [`ColumnVector::Dict`], built when a query first asks.
    dictionaries: Vec<OnceLock<Arc<ColumnVector>>>,
}

impl Chunk {
    fn new(tenant: TenantNo, stream: Stream, mut columns: Vec<Column>) -> Self {
        // Vectors grow to twice what they hold; no row is added any more.
        columns.iter_mut().for_each(Column::shrink_to_fit);
        let rows = columns.first().map_or(0, Column::len);
        let times = columns.first().and_then(Column::as_i64).unwrap_or(&[]);
        let min = times.iter().copied().min().unwrap_or(0);
        let max = times.iter().copied().max().unwrap_or(0);
        let run =
            Run { tenant, rows: 0..rows as u64, min_time: TimestampUs(min), max_time: TimestampUs(max) };
        let bytes = columns.iter().map(|c| c.memory_bytes() as u64).sum();
        let lsns = Schema::of(stream).index_of(stream::LSN.id).and_then(|at| columns.get(at)?.as_u64());
        let lsns = lsns.and_then(|lsns| lsns.iter().copied().min().zip(lsns.iter().copied().max()));
        let dictionaries = columns.iter().map(|_| OnceLock::new()).collect();
        let vectors = columns.into_iter().map(|c| Arc::new(vector_of(c))).collect();
        Self { run: [run], stream, rows, bytes, lsns: lsns.unwrap_or_default(), vectors, dictionaries }
    }

    /// Whose rows they are.
    pub(crate) fn tenant(&self) -> TenantNo {
        self.run[0].tenant
    }

    /// Their stream.
    pub(crate) fn stream(&self) -> Stream {
        self.stream
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// A column in the schema's order, text as [`ColumnVector::Bytes`].
    pub(crate) fn vector(&self, index: usize) -> Option<&Arc<ColumnVector>> {
        self.vectors.get(index)
    }
}

fn vector_of(column: Column) -> ColumnVector {
    match column {
        Column::I64(v) => ColumnVector::I64(v, None),
        Column::U64(v) => ColumnVector::U64(v, None),
        Column::F64(v) => ColumnVector::F64(v, None),
        Column::Bytes(v) => ColumnVector::Bytes(Arc::new(v)),
    }
}

impl Part for Chunk {
    fn id(&self) -> PartId {
        PartId::Memory
    }

    fn runs(&self, stream: Stream) -> &[Run] {
        if stream == self.stream { &self.run } else { &[] }
    }

    fn rows(&self, stream: Stream) -> u64 {
        if stream == self.stream { self.rows as u64 } else { 0 }
    }

    fn granule_rows(&self) -> usize {
        self.rows.max(1)
    }

    fn zone_map(&self, stream: Stream, column: ColumnId, _granule: usize) -> Option<ZoneMap> {
        let run = self.runs(stream).first()?;
        if column == stream::LSN.id {
            let (min, max) = self.lsns;
            return Some(ZoneMap::U64 { min, max });
        }
        (column == stream::TIME.id).then_some(ZoneMap::I64 { min: run.min_time.0, max: run.max_time.0 })
    }

    fn column(&self, stream: Stream, column: ColumnId, _granule: usize) -> Result<Arc<ColumnVector>> {
        let schema = Schema::of(stream);
        let index = schema.index_of(column).ok_or_else(|| no_column(stream, column))?;
        let vector = self.vectors.get(index).ok_or_else(|| no_column(stream, column))?;
        let is_code = schema.columns.get(index).is_some_and(|c| matches!(c.ty, ColumnType::Code(_)));
        match (is_code, vector.as_ref(), self.dictionaries.get(index)) {
            (true, ColumnVector::Bytes(text), Some(slot)) => {
                Ok(Arc::clone(slot.get_or_init(|| Arc::new(ColumnVector::dictionary(text.iter())))))
            }
            _ => Ok(Arc::clone(vector)),
        }
    }

    fn path(
        &self,
        stream: Stream,
        column: ColumnId,
        path: &[String],
        granule: usize,
    ) -> Result<Arc<ColumnVector>> {
        match self.column(stream, column, granule)?.as_ref() {
            ColumnVector::Bytes(documents) => Ok(Arc::new(path_of_documents(documents, path)?)),
            _ => Err(Error::invalid("a path into a column that holds no documents")),
        }
    }

    fn lsn_max(&self) -> Option<Lsn> {
        Some(Lsn(self.lsns.1))
    }

    fn bytes_of(&self, stream: Stream) -> u64 {
        if stream == self.stream { self.bytes } else { 0 }
    }
}

fn no_column(stream: Stream, column: ColumnId) -> Error {
    Error::invalid(format!("the stream {stream} has no column {}", column.0))
}

/// Rows of one tenant and one stream: sealed chunks and the one that is being filled.
#[derive(Debug, Default)]
struct Rows {
    sealed: Vec<Arc<Chunk>>,
    open: Vec<Column>,
    /// The open rows as a chunk, for as long as none is added.
    open_chunk: OnceLock<Arc<Chunk>>,
}

impl Rows {
    fn open_rows(&self) -> usize {
        self.open.first().map_or(0, Column::len)
    }

    fn seal(&mut self, tenant: TenantNo, stream: Stream) {
        if self.open_rows() > 0 {
            let columns = std::mem::take(&mut self.open);
            let cached = self.open_chunk.take();
            self.sealed.push(cached.unwrap_or_else(|| Arc::new(Chunk::new(tenant, stream, columns))));
        }
    }

    fn push(&mut self, tenant: TenantNo, stream: Stream, columns: Vec<Column>) {
        let rows = columns.first().map_or(0, Column::len);
        if rows >= WHOLE_BATCH_ROWS || self.open_rows() + rows > CHUNK_ROWS {
            self.seal(tenant, stream);
        }
        if rows >= WHOLE_BATCH_ROWS {
            self.sealed.push(Arc::new(Chunk::new(tenant, stream, columns)));
            return;
        }
        self.open_chunk.take();
        if self.open.is_empty() {
            self.open = columns;
        } else {
            for (to, from) in self.open.iter_mut().zip(&columns) {
                to.extend(from);
            }
        }
    }

    fn chunks(&self, tenant: TenantNo, stream: Stream, out: &mut Vec<Arc<Chunk>>) {
        out.extend(self.sealed.iter().cloned());
        if self.open_rows() > 0 {
            let open =
                self.open_chunk.get_or_init(|| Arc::new(Chunk::new(tenant, stream, self.open.clone())));
            out.push(Arc::clone(open));
        }
    }
}

/// The rows of a span of frames. Rows of one tenant and stream stay in the order of their frames.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    rows: HashMap<(Stream, TenantNo), Rows>,
    bytes: u64,
    row_count: u64,
    lsn_max: Lsn,
    oldest: Option<Duration>,
    /// Of each tenant's stream with a seq the one that comes next.
    next_seq: HashMap<(TenantNo, Stream), u64>,
    /// Leaves of audit rows, in the order of their seq.
    leaves: HashMap<TenantNo, Vec<Leaf>>,
}

/// The hash of an audit record in its tenant's tree.
pub(crate) type Leaf = [u8; 32];

/// Rows of one tenant and stream that came with one frame.
#[derive(Debug)]
pub(crate) struct NewRows {
    /// Whose.
    pub tenant: TenantNo,
    /// Their stream.
    pub stream: Stream,
    /// Every column, filled.
    pub columns: Vec<Column>,
    /// Of audit rows their leaves; empty for other streams.
    pub leaves: Vec<Leaf>,
}

impl NewRows {
    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.columns.first().map_or(0, Column::len)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The seq after the last row, for streams that have one.
    pub(crate) fn next_seq(&self) -> Option<u64> {
        let index = Schema::of(self.stream).index_of(stream::SEQ.id)?;
        self.columns.get(index).and_then(Column::as_u64)?.last().map(|seq| seq + 1)
    }
}

impl Memtable {
    /// No row yet; frames up to `lsn` are elsewhere.
    pub(crate) fn new(lsn: Lsn) -> Self {
        Self { lsn_max: lsn, ..Self::default() }
    }

    /// Adds rows of a frame; `now` is the monotonic time.
    pub(crate) fn push(&mut self, rows: NewRows, now: Duration) {
        if rows.is_empty() {
            return;
        }
        let count = rows.len() as u64;
        let bytes: usize = rows.columns.iter().map(Column::memory_bytes).sum();
        self.bytes += bytes as u64 + count * ROW_OVERHEAD_BYTES + rows.leaves.len() as u64 * 32;
        self.row_count += count;
        self.oldest.get_or_insert(now);
        if let Some(next) = rows.next_seq() {
            let before = self.next_seq.insert((rows.tenant, rows.stream), next);
            if !rows.leaves.is_empty() {
                // Frames that a damaged log lost leave a hole, and the leaves after it keep their place.
                let hole = next.saturating_sub(count).saturating_sub(before.unwrap_or(next));
                let lost = std::iter::repeat_n(LOST_LEAF, usize::try_from(hole).unwrap_or(usize::MAX));
                self.leaves.entry(rows.tenant).or_default().extend(lost);
            }
        }
        let NewRows { tenant, stream, columns, leaves } = rows;
        if !leaves.is_empty() {
            self.leaves.entry(tenant).or_default().extend(leaves);
        }
        let before = self.rows.len();
        self.rows.entry((stream, tenant)).or_default().push(tenant, stream, columns);
        if self.rows.len() > before {
            self.bytes += TENANT_OVERHEAD_BYTES;
        }
    }

    /// Of each tenant's stream that has one the seq after its last row here.
    pub(crate) fn next_seqs(&self) -> impl Iterator<Item = (TenantNo, Stream, u64)> + '_ {
        self.next_seq.iter().map(|((tenant, stream), next)| (*tenant, *stream, *next))
    }

    /// The leaves of a tenant's audit rows, in the order of their seq; the last one has the seq before
    /// the next.
    pub(crate) fn leaves(&self, tenant: TenantNo) -> &[Leaf] {
        self.leaves.get(&tenant).map_or(&[], Vec::as_slice)
    }

    /// Notes that frame `lsn` is in, whether it had rows or not.
    pub(crate) fn advance(&mut self, lsn: Lsn) {
        self.lsn_max = self.lsn_max.max(lsn);
    }

    /// Bytes of memory the rows take.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many rows there are.
    pub(crate) fn row_count(&self) -> u64 {
        self.row_count
    }

    /// The newest frame that is in.
    pub(crate) fn lsn_max(&self) -> Lsn {
        self.lsn_max
    }

    /// The monotonic time of the first row.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        self.oldest
    }

    /// Every chunk, sorted by stream and tenant, in the order of their frames within.
    pub(crate) fn chunks(&self) -> Vec<Arc<Chunk>> {
        let mut keys: Vec<_> = self.rows.keys().copied().collect();
        keys.sort_unstable();
        let mut out = Vec::new();
        for key in keys {
            if let Some(rows) = self.rows.get(&key) {
                rows.chunks(key.1, key.0, &mut out);
            }
        }
        out
    }

    /// The chunks of one tenant and stream.
    pub(crate) fn chunks_of(&self, stream: Stream, tenant: TenantNo) -> Vec<Arc<Chunk>> {
        let mut out = Vec::new();
        if let Some(rows) = self.rows.get(&(stream, tenant)) {
            rows.chunks(tenant, stream, &mut out);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TenantId;
    use crate::schema::BatchBuilder;

    fn audit(first_seq: u64, rows: u8) -> NewRows {
        let mut batch = BatchBuilder::new(TenantId::new("t").unwrap(), Stream::Audit);
        for seq in (first_seq..).take(usize::from(rows)) {
            batch.u64(&stream::SEQ, seq);
            batch.finish_row();
        }
        let leaves = (1..=rows).map(|n| [n; 32]).collect();
        NewRows { tenant: TenantNo(1), stream: Stream::Audit, columns: batch.build().into_columns(), leaves }
    }

    #[test]
    fn leaves_after_a_lost_frame_keep_their_place() {
        let mut memtable = Memtable::default();
        memtable.push(audit(4, 2), Duration::ZERO);
        memtable.push(audit(6, 1), Duration::ZERO);
        memtable.push(audit(9, 2), Duration::ZERO);
        let expected = [[1; 32], [2; 32], [1; 32], LOST_LEAF, LOST_LEAF, [1; 32], [2; 32]];
        assert_eq!(memtable.leaves(TenantNo(1)), expected);
        assert_eq!(memtable.next_seqs().collect::<Vec<_>>(), [(TenantNo(1), Stream::Audit, 11)]);
    }
}
