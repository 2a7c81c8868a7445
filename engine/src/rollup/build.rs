//! Cells from rows: one pass over a run for all definitions, coarser tiers folded from finer ones. Rows of
//! runs that keep no cells of their own are folded straight into those of all tenants.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::cells::{Cells, KeyColumn, StateColumn, Whose};
use super::cells_format::{CELLS_MAX, KEY_TEXT_BYTES_MAX, VALUES_MAX, spaces};
use super::cells_memory::{MEMORY_BYTES_MAX, to_decode};
use super::definition::{Kept, RollupDefinition, Rollups, is_answered_by};
use super::tier::Tier;
use crate::codes::{Codes, Tenants};
use crate::error::{Error, Result};
use crate::id::{Lsn, Stream, TenantNo};
use crate::part::{Part, Run};
use crate::query::{
    Accumulators, Aggregate, CellDimension, Field, Fields, Granule, GroupBy, Grouping, KeyValue, Predicate,
    RowGroups, Slice, Snapshot, Space, Stop, add_run, code_kind, select, selected,
};
use crate::schema::stream::TIME;
use crate::time::{BucketUnit, Buckets, DAY_US, TimeRange, TimestampUs};

/// Most bytes of memory that the groups of one definition and tier take before its cells are given up
/// for the run: rows answer then.
const FAMILY_BYTES_MAX: usize = 64 << 20;

/// The cells of one definition at one tier.
#[derive(Debug)]
pub(super) struct Family {
    /// A place in [`Rollups::of`] the stream.
    pub(super) definition: usize,
    pub(super) tier: Tier,
    pub(super) cells: Cells,
}

/// The cells of one run.
#[derive(Debug, Default)]
pub(super) struct RunCells {
    /// Cells, also where no row passes the filter of a definition: then it is known that there are none.
    /// A definition whose cells became too large has none.
    pub(super) families: Vec<Family>,
}

/// Builds the cells of the runs of one part, stream and UTC day.
#[derive(Debug)]
pub(super) struct Builder {
    snapshot: Snapshot,
    stream: Stream,
    must_keep: bool,
    rollups: Arc<Rollups>,
    /// The intervals of each tier.
    buckets: [Buckets; 3],
}

impl Builder {
    /// A builder for a part whose rows of the stream are of one UTC day; `must_keep` when the cells outlive
    /// the rows.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a day that has no buckets.
    pub(super) fn new(
        part: Arc<dyn Part>,
        (stream, day, must_keep): (Stream, i32, bool),
        rollups: &Arc<Rollups>,
        codes: Arc<dyn Codes>,
        tenants: Arc<dyn Tenants>,
    ) -> Result<Self> {
        let start = TimestampUs(i64::from(day) * DAY_US);
        let window = TimeRange { start, end: TimestampUs(start.0 + DAY_US) };
        let cover =
            |tier: Tier| Buckets::cover(window, BucketUnit::Step(tier.width_us()), &TimeZone::UTC, 96);
        let buckets = [cover(Tier::Quarter)?, cover(Tier::Hour)?, cover(Tier::Day)?];
        let snapshot = Snapshot {
            parts: vec![part],
            codes,
            tenants,
            // What is hidden is left out when the cells are read, or when the rows are rewritten.
            hidden: Arc::default(),
            lsn: Lsn(0),
            stop: Stop::never(),
        };
        Ok(Self { snapshot, stream, must_keep, rollups: Arc::clone(rollups), buckets })
    }

    /// Whether cells of a definition are made.
    pub(super) fn makes(&self, definition: &RollupDefinition) -> bool {
        self.must_keep || definition.kept != Kept::Outliving
    }

    /// The one part, and what its codes and tenants are.
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    fn group_by(&self, definition: &RollupDefinition, tier: Tier) -> Vec<GroupBy> {
        let buckets = self.buckets.get(tier as usize).cloned().map(GroupBy::Bucket);
        buckets.into_iter().chain(definition.keys.iter().cloned().map(GroupBy::Field)).collect()
    }

