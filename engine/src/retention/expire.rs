//! Which segments and files of cells have expired, and their removal by one edit of the manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::codes::Tenants;
use crate::compaction::pace::Pace;
use crate::compaction::rewrite::KeepAll;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::id::{FileId, Stream, TenantNo};
use crate::manifest::{Edit, FileKind, FileMeta, Version};
use crate::part::{Part, Run};
use crate::query::Hidden;
use crate::rollup::{CellFile, Kept, Remains, Rollups, Tier};
use crate::sequencer::plan::Prepared;
use crate::tables::{LiveSegment, Publication, Tables};
use crate::time::{DAY_US, TimestampUs};

/// Records of hashes of expired leaves that one frame has.
const COVERS_MAX: usize = 1_000;

/// Most tenants and streams whose rows a report names: those with the most rows.
const SHARES_MAX: usize = 100;

/// Rows of one tenant and stream that have expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredRows {
    /// Whose rows; the tenant's number when the tenant itself is gone.
    pub tenant: String,
    /// Of which stream.
    pub stream: Stream,
    /// How many.
    pub rows: u64,
    /// Their part of the bytes of their files, by rows.
    pub bytes: u64,
}

/// A segment or a file of cells that has expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredFile {
    /// The file, relative to the data directory.
    pub path: PathBuf,
    /// Its UTC day, where it has one.
    pub day: Option<i32>,
    /// Its rows; cells have none.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
}

impl ExpiredFile {
    fn of(meta: &Arc<FileMeta>) -> Self {
        let rows = if meta.kind == FileKind::Segment { meta.rows() } else { 0 };
        Self { path: meta.path(), day: meta.day, rows, bytes: meta.bytes }
    }
}

/// Rows by tenant and stream, and their part of the bytes of their files.
#[derive(Debug, Default)]
struct Shares(BTreeMap<(TenantNo, Stream), (u64, u64)>);

impl Shares {
    /// Those of the segments among `gone`.
    fn of(core: &Core, gone: &[Arc<FileMeta>]) -> Self {
        let gone: BTreeSet<FileId> =
            gone.iter().filter(|meta| meta.kind == FileKind::Segment).map(|meta| meta.id).collect();
        let mut out = Self::default();
        for segment in core.tables.segments().iter().filter(|segment| gone.contains(&segment.meta.id)) {
            out.add(segment);
        }
        out
    }

    fn add(&mut self, segment: &LiveSegment) {
        for stream in Stream::ALL {
            for run in segment.runs(stream) {
                let rows_of_run = run.rows.end.saturating_sub(run.rows.start);
                let (rows, bytes) = self.0.entry((run.tenant, stream)).or_default();
                *rows += rows_of_run;
                *bytes += part(segment.meta.bytes, rows_of_run, segment.meta.rows());
            }
        }
    }

    /// The largest by name, and how many others there are.
    fn named(self, core: &Core) -> (Vec<ExpiredRows>, usize) {
        let mut largest: Vec<_> = self.0.into_iter().collect();
        // Stable: of equal shares the numbers decide.
        largest.sort_by_key(|(_, (rows, _))| std::cmp::Reverse(*rows));
        let omitted = largest.len().saturating_sub(SHARES_MAX);
        largest.truncate(SHARES_MAX);
        let name = |tenant: TenantNo| {
            core.catalog.name_of(tenant).map_or_else(|| tenant.0.to_string(), |name| name.to_string())
        };
        let named = largest.into_iter().map(|((tenant, stream), (rows, bytes))| ExpiredRows {
            tenant: name(tenant),
            stream,
            rows,
            bytes,
        });
        (named.collect(), omitted)
    }
}

/// `bytes * rows / all`, rounded down.
fn part(bytes: u64, rows: u64, all: u64) -> u64 {
    let product = u128::from(bytes) * u128::from(rows);
    u64::try_from(product.checked_div(u128::from(all)).unwrap_or(0)).unwrap_or(u64::MAX)
}

/// What retention removed, or would remove.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionReport {
    /// The files.
    pub files: Vec<ExpiredFile>,
    /// Their rows by tenant and stream, the most first; at most 100.
    pub shares: Vec<ExpiredRows>,
    /// How many tenants and streams `shares` does not name.
    pub shares_omitted: usize,
    /// Nothing newer expires for now, because the clock jumped ahead.
    pub is_held: bool,
}

