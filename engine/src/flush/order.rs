//! The order of rows in a segment: tenant, UTC day, stream key, time, seq.

use std::sync::Arc;

use hashbrown::HashMap;

use super::gather::{ChunkCodes, FlushCodes};
use crate::error::Result;
use crate::id::{Stream, TenantNo};
use crate::memtable::Chunk;
use crate::part::Run;
use crate::schema::{BytesColumn, ColumnDef, ColumnVector, IdentityKind, Schema, stream};
use crate::time::TimestampUs;

/// One row of the memtable: its chunk and its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowRef {
    /// Index of the chunk.
    pub chunk: u32,
    /// Index of the row in it.
    pub row: u32,
}

/// The rows of one stream in the order of a segment, and the runs they make.
#[derive(Debug, Default)]
pub(crate) struct Ordered {
    /// The rows.
    pub rows: Vec<RowRef>,
    /// Their runs: one for each tenant and UTC day.
    pub runs: Vec<Run>,
}

/// Sorts the rows of `chunks`, which are of one stream and sorted by tenant.
///
/// # Errors
///
/// [`crate::Error::Invalid`] for an identity that `codes` was not made with.
pub(crate) fn order(stream: Stream, chunks: &[Arc<Chunk>], codes: &FlushCodes) -> Result<Ordered> {
    let mut out = Ordered::default();
    let mut from = 0;
    while let Some(first) = chunks.get(from) {
        let tenant = first.tenant();
        let len = chunks.iter().skip(from).take_while(|c| c.tenant() == tenant).count();
        let of_tenant = chunks.get(from..from + len).unwrap_or(&[]);
        let base = u32::try_from(from).unwrap_or(u32::MAX);
        order_tenant(stream, tenant, of_tenant, base, codes, &mut out)?;
        from += len;
    }
    Ok(out)
}

/// Runs, cut where granules end.
#[derive(Debug)]
pub(crate) struct Pieces<'a> {
    runs: &'a [Run],
    /// Rows of the first of them that were taken.
    taken: usize,
}

impl<'a> Pieces<'a> {
    /// From the first row on.
    pub(crate) fn new(runs: &'a [Run]) -> Self {
        Self { runs, taken: 0 }
    }

    /// Whose the next `rows` rows are, and how many of each tenant's day.
    pub(crate) fn take(&mut self, rows: usize) -> Vec<(TenantNo, usize)> {
        let mut out = Vec::new();
        let mut left = rows;
        while let Some((run, rest)) = self.runs.split_first().filter(|_| left > 0) {
            let of_run = usize::try_from(run.rows.end - run.rows.start).unwrap_or(usize::MAX) - self.taken;
            let count = of_run.min(left);
            out.push((run.tenant, count));
            left -= count;
            self.taken += count;
            if count == of_run {
                (self.runs, self.taken) = (rest, 0);
            }
        }
        out
    }
}

/// (UTC day, rank of the stream key, time, arrival), the row.
type SortKey = (i32, u32, i64, u64);

fn order_tenant(
    stream: Stream,
    tenant: TenantNo,
    chunks: &[Arc<Chunk>],
    base: u32,
    codes: &FlushCodes,
    out: &mut Ordered,
) -> Result<()> {
    let ranks = if stream == Stream::Metrics { Some(series_ranks(chunks, codes)?) } else { None };
    let mut keyed: Vec<(SortKey, RowRef)> = Vec::with_capacity(chunks.iter().map(|c| c.len()).sum());
    let mut arrival = 0_u64;
    for (index, chunk) in (0_u32..).zip(chunks) {
        let Some(times) = i64s(chunk, &stream::TIME) else { continue };
        for (row, time) in (0_u32..).zip(times) {
            let rank = ranks.as_ref().and_then(|r| r.get(arrival_index(arrival))).copied().unwrap_or(0);
            let key = (TimestampUs(*time).day(), rank, *time, arrival);
            keyed.push((key, RowRef { chunk: base + index, row }));
            arrival += 1;
        }
    }
    keyed.sort_unstable_by_key(|(key, _)| *key);
    for group in keyed.chunk_by(|(a, _), (b, _)| a.0 == b.0) {
        let start = out.rows.len() as u64;
        out.rows.extend(group.iter().map(|(_, row)| *row));
        let times = group.iter().map(|((_, _, time, _), _)| *time);
        out.runs.push(Run {
            tenant,
            rows: start..out.rows.len() as u64,
            min_time: TimestampUs(times.clone().min().unwrap_or(0)),
            max_time: TimestampUs(times.max().unwrap_or(0)),
        });
    }
    Ok(())
}

