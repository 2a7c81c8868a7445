//! Pages of whole rows, newest or oldest first: the best rows by their keys, then those rows alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::field::Fields;
use super::filter::{self, Predicate};
use super::granule::Granule;
use super::ids::never_given;
use super::number::{as_i64, as_u64};
use super::plan::{self, Slice, Task};
use super::request::{Cursor, Order, RowPage, RowRequest};
use super::snapshot::Snapshot;
use super::walk::Tally;
use crate::error::{Error, Result};
use crate::id::{TenantId, TenantNo};
use crate::part::ZoneMap;
use crate::schema::stream::{LSN, SEQ, TIME};
use crate::schema::{Batch, BatchBuilder, ColumnDef, ColumnType, ColumnVector, Schema};
use crate::time::{TimeRange, TimestampUs};

/// Most rows of a page.
pub const PAGE_ROWS_MAX: usize = 100_000;

/// What rows are ordered by; descending order is that of the same keys reversed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    time: i64,
    tenant: u32,
    seq: u64,
}

/// A row that may be on the page, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    key: Key,
    task: usize,
    row: usize,
}

/// The best rows so far, the worst of them on top.
#[derive(Debug)]
struct Best {
    order: Order,
    limit: usize,
    newest: BinaryHeap<Reverse<Candidate>>,
    oldest: BinaryHeap<Candidate>,
}

impl Best {
    fn new(order: Order, limit: usize) -> Self {
        Self { order, limit, newest: BinaryHeap::new(), oldest: BinaryHeap::new() }
    }

    /// The worst key of a full page: what comes after it is not wanted.
    fn worst(&self) -> Option<Key> {
        match self.order {
            Order::Desc if self.newest.len() >= self.limit => self.newest.peek().map(|c| c.0.key),
            Order::Asc if self.oldest.len() >= self.limit => self.oldest.peek().map(|c| c.key),
            Order::Desc | Order::Asc => None,
        }
    }

    fn is_wanted(&self, key: Key) -> bool {
        self.worst().is_none_or(|worst| match self.order {
            Order::Desc => key > worst,
            Order::Asc => key < worst,
        })
    }

    /// Whether a row with an event time of `min..=max` may still be wanted.
    fn may_want(&self, min: TimestampUs, max: TimestampUs) -> bool {
        self.worst().is_none_or(|worst| match self.order {
            Order::Desc => max.0 >= worst.time,
            Order::Asc => min.0 <= worst.time,
        })
    }

    fn offer(&mut self, candidate: Candidate) {
        if !self.is_wanted(candidate.key) {
            return;
        }
        match self.order {
            Order::Desc => {
                self.newest.push(Reverse(candidate));
                if self.newest.len() > self.limit {
                    self.newest.pop();
                }
            }
            Order::Asc => {
                self.oldest.push(candidate);
                if self.oldest.len() > self.limit {
                    self.oldest.pop();
                }
            }
        }
    }

    fn into_sorted(self) -> Vec<Candidate> {
        match self.order {
            Order::Desc => self.newest.into_sorted_vec().into_iter().map(|c| c.0).collect(),
            Order::Asc => self.oldest.into_sorted_vec(),
        }
    }
}

/// Answers a question for rows.
///
/// Pages of one cursor chain see the rows of the first page's moment: later frames are left out. Points of metrics have no
/// `seq`; those of one instant come in the order in which this snapshot holds them, so their cursors lead on in it alone.
///
/// # Errors
///
/// [`Error::Invalid`] for a field the stream does not have, for a limit over [`PAGE_ROWS_MAX`] and for a cursor of points from
/// another moment; what the parts answer where they are damaged (unless `allow_partial`).
pub fn rows(snapshot: &Snapshot, request: &RowRequest) -> Result<RowPage> {
    if request.limit > PAGE_ROWS_MAX {
        return Err(Error::invalid(format!("a page has at most {PAGE_ROWS_MAX} rows")));
    }
    let has_seq = Schema::of(request.stream).index_of(SEQ.id).is_some();
    if !has_seq && request.after.is_some_and(|after| after.lsn_max != snapshot.lsn.0) {
        return Err(Error::invalid("a cursor of points leads on in the view that gave it"));
    }
    let window = remaining(request);
    let mut tally = Tally::new(snapshot, request.stream, request.window, request.allow_partial);
    let mut tasks = plan::plan(snapshot, &request.scope, request.stream, window);
    match request.order {
        Order::Desc => tasks.sort_by_key(|t| Reverse(t.max_time())),
        Order::Asc => tasks.sort_by_key(Task::min_time),
    }
    // One more than the page tells whether another page follows.
    let mut best = Best::new(request.order, request.limit + 1);
    let lsn_max = request.after.map_or(snapshot.lsn.0, |c| c.lsn_max);
    if request.limit > 0 {
        find(snapshot, request, window, lsn_max, &tasks, &mut tally, &mut best)?;
    }
    let mut page = best.into_sorted();
    let more = page.len() > request.limit;
    page.truncate(request.limit);
    let next = page.last().filter(|_| more).map(|last| Cursor {
        lsn_max,
        time: TimestampUs(last.key.time),
        tenant: last.key.tenant,
        seq: last.key.seq,
    });
    let batches = materialise(snapshot, request, &tasks, &page, &mut tally)?;
    let (cost, damaged) = tally.finish();
    Ok(RowPage { batches, next, cost, damaged })
}

