//! Cells: what it takes to make them of rows, and to answer thirty days of a report from them.

#![expect(clippy::expect_used, reason = "a bench that cannot run should say so and stop")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use insights_benches::Decimal;
use insights_engine::Result;
use insights_engine::disk::Disk;
use insights_engine::disk::sim::SimDisk;
use insights_engine::id::{FileId, Lsn, Stream, TenantId, TenantNo};
use insights_engine::manifest::FileKind;
use insights_engine::part::{Part, Run, ZoneMap};
use insights_engine::query::{
    Aggregate, Budget, Field, Filter, GroupBy, Literal, Op, PartId, Query, Scope, Snapshot, Stop, aggregate,
};
use insights_engine::rollup::{
    CellCache, CellFile, CellSource, Kept, RollupDefinition, Rollups, Tier, TierAggregates, write_cells,
};
use insights_engine::schema::stream::{
    ANONYMOUS_ID, APP_ID, EVENT_TYPE, HOST, NAME, SESSION_ID, TIME, USER_ID, VALUE,
};
use insights_engine::schema::{ColumnDef, ColumnId, ColumnVector};
use insights_engine::time::{BucketUnit, Buckets, DAY_US, TimeRange, TimestampUs};

const GRANULE_ROWS: usize = 8192;
const DAYS: i32 = 30;
const FIRST_DAY: i32 = 19_800;

/// A small generator, so that every run sees the same rows (Steele, Lea and Flood, 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() % u64::from(bound)).expect("below a u32")
    }
}

/// One UTC day of one stream in memory, and its cells.
#[derive(Debug, Clone)]
struct Day {
    stream: Stream,
    number: i32,
    runs: Vec<Run>,
    rows: usize,
    columns: Vec<(ColumnId, Vec<Arc<ColumnVector>>)>,
    cells: Vec<Arc<CellFile>>,
}

impl Day {
    /// `rows` rows of each of `tenants` tenants, evenly over the day; each code under its bound.
    fn new(stream: Stream, number: i32, tenants: u32, rows: usize, bounds: &[(&ColumnDef, u32)]) -> Self {
        let all = rows * tenants as usize;
        let mut random = SplitMix(u64::from(number.unsigned_abs()));
        let start = i64::from(number) * DAY_US;
        let step = DAY_US / i64::try_from(rows).expect("fits");
        let times: Vec<i64> =
            (0..all).map(|row| start + i64::try_from(row % rows).expect("fits") * step).collect();
        let values: Vec<f64> = (0..all).map(|_| f64::from(random.below(1_000_000)) / 128.0).collect();
        let times = times.chunks(GRANULE_ROWS).map(|c| Arc::new(ColumnVector::I64(c.to_vec(), None)));
        let doubles = values.chunks(GRANULE_ROWS).map(|c| Arc::new(ColumnVector::F64(c.to_vec(), None)));
        let mut columns = vec![(TIME.id, times.collect()), (VALUE.id, doubles.collect())];
        for (def, bound) in bounds {
            let codes: Vec<u32> = (0..all).map(|_| random.below(*bound)).collect();
            let codes = codes.chunks(GRANULE_ROWS).map(|c| Arc::new(ColumnVector::Codes(c.to_vec())));
            columns.push((def.id, codes.collect()));
        }
        let run = |n: u32| Run {
            tenant: TenantNo(n + 1),
            rows: u64::from(n) * rows as u64..u64::from(n + 1) * rows as u64,
            min_time: TimestampUs(start),
            max_time: TimestampUs(start + DAY_US - 1),
        };
        Self { stream, number, runs: (0..tenants).map(run).collect(), rows: all, columns, cells: Vec::new() }
    }

    /// The cells of the day, in files on `disk`.
    fn write(
        &self,
        disk: &SimDisk,
        rollups: &Arc<Rollups>,
        next: &AtomicU64,
    ) -> Vec<Arc<insights_engine::manifest::FileMeta>> {
        let source = CellSource {
            part: Arc::new(self.clone()),
            segment: FileId(u64::from(self.number.unsigned_abs())),
            stream: self.stream,
            codes: Arc::new(Decimal),
            tenants: Arc::new(Decimal),
            rollups,
            sessions: None,
            must_keep: true,
        };
        let allocate = || FileId(next.fetch_add(1, Ordering::Relaxed));
        let files = write_cells(disk, &source, &allocate).expect("cells");
        files.into_iter().map(Arc::new).collect()
    }
}

impl Part for Day {
    fn id(&self) -> PartId {
        PartId::File(FileId(u64::from(self.number.unsigned_abs())))
    }