impl RetentionReport {
    /// Rows of all files.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Whether all rows of runs are past what their tenants keep.
///
/// The exact limit of each tenant is asked, whatever the class of the file is: a file whose class is out
/// of date keeps too long, never too short.
fn has_expired(hidden: &Hidden, stream: Stream, runs: &[Run]) -> bool {
    let is_past =
        |run: &Run| hidden.is_retired(run.tenant) || run.max_time < hidden.kept_since(run.tenant, stream);
    runs.iter().all(is_past)
}

/// Whether cells of a tenant's day are still shown at some tier.
fn keeps_cells(hidden: &Hidden, tiers: &[Tier], stream: Stream, tenant: TenantNo, day: i32) -> bool {
    let start = TimestampUs(i64::from(day).saturating_mul(DAY_US));
    !hidden.is_retired(tenant)
        && tiers.iter().any(|tier| hidden.cells_kept_since(tenant, stream, *tier) <= start)
}

/// What expires at one moment, and what takes its place.
#[derive(Debug, Default)]
struct Expiry {
    /// Files that go.
    gone: Vec<Arc<FileMeta>>,
    /// Cell files that stay when their segment goes, as the manifest describes them from now on.
    described: Vec<FileMeta>,
    /// What readers see from now on.
    publication: Publication,
}

impl Expiry {
    fn plan(hidden: &Hidden, tables: &Tables, version: &Version, waiting: &BTreeSet<FileId>) -> Result<Self> {
        let mut out = Self::default();
        for segment in tables.segments().into_iter().filter(|s| !waiting.contains(&s.meta.id)) {
            out.segment(hidden, version, &segment)?;
        }
        for remains in tables.remains() {
            out.remains(hidden, &remains)?;
        }
        Ok(out)
    }

    /// A segment goes when all its rows have expired; its cells stay for as long as somebody keeps them.
    fn segment(&mut self, hidden: &Hidden, version: &Version, segment: &Arc<LiveSegment>) -> Result<()> {
        let id = segment.meta.id;
        let (kept, passed) = sort(hidden, segment.as_ref());
        if is_past(hidden, segment) {
            // Those that could not be opened go too.
            let goes = |f: &&Arc<FileMeta>| {
                f.of.is_some_and(|of| of.segment == id) && kept.iter().all(|kept| kept.meta().id != f.id)
            };
            self.gone.push(Arc::clone(&segment.meta));
            self.gone.extend(version.files_of(FileKind::Cells).filter(goes).cloned());
            let describe = |file: &Arc<CellFile>| FileMeta {
                streams: segment.meta.streams.clone(),
                lsn_max: segment.meta.lsn_max,
                ..FileMeta::clone(file.meta())
            };
            self.described.extend(kept.iter().map(describe));
            let remains = Remains::of_segment(&segment.meta, kept)?;
            self.publication.removed.push(id);
            self.publication.remains.extend(remains.map(Arc::new));
        } else if !passed.is_empty() {
            let (meta, reader) = (Arc::clone(&segment.meta), Arc::clone(&segment.reader));
            self.publication.removed.push(id);
            self.publication.added.push(Arc::new(LiveSegment { meta, reader, cells: kept }));
            self.gone.extend(passed);
        }
        Ok(())
    }

    /// Of what is left of a segment each tier goes when nobody keeps it any more.
    fn remains(&mut self, hidden: &Hidden, remains: &Remains) -> Result<()> {
        let (kept, passed) = sort(hidden, remains);
        if !passed.is_empty() {
            self.publication.removed.push(remains.segment);
            self.publication.remains.extend(remains.with(kept)?.map(Arc::new));
            self.gone.extend(passed);
        }
        Ok(())
    }

