//! The machine by hand-made tables: a line is what is observed at a second, and what becomes of it.

use super::super::threshold::Comparator;
use super::*;

/// `gt 90`, and nothing else.
fn plain() -> Policy {
    Policy {
        threshold: Threshold::fixed(Comparator::Gt, 90.0),
        hold: Length::ZERO,
        keep_firing_for: Length::ZERO,
        no_data: NoData::Ok,
        tells_silence: false,
    }
}

fn at(second: i64) -> TimestampUs {
    TimestampUs(second * 1_000_000)
}

const NOTHING: Observation = Observation::Nothing;
const UNKNOWN: Observation = Observation::Unknown;

fn is(value: f64) -> Observation {
    Observation::Value(value)
}

/// Steps through a table of (second, observation, change, state after).
fn check(policy: Policy, table: &[(i64, Observation, Option<Change>, AlertState)]) -> Series {
    let mut series = Series::default();
    for (second, observation, change, state) in table {
        let got = series.observe(&policy, at(*second), *observation);
        assert_eq!((got, series.state), (*change, *state), "at {second} s: {observation:?} of {table:?}");
        if change.is_some() {
            assert_eq!(series.since, at(*second));
        }
    }
    series
}

use AlertState::{Firing, Ok, Pending, Resolved};

#[test]
fn without_for_an_alert_fires_and_resolves_at_once() {
    check(
        plain(),
        &[
            (0, is(90.0), None, Ok),
            (60, is(91.0), Some(Change::Firing), Firing),
            (120, is(99.0), None, Firing),
            (180, is(90.0), Some(Change::Resolved), Ok),
            (240, is(91.0), Some(Change::Firing), Firing),
        ],
    );
}

#[test]
fn an_alert_is_pending_until_the_condition_has_held_for_long_enough() {
    let policy = Policy { hold: Length::minutes(2), ..plain() };
    check(
        policy,
        &[
            (0, is(91.0), Some(Change::Pending), Pending),
            (60, is(91.0), None, Pending),
            (119, is(91.0), None, Pending),
            (120, is(91.0), Some(Change::Firing), Firing),
            (180, is(1.0), Some(Change::Resolved), Ok),
            (240, is(91.0), Some(Change::Pending), Pending),
            (300, is(1.0), Some(Change::Cleared), Ok),
            // What was held before does not count.
            (360, is(91.0), Some(Change::Pending), Pending),
            (420, is(91.0), None, Pending),
        ],
    );
}

#[test]
fn hysteresis_keeps_a_number_that_swings_around_the_threshold_from_flapping() {
    let threshold = Threshold { op: Comparator::Gt, threshold: 90.0, resolve_threshold: Some(80.0) };
    check(
        Policy { threshold, ..plain() },
        &[
            (0, is(89.0), None, Ok),
            (60, is(91.0), Some(Change::Firing), Firing),
            (120, is(89.0), None, Firing),
            (180, is(91.0), None, Firing),
            (240, is(80.5), None, Firing),
            (300, is(80.0), Some(Change::Resolved), Ok),
            (360, is(85.0), None, Ok),
        ],
    );
}

#[test]
fn a_firing_alert_goes_on_for_as_long_as_it_is_told_to() {
    let policy = Policy { keep_firing_for: Length::minutes(2), ..plain() };
    check(
        policy,
        &[
            (0, is(91.0), Some(Change::Firing), Firing),
            (60, is(1.0), None, Firing),
            (120, is(91.0), None, Firing),
            // The wait begins anew.
            (180, is(1.0), None, Firing),
            (299, is(1.0), None, Firing),
            (300, is(1.0), Some(Change::Resolved), Ok),
        ],
    );
}

