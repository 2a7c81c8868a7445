//! Questions that stay: who goes on, who waits, and who goes.

use insights_engine::Engine;
use insights_engine::append::Append;
use insights_engine::clock::{Clock, ManualClock};
use insights_engine::config::Config;
use insights_engine::disk::SimDisk;
use insights_engine::id::TenantId;
use insights_engine::query::{Aggregate, Budget, Filter, SessionClasses};
use insights_engine::schema::{BatchBuilder, stream};
use insights_engine::time::{Buckets, DAY_US, TimestampUs};

use super::*;

const KEY: Key = [1; 32];
const SESSIONS: Key = [2; 32];
const WINDOW: TimeRange = TimeRange { start: TimestampUs(0), end: TimestampUs(DAY_US) };

struct Store {
    engine: Arc<Engine>,
    standing: Standing,
}

fn scope() -> Scope {
    Scope::One(TenantId::new("acme").unwrap())
}

impl Store {
    /// One whose questions stay however few rows they read, when they take at most so many bytes.
    fn new(bytes_max: u64) -> Self {
        let clock: Arc<dyn Clock> = ManualClock::new(TimestampUs(DAY_US / 2));
        let config = Config { disk_reserve_bytes: 0, ..Config::default() };
        let engine = Engine::open(config, Arc::new(SimDisk::new()), clock, [7; 32]).unwrap();
        Self { engine, standing: Standing { rows_min: 0, ..Standing::new(bytes_max) } }
    }

    fn append(&self, events: usize) {
        self.append_at(DAY_US / 3, events);
    }

    fn append_at(&self, time: i64, events: usize) {
        let mut rows = BatchBuilder::new(TenantId::new("acme").unwrap(), Stream::Events);
        for n in 0..events {
            rows.i64(&stream::TIME, time).str(&stream::EVENT_TYPE, Some("click"));
            rows.str(&stream::SESSION_ID, Some(&format!("s{n}"))).finish_row();
        }
        self.engine.append(Append::batch(rows.build())).unwrap();
    }

    /// The events, and the rows that were read to count them.
    fn events(&self, view: &View, taken: &Taken) -> (u64, u64) {
        let query = Query {
            scope: scope(),
            stream: Stream::Events,
            window: WINDOW,
            filter: Filter::all(),
            group_by: Vec::new(),
            aggregates: vec![Aggregate::Count],
            budget: Budget::default(),
            rows_only: false,
            allow_partial: false,
        };
        let ask = Ask { view, taken };
        self.standing.take(ask, &KEY, (&query.scope, query.stream, WINDOW));
        let answer = self.standing.numbers(ask, KEY, &[query]).unwrap().remove(0).unwrap();
        (answer.groups[0].values[0].as_u64(), answer.cost.rows_scanned)
    }

    fn sessions(&self, view: &View, taken: &Taken) -> (u64, u64) {
        let request = SessionRequest {
            scope: scope(),
            window: WINDOW,
            buckets: Buckets::whole(WINDOW),
            filter: Filter::all(),
            classes: SessionClasses {
                page: Filter::all(),
                action: Filter::all(),
                interactive: Filter::all(),
            },
            exact: false,
            budget: Budget::default(),
            allow_partial: false,
        };
        let ask = Ask { view, taken };
        self.standing.take(ask, &SESSIONS, (&request.scope, Stream::Events, WINDOW));
        let answer = self.standing.sessions(ask, SESSIONS, &request).unwrap();
        (answer.totals().started, answer.cost.rows_scanned)
    }

    /// Both, as one ask.
    fn ask(&self) -> [(u64, u64); 2] {
        let (view, taken) = (self.engine.view(), Taken::default());
        [self.events(&view, &taken), self.sessions(&view, &taken)]
    }

    fn advance(&self) {
        self.standing.advance(&|| self.engine.view());
    }
}

/// So many events are granules of their own in memory: what is looked at is what is new.
const SOME: usize = 600;

#[test]
fn an_ask_reads_the_rows_that_have_come_since_the_last_one() {
    let store = Store::new(1 << 20);
    store.append(SOME);
    assert_eq!(store.ask(), [(600, 600), (600, 600)]);
    store.append(SOME + 100);
    assert_eq!(store.ask(), [(1_300, 700), (700, 700)]);
    store.engine.flush().unwrap();
    store.append(SOME);
    assert_eq!(store.ask(), [(1_900, 600), (700, 600)]);
    // Between asks they read by themselves.
    store.append(SOME);
    store.advance();
    assert_eq!(store.ask(), [(2_500, 0), (700, 0)]);
    assert!(store.standing.bytes() > 0);
}

#[test]
fn nobody_takes_them_on_while_an_ask_has_them() {
    let store = Store::new(1 << 20);
    store.append(SOME);
    store.ask();
    let (view, taken) = (store.engine.view(), Taken::default());
    assert_eq!(store.events(&view, &taken), (600, 0));
    store.append(SOME);
    store.advance();
    assert_eq!(store.sessions(&view, &taken), (600, 0));
    drop(taken);
    assert_eq!(store.ask(), [(1_200, 600), (600, 600)]);
}

#[test]
fn an_ask_whose_moment_is_fixed_takes_none() {
    let store = Store::new(1 << 20);
    store.append(SOME);
    store.ask();
    let (view, taken) = (store.engine.view(), Taken::default());
    view.version(&scope(), Stream::Events, WINDOW).unwrap();
    store.append(SOME);
    store.advance();
    assert_eq!(store.events(&view, &taken), (600, 600), "it is answered anew");
    drop(taken);
    assert_eq!(store.ask()[0].0, 1_200);
}

#[test]
fn what_is_not_asked_any_more_goes() {
    let store = Store::new(1 << 20);
    store.append(5);
    store.ask();
    for _ in 0..IDLE_ROUNDS_MAX {
        store.advance();
    }
    assert!(!store.standing.is_empty());
    store.ask();
    store.advance();
    assert!(!store.standing.is_empty(), "it was asked");
    for _ in 0..IDLE_ROUNDS_MAX {
        store.advance();
    }
    assert!(store.standing.is_empty());
}

#[test]
fn what_no_row_comes_to_goes() {
    let store = Store::new(1 << 20);
    store.append(5);
    store.ask();
    // Rows of other days are in granules of their own from now on.
    store.engine.flush().unwrap();
    for _ in 0..QUIET_ROUNDS_MAX {
        store.append_at(3 * DAY_US, 1);
        store.advance();
    }
    assert!(!store.standing.is_empty());
    store.append_at(3 * DAY_US, 1);
    store.advance();
    assert!(store.standing.is_empty());
    assert_eq!(store.ask()[0].0, 5);
}

#[test]
fn a_window_without_new_rows_does_not_stay() {
    let store = Store::new(1 << 20);
    store.append(5);
    store.engine.flush().unwrap();
    assert_eq!(store.ask(), [(5, 5), (5, 5)]);
    store.append_at(3 * DAY_US, 1);
    store.ask();
    assert!(store.standing.is_empty());
    store.append(1);
    store.ask();
    assert!(!store.standing.is_empty());
}

#[test]
fn what_has_no_room_does_not_stay() {
    let store = Store::new(0);
    store.append(5);
    assert_eq!(store.ask(), [(5, 5), (5, 5)]);
    assert_eq!(store.ask(), [(5, 5), (5, 5)]);
    assert!(store.standing.is_empty());
}