    /// The cells of a run, of every definition and tier that its rows did not make too large.
    ///
    /// # Errors
    ///
    /// Those of the part's columns and of the dictionary.
    pub(super) fn run(&self, run: &Run) -> Result<RunCells> {
        let mut fields = Fields::new(self.stream);
        let time = fields.column(&TIME)?;
        let mut folds = Vec::new();
        for (place, (definition, _)) in self.rollups.of(self.stream).enumerate() {
            if !self.makes(definition) {
                continue;
            }
            for (at, kept) in definition.tiers.iter().enumerate() {
                if finer(definition, at).is_none() {
                    let fold = self.fold(definition, kept.tier, CellsOf::OneTenant, &mut fields)?;
                    folds.push((place, Some(fold)));
                }
            }
        }
        let mut list = Vec::new();
        self.slices(&fields, std::slice::from_ref(run), |granule, slice| {
            for (_, place) in &mut folds {
                let Some(fold) = place else { continue };
                fold.add_rows(granule, slice, time, &mut list)?;
                if fold.is_too_large() {
                    *place = None;
                }
            }
            Ok(())
        })?;
        let mut out = RunCells::default();
        for (definition, fold) in folds {
            let Some(fold) = fold else { continue };
            let (tier, cells) = (fold.tier, fold.finish());
            if fits(&cells) {
                out.families.push(Family { definition, tier, cells });
            }
        }
        self.coarser(run.tenant, &mut out.families)?;
        Ok(out)
    }

    /// Calls with each granule of some runs, which follow each other, and each slice of it.
    ///
    /// # Errors
    ///
    /// Those of `each`.
    pub(super) fn slices(
        &self,
        fields: &Fields,
        runs: &[Run],
        mut each: impl FnMut(&mut Granule<'_>, &Slice) -> Result<()>,
    ) -> Result<()> {
        let Some(part) = self.snapshot.parts.first() else { return Ok(()) };
        let mut tasks = Vec::new();
        for run in runs {
            add_run(&mut tasks, 0, part, self.stream, TimeRange::ALL, run);
        }
        for task in &tasks {
            // The same number for all runs of a granule, so that its dictionaries are prepared once.
            let token = task.granule as u64 + 1;
            let Some(mut granule) = Granule::new(&self.snapshot, fields, task, token) else { continue };
            task.slices.iter().try_for_each(|slice| each(&mut granule, slice))?;
        }
        Ok(())
    }

    /// Adds the tiers that finer ones hold already.
    fn coarser(&self, tenant: TenantNo, families: &mut Vec<Family>) -> Result<()> {
        for (place, (definition, _)) in self.rollups.of(self.stream).enumerate() {
            for (at, kept) in definition.tiers.iter().enumerate() {
                let Some(from) = finer(definition, at) else { continue };
                let Some(family) = families.iter().find(|f| f.definition == place && f.tier == from) else {
                    continue;
                };
                let fields = &mut Fields::new(self.stream);
                let mut fold = self.fold(definition, kept.tier, CellsOf::OneTenant, fields)?;
                fold.add(tenant, &family.cells, from)?;
                families.push(Family { definition: place, tier: kept.tier, cells: fold.finish() });
            }
        }
        Ok(())
    }

    /// A fold of cells, and of rows read by `fields`, into cells of a definition at a tier.
    pub(super) fn fold<'a>(
        &'a self,
        definition: &'a RollupDefinition,
        tier: Tier,
        of: CellsOf,
        fields: &mut Fields,
    ) -> Result<Fold<'a>> {
        let mut group_by = self.group_by(definition, tier);
        let (mut codes, mut dimensions) = (code_keys(definition), vec![CellDimension::Bucket]);
        if of == CellsOf::Listed {
            // After the bucket, so that cells are in the order of their tenants.
            group_by.insert(1, GroupBy::Field(Field::Tenant));
            codes.insert(1, true);
            dimensions.push(CellDimension::Tenant);
        }
        let keys = definition.keys.iter().enumerate();
        dimensions.extend(keys.map(|(key, field)| CellDimension::Key(key, code_kind(definition, field))));
        let mut grouping = Grouping::compile(&group_by, fields)?;
        if of != CellsOf::Together {
            grouping.keep_codes(&codes);
        }
        let mut accumulators = Accumulators::compile(&compiled(definition, tier), fields)?;
        accumulators.hash_text();
        Ok(Fold {
            builder: self,
            definition,
            tier,
            of,
            predicate: Predicate::compile(&definition.filter, fields)?,
            grouping,
            accumulators,
            groups: RowGroups::default(),
            dimensions,
        })
    }
}

