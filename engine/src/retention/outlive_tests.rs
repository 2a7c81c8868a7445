//! Cells that outlive their rows, against numbers that are counted from a list of what was written.

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::Error;
use crate::append::Append;
use crate::catalog::erasure::EraseTarget;
use crate::catalog::{RetentionDocument, StreamRetention};
use crate::compaction::Effort;
use crate::disk::Disk;
use crate::disk::sim::CrashPolicy;
use crate::erasure::testing::*;
use crate::id::Stream;
use crate::manifest::FileKind;
use crate::part::Part;
use crate::query::{
    Aggregate, Budget, Field, Filter, GroupBy, KeyValue, Query, Scope, SessionClasses, SessionRequest,
};
use crate::rollup::{ALL_TENANTS, Kept, RollupDefinition, StateColumn, Tier, TierAggregates};
use crate::schema::{IdentityKind, stream};
use crate::session::cells::FoldedSessions;
use crate::time::{BucketUnit, Buckets, DAY_US, TimeRange, TimestampUs};

const HOUR: i64 = DAY_US / 24;
/// Days with events: so many before the present one, and none of the present one.
const DAYS: i64 = 5;

/// Rows, cells of 15 minutes, of an hour and of a day, in days.
fn limits(raw: u32, quarter: u32, hour: u32, day: Option<u32>) -> RetentionDocument {
    let events = StreamRetention {
        raw_days: Some(raw),
        rollup_15m_days: Some(quarter),
        rollup_1h_days: Some(hour),
        rollup_1d_days: day,
    };
    RetentionDocument { events, ..RetentionDocument::default() }
}

fn classes() -> SessionClasses {
    SessionClasses { page: Filter::all(), action: Filter::all(), interactive: Filter::all() }
}

/// The start of the day `back` days before the present one.
fn day(back: i64) -> TimestampUs {
    TimestampUs((1_000 - back) * DAY_US)
}

/// How many events a tenant has on a day: one an hour.
fn judge(name: &str, back: i64) -> u64 {
    let (of, first) = if name == "acme" { (3, 1) } else { (2, 2) };
    if (first..=DAYS).contains(&back) { u64::try_from(of + back).unwrap() } else { 0 }
}

/// An empty store with these rollups of events, each at every tier.
fn with_rollups(rollups: Vec<(Vec<Field>, Vec<Aggregate>)>) -> Store {
    Store::with(|config| {
        config.retention = limits(30, 30, 30, None);
        config.sessions = Some(classes());
        config.rollups = rollups
            .into_iter()
            .zip(1..)
            .map(|((keys, aggregates), id)| {
                let tiers = Tier::ALL.map(|tier| TierAggregates { tier, aggregates: aggregates.clone() });
                let (filter, stream) = (Filter::all(), Stream::Events);
                let tiers = tiers.to_vec();
                RollupDefinition { id, stream, filter, keys, tiers, priority: 1, kept: Kept::Always }
            })
            .collect();
    })
}

/// Five days of two tenants, one segment with cells a day. Neither limit has passed yet.
fn filled() -> Store {
    let store = with_rollups(vec![(vec![], vec![])]);
    for back in 1..=DAYS {
        for name in ["acme", "beta"] {
            let rows: Vec<(i64, &str)> = (0..i64::try_from(judge(name, back)).unwrap())
                .map(|n| (day(back).0 + n * HOUR + HOUR / 12, "ann"))
                .collect();
            if !rows.is_empty() {
                store.append(batch(name, Stream::Events, &rows));
            }
        }
        store.flush();
    }
    store.clock.advance(Duration::from_hours(1));
    assert!(store.engine.compact(Effort::Full).unwrap().jobs > 0);
    store
}

fn set(store: &Store, document: RetentionDocument) {
    for name in ["acme", "beta"] {
        store.engine.set_retention(&tenant(name), Some(document)).unwrap();
    }
}

fn counting(scope: Scope, window: TimeRange, unit: BucketUnit) -> Query {
    let buckets = Buckets::cover(window, unit, &TimeZone::UTC, 1_000).unwrap();
    let by = vec![GroupBy::Bucket(buckets)];
    Query { window, ..query(scope, Stream::Events, Filter::all(), by, vec![Aggregate::Count]) }
}

fn window(from: i64, to: i64) -> TimeRange {
    TimeRange { start: day(from), end: day(to) }
}

