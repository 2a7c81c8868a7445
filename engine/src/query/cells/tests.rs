//! Answers from cells against those from rows and against plain loops.

#![expect(clippy::cast_possible_wrap, reason = "the numbers of these tests are small")]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::id::{FileId, Stream};
use crate::manifest::FileKind;
use crate::part::ZoneMap;
use crate::query::model::{self, Expected};
use crate::query::testing::{Row, Shape, TestStore, tenant_name};
use crate::query::tests::{BASE_US, HOUR_US, agrees, column, filter, op, path, picks, row, scope};
use crate::query::{
    Aggregate, Answer, Budget, Field, Filter, Literal, Number, Op, PartId, aggregate, aggregate_all,
};
use crate::rollup::{CellCache, CellSource, Kept, RollupDefinition, TierAggregates, verify, write_cells};
use crate::schema::stream::{
    ANONYMOUS_ID, APP_ID, EVENT_DATA, EVENT_TYPE, HOST, KIND, LSN, NAME, SESSION_ID, USER_AGENT, USER_ID,
    VALUE,
};
use crate::schema::{ColumnId, ColumnVector, Value};
use crate::time::{BucketUnit, Buckets, DAY_US};

/// Days that rows are of.
const DAYS: usize = 3;
/// Parts of each day: two with cells, one without.
const PARTS_A_DAY: usize = 3;

/// A part and its cells.
#[derive(Debug)]
struct WithCells {
    rows: Arc<dyn Part>,
    cells: Vec<Arc<CellFile>>,
}

impl Part for WithCells {
    fn id(&self) -> PartId {
        self.rows.id()
    }

    fn runs(&self, stream: Stream) -> &[Run] {
        self.rows.runs(stream)
    }

    fn rows(&self, stream: Stream) -> u64 {
        self.rows.rows(stream)
    }

    fn granule_rows(&self) -> usize {
        self.rows.granule_rows()
    }

    fn zone_map(&self, stream: Stream, column: ColumnId, granule: usize) -> Option<ZoneMap> {
        self.rows.zone_map(stream, column, granule)
    }

    fn column(&self, stream: Stream, column: ColumnId, granule: usize) -> Result<Arc<ColumnVector>> {
        self.rows.column(stream, column, granule)
    }

    fn path(&self, s: Stream, c: ColumnId, path: &[String], granule: usize) -> Result<Arc<ColumnVector>> {
        self.rows.path(s, c, path, granule)
    }

    fn bytes_of(&self, stream: Stream) -> u64 {
        // A budget that some tiers fit into and others do not.
        self.rows.rows(stream) * 60
    }

    fn cells(&self) -> &[Arc<CellFile>] {
        &self.cells
    }
}

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir(Path::new(FileKind::Cells.dir())).unwrap();
    disk
}

/// Gives the first parts of a snapshot cells; all of them when `must_keep`, else within the budget.
fn with_cells(
    disk: &SimDisk,
    snapshot: &Snapshot,
    definitions: &[RollupDefinition],
    must_keep: bool,
) -> Snapshot {
    let rollups = Rollups::new(definitions).unwrap();
    let cache = CellCache::new(1 << 20);
    let next = AtomicU64::new(1);
    let stream = definitions[0].stream;
    let with = |(index, part): (usize, &Arc<dyn Part>)| -> Arc<dyn Part> {
        let bare = WithCells { rows: Arc::clone(part), cells: Vec::new() };
        if index % PARTS_A_DAY == 2 || index >= DAYS * PARTS_A_DAY {
            return Arc::new(bare);
        }
        let source = CellSource {
            part: Arc::new(bare),
            segment: FileId(index as u64),
            stream,
            codes: Arc::clone(&snapshot.codes),
            tenants: Arc::clone(&snapshot.tenants),
            rollups: &rollups,
            sessions: None,
            must_keep,
        };
        let allocate = || FileId(next.fetch_add(1, Ordering::Relaxed));
        let files = write_cells(disk, &source, &allocate).unwrap();
        let open = |cache: &Arc<CellCache>| -> Vec<Arc<CellFile>> {
            let open = |meta| CellFile::open(disk, &Arc::new(meta), &rollups, cache).unwrap();
            files.iter().cloned().map(open).collect()
        };
        // With a cache of its own, so that questions find nothing that was read before.
        assert_eq!(verify(&source, &open(&CellCache::new(1 << 20))).unwrap(), Vec::<String>::new());
        Arc::new(WithCells { rows: Arc::clone(part), cells: open(&cache) })
    };
    Snapshot { parts: snapshot.parts.iter().enumerate().map(with).collect(), ..snapshot.clone() }
}

