//! Which rows of which granules a question must look at; pure, from runs and zone maps of time alone.

use std::ops::Range;
use std::sync::Arc;

use super::request::Scope;
use super::snapshot::Snapshot;
use crate::id::{Lsn, Stream, TenantNo};
use crate::part::{Part, Run, ZoneMap};
use crate::schema::stream::{LSN, TIME};
use crate::time::{TimeRange, TimestampUs};

/// Rows of one run inside one granule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slice {
    /// Whose rows.
    pub(crate) tenant: TenantNo,
    /// The rows, as indexes into the granule.
    pub(crate) rows: Range<usize>,
    /// No row is earlier.
    pub(crate) min_time: TimestampUs,
    /// No row is later.
    pub(crate) max_time: TimestampUs,
    /// The times that are asked for: cells may answer the others.
    pub(crate) within: TimeRange,
}

impl Slice {
    /// No row that is asked for is earlier.
    pub(crate) fn first(&self) -> TimestampUs {
        self.min_time.max(self.within.start)
    }

    /// No row that is asked for is later.
    pub(crate) fn last(&self) -> TimestampUs {
        self.max_time.min(TimestampUs(self.within.end.0.saturating_sub(1)))
    }
}

/// The slices of one granule, which is decoded once for all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    /// The part, as an index into the snapshot's.
    pub(crate) part: usize,
    /// The granule.
    pub(crate) granule: usize,
    /// The slices.
    pub(crate) slices: Vec<Slice>,
}

impl Task {
    /// No row of any slice is later.
    pub(crate) fn max_time(&self) -> TimestampUs {
        self.slices.iter().map(|s| s.max_time).max().unwrap_or(TimestampUs(i64::MIN))
    }

    /// No row of any slice is earlier.
    pub(crate) fn min_time(&self) -> TimestampUs {
        self.slices.iter().map(|s| s.min_time).min().unwrap_or(TimestampUs(i64::MAX))
    }
}

/// The tenants of a scope by number, ascending; `None` is every tenant. One that never wrote has none.
pub(crate) fn tenants(snapshot: &Snapshot, scope: &Scope) -> Option<Vec<TenantNo>> {
    let mut numbers: Vec<TenantNo> = match scope {
        Scope::All => return None,
        Scope::One(tenant) => snapshot.tenants.number_of(tenant).into_iter().collect(),
        Scope::Several(tenants) => tenants.iter().filter_map(|t| snapshot.tenants.number_of(t)).collect(),
    };
    numbers.sort_unstable();
    numbers.dedup();
    Some(numbers)
}

/// The granules that may hold rows of a scope in a window, in the order of the parts.
pub(crate) fn plan(snapshot: &Snapshot, scope: &Scope, stream: Stream, window: TimeRange) -> Vec<Task> {
    plan_where(snapshot, scope, stream, window, |_, _| true)
}

/// As [`plan`], of the runs alone that `keep` is true for. It is asked of each part first, with its
/// index and no run, and then of the part's runs.
pub(crate) fn plan_where(
    snapshot: &Snapshot,
    scope: &Scope,
    stream: Stream,
    window: TimeRange,
    keep: impl Fn(usize, Option<&Run>) -> bool,
) -> Vec<Task> {
    let tenants = tenants(snapshot, scope);
    let hidden = &snapshot.hidden;
    let mut tasks = Vec::new();
    for (index, part) in snapshot.parts.iter().enumerate().filter(|(index, _)| keep(*index, None)) {
        // A file of other days costs one comparison, however many tenants it has.
        if !part.bounds(stream).is_some_and(|(min, max)| window.overlaps(min, max)) {
            continue;
        }
        let from = tasks.len();
        let mut add = |runs: &[Run]| {
            let inside = |run: &&Run| window.overlaps(run.min_time, run.max_time) && keep(index, Some(run));
            for run in runs.iter().filter(inside) {
                if hidden.is_retired(run.tenant) {
                    continue;
                }
                let window = hidden.window(run.tenant, stream, window);
                add_run(&mut tasks, index, part, stream, window, run);
            }
        };
        match &tenants {
            None => add(part.runs(stream)),
            Some(numbers) => {
                for number in numbers {
                    add(part.runs_of(stream, *number));
                }
            }
        }
        join(&mut tasks, from);
    }
    tasks
}

/// As [`plan`], of the granules alone that may have rows of frames after one.
pub(crate) fn plan_newer(
    snapshot: &Snapshot,
    scope: &Scope,
    stream: Stream,
    window: TimeRange,
    after: Lsn,
) -> Vec<Task> {
    let part = |index: usize| snapshot.parts.get(index);
    let is_newer =
        |index, _: Option<&Run>| part(index).is_some_and(|part| part.lsn_max().is_none_or(|lsn| lsn > after));
    let mut tasks = plan_where(snapshot, scope, stream, window, is_newer);
    tasks.retain(|task| {
        let zone = part(task.part).and_then(|part| part.zone_map(stream, LSN.id, task.granule));
        !matches!(zone, Some(ZoneMap::U64 { max, .. }) if max <= after.0)
    });
    tasks
}

/// The granules of a run of the first part, whatever their times.
pub(crate) fn plan_run(snapshot: &Snapshot, stream: Stream, run: &Run) -> Vec<Task> {
    let mut tasks = Vec::new();
    if let Some(part) = snapshot.parts.first() {
        add_run(&mut tasks, 0, part, stream, TimeRange::ALL, run);
    }
    tasks
}

/// Cuts a run into granules and drops those whose zone map of time is outside of the window.
pub(crate) fn add_run(
    tasks: &mut Vec<Task>,
    part_index: usize,
    part: &Arc<dyn Part>,
    stream: Stream,
    window: TimeRange,
    run: &Run,
) {
    let width = part.granule_rows().max(1) as u64;
    let mut row = run.rows.start;
    while row < run.rows.end {
        let granule = row / width;
        let end = run.rows.end.min((granule + 1) * width);
        let base = granule * width;
        let (min_time, max_time) = match part.zone_map(stream, TIME.id, index(granule)) {
            Some(ZoneMap::I64 { min, max }) => {
                (run.min_time.max(TimestampUs(min)), run.max_time.min(TimestampUs(max)))
            }
            _ => (run.min_time, run.max_time),
        };
        if window.overlaps(min_time, max_time) {
            let rows = index(row - base)..index(end - base);
            let slice = Slice { tenant: run.tenant, rows, min_time, max_time, within: window };
            match tasks.last_mut() {
                Some(last) if last.part == part_index && last.granule == index(granule) => {
                    last.slices.push(slice);
                }
                _ => tasks.push(Task { part: part_index, granule: index(granule), slices: vec![slice] }),
            }
        }
        row = end;
    }
}

/// Joins the tasks of one part from `from` on that are of the same granule. Runs lie in the order of
/// their rows, so that there is nothing to do but for parts that keep another order.
pub(crate) fn join(tasks: &mut Vec<Task>, from: usize) {
    if tasks.get(from..).is_none_or(|added| added.is_sorted_by(|a, b| a.granule < b.granule)) {
        return;
    }
    let mut added = tasks.split_off(from);
    added.sort_by_key(|t| t.granule);
    for task in added {
        match tasks.last_mut() {
            Some(last) if last.part == task.part && last.granule == task.granule => {
                last.slices.extend(task.slices);
            }
            _ => tasks.push(task),
        }
    }
}

/// A row count as an index; a part of more rows than memory can address cannot be open.
fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