/// Events of the days from `from` days back on, as far as those of `to`.
fn counted(store: &Store, scope: Scope, (from, to): (i64, i64)) -> (u64, Option<TimestampUs>) {
    let answer = store.engine.aggregate(&counting(scope, window(from, to), BucketUnit::Day)).unwrap();
    (answer.groups.iter().map(|group| group.values[0].as_u64()).sum(), answer.expired)
}

/// That every day of every scope is what was written on it.
fn check(store: &Store, names: &[&str], context: &str) {
    for back in 1..=DAYS {
        let of = |names: &[&str]| names.iter().map(|name| judge(name, back)).sum::<u64>();
        for name in names {
            let counted = counted(store, one(name), (back, back - 1));
            assert_eq!(counted, (of(&[name]), None), "{name} {back} {context}");
        }
        assert_eq!(counted(store, Scope::All, (back, back - 1)), (of(names), None), "all {back} {context}");
    }
}

fn sessions(scope: Scope, window: TimeRange, exact: bool) -> SessionRequest {
    SessionRequest {
        scope,
        window,
        buckets: Buckets::cover(window, BucketUnit::Day, &TimeZone::UTC, 100).unwrap(),
        filter: Filter::all(),
        classes: classes(),
        exact,
        budget: Budget::default(),
        allow_partial: false,
    }
}

fn files(store: &Store, kind: FileKind) -> Vec<PathBuf> {
    store.disk.paths().into_iter().filter(|path| path.starts_with(kind.dir())).collect()
}

#[test]
fn cells_answer_when_the_file_of_their_rows_is_gone() {
    let store = filled();
    check(&store, &["acme", "beta"], "before");
    set(&store, limits(2, 2, 3, None));
    let dry = store.engine.enforce_retention(true).unwrap();
    assert_eq!(files(&store, FileKind::Segment).len(), 5, "a dry run removes nothing");
    assert_eq!(store.engine.enforce_retention(false).unwrap(), dry);
    assert_eq!(files(&store, FileKind::Segment).len(), 2, "the rows of three days are gone");
    // Of the third day those of hours stay, of the fourth and the fifth those of the day alone.
    assert_eq!(files(&store, FileKind::Cells).len(), 3 + 3 + 2 + 1 + 1);
    let named = |kind: FileKind| dry.files.iter().filter(|f| f.path.starts_with(kind.dir())).count();
    assert_eq!((named(FileKind::Segment), named(FileKind::Cells)), (3, 5));
    assert_eq!(dry.rows(), (3..=DAYS).map(|back| judge("acme", back) + judge("beta", back)).sum::<u64>());
    assert!(store.engine.enforce_retention(false).unwrap().files.is_empty());
    check(&store, &["acme", "beta"], "at once");
    let store = store.reopened();
    check(&store, &["acme", "beta"], "opened again");
    assert!(store.engine.health().findings.is_empty(), "{:?}", store.engine.health().findings);
    assert_eq!(files(&store, FileKind::Cells).len(), 10);
    for back in 1..=DAYS {
        let hours = counting(one("acme"), window(back, back - 1), BucketUnit::Hour);
        let answer = store.engine.aggregate(&hours).unwrap();
        assert_eq!(answer.expired.is_some(), back > 3, "hours of {back} days back");
        let rows = Query { rows_only: true, ..hours };
        assert_eq!(store.engine.aggregate(&rows).unwrap().expired.is_some(), back > 2);
    }
    set(&store, limits(300, 300, 300, None));
    let hours = counting(one("acme"), window(5, 4), BucketUnit::Hour);
    assert!(store.engine.aggregate(&hours).unwrap().expired.is_some(), "gone is gone");
}

#[test]
fn sessions_of_days_without_rows_are_those_of_before_or_said_to_have_expired() {
    let store = filled();
    let ask = |store: &Store, scope, exact| {
        store.engine.view().sessions(&sessions(scope, window(DAYS, 1), exact)).unwrap()
    };
    let scopes = || [one("acme"), one("beta"), Scope::All];
    let before = scopes().map(|scope| ask(&store, scope, false).series);
    set(&store, limits(2, 2, 2, None));
    for gone in [false, true] {
        if gone {
            store.engine.enforce_retention(false).unwrap();
        }
        for (scope, before) in scopes().into_iter().zip(&before) {
            let answer = ask(&store, scope.clone(), false);
            assert_eq!((&answer.series, answer.expired), (before, None), "{gone}");
            let exact = ask(&store, scope, true);
            assert!(exact.expired.is_some() && !exact.exact, "{gone}");
        }
    }
}

