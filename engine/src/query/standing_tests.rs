//! Questions that stay say at every moment what the same questions say that are asked anew.

use std::time::Duration;

use crate::append::Append;
use crate::catalog::erasure::EraseTarget;
use crate::catalog::{RetentionDocument, StreamRetention};
use crate::compaction::Effort;
use crate::erasure::testing::{NOW, Store, is, one, query, tenant};
use crate::id::Stream;
use crate::query::{
    Advance, Aggregate, Answer, Cost, Field, Filter, GroupBy, Query, Scope, SessionAnswer, SessionClasses,
    SessionRequest, StandingQueries, StandingSessions,
};
use crate::rollup::{Kept, RollupDefinition, Tier, TierAggregates};
use crate::schema::stream::{
    ANONYMOUS_ID, APP_ID, EVENT_DATA, EVENT_TYPE, NAME, SESSION_ID, TIME, USER_ID, VALUE,
};
use crate::schema::{BatchBuilder, Document, Value};
use crate::time::{BucketUnit, Buckets, DAY_US, TimeRange, TimestampUs};

const MINUTE: i64 = 60_000_000;

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

    fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }

    fn time(&mut self, now: TimestampUs) -> i64 {
        // Mostly now, sometimes late, by minutes or days.
        let late = match self.below(12) {
            0 => self.below(3 * DAY_US.unsigned_abs()),
            1 | 2 => self.below(90 * MINUTE.unsigned_abs()),
            _ => self.below(MINUTE.unsigned_abs()),
        };
        now.0 - i64::try_from(late).unwrap()
    }
}

fn column(def: &crate::schema::ColumnDef) -> Field {
    Field::Column(def.id)
}

fn identity() -> Field {
    Field::FirstOf(vec![column(&USER_ID), column(&ANONYMOUS_ID), column(&SESSION_ID)])
}

fn page() -> Field {
    Field::Path(EVENT_DATA.id, vec!["page".to_owned()])
}

fn classes() -> SessionClasses {
    let page = is(&EVENT_TYPE, "view");
    let action = Filter::Not(Box::new(page.clone()));
    SessionClasses { interactive: Filter::Or(vec![page.clone(), action.clone()]), page, action }
}

/// A store that has cells of every day that was merged, however few its rows.
fn store() -> Store {
    let aggregates =
        vec![Aggregate::Distinct(identity()), Aggregate::CountIf(Box::new(is(&EVENT_TYPE, "view")))];
    let of = |id, keys| RollupDefinition {
        id,
        stream: Stream::Events,
        filter: Filter::all(),
        keys,
        tiers: Tier::ALL.map(|tier| TierAggregates { tier, aggregates: aggregates.clone() }).to_vec(),
        priority: id,
        kept: Kept::Always,
    };
    let events = StreamRetention { raw_days: Some(36_500), ..StreamRetention::FOREVER };
    Store::with(|config| {
        config.rollups = vec![of(1, vec![]), of(2, vec![column(&EVENT_TYPE)]), of(3, vec![page()])];
        config.sessions = Some(classes());
        config.retention = RetentionDocument { events, ..RetentionDocument::default() };
    })
}

fn append(store: &Store, random: &mut Random, round: u64) {
    let now = store.engine.core.clock.now();
    let name = random.one_of(&["acme", "beta"]);
    let mut events = BatchBuilder::new(tenant(name), Stream::Events);
    for _ in 0..=random.below(30) {
        // People and types of events come up over time: they have no code at first.
        let person = random.below(6 + round);
        events
            .i64(&TIME, random.time(now))
            .str(&EVENT_TYPE, Some(["view", "click", "buy"][usize::try_from(person % 3).unwrap()]));
        events.str(&APP_ID, (!person.is_multiple_of(4)).then_some("web"));
        match random.below(4) {
            0 => events.str(&ANONYMOUS_ID, Some(&format!("a{person}"))),
            1 => events.str(&SESSION_ID, Some(&format!("s{person}"))),
            _ => events.str(&USER_ID, Some(&format!("u{person}"))),
        };
        let data = [("page".to_owned(), Value::Str(format!("/{}", person % 5)))].into_iter().collect();
        events.bytes(&EVENT_DATA, Some(Document::encode(&Value::Object(data)).as_bytes()));
        events.finish_row();
    }
    let mut metrics = BatchBuilder::new(tenant(name), Stream::Metrics);
    for _ in 0..=random.below(9) {
        metrics.i64(&TIME, random.time(now)).str(&NAME, Some(random.one_of(&["cpu", "load", "time"])));
        metrics.f64(&VALUE, f64::from(u32::try_from(random.below(1_000)).unwrap()) / 8.0).finish_row();
    }
    let batches = vec![events.build(), metrics.build()];
    store.try_append(Append { batches, ..Append::default() }).unwrap();
}

