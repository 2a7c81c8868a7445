//! Questions from cells where they answer, from rows where they do not.

mod key_filter;
mod matching;
mod split;

use std::sync::Arc;

use matching::{Match, matches};
pub(crate) use matching::{code_kind, conjuncts};
use split::{Slots, Split, Times};

use super::accumulate::Accumulators;
use super::aggregate::check;
use super::expired;
use super::field::Fields;
use super::group::{Grouping, NO_GROUP};
use super::plan::{self, Task};
use super::request::{GroupBy, Query, Scope};
use super::snapshot::Snapshot;
use crate::disk::meter;
use crate::error::Result;
use crate::id::TenantNo;
use crate::part::{Part, Run};
use crate::rollup::{ALL_TENANTS, CellFile, Cells, Kept, Rollups, Tier};
use crate::time::{DAY_US, TimeRange, TimestampUs};

/// Cells of one part that are folded between two looks at the budget of memory.
const CELLS_A_CHECK: usize = 65_536;

/// What is left to do when the cells are folded.
#[derive(Debug)]
pub(crate) struct Rest {
    /// The rows that must be read.
    pub(crate) tasks: Vec<Task>,
    /// The cells that were folded.
    pub(crate) cells_read: u64,
    /// Since when rows are kept, where some were needed and not kept.
    pub(crate) expired: Option<TimestampUs>,
}

/// The definitions of the cells that a snapshot has, when it has some.
pub(crate) fn rollups(snapshot: &Snapshot) -> Option<&Arc<Rollups>> {
    snapshot.parts.iter().find_map(|part| part.cells().first()).map(|file| file.rollups())
}

/// The tiers whose cells answer a question, from the finest on.
///
/// # Errors
///
/// [`crate::Error::Invalid`] for a field that the stream does not have.
pub(crate) fn tiers_of(rollups: &Rollups, query: &Query) -> Result<Vec<Tier>> {
    let mut fields = Fields::new(query.stream);
    let accumulators = Accumulators::compile(&query.aggregates, &mut fields)?;
    let matches = matches(rollups, query, &accumulators);
    Ok(Tier::ALL.into_iter().filter(|tier| matches.iter().any(|m| m.states(*tier).is_some())).collect())
}

/// Folds the cells that answer a part of the question.
///
/// # Errors
///
/// [`crate::Error::QueryLimit`] over the budget and those of [`super::Stop`]. Cells that cannot be read are
/// passed over: rows answer instead.
pub(crate) fn fold(
    snapshot: &Snapshot,
    query: &Query,
    rollups: &Rollups,
    grouping: &mut Grouping,
    accumulators: &mut Accumulators,
) -> Result<Rest> {
    let buckets = query.group_by.iter().filter_map(|by| match by {
        GroupBy::Bucket(buckets) => Some(buckets),
        GroupBy::Field(_) => None,
    });
    let matches = matches(rollups, query, accumulators);
    if !matches.is_empty() {
        accumulators.hash_text();
    }
    // What no cells are of is asked of rows alone.
    let expired = if matches.is_empty() {
        expired::of_rows(snapshot, query)
    } else {
        let tiers: Vec<Tier> =
            Tier::ALL.into_iter().filter(|t| matches.iter().any(|m| m.states(*t).is_some())).collect();
        expired::of_cells(snapshot, &query.scope, query.stream, query.window, &tiers)
    };
    let mut reader = Reader {
        snapshot,
        query,
        matches,
        times: Times { window: query.window, buckets: buckets.collect() },
        grouping,
        accumulators,
        placed: Vec::new(),
        unchecked: 0,
        rest: Rest { tasks: Vec::new(), cells_read: 0, expired },
    };
    let numbers = plan::tenants(snapshot, &query.scope);
    for (index, part) in snapshot.parts.iter().enumerate() {
        if !part.bounds(query.stream).is_some_and(|(min, max)| query.window.overlaps(min, max)) {
            continue;
        }
        let from = reader.rest.tasks.len();
        reader.part(index, part, numbers.as_deref())?;
        plan::join(&mut reader.rest.tasks, from);
        snapshot.stop.check()?;
        check(reader.accumulators, reader.grouping, query.budget)?;
    }
    Ok(reader.rest)
}