fn identity() -> Field {
    Field::FirstOf(vec![column(&USER_ID), column(&ANONYMOUS_ID), column(&SESSION_ID)])
}

fn one_of(texts: &[&str]) -> Filter {
    let literals = texts.iter().map(|t| Literal::Str((*t).to_owned())).collect();
    Filter::Compare(column(&EVENT_TYPE), Op::In(literals))
}

fn tiers(fine: &[Aggregate], day: &[Aggregate]) -> Vec<TierAggregates> {
    let at = |tier, list: &[Aggregate]| TierAggregates { tier, aggregates: list.to_vec() };
    vec![at(Tier::Quarter, fine), at(Tier::Hour, fine), at(Tier::Day, day)]
}

fn together(definition: RollupDefinition) -> RollupDefinition {
    RollupDefinition { kept: Kept::Together, ..definition }
}

fn outliving(definition: RollupDefinition) -> RollupDefinition {
    RollupDefinition { kept: Kept::Outliving, ..definition }
}

fn quarters(aggregate: Aggregate) -> Vec<TierAggregates> {
    vec![TierAggregates { tier: Tier::Quarter, aggregates: vec![aggregate] }]
}

fn on_kind() -> Filter {
    Filter::Compare(column(&KIND), Op::Exists)
}

fn definitions(stream: Stream) -> Vec<RollupDefinition> {
    let users = || Aggregate::Distinct(identity());
    let of = |id, filter, keys, tiers| RollupDefinition {
        id,
        stream,
        filter,
        keys,
        tiers,
        priority: id,
        kept: Kept::Always,
    };
    match stream {
        Stream::Events => {
            let pages = Aggregate::CountIf(Box::new(one_of(&["page.1", "page.2"])));
            let feature = Field::FirstOf(vec![path(&EVENT_DATA, &["a"]), column(&EVENT_TYPE)]);
            let whole = [users(), pages];
            vec![
                of(1, Filter::all(), vec![], tiers(&whole, &whole)),
                of(2, Filter::all(), vec![column(&EVENT_TYPE)], tiers(&[], &[users()])),
                of(3, one_of(&["page.1", "page.3"]), vec![feature], tiers(&[], &[users()])),
                of(4, Filter::all(), vec![column(&USER_AGENT), column(&EVENT_TYPE)], tiers(&[users()], &[])),
                outliving(of(5, Filter::all(), vec![column(&EVENT_TYPE)], quarters(users()))),
            ]
        }
        Stream::Metrics => {
            let value = || column(&VALUE);
            let all = [
                Aggregate::Sum(value()),
                Aggregate::Min(value()),
                Aggregate::Max(value()),
                Aggregate::Last(value()),
                Aggregate::Quantile(value(), 0.5),
            ];
            let some = [Aggregate::Quantile(value(), 0.9), Aggregate::Sum(value())];
            vec![
                of(1, Filter::all(), vec![column(&NAME), column(&HOST), column(&KIND)], tiers(&all, &all)),
                of(2, Filter::all(), vec![column(&NAME)], tiers(&some, &all)),
                // By identities of each tenant, and by what tenants share.
                together(of(3, Filter::all(), vec![column(&APP_ID), column(&NAME)], tiers(&some, &all))),
                together(of(4, on_kind(), vec![column(&NAME)], tiers(&[], &all))),
            ]
        }
        Stream::Audit => Vec::new(),
    }
}

/// Rows of three days in parts of each day and one part like a memtable.
fn store(stream: Stream) -> impl Strategy<Value = TestStore> {
    let part = select(vec![0_usize, 0, 0, 1, 1, 2, 3]);
    let rows = prop::collection::vec((1_u32..4, 0_i64..(DAYS as i64 * 1440), picks(), part), 1..120);
    let coded = Shape { granule_rows: 7, coded: true, zone_maps: true, dictionaries: true };
    let plain = Shape { granule_rows: 1024, coded: false, zone_maps: false, dictionaries: true };
    rows.prop_map(move |specs| {
        let mut parts: Vec<(Vec<Row>, Shape)> = vec![(Vec::new(), coded); DAYS * PARTS_A_DAY];
        parts.push((Vec::new(), plain));
        let mut seqs = [0_i64; 10];
        for ((tenant, minutes, picks, part), lsn) in specs.into_iter().zip(3_i64..) {
            let mut row = row(stream, tenant, minutes, picks);
            row.values.insert("lsn", Value::I64(lsn / 3));
            if stream != Stream::Metrics {
                seqs[tenant as usize] += 1;
                row.values.insert("seq", Value::I64(seqs[tenant as usize]));
            }
            let day = usize::try_from((row.time() - BASE_US) / DAY_US).unwrap();
            let part = if part == 3 { DAYS * PARTS_A_DAY } else { day * PARTS_A_DAY + part };
            parts[part].0.push(row);
        }
        TestStore { stream, parts, damaged: Vec::new() }
    })
}