/// Whose cells a fold makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CellsOf {
    /// Those of one tenant: identities are its codes.
    OneTenant,
    /// Those of all tenants, of one key one cell, whoever it is of.
    Together,
    /// Those of all tenants, each tenant's apart: its number is a last key, identities are its codes.
    Listed,
}

/// Cells and rows that are folded into coarser cells, or into those of all tenants.
#[derive(Debug)]
pub(super) struct Fold<'a> {
    builder: &'a Builder,
    definition: &'a RollupDefinition,
    tier: Tier,
    of: CellsOf,
    predicate: Predicate,
    grouping: Grouping,
    accumulators: Accumulators,
    groups: RowGroups,
    dimensions: Vec<CellDimension>,
}

impl Fold<'_> {
    /// Adds the cells of a tenant at the tier of the fold or a finer one.
    ///
    /// # Errors
    ///
    /// Those of the dictionary.
    pub(super) fn add(&mut self, tenant: TenantNo, cells: &Cells, tier: Tier) -> Result<()> {
        let asked = compiled(self.definition, self.tier);
        let kept = self.definition.aggregates(tier).unwrap_or(&[]);
        let states = self.accumulators.cell_states(&asked, kept);
        let states = states.ok_or_else(|| Error::invalid("cells that a coarser tier cannot be made of"))?;
        let snapshot = &self.builder.snapshot;
        let whose = Whose::one(tenant, cells);
        let places = self.grouping.places_of_series(snapshot, &whose, cells, &self.dimensions)?;
        let ratio = u8::try_from(self.tier.width_us() / tier.width_us()).unwrap_or(u8::MAX).max(1);
        let (mut slots_of, mut groups) = (Vec::with_capacity(cells.len()), 0);
        for series in 0..cells.series() {
            let mut known: Option<(u8, u32)> = None;
            for cell in cells.of_series(series) {
                let Some(slot) = cells.slots.get(cell).map(|slot| slot / ratio) else { continue };
                let group = match known {
                    Some((of, group)) if of == slot => group,
                    _ => {
                        let place = |of_series: &Vec<u32>| of_series.get(series).copied();
                        self.grouping.group_of(places.iter().map(|p| place(p).unwrap_or(u32::from(slot))))
                    }
                };
                known = Some((slot, group));
                groups = groups.max(group as usize + 1);
                slots_of.extend(u32::try_from(cell).map(|cell| (cell, group)));
            }
        }
        let before = self.accumulators.counts().len();
        self.accumulators.fold_cells(&states, cells, tenant, &slots_of, groups);
        self.settle(before);
        Ok(())
    }

    /// Adds the rows of a slice; `time` is the leaf of their times, `list` a place to write rows down.
    ///
    /// # Errors
    ///
    /// Those of the columns and of the dictionary.
    pub(super) fn add_rows(
        &mut self,
        granule: &mut Granule<'_>,
        slice: &Slice,
        time: usize,
        list: &mut Vec<u32>,
    ) -> Result<()> {
        self.groups.clear();
        let mask = select(&mut self.predicate, time, slice.within, granule, slice)?;
        if mask.is_empty() {
            return Ok(());
        }
        let rows = selected(&mask, slice, list);
        self.grouping.groups(granule, slice, rows, &mut self.groups)?;
        self.accumulators.read(granule, slice, &mask, rows)?;
        let before = self.accumulators.counts().len();
        self.accumulators.fold(slice, &self.groups);
        self.settle(before);
        Ok(())
    }

    /// Groups that came with a tenant whose cells stay apart are whole: a tenant comes once, or in slices of a
    /// few rows.
    fn settle(&mut self, first: usize) {
        if self.of == CellsOf::Listed {
            self.accumulators.settle_from(first);
        }
    }

    /// Whose cells it makes.
    pub(super) fn cells_of(&self) -> CellsOf {
        self.of
    }

    /// Whether the cells take more memory, or are more, than are made.
    pub(super) fn is_too_large(&self) -> bool {
        let bytes = self.accumulators.memory_bytes() + self.grouping.memory_bytes();
        bytes > FAMILY_BYTES_MAX || self.accumulators.counts().len() > CELLS_MAX
    }

    /// The cells.
    pub(super) fn finish(self) -> Cells {
        let by_tenant = self.of == CellsOf::Together;
        let mut cells = export(self.definition, self.tier, &self.grouping, &self.accumulators, by_tenant);
        if self.of == CellsOf::Listed {
            cells.keys.rotate_left(1);
        }
        cells
    }
}

