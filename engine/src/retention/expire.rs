//! Which segments have expired as a whole, and their removal by one edit of the manifest.

use std::path::PathBuf;
use std::sync::Arc;

use crate::core::Core;
use crate::error::Result;
use crate::id::{Stream, TenantNo};
use crate::manifest::FileMeta;
use crate::part::{Part, Run};
use crate::query::Hidden;
use crate::rollup::Tier;
use crate::tables::LiveSegment;
use crate::time::{DAY_US, TimestampUs};

/// A segment that has expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredFile {
    /// The file, relative to the data directory.
    pub path: PathBuf,
    /// Its UTC day, where it has one.
    pub day: Option<i32>,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// What retention removed, or would remove.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionReport {
    /// The files.
    pub files: Vec<ExpiredFile>,
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

/// The segments whose rows have all expired, and whose cells, where they have some, have too.
fn plan(hidden: &Hidden, segments: &[Arc<LiveSegment>]) -> Vec<Arc<FileMeta>> {
    let is_expired = |segment: &&Arc<LiveSegment>| {
        let tiers: Vec<Tier> = segment.cells.iter().map(|file| file.tier()).collect();
        Stream::ALL.into_iter().all(|stream| {
            let runs = segment.runs(stream);
            let cells = |run: &Run| keeps_cells(hidden, &tiers, stream, run.tenant, run.min_time.day());
            has_expired(hidden, stream, runs) && !runs.iter().any(cells)
        })
    };
    segments.iter().filter(is_expired).map(|segment| Arc::clone(&segment.meta)).collect()
}

/// Removes what has expired; with `dry_run` it only says what that is.
///
/// # Errors
///
/// Those of the manifest's commit.
pub(crate) fn enforce(core: &Core, dry_run: bool) -> Result<RetentionReport> {
    let which = || plan(&core.hidden(), &core.tables.segments());
    let files = if dry_run { which() } else { core.compactor.remove(core, &|_| Ok(which()))? };
    let file = |meta: &Arc<FileMeta>| ExpiredFile {
        path: meta.path(),
        day: meta.day,
        rows: meta.rows(),
        bytes: meta.bytes,
    };
    Ok(RetentionReport {
        files: files.iter().map(file).collect(),
        is_held: core.trusted_clock.is_held(core.clock.as_ref()),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
}