#[test]
fn nothing_is_well_an_alert_or_no_change_as_the_rule_says() {
    let with = |no_data| Policy { no_data, ..plain() };
    check(
        with(NoData::Ok),
        &[
            (0, NOTHING, None, Ok),
            (1, is(91.0), Some(Change::Firing), Firing),
            (2, NOTHING, Some(Change::Resolved), Ok),
        ],
    );
    check(
        with(NoData::Keep),
        &[(0, NOTHING, None, Ok), (1, is(91.0), Some(Change::Firing), Firing), (2, NOTHING, None, Firing)],
    );
    let series = check(
        with(NoData::Alerting),
        &[
            (0, is(1.0), None, Ok),
            (1, NOTHING, Some(Change::NoData), Firing),
            (2, NOTHING, None, Firing),
            (3, is(1.0), Some(Change::Resolved), Ok),
            (4, is(91.0), Some(Change::Firing), Firing),
            // It fires already, whyever.
            (5, NOTHING, None, Firing),
        ],
    );
    assert!(series.no_data);
    let slow = Policy { hold: Length::minutes(1), ..with(NoData::Alerting) };
    check(slow, &[(0, NOTHING, Some(Change::Pending), Pending), (60, NOTHING, Some(Change::NoData), Firing)]);
}

#[test]
fn what_nobody_knows_changes_nothing() {
    let policy = Policy { no_data: NoData::Alerting, hold: Length::minutes(1), ..plain() };
    check(
        policy,
        &[
            (0, UNKNOWN, None, Ok),
            (10, is(91.0), Some(Change::Pending), Pending),
            (100, UNKNOWN, None, Pending),
            (110, is(91.0), Some(Change::Firing), Firing),
            (120, UNKNOWN, None, Firing),
        ],
    );
}

#[test]
fn a_clock_that_is_set_back_waits_rather_than_fires() {
    let policy = Policy { hold: Length::minutes(1), ..plain() };
    check(
        policy,
        &[
            (1_000, is(91.0), Some(Change::Pending), Pending),
            (0, is(91.0), None, Pending),
            (1_060, is(91.0), Some(Change::Firing), Firing),
        ],
    );
}

#[test]
fn those_who_were_told_are_to_be_told_of_the_end() {
    let mut series = Series::default();
    series.observe(&plain(), at(0), is(91.0));
    series.told = Some(at(0));
    assert_eq!(series.observe(&plain(), at(60), is(1.0)), Some(Change::Resolved));
    assert_eq!((series.state, series.is_forgettable()), (Resolved, false));
    // It fires again before anybody was told: for them it never ended.
    assert_eq!(series.observe(&plain(), at(120), is(91.0)), Some(Change::Firing));
    assert_eq!((series.state, series.told), (Firing, Some(at(0))));
}

#[test]
fn a_rule_that_ends_takes_its_alerts_along() {
    let mut firing = check(plain(), &[(0, is(91.0), Some(Change::Firing), Firing)]);
    assert_eq!((firing.retire(at(5)), firing.state), (Some(Change::Resolved), Ok));
    assert_eq!(firing.retire(at(6)), None);
    let policy = Policy { hold: Length::minutes(1), ..plain() };
    let mut pending = check(policy, &[(0, is(91.0), Some(Change::Pending), Pending)]);
    assert_eq!((pending.retire(at(5)), pending.state), (Some(Change::Cleared), Ok));
}

#[test]
fn the_time_the_server_was_away_is_not_waited_for() {
    let policy = Policy { hold: Length::minutes(2), ..plain() };
    let mut series = check(policy, &[(0, is(91.0), Some(Change::Pending), Pending)]);
    series.pass_over(Length::hours(1));
    assert_eq!(series.observe(&policy, at(3_660), is(91.0)), None);
    assert_eq!(series.observe(&policy, at(3_720), is(91.0)), Some(Change::Firing));
}

#[test]
fn a_silence_in_doubt_is_unknown_and_a_number_that_is_well_is_not() {
    let few = Policy { threshold: Threshold::fixed(Comparator::Lt, 1.0), tells_silence: true, ..plain() };
    assert_eq!(few.in_doubt(is(0.0)), UNKNOWN);
    assert_eq!(few.in_doubt(is(1.0)), is(1.0));
    assert_eq!(plain().in_doubt(is(91.0)), is(91.0));
    assert_eq!(plain().in_doubt(NOTHING), UNKNOWN);
}