/// The tier that another one of a definition is folded from: the coarsest finer one that keeps all of it.
pub(super) fn finer(definition: &RollupDefinition, at: usize) -> Option<Tier> {
    let kept = definition.tiers.get(at)?;
    let has_all = |finer: &Tier| {
        let there = definition.aggregates(*finer).unwrap_or(&[]);
        kept.aggregates.iter().all(|a| there.iter().any(|b| is_answered_by(a, b)))
    };
    definition.tiers.get(..at)?.iter().rev().map(|t| t.tier).find(has_all)
}

/// The aggregates of a definition at a tier, means for sums: their states have the number of values too.
fn compiled(definition: &RollupDefinition, tier: Tier) -> Vec<Aggregate> {
    let aggregates = definition.aggregates(tier).unwrap_or(&[]).iter();
    aggregates
        .map(|a| if let Aggregate::Sum(field) = a { Aggregate::Avg(field.clone()) } else { a.clone() })
        .collect()
}

/// For the buckets and each key whether its values are codes.
fn code_keys(definition: &RollupDefinition) -> Vec<bool> {
    std::iter::once(false)
        .chain(definition.keys.iter().map(|key| code_kind(definition, key).is_some()))
        .collect()
}

fn export(
    definition: &RollupDefinition,
    tier: Tier,
    grouping: &Grouping,
    accumulators: &Accumulators,
    by_tenant: bool,
) -> Cells {
    let spaces: Vec<Vec<Space>> = definition
        .aggregates(tier)
        .unwrap_or(&[])
        .iter()
        .filter_map(
            |a| if let Aggregate::Distinct(field) = a { Some(spaces(definition, field)) } else { None },
        )
        .collect();
    let exported = grouping.export(accumulators.counts());
    let count = |group: &u32| accumulators.counts().get(*group as usize).copied().unwrap_or(0);
    Cells {
        counts: exported.groups.iter().map(count).collect(),
        states: accumulators.export(&exported.groups, &spaces, by_tenant),
        keys: exported.keys,
        ends: exported.ends,
        slots: exported.slots,
    }
}

/// Whether cells are within what a blob may hold.
pub(super) fn fits(cells: &Cells) -> bool {
    let key = |key: &KeyColumn| match key {
        KeyColumn::Codes(_) => true,
        KeyColumn::Values { values, .. } => values.iter().all(|value| match value {
            KeyValue::Str(text) => text.len() <= KEY_TEXT_BYTES_MAX,
            _ => true,
        }),
    };
    let state = |state: &StateColumn| match state {
        StateColumn::Distinct(lists) => {
            lists.iter().all(|l| l.values() <= VALUES_MAX && l.len() <= VALUES_MAX)
        }
        StateColumn::Histogram(list) => list.buckets() <= VALUES_MAX,
        _ => true,
    };
    cells.len() <= CELLS_MAX
        && to_decode(cells) <= MEMORY_BYTES_MAX
        && cells.keys.iter().all(key)
        && cells.states.iter().all(state)
}
