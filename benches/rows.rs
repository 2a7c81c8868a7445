//! Pages of rows: two hundred thousand audit records in segments and some in memory, asked as the audit log is read.

#![expect(clippy::expect_used, reason = "a bench that cannot run should say so and stop")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use insights_benches::{Random, quick};
use insights_engine::Engine;
use insights_engine::append::Append;
use insights_engine::clock::ManualClock;
use insights_engine::config::{Config, Durability};
use insights_engine::disk::os::OsDisk;
use insights_engine::id::{Stream, TenantId};
use insights_engine::query::{Cursor, Field, Filter, Literal, Op, Order, RowRequest, Scope};
use insights_engine::schema::stream::{ACTION_TYPE, DESCRIPTION, OBJECT_ID, TIME, USER_ID};
use insights_engine::schema::{BatchBuilder, ColumnDef};
use insights_engine::time::{DAY_US, TimeRange, TimestampUs};

const FLUSHED: i64 = 200_000;
const IN_MEMORY: i64 = 5_000;
const DAYS: i64 = 30;
const FROM_US: i64 = 19_700 * DAY_US;
const STEP_US: i64 = DAYS * DAY_US / (FLUSHED + IN_MEMORY);

fn tenant() -> TenantId {
    TenantId::new("acme").expect("a name")
}

fn append(engine: &Engine, random: &mut Random, records: std::ops::Range<i64>) {
    let actions = ["user.login", "user.logout", "project.updated", "security.alert", "app.deployed"];
    let records: Vec<i64> = records.collect();
    for some in records.chunks(10_000) {
        let mut batch = BatchBuilder::new(tenant(), Stream::Audit);
        for n in some {
            batch.i64(&TIME, FROM_US + n * STEP_US);
            batch.str(&USER_ID, Some(&format!("user-{}", random.skewed(2_000))));
            let action = usize::try_from(random.draw() % 5).ok().and_then(|n| actions.get(n).copied());
            batch.str(&ACTION_TYPE, action);
            batch.str(&OBJECT_ID, Some(&format!("object-{}", random.skewed(20_000))));
            batch.str(&DESCRIPTION, Some(&format!("record {n}")));
            batch.finish_row();
        }
        engine.append(Append::batch(batch.build())).expect("kept");
    }
}

fn compare(def: &ColumnDef, op: Op) -> Filter {
    Filter::Compare(Field::Column(def.id), op)
}

fn request(filter: Filter, limit: usize, after: Option<Cursor>) -> RowRequest {
    RowRequest {
        scope: Scope::One(tenant()),
        stream: Stream::Audit,
        window: TimeRange::ALL,
        filter,
        order: Order::Desc,
        limit,
        after,
        columns: None,
        allow_partial: false,
    }
}

fn pages(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config { durability: Durability::Buffered, ..Config::default() };
    let clock = ManualClock::new(TimestampUs(FROM_US + DAYS * DAY_US));
    let disk = Arc::new(OsDisk::open(dir.path()).expect("a disk"));
    let engine = Engine::open(config, disk, clock, [1; 32]).expect("open");
    let mut random = Random(11);
    append(&engine, &mut random, 0..FLUSHED);
    engine.flush().expect("flushed");
    append(&engine, &mut random, FLUSHED..FLUSHED + IN_MEMORY);

    let user = || compare(&USER_ID, Op::Is(Literal::Str("user-7".to_owned())));
    let starts = |prefix: &str| compare(&ACTION_TYPE, Op::StartsWith(prefix.to_owned()));
    let first = engine.rows(&request(Filter::all(), 50, None)).expect("a page");
    let deep = TimeRange { start: TimestampUs(i64::MIN), end: TimestampUs(FROM_US + DAY_US) };
    let cases = [
        ("newest_50", request(Filter::all(), 50, None)),
        ("the_50_after", request(Filter::all(), 50, first.next)),
        ("newest_50_of_an_old_day", RowRequest { window: deep, ..request(Filter::all(), 50, None) }),
        ("newest_100_of_a_user_by_prefix", request(Filter::And(vec![user(), starts("user.")]), 100, None)),
        ("newest_1000", request(Filter::all(), 1_000, None)),
        (
            "a_user_who_is_not_there",
            request(compare(&USER_ID, Op::Is(Literal::Str("no".to_owned()))), 50, None),
        ),
    ];
    let mut group = quick(c, "query/rows");
    for (name, request) in cases {
        group.bench_function(name, |b| b.iter(|| black_box(engine.rows(&request).expect("a page"))));
    }
    group.finish();
    engine.close().expect("closed");
}

criterion_group!(benches, pages);
criterion_main!(benches);