#[test]
fn a_tier_goes_with_the_last_tenant_that_keeps_it_and_the_answer_says_so() {
    let store = filled();
    // Whoever is younger than what it asks for has lost nothing.
    store.clock.advance(Duration::from_hours(24 * 10));
    set(&store, limits(2, 2, 2, Some(20)));
    store.engine.enforce_retention(false).unwrap();
    assert_eq!((files(&store, FileKind::Segment).len(), files(&store, FileKind::Cells).len()), (0, 5));
    check(&store, &["acme", "beta"], "days alone");
    store.engine.set_retention(&tenant("acme"), Some(limits(2, 2, 2, Some(3)))).unwrap();
    assert!(store.engine.enforce_retention(false).unwrap().files.iter().all(|f| f.day == Some(999)));
    assert!(counted(&store, one("acme"), (5, 4)).1.is_some());
    assert_eq!(counted(&store, one("beta"), (5, 4)), (judge("beta", 5), None));
    store.engine.set_retention(&tenant("beta"), Some(limits(2, 2, 2, Some(3)))).unwrap();
    assert_eq!(store.engine.enforce_retention(true).unwrap().rows(), 0);
    store.engine.enforce_retention(false).unwrap();
    assert_eq!(files(&store, FileKind::Cells), Vec::<PathBuf>::new());
    let since = TimeRange { start: day(0), end: day(-10) };
    let late = store.engine.aggregate(&counting(one("acme"), since, BucketUnit::Day)).unwrap();
    assert!(late.expired.is_some(), "neither rows nor cells are there to be met");
    assert!(store.engine.view().sessions(&sessions(one("acme"), since, false)).unwrap().expired.is_some());
}

#[test]
fn a_crash_while_rows_go_loses_no_cells_and_leaves_no_file() {
    let store = filled();
    set(&store, limits(2, 2, 3, None));
    let image = store.disk.crash(CrashPolicy::KeepAll, 0);
    let open = |disk| Store::open(disk, store.clock.clone(), store.config.clone()).unwrap();
    let ops = {
        let copy = open(image.crash(CrashPolicy::KeepAll, 0));
        let first = copy.disk.op_count();
        copy.engine.enforce_retention(false).unwrap();
        first..copy.disk.op_count()
    };
    assert!(!ops.is_empty());
    for (op, policy) in ops.flat_map(|op| CrashPolicy::ALL.map(|policy| (op, policy))) {
        let copy = open(image.crash(CrashPolicy::KeepAll, 0));
        copy.disk.crash_at(op);
        drop(copy.engine.enforce_retention(false));
        let disk = copy.disk.crash(policy, op);
        drop(copy.engine);
        let copy = open(disk);
        check(&copy, &["acme", "beta"], &format!("{op} {policy:?}"));
        copy.engine.enforce_retention(false).unwrap();
        check(&copy, &["acme", "beta"], &format!("{op} {policy:?} and again"));
        assert_eq!(files(&copy, FileKind::Segment).len(), 2, "{op} {policy:?}");
        assert_eq!(files(&copy, FileKind::Cells).len(), 10, "{op} {policy:?}");
    }
}