fn window() -> impl Strategy<Value = TimeRange> {
    let of = |unit: i64| {
        let end = DAYS as i64 * 1440 / unit + 1;
        (0..end, 0..end).prop_map(move |(a, b)| TimeRange {
            start: TimestampUs(BASE_US + a.min(b) * unit * 60_000_000),
            end: TimestampUs(BASE_US + a.max(b) * unit * 60_000_000),
        })
    };
    prop_oneof![Just(TimeRange::ALL), of(1), of(15), of(60), of(1440)]
}

fn buckets() -> impl Strategy<Value = GroupBy> {
    let span = TimeRange { start: TimestampUs(BASE_US), end: TimestampUs(BASE_US + DAYS as i64 * DAY_US) };
    let units = vec![
        BucketUnit::Day,
        BucketUnit::Day,
        BucketUnit::Hour,
        BucketUnit::Step(HOUR_US / 4),
        BucketUnit::Step(7 * HOUR_US),
        BucketUnit::Step(HOUR_US / 6),
    ];
    let zones = vec!["UTC", "Asia/Kolkata", "Asia/Kathmandu", "Europe/Berlin", "Australia/Lord_Howe"];
    (select(units), select(zones)).prop_map(move |(unit, zone)| {
        GroupBy::Bucket(Buckets::cover(span, unit, &TimeZone::get(zone).unwrap(), 10_000).unwrap())
    })
}

/// A question that a definition answers, mostly.
fn query(stream: Stream) -> impl Strategy<Value = Query> {
    let of = move |definition: RollupDefinition| {
        let mut kept: Vec<Aggregate> = vec![Aggregate::Count];
        for aggregate in definition.tiers.iter().flat_map(|t| t.aggregates.clone()) {
            if let Aggregate::Sum(field) = &aggregate {
                kept.push(Aggregate::Avg(field.clone()));
            }
            if let Aggregate::Quantile(field, _) = &aggregate {
                kept.push(Aggregate::Quantile(field.clone(), 0.99));
            }
            kept.push(aggregate);
        }
        let columns: Vec<Field> = definition
            .keys
            .iter()
            .filter(|k| matches!(k, Field::Column(_)))
            .cloned()
            .chain([Field::Tenant])
            .collect();
        let on_key = (select(columns), op()).prop_map(|(field, op)| Filter::Compare(field, op)).boxed();
        let on_keys = prop_oneof![
            4 => Just(Vec::new()),
            4 => on_key.clone().prop_map(|f| vec![f]),
            1 => on_key.clone().prop_map(|f| vec![Filter::Not(Box::new(f))]),
            1 => (on_key.clone(), on_key).prop_map(|(a, b)| vec![Filter::Or(vec![a, b])]),
            1 => filter(stream).prop_map(|f| vec![f]),
        ];
        let own = definition.filter.clone();
        let filter = on_keys.prop_map(move |list| Filter::And([vec![own.clone()], list].concat()));
        let keys: Vec<GroupBy> =
            definition.keys.iter().cloned().chain([Field::Tenant]).map(GroupBy::Field).collect();
        let by = (prop::option::of(buckets()), subsequence(keys.clone(), 0..=keys.len()), any::<bool>());
        let group_by = by.prop_map(|(bucket, keys, first)| {
            let bucket: Vec<GroupBy> = bucket.into_iter().collect();
            if first { [bucket, keys].concat() } else { [keys, bucket].concat() }
        });
        let count = kept.len();
        (scope(), window(), filter, group_by, subsequence(kept, 0..=count))
    };
    select(definitions(stream)).prop_flat_map(of).prop_map(
        move |(scope, window, filter, group_by, aggregates)| Query {
            scope,
            stream,
            window,
            filter,
            group_by,
            aggregates,
            budget: Budget::default(),
            rows_only: false,
            allow_partial: false,
        },
    )
}

