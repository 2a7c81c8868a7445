//! The cell files of a segment: which cells are kept, and their writing.

use std::cmp::Reverse;
use std::sync::Arc;

use super::build::{Builder, CellsOf, Family, Fold, RunCells, finer, fits};
use super::cell_file::{ALL_TENANTS, CellScope, CellWriter, DAY_MAX};
use super::cells_format::{Layout, encode};
use super::definition::{Kept, RollupDefinition, Rollups};
use super::tier::Tier;
use crate::codes::{Codes, Tenants};
use crate::disk::Disk;
use crate::error::Result;
use crate::id::{FileId, Stream, TenantNo};
use crate::manifest::FileMeta;
use crate::part::{Part, Run};
use crate::probes::encode_mark;
use crate::query::{
    Fields, PROBES, ProbeCellBuilder, SESSIONS, SESSIONS_OF_APPS, SessionCellBuilder, SessionClasses,
    SessionRequest, absorb,
};
use crate::schema::stream::TIME;
use crate::session::day::DayCells;

/// Rows from which on a run has cells: rows of fewer are read as fast.
pub const RUN_ROWS_MIN: u64 = 256;

/// Runs of fewer rows that are folded into the cells of all tenants at once.
const SMALL_RUNS_MAX: usize = 1024;

/// What cells of all tenants may take however few the rows are: four blocks of a file system a day.
const ALL_BYTES_MIN: u64 = 16 * 1024;

/// The share of the rows' bytes that cells may take, in percent.
const fn percent_max(stream: Stream) -> u64 {
    match stream {
        // A row of an event is three to five times as long as a point of a metric.
        Stream::Events | Stream::Audit => 30,
        Stream::Metrics => 75,
    }
}

/// What of [`percent_max`] is for the cells of all tenants together, where rows are of several. A byte of
/// theirs saves the rows of all of them.
const fn percent_of_all(stream: Stream) -> u64 {
    match stream {
        Stream::Events | Stream::Audit => 18,
        // Metrics have few names, and applications are not told apart; but histograms of all are wide.
        Stream::Metrics => 25,
    }
}

/// In which order cells of a tier are kept while there is room for them: the most asked for first.
const fn rank(definition: u8, priority: u8) -> u8 {
    match definition {
        SESSIONS | PROBES => 0,
        // Beside the numbers of applications, before their lists.
        SESSIONS_OF_APPS => 5,
        _ => priority.saturating_add(1),
    }
}

/// What cells are made of.
#[derive(Debug)]
pub struct CellSource<'a> {
    /// The rows: a segment whose rows of the stream are of one UTC day.
    pub part: Arc<dyn Part>,
    /// Its number.
    pub segment: FileId,
    /// The stream.
    pub stream: Stream,
    /// The dictionary of its codes.
    pub codes: Arc<dyn Codes>,
    /// The tenants.
    pub tenants: Arc<dyn Tenants>,
    /// The definitions.
    pub rollups: &'a Arc<Rollups>,
    /// How events are told apart for the cells of sessions; none without.
    pub sessions: Option<&'a SessionClasses>,
    /// Whether cells outlive the rows: all of them are kept then, however many there are.
    pub must_keep: bool,
}

