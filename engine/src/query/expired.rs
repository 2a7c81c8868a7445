//! Whether a question needs rows that its tenants did not keep that long.

use super::plan;
use super::request::{Query, Scope};
use super::snapshot::Snapshot;
use crate::part::Run;
use crate::time::{TimeRange, TimestampUs};

/// Since when rows are kept, of a question that only rows answer and whose window begins before: when
/// hidden ones are still there, or when a tenant that is named is older than what it keeps.
pub(super) fn of_rows(snapshot: &Snapshot, query: &Query) -> Option<TimestampUs> {
    let hidden = &snapshot.hidden;
    if !hidden.has_limits() {
        return None;
    }
    let tenants = plan::tenants(snapshot, &query.scope);
    let names = match &query.scope {
        Scope::One(name) => std::slice::from_ref(name),
        Scope::Several(names) => names.as_slice(),
        Scope::All => &[],
    };
    let of_age = names.iter().filter_map(|name| {
        let since = hidden.kept_since(snapshot.tenants.number_of(name)?, query.stream);
        let first = query.window.start.max(snapshot.tenants.created(name)?);
        (first < since && query.window.end > first).then_some(since)
    });
    let of_runs = snapshot.parts.iter().flat_map(|part| {
        let runs: Vec<&Run> = match &tenants {
            None => part.runs(query.stream).iter().collect(),
            Some(numbers) => numbers.iter().flat_map(|n| part.runs_of(query.stream, *n)).collect(),
        };
        runs.into_iter().filter_map(|run| of_run(snapshot, query, run, query.window))
    });
    of_age.chain(of_runs).max()
}

/// Since when the rows of a run are kept, when some of those in a window are hidden for their age.
pub(super) fn of_run(
    snapshot: &Snapshot,
    query: &Query,
    run: &Run,
    window: TimeRange,
) -> Option<TimestampUs> {
    if snapshot.hidden.is_retired(run.tenant) {
        return None;
    }
    let since = snapshot.hidden.kept_since(run.tenant, query.stream);
    let gone = TimeRange { start: window.start, end: window.end.min(since) };
    (gone.start < gone.end && gone.overlaps(run.min_time, run.max_time)).then_some(since)
}
