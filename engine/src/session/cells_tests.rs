//! Cells of sessions as bytes: round trips, bytes that changed, and the format of version 1.

use proptest::prelude::*;

use super::super::day::fold_day;
use super::super::gather::{Class, Gather};
use super::super::key::{KeyKind, session_key};
use super::*;
use crate::time::TimeRange;

const MINUTE: i64 = 60_000_000;
const DAY: i32 = 19_800;

/// An event: minute of the day, person, user's code, what it is.
type Event = (i64, u8, u32, [bool; 3]);

fn cells(tenant: u32, events: &[Event]) -> [FoldedSessions; 3] {
    let mut gather = Gather::new(TimeRange::ALL);
    for (minute, person, user, [page, action, interactive]) in events {
        let number = gather.number(TenantNo(tenant), session_key(KeyKind::Person, &[*person]));
        let at = TimestampUs(day_start(DAY).0 + minute * MINUTE + i64::from(*person));
        let class = Class { page: *page, action: *action, interactive: *interactive };
        gather.event(number, at, user.wrapping_sub(1), class);
    }
    gather.join();
    fold_day((TenantNo(tenant), DAY), 7, &gather, &gather.keys())
}

fn any_events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec((0_i64..1_440, 0_u8..6, 0_u32..3, any::<[bool; 3]>()), 0..120)
}

#[test]
fn the_format_is_as_it_was() {
    let events = [
        (5, 1, 1, [true, false, true]),
        (20, 1, 0, [false, true, true]),
        (100, 2, 3, [false, true, true]),
        (129, 2, 3, [false, false, false]),
        (130, 1, 1, [true, false, true]),
        (700, 2, 3, [true, false, true]),
        (1_430, 3, 0, [false, true, true]),
    ];
    let mut all = cells(4, &events);
    for (all, other) in all.iter_mut().zip(&cells(9, &events[2..])) {
        all.absorb(other);
    }
    let bytes: Vec<u8> = all.iter().flat_map(FoldedSessions::encode).collect();
    crate::golden::check("sessions.bin", &bytes);
}

#[test]
fn a_chain_near_midnight_is_open_and_one_in_between_is_folded() {
    let passive = [false, false, false];
    let cells = |minutes: &[i64]| {
        let events: Vec<Event> = minutes.iter().map(|minute| (*minute, 0, 0, passive)).collect();
        let [quarter, _, day] = cells(1, &events);
        (
            day.open.len(),
            quarter.slots.iter().map(|s| (s.index, s.totals.started, s.crossing)).collect::<Vec<_>>(),
        )
    };
    assert_eq!(cells(&[29]), (1, vec![]));
    assert_eq!(cells(&[30]), (0, vec![(2, 1, 0)]));
    assert_eq!(cells(&[1_410]), (0, vec![(94, 1, 0)]));
    assert_eq!(cells(&[1_411]), (1, vec![]));
    // From 10:10 to exactly 10:45: open at 10:15, 10:30 and 10:45.
    assert_eq!(cells(&[610, 630, 645]), (0, vec![(40, 1, 0), (41, 0, 1), (42, 0, 1), (43, 0, 1)]));
    let all_day: Vec<i64> = (0..72).map(|n| n * 20).collect();
    assert_eq!(cells(&all_day), (1, vec![]));
}

#[test]
fn each_application_is_found_again() {
    let [quarter, ..] = cells(1, &[(100, 1, 0, [true, false, true])]);
    let bytes = encode_apps(&[(2, Some(&quarter)), (5, None)]);
    assert_eq!(decode_app(&bytes, 2), Ok(AppSessions::Own(quarter)));
    assert_eq!(decode_app(&bytes, 3), Ok(AppSessions::None));
    assert_eq!(decode_app(&bytes, 5), Ok(AppSessions::All));
    for cut in 0..bytes.len() {
        assert!(decode_app(&bytes[..cut], 2).is_err());
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(events in any_events(), others in any_events()) {
        for (mut cells, other) in cells(3, &events).into_iter().zip(cells(5, &others)) {
            cells.absorb(&other);
            prop_assert_eq!(FoldedSessions::decode(&cells.encode()).unwrap(), cells);
        }
    }

    #[test]
    fn tiers_agree(events in any_events()) {
        let sums = cells(1, &events).map(|cells| {
            let mut sum = Slot::default();
            cells.slots.iter().for_each(|slot| sum.absorb(slot));
            sum.crossing = 0;
            sum
        });
        prop_assert_eq!(&sums[0], &sums[1]);
        prop_assert_eq!(&sums[0], &sums[2]);
    }

    #[test]
    fn changed_bytes_are_refused_or_read_and_never_panic(
        events in any_events(),
        tier in 0_usize..3,
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = cells(1, &events)[tier].encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = FoldedSessions::decode(&bytes);
        prop_assert!(FoldedSessions::decode(&bytes[..cut.index(bytes.len())]).is_err() || cut.index(bytes.len()) > at);
    }
}