    /// Makes it so: by one edit, then for readers, then the files are removed.
    fn commit(self, core: &Core) -> Result<()> {
        if self.gone.is_empty() {
            return Ok(());
        }
        // Before the rows go: what stands for them where records beside them are to be proven.
        let going: Vec<Arc<LiveSegment>> = core.tables.segments();
        let going: Vec<_> =
            going.into_iter().filter(|s| self.gone.iter().any(|file| file.id == s.meta.id)).collect();
        for some in core.cover_of(&going)?.chunks(COVERS_MAX) {
            core.append_own(Prepared::own(some.to_vec())?)?;
        }
        let remove = self.gone.iter().map(|file| file.id).collect();
        core.manifest.commit(Edit { add: self.described, remove, ..Edit::default() })?;
        core.tables.publish(self.publication);
        for file in self.gone {
            // Questions that began before have it open. What cannot be removed now is swept at the next start.
            drop(core.disk.remove(&file.path()));
        }
        Ok(())
    }
}

/// The cell files of a part of which somebody keeps the tier, and those that all have let go.
fn sort(hidden: &Hidden, part: &dyn Part) -> (Vec<Arc<CellFile>>, Vec<Arc<FileMeta>>) {
    let is_kept = |file: &&Arc<CellFile>| {
        let tier = &[file.tier()];
        let runs = part.runs(file.stream());
        runs.iter().any(|run| keeps_cells(hidden, tier, file.stream(), run.tenant, file.day()))
    };
    let (kept, passed): (Vec<_>, Vec<_>) = part.cells().iter().partition(is_kept);
    (kept.into_iter().cloned().collect(), passed.into_iter().map(|file| Arc::clone(file.meta())).collect())
}

/// Whether all rows of a segment have expired.
fn is_past(hidden: &Hidden, segment: &LiveSegment) -> bool {
    Stream::ALL.into_iter().all(|of| has_expired(hidden, of, segment.runs(of)))
}

/// Whether the cells of a segment are all that can be made of its rows, as far as anybody keeps them: they may be
/// of a time when they were not to outlive the rows. Nobody is in the cells of all tenants alone, where an
/// erasure would not look for them.
fn stand_for(hidden: &Hidden, rollups: &Rollups, segment: &LiveSegment) -> Result<bool> {
    let mut there = BTreeSet::new();
    for file in &segment.cells {
        there.extend(file.made()?.into_iter().map(|(tenant, id)| (tenant, file.tier(), id)));
    }
    let has_some =
        |tenant: TenantNo| there.range((tenant, Tier::Quarter, 0)..).next().is_some_and(|t| t.0 == tenant);
    Ok(Stream::ALL.into_iter().all(|of| {
        let runs = segment.runs(of);
        let shown =
            |run: &Run, tiers: &[Tier]| keeps_cells(hidden, tiers, of, run.tenant, run.min_time.day());
        if !runs.iter().any(|run| shown(run, &Tier::ALL)) {
            // Nothing stays.
            return true;
        }
        let own = rollups.of(of).map(|(definition, _)| definition).filter(|d| d.kept != Kept::Together);
        let wanted: Vec<(Tier, u8)> =
            own.flat_map(|d| d.tiers.iter().map(|kept| (kept.tier, d.id))).collect();
        runs.iter().all(|run| {
            let is_there =
                |(tier, id): &(Tier, u8)| !shown(run, &[*tier]) || there.contains(&(run.tenant, *tier, *id));
            has_some(run.tenant) && wanted.iter().all(is_there)
        })
    }))
}

/// Makes the cells that are to stay where the rows of a segment have expired and some are missing: of a run of a
/// few rows, or beyond their share of the bytes, as long as rows were kept as long. Each segment is
/// written anew once; one that has no cells then, or cannot be read, goes without. Answers which must wait.
fn give_cells(core: &Core, hidden: &Hidden) -> Result<(BTreeSet<FileId>, Option<Error>)> {
    let wants = |segment: &LiveSegment| {
        let may =
            Stream::ALL.into_iter().any(|of| !segment.runs(of).is_empty() && core.cells.has_cells_of(of));
        // Entries that cannot be read are made anew.
        may && is_past(hidden, segment) && !stand_for(hidden, core.cells.rollups(), segment).unwrap_or(false)
    };
    let mut wanted: BTreeSet<FileId> =
        core.tables.segments().iter().filter(|s| wants(s)).map(|s| s.meta.id).collect();
    let pace = if core.is_stepped { Pace::free() } else { Pace::steady(core) };
    let rewrites = core.compactor.rewrite_all(core, &KeepAll, &pace, &mut |version, _| {
        // Each is tried once; one that was merged meanwhile has got its cells there.
        while let Some(id) = wanted.first().copied() {
            if let Some(meta) = version.get(id) {
                let (free, reserve) = (core.disk.free_bytes()?, core.config.disk_reserve_bytes);
                if free < meta.bytes.saturating_add(reserve) {
                    return Err(Error::DiskFull { free, reserve });
                }
                wanted.remove(&id);
                return Ok(Some(Arc::clone(meta)));
            }
            wanted.remove(&id);
        }
        Ok(None)
    });
    match rewrites {
        Ok(rewrites) => {
            for (id, error) in rewrites.failed {
                let path = FileKind::Segment.path(id);
                core.cells.note(format!("{}: went without all of its cells: {error}", path.display()));
            }
            Ok((BTreeSet::new(), None))
        }
        Err(error @ (Error::Closed | Error::Poisoned)) => Err(error),
        Err(error) => Ok((wanted, Some(error))),
    }
}

/// Removes what has expired; with `dry_run` it only says what that is.
///
/// # Errors
///
/// Those of the manifest's commit; damage and I/O of the entries of cell files; a full disk, where cells were
/// to be made first: what needs none has gone.
pub(crate) fn enforce(core: &Core, dry_run: bool) -> Result<RetentionReport> {
    let hidden = core.hidden();
    let (waiting, failed) = if dry_run { Default::default() } else { give_cells(core, &hidden)? };
    let (files, shares) = core.compactor.alone(|| {
        let expiry = Expiry::plan(&hidden, &core.tables, &core.manifest.version(), &waiting)?;
        let files = expiry.gone.iter().map(ExpiredFile::of).collect();
        let shares = Shares::of(core, &expiry.gone);
        if !dry_run {
            expiry.commit(core)?;
        }
        Ok::<_, Error>((files, shares))
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let (shares, shares_omitted) = shares.named(core);
    let is_held = core.trusted_clock.is_held(core.clock.as_ref());
    Ok(RetentionReport { files, shares, shares_omitted, is_held })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::part;

    use crate::catalog::{RetentionDocument, StreamRetention};
    use crate::disk::sim::CrashPolicy;
    use crate::erasure::testing::*;
    use crate::id::Stream;
    use crate::query::Scope;
    use crate::time::DAY_US;

    fn raw(days: u32) -> RetentionDocument {
        let events = StreamRetention { raw_days: Some(days), ..StreamRetention::FOREVER };
        RetentionDocument { events, ..RetentionDocument::default() }
    }

    fn day(back: i64) -> i64 {
        NOW.0 - back * DAY_US
    }

    /// Events of five days back to today, one a day and tenant, in a segment each.
    fn filled(store: &Store) {
        for back in (0..5).rev() {
            store.append(batch("acme", Stream::Events, &[(day(back), "ann")]));
            store.append(batch("beta", Stream::Events, &[(day(back), "bob")]));
            store.flush();
        }
    }

    #[test]
    fn rows_past_a_tenants_limit_are_hidden_and_files_go_when_all_of_it_is_past() {
        let store = Store::new();
        filled(&store);
        store.engine.set_retention(&tenant("acme"), Some(raw(2))).unwrap();
        assert_eq!(store.count(one("acme"), Stream::Events), 3, "two days and today");
        assert_eq!(store.count(one("beta"), Stream::Events), 5);
        assert_eq!(store.count(Scope::All, Stream::Events), 8);
        assert_eq!(store.rows(one("acme"), Stream::Events)[0].rows(), 3);
        assert_eq!(store.engine.usage(&tenant("acme"), Stream::Events).unwrap().rows, 3);
        assert!(store.engine.enforce_retention(true).unwrap().files.is_empty(), "beta keeps them");
        store.engine.set_retention(&tenant("beta"), Some(raw(3))).unwrap();
        let dry = store.engine.enforce_retention(true).unwrap();
        assert_eq!((dry.files.len(), dry.rows()), (1, 2));
        let shares: Vec<_> = dry.shares.iter().map(|s| (s.tenant.as_str(), s.stream, s.rows)).collect();
        assert_eq!(shares, [("acme", Stream::Events, 1), ("beta", Stream::Events, 1)]);
        assert_eq!((part(u64::MAX, 2, 2), part(5, 1, 0), part(7_800, 12, 78)), (u64::MAX, 0, 1_200));
        assert_eq!(store.engine.stats().segments, 5, "a dry run removes nothing");
        assert_eq!(store.engine.enforce_retention(false).unwrap(), dry);
        assert_eq!(store.engine.stats().segments, 4);
        assert!(!store.disk.paths().contains(&dry.files[0].path));
        store.engine.set_retention(&tenant("acme"), None).unwrap();
        assert_eq!(store.count(one("acme"), Stream::Events), 4, "what was hidden and not removed is back");
        let store = store.reopened();
        assert_eq!(store.count(one("beta"), Stream::Events), 4);
    }

    #[test]
    fn the_default_counts_for_tenants_without_a_document() {
        let store = Store::with(|config| config.retention = raw(1));
        filled(&store);
        store.engine.set_retention(&tenant("beta"), Some(RetentionDocument::default())).unwrap();
        assert_eq!(store.count(one("acme"), Stream::Events), 2);
        assert_eq!(store.count(one("beta"), Stream::Events), 5);
        let since = store.engine.kept_since(&tenant("nobody"), Stream::Events);
        assert_eq!(since.0, 999 * DAY_US);
    }

    #[test]
    fn a_clock_that_jumped_ahead_removes_nothing_for_a_day() {
        let store = Store::with(|config| config.retention = raw(2));
        store.append(batch("acme", Stream::Events, &[(NOW.0, "ann")]));
        store.flush();
        store.clock.set(crate::time::TimestampUs(NOW.0 + 400 * DAY_US));
        let report = store.engine.enforce_retention(false).unwrap();
        assert!(report.is_held && report.files.is_empty());
        assert!(store.engine.stats().retention_is_held);
        assert!(store.engine.health().findings.iter().any(|f| f.contains("clock")));
        assert_eq!(store.count(one("acme"), Stream::Events), 1);
        let store = store.reopened();
        assert!(store.engine.enforce_retention(false).unwrap().is_held, "a restart does not end the wait");
        store.clock.advance(Duration::from_hours(24));
        assert_eq!(store.engine.enforce_retention(false).unwrap().rows(), 1);
    }

    #[test]
    fn a_crash_removes_a_file_or_does_not() {
        let store = Store::with(|config| config.retention = raw(2));
        filled(&store);
        let image = store.disk.crash(CrashPolicy::KeepAll, 0);
        let ops = {
            let copy =
                Store::open(image.crash(CrashPolicy::KeepAll, 0), store.clock.clone(), store.config.clone());
            let copy = copy.unwrap();
            let before = copy.disk.op_count();
            assert_eq!(copy.engine.enforce_retention(false).unwrap().files.len(), 2);
            before..copy.disk.op_count()
        };
        assert!(!ops.is_empty());
        for (op, policy) in ops.flat_map(|op| CrashPolicy::ALL.map(|policy| (op, policy))) {
            let disk = image.crash(CrashPolicy::KeepAll, 0);
            let copy = Store::open(disk, store.clock.clone(), store.config.clone()).unwrap();
            copy.disk.crash_at(op);
            drop(copy.engine.enforce_retention(false));
            let disk = copy.disk.crash(policy, op);
            drop(copy.engine);
            let copy = Store::open(disk, store.clock.clone(), store.config.clone()).unwrap();
            assert_eq!(copy.count(Scope::All, Stream::Events), 6);
            copy.engine.enforce_retention(false).unwrap();
            assert_eq!(copy.engine.stats().segments, 3, "{op} {policy:?}");
            assert_eq!(copy.count(Scope::All, Stream::Events), 6);
        }
    }

    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        /// A row is kept while its day is no more than the limit before the present day, whatever is unlinked.
        #[test]
        fn rows_kept_are_those_of_a_naive_filter(
            limits in prop::collection::vec(prop::option::of(1_u32..8), 2),
            rows in prop::collection::vec((0_usize..2, 0_i64..9, 0..DAY_US), 1..30),
            flush_each in 1_usize..6,
        ) {
            let store = Store::new();
            let names = ["acme", "beta"];
            for (n, (whose, back, us)) in rows.iter().enumerate() {
                let at = (1_000 - back) * DAY_US + us;
                store.append(batch(names[*whose], Stream::Events, &[(at, "ann")]));
                if n % flush_each == 0 {
                    store.flush();
                }
            }
            store.flush();
            let mut all = 0;
            let mut expected = [0, 0];
            for (n, (name, days)) in names.iter().zip(&limits).enumerate() {
                if !rows.iter().any(|(whose, ..)| *whose == n) {
                    continue;
                }
                let days = *days;
                let events = StreamRetention { raw_days: days, ..StreamRetention::FOREVER };
                let document = RetentionDocument { events, ..RetentionDocument::default() };
                store.engine.set_retention(&tenant(name), Some(document)).unwrap();
                let is_kept = |back: i64| days.is_none_or(|days| back <= i64::from(days));
                let own = rows.iter().filter(|(whose, back, _)| *whose == n && is_kept(*back)).count();
                expected[n] = own as u64;
                all += own as u64;
            }
            let check = |context: &str| {
                for (name, expected) in names.iter().zip(expected) {
                    prop_assert_eq!(store.count(one(name), Stream::Events), expected, "{} {}", name, context);
                }
                prop_assert_eq!(store.count(Scope::All, Stream::Events), all, "{}", context);
                Ok(())
            };
            check("hidden")?;
            let gone = store.engine.enforce_retention(false).unwrap().rows();
            prop_assert!(gone <= rows.len() as u64 - all);
            check("unlinked")?;
            store.engine.compact(crate::compaction::Effort::Full).unwrap();
            store.engine.enforce_retention(false).unwrap();
            check("merged")?;
        }
    }
}