fn window() -> TimeRange {
    let midnight = NOW.0 - NOW.0.rem_euclid(DAY_US);
    TimeRange { start: TimestampUs(midnight - 2 * DAY_US), end: TimestampUs(midnight + DAY_US) }
}

fn days() -> GroupBy {
    GroupBy::Bucket(Buckets::cover(window(), BucketUnit::Day, &jiff::tz::TimeZone::UTC, 100).unwrap())
}

fn numbers(scope: &Scope) -> Vec<Query> {
    let views = Aggregate::CountIf(Box::new(is(&EVENT_TYPE, "view")));
    let buyers = Aggregate::CountIf(Box::new(is(&USER_ID, "u20")));
    let all = vec![Aggregate::Count, Aggregate::Distinct(identity()), views, buyers];
    let events = |filter, group_by, aggregates| Query {
        window: window(),
        ..query(scope.clone(), Stream::Events, filter, group_by, aggregates)
    };
    vec![
        events(Filter::all(), vec![days()], all.clone()),
        events(Filter::all(), vec![], all[..3].to_vec()),
        events(Filter::all(), vec![GroupBy::Field(page())], all[..2].to_vec()),
        events(Filter::all(), vec![GroupBy::Field(column(&EVENT_TYPE)), days()], all[..2].to_vec()),
        // Of somebody who has no code for a while.
        events(is(&USER_ID, "u24"), vec![GroupBy::Field(identity())], all),
        events(is(&APP_ID, "web"), vec![], vec![Aggregate::Count, Aggregate::Distinct(column(&USER_ID))]),
    ]
}

fn values(scope: &Scope) -> Vec<Query> {
    let value = || column(&VALUE);
    let aggregates = vec![
        Aggregate::Sum(value()),
        Aggregate::Avg(value()),
        Aggregate::Min(value()),
        Aggregate::Max(value()),
        Aggregate::Last(value()),
        Aggregate::Quantile(value(), 0.9),
        Aggregate::QuantileExact(value(), 0.5),
    ];
    let of = |group_by| Query {
        window: window(),
        ..query(scope.clone(), Stream::Metrics, Filter::all(), group_by, aggregates.clone())
    };
    vec![of(vec![GroupBy::Field(column(&NAME)), days()]), of(vec![])]
}

fn sessions(scope: &Scope, window: TimeRange) -> SessionRequest {
    SessionRequest {
        scope: scope.clone(),
        window,
        buckets: Buckets::cover(window, BucketUnit::Hour, &jiff::tz::TimeZone::UTC, 100).unwrap(),
        filter: Filter::all(),
        classes: classes(),
        exact: false,
        budget: crate::query::Budget::default(),
        allow_partial: false,
    }
}

/// Questions of one scope that stay, and how they fared.
struct Asked {
    scope: Scope,
    numbers: Option<StandingQueries>,
    /// One that has nothing in common with others.
    alone: Option<StandingQueries>,
    values: Option<StandingQueries>,
    sessions: Option<StandingSessions>,
    /// Of a window that ends early on a day: cells answer the whole of that day.
    early: Option<StandingSessions>,
}

#[derive(Debug, Default)]
struct Fared {
    went_on: u64,
    lost: u64,
    rows: u64,
    rows_anew: u64,
}

impl Fared {
    fn count(&mut self, advance: Advance) {
        match advance {
            Advance::Done => self.went_on += 1,
            Advance::Lost => self.lost += 1,
            Advance::Earlier => panic!("moments come one after the other"),
        }
    }
}

fn without_cost(answer: &Answer) -> Answer {
    Answer { cost: Cost::default(), ..answer.clone() }
}

impl Asked {
    fn new(scope: Scope) -> Self {
        Self { scope, numbers: None, alone: None, values: None, sessions: None, early: None }
    }

