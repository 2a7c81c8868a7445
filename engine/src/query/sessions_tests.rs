//! Sessions against a judge that sorts all events and walks them; nothing shared with the fold.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::testing::{Row, Shape, TestCells, TestStore, tenant_name};
use super::super::{
    Budget, Field, Filter, Literal, Op, Scope, SessionClasses, StartedSession, session_blobs,
};
use super::*;
use crate::Error;
use crate::id::Stream;
use crate::schema::Value;
use crate::schema::stream::{APP_ID, EVENT_DATA, EVENT_TYPE, SESSION_ID};
use crate::session::SessionTotals;
use crate::time::BucketUnit;

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 1_440 * MINUTE;
/// 2024-03-09T00:00:00Z; the next day has 23 hours in New York.
const BASE: i64 = 1_709_942_400_000_000;

const SHAPES: [Shape; 4] = [
    Shape { granule_rows: 70, coded: true, zone_maps: true, dictionaries: true },
    Shape { granule_rows: 5, coded: true, zone_maps: true, dictionaries: false },
    Shape { granule_rows: 1024, coded: false, zone_maps: false, dictionaries: true },
    Shape { granule_rows: 3, coded: false, zone_maps: true, dictionaries: false },
];

/// An event; 0 is an absent name.
#[derive(Debug, Clone, Copy)]
struct Event {
    tenant: u32,
    at: i64,
    user: u8,
    visitor: u8,
    session: u8,
    app: u8,
    view: bool,
    passive: bool,
    part: usize,
}

fn click(at: i64, user: u8) -> Event {
    Event { tenant: 1, at, user, visitor: 0, session: 0, app: 1, view: false, passive: false, part: 0 }
}

impl Event {
    fn row(&self) -> Row {
        let mut values = BTreeMap::from([("timestamp", Value::I64(self.at))]);
        let names = [
            ("user_id", "p", self.user),
            // A visitor may be named as a user is: they are one person to a session.
            ("anonymous_id", "p", self.visitor),
            ("session_id", "s", self.session),
            ("app_id", "app", self.app),
        ];
        for (column, prefix, n) in names.into_iter().filter(|(_, _, n)| *n > 0) {
            values.insert(column, Value::Str(format!("{prefix}{n}")));
        }
        values.insert("event_type", Value::Str(if self.view { "view" } else { "click" }.to_owned()));
        if self.passive {
            let data = vec![("interactive".to_owned(), Value::Bool(false))];
            values.insert("event_data", Value::Object(data.into_iter().collect()));
        }
        Row { tenant: self.tenant, values }
    }

    fn key(&self) -> Option<(u32, bool, u8)> {
        let person = [self.user, self.visitor].into_iter().find(|n| *n > 0).map(|n| (false, n));
        let session = (self.session > 0).then_some((true, self.session));
        session.or(person).map(|(named, n)| (self.tenant, named, n))
    }

    fn is_interactive(&self) -> bool {
        self.view || !self.passive
    }
}

fn store(events: &[Event]) -> TestStore {
    let mut parts: Vec<(Vec<Row>, Shape)> = SHAPES.iter().map(|s| (Vec::new(), *s)).collect();
    for event in events {
        parts[event.part].0.push(event.row());
    }
    TestStore { stream: Stream::Events, parts, damaged: Vec::new() }
}

fn is(field: Field, literal: Literal) -> Filter {
    Filter::Compare(field, Op::Is(literal))
}

fn classes() -> SessionClasses {
    let page = is(Field::Column(EVENT_TYPE.id), Literal::Str("view".to_owned()));
    let passive = is(Field::Path(EVENT_DATA.id, vec!["interactive".to_owned()]), Literal::Bool(false));
    let active = Filter::Not(Box::new(passive));
    SessionClasses {
        action: Filter::And(vec![Filter::Not(Box::new(page.clone())), active.clone()]),
        interactive: Filter::Or(vec![page.clone(), active]),
        page,
    }
}

