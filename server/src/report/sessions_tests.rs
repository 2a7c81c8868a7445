//! Tests of sessions: golden chains, and a judge that sorts all events and walks them.

use std::collections::BTreeMap;

use insights_engine::id::TenantNo;
use insights_engine::schema::NULL_CODE;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::report::answer::seconds;
use crate::report::body::Fields;
use crate::report::window::Width;

const MINUTE: i64 = 60_000_000;
const NOW: TimestampUs = TimestampUs(1_800_000_000_000_000);

fn window(body: &Value) -> Window {
    Window::read(&mut Fields::of(body).unwrap(), Width::GroupBy, NOW).unwrap()
}

/// An event: minute since the window's start, key, interactive, page view.
#[derive(Debug, Clone, Copy)]
struct Event {
    at: i64,
    key: u32,
    interactive: bool,
    page_view: bool,
}

fn click(at: i64, key: u32) -> Event {
    Event { at, key, interactive: true, page_view: false }
}

/// A vector of the events; even keys are sessions, odd ones persons; type 0 is the page view.
fn vector(events: &[Event]) -> ScanVector {
    let codes = |code: &dyn Fn(&Event) -> Option<u32>| {
        ScanColumn::Codes(events.iter().map(|e| code(e).unwrap_or(NULL_CODE)).collect())
    };
    let columns = vec![
        ScanColumn::I64(events.iter().map(|e| e.at).collect(), None),
        codes(&|e| (e.key % 2 == 0).then_some(e.key)),
        codes(&|e| Some(e.key)),
        codes(&|e| Some(u32::from(!e.page_view))),
        ScanColumn::Scalars(events.iter().map(|e| (!e.interactive).then_some(Scalar::Bool(false))).collect()),
    ];
    ScanVector { tenant: TenantNo(1), rows: events.len(), columns }
}

/// Reads as a report does: wider and wider, until nothing further can change a number.
fn sessions(events: &[Event], window: &Window) -> Sessions {
    let mut margin = Margin::FIRST;
    loop {
        let read = margin.around(window.range);
        let some: Vec<Event> = events.iter().copied().filter(|e| read.contains(TimestampUs(e.at))).collect();
        let mut chains = Chains::new(window.range);
        for part in some.chunks(7) {
            chains.add(&vector(part)).unwrap();
        }
        chains.finish(|event_type| event_type == 0);
        let Some(wider) = margin.wider(chains.unsettled(read)) else {
            let mut sessions = chains.fold(window);
            // How many events a session has is not followed beyond what the other numbers need.
            sessions.series.iter_mut().for_each(|row| row.events = 0);
            return sessions;
        };
        margin = wider;
    }
}

fn day() -> Window {
    window(&json!({"start_date": "2024-01-02", "end_date": "2024-01-02", "group_by": "hour"}))
}

fn at(window: &Window, minute: i64) -> i64 {
    window.range.start.0 + minute * MINUTE
}

#[test]
fn a_gap_of_thirty_minutes_cuts_and_one_of_less_does_not() {
    let day = day();
    let events = [click(at(&day, 0), 2), click(at(&day, 30) - 1, 2), click(at(&day, 60) - 1, 2)];
    let got = sessions(&events, &day);
    // 00:00:00 and 00:29:59.999999 are one chain; 00:59:59.999999 is a full half hour later.
    assert_eq!((got.started, got.bounces, got.duration_us), (2, 1, 30 * MINUTE - 1));
    // The second session began in hour 0 as well.
    assert_eq!((got.series[0].started, got.active[0]), (2, 2));
}

#[test]
fn the_order_of_arrival_does_not_matter() {
    let day = day();
    let events = [click(at(&day, 40), 2), click(at(&day, 0), 2), click(at(&day, 20), 2)];
    let got = sessions(&events, &day);
    assert_eq!((got.started, got.duration_us), (1, 40 * MINUTE));
}

#[test]
fn a_session_over_an_edge_counts_where_it_begins_and_is_active_in_both() {
    let day = day();
    // From 20 minutes before midnight to 10 minutes after: begun yesterday.
    let early = [click(at(&day, -20), 2), click(at(&day, 0), 2), click(at(&day, 10), 2)];
    let got = sessions(&early, &day);
    assert_eq!((got.started, got.median_us, got.allocated_us), (0, None, 10 * MINUTE));
    assert_eq!((got.active[0], got.series[0].allocated_us), (1, 10 * MINUTE));
    // From 20 minutes before the end to 40 minutes after: whole in the last bucket, of which 20 minutes are inside.
    let late = [click(at(&day, 1420), 3), click(at(&day, 1445), 3), click(at(&day, 1460), 3)];
    let got = sessions(&late, &day);
    assert_eq!((got.started, got.duration_us, got.allocated_us), (1, 40 * MINUTE, 20 * MINUTE));
    let last = got.series[23];
    assert_eq!((last.started, last.duration_us, last.allocated_us), (1, 40 * MINUTE, 20 * MINUTE));
    assert_eq!(got.active[23], 1);
}

