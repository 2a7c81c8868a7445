//! Groups by hand-made tables: what is told at which second, as an Alertmanager would tell it.

use super::*;

fn at(second: i64) -> TimestampUs {
    TimestampUs(second * 1_000_000)
}

/// A warning that fires since second 0: waits 30 s, then every 5 minutes for news, repeats every hour.
fn warning() -> Member {
    Member {
        severity: Severity::Warning,
        is_firing: true,
        since: at(0),
        told: None,
        is_muted: false,
        wait: Length::seconds(30),
        interval: Length::minutes(5),
        repeat: Length::hours(1),
    }
}

fn critical() -> Member {
    Member { severity: Severity::Critical, ..warning() }
}

fn said(seconds: &[i64]) -> Said {
    let mut said = Said::default();
    for second in seconds {
        said.add(at(*second));
    }
    said
}

fn check(members: &[Member], said_at: &[i64], cases: &[(i64, Decision)]) {
    for (second, expected) in cases {
        let got = decide(at(*second), members, &said(said_at));
        assert_eq!(got, *expected, "at {second} s: {members:?} after {said_at:?}");
    }
}

use Decision::{Nothing, Say, Wait};

#[test]
fn the_first_message_waits_for_others() {
    check(&[warning()], &[], &[(0, Wait(at(30))), (29, Wait(at(30))), (30, Say)]);
    let later = Member { since: at(20), ..warning() };
    check(&[warning(), later], &[], &[(29, Wait(at(30))), (30, Say)]);
    check(&[], &[], &[(0, Nothing)]);
}

#[test]
fn what_is_critical_does_not_wait() {
    check(&[critical()], &[], &[(0, Say)]);
    check(&[warning(), critical()], &[], &[(0, Say)]);
}

#[test]
fn news_of_a_group_come_at_its_interval() {
    let old = Member { told: Some(at(30)), ..warning() };
    let new = Member { since: at(60), ..warning() };
    check(&[old, new], &[30], &[(60, Wait(at(330))), (330, Say)]);
    // A group that said nothing for long has nothing to wait for.
    let new = Member { since: at(1_000), ..warning() };
    check(&[old, new], &[30], &[(1_000, Say)]);
}

#[test]
fn the_same_is_told_again_after_the_repeat_interval() {
    let told = Member { told: Some(at(30)), ..warning() };
    check(&[told], &[30], &[(40, Wait(at(3_630))), (3_629, Wait(at(3_630))), (3_630, Say)]);
}

#[test]
fn the_end_is_told_to_those_who_were_told_of_the_alert() {
    let ended = Member { is_firing: false, since: at(60), told: Some(at(30)), ..warning() };
    check(&[ended], &[30], &[(60, Wait(at(330))), (330, Say)]);
    check(&[Member { since: at(900), ..ended }], &[30], &[(900, Say)]);
    check(&[Member { told: None, ..ended }], &[], &[(1_000, Nothing)]);
}

#[test]
fn nobody_is_told_of_what_is_muted() {
    let muted = Member { is_muted: true, ..critical() };
    check(&[muted], &[], &[(0, Nothing), (10_000, Nothing)]);
    check(&[Member { told: Some(at(0)), ..muted }], &[0], &[(10_000, Nothing)]);
    check(&[muted, warning()], &[], &[(0, Wait(at(30))), (30, Say)]);
}

#[test]
fn a_storm_is_a_few_messages_and_then_one_an_interval() {
    let told = Member { told: Some(at(0)), ..critical() };
    let new = |second| Member { since: at(second), ..critical() };
    check(&[told, new(5)], &[0], &[(5, Say)]);
    check(&[told, new(10)], &[0, 5], &[(10, Say)]);
    check(&[told, new(15)], &[0, 5, 10], &[(15, Wait(at(300))), (300, Say)]);
    // A thousand new ones of one look are one message anyhow.
    check(&vec![new(0); 1_000], &[], &[(0, Say)]);
}

#[test]
fn what_was_said_is_bounded() {
    assert_eq!(said(&[1, 2, 3, 4, 5]).at_us, [3_000_000, 4_000_000, 5_000_000]);
}