/// Writes and syncs the cell files of a segment, one a tier; none for a tier without cells.
///
/// # Errors
///
/// Those of the rows and of the disk; files may be left for the sweep.
pub fn write_cells(
    disk: &dyn Disk,
    source: &CellSource<'_>,
    allocate: &dyn Fn() -> FileId,
) -> Result<Vec<FileMeta>> {
    let stream = source.stream;
    let Some((min, max)) = source.part.bounds(stream) else { return Ok(Vec::new()) };
    let day = min.day();
    // Probes of metrics need no definition, sessions of events another one.
    let nothing = source.rollups.of(stream).next().is_none() && stream == Stream::Audit;
    if nothing || day != max.day() || !(-DAY_MAX..=DAY_MAX).contains(&day) {
        return Ok(Vec::new());
    }
    let (codes, tenants) = (Arc::clone(&source.codes), Arc::clone(&source.tenants));
    let of = (stream, day, source.must_keep);
    let builder = Builder::new(Arc::clone(&source.part), of, source.rollups, codes, tenants)?;
    let mut files = Files { disk, source, day, allocate, writers: [None, None, None] };
    let mut all = AllTenants::new(&builder, source)?;
    let request = source.sessions.map(SessionCellBuilder::request);
    let mut others = Others::new(&builder, stream, request.as_ref())?;
    let mut left = source.part.bytes_of(stream) / 100 * percent_max(stream);
    source.each_run(&mut all, |turn| {
        let kept = match turn {
            Turn::Whole(run, cells) => {
                let budget = source.budget(run.rows.end.saturating_sub(run.rows.start));
                files.keep(run.tenant, &cells.families, others.run(run, false)?, budget)?
            }
            Turn::Small(run) => files.keep(run.tenant, &[], others.run(run, true)?, 0)?,
            Turn::Split => {
                others.give_up();
                0
            }
        };
        left = left.saturating_sub(kept);
        Ok(())
    })?;
    let all = all.finish(source)?;
    files.keep(ALL_TENANTS, &all, others.finish(day), left.max(ALL_BYTES_MIN))?;
    files.finish()
}

/// A tenant's rows of a day, on their way into cells.
pub(super) enum Turn<'r> {
    /// A run, and the cells of its own that it may keep.
    Whole(&'r Run, RunCells),
    /// A run of so few rows that it keeps none.
    Small(&'r Run),
    /// Several runs: cells of a part of a tenant's rows would pass for all.
    Split,
}

impl<'s> CellSource<'s> {
    /// Goes over all tenants in their order, folds each into `all`, and calls with what there is of each.
    ///
    /// # Errors
    ///
    /// Those of the rows, and of `each`.
    pub(super) fn each_run(
        &self,
        all: &mut AllTenants<'s>,
        mut each: impl FnMut(Turn<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut small: Vec<Run> = Vec::new();
        for runs in self.part.runs(self.stream).chunk_by(|a, b| a.tenant == b.tenant) {
            let [run] = runs else {
                all.give_up();
                each(Turn::Split)?;
                continue;
            };
            if run.rows.end.saturating_sub(run.rows.start) >= RUN_ROWS_MIN || self.must_keep {
                let cells = all.builder.run(run)?;
                all.add(run.tenant, &cells)?;
                each(Turn::Whole(run, cells))?;
                continue;
            }
            small.push(run.clone());
            if small.len() == SMALL_RUNS_MAX {
                all.add_rows(&std::mem::take(&mut small))?;
            }
            each(Turn::Small(run))?;
        }
        all.add_rows(&small)
    }

    /// Bytes that the cells of a run may take; what is left is for those of all tenants.
    fn budget(&self, rows: u64) -> u64 {
        let of_part = self.part.rows(self.stream).max(1);
        let bytes = u128::from(self.part.bytes_of(self.stream)) * u128::from(rows) / u128::from(of_part);
        let listed = self.rollups.of(self.stream).any(|(definition, _)| definition.numbers_tenants());
        let all = if rows == of_part && !listed { 0 } else { percent_of_all(self.stream) };
        let percent = percent_max(self.stream) - all;
        u64::try_from(bytes).unwrap_or(u64::MAX) / 100 * percent
    }
}

/// The files that are being written, by tier.
struct Files<'a> {
    disk: &'a dyn Disk,
    source: &'a CellSource<'a>,
    day: i32,
    allocate: &'a dyn Fn() -> FileId,
    writers: [Option<CellWriter>; 3],
}

impl Files<'_> {
    /// Writes the cells of a tenant that are within their budget, and tells their bytes.
    fn keep(&mut self, tenant: TenantNo, families: &[Family], others: Vec<Blob>, budget: u64) -> Result<u64> {
        let source = self.source;
        let definitions: Vec<_> = source.rollups.of(source.stream).map(|(d, _)| d).collect();
        let mut blobs: Vec<(u8, Blob)> = others.into_iter().map(|blob| (rank(blob.0, 0), blob)).collect();
        for family in families {
            let Some(definition) = definitions.get(family.definition).copied() else { continue };
            if definition.kept == Kept::Together && tenant != ALL_TENANTS {
                continue;
            }
            let blob = encode(&family.cells, Layout { definition, tier: family.tier, day: self.day });
            blobs.push((rank(definition.id, definition.priority), (definition.id, family.tier, blob)));
        }
        // The coarse tiers first: they save the most rows for a byte.
        blobs.sort_by_key(|(rank, (id, tier, _))| (Reverse(*tier), *rank, *id));
        let mut bytes = 0;
        blobs.retain(|(_, (id, _, blob))| {
            let with = bytes + blob.len() as u64;
            // Probes are few bytes, and that there are none is only known where all of them are kept.
            let fits = with <= budget || *id == PROBES || source.must_keep;
            bytes = if fits { with } else { bytes };
            fits
        });
        blobs.sort_by_key(|(_, (id, ..))| *id);
        blobs.into_iter().try_for_each(|(_, (id, tier, blob))| self.push(tenant, id, tier, &blob))?;
        Ok(bytes)
    }

    fn push(&mut self, tenant: TenantNo, definition: u8, tier: Tier, blob: &[u8]) -> Result<()> {
        let Some(slot) = self.writers.get_mut(tier as usize) else { return Ok(()) };
        if slot.is_none() {
            let scope = CellScope { stream: self.source.stream, day: self.day, tier };
            let (id, segment) = ((self.allocate)(), self.source.segment);
            *slot = Some(CellWriter::create(self.disk, id, segment, scope, self.source.rollups)?);
        }
        slot.as_mut().map_or(Ok(()), |writer| writer.push(tenant, definition, blob))
    }

    fn finish(self) -> Result<Vec<FileMeta>> {
        self.writers.into_iter().flatten().map(|writer| writer.finish(self.disk)).collect()
    }
}