fn same(a: Number, b: Number) -> bool {
    match (a, b) {
        (Number::F64(a), Number::F64(b)) => {
            a.total_cmp(&b).is_eq() || (a - b).abs() <= b.abs() * 1e-12 || (a.is_nan() && b.is_nan())
        }
        _ => a == b,
    }
}

fn check(store: &TestStore, snapshot: &Snapshot, query: &Query) -> Answer {
    let from_cells = aggregate(snapshot, query).unwrap();
    let from_rows = aggregate(snapshot, &Query { rows_only: true, ..query.clone() }).unwrap();
    assert_eq!(from_rows.cost.cells_read, 0);
    let rows: Vec<Row> = store.rows().cloned().collect();
    let expected: Vec<(_, Vec<Expected>)> = model::aggregate(&rows, query);
    assert_eq!(from_cells.groups.len(), expected.len(), "{:?}", from_cells.groups);
    for ((group, of_rows), (key, numbers)) in from_cells.groups.iter().zip(&from_rows.groups).zip(&expected) {
        assert_eq!((&group.key, &of_rows.key), (key, key));
        for (place, aggregate) in query.aggregates.iter().enumerate() {
            let (number, of_rows, expected) = (group.values[place], of_rows.values[place], &numbers[place]);
            let what = || {
                format!(
                    "{aggregate:?} of {key:?}: {number:?} from cells, {of_rows:?} from rows, {expected:?}"
                )
            };
            assert!(same(number, of_rows) && agrees(number, expected), "{}", what());
        }
    }
    from_cells
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_from_cells_are_as_from_rows(
        store in store(Stream::Events),
        queries in prop::collection::vec(query(Stream::Events), 1..4),
        must_keep in any::<bool>(),
    ) {
        let disk = disk();
        let snapshot = with_cells(&disk, &store.snapshot(), &definitions(Stream::Events), must_keep);
        for query in &queries {
            check(&store, &snapshot, query);
        }
    }

    #[test]
    fn metrics_from_cells_are_as_from_rows(
        store in store(Stream::Metrics),
        queries in prop::collection::vec(query(Stream::Metrics), 1..4),
        must_keep in any::<bool>(),
    ) {
        let disk = disk();
        let snapshot = with_cells(&disk, &store.snapshot(), &definitions(Stream::Metrics), must_keep);
        for query in &queries {
            check(&store, &snapshot, query);
        }
    }
}

/// A few hundred rows of two tenants in the parts with cells alone.
fn fixed(stream: Stream) -> TestStore {
    let coded = Shape { granule_rows: 64, coded: true, zone_maps: true, dictionaries: true };
    let mut parts: Vec<(Vec<Row>, Shape)> = vec![(Vec::new(), coded); DAYS * PARTS_A_DAY];
    for n in 0..900_usize {
        let minutes = i64::try_from(n * DAYS * 1440 / 900).unwrap();
        let spread = n.wrapping_mul(2_654_435_761) >> 7;
        let picks = [spread % 40, spread % 4, n % 3, 1 + spread % 3, n % 2, 1 + spread % 9];
        let mut row = row(stream, 1 + u32::try_from(n % 2).unwrap(), minutes, picks);
        row.values.insert("lsn", Value::I64(i64::try_from(n).unwrap()));
        let day = usize::try_from((row.time() - BASE_US) / DAY_US).unwrap();
        parts[day * PARTS_A_DAY + n % 7 / 6].0.push(row);
    }
    TestStore { stream, parts, damaged: Vec::new() }
}

fn question(stream: Stream, aggregates: Vec<Aggregate>, group_by: Vec<GroupBy>) -> Query {
    Query {
        scope: Scope::One(tenant_name(1)),
        stream,
        window: TimeRange { start: TimestampUs(BASE_US), end: TimestampUs(BASE_US + DAYS as i64 * DAY_US) },
        filter: Filter::all(),
        group_by,
        aggregates,
        budget: Budget::default(),
        rows_only: false,
        allow_partial: false,
    }
}

fn bucket(unit: BucketUnit, zone: &str) -> GroupBy {
    let span = TimeRange { start: TimestampUs(BASE_US), end: TimestampUs(BASE_US + DAYS as i64 * DAY_US) };
    GroupBy::Bucket(Buckets::cover(span, unit, &TimeZone::get(zone).unwrap(), 10_000).unwrap())
}