#[test]
fn an_erased_organization_leaves_the_cells_of_rows_that_are_gone() {
    let store = filled();
    set(&store, limits(2, 2, 3, None));
    store.engine.enforce_retention(false).unwrap();
    store.engine.erase(EraseTarget::Tenant(tenant("beta")), Append::default()).unwrap();
    check_acme(&store, "hidden");
    let image = store.disk.crash(CrashPolicy::KeepAll, 0);
    let open = |disk| Store::open(disk, store.clock.clone(), store.config.clone()).unwrap();
    let number = |store: &Store| {
        let remains = store.engine.core().tables.remains();
        remains.iter().flat_map(|r| r.cells()).flat_map(|f| f.tenants().unwrap()).collect::<Vec<_>>()
    };
    let whole = open(image.crash(CrashPolicy::KeepAll, 0));
    assert!(number(&whole).len() > 4, "both tenants, and all together");
    let ops = {
        let first = whole.disk.op_count();
        whole.engine.run_erasures().unwrap();
        first..whole.disk.op_count()
    };
    check(&whole, &["acme"], "erased");
    assert_eq!(number(&whole).len(), 4, "one tenant in each of four files");
    for (op, policy) in ops.step_by(3).zip(CrashPolicy::ALL.into_iter().cycle()) {
        let copy = open(image.crash(CrashPolicy::KeepAll, 0));
        copy.disk.crash_at(op);
        drop(copy.engine.run_erasures());
        let disk = copy.disk.crash(policy, op);
        drop(copy.engine);
        let copy = open(disk);
        check_acme(&copy, &format!("{op} {policy:?}"));
        copy.engine.run_erasures().unwrap();
        check(&copy, &["acme"], &format!("{op} {policy:?} and again"));
        assert_eq!(number(&copy).len(), 4, "{op} {policy:?}");
    }
}

/// A day of many rows has cells of its own when it is merged, but not those that are made only where cells outlive
/// rows. Then somebody says that rows are to go.
#[test]
fn a_day_that_was_merged_while_rows_were_kept_gets_the_cells_that_are_missing_when_they_go() {
    let users = || vec![Aggregate::Distinct(Field::Column(stream::USER_ID.id))];
    let at = |tier, aggregates: Vec<Aggregate>| TierAggregates { tier, aggregates };
    let of = |id, tiers: Vec<TierAggregates>, kept| {
        let (stream, filter, keys) = (Stream::Events, Filter::all(), Vec::new());
        RollupDefinition { id, stream, filter, keys, tiers, priority: id, kept }
    };
    let store = Store::with(|config| {
        config.rollups = vec![
            of(1, vec![at(Tier::Day, users())], Kept::Always),
            of(2, vec![at(Tier::Quarter, users())], Kept::Outliving),
        ];
    });
    let names = ["ann", "bob", "cid"];
    let rows: Vec<(i64, &str)> =
        (0..600).zip(names.into_iter().cycle()).map(|(n, name)| (day(4).0 + n * HOUR / 30, name)).collect();
    store.append(batch("acme", Stream::Events, &rows));
    store.flush();
    store.clock.advance(Duration::from_hours(1));
    store.engine.compact(Effort::Full).unwrap();
    let entries = || {
        let segments = store.engine.core().tables.segments();
        segments
            .iter()
            .flat_map(|s| &s.cells)
            .flat_map(|file| file.made().unwrap())
            .map(|(_, id)| id)
            .collect::<Vec<_>>()
    };
    assert_eq!(entries(), [1]);
    let ask = || {
        let window =
            TimeRange { start: TimestampUs(day(4).0 + 3 * HOUR / 4), end: TimestampUs(day(4).0 + 2 * HOUR) };
        let of_users = Query { aggregates: users(), ..counting(one("acme"), window, BucketUnit::Day) };
        let answer = store.engine.aggregate(&of_users).unwrap();
        (answer.groups.iter().map(|group| group.values[0].as_u64()).collect::<Vec<_>>(), answer.expired)
    };
    let before = ask();
    assert_eq!(before, (vec![3], None));
    store.engine.set_retention(&tenant("acme"), Some(limits(2, 30, 30, None))).unwrap();
    store.engine.enforce_retention(false).unwrap();
    assert!(files(&store, FileKind::Segment).is_empty(), "the rows have gone");
    assert_eq!(ask(), before);
}

/// A tenant of a few rows has no cells of its own while rows are kept as long; those of all tenants have it.
/// It is erased, and the rows go before the erasure's pass comes.
#[test]
fn an_erased_organization_of_a_few_rows_is_in_no_cells_that_stay() {
    let store = with_rollups(vec![(vec![], vec![])]);
    let many: Vec<(i64, &str)> = (0..600).map(|n| (day(4).0 + n * HOUR / 30, "ann")).collect();
    store.append(batch("acme", Stream::Events, &many));
    store.append(batch("beta", Stream::Events, &[(day(4).0 + HOUR, "bob"), (day(4).0 + 2 * HOUR, "bob")]));
    set(&store, RetentionDocument::default());
    store.flush();
    store.clock.advance(Duration::from_hours(1));
    store.engine.compact(Effort::Full).unwrap();
    let count = |store: &Store| counted(store, Scope::All, (4, 3));
    assert_eq!(count(&store), (602, None));
    store.engine.erase(EraseTarget::Tenant(tenant("beta")), Append::default()).unwrap();
    store.engine.set_retention(&tenant("acme"), Some(limits(2, 30, 30, None))).unwrap();
    store.engine.enforce_retention(false).unwrap();
    assert!(files(&store, FileKind::Segment).is_empty(), "the rows have gone");
    assert_eq!(count(&store), (600, None));
    store.engine.run_erasures().unwrap();
    assert_eq!(count(&store), (600, None), "also once nothing is hidden any more");
    assert_eq!(counted(&store, one("acme"), (4, 3)), (600, None));
}

