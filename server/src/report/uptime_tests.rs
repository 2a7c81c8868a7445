//! Tests of uptime: hand-computed timelines, and a second by second account as the judge.

use proptest::prelude::*;

use super::*;

const MINUTE: i64 = 60_000_000;

/// Probes from `(minute, letter)`: `u` up, `d` down, `m` maintenance.
fn probes(text: &[(i64, char)]) -> Vec<Probe> {
    let probe = |(minute, letter): &(i64, char)| Probe {
        at: TimestampUs(minute * MINUTE),
        up: *letter == 'u',
        maintenance: *letter == 'm',
    };
    text.iter().map(probe).collect()
}

fn minutes(start: i64, end: i64) -> TimeRange {
    TimeRange { start: TimestampUs(start * MINUTE), end: TimestampUs(end * MINUTE) }
}

/// `(from, to, state)` in minutes.
fn check(text: &[(i64, char)], until: i64, expected: &[(i64, i64, State)]) {
    let got = timeline(probes(text), TimestampUs(until * MINUTE));
    let expected: Vec<_> =
        expected.iter().map(|(s, e, state)| Stretch { range: minutes(*s, *e), state: *state }).collect();
    assert_eq!(got, expected);
}

#[test]
fn one_failed_probe_is_not_down() {
    check(&[(0, 'u'), (1, 'd'), (2, 'u')], 3, &[(0, 3, State::Up)]);
}

#[test]
fn two_failed_probes_are_down_from_the_first() {
    check(
        &[(0, 'u'), (5, 'd'), (10, 'd'), (15, 'u')],
        20,
        &[(0, 5, State::Up), (5, 15, State::Down), (15, 20, State::Up)],
    );
}

#[test]
fn a_state_holds_ten_minutes_and_then_nothing_is_known() {
    // The gaps are 1, 1 and 58 minutes: twice the median is two minutes, so ten minutes are the limit.
    check(&[(0, 'u'), (1, 'u'), (2, 'u'), (60, 'u')], 100, &[(0, 12, State::Up), (60, 70, State::Up)]);
    check(&[(0, 'u')], 5, &[(0, 5, State::Up)]);
}

#[test]
fn slow_probes_hold_twice_their_usual_interval() {
    // Every thirty minutes; the probe at 90 is missing, so the state of 60 holds until 120.
    check(&[(0, 'u'), (30, 'u'), (60, 'u'), (120, 'u')], 500, &[(0, 180, State::Up)]);
}

#[test]
fn maintenance_leaves_the_state_and_breaks_a_row_of_failures() {
    check(
        &[(0, 'u'), (5, 'd'), (10, 'm'), (15, 'd'), (20, 'u')],
        25,
        &[(0, 10, State::Up), (10, 15, State::Maintenance), (15, 25, State::Up)],
    );
    check(
        &[(0, 'd'), (5, 'd'), (10, 'm'), (15, 'd'), (20, 'u')],
        25,
        &[(0, 10, State::Down), (10, 15, State::Maintenance), (15, 20, State::Down), (20, 25, State::Up)],
    );
}

#[test]
fn several_probes_at_one_instant_are_one() {
    let mut both = probes(&[(0, 'd'), (5, 'd'), (10, 'u')]);
    both.push(Probe { at: TimestampUs(5 * MINUTE), up: true, maintenance: false });
    let got = timeline(both, TimestampUs(15 * MINUTE));
    assert_eq!(got, [Stretch { range: minutes(0, 15), state: State::Up }]);
}

/// An outage of 90 seconds in an hour of probes every 30 seconds: 58.5 of 60 minutes, 97.5 %.
#[test]
fn an_outage_of_ninety_seconds_in_an_hour_is_two_and_a_half_percent() {
    let second = 1_000_000;
    let all: Vec<Probe> = (0..120)
        .map(|i| Probe { at: TimestampUs(i * 30 * second), up: !(40..43).contains(&i), maintenance: false })
        .collect();
    let hour = minutes(0, 60);
    let stretches = timeline(all, hour.end);
    let account = accounts(&stretches, &[hour])[0];
    assert_eq!(account, Account { up_us: 3_510 * second, down_us: 90 * second, maintenance_us: 0 });
    assert_eq!(account.ratio(), Some(0.975));
    let outage = TimeRange { start: TimestampUs(1_200 * second), end: TimestampUs(1_290 * second) };
    assert_eq!(incidents(&stretches, hour), [outage]);
    // A window that begins inside the outage sees its rest.
    assert_eq!(
        incidents(&stretches, minutes(21, 60)),
        [TimeRange { start: minutes(21, 60).start, end: outage.end }]
    );
}

/// The state of every minute, by looking for its probe anew: slow, and without any shared state.
fn judge(all: &[(i64, char)], minute: i64) -> Option<State> {
    let last = all.iter().rposition(|(at, _)| *at <= minute)?;
    let mut gaps: Vec<i64> = all.windows(2).map(|w| w[1].0 - w[0].0).collect();
    gaps.sort_unstable();
    let doubled = if gaps.is_empty() { 0 } else { gaps[gaps.len() / 2] + gaps[(gaps.len() - 1) / 2] };
    if minute - all[last].0 >= doubled.max(10) {
        return None;
    }
    if all[last].1 == 'm' {
        return Some(State::Maintenance);
    }
    // The newest probe up to this one that settles a state: a success, or one of two failures in a row.
    let settled = (0..=last).rev().find(|i| match all[*i].1 {
        'u' => true,
        'd' => (*i > 0 && all[i - 1].1 == 'd') || all.get(i + 1).is_some_and(|p| p.1 == 'd'),
        _ => false,
    });
    Some(if settled.is_some_and(|i| all[i].1 == 'd') { State::Down } else { State::Up })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_account_agrees_with_one_made_minute_by_minute(
        steps in proptest::collection::vec((1_i64..40, prop_oneof![4 => Just('u'), 4 => Just('d'), 1 => Just('m')]), 0..40),
        cuts in proptest::collection::btree_set(0_i64..900, 2..6),
    ) {
        let mut at = 0;
        let all: Vec<(i64, char)> = steps.iter().map(|(step, letter)| { at += step; (at, *letter) }).collect();
        let until = 800;
        let stretches = timeline(probes(&all), TimestampUs(until * MINUTE));
        let cuts: Vec<i64> = cuts.into_iter().collect();
        let ranges: Vec<TimeRange> = cuts.windows(2).map(|w| minutes(w[0], w[1])).collect();
        for (range, account) in cuts.windows(2).zip(accounts(&stretches, &ranges)) {
            let mut expected = Account::default();
            for minute in range[0]..range[1].min(until) {
                if let Some(state) = judge(&all, minute) {
                    expected.add(state, MINUTE);
                }
            }
            prop_assert_eq!(account, expected);
        }
    }
}
