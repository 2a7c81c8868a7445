//! Chains that are joined in any order are those of all events walked once.

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::super::totals;
use super::*;
use crate::time::BucketUnit;

const MINUTE_US: i64 = 60_000_000;

fn event(key: u64, minute: i64) -> SessionEvent {
    SessionEvent {
        key,
        time: TimestampUs(minute * MINUTE_US),
        user: 1,
        page: true,
        action: false,
        interactive: true,
    }
}

fn hours(count: i64) -> Buckets {
    let window = TimeRange { start: TimestampUs(0), end: TimestampUs(count * 60 * MINUTE_US) };
    Buckets::cover(window, BucketUnit::Hour, &TimeZone::UTC, 1000).unwrap()
}

fn spans(chains: &[Chain]) -> Vec<(u64, i64, i64)> {
    chains.iter().map(|c| (c.key, c.first.0 / MINUTE_US, c.last.0 / MINUTE_US)).collect()
}

#[test]
fn a_gap_of_thirty_minutes_cuts_and_a_shorter_one_does_not() {
    let mut events = [event(1, 59), event(1, 0), event(1, 29), event(2, 10), event(1, 89)];
    events[4].time.0 -= 1;
    assert_eq!(spans(&chains(&mut events)), [(1, 0, 29), (1, 59, 88), (2, 10, 10)]);
}

#[test]
fn a_bounce_is_exactly_one_interactive_event() {
    let mut passive = event(1, 5);
    passive.interactive = false;
    assert!(chains(&mut [event(1, 0), passive])[0].is_bounce());
    assert!(!chains(&mut [passive])[0].is_bounce());
    assert!(!chains(&mut [event(1, 0), event(1, 1)])[0].is_bounce());
}

#[test]
fn a_duration_is_capped_at_a_day_and_allocated_to_the_buckets_it_overlaps() {
    let mut events: Vec<SessionEvent> = (0..200).map(|n| event(1, n * 20)).collect();
    let chain = chains(&mut events)[0];
    assert_eq!(chain.duration_us(), DURATION_US_MAX);
    let mut parts = Vec::new();
    chain.allocate(&hours(30), |index, us| parts.push((index, us / MINUTE_US)));
    assert_eq!(parts, (0..24).map(|hour| (hour, 60)).collect::<Vec<_>>());
    let short = chains(&mut [event(1, 50), event(1, 75)])[0];
    parts.clear();
    short.allocate(&hours(3), |index, us| parts.push((index, us / MINUTE_US)));
    assert_eq!(parts, [(0, 10), (1, 15)]);
}

#[test]
fn a_session_counts_where_it_starts_and_is_active_where_it_has_events() {
    let mut events = [event(1, -10), event(1, 10), event(1, 35), event(1, 64), event(1, 80), event(2, 70)];
    let buckets = hours(3);
    assert_eq!(active(&mut events, &buckets), [1, 2, 0]);
    let totals = totals(&chains(&mut events), &buckets);
    assert_eq!((totals[0].started, totals[1].started, totals[1].bounces), (0, 1, 1));
    assert_eq!((totals[0].allocated_us, totals[1].allocated_us), (60 * MINUTE_US, 20 * MINUTE_US));
}

#[test]
fn a_session_open_in_a_bucket_without_an_event_there_is_not_active_in_it() {
    let window = TimeRange { start: TimestampUs(0), end: TimestampUs(60 * MINUTE_US) };
    let buckets = Buckets::cover(window, BucketUnit::Step(10 * MINUTE_US), &TimeZone::UTC, 1000).unwrap();
    assert_eq!(active(&mut [event(1, 5), event(1, 31)], &buckets), [1, 0, 0, 1, 0, 0]);
}

fn events() -> impl Strategy<Value = Vec<SessionEvent>> {
    let one = (0_u64..3, 0_i64..400, 0_u32..4, any::<[bool; 3]>()).prop_map(|(key, minute, user, flags)| {
        SessionEvent {
            key,
            time: TimestampUs(minute * MINUTE_US),
            user: if user == 0 { NO_USER } else { user },
            page: flags[0],
            action: flags[1],
            interactive: flags[2],
        }
    });
    prop::collection::vec(one, 0..40)
}

proptest! {
    #[test]
    fn chains_agree_with_plain_loops(mut events in events()) {
        let found = chains(&mut events);
        // The definition: events of one key are of one session when steps under the gap connect them.
        let mut sessions: Vec<Vec<SessionEvent>> = Vec::new();
        for event in &events {
            let near = |s: &Vec<SessionEvent>| {
                s.iter().any(|e| e.key == event.key && (e.time.0 - event.time.0).abs() < GAP_US)
            };
            let (joined, mut rest): (Vec<_>, Vec<_>) = sessions.into_iter().partition(near);
            rest.push(joined.into_iter().flatten().chain([*event]).collect());
            sessions = rest;
        }
        prop_assert_eq!(found.len(), sessions.len());
        prop_assert_eq!(found.iter().map(|c| c.events as usize).sum::<usize>(), events.len());
        for chain in &found {
            let same = |s: &&Vec<SessionEvent>| {
                s[0].key == chain.key
                    && s.iter().map(|e| e.time).min() == Some(chain.first)
                    && s.iter().map(|e| e.time).max() == Some(chain.last)
                    && s.iter().filter(|e| e.interactive).count() == chain.interactive as usize
            };
            prop_assert_eq!(sessions.iter().filter(same).count(), 1);
        }
        let buckets = hours(7);
        let mut counts = vec![0_u64; buckets.len()];
        for session in &sessions {
            let mut within: Vec<usize> = session.iter().filter_map(|e| buckets.index_of(e.time)).collect();
            within.sort_unstable();
            within.dedup();
            for bucket in within {
                counts[bucket] += 1;
            }
        }
        prop_assert_eq!(active(&mut events, &buckets), counts);
        let allocated: i64 = totals(&found, &buckets).iter().map(|t| t.allocated_us).sum();
        prop_assert_eq!(allocated, found.iter().map(Chain::duration_us).sum::<i64>());
    }
}
