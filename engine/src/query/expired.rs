//! Whether a question needs rows, or cells, that its tenants did not keep that long.

use super::plan;
use super::request::{Query, Scope};
use super::snapshot::Snapshot;
use crate::id::{Stream, TenantNo};
use crate::part::{Part, Run};
use crate::rollup::Tier;
use crate::time::{DAY_US, TimeRange, TimestampUs};

/// Since when rows are kept, of a question that only rows answer and whose window begins before: when
/// hidden ones are still there, or when a tenant that is named is older than what it keeps.
pub(super) fn of_rows(snapshot: &Snapshot, query: &Query) -> Option<TimestampUs> {
    let since = |tenant| snapshot.hidden.kept_since(tenant, query.stream);
    let of_age = of_age(snapshot, &query.scope, query.window, since);
    of_age.max(of_left(snapshot, &query.scope, query.stream, query.window, |_, _| true))
}

/// Since when rows, or cells of a tier that could answer, are kept of the tenants that are named, when the
/// window and a tenant begin before: neither may be on the disk any more to be met.
pub(super) fn of_cells(
    snapshot: &Snapshot,
    scope: &Scope,
    stream: Stream,
    window: TimeRange,
    tiers: &[Tier],
) -> Option<TimestampUs> {
    let hidden = &snapshot.hidden;
    of_age(snapshot, scope, window, |tenant| {
        let of_tiers = tiers.iter().map(|tier| hidden.cells_kept_since(tenant, stream, *tier));
        of_tiers.fold(hidden.kept_since(tenant, stream), TimestampUs::min)
    })
}

/// The latest of what the named tenants keep since, where both the window and the tenant begin before.
fn of_age(
    snapshot: &Snapshot,
    scope: &Scope,
    window: TimeRange,
    since: impl Fn(TenantNo) -> TimestampUs,
) -> Option<TimestampUs> {
    let names = match scope {
        Scope::One(name) => std::slice::from_ref(name),
        Scope::Several(names) => names.as_slice(),
        Scope::All => &[],
    };
    let of_name = |name| {
        let since = since(snapshot.tenants.number_of(name)?);
        let first = window.start.max(snapshot.tenants.created(name)?);
        (first < since && window.end > first).then_some(since)
    };
    names.iter().filter_map(of_name).max()
}

/// Since when rows are kept, where some in a window are hidden or gone of the runs that are left to rows:
/// those that `keep` is true for (see [`plan::plan_where`]).
pub(super) fn of_left(
    snapshot: &Snapshot,
    scope: &Scope,
    stream: Stream,
    window: TimeRange,
    keep: impl Fn(usize, Option<&Run>) -> bool,
) -> Option<TimestampUs> {
    let outlived = |part: &dyn Part| part.rows(stream) == 0 && part.bounds(stream).is_some();
    if !snapshot.hidden.has_limits() && !snapshot.parts.iter().any(|part| outlived(part.as_ref())) {
        return None;
    }
    let tenants = plan::tenants(snapshot, scope);
    let parts = snapshot.parts.iter().enumerate().filter(|(index, _)| keep(*index, None));
    let of_part = |(index, part): (usize, &std::sync::Arc<dyn Part>)| {
        let latest = |runs: &[Run]| {
            let left = runs.iter().filter(|run| keep(index, Some(run)));
            left.filter_map(|run| of_run(snapshot, stream, run, window)).max()
        };
        match &tenants {
            None => latest(part.runs(stream)),
            Some(numbers) => numbers.iter().filter_map(|n| latest(part.runs_of(stream, *n))).max(),
        }
    };
    parts.filter_map(of_part).max()
}

/// Since when the rows of a run are kept, when some of those in a window are hidden for their age. A run
/// without rows is one that its cells have outlived: none of it is kept, whatever the limit is by now.
pub(super) fn of_run(
    snapshot: &Snapshot,
    stream: Stream,
    run: &Run,
    window: TimeRange,
) -> Option<TimestampUs> {
    if snapshot.hidden.is_retired(run.tenant) {
        return None;
    }
    let kept = snapshot.hidden.kept_since(run.tenant, stream);
    let since = if run.rows.is_empty() { kept.max(day_after(run)) } else { kept };
    let gone = TimeRange { start: window.start, end: window.end.min(since) };
    (gone.start < gone.end && gone.overlaps(run.min_time, run.max_time)).then_some(since)
}

/// The start of the day after a run's last row.
fn day_after(run: &Run) -> TimestampUs {
    TimestampUs(i64::from(run.max_time.day()).saturating_add(1).saturating_mul(DAY_US))
}