    fn check(&mut self, store: &Store, fared: &mut Fared) {
        let numbers = numbers(&self.scope);
        check_numbers(store, &numbers, &mut self.numbers, fared);
        check_numbers(store, &numbers[4..5], &mut self.alone, fared);
        check_numbers(store, &values(&self.scope), &mut self.values, fared);
        check_sessions(store, &sessions(&self.scope, window()), &mut self.sessions, fared);
        let end = TimestampUs(window().end.0 - 2 * DAY_US + 300 * MINUTE);
        let early = sessions(&self.scope, TimeRange { end, ..window() });
        check_sessions(store, &early, &mut self.early, fared);
    }
}

fn check_numbers(store: &Store, queries: &[Query], slot: &mut Option<StandingQueries>, fared: &mut Fared) {
    let view = store.engine.view();
    let anew: Vec<Answer> = queries.iter().map(|query| view.aggregate(query).unwrap()).collect();
    // Together they share what they find out, the narrow ones first here.
    let narrow_first: Vec<Query> = queries.iter().rev().cloned().collect();
    let together = view.aggregate_all(&narrow_first).unwrap();
    for ((answer, anew), query) in together.iter().zip(anew.iter().rev()).zip(&narrow_first) {
        assert_eq!(without_cost(answer.as_ref().unwrap()), without_cost(anew), "{query:?}");
    }
    if let Some(standing) = slot {
        let advance = view.advance(standing).unwrap();
        fared.count(advance);
        if advance == Advance::Done {
            let answers = standing.answers().unwrap();
            for ((answer, anew), query) in answers.iter().zip(&anew).zip(queries) {
                assert_eq!(without_cost(answer), without_cost(anew), "{query:?}");
                fared.rows += answer.cost.rows_scanned;
                fared.rows_anew += anew.cost.rows_scanned;
            }
            assert_eq!(answers.len(), queries.len());
            return;
        }
    }
    let (answers, standing) = view.aggregate_standing(queries).unwrap();
    for (answer, anew) in answers.iter().zip(&anew) {
        assert_eq!(without_cost(answer.as_ref().unwrap()), without_cost(anew));
    }
    *slot = Some(standing.unwrap());
}

fn check_sessions(
    store: &Store,
    request: &SessionRequest,
    slot: &mut Option<StandingSessions>,
    fared: &mut Fared,
) {
    let of = |answer: &SessionAnswer| SessionAnswer { cost: Cost::default(), read: None, ..answer.clone() };
    let view = store.engine.view();
    let anew = view.sessions(&SessionRequest { exact: true, ..request.clone() }).unwrap();
    let anew = SessionAnswer { started: Vec::new(), ..anew };
    if let Some(standing) = slot {
        let advance = view.advance_sessions(standing).unwrap();
        fared.count(advance);
        if advance == Advance::Done
            && let Some(answer) = standing.answer()
        {
            assert_eq!(of(&answer), of(&anew), "{:?}", request.scope);
            fared.rows += answer.cost.rows_scanned;
            fared.rows_anew += anew.cost.rows_scanned;
            return;
        }
    }
    let (answer, standing) = view.sessions_standing(request).unwrap();
    assert_eq!(of(&answer), of(&anew), "{:?}", request.scope);
    *slot = standing;
}

fn live(seed: u64, fared: &mut Fared) {
    let mut random = Random(seed);
    let store = store();
    let mut asked = [Asked::new(one("acme")), Asked::new(one("beta")), Asked::new(Scope::All)];
    for round in 0..60 {
        match random.below(20) {
            0 | 1 => store.flush(),
            2 => {
                store.flush();
                store.clock.advance(Duration::from_hours(random.below(2)));
                store.engine.compact(Effort::Full).unwrap();
            }
            3 if random.below(3) == 0 && store.engine.tenant_exists(&tenant("acme")) => {
                let user = format!("u{}", random.below(9));
                let target =
                    EraseTarget::User { tenant: tenant("acme"), credential: format!("user:{user}"), user };
                store.engine.erase(target, Append::default()).unwrap();
            }
            4 | 5 => store.clock.advance(Duration::from_mins(random.below(40))),
            _ => append(&store, &mut random, round),
        }
        for asked in &mut asked {
            // So rarely that there are flushes and merges between two asks.
            if random.below(5) < 2 {
                asked.check(&store, fared);
            }
        }
    }
}