/// The part of the window that a cursor leaves.
fn remaining(request: &RowRequest) -> TimeRange {
    let mut window = request.window;
    if let Some(cursor) = request.after {
        match request.order {
            Order::Desc => window.end = window.end.min(TimestampUs(cursor.time.0.saturating_add(1))),
            Order::Asc => window.start = window.start.max(cursor.time),
        }
    }
    window
}

/// Offers the rows of all granules that may be wanted.
fn find(
    snapshot: &Snapshot,
    request: &RowRequest,
    window: TimeRange,
    lsn_max: u64,
    tasks: &[Task],
    tally: &mut Tally,
    best: &mut Best,
) -> Result<()> {
    let mut fields = Fields::new(request.stream);
    let has_seq = Schema::of(request.stream).index_of(SEQ.id).is_some();
    let seq = has_seq.then(|| fields.column(&SEQ)).transpose()?;
    let (time, lsn) = (fields.column(&TIME)?, fields.column(&LSN)?);
    let mut predicate = Predicate::compile(&request.filter, &mut fields)?;
    let after = request.after.map(|c| Key { time: c.time.0, tenant: c.tenant, seq: c.seq });
    for (index, task) in tasks.iter().enumerate() {
        if !best.may_want(task.min_time(), task.max_time()) {
            // The tasks are in the order of the page: none of the rest is wanted either.
            break;
        }
        let Some(mut granule) = Granule::new(snapshot, &fields, task, index as u64 + 1) else { continue };
        for slice in &task.slices {
            if !best.may_want(slice.min_time, slice.max_time) {
                continue;
            }
            tally.look_at(slice)?;
            let within = (window, lsn_max);
            let read = keys(&mut predicate, (time, seq, lsn), within, &mut granule, (task, slice));
            for (row, key) in tally.or_skip(read, slice)?.unwrap_or_default() {
                let later = after.is_none_or(|after| match request.order {
                    Order::Desc => key < after,
                    Order::Asc => key > after,
                });
                if later {
                    best.offer(Candidate { key, task: index, row });
                }
            }
        }
    }
    Ok(())
}

/// The keys of a slice's rows that match, with their rows in the granule.
fn keys(
    predicate: &mut Predicate,
    (time, seq, lsn): (usize, Option<usize>, usize),
    (window, lsn_max): (TimeRange, u64),
    granule: &mut Granule<'_>,
    (task, slice): (&Task, &Slice),
) -> Result<Vec<(usize, Key)>> {
    let mut mask = filter::select(predicate, time, window, granule, slice)?;
    if mask.is_empty() {
        return Ok(Vec::new());
    }
    let all_seen = matches!(granule.zones(lsn)?, Some([ZoneMap::U64 { max, .. }]) if *max <= lsn_max);
    if !all_seen {
        let lsns = granule.load(lsn)?;
        let lsns = as_u64(&lsns)?;
        let base = slice.rows.start;
        mask.retain(|row| lsns.get(base + row).is_some_and(|l| *l <= lsn_max));
    }
    if mask.is_empty() {
        return Ok(Vec::new());
    }
    let (times, seqs) = (granule.load(time)?, seq.map(|seq| granule.load(seq)).transpose()?);
    let (times, seqs) = (as_i64(&times)?, seqs.as_deref().map(as_u64).transpose()?);
    let place = place(task)?;
    let mut rows = Vec::new();
    mask.rows_into(slice.rows.start, &mut rows);
    let key = |row: &u32| {
        let row = *row as usize;
        let seq = seqs.map_or(Some(place + row as u64), |seqs| seqs.get(row).copied())?;
        Some((row, Key { time: *times.get(row)?, tenant: slice.tenant.0, seq }))
    };
    Ok(rows.iter().filter_map(key).collect())
}

/// Where the rows of a granule begin in the order of the snapshot's places.
fn place(task: &Task) -> Result<u64> {
    /// Bits of the row in its granule, and of the granule in its part.
    const BITS: u32 = 20;
    let fits = |n: usize, bits: u32| u64::try_from(n).ok().filter(|n| *n < 1 << bits);
    let (part, granule) = (fits(task.part, 64 - 2 * BITS), fits(task.granule, BITS));
    let place = part.zip(granule).map(|(part, granule)| (part << BITS | granule) << BITS);
    place.ok_or_else(|| Error::invalid("more granules than can be told apart"))
}