#[test]
fn a_bounce_has_exactly_one_interactive_event() {
    let day = day();
    let passive = |minute, page_view| Event { at: at(&day, minute), key: 2, interactive: false, page_view };
    let bounces = |events: &[Event]| sessions(events, &day).bounces;
    assert_eq!(bounces(&[click(at(&day, 0), 2), passive(1, false)]), 1);
    // A page view counts, whatever it says.
    assert_eq!(bounces(&[click(at(&day, 0), 2), passive(1, true)]), 0);
    assert_eq!(bounces(&[passive(1, true)]), 1);
    assert_eq!(bounces(&[passive(1, false)]), 0);
}

#[test]
fn a_duration_is_capped_at_a_day() {
    let day = day();
    let events: Vec<Event> = (0..200).map(|i| click(at(&day, 60 + i * 20), 2)).collect();
    let got = sessions(&events, &day);
    assert_eq!((got.started, got.duration_us, got.allocated_us), (1, DURATION_US_MAX, 23 * 60 * MINUTE));
    // A chain that began more than a day before takes no time of the window, but is active in it.
    let events: Vec<Event> = (0..200).map(|i| click(at(&day, -2_000 + i * 20), 2)).collect();
    let got = sessions(&events, &day);
    assert_eq!((got.started, got.allocated_us, got.active[0]), (0, 0, 1));
}

#[test]
fn an_event_of_nobody_is_in_no_session() {
    let day = day();
    let mut nobody = vector(&[click(at(&day, 0), 2)]);
    nobody.columns[1] = ScanColumn::Codes(vec![NULL_CODE]);
    nobody.columns[2] = ScanColumn::Codes(vec![NULL_CODE]);
    let mut chains = Chains::new(day.range);
    chains.add(&nobody).unwrap();
    chains.finish(|_| false);
    assert_eq!(chains.fold(&day).started, 0);
}

/// All numbers again, by sorting every event and walking each key; nothing shared with the fold.
fn judge(events: &[Event], window: &Window) -> Sessions {
    let mut keys: BTreeMap<u32, Vec<Event>> = BTreeMap::new();
    for event in events {
        keys.entry(event.key).or_default().push(*event);
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
    let count = window.buckets.len();
    let mut out = Sessions {
        series: vec![SessionTotals::default(); count],
        active: vec![0; count],
        ..Sessions::default()
    };
    let mut durations = Vec::new();
    for chain in &chains {
        let (first, last) = (chain[0].at, chain[chain.len() - 1].at);
        let duration = (last - first).min(24 * 60 * MINUTE);
        for (bucket, natural) in window.buckets.iter().enumerate() {
            let (from, to) = (natural.start.max(window.range.start).0, natural.end.min(window.range.end).0);
            let row = &mut out.series[bucket];
            if (from..to).contains(&first) {
                row.started += 1;
                row.duration_us += duration;
                durations.push(duration);
                row.bounces += u64::from(chain.iter().filter(|e| e.interactive || e.page_view).count() == 1);
            }
            out.active[bucket] += u64::from(chain.iter().any(|e| (from..to).contains(&e.at)));
            row.allocated_us += ((first + duration).min(to) - first.max(from)).max(0);
        }
    }
    out.bounces = out.series.iter().map(|row| row.bounces).sum();
    out.started = durations.len() as u64;
    out.duration_us = durations.iter().sum();
    out.allocated_us = out.series.iter().map(|r| r.allocated_us).sum();
    durations.sort_unstable();
    let middle = |at: usize| seconds(durations[at]) * 1e6;
    out.median_us = match durations.len() {
        0 => None,
        n if n % 2 == 1 => Some(middle(n / 2)),
        n => Some(f64::midpoint(middle(n / 2 - 1), middle(n / 2))),
    };
    out
}

fn any_event() -> impl Strategy<Value = Event> {
    let minute = prop_oneof![3 => -400_i64..4_800, 1 => 0_i64..60];
    (minute, 0_u32..6, any::<bool>(), any::<bool>()).prop_map(|(minute, key, interactive, page_view)| Event {
        at: minute * MINUTE,
        key,
        interactive,
        page_view,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sessions_agree_with_a_walk_over_sorted_events(
        mut events in proptest::collection::vec(any_event(), 0..250),
        long in (-3_000_i64..3_000, 1_i64..200, 5_i64..40),
        zone in prop_oneof!["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"],
        group_by in prop_oneof!["hour", "day", "week", "month"],
        day in prop_oneof!["2024-03-09", "2024-11-02", "2024-04-06", "2024-12-30"],
    ) {
        // Two days around a change of the clock, or of the year.
        let end: jiff::civil::Date = day.parse().unwrap();
        let end = end.tomorrow().unwrap().to_string();
        let window = window(&json!({"start_date": day, "end_date": end, "timezone": zone, "group_by": group_by}));
        // One chain, or a run of sessions, that may be longer than the window.
        events.extend((0..long.1).map(|i| click((long.0 + i * long.2) * MINUTE, 2)));
        for event in &mut events {
            event.at += window.range.start.0;
        }
        prop_assert_eq!(sessions(&events, &window), judge(&events, &window));
    }
}
