//! Sessions of half a million events over thirty days: from rows, and from cells once the days are merged.

#![expect(clippy::expect_used, reason = "a bench that cannot run should say so and stop")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use insights_benches::Random;
use insights_engine::Engine;
use insights_engine::append::Append;
use insights_engine::clock::ManualClock;
use insights_engine::compaction::Effort;
use insights_engine::config::{Config, Durability};
use insights_engine::disk::os::OsDisk;
use insights_engine::id::{Stream, TenantId};
use insights_engine::query::{Budget, Field, Filter, Literal, Op, Scope, SessionClasses, SessionRequest};
use insights_engine::schema::stream::{ANONYMOUS_ID, EVENT_DATA, EVENT_TYPE, SESSION_ID, TIME, USER_ID};
use insights_engine::schema::{BatchBuilder, Document, Value};
use insights_engine::time::{BucketUnit, Buckets, DAY_US, TimeRange, TimestampUs};

const EVENTS: i64 = 500_000;
const DAYS: i64 = 30;
const FROM_US: i64 = 19_700 * DAY_US;
/// Events of one visit, a minute or two apart.
const EVENTS_A_VISIT: i64 = 10;

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("a name")
}

/// The same visits of twenty thousand people: named by the client for `named`, not for `people`.
fn fill(engine: &Engine) {
    let mut random = Random(3);
    let mut events = Vec::new();
    for visit in 0..EVENTS / EVENTS_A_VISIT {
        let person = random.draw() % 20_000;
        let mut at = FROM_US + (random.draw() % (DAYS * DAY_US).unsigned_abs()).cast_signed();
        for _ in 0..EVENTS_A_VISIT {
            events.push((at, person, visit, random.draw() % 8));
            at += (random.draw() % 120_000_000).cast_signed();
        }
    }
    events.sort_unstable();
    let data = |interactive| {
        let members = vec![("interactive".to_owned(), Value::Bool(interactive))];
        Document::encode(&Value::Object(members))
    };
    let data = [data(false), data(true)];
    for name in ["named", "people"] {
        for some in events.chunks(10_000) {
            let mut batch = BatchBuilder::new(tenant(name), Stream::Events);
            for (at, person, visit, pick) in some {
                let pick = usize::try_from(*pick).expect("under eight");
                batch.i64(&TIME, *at);
                let person_name = format!("person-{person:08}");
                let column = if *person % 3 == 0 { &ANONYMOUS_ID } else { &USER_ID };
                batch.str(column, Some(&person_name));
                if name == "named" {
                    batch.str(
                        &SESSION_ID,
                        Some(&format!("{:032x}", u128::from(visit.cast_unsigned()) << 64 | 7)),
                    );
                }
                batch.str(
                    &EVENT_TYPE,
                    ["page_view", "click", "save", "open"].iter().cycle().nth(pick).copied(),
                );
                if let Some(data) = data.get(pick) {
                    batch.bytes(&EVENT_DATA, Some(data.as_bytes()));
                }
                batch.finish_row();
            }
            let append = Append { batches: vec![batch.build()], ..Append::default() };
            engine.append(append).expect("kept");
        }
    }
    engine.flush().expect("flushed");
}

fn classes() -> SessionClasses {
    let page = Filter::Compare(Field::Column(EVENT_TYPE.id), Op::Is(Literal::Str("page_view".to_owned())));
    let interactive = Field::Path(EVENT_DATA.id, vec!["interactive".to_owned()]);
    let passive = Filter::Compare(interactive, Op::Is(Literal::Bool(false)));
    let not = |filter: &Filter| Filter::Not(Box::new(filter.clone()));
    let action = Filter::And(vec![not(&page), not(&passive)]);
    SessionClasses { interactive: Filter::Or(vec![page.clone(), action.clone()]), page, action }
}

fn request(name: &str) -> SessionRequest {
    let window = TimeRange { start: TimestampUs(FROM_US), end: TimestampUs(FROM_US + DAYS * DAY_US) };
    SessionRequest {
        scope: Scope::One(tenant(name)),
        window,
        buckets: Buckets::cover(window, BucketUnit::Day, &jiff::tz::TimeZone::UTC, 1000).expect("30 days"),
        filter: Filter::all(),
        classes: classes(),
        exact: false,
        budget: Budget::default(),
        allow_partial: false,
    }
}

fn fold(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config {
        durability: Durability::Buffered,
        block_cache_bytes: 256 << 20,
        sessions: Some(classes()),
        ..Config::default()
    };
    let clock = ManualClock::new(TimestampUs(FROM_US + DAYS * DAY_US));
    let disk = Arc::new(OsDisk::open(dir.path()).expect("a disk"));
    let engine = Engine::open(config, disk, Arc::clone(&clock) as _, [1; 32]).expect("open");
    fill(&engine);
    let mut group = c.benchmark_group("session/fold");
    group.sample_size(20).throughput(Throughput::Elements(EVENTS.unsigned_abs()));
    for name in ["named", "people"] {
        let request = request(name);
        group.bench_function(name, |b| {
            b.iter(|| black_box(engine.view().sessions(&request).expect("answer")));
        });
    }
    group.finish();
    clock.advance(Duration::from_hours(4));
    engine.compact(Effort::Full).expect("merged");
    let mut group = c.benchmark_group("session/cells");
    group.sample_size(20);
    for name in ["named", "people"] {
        let request = request(name);
        let read = engine.view().sessions(&request).expect("answer").cost;
        // Visits of the last day go on after its end: those few rows are of a day that is not over.
        assert!(read.rows_scanned < 1_000 && read.cells_read > 0, "cells answer the days: {read:?}");
        group.bench_function(name, |b| {
            b.iter(|| black_box(engine.view().sessions(&request).expect("answer")));
        });
    }
    group.finish();
    engine.close().expect("closed");
}

criterion_group!(benches, fold);
criterion_main!(benches);