/// Reads the columns of the page's rows that are asked for; a granule is decoded once.
fn materialise(
    snapshot: &Snapshot,
    request: &RowRequest,
    tasks: &[Task],
    page: &[Candidate],
    tally: &mut Tally,
) -> Result<Vec<Batch>> {
    let schema = Schema::of(request.stream);
    let mut fields = Fields::new(request.stream);
    let is_read = |def: &ColumnDef| request.columns.as_ref().is_none_or(|ids| ids.contains(&def.id));
    let read: Vec<&ColumnDef> = schema.columns.iter().filter(|def| is_read(def)).collect();
    let leaves = read.iter().map(|def| fields.column(def)).collect::<Result<Vec<_>>>()?;
    let mut needed: Vec<usize> = page.iter().map(|c| c.task).collect();
    needed.sort_unstable();
    needed.dedup();
    // By place in `needed`: the columns, or nothing when they are damaged.
    let mut columns: Vec<Option<Vec<Arc<ColumnVector>>>> = Vec::with_capacity(needed.len());
    for index in &needed {
        let Some(task) = tasks.get(*index) else { continue };
        let Some(mut granule) = Granule::new(snapshot, &fields, task, 0) else { continue };
        let vectors = leaves.iter().map(|leaf| granule.load(*leaf)).collect::<Result<Vec<_>>>();
        columns.push(tally.or_skip(vectors, &whole(task))?);
    }
    let mut batches: Vec<BatchBuilder> = Vec::new();
    let mut open: Option<u32> = None;
    for candidate in page {
        let at = needed.partition_point(|task| *task < candidate.task);
        let Some(Some(vectors)) = columns.get(at) else { continue };
        let tenant = TenantNo(candidate.key.tenant);
        let row = read
            .iter()
            .zip(vectors)
            .map(|(def, vector)| Cell::of(snapshot, tenant, def, vector, candidate.row))
            .collect::<Result<Vec<_>>>();
        let at_time = TimestampUs(candidate.key.time);
        let within = TimeRange::ALL;
        let here = Slice { tenant, rows: 0..1, min_time: at_time, max_time: at_time, within };
        let Some(row) = tally.or_skip(row, &here)? else { continue };
        if open != Some(tenant.0) {
            batches.push(BatchBuilder::new(name_of(snapshot, tenant)?, request.stream));
            open = Some(tenant.0);
        }
        if let Some(batch) = batches.last_mut() {
            read.iter().zip(&row).for_each(|(def, cell)| cell.put(batch, def));
            batch.finish_row();
        }
    }
    Ok(batches.into_iter().map(BatchBuilder::build).collect())
}

/// All slices of a task as one, to say what is missing when it is damaged.
fn whole(task: &Task) -> Slice {
    let tenant = task.slices.first().map_or(TenantNo(0), |s| s.tenant);
    let (min_time, max_time) = (task.min_time(), task.max_time());
    Slice { tenant, rows: 0..0, min_time, max_time, within: TimeRange::ALL }
}

fn name_of(snapshot: &Snapshot, tenant: TenantNo) -> Result<TenantId> {
    let unknown = || Error::corrupt("tenant", "", 0, format!("tenant {tenant} has rows and no name"));
    snapshot.tenants.name_of(tenant).ok_or_else(unknown)
}

/// One value of one row.
#[derive(Debug)]
enum Cell {
    I64(i64),
    U64(u64),
    F64(f64),
    Bytes(Option<Arc<[u8]>>),
}

impl Cell {
    fn of(
        snapshot: &Snapshot,
        tenant: TenantNo,
        def: &ColumnDef,
        vector: &ColumnVector,
        row: usize,
    ) -> Result<Self> {
        let wrong =
            || Error::invalid(format!("a part whose column {} is of another type or length", def.name));
        Ok(match (def.ty, vector) {
            (ColumnType::Time, ColumnVector::I64(values, _)) => {
                Self::I64(*values.get(row).ok_or_else(wrong)?)
            }
            (ColumnType::U64, ColumnVector::U64(values, _)) => Self::U64(*values.get(row).ok_or_else(wrong)?),
            (ColumnType::F64, ColumnVector::F64(values, _)) => Self::F64(*values.get(row).ok_or_else(wrong)?),
            (ColumnType::Code(kind), ColumnVector::Codes(codes)) => {
                let code = *codes.get(row).ok_or_else(wrong)?;
                if code == crate::schema::NULL_CODE {
                    return Ok(Self::Bytes(None));
                }
                let identity = snapshot.codes.identity_of(tenant, kind, code)?;
                Self::Bytes(Some(identity.ok_or_else(|| never_given(kind, code))?))
            }
            (_, ColumnVector::Dict { codes, values }) => {
                let code = *codes.get(row).ok_or_else(wrong)?;
                Self::Bytes(values.get(code as usize).map(Arc::from))
            }
            (_, ColumnVector::Bytes(bytes)) => Self::Bytes(bytes.get(row).map(Arc::from)),
            _ => return Err(wrong()),
        })
    }

    fn put(&self, batch: &mut BatchBuilder, def: &ColumnDef) {
        match self {
            Self::I64(n) => batch.i64(def, *n),
            Self::U64(n) => batch.u64(def, *n),
            Self::F64(n) => batch.f64(def, *n),
            Self::Bytes(bytes) => batch.bytes(def, bytes.as_deref()),
        };
    }
}