/// That the days of the tenant that stays are as they were.
fn check_acme(store: &Store, context: &str) {
    for back in 1..=DAYS {
        assert_eq!(counted(store, one("acme"), (back, back - 1)), (judge("acme", back), None), "{context}");
    }
}

#[test]
fn a_question_that_nobody_waits_for_stops_among_cells() {
    let store = filled();
    let snapshot = |stop| {
        let core = store.engine.core();
        let tenants = std::sync::Arc::clone(&core.catalog) as _;
        let snapshot = core.tables.snapshot(Stream::Events, None, tenants, core.hidden().into());
        crate::query::Snapshot { stop, ..snapshot }
    };
    let cancel = crate::query::Cancel::new();
    cancel.cancel();
    let stop = crate::query::Stop::after(store.clock.clone() as _, Duration::from_secs(1), cancel);
    let request = sessions(Scope::All, window(DAYS, 0), false);
    assert!(matches!(crate::query::sessions(&snapshot(stop), &request), Err(Error::Cancelled)));
    let budget = Budget { memory_bytes_max: 1, ..Budget::default() };
    let tight = SessionRequest { budget, ..request };
    let answer = crate::query::sessions(&snapshot(crate::query::Stop::never()), &tight);
    assert!(matches!(answer, Err(Error::QueryLimit { .. })));
}

#[test]
fn rows_that_have_expired_go_also_where_they_were_too_few_for_cells() {
    let store = with_rollups(vec![(vec![], vec![])]);
    // While rows are kept as long as cells, a few rows have none.
    set_default(&store, limits(30, 30, 30, Some(30)));
    let rows = |few: i64| (0..few).map(|n| (day(2).0 + n * HOUR / 20, "ann")).collect::<Vec<_>>();
    store.append(batch("acme", Stream::Events, &rows(300)));
    store.append(batch("beta", Stream::Events, &rows(3)));
    store.flush();
    store.engine.compact(Effort::Full).unwrap();
    let ask = |store: &Store, name| counted(store, one(name), (2, 1));
    set(&store, limits(1, 30, 30, None));
    assert_eq!((ask(&store, "acme").0, ask(&store, "beta").1.is_some()), (300, true), "hidden");
    let dry = store.engine.enforce_retention(true).unwrap();
    assert_eq!((dry.files.len(), dry.rows()), (1, 303));
    store.engine.enforce_retention(false).unwrap();
    let days =
        |store: &Store| store.engine.core().tables.segments().iter().map(|s| s.meta.day).collect::<Vec<_>>();
    assert_eq!(days(&store), [Some(1_000)], "the present day's");
    let check = |store: &Store| {
        assert_eq!(ask(store, "acme"), (300, None));
        assert_eq!(ask(store, "beta"), (3, None), "its cells were made before its rows went");
        assert_eq!(counted(store, Scope::All, (2, 1)), (303, None));
    };
    check(&store);
    let store = store.reopened();
    check(&store);
    assert!(store.engine.health().findings.is_empty());
    set(&store, limits(1, 1, 1, Some(1)));
    store.engine.enforce_retention(false).unwrap();
    assert!(store.engine.core().tables.remains().is_empty(), "nobody keeps them");
}

fn set_default(store: &Store, document: RetentionDocument) {
    for name in ["acme", "beta"] {
        store.append(batch(name, Stream::Events, &[(day(0).0, "ann")]));
    }
    set(store, document);
}