    fn runs(&self, stream: Stream) -> &[Run] {
        if stream == self.stream { &self.runs } else { &[] }
    }

    fn rows(&self, _: Stream) -> u64 {
        self.rows as u64
    }

    fn granule_rows(&self) -> usize {
        GRANULE_ROWS
    }

    fn zone_map(&self, _: Stream, _: ColumnId, _: usize) -> Option<ZoneMap> {
        None
    }

    fn column(&self, _: Stream, column: ColumnId, granule: usize) -> Result<Arc<ColumnVector>> {
        let rows = (self.rows - granule * GRANULE_ROWS).min(GRANULE_ROWS);
        match self.columns.iter().find(|(id, _)| *id == column) {
            Some((_, granules)) => Ok(Arc::clone(granules.get(granule).expect("a granule"))),
            None if column == SESSION_ID.id => {
                Ok(Arc::new(ColumnVector::dictionary(vec![None; rows].into_iter())))
            }
            None if column.0 < 5 => Ok(Arc::new(ColumnVector::U64(vec![1; rows], None))),
            None => Ok(Arc::new(ColumnVector::Codes(vec![u32::MAX; rows]))),
        }
    }

    fn path(&self, stream: Stream, _: ColumnId, _: &[String], granule: usize) -> Result<Arc<ColumnVector>> {
        self.column(stream, SESSION_ID.id, granule)
    }

    fn bytes_of(&self, _: Stream) -> u64 {
        self.rows as u64 * 10
    }

    fn cells(&self) -> &[Arc<CellFile>] {
        &self.cells
    }
}

fn column(def: &ColumnDef) -> Field {
    Field::Column(def.id)
}

fn identity() -> Field {
    Field::FirstOf(vec![column(&USER_ID), column(&ANONYMOUS_ID), column(&SESSION_ID)])
}

fn views() -> Filter {
    Filter::Compare(
        column(&EVENT_TYPE),
        Op::In(vec![Literal::Str("0".to_owned()), Literal::Str("1".to_owned())]),
    )
}

fn rollups() -> Arc<Rollups> {
    let users = || Aggregate::Distinct(identity());
    let whole = vec![users(), Aggregate::CountIf(Box::new(views()))];
    let value = || column(&VALUE);
    let numbers = vec![
        Aggregate::Sum(value()),
        Aggregate::Min(value()),
        Aggregate::Max(value()),
        Aggregate::Quantile(value(), 0.5),
    ];
    let every = |list: &[Aggregate]| {
        Tier::ALL.map(|tier| TierAggregates { tier, aggregates: list.to_vec() }).to_vec()
    };
    let lists = || {
        let mut tiers = every(&[]);
        if let Some(day) = tiers.last_mut() {
            day.aggregates = vec![users()];
        }
        tiers
    };
    let of = |id, stream, keys, tiers| RollupDefinition {
        id,
        stream,
        filter: Filter::all(),
        keys,
        tiers,
        priority: id,
        kept: Kept::Always,
    };
    let by_type = vec![column(&EVENT_TYPE)];
    let by_app = vec![column(&EVENT_TYPE), column(&APP_ID)];
    let series = vec![column(&NAME), column(&APP_ID), column(&HOST)];
    Rollups::new(&[
        of(1, Stream::Events, vec![], every(&whole)),
        of(2, Stream::Events, vec![column(&APP_ID)], every(&whole)),
        of(3, Stream::Events, by_type, lists()),
        of(4, Stream::Events, by_app, lists()),
        of(5, Stream::Metrics, series, every(&numbers)),
    ])
    .expect("definitions")
}

/// Thirty days with cells.
fn store(stream: Stream, tenants: u32, rows: usize, bounds: &[(&ColumnDef, u32)]) -> Snapshot {
    let disk = disk();
    let (rollups, cache, next) = (rollups(), CellCache::new(256 << 20), AtomicU64::new(1));
    let day = |number: i32| -> Arc<dyn Part> {
        let mut day = Day::new(stream, number, tenants, rows, bounds);
        let metas = day.write(&disk, &rollups, &next);
        let open = |meta| CellFile::open(&disk, meta, &rollups, &cache).expect("an open file");
        day.cells = metas.iter().map(open).collect();
        Arc::new(day)
    };
    Snapshot {
        parts: (FIRST_DAY..FIRST_DAY + DAYS).map(day).collect(),
        codes: Arc::new(Decimal),
        tenants: Arc::new(Decimal),
        lsn: Lsn(1),
        hidden: Arc::default(),
        stop: Stop::never(),
    }
}

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir(Path::new(FileKind::Cells.dir())).expect("a directory");
    disk
}

