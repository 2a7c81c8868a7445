//! The session cells of a segment, out of its rows: the same reading as a question's.

use super::granule::Granule;
use super::plan;
use super::request::{Budget, Filter, Scope};
use super::session_request::{SessionClasses, SessionRequest};
use super::session_rows::SessionRows;
use super::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::id::{Stream, TenantNo};
use crate::part::Run;
use crate::rollup::Tier;
use crate::session::day::{DayCells, fold_day};
use crate::time::{Buckets, TimeRange};

/// Rows of a tenant's day from which it has cells of its own: fewer are read as fast.
const RUN_ROWS_MIN: u64 = 256;

/// Makes the cells of runs of one part, each of which has all rows of its tenant and UTC day.
#[derive(Debug)]
pub(crate) struct SessionCellBuilder<'a> {
    rows: SessionRows<'a>,
    snapshot: &'a Snapshot,
    classes: u64,
}

impl<'a> SessionCellBuilder<'a> {
    /// What a builder reads by: every event, told apart by `classes`.
    pub(crate) fn request(classes: &SessionClasses) -> SessionRequest {
        SessionRequest {
            scope: Scope::All,
            window: TimeRange::ALL,
            buckets: Buckets::whole(TimeRange::ALL),
            filter: Filter::all(),
            classes: classes.clone(),
            exact: false,
            budget: Budget { memory_bytes_max: u64::MAX, ..Budget::default() },
            allow_partial: false,
        }
    }

    /// A builder for the one part of a snapshot; `request` is [`Self::request`].
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for another number of parts and for a field that events do not have.
    pub(crate) fn new(snapshot: &'a Snapshot, request: &'a SessionRequest) -> Result<Self> {
        if snapshot.parts.len() != 1 {
            return Err(Error::invalid("cells are made of one part"));
        }
        let rows = SessionRows::new(snapshot, request, false)?.with_users();
        Ok(Self { rows, snapshot, classes: request.classes.hash() })
    }

    /// The cells of a run. Memory is that of its chains.
    ///
    /// # Errors
    ///
    /// Damage and I/O of the part and of the dictionary.
    pub(crate) fn run(&mut self, run: &Run) -> Result<DayCells> {
        self.rows.start_over();
        let fields = self.rows.fields();
        let tasks = plan::plan_run(self.snapshot, Stream::Events, run);
        for task in &tasks {
            // The same number for all runs of a granule, so that its dictionaries are prepared once.
            let token = task.granule as u64 + 1;
            let Some(mut granule) = Granule::new(self.snapshot, &fields, task, token) else { continue };
            for slice in &task.slices {
                self.rows.read_slice(&mut granule, slice)?;
            }
        }
        self.rows.gather.join();
        Ok(fold_day(run.tenant, run.min_time.day(), self.classes, &self.rows.gather))
    }
}

/// Calls with (tenant, tier, bytes) of the session cells of the one part of a snapshot, which has rows of
/// one UTC day: those of each tenant, and at the end, without a tenant, those of all together. They are
/// cells of the definition [`super::SESSIONS`].
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
    let request = SessionCellBuilder::request(classes);
    let mut builder = SessionCellBuilder::new(snapshot, &request)?;
    let mut all: Option<DayCells> = None;
    for run in snapshot.parts.iter().flat_map(|part| part.runs(Stream::Events)) {
        let cells = builder.run(run)?;
        if all_runs || run.rows.end - run.rows.start >= RUN_ROWS_MIN {
            for cells in &cells {
                each(Some(run.tenant), cells.tier, cells.encode())?;
            }
        }
        absorb(&mut all, cells)?;
    }
    for cells in all.iter().flatten() {
        each(None, cells.tier, cells.encode())?;
    }
    Ok(())
}

/// Adds the cells of a tenant to those of all.
///
/// # Errors
///
/// [`Error::Invalid`] for cells of another day.
pub(crate) fn absorb(all: &mut Option<DayCells>, cells: DayCells) -> Result<()> {
    match all {
        Some(all) if all.iter().zip(&cells).any(|(all, cells)| all.day != cells.day) => {
            return Err(Error::invalid("cells are made of one day"));
        }
        Some(all) => all.iter_mut().zip(&cells).for_each(|(all, cells)| all.absorb(cells)),
        None => *all = Some(cells),
    }
    Ok(())
}