#[test]
fn a_damaged_segment_goes_with_its_last_row_and_does_not_keep_the_others() {
    let store = with_rollups(vec![(vec![], vec![])]);
    set_default(&store, limits(30, 30, 30, Some(30)));
    for back in 2..=3 {
        store.append(batch("acme", Stream::Events, &[(day(back).0, "ann")]));
        store.flush();
        store.engine.compact(Effort::Full).unwrap();
    }
    let segments = store.engine.core().tables.segments();
    let path = segments.iter().find(|s| s.meta.day == Some(998)).unwrap().meta.path();
    let file = store.disk.open_write(&path).unwrap();
    let mut byte = [0];
    file.read_at(200, &mut byte).unwrap();
    file.write_at(200, &[byte[0] ^ 1]).unwrap();
    set(&store, limits(1, 30, 30, None));
    store.engine.enforce_retention(false).unwrap();
    let left = files(&store, FileKind::Segment);
    assert!(!left.contains(&path), "{left:?}");
    assert!(store.engine.health().findings.iter().any(|f| f.contains(path.to_str().unwrap())));
}

const GONE: &str = "zoe-4711";

/// Three days of two tenants with two users each, as cells alone: what is distinct, keys, sessions.
fn cells_of_users() -> Store {
    let user = || Field::Column(stream::USER_ID.id);
    let store = with_rollups(vec![(vec![], vec![Aggregate::Distinct(user())]), (vec![user()], vec![])]);
    for back in 1..=3 {
        for name in ["acme", "beta"] {
            let rows: Vec<(i64, &str)> = (0..24)
                .flat_map(|hour| ["ann", GONE].map(|user| (day(back).0 + hour * HOUR + HOUR / 12, user)))
                .collect();
            store.append(batch(name, Stream::Events, &rows));
        }
        store.flush();
    }
    store.clock.advance(Duration::from_hours(1));
    assert!(store.engine.compact(Effort::Full).unwrap().jobs > 0);
    store.clock.advance(Duration::from_hours(48));
    set(&store, limits(1, 30, 30, None));
    store.engine.enforce_retention(false).unwrap();
    assert!(files(&store, FileKind::Segment).is_empty());
    store
}

type Numbers = (u64, u64, Vec<(KeyValue, u64)>, (u64, u64));

/// Users, rows, groups by user, sessions and events of sessions of the three days.
fn numbers(store: &Store, scope: &Scope) -> Numbers {
    let ask = |by, aggregate| {
        let asked = Query {
            window: window(3, 0),
            ..query(scope.clone(), Stream::Events, Filter::all(), by, vec![aggregate])
        };
        let answer = store.engine.aggregate(&asked).unwrap();
        assert_eq!(answer.expired, None);
        answer.groups
    };
    let user = Field::Column(stream::USER_ID.id);
    let one = |aggregate| ask(vec![], aggregate)[0].values[0].as_u64();
    let groups = ask(vec![GroupBy::Field(user.clone())], Aggregate::Count);
    let mut groups: Vec<_> = groups.iter().map(|g| (g.key[0].clone(), g.values[0].as_u64())).collect();
    groups.sort();
    let sessions = store.engine.view().sessions(&sessions(scope.clone(), window(3, 0), false)).unwrap();
    let started = sessions.series.iter().map(|s| s.started).sum();
    let events = sessions.series.iter().map(|s| s.events).sum();
    (one(Aggregate::Distinct(user)), one(Aggregate::Count), groups, (started, events))
}

/// How often a code of the tenant is in sets and open chains of cells without rows.
fn traces(store: &Store, name: &str, code: u32) -> usize {
    let inner = store.engine.core();
    let of = crate::codes::Tenants::number_of(inner.catalog.as_ref(), &tenant(name)).unwrap();
    let mut found = 0;
    for file in inner.tables.remains().iter().flat_map(|remains| remains.cells().to_vec()) {
        let hashes: Vec<u64> = inner.cells.rollups().of(Stream::Events).map(|(_, hash)| *hash).collect();
        for whose in [of, ALL_TENANTS] {
            for cells in hashes.iter().filter_map(|hash| file.cells(whose, *hash)) {
                let lists = cells.states.iter().filter_map(|state| match state {
                    StateColumn::Distinct(lists) => Some(lists),
                    _ => None,
                });
                for list in lists.flatten() {
                    let theirs = (0..list.len()).filter(|set| list.tenant(*set).is_none_or(|t| t == of));
                    let sets = theirs.filter_map(|set| list.get(set));
                    found += sets.filter(|set| set.codes().contains(&code)).count();
                }
            }
            let Some(blob) = file.blob(whose, crate::query::SESSIONS).unwrap() else { continue };
            let open = FoldedSessions::decode(&blob).unwrap().open;
            let key = crate::session::key::session_key(crate::session::key::KeyKind::Person, GONE.as_bytes());
            let is_theirs = |chain: &&crate::session::cells::OpenChain| {
                chain.tenant == of && (chain.chain.user == code || chain.key == key)
            };
            found += open.iter().filter(is_theirs).count();
        }
    }
    found
}