/// Definition, tier and bytes of some cells.
type Blob = (u8, Tier, Vec<u8>);

/// Cells that are no rollups: sessions of events, probes of metrics.
struct Others<'b> {
    sessions: Option<SessionCellBuilder<'b>>,
    probes: Option<ProbeCellBuilder<'b>>,
    /// The sessions of all tenants; none when a tenant's are missing.
    all: Option<DayCells>,
    has_probes: bool,
    whole: bool,
    tenants: usize,
}

impl<'b> Others<'b> {
    fn new(builder: &'b Builder, stream: Stream, request: Option<&'b SessionRequest>) -> Result<Self> {
        let snapshot = builder.snapshot();
        let request = request.filter(|_| stream == Stream::Events);
        let sessions = request.map(|request| SessionCellBuilder::new(snapshot, request)).transpose()?;
        let probes = if stream == Stream::Metrics { Some(ProbeCellBuilder::new(snapshot)?) } else { None };
        Ok(Self { sessions, probes, all: None, has_probes: false, whole: true, tenants: 0 })
    }

    fn give_up(&mut self) {
        self.whole = false;
    }

    /// Reads a run, and tells what is kept of it: of a `small` one probes alone.
    fn run(&mut self, run: &Run, small: bool) -> Result<Vec<Blob>> {
        let mut out = Vec::new();
        self.tenants += 1;
        if let Some(sessions) = &mut self.sessions {
            let cells = sessions.run(run)?;
            if !small {
                out.extend(cells.iter().map(|cells| (SESSIONS, cells.tier, cells.encode())));
                out.extend(sessions.app_blobs(run));
            }
            absorb(&mut self.all, cells)?;
        }
        if let Some(probes) = &mut self.probes {
            let blob = probes.run(run)?;
            self.has_probes |= blob.is_some();
            out.extend(blob.map(|blob| (PROBES, Tier::Day, blob)));
        }
        Ok(out)
    }

    fn finish(self, day: i32) -> Vec<Blob> {
        if !self.whole {
            return Vec::new();
        }
        let all = self.all.filter(|_| self.tenants > 1);
        let sessions = all.iter().flatten().map(|cells| (SESSIONS, cells.tier, cells.encode()));
        let probes = self.probes.map(|_| (PROBES, Tier::Day, encode_mark(day, self.has_probes)));
        sessions.chain(probes).collect()
    }
}

