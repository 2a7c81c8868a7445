//! Questions over ten million rows in memory: what filters, groups and aggregates cost a row.

#![expect(clippy::expect_used, reason = "a bench that cannot run should say so and stop")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use insights_benches::Decimal;
use insights_engine::Result;
use insights_engine::id::{Lsn, Stream, TenantNo};
use insights_engine::part::{Part, Run, ZoneMap};
use insights_engine::query::{
    Aggregate, Budget, Field, Filter, GroupBy, Literal, Op, PartId, Query, Scope, Snapshot, Stop, aggregate,
};
use insights_engine::schema::stream::{APP_ID, HOST, NAME, TIME, USER_ID, VALUE};
use insights_engine::schema::{ColumnDef, ColumnId, ColumnVector};
use insights_engine::time::{BucketUnit, Buckets, DAY_US, TimeRange, TimestampUs};

const ROWS: usize = 10_000_000;
const GRANULE_ROWS: usize = 8192;
/// Granules of codes and values that are made; the part repeats them.
const DISTINCT_GRANULES: usize = 64;
/// Thirty days of rows, evenly.
const STEP_US: i64 = 30 * DAY_US / 10_000_000;

/// Metric points of one tenant, or of a thousand in turns of eight rows, decoded already.
#[derive(Debug)]
struct Memory {
    runs: Vec<Run>,
    times: Vec<Arc<ColumnVector>>,
    names: Vec<Arc<ColumnVector>>,
    hosts: Vec<Arc<ColumnVector>>,
    users: Vec<Arc<ColumnVector>>,
    values: Vec<Arc<ColumnVector>>,
}

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

fn codes(seed: u64, bound: u32) -> Vec<Arc<ColumnVector>> {
    let mut random = SplitMix(seed);
    let mut granule =
        || Arc::new(ColumnVector::Codes((0..GRANULE_ROWS).map(|_| random.below(bound)).collect()));
    (0..DISTINCT_GRANULES).map(|_| granule()).collect()
}

impl Memory {
    fn new(tenants: u32) -> Self {
        let mut random = SplitMix(5);
        let mut value = || f64::from(random.below(1_000_000)) / 128.0;
        let values = (0..DISTINCT_GRANULES)
            .map(|_| Arc::new(ColumnVector::F64((0..GRANULE_ROWS).map(|_| value()).collect(), None)));
        let values = values.collect();
        let mut at = -STEP_US;
        let mut time = || {
            at += STEP_US;
            at
        };
        let times = (0..ROWS.div_ceil(GRANULE_ROWS))
            .map(|_| Arc::new(ColumnVector::I64((0..GRANULE_ROWS).map(|_| time()).collect(), None)))
            .collect();
        let last = TimestampUs(i64::try_from(ROWS).expect("fits") * STEP_US);
        let each = ROWS as u64 / u64::from(tenants);
        let run = |n: u32| Run {
            tenant: TenantNo(n + 1),
            rows: u64::from(n) * each..u64::from(n + 1) * each,
            min_time: TimestampUs(0),
            max_time: last,
        };
        let runs = (0..tenants).map(run).collect();
        Self { runs, times, names: codes(1, 100), hosts: codes(2, 20), users: codes(3, 100_000), values }
    }
}

impl Part for Memory {
    fn id(&self) -> PartId {
        PartId::Memory
    }

    fn runs(&self, stream: Stream) -> &[Run] {
        if stream == Stream::Metrics { &self.runs } else { &[] }
    }

    fn rows(&self, _: Stream) -> u64 {
        ROWS as u64
    }

    fn granule_rows(&self) -> usize {
        GRANULE_ROWS
    }

    fn zone_map(&self, _: Stream, _: ColumnId, _: usize) -> Option<ZoneMap> {
        None
    }

    fn column(&self, _: Stream, column: ColumnId, granule: usize) -> Result<Arc<ColumnVector>> {
        let of =
            |list: &[Arc<ColumnVector>]| Ok(Arc::clone(list.get(granule % list.len()).expect("a granule")));
        match column {
            id if id == TIME.id => of(&self.times),
            id if id == NAME.id => of(&self.names),
            id if id == HOST.id => of(&self.hosts),
            id if id == USER_ID.id => of(&self.users),
            id if id == VALUE.id => of(&self.values),
            _ => Ok(Arc::new(ColumnVector::Codes(vec![u32::MAX; GRANULE_ROWS]))),
        }
    }

    fn path(&self, stream: Stream, _: ColumnId, _: &[String], granule: usize) -> Result<Arc<ColumnVector>> {
        self.column(stream, APP_ID.id, granule)
    }

    fn bytes_of(&self, _: Stream) -> u64 {
        0
    }
}

fn snapshot(tenants: u32) -> Snapshot {
    let parts: Vec<Arc<dyn Part>> = vec![Arc::new(Memory::new(tenants))];
    Snapshot {
        parts,
        codes: Arc::new(Decimal),
        tenants: Arc::new(Decimal),
        hidden: Arc::default(),
        lsn: Lsn(1),
        stop: Stop::never(),
    }
}