#[test]
fn the_coarsest_cells_that_no_edge_cuts_are_folded_and_rows_at_the_edges() {
    let disk = disk();
    let store = fixed(Stream::Events);
    let snapshot = with_cells(&disk, &store.snapshot(), &definitions(Stream::Events), true);
    let users = vec![Aggregate::Count, Aggregate::Distinct(identity())];
    let mut query = question(Stream::Events, users, vec![]);
    // Six files with cells, one cell each.
    assert_eq!(check(&store, &snapshot, &query).cost.cells_read, 6);
    assert_eq!(check(&store, &snapshot, &query).cost.rows_scanned, 0);
    query.group_by = vec![bucket(BucketUnit::Day, "Europe/Berlin")];
    let answer = check(&store, &snapshot, &query);
    assert_eq!(answer.cost.rows_scanned, 0);
    assert!((30..=6 * 24).contains(&answer.cost.cells_read), "{:?}", answer.cost);
    query.group_by = vec![bucket(BucketUnit::Day, "Asia/Kathmandu")];
    assert_eq!(check(&store, &snapshot, &query).cost.rows_scanned, 0);
    query.group_by = vec![];
    query.window.start.0 += 7 * 60_000_000;
    query.window.end.0 -= 200 * 60_000_000 + 1;
    let answer = check(&store, &snapshot, &query);
    assert!((1..=4 * 64).contains(&answer.cost.rows_scanned), "{:?}", answer.cost);
    assert!(answer.cost.cells_read > 6);
    // All tenants are folded from the cells of all together.
    query = question(Stream::Events, vec![Aggregate::Count, Aggregate::Distinct(identity())], vec![]);
    query.scope = Scope::All;
    assert_eq!(check(&store, &snapshot, &query).cost.cells_read, 6);
    query.group_by = vec![GroupBy::Field(Field::Tenant)];
    assert_eq!(check(&store, &snapshot, &query).cost.cells_read, 12);
}

/// Applications are identities of one tenant: their cells of all tenants say whose they are.
#[test]
fn applications_of_all_tenants_are_folded_from_one_blob_a_day() {
    let disk = disk();
    let store = fixed(Stream::Metrics);
    let snapshot = with_cells(&disk, &store.snapshot(), &definitions(Stream::Metrics), true);
    let value = || column(&VALUE);
    let numbers = vec![Aggregate::Sum(value()), Aggregate::Quantile(value(), 0.9)];
    let by = |field: Field| vec![GroupBy::Field(field)];
    let mut query = question(Stream::Metrics, numbers, by(column(&APP_ID)));
    query.scope = Scope::All;
    let answer = check(&store, &snapshot, &query);
    assert_eq!(answer.cost.rows_scanned, 0);
    assert!(answer.cost.cells_read > 6);
    // Also by tenant, and of one of them by name.
    query.group_by = [by(Field::Tenant), by(column(&APP_ID))].concat();
    assert_eq!(check(&store, &snapshot, &query).cost.cells_read, answer.cost.cells_read);
    query.filter = Filter::Compare(Field::Tenant, Op::Is(Literal::Str(tenant_name(2).as_str().to_owned())));
    assert!(check(&store, &snapshot, &query).cost.cells_read < answer.cost.cells_read);
    // One tenant has none of its own: it reads its stretch of those of all.
    query.filter = Filter::all();
    let mut cells = 0;
    for tenant in [1, 2] {
        query.scope = Scope::One(tenant_name(tenant));
        let one = check(&store, &snapshot, &query);
        assert_eq!(one.cost.rows_scanned, 0);
        cells += one.cost.cells_read;
    }
    assert_eq!(cells, answer.cost.cells_read);
    query.scope = Scope::Several(vec![tenant_name(2), tenant_name(1)]);
    assert_eq!(check(&store, &snapshot, &query).cost.cells_read, cells);
}

/// Users of each type by quarters of an hour: what a midnight of another zone cuts is asked of rows, and of
/// cells only where rows may be gone.
#[test]
fn some_cells_are_made_only_where_they_outlive_the_rows() {
    let store = fixed(Stream::Events);
    let (types, users) = (GroupBy::Field(column(&EVENT_TYPE)), Aggregate::Distinct(identity()));
    let query = question(Stream::Events, vec![users], vec![bucket(BucketUnit::Day, "Asia/Kathmandu"), types]);
    for must_keep in [false, true] {
        let disk = disk();
        let snapshot = with_cells(&disk, &store.snapshot(), &definitions(Stream::Events), must_keep);
        assert_eq!(check(&store, &snapshot, &query).cost.rows_scanned == 0, must_keep);
    }
}