struct Reader<'q> {
    snapshot: &'q Snapshot,
    query: &'q Query,
    matches: Vec<Match<'q>>,
    times: Times<'q>,
    grouping: &'q mut Grouping,
    accumulators: &'q mut Accumulators,
    /// (cell, group)
    placed: Vec<(u32, u32)>,
    /// Cells that were folded since the budget was last looked at.
    unchecked: usize,
    rest: Rest,
}

/// Cells that answer a run at one tier, looked at as far as nothing changes.
struct Loaded {
    /// A place of `matches`.
    of: usize,
    cells: Arc<Cells>,
    /// The first series of those that are of the run.
    first: usize,
    /// For each dimension the place of each of them.
    places: Vec<Vec<u32>>,
    /// Those that pass, ascending, counted from the first.
    passing: Vec<usize>,
}

impl Reader<'_> {
    fn part(&mut self, index: usize, part: &Arc<dyn Part>, numbers: Option<&[TenantNo]>) -> Result<()> {
        let stream = self.query.stream;
        let mut windows = vec![self.query.window];
        if self.query.scope == Scope::All
            && self.matches.iter().any(Match::takes_all_tenants)
            && let Some((min, max)) = part.bounds(stream)
            && min.day() == max.day()
        {
            // What is folded of all tenants is out of the windows of each.
            windows = self.run(part, ALL_TENANTS, (min, max), self.query.window)?;
        }
        let hidden = Arc::clone(&self.snapshot.hidden);
        let mut add = |runs: &[Run]| -> Result<()> {
            for run in runs.iter().filter(|run| !hidden.is_retired(run.tenant)) {
                self.snapshot.stop.check()?;
                for window in windows.iter().filter(|w| w.overlaps(run.min_time, run.max_time)) {
                    let bounds = (run.min_time, run.max_time);
                    for rows in self.run(part, run.tenant, bounds, *window)? {
                        let expired = expired::of_run(self.snapshot, stream, run, rows);
                        self.rest.expired = self.rest.expired.max(expired);
                        let rows = hidden.window(run.tenant, stream, rows);
                        plan::add_run(&mut self.rest.tasks, index, part, stream, rows, run);
                    }
                }
            }
            Ok(())
        };
        match numbers {
            _ if windows.is_empty() => Ok(()),
            None => add(part.runs(stream)),
            Some(numbers) => numbers.iter().try_for_each(|number| add(part.runs_of(stream, *number))),
        }
    }

    /// Folds the cells of a tenant in a part, and answers the times that are left to rows. All its rows
    /// in the window are between the bounds.
    fn run(
        &mut self,
        part: &Arc<dyn Part>,
        tenant: TenantNo,
        (min, max): (TimestampUs, TimestampUs),
        window: TimeRange,
    ) -> Result<Vec<TimeRange>> {
        let day = min.day();
        let files = part.cells();
        if files.is_empty() || self.matches.is_empty() || day != max.day() {
            return Ok(vec![window]);
        }
        // Looked for once, when it is first asked for.
        let mut loaded: [Option<Option<Loaded>>; 3] = [const { None }; 3];
        let (snapshot, stream) = (self.snapshot, self.query.stream);
        let (matches, grouping) = (&mut self.matches, &mut *self.grouping);
        let of = Some(tenant).filter(|tenant| *tenant != ALL_TENANTS);
        let start = TimestampUs(i64::from(day).saturating_mul(DAY_US));
        let mut usable = |tier: Tier| {
            if !snapshot.hidden.cells_hold(of, stream, tier, start) {
                return false;
            }
            let Some(slot) = loaded.get_mut(tier as usize) else { return false };
            let look = || {
                let mut files = files.iter().filter(|f| f.is_of(stream, day, tier));
                files.find_map(|file| load(snapshot, matches, grouping, file, tenant))
            };
            slot.get_or_insert_with(look).is_some()
        };
        self.times.window = window;
        let Split { tiers, rows } = self.times.split(day, min, max, &mut usable);
        for ((loaded, slots), tier) in loaded.iter().zip(&tiers).zip(Tier::ALL) {
            if let (Some(Some(loaded)), false) = (loaded, slots.places.is_empty()) {
                self.fold(loaded, slots, tenant, tier);
            }
        }
        if self.unchecked >= CELLS_A_CHECK {
            self.unchecked = 0;
            check(self.accumulators, self.grouping, self.query.budget)?;
        }
        Ok(rows)
    }

    fn fold(&mut self, loaded: &Loaded, slots: &Slots, tenant: TenantNo, tier: Tier) {
        let Some(matched) = self.matches.get(loaded.of) else { return };
        let Some(states) = matched.states(tier) else { return };
        let cells = &*loaded.cells;
        self.placed.clear();
        let mut groups = 0;
        let mut of_buckets: Vec<u32> = Vec::new();
        for &series in &loaded.passing {
            of_buckets.clear();
            of_buckets.resize(slots.buckets.len(), NO_GROUP);
            for cell in cells.of_series(loaded.first + series) {
                let slot = cells.slots.get(cell).map_or(usize::MAX, |slot| usize::from(*slot));
                let place = slots.places.get(slot).map_or(usize::MAX, |place| *place as usize);
                let (Some(group), Some(buckets)) = (of_buckets.get_mut(place), slots.buckets.get(place))
                else {
                    continue;
                };
                if *group == NO_GROUP {
                    let mut buckets = buckets.iter();
                    let place = |of_series: &Vec<u32>| match of_series.get(series) {
                        Some(place) => *place,
                        None => buckets.next().copied().unwrap_or(NO_GROUP),
                    };
                    *group = self.grouping.group_of(loaded.places.iter().map(place));
                }
                if let (Ok(cell), false) = (u32::try_from(cell), *group == NO_GROUP) {
                    groups = groups.max(*group as usize + 1);
                    self.placed.push((cell, *group));
                }
            }
        }
        self.accumulators.fold_cells(states, cells, tenant, &self.placed, groups);
        self.rest.cells_read += self.placed.len() as u64;
        self.unchecked += self.placed.len();
    }
}

