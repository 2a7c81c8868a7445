//! Sessions and probes of a store that merges its days: cells and rows give what rows alone give.

use std::sync::Arc;
use std::time::Duration;

use insights_engine::Engine;
use insights_engine::append::Append;
use insights_engine::catalog::{RetentionDocument, StreamRetention};
use insights_engine::clock::ManualClock;
use insights_engine::compaction::Effort;
use insights_engine::config::{Config, Durability};
use insights_engine::disk::sim::SimDisk;
use insights_engine::id::{Stream, TenantId};
use insights_engine::probes::Probe;
use insights_engine::query::{
    Budget, Field, Filter, Literal, Op, ProbeRequest, Scope, SessionAnswer, SessionClasses, SessionRequest,
};
use insights_engine::schema::stream::{
    APP_ID, EVENT_DATA, EVENT_TYPE, NAME, SESSION_ID, TIME, USER_ID, VALUE,
};
use insights_engine::schema::{BatchBuilder, Document, Value};
use insights_engine::time::{BucketUnit, Buckets, DAY_US, TimeRange, TimestampUs};
use jiff::tz::TimeZone;

const MINUTE: i64 = 60_000_000;
/// 2024-03-08T00:00:00Z; the third day has 23 hours in New York.
const BASE: i64 = 19_790 * DAY_US;
const DAYS: i64 = 6;

/// A small generator (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn tenant(number: u64) -> TenantId {
    TenantId::new(&format!("tenant-{number}")).unwrap()
}

fn is(field: Field, literal: Literal) -> Filter {
    Filter::Compare(field, Op::Is(literal))
}

fn classes() -> SessionClasses {
    let page = is(Field::Column(EVENT_TYPE.id), Literal::Str("page_view".to_owned()));
    let passive = is(Field::Path(EVENT_DATA.id, vec!["interactive".to_owned()]), Literal::Bool(false));
    let not = |filter: &Filter| Filter::Not(Box::new(filter.clone()));
    let action = Filter::And(vec![not(&page), not(&passive)]);
    SessionClasses { interactive: Filter::Or(vec![page.clone(), action.clone()]), page, action }
}

fn open(clock: &Arc<ManualClock>) -> Arc<Engine> {
    // Rows go before their cells: all cells are kept then, however few the rows.
    let events = StreamRetention { raw_days: Some(36_500), ..StreamRetention::FOREVER };
    let config = Config {
        retention: RetentionDocument { events, ..RetentionDocument::default() },
        durability: Durability::Buffered,
        disk_reserve_bytes: 0,
        sessions: Some(classes()),
        ..Config::default()
    };
    Engine::open(config, Arc::new(SimDisk::new()), Arc::clone(clock) as _, [5; 32]).unwrap()
}

/// Events of a few people, in visits that cross midnights as they like.
fn append_events(engine: &Engine, random: &mut Random, visits: u64) {
    let passive = Document::encode(&Value::Object(
        [("interactive".to_owned(), Value::Bool(false))].into_iter().collect(),
    ));
    for number in 1..4 {
        let mut batch = BatchBuilder::new(tenant(number), Stream::Events);
        for _ in 0..visits {
            let mut at = BASE + random.below((DAYS * DAY_US) as u64) as i64;
            let (person, named) = (random.below(12), random.below(2) == 0);
            for _ in 0..=random.below(12) {
                batch.i64(&TIME, at);
                batch.str(&USER_ID, Some(&format!("person-{person}")));
                batch.str(&APP_ID, Some(["shop", "blog"][random.below(2) as usize]));
                batch.str(&EVENT_TYPE, Some(["page_view", "click"][random.below(2) as usize]));
                if named {
                    batch.str(&SESSION_ID, Some(&format!("session-{person}")));
                }
                if random.below(3) == 0 {
                    batch.bytes(&EVENT_DATA, Some(passive.as_bytes()));
                }
                batch.finish_row();
                at += random.below(35 * MINUTE as u64) as i64;
            }
        }
        engine.append(Append { batches: vec![batch.build()], ..Append::default() }).unwrap();
    }
}

fn questions() -> Vec<SessionRequest> {
    let mut out = Vec::new();
    for (zone, unit, from, to) in [
        ("UTC", BucketUnit::Day, 0, DAYS),
        ("UTC", BucketUnit::Hour, 1, 3),
        ("America/New_York", BucketUnit::Day, 1, 5),
        ("Asia/Kathmandu", BucketUnit::Hour, 2, 4),
        ("UTC", BucketUnit::Step(10 * MINUTE), 2, 3),
    ] {
        let zone = TimeZone::get(zone).unwrap();
        let midnight = |day: i64| {
            let start = TimestampUs(BASE + day * DAY_US).to_jiff().unwrap();
            let date = start.to_zoned_datetime(TimeZone::UTC).date();
            TimestampUs(date.to_zoned_datetime(zone.clone()).unwrap().timestamp().as_microsecond())
        };
        let window = TimeRange { start: midnight(from), end: midnight(to) };
        let buckets = Buckets::cover(window, unit, &zone, 10_000).unwrap();
        for scope in [Scope::One(tenant(1)), Scope::Several(vec![tenant(2), tenant(3)]), Scope::All] {
            for filter in [Filter::all(), is(Field::Column(APP_ID.id), Literal::Str("shop".to_owned()))] {
                out.push(SessionRequest {
                    scope: scope.clone(),
                    window,
                    buckets: buckets.clone(),
                    filter,
                    classes: classes(),
                    exact: false,
                    budget: Budget::default(),
                    allow_partial: false,
                });
            }
        }
    }
    out
}

