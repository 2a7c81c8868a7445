//! An answer is given again while its rows are the same, and never after.

use std::sync::Arc;

use insights_engine::append::Append;
use insights_engine::clock::{Clock, ManualClock};
use insights_engine::config::Config;
use insights_engine::disk::OsDisk;
use insights_engine::id::TenantId;
use insights_engine::query::{Aggregate, Budget, Filter};
use insights_engine::schema::{BatchBuilder, stream};
use insights_engine::time::{DAY_US, TimestampUs};
use insights_engine::{Engine, query::SessionClasses};
use tempfile::TempDir;

use super::*;
use crate::standing::Taken;

struct Store {
    engine: Arc<Engine>,
    answers: Answers,
    _dir: TempDir,
}

impl Store {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let disk = Arc::new(OsDisk::open(dir.path()).unwrap());
        let clock: Arc<dyn Clock> = ManualClock::new(TimestampUs(0));
        let engine = Engine::open(Config::default(), disk, clock, [7; 32]).unwrap();
        Self { engine, answers: Answers::new(1 << 20, 1 << 20), _dir: dir }
    }

    fn append(&self, tenant: &str, day: i64) {
        let mut rows = BatchBuilder::new(TenantId::new(tenant).unwrap(), Stream::Events);
        rows.i64(&stream::TIME, day * DAY_US + 5)
            .str(&stream::EVENT_TYPE, Some("click"))
            .str(&stream::SESSION_ID, Some("s"));
        rows.finish_row();
        self.engine.append(Append::batch(rows.build())).unwrap();
    }

    /// The events of a tenant (or of all) on the days before `days`, and whether that was known.
    fn events(&self, tenant: Option<&str>, days: i64) -> (u64, bool) {
        let query = Query {
            scope: tenant.map_or(Scope::All, |t| Scope::One(TenantId::new(t).unwrap())),
            stream: Stream::Events,
            window: TimeRange { start: TimestampUs(0), end: TimestampUs(days * DAY_US) },
            filter: Filter::all(),
            group_by: Vec::new(),
            aggregates: vec![Aggregate::Count],
            budget: Budget::default(),
            rows_only: false,
            allow_partial: false,
        };
        let (view, taken) = (self.engine.view(), Taken::default());
        let given = self.answers.numbers(Ask { view: &view, taken: &taken }, &query).unwrap();
        let count = given.answer.groups.first().and_then(|g| g.values.first()).map_or(0, |n| n.as_u64());
        (count, given.cached)
    }

    fn sessions(&self, days: i64) -> (u64, bool) {
        let window = TimeRange { start: TimestampUs(0), end: TimestampUs(days * DAY_US) };
        let request = SessionRequest {
            scope: Scope::One(TenantId::new("acme").unwrap()),
            window,
            buckets: insights_engine::time::Buckets::whole(window),
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
        let (view, taken) = (self.engine.view(), Taken::default());
        let given = self.answers.sessions(Ask { view: &view, taken: &taken }, &request).unwrap();
        (given.answer.totals().started, given.cached)
    }
}

#[test]
fn an_answer_is_given_again_until_a_row_of_its_own_comes() {
    let store = Store::new();
    store.append("acme", 0);
    assert_eq!(store.events(Some("acme"), 2), (1, false));
    assert_eq!(store.events(Some("acme"), 2), (1, true));
    assert_eq!(store.events(None, 2), (1, false), "another scope is another question");
    // Rows of another organization and of another day change nothing.
    store.append("bolt", 0);
    store.append("acme", 3);
    assert_eq!(store.events(Some("acme"), 2), (1, true));
    assert_eq!(store.events(None, 2), (2, false));
    store.append("acme", 1);
    assert_eq!(store.events(Some("acme"), 2), (2, false));
    assert_eq!(store.events(Some("acme"), 2), (2, true));
}

#[test]
fn a_flush_and_rows_after_it_are_not_mistaken_for_each_other() {
    let store = Store::new();
    for expected in 1..6 {
        store.append("acme", 0);
        assert_eq!(store.events(Some("acme"), 1), (expected, false));
        assert_eq!(store.events(Some("acme"), 1), (expected, true));
        // Now there are as many rows in memory as before the first append: none.
        store.engine.flush().unwrap();
        assert_eq!(store.events(Some("acme"), 1).0, expected);
    }
}

#[test]
fn sessions_depend_on_all_that_was_read_for_them() {
    let store = Store::new();
    store.append("acme", 0);
    assert_eq!(store.sessions(1), (1, false));
    assert_eq!(store.sessions(1), (1, true));
    store.append("acme", 5);
    assert_eq!(store.sessions(1), (1, true));
    store.append("acme", 0);
    assert_eq!(store.sessions(1), (1, false));
}

#[test]
fn a_moment_stands_still_for_every_scope_that_was_asked_about() {
    let store = Store::new();
    store.append("acme", 0);
    let view = store.engine.view();
    let window = TimeRange { start: TimestampUs(0), end: TimestampUs(DAY_US) };
    let scopes = [Scope::One(TenantId::new("acme").unwrap()), Scope::All];
    let versions = || scopes.each_ref().map(|scope| view.version(scope, Stream::Events, window).unwrap());
    let before = versions();
    store.append("acme", 0);
    assert_eq!(versions(), before);
}