#[test]
fn what_stays_says_at_every_moment_what_is_said_anew() {
    let seeds = std::env::var("INSIGHTS_STANDING_SEEDS").ok();
    let seeds = seeds.and_then(|seeds| seeds.parse().ok()).unwrap_or(12);
    let mut fared = Fared::default();
    for seed in 0..seeds {
        live(seed, &mut fared);
    }
    // Most went on, and read a fraction of the rows; some were lost to what was hidden since.
    assert!(fared.went_on > 10 * fared.lost && fared.lost > 0, "{fared:?}");
    assert!(fared.rows * 3 < fared.rows_anew, "{fared:?}");
}

#[test]
fn an_earlier_moment_leaves_what_stays_as_it_is() {
    let (store, mut random) = (store(), Random(5));
    for round in 0..5 {
        append(&store, &mut random, round);
    }
    let queries = numbers(&Scope::All);
    let request = sessions(&Scope::All, window());
    let early = store.engine.view();
    early.aggregate_all(&queries).unwrap();
    early.sessions(&request).unwrap();
    append(&store, &mut random, 6);
    let late = store.engine.view();
    let (answers, standing) = late.aggregate_standing(&queries).unwrap();
    let mut standing = standing.unwrap();
    assert_eq!(early.advance(&mut standing).unwrap(), Advance::Earlier);
    assert_eq!(late.advance(&mut standing).unwrap(), Advance::Done);
    let again = standing.answers().unwrap();
    assert!(again.iter().all(|answer| answer.cost.rows_scanned == 0));
    let first: Vec<_> = answers.iter().map(|answer| without_cost(answer.as_ref().unwrap())).collect();
    assert_eq!(again.iter().map(without_cost).collect::<Vec<_>>(), first);
    let (answer, standing) = late.sessions_standing(&request).unwrap();
    let mut standing = standing.unwrap();
    assert_eq!(early.advance_sessions(&mut standing).unwrap(), Advance::Earlier);
    assert_eq!(late.advance_sessions(&mut standing).unwrap(), Advance::Done);
    let again = standing.answer().unwrap();
    assert_eq!(again.cost, Cost::default());
    assert_eq!(again, SessionAnswer { cost: Cost::default(), ..answer });
}

#[test]
fn an_event_after_what_was_read_changes_a_day_that_cells_closed() {
    let store = store();
    let midnight = window().start.0;
    let event = |minute: i64| {
        let mut events = BatchBuilder::new(tenant("acme"), Stream::Events);
        events.i64(&TIME, midnight + minute * MINUTE).str(&EVENT_TYPE, Some("click"));
        events.str(&SESSION_ID, Some("s")).finish_row();
        store.append(events.build());
    };
    // A session from 04:50 to 08:30, of which the window sees the beginning.
    (0..12).for_each(|n| event(290 + n * 20));
    store.flush();
    store.engine.compact(Effort::Full).unwrap();
    let end = TimestampUs(midnight + 300 * MINUTE);
    let request = sessions(&one("acme"), TimeRange { end, ..window() });
    // What is in memory inside of what is read makes the question stay in the server; here it does in any case.
    let (before, standing) = store.engine.view().sessions_standing(&request).unwrap();
    assert!(before.cost.cells_read > 0);
    event(530);
    let view = store.engine.view();
    let anew = view.sessions(&request).unwrap();
    assert_eq!(anew.totals().duration_us, before.totals().duration_us + 20 * MINUTE);
    assert_eq!(view.advance_sessions(&mut standing.unwrap()).unwrap(), Advance::Lost);
    let kept = before.read.unwrap();
    let version = |view: &crate::view::View| view.version(&request.scope, Stream::Events, kept).unwrap();
    let with = version(&view);
    event(1_200);
    assert_ne!(version(&store.engine.view()), with, "an answer that is kept depends on the whole day");
}

#[test]
fn what_lists_rows_one_by_one_does_not_stay() {
    let (store, mut random) = (store(), Random(3));
    append(&store, &mut random, 0);
    let view = store.engine.view();
    let request = sessions(&Scope::All, window());
    let exact = SessionRequest { exact: true, ..request.clone() };
    assert!(view.sessions_standing(&exact).unwrap().1.is_none());
    let quarters = Buckets::cover(window(), BucketUnit::Step(10 * MINUTE), &jiff::tz::TimeZone::UTC, 1_000);
    let narrow = SessionRequest { buckets: quarters.unwrap(), ..request.clone() };
    assert!(view.sessions_standing(&narrow).unwrap().1.is_none());
    assert!(view.sessions_standing(&request).unwrap().1.is_some());
}