fn request(window: TimeRange, buckets: Buckets) -> SessionRequest {
    SessionRequest {
        scope: Scope::One(tenant_name(1)),
        window,
        buckets,
        filter: Filter::all(),
        classes: classes(),
        exact: false,
        budget: Budget::default(),
        allow_partial: false,
    }
}

fn hours(from: i64, to: i64) -> SessionRequest {
    let window = TimeRange { start: TimestampUs(from), end: TimestampUs(to) };
    request(window, Buckets::cover(window, BucketUnit::Hour, &TimeZone::UTC, 1000).unwrap())
}

fn ask(events: &[Event], request: &SessionRequest) -> SessionAnswer {
    sessions(&store(events).snapshot(), request).unwrap()
}

/// All numbers again: series, active, sorted durations. `None` of events, pages and actions where a chain
/// is longer than it is followed.
fn judge(events: &[Event], request: &SessionRequest) -> (Vec<SessionTotals>, Vec<u64>, Vec<i64>, bool) {
    let mut keys: BTreeMap<_, Vec<Event>> = BTreeMap::new();
    for event in events {
        if let Some(key) = event.key() {
            keys.entry(key).or_default().push(*event);
        }
    }
    let mut chains: Vec<Vec<Event>> = Vec::new();
    for mut events in keys.into_values() {
        events.sort_by_key(|e| e.at);
        let mut last = None;
        for event in events {
            if last.is_none_or(|last| event.at - last >= 30 * MINUTE) {
                chains.push(Vec::new());
            }
            last = Some(event.at);
            chains.last_mut().unwrap().push(event);
        }
    }
    let count = request.buckets.len();
    let (mut series, mut active) = (vec![SessionTotals::default(); count], vec![0; count]);
    let mut durations = Vec::new();
    let window = request.window;
    let mut followed = true;
    for chain in &chains {
        let (first, last) = (chain[0].at, chain[chain.len() - 1].at);
        let duration = (last - first).min(DAY);
        followed &= last - first < DAY;
        for (bucket, natural) in request.buckets.iter().enumerate() {
            let (from, to) = (natural.start.max(window.start).0, natural.end.min(window.end).0);
            let row = &mut series[bucket];
            if (from..to).contains(&first) {
                let count = |test: &dyn Fn(&Event) -> bool| chain.iter().filter(|e| test(e)).count() as u64;
                row.started += 1;
                row.duration_us += duration;
                row.bounces += u64::from(count(&Event::is_interactive) == 1);
                row.events += chain.len() as u64;
                row.pages += count(&|e| e.view);
                row.actions += count(&|e| !e.view && !e.passive);
                durations.push(duration);
            }
            active[bucket] += u64::from(chain.iter().any(|e| (from..to).contains(&e.at)));
            row.allocated_us += ((first + duration).min(to) - first.max(from)).max(0);
        }
    }
    durations.sort_unstable();
    (series, active, durations, followed)
}

fn without_counts(series: &[SessionTotals], followed: bool) -> Vec<SessionTotals> {
    let blank = |t: &SessionTotals| SessionTotals { events: 0, pages: 0, actions: 0, ..*t };
    if followed { series.to_vec() } else { series.iter().map(blank).collect() }
}

fn check(answer: &SessionAnswer, judged: (Vec<SessionTotals>, Vec<u64>, Vec<i64>, bool)) {
    let (series, active, durations, followed) = judged;
    assert_eq!(without_counts(&answer.series, followed), without_counts(&series, followed));
    assert_eq!(answer.active, active);
    assert!(answer.exact && answer.damaged.is_empty());
    let mut histogram = crate::rollup::Histogram::new();
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a day")]
    for duration in durations {
        histogram.record(duration as f64);
    }
    assert_eq!(answer.durations, histogram);
}