fn arrival_index(arrival: u64) -> usize {
    usize::try_from(arrival).unwrap_or(usize::MAX)
}

/// A series among those of its tenant: application, host and name, absent ones last, then labels. The
/// series of one source stand together: their points come at the same times.
type SeriesKey<'a> = ([u32; 3], Option<&'a [u8]>);

/// The code columns of a series' key, in the order of the key.
pub(crate) const SERIES_CODES: [(ColumnDef, IdentityKind); 3] = [
    (stream::APP_ID, IdentityKind::App),
    (stream::HOST, IdentityKind::Name),
    (stream::NAME, IdentityKind::Name),
];

/// Of each row, in the order of arrival, the rank of its series among the tenant's.
fn series_ranks(chunks: &[Arc<Chunk>], codes: &FlushCodes) -> Result<Vec<u32>> {
    let mut numbers: HashMap<SeriesKey<'_>, u32> = HashMap::new();
    let mut of_rows = Vec::new();
    for chunk in chunks {
        let [apps, hosts, names] = SERIES_CODES.map(|(def, kind)| ChunkCodes::new(chunk, &def, kind, codes));
        let (apps, hosts, names) = (apps?, hosts?, names?);
        let labels = texts(chunk, &stream::LABELS);
        for (row, ((app, host), name)) in apps.iter().zip(hosts.iter()).zip(names.iter()).enumerate() {
            let key = ([app, host, name], labels.and_then(|l| l.get(row)));
            let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            of_rows.push(*numbers.entry(key).or_insert(next));
        }
    }
    let mut sorted: Vec<(SeriesKey<'_>, u32)> = numbers.into_iter().collect();
    sorted.sort_unstable();
    let mut rank_of = vec![0_u32; sorted.len()];
    for (rank, (_, number)) in (0_u32..).zip(sorted) {
        if let Some(slot) = rank_of.get_mut(number as usize) {
            *slot = rank;
        }
    }
    Ok(of_rows.iter().map(|number| rank_of.get(*number as usize).copied().unwrap_or(0)).collect())
}

/// The instants of a column of a chunk.
pub(crate) fn i64s<'a>(chunk: &'a Chunk, def: &ColumnDef) -> Option<&'a [i64]> {
    match chunk.vector(Schema::of(chunk.stream()).index_of(def.id)?)?.as_ref() {
        ColumnVector::I64(values, _) => Some(values),
        _ => None,
    }
}

/// The numbers of a column of a chunk.
pub(crate) fn u64s<'a>(chunk: &'a Chunk, def: &ColumnDef) -> Option<&'a [u64]> {
    match chunk.vector(Schema::of(chunk.stream()).index_of(def.id)?)?.as_ref() {
        ColumnVector::U64(values, _) => Some(values),
        _ => None,
    }
}

/// The byte strings of a column of a chunk.
pub(crate) fn texts<'a>(chunk: &'a Chunk, def: &ColumnDef) -> Option<&'a BytesColumn> {
    match chunk.vector(Schema::of(chunk.stream()).index_of(def.id)?)?.as_ref() {
        ColumnVector::Bytes(values) => Some(values),
        _ => None,
    }
}