const EVENTS: [(&ColumnDef, u32); 3] = [(&USER_ID, 20_000), (&EVENT_TYPE, 20), (&APP_ID, 5)];
const METRICS: [(&ColumnDef, u32); 2] = [(&NAME, 8), (&HOST, 10)];

fn build(c: &mut Criterion) {
    let mut group = c.benchmark_group("rollup/build");
    group.sample_size(10);
    for (name, stream, bounds) in
        [("events", Stream::Events, &EVENTS[..]), ("metrics", Stream::Metrics, &METRICS[..])]
    {
        let day = Day::new(stream, FIRST_DAY, 1, 500_000, bounds);
        let rollups = rollups();
        group.throughput(Throughput::Elements(500_000));
        group.bench_function(name, |b| {
            b.iter(|| {
                let next = AtomicU64::new(1);
                black_box(day.write(&disk(), &rollups, &next))
            });
        });
    }
    group.finish();
}

fn question(stream: Stream, scope: Scope, group_by: Vec<GroupBy>, aggregates: Vec<Aggregate>) -> Query {
    let start = i64::from(FIRST_DAY) * DAY_US;
    let window = TimeRange { start: TimestampUs(start), end: TimestampUs(start + i64::from(DAYS) * DAY_US) };
    Query {
        scope,
        stream,
        window,
        filter: Filter::all(),
        group_by,
        aggregates,
        budget: Budget::default(),
        rows_only: false,
        allow_partial: false,
    }
}

/// The questions of an organization's report about users.
fn report(scope: &Scope) -> Vec<Query> {
    let users = || Aggregate::Distinct(identity());
    let whole = || vec![Aggregate::Count, users(), Aggregate::CountIf(Box::new(views()))];
    let ask = |group_by, aggregates| question(Stream::Events, scope.clone(), group_by, aggregates);
    let days = Buckets::cover(ask(vec![], vec![]).window, BucketUnit::Day, &jiff::tz::TimeZone::UTC, 100);
    let days = GroupBy::Bucket(days.expect("buckets"));
    vec![
        ask(vec![days], whole()),
        ask(vec![], whole()),
        ask(vec![GroupBy::Field(column(&EVENT_TYPE))], vec![Aggregate::Count, users()]),
    ]
}

fn fold(c: &mut Criterion) {
    let mut group = c.benchmark_group("rollup/fold");
    group.sample_size(20);
    let one = || Scope::One(TenantId::new("1").expect("a name"));
    let value = || column(&VALUE);
    let numbers = vec![
        Aggregate::Count,
        Aggregate::Avg(value()),
        Aggregate::Max(value()),
        Aggregate::Quantile(value(), 0.95),
        Aggregate::Quantile(value(), 0.99),
    ];
    let by_name = vec![GroupBy::Field(column(&NAME))];
    let cases = [
        ("report of one tenant", store(Stream::Events, 1, 50_000, &EVENTS), report(&one())),
        (
            "report of all of 100 tenants",
            store(Stream::Events, 100, 1_000, &[(&USER_ID, 200), (&EVENT_TYPE, 20)]),
            report(&Scope::All),
        ),
        (
            "hosts",
            store(Stream::Metrics, 1, 50_000, &METRICS),
            vec![question(Stream::Metrics, one(), by_name, numbers)],
        ),
    ];
    for (name, store, questions) in &cases {
        let answer = |query: &Query| aggregate(store, query).expect("an answer");
        // The first answers read the cells from the disk, the later ones find them in the cache.
        let first: Vec<_> = questions.iter().map(|q| answer(q).cost).collect();
        let cells: u64 = first.iter().map(|cost| cost.cells_read).sum();
        let bytes: u64 = first.iter().map(|cost| cost.bytes_read).sum();
        assert!(cells > 0 && questions.iter().all(|q| answer(q).cost.rows_scanned == 0), "{name}");
        group.throughput(Throughput::Elements(cells));
        group.bench_function(*name, |b| {
            b.iter(|| questions.iter().map(|q| black_box(answer(q)).groups.len()).sum::<usize>());
        });
        // Memory alone: the bytes of the cells that are folded, copied.
        let cells = vec![0x5A_u8; usize::try_from(bytes).expect("fits in memory")];
        group.bench_function(format!("{name}/copy_of_{bytes}_bytes"), |b| {
            b.iter(|| black_box(black_box(&cells).clone()));
        });
    }
    group.finish();
}

criterion_group!(benches, build, fold);
criterion_main!(benches);
