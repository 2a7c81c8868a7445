//! The session cells of a segment, out of its rows: the same reading as a question's.

use super::granule::Granule;
use super::plan;
use super::request::{Budget, Filter, Scope};
use super::session_cells::{SESSIONS, SESSIONS_OF_APPS};
use super::session_request::{SessionClasses, SessionRequest};
use super::session_rows::{APPS_MAX, SessionRows};
use super::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::id::{Stream, TenantNo};
use crate::part::Run;
use crate::rollup::Tier;
use crate::session::cells::encode_apps;
use crate::session::day::{DayCells, fold_day};
use crate::time::{Buckets, TimeRange};

/// Rows of a tenant's day from which it has cells of its own: fewer are read as fast.
const RUN_ROWS_MIN: u64 = 256;

/// Makes the cells of runs of one part, each of which has all rows of its tenant and UTC day.
#[derive(Debug)]
pub(crate) struct SessionCellBuilder<'a> {
    rows: SessionRows,
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
    pub(crate) fn new(snapshot: &'a Snapshot, request: &SessionRequest) -> Result<Self> {
        if snapshot.parts.len() != 1 {
            return Err(Error::invalid("cells are made of one part"));
        }
        let rows = SessionRows::new(request, false)?.for_cells();
        Ok(Self { rows, snapshot, classes: request.classes.hash() })
    }

    /// The cells of a run. Memory is that of its chains, twice.
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
        let keys = self.rows.gather.keys();
        Ok(fold_day((run.tenant, run.min_time.day()), self.classes, &self.rows.gather, &keys))
    }

    /// The cells of the applications of the run that [`Self::run`] was last called with, as (definition,
    /// tier, bytes) by tier; nothing for more than 64 applications.
    pub(crate) fn app_blobs(&mut self, run: &Run) -> Vec<(u8, Tier, Vec<u8>)> {
        let of = (run.tenant, run.min_time.day());
        let keys = self.rows.gather.keys();
        let Some(apps) = self.rows.apps.as_mut().filter(|apps| apps.len() <= APPS_MAX) else {
            return Vec::new();
        };
        // One application with all events: its sessions are those of all.
        let one = self.rows.without_app == 0 && apps.len() == 1;
        let mut folded: Vec<(u32, Option<DayCells>)> = Vec::with_capacity(apps.len());
        for (app, gather) in apps {
            if one {
                folded.push((*app, None));
                continue;
            }
            gather.join();
            // The keys of an application's chains are numbers of the keys of all chains.
            let own = |(_, number): (TenantNo, u128)| usize::try_from(number).ok().and_then(|n| keys.get(n));
            let keys: Vec<(TenantNo, u128)> = gather.keys().into_iter().filter_map(own).copied().collect();
            folded.push((*app, Some(fold_day(of, self.classes, gather, &keys))));
        }
        let blob = |(place, tier): (usize, Tier)| {
            let apps: Vec<_> =
                folded.iter().map(|(app, of)| (*app, of.as_ref().and_then(|of| of.get(place)))).collect();
            (SESSIONS_OF_APPS, tier, encode_apps(&apps))
        };
        Tier::ALL.into_iter().enumerate().map(blob).collect()
    }
}

/// The bytes of session cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionBlob {
    /// Whose they are; `None` of all tenants together.
    pub tenant: Option<TenantNo>,
    /// [`SESSIONS`] or [`SESSIONS_OF_APPS`].
    pub definition: u8,
    /// At which tier.
    pub tier: Tier,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Calls with the session cells of the one part of a snapshot, which has rows of one UTC day: those of each
/// tenant, and at the end, without a tenant, those of all together.
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
    each: &mut dyn FnMut(SessionBlob) -> Result<()>,
) -> Result<()> {
    let request = SessionCellBuilder::request(classes);
    let mut builder = SessionCellBuilder::new(snapshot, &request)?;
    let mut all: Option<DayCells> = None;
    for run in snapshot.parts.iter().flat_map(|part| part.runs(Stream::Events)) {
        let cells = builder.run(run)?;
        if all_runs || run.rows.end - run.rows.start >= RUN_ROWS_MIN {
            let all = cells.iter().map(|cells| (SESSIONS, cells.tier, cells.encode()));
            for (definition, tier, bytes) in all.chain(builder.app_blobs(run)) {
                each(SessionBlob { tenant: Some(run.tenant), definition, tier, bytes })?;
            }
        }
        absorb(&mut all, cells)?;
    }
    for cells in all.iter().flatten() {
        let (tier, bytes) = (cells.tier, cells.encode());
        each(SessionBlob { tenant: None, definition: SESSIONS, tier, bytes })?;
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