fn column(def: &ColumnDef) -> Field {
    Field::Column(def.id)
}

fn query(filter: Filter, group_by: Vec<GroupBy>, aggregates: Vec<Aggregate>) -> Query {
    Query {
        scope: Scope::All,
        stream: Stream::Metrics,
        window: TimeRange::ALL,
        filter,
        group_by,
        aggregates,
        budget: Budget::default(),
        rows_only: false,
        allow_partial: false,
    }
}

fn days() -> GroupBy {
    let window = TimeRange { start: TimestampUs(0), end: TimestampUs(31 * DAY_US) };
    let utc = BucketUnit::Step(DAY_US);
    GroupBy::Bucket(Buckets::cover(window, utc, &jiff::tz::TimeZone::UTC, 100).expect("days"))
}

fn is(def: &ColumnDef, value: &str) -> Filter {
    Filter::Compare(column(def), Op::Is(Literal::Str(value.to_owned())))
}

fn value() -> Field {
    column(&VALUE)
}

fn user() -> Field {
    column(&USER_ID)
}

fn by(def: &ColumnDef) -> GroupBy {
    GroupBy::Field(column(def))
}

/// Points of a value above `n`.
fn above(n: f64) -> Filter {
    Filter::Compare(value(), Op::Gt(Literal::F64(n)))
}

fn questions(c: &mut Criterion) {
    let mut group = c.benchmark_group("query");
    group
        .throughput(Throughput::Elements(ROWS as u64))
        .sample_size(10)
        .measurement_time(Duration::from_secs(2));
    let mut ask = |name: &str, snapshot: &Snapshot, query: Query| {
        group.bench_function(name, |b| {
            b.iter(|| aggregate(black_box(snapshot), black_box(&query)).expect("an answer"));
        });
    };
    let one = snapshot(1);
    groups(&mut |name, query| ask(name, &one, query));
    filters(&mut |name, query| ask(name, &one, query));
    let many = snapshot(1_000_000);
    ask(
        "group_by_day/runs_of_ten_rows",
        &many,
        query(Filter::all(), vec![days()], vec![Aggregate::Count, Aggregate::Sum(value())]),
    );
    // Memory alone: the values and two columns of codes of all rows, read once.
    let columns = (vec![1_u64; ROWS], vec![1_u32; ROWS], vec![1_u32; ROWS]);
    group.bench_function("sum_of_the_bytes_of_three_columns", |b| {
        b.iter(|| {
            let (values, names, hosts) = black_box(&columns);
            let codes: u64 = names.iter().chain(hosts).map(|code| u64::from(*code)).sum();
            values.iter().sum::<u64>() + codes
        });
    });
    group.finish();
}

/// Every row takes part.
fn groups(ask: &mut dyn FnMut(&str, Query)) {
    ask(
        "group_by_day/count_sum",
        query(Filter::all(), vec![days()], vec![Aggregate::Count, Aggregate::Sum(value())]),
    );
    ask(
        "group_by_day/quantile",
        query(Filter::all(), vec![days()], vec![Aggregate::Quantile(value(), 0.95)]),
    );
    ask("group_by_day/distinct", query(Filter::all(), vec![days()], vec![Aggregate::Distinct(user())]));
    ask("group_by_name/count", query(Filter::all(), vec![by(&NAME)], vec![Aggregate::Count]));
    ask(
        "group_by_name/avg_max",
        query(Filter::all(), vec![by(&NAME)], vec![Aggregate::Avg(value()), Aggregate::Max(value())]),
    );
    ask("group_by_name/distinct", query(Filter::all(), vec![by(&NAME)], vec![Aggregate::Distinct(user())]));
    ask(
        "group_by_day_name_host/count_sum",
        query(
            Filter::all(),
            vec![days(), by(&NAME), by(&HOST)],
            vec![Aggregate::Count, Aggregate::Sum(value())],
        ),
    );
}

/// Some rows take part.
fn filters(ask: &mut dyn FnMut(&str, Query)) {
    ask("filter/code", query(is(&NAME, "7"), Vec::new(), vec![Aggregate::Count, Aggregate::Sum(value())]));
    ask("filter/code_then_day", query(is(&NAME, "7"), vec![days()], vec![Aggregate::Avg(value())]));
    ask("filter/number", query(above(4000.0), Vec::new(), vec![Aggregate::Count]));
    ask(
        "filter/code_or_number",
        query(Filter::Or(vec![is(&HOST, "3"), above(7000.0)]), vec![by(&HOST)], vec![Aggregate::Count]),
    );
    let both = || vec![by(&NAME), by(&HOST)];
    ask("filter_number_then_two_columns/count", query(above(4000.0), both(), vec![Aggregate::Count]));
    ask(
        "filter_number_then_two_columns/quantiles",
        query(above(4000.0), both(), [0.5, 0.95, 0.99].map(|q| Aggregate::Quantile(value(), q)).into()),
    );
    ask(
        "filter_number_then_two_columns/distinct",
        query(above(4000.0), both(), vec![Aggregate::Distinct(user())]),
    );
}

criterion_group!(benches, questions);
criterion_main!(benches);
