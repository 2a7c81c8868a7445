//! The session cells of a segment, out of its rows: the same reading as a question's.

use super::granule::Granule;
use super::plan;
use super::request::{Budget, Filter, Scope};
use super::session_request::{SessionClasses, SessionRequest};
use super::session_rows::SessionRows;
use super::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::id::{Stream, TenantNo};
use crate::rollup::Tier;
use crate::session::day::{DayCells, fold_day};
use crate::time::{Buckets, TimeRange};

/// Rows of a tenant's day from which it has cells of its own: fewer are read as fast.
const RUN_ROWS_MIN: u64 = 256;

/// Calls with (tenant, tier, bytes) of the session cells of the one part of a snapshot, which has rows of
/// one UTC day: those of each tenant, and at the end, without a tenant, those of all together. They are
/// cells of the definition [`SESSIONS`].
///
/// A tenant with fewer than 256 rows has none of its own, unless `all_runs`. Memory is that of the chains
/// of one tenant, and of the cells of all together.
///
/// # Errors
///
/// [`Error::Invalid`] for another number of parts, damage and I/O of the part, and the first error of
/// `each`.
pub fn session_blobs(
    snapshot: &Snapshot,
    classes: &SessionClasses,
    all_runs: bool,
    each: &mut dyn FnMut(Option<TenantNo>, Tier, Vec<u8>) -> Result<()>,
) -> Result<()> {
    let mut all: Option<DayCells> = None;
    session_cells(snapshot, classes, |tenant, rows, cells| {
        if all_runs || rows >= RUN_ROWS_MIN {
            for cells in &cells {
                each(Some(tenant), cells.tier, cells.encode())?;
            }
        }
        match &mut all {
            Some(all) if all.iter().zip(&cells).any(|(all, cells)| all.day != cells.day) => {
                return Err(Error::invalid("cells are made of one day"));
            }
            Some(all) => all.iter_mut().zip(&cells).for_each(|(all, cells)| all.absorb(cells)),
            None => all = Some(cells),
        }
        Ok(())
    })?;
    for cells in all.iter().flatten() {
        each(None, cells.tier, cells.encode())?;
    }
    Ok(())
}

/// Calls with (tenant, rows, cells) of each tenant's day, tenants and days ascending.
///
/// Memory is that of the chains of one tenant's day.
///
/// # Errors
///
/// Damage and I/O of the part, and the first error of `each`.
fn session_cells(
    snapshot: &Snapshot,
    classes: &SessionClasses,
    mut each: impl FnMut(TenantNo, u64, DayCells) -> Result<()>,
) -> Result<()> {
    if snapshot.parts.len() != 1 {
        return Err(Error::invalid("cells are made of one part"));
    }
    let request = SessionRequest {
        scope: Scope::All,
        window: TimeRange::ALL,
        buckets: Buckets::whole(TimeRange::ALL),
        filter: Filter::all(),
        classes: classes.clone(),
        exact: false,
        budget: Budget { memory_bytes_max: u64::MAX, ..Budget::default() },
        allow_partial: false,
    };
    let mut rows = SessionRows::new(snapshot, &request, false)?.with_users();
    // The tenant, the day and its rows so far.
    let mut current: Option<(TenantNo, i32, u64)> = None;
    let hash = classes.hash();
    let mut finish = |rows: &mut SessionRows<'_>, of: Option<(TenantNo, i32, u64)>| {
        let Some((tenant, day, count)) = of else { return Ok(()) };
        rows.gather.join();
        let cells = fold_day(tenant, day, hash, &rows.gather);
        rows.start_over();
        each(tenant, count, cells)
    };
    let fields = rows.fields();
    let tasks = plan::plan(snapshot, &request.scope, Stream::Events, request.window);
    for (task, token) in tasks.iter().zip(1..) {
        let Some(mut granule) = Granule::new(snapshot, &fields, task, token) else { continue };
        // The rows of a run are contiguous, and so are a tenant's runs: what follows is of another one.
        for slice in &task.slices {
            let (here, count) = ((slice.tenant, slice.min_time.day()), slice.rows.len() as u64);
            match &mut current {
                Some((tenant, day, sum)) if (*tenant, *day) == here => *sum += count,
                before => {
                    finish(&mut rows, before.take())?;
                    *before = Some((here.0, here.1, count));
                }
            }
            rows.read_slice(&mut granule, slice)?;
        }
    }
    finish(&mut rows, current)
}