/// Asks every question of cells and of rows alone; gives the cells that were read and the rows that both read.
fn compare(engine: &Engine) -> (u64, u64, u64) {
    let (mut cells, mut rows, mut all_rows) = (0, 0, 0);
    for question in questions() {
        let view = engine.view();
        let fast = view.sessions(&question).unwrap();
        let exact = view.sessions(&SessionRequest { exact: true, ..question.clone() }).unwrap();
        assert!(exact.started.len() > 10 && exact.cost.cells_read == 0);
        assert_eq!(fast.durations, exact.durations);
        assert_eq!(
            SessionAnswer { read: None, cost: exact.cost, ..fast.clone() },
            SessionAnswer { read: None, started: Vec::new(), ..exact.clone() },
            "{:?} {:?}",
            question.scope,
            question.filter
        );
        cells += fast.cost.cells_read;
        rows += fast.cost.rows_scanned;
        all_rows += exact.cost.rows_scanned;
    }
    (cells, rows, all_rows)
}

#[test]
fn sessions_are_the_same_before_and_after_days_are_merged() {
    let clock = ManualClock::new(TimestampUs(BASE + DAYS * DAY_US));
    let engine = open(&clock);
    let mut random = Random(11);
    for _ in 0..4 {
        append_events(&engine, &mut random, 150);
        engine.flush().unwrap();
    }
    let (cells, rows, all_rows) = compare(&engine);
    assert_eq!((cells, rows), (0, all_rows));
    clock.advance(Duration::from_hours(4));
    engine.compact(Effort::Full).unwrap();
    let (cells, rows, all_rows) = compare(&engine);
    // What is left is of days that the buckets of ten minutes meet.
    assert!(cells > 0 && rows * 3 < all_rows, "{cells} cells, {rows} rows of {all_rows}");
    // Late events, in memory and then in segments beside the final ones, and then merged with them.
    append_events(&engine, &mut random, 2);
    compare(&engine);
    engine.flush().unwrap();
    compare(&engine);
    clock.advance(Duration::from_hours(4));
    engine.compact(Effort::Full).unwrap();
    let (cells, rows, all_rows) = compare(&engine);
    assert!(cells > 0 && rows * 3 < all_rows, "{cells} cells, {rows} rows of {all_rows}");
    engine.close().unwrap();
}

#[test]
fn probes_are_the_same_before_and_after_days_are_merged() {
    let clock = ManualClock::new(TimestampUs(BASE + DAYS * DAY_US));
    let engine = open(&clock);
    let mut random = Random(3);
    let mut probes = Vec::new();
    for day in 0..DAYS {
        let mut batch = BatchBuilder::new(tenant(1), Stream::Metrics);
        for minute in day * 1_440..(day + 1) * 1_440 {
            let (at, up) = (BASE + minute * MINUTE, random.below(20) > 0);
            probes.push(Probe { at: TimestampUs(at), up, maintenance: false });
            batch.i64(&TIME, at).str(&NAME, Some("uptime")).str(&APP_ID, Some("shop"));
            batch.f64(&VALUE, f64::from(u8::from(up))).finish_row();
            batch.i64(&TIME, at).str(&NAME, Some("cpu")).f64(&VALUE, 0.5).finish_row();
        }
        engine.append(Append { batches: vec![batch.build()], ..Append::default() }).unwrap();
    }
    engine.flush().unwrap();
    let window =
        TimeRange { start: TimestampUs(BASE + 700 * MINUTE), end: TimestampUs(BASE + 5_000 * MINUTE) };
    probes.retain(|probe| window.contains(probe.at));
    let request = ProbeRequest {
        scope: Scope::All,
        window,
        app: Some("shop".to_owned()),
        budget: Budget::default(),
        allow_partial: false,
    };
    for merged in [false, true] {
        if merged {
            clock.advance(Duration::from_hours(4));
            engine.compact(Effort::Full).unwrap();
        }
        let answer = engine.view().probes(&request).unwrap();
        assert_eq!(answer.apps.len(), 1);
        assert_eq!(answer.apps[0].probes, probes);
        assert_eq!(answer.cost.rows_scanned == 0, merged);
    }
    engine.close().unwrap();
}