fn check_forgotten(store: &Store, code: u32, beta: u32, context: &str) {
    assert_eq!(traces(store, "acme", code), 0, "{context}");
    assert!(traces(store, "beta", beta) > 0, "another organization's user of the same name: {context}");
    let (users, rows, groups, sessions) = numbers(store, &one("acme"));
    assert_eq!((users, rows), (1, 3 * 48), "{context}");
    assert_eq!(groups, [(KeyValue::Absent, 72), (KeyValue::Str("ann".into()), 72)], "{context}");
    assert_eq!(sessions, (3 * 48, 3 * 48), "{context}");
    let (users, rows, ..) = numbers(store, &Scope::All);
    assert_eq!((users, rows), (3, 6 * 48), "{context}");
}

#[test]
fn an_erased_user_leaves_the_cells_of_rows_that_are_gone() {
    let store = cells_of_users();
    let code = |name: &str| {
        let core = store.engine.core();
        let of = crate::codes::Tenants::number_of(core.catalog.as_ref(), &tenant(name)).unwrap();
        core.tables.codes().code_of(of, IdentityKind::User, GONE.as_bytes()).unwrap().unwrap()
    };
    let (code, beta) = (code("acme"), code("beta"));
    assert!(traces(&store, "acme", code) > 0);
    assert_eq!(numbers(&store, &one("acme")).0, 2);
    assert_eq!(numbers(&store, &Scope::All).0, 4);
    let before = numbers(&store, &one("beta"));
    let target =
        EraseTarget::User { tenant: tenant("acme"), user: GONE.to_owned(), credential: String::new() };
    let (id, _) = store.engine.erase(target, Append::default()).unwrap();
    let image = store.disk.crash(CrashPolicy::KeepAll, 0);
    let open = |disk| Store::open(disk, store.clock.clone(), store.config.clone()).unwrap();
    let whole = open(image.crash(CrashPolicy::KeepAll, 0));
    let ops = {
        let first = whole.disk.op_count();
        whole.engine.run_erasures().unwrap();
        first..whole.disk.op_count()
    };
    check_forgotten(&whole, code, beta, "erased");
    assert_eq!(numbers(&whole, &one("beta")), before);
    let outcome = whole.engine.erasure(id).unwrap().outcome.unwrap();
    assert_eq!((outcome.cells, outcome.events), (9, 0), "three days at three tiers, no rows");
    assert!(outcome.files >= 9 && outcome.bytes > 0);
    for (op, policy) in ops.step_by(7).zip(CrashPolicy::ALL.into_iter().cycle()) {
        let copy = open(image.crash(CrashPolicy::KeepAll, 0));
        copy.disk.crash_at(op);
        drop(copy.engine.run_erasures());
        let disk = copy.disk.crash(policy, op);
        drop(copy.engine);
        let copy = open(disk);
        copy.engine.run_erasures().unwrap();
        assert_eq!(traces(&copy, "acme", code), 0, "{op} {policy:?}");
        assert_eq!(numbers(&copy, &one("acme")).1, 3 * 48, "{op} {policy:?}");
    }
    check_forgotten(&whole.reopened(), code, beta, "opened again");
}