/// The cells of a tenant in a file that answer, by the first definition that has some.
fn load(
    snapshot: &Snapshot,
    matches: &mut [Match<'_>],
    grouping: &mut Grouping,
    file: &CellFile,
    tenant: TenantNo,
) -> Option<Loaded> {
    matches.iter_mut().enumerate().find_map(|(of, matched)| {
        let definition = matched.definition;
        // Those of one tenant are a stretch of those of all where each tenant's stay apart.
        let holder = if definition.numbers_tenants() { ALL_TENANTS } else { tenant };
        let refused = match holder {
            ALL_TENANTS => !matched.takes_all_tenants(),
            _ => definition.kept == Kept::Together,
        };
        if refused || matched.states(file.tier()).is_none() {
            return None;
        }
        let read = || file.cells(holder, matched.hash);
        // How long the blob of all is says something of the others.
        let cells = if holder == tenant { read() } else { meter::uncounted(read) }?;
        // What a damaged dictionary keeps from being told apart is left to rows, which say so.
        let whose = cells.whose(definition.keys.len(), tenant);
        matched.filter.take(snapshot, &whose, &cells).ok()?;
        let places = grouping.places_of_series(snapshot, &whose, &cells, &matched.dimensions).ok()?;
        let series = whose.series();
        let passing = (0..series.len()).filter(|place| matched.filter.passes(*place)).collect();
        Some(Loaded { of, cells, first: series.start, places, passing })
    })
}

#[cfg(test)]
mod tests;