#[test]
fn damaged_cells_are_passed_over_and_named() {
    let store = fixed(Stream::Events);
    let mut query = question(Stream::Events, vec![Aggregate::Count, Aggregate::Distinct(identity())], vec![]);
    query.scope = Scope::All;
    let mut named = 0;
    for at in 0..18 {
        let disk = disk();
        let snapshot = with_cells(&disk, &store.snapshot(), &definitions(Stream::Events), true);
        let files: Vec<Arc<CellFile>> = snapshot.parts.iter().flat_map(|p| p.cells().to_vec()).collect();
        assert_eq!(files.len(), 18);
        // Blobs and entries; the index was read when the file was opened.
        let file = files[at].meta();
        for place in (32 + at as u64..file.bytes).step_by(40) {
            assert!(disk.corrupt(file.path(), place, 0x10));
        }
        // Finer cells answer instead, or those of each tenant, or rows.
        check(&store, &snapshot, &query);
        let found: usize = files.iter().map(|f| f.findings().len()).sum();
        named += found;
        check(&store, &snapshot, &query);
        assert_eq!(found, files.iter().map(|f| f.findings().len()).sum::<usize>(), "named once");
    }
    assert!(named >= 6, "a file of each part and day at least: {named}");
}

/// Several questions in one pass are answered as each alone: groups, costs and errors.
#[test]
fn questions_in_one_pass_are_answered_as_each_alone() {
    for stream in [Stream::Events, Stream::Metrics] {
        let disk = disk();
        let store = fixed(stream);
        let snapshot = with_cells(&disk, &store.snapshot(), &definitions(stream), false);
        let by_lsn = vec![GroupBy::Field(column(&LSN))];
        let mut queries: Vec<Query> = [vec![], by_lsn.clone(), by_lsn]
            .into_iter()
            .map(|group_by| question(stream, vec![Aggregate::Count], group_by))
            .collect();
        let mut cut = question(stream, vec![Aggregate::Count], vec![]);
        cut.window.start.0 += 30 * 60_000_000 + 1;
        let few = Budget { groups_max: 3, ..Budget::default() };
        queries.extend([
            cut,
            Query { budget: few, ..queries[1].clone() },
            Query { rows_only: true, ..queries[0].clone() },
        ]);
        let failed = asked_together(&snapshot, &queries);
        assert_eq!(failed, 1, "that of too many groups");
        // What all of them ask is asked once, what one asks besides of it alone.
        let compare = |op| Filter::Compare(column(&LSN), op);
        let (late, early) = (compare(Op::Gte(Literal::I64(3))), compare(Op::Lt(Literal::I64(9))));
        let none = compare(Op::Lt(Literal::I64(0)));
        // As deep as one alone may be.
        let deep = (0..64).fold(late.clone(), |filter, _| Filter::Not(Box::new(filter)));
        for filter in [
            deep,
            Filter::And(vec![early.clone(), Filter::And(vec![late.clone()])]),
            Filter::And(vec![late.clone(), Filter::Not(Box::new(early))]),
            Filter::And(vec![late.clone(), none]),
            late.clone(),
        ] {
            queries.insert(0, Query { filter, ..queries[0].clone() });
        }
        for query in &mut queries[5..] {
            query.filter = late.clone();
        }
        assert_eq!(asked_together(&snapshot, &queries), 1);
    }
}

/// Asks some questions together and each alone, and says how many failed.
fn asked_together(snapshot: &Snapshot, queries: &[Query]) -> usize {
    let together = aggregate_all(snapshot, queries);
    assert_eq!(together.len(), queries.len());
    let mut failed = 0;
    for (answer, query) in together.iter().zip(queries) {
        match (answer, aggregate(snapshot, query)) {
            (Ok(answer), Ok(alone)) => {
                assert_eq!((&answer.groups, answer.expired), (&alone.groups, alone.expired));
                assert_eq!(answer.cost.rows_scanned, alone.cost.rows_scanned);
                assert_eq!(answer.cost.cells_read, alone.cost.cells_read);
            }
            (Err(error), Err(alone)) => {
                failed += 1;
                assert_eq!(error.to_string(), alone.to_string());
            }
            (answer, alone) => panic!("{answer:?} together, {alone:?} alone"),
        }
    }
    assert!(together.iter().flatten().any(|answer| answer.cost.rows_scanned > 0));
    failed
}