#[test]
fn chains_over_midnight_stay_one_when_a_crash_cuts_the_pass_that_takes_their_user_out() {
    let store = with_rollups(vec![]);
    for back in 1..=3 {
        // Each night one visit, from before midnight to after it.
        let minutes = [5, 15, 1_420, 1_435];
        let rows = minutes.map(|minute| (day(back).0 + minute * 60_000_000, GONE));
        store.append(batch("acme", Stream::Events, &rows));
        store.flush();
    }
    store.clock.advance(Duration::from_hours(1));
    assert!(store.engine.compact(Effort::Full).unwrap().jobs > 0);
    store.clock.advance(Duration::from_hours(48));
    store.engine.set_retention(&tenant("acme"), Some(limits(1, 30, 30, None))).unwrap();
    store.engine.enforce_retention(false).unwrap();
    assert!(files(&store, FileKind::Segment).is_empty());
    let started = |store: &Store| {
        let answer = store.engine.view().sessions(&sessions(one("acme"), window(3, 0), false)).unwrap();
        assert_eq!(answer.expired, None);
        answer.series.iter().map(|s| s.started).sum::<u64>()
    };
    assert_eq!(started(&store), 4);
    let target =
        EraseTarget::User { tenant: tenant("acme"), user: GONE.to_owned(), credential: String::new() };
    store.engine.erase(target, Append::default()).unwrap();
    let image = store.disk.crash(CrashPolicy::KeepAll, 0);
    let open = |disk| Store::open(disk, store.clock.clone(), store.config.clone()).unwrap();
    let whole = open(image.crash(CrashPolicy::KeepAll, 0));
    let first = whole.disk.op_count();
    whole.engine.run_erasures().unwrap();
    let ops = first..whole.disk.op_count();
    for (op, policy) in ops.zip(CrashPolicy::ALL.into_iter().cycle()) {
        let copy = open(image.crash(CrashPolicy::KeepAll, 0));
        copy.disk.crash_at(op);
        drop(copy.engine.run_erasures());
        let disk = copy.disk.crash(policy, op);
        drop(copy.engine);
        let copy = open(disk);
        // Another process draws other numbers.
        copy.engine.core().entropy.next();
        copy.engine.run_erasures().unwrap();
        assert_eq!(copy.engine.stats().erasures_pending, 0);
        assert_eq!(started(&copy), 4, "{op} {policy:?}");
    }
}

/// What a blob of a definition becomes; none when it stays.
type Change = fn(u8, &[u8]) -> Option<Vec<u8>>;

/// Writes the blobs of the cell files anew as `change` makes them, checksums and all.
fn forge(store: &Store, change: Change) {
    let remains = store.engine.core().tables.remains();
    let files: Vec<_> = remains.iter().flat_map(|remains| remains.cells().to_vec()).collect();
    rewrite_cells(store, &files, &|_, _, id, blob| change(id, blob));
}

#[test]
fn cells_without_rows_are_verified_to_their_last_number() {
    use crate::inspect::{Inspection, Level};
    let verify = |store: &Store| {
        let below: std::sync::Arc<dyn Disk> = std::sync::Arc::new(store.disk.clone());
        let inspection = Inspection::open(&below).unwrap();
        inspection.verify(Level::Deep, &store.config.rollups).unwrap().findings
    };
    assert_eq!(verify(&cells_of_users()), []);
    assert_eq!(verify(&filled()), [], "beside their rows too");
    let changes: [(Change, &str); 4] = [
        (|id, blob| (id == 200).then(|| blob[..blob.len() - 1].to_vec()), "cells 200"),
        (
            |id, blob| {
                let mut cells = FoldedSessions::decode(blob).ok().filter(|_| id == 200)?;
                cells.day += 1;
                Some(cells.encode())
            },
            "another day",
        ),
        (
            |id, blob| {
                let mut cells = FoldedSessions::decode(blob).ok().filter(|_| id == 200)?;
                cells.open.first_mut()?.chain.user = 7_000;
                Some(cells.encode())
            },
            "a code that the dictionary does not have",
        ),
        (|id, blob| (id == 1).then(|| [blob, &[0]].concat()), "cells 1"),
    ];
    for (change, says) in changes {
        let store = cells_of_users();
        forge(&store, change);
        let found = verify(&store);
        assert!(!found.is_empty(), "{says}");
        assert!(found.iter().all(|f| f.kind == "corrupt" && f.detail.contains(says)), "{says}: {found:?}");
    }
    let store = cells_of_users();
    let path = files(&store, FileKind::Cells).remove(0);
    let file = store.disk.open_write(&path).unwrap();
    let mut byte = [0];
    file.read_at(60, &mut byte).unwrap();
    file.write_at(60, &[byte[0] ^ 1]).unwrap();
    assert_eq!(verify(&store).iter().map(|f| f.file.clone()).collect::<Vec<_>>(), [path]);
}