#[test]
fn a_session_over_an_edge_counts_where_it_begins_and_is_active_in_both() {
    let request = hours(BASE, BASE + DAY);
    let early = [click(BASE - 20 * MINUTE, 1), click(BASE, 1), click(BASE + 10 * MINUTE, 1)];
    let got = ask(&early, &request);
    assert_eq!((got.totals().started, got.active[0], got.series[0].allocated_us), (0, 1, 10 * MINUTE));
    let late = [1_420, 1_445, 1_460].map(|minute| click(BASE + minute * MINUTE, 1));
    let got = ask(&late, &request).series[23];
    assert_eq!((got.started, got.duration_us, got.allocated_us), (1, 40 * MINUTE, 20 * MINUTE));
}

#[test]
fn a_user_and_a_visitor_of_one_name_are_one_person_and_a_session_is_none() {
    let request = hours(BASE, BASE + DAY);
    let user = click(BASE, 1);
    let visitor = Event { user: 0, visitor: 1, ..user };
    let session = Event { session: 1, ..user };
    assert_eq!(ask(&[user, visitor, session], &request).totals().started, 2);
    assert_eq!(ask(&[Event { user: 0, ..user }], &request).totals().started, 0);
}

#[test]
fn only_a_question_that_is_exact_lists_its_sessions() {
    let mut request = hours(BASE, BASE + DAY);
    let events = [click(BASE + 90 * MINUTE, 1), click(BASE + 100 * MINUTE, 1)];
    assert_eq!(ask(&events, &request).started, []);
    request.exact = true;
    let session =
        StartedSession { bucket: 1, first: TimestampUs(BASE + 90 * MINUTE), duration_us: 10 * MINUTE };
    assert_eq!(ask(&events, &request).started, [session]);
}

#[test]
fn a_question_over_its_memory_is_refused() {
    let mut request = hours(BASE, BASE + DAY);
    request.budget.memory_bytes_max = 64;
    let refused = sessions(&store(&[click(BASE, 1)]).snapshot(), &request);
    assert!(matches!(refused, Err(Error::QueryLimit { what: "bytes of memory", limit: 64 })));
}

#[test]
fn damage_is_an_error_or_named() {
    let mut request = hours(BASE, BASE + DAY);
    let mut store = store(&[click(BASE, 1)]);
    store.damaged = vec![(0, SESSION_ID.id, 0)];
    assert!(matches!(sessions(&store.snapshot(), &request), Err(Error::Corrupt { .. })));
    request.allow_partial = true;
    let answer = sessions(&store.snapshot(), &request).unwrap();
    assert_eq!((answer.exact, answer.damaged.len(), answer.totals().started), (false, 1, 0));
}

#[test]
fn no_window_has_no_sessions() {
    let window = TimeRange { start: TimestampUs(BASE), end: TimestampUs(BASE) };
    let nothing = request(window, Buckets::cover(window, BucketUnit::Day, &TimeZone::UTC, 10).unwrap());
    assert_eq!(ask(&[click(BASE, 1)], &nothing), SessionAnswer { exact: true, ..SessionAnswer::default() });
}

fn any_event() -> impl Strategy<Value = Event> {
    let minute = prop_oneof![3 => -400_i64..4_800, 1 => 0_i64..60, 1 => 1_400_i64..1_480];
    let names = (0_u8..3, 0_u8..3, 0_u8..4, 0_u8..3);
    (minute, 1_u32..4, names, any::<[bool; 2]>(), 0_usize..4).prop_map(|(minute, tenant, names, is, part)| {
        let (user, visitor, session, app) = names;
        let (view, passive) = (is[0], is[1]);
        Event { tenant, at: BASE + minute * MINUTE, user, visitor, session, app, view, passive, part }
    })
}