/// The cells of all tenants of a segment together: those of every run, also of runs that keep none of
/// their own. A definition that a run has no cells for, or whose cells become too large, has none.
pub(super) struct AllTenants<'b> {
    builder: &'b Builder,
    folds: Vec<AllFold<'b>>,
    /// What rows are read by, and the leaf of their times.
    fields: Fields,
    time: usize,
    tenants: usize,
}

/// One definition at a tier that no finer one holds.
struct AllFold<'b> {
    place: usize,
    tier: Tier,
    fold: Fold<'b>,
    /// It became too large.
    given_up: bool,
}

/// Whether the cells of all tenants at a tier are folded from those of a finer one.
fn is_folded_from(definition: &RollupDefinition, at: usize) -> Option<Tier> {
    finer(definition, at).filter(|_| !definition.numbers_tenants())
}

impl<'b> AllTenants<'b> {
    pub(super) fn new(builder: &'b Builder, source: &'b CellSource<'b>) -> Result<Self> {
        let mut fields = Fields::new(source.stream);
        let time = fields.column(&TIME)?;
        let mut folds = Vec::new();
        for (place, (definition, _)) in source.rollups.of(source.stream).enumerate() {
            let listed = definition.numbers_tenants();
            if (definition.tells_tenants_apart() && !listed) || !builder.makes(definition) {
                continue;
            }
            for (at, kept) in definition.tiers.iter().enumerate() {
                if is_folded_from(definition, at).is_some() {
                    continue;
                }
                let of = if listed { CellsOf::Listed } else { CellsOf::Together };
                let fold = builder.fold(definition, kept.tier, of, &mut fields)?;
                folds.push(AllFold { place, tier: kept.tier, fold, given_up: false });
            }
        }
        Ok(Self { builder, folds, fields, time, tenants: 0 })
    }

    /// A run without cells: there are none of all tenants.
    fn give_up(&mut self) {
        self.folds.clear();
    }

    /// Adds the rows of some runs that keep no cells of their own.
    fn add_rows(&mut self, runs: &[Run]) -> Result<()> {
        self.tenants += runs.len();
        let (folds, time, mut list) = (&mut self.folds, self.time, Vec::new());
        self.builder.slices(&self.fields, runs, |granule, slice| {
            for all in folds.iter_mut().filter(|all| !all.given_up) {
                all.fold.add_rows(granule, slice, time, &mut list)?;
                all.given_up = all.fold.is_too_large();
            }
            Ok(())
        })?;
        self.folds.retain(|all| !all.given_up);
        Ok(())
    }

    /// Adds the cells of a run.
    fn add(&mut self, tenant: TenantNo, run: &RunCells) -> Result<()> {
        self.tenants += 1;
        let of_run =
            |all: &AllFold<'_>| run.families.iter().find(|f| f.definition == all.place && f.tier == all.tier);
        // Cells that became too large for one tenant are there for none.
        self.folds.retain(|all| of_run(all).is_some());
        for all in &mut self.folds {
            if let Some(family) = of_run(all) {
                all.fold.add(tenant, &family.cells, all.tier)?;
            }
        }
        self.folds.retain(|all| !all.fold.is_too_large());
        Ok(())
    }

    /// The cells at every tier. Of one tenant there are none that would be the same as its own.
    pub(super) fn finish(self, source: &CellSource<'_>) -> Result<Vec<Family>> {
        let several = self.tenants > 1;
        let mut families: Vec<Family> = Vec::new();
        for AllFold { place, tier, fold, .. } in self.folds {
            if several || fold.cells_of() == CellsOf::Listed {
                families.push(Family { definition: place, tier, cells: fold.finish() });
            }
        }
        for (place, (definition, _)) in source.rollups.of(source.stream).enumerate() {
            for (at, kept) in definition.tiers.iter().enumerate() {
                let Some(from) = is_folded_from(definition, at) else { continue };
                let Some(family) = families.iter().find(|f| f.definition == place && f.tier == from) else {
                    continue;
                };
                let fields = &mut Fields::new(source.stream);
                let mut fold = self.builder.fold(definition, kept.tier, CellsOf::Together, fields)?;
                fold.add(ALL_TENANTS, &family.cells, from)?;
                families.push(Family { definition: place, tier: kept.tier, cells: fold.finish() });
            }
        }
        families.retain(|family| fits(&family.cells));
        Ok(families)
    }
}