/// A window, its buckets, a scope and a filter.
fn any_request() -> impl Strategy<Value = (SessionRequest, Option<u8>)> {
    let zone = select(vec!["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]);
    let unit = select(vec![
        BucketUnit::Hour,
        BucketUnit::Day,
        BucketUnit::Week(crate::time::WeekStart::Monday),
        BucketUnit::Step(10 * MINUTE),
        BucketUnit::Step(90 * MINUTE),
    ]);
    let scope = select(vec![
        Scope::One(tenant_name(1)),
        Scope::Several(vec![tenant_name(2), tenant_name(3)]),
        Scope::All,
    ]);
    let window = (select(vec![0_i64, 0, 300, 1_425, -17]), select(vec![1_440_i64, 2_880, 2_875, 15, 700]));
    let app = select(vec![None, None, None, Some(1_u8)]);
    (zone, unit, scope, window, app).prop_map(|(zone, unit, scope, (from, minutes), app)| {
        let start = TimestampUs(BASE + from * MINUTE);
        let window = TimeRange { start, end: TimestampUs(start.0 + minutes * MINUTE) };
        let zone = TimeZone::get(zone).unwrap();
        let mut request = request(window, Buckets::cover(window, unit, &zone, 10_000).unwrap());
        request.scope = scope;
        if let Some(app) = app {
            request.filter = is(Field::Column(APP_ID.id), Literal::Str(format!("app{app}")));
        }
        (request, app)
    })
}

/// A store in which the events of some days are in one final part a day, with cells; what is late of such
/// a day is elsewhere. Days from 1970, least first.
fn store_with_cells(events: &[Event], days: &[i32]) -> (TestStore, usize) {
    let (kept, rest): (Vec<Event>, Vec<Event>) =
        events.iter().partition(|e| e.part == 0 && days.contains(&TimestampUs(e.at).day()));
    let mut store = store(&rest);
    let from = store.parts.len();
    for day in days {
        let rows = kept.iter().filter(|e| TimestampUs(e.at).day() == *day).map(Event::row).collect();
        store.parts.push((rows, Shape { granule_rows: 11, ..SHAPES[0] }));
    }
    (store, from)
}

/// The cells of a part: of each tenant and of all together.
fn cells_of(snapshot: &Snapshot, classes: &SessionClasses) -> TestCells {
    let mut out = TestCells::new();
    session_blobs(snapshot, classes, true, &mut |blob| {
        let key = (blob.tier as u8, blob.tenant, blob.definition);
        assert!(out.insert(key, blob.bytes.into()).is_none());
        Ok(())
    })
    .unwrap();
    out
}

fn snapshot_with_cells(events: &[Event], days: &[i32]) -> Snapshot {
    let (store, from) = store_with_cells(events, days);
    let none = |part: usize| part < from || store.parts[part].0.is_empty();
    let classes = classes();
    store.snapshot_with(|part, alone| if none(part) { TestCells::new() } else { cells_of(alone, &classes) })
}

#[test]
fn days_that_are_over_are_answered_without_their_rows() {
    let request = hours(BASE, BASE + DAY);
    let events: Vec<Event> =
        (-20..1_460).map(|m| click(BASE + m * 7 * MINUTE, 1 + u8::from(m % 50 < 2))).collect();
    let first = TimestampUs(BASE).day();
    let snapshot = snapshot_with_cells(&events, &[first - 1, first, first + 1]);
    let answer = sessions(&snapshot, &request).unwrap();
    assert_eq!(answer.cost.rows_scanned, 0);
    assert!(answer.cost.cells_read > 0);
    check(&answer, judge(&events, &request));
}

#[test]
fn a_late_event_sends_its_tenants_day_back_to_rows_and_no_other() {
    let mut request = hours(BASE, BASE + DAY);
    request.scope = Scope::All;
    let of = |tenant, minute| Event { tenant, ..click(BASE + minute * MINUTE, 1) };
    let mut events = vec![of(1, 100), of(1, 150), of(2, 100), of(2, 110)];
    let day = TimestampUs(BASE).day();
    assert_eq!(sessions(&snapshot_with_cells(&events, &[day]), &request).unwrap().cost.rows_scanned, 0);
    // It joins the two sessions of tenant 1.
    events.push(Event { part: 2, ..of(1, 125) });
    let answer = sessions(&snapshot_with_cells(&events, &[day]), &request).unwrap();
    assert_eq!((answer.totals().started, answer.cost.rows_scanned), (2, 3));
    check(&answer, judge(&events, &request));
}

#[test]
fn an_application_has_cells_of_its_own() {
    let mut request = hours(BASE, BASE + DAY);
    request.filter = is(Field::Column(APP_ID.id), Literal::Str("app2".to_owned()));
    let of = |app, minute| Event { app, ..click(BASE + minute * MINUTE, 1) };
    let day = TimestampUs(BASE).day();
    // The events of app 1 hold the two of app 2 together in a question about all, and not in this one.
    let both = [of(2, 100), of(1, 120), of(2, 140), of(1, 150)];
    // All of one application; and none of the one that is asked for.
    for events in [&both[..], &[of(2, 5), of(2, 800)], &[of(1, 100)]] {
        let answer = sessions(&snapshot_with_cells(events, &[day]), &request).unwrap();
        assert_eq!(answer.cost.rows_scanned, 0);
        check(&answer, judge(&super::tests::of(events, &request, Some(2)), &request));
    }
}

#[test]
fn cells_made_with_other_classes_are_left_alone() {
    let events = [click(BASE + 100 * MINUTE, 1)];
    let day = TimestampUs(BASE).day();
    let mut request = hours(BASE, BASE + DAY);
    request.classes.page = Filter::all();
    let answer = sessions(&snapshot_with_cells(&events, &[day]), &request).unwrap();
    assert_eq!((answer.cost.rows_scanned, answer.totals().pages), (1, 1));
}

/// The events that take part in a question.
fn of(events: &[Event], request: &SessionRequest, app: Option<u8>) -> Vec<Event> {
    let sees = |tenant: u32| match &request.scope {
        Scope::All => true,
        Scope::One(one) => *one == tenant_name(tenant),
        Scope::Several(list) => list.contains(&tenant_name(tenant)),
    };
    events.iter().copied().filter(|e| sees(e.tenant) && app.is_none_or(|app| e.app == app)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sessions_agree_with_a_walk_over_sorted_events(
        mut events in prop::collection::vec(any_event(), 0..200),
        long in (-3_000_i64..3_000, 1_i64..200, 5_i64..40),
        (request, app) in any_request(),
    ) {
        // One chain, or a run of sessions, that may be longer than the window.
        let run = |i: i64| Event { part: usize::try_from(i % 3).unwrap(), ..click(BASE + (long.0 + i * long.2) * MINUTE, 2) };
        events.extend((0..long.1).map(run));
        let answer = sessions(&store(&events).snapshot(), &request).unwrap();
        check(&answer, judge(&of(&events, &request, app), &request));
    }

    #[test]
    fn cells_and_rows_give_the_sessions_of_all_rows(
        mut events in prop::collection::vec(any_event(), 0..200),
        late in 0_usize..12,
        long in (-3_000_i64..3_000, 1_i64..400, 5_i64..40),
        finals in prop::collection::btree_set(-2_i32..5, 0..7),
        (request, app) in any_request(),
    ) {
        events.extend((0..long.1).map(|i| click(BASE + (long.0 + i * long.2) * MINUTE, 2)));
        // Most events are in the final segments of their days.
        for (index, event) in events.iter_mut().enumerate() {
            event.part = if index < late { event.part } else { 0 };
        }
        let days: Vec<i32> = finals.iter().map(|day| TimestampUs(BASE).day() + day).collect();
        let answer = sessions(&snapshot_with_cells(&events, &days), &request).unwrap();
        check(&answer, judge(&of(&events, &request, app), &request));
    }
}
