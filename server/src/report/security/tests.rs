//! Rules at their borders: tables of cases, hostile values, limits.

mod judge;
mod platform;
mod whole;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use insights_engine::time::{BucketUnit, Buckets, DAY_US, TimeRange, TimestampUs};
use jiff::tz::TimeZone;

use super::baseline::{Baseline, twice_the_median};
use super::finding::{Draft, FINDINGS_MAX, Findings, SUBJECTS_MAX};
use super::row::{Kinds, Row};
use super::rule::{Past, watches};
use crate::config::security::{Rule, SecuritySettings};
use crate::domain::audit::Severity;
use crate::http::error::ApiError;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
/// The first instant of the window of every test.
const START: i64 = 20_000 * DAY_US;

/// A record as tests write it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Entry {
    /// From the start of the window.
    pub(super) at: i64,
    /// From `at`.
    pub(super) received: i64,
    pub(super) seq: Option<u64>,
    pub(super) user: Option<String>,
    pub(super) address: Option<String>,
    pub(super) agent: Option<String>,
    pub(super) action: &'static str,
    pub(super) failed: bool,
}

fn entry(at: i64, action: &'static str, user: &str) -> Entry {
    Entry { at, action, user: Some(user.to_owned()), ..Entry::default() }
}

fn from(address: &str, entry: Entry) -> Entry {
    Entry { address: Some(address.to_owned()), ..entry }
}

/// A log that answers from lists.
#[derive(Debug, Default)]
struct Given {
    last: HashMap<String, TimestampUs>,
    /// Places that have records of other times.
    elsewhere: Vec<u64>,
    expired: bool,
}

impl Past for Given {
    fn last_active(&self, users: &[&str]) -> Result<HashMap<String, TimestampUs>, ApiError> {
        let asked = |user: &&String| users.contains(&user.as_str());
        Ok(self.last.iter().filter(|(user, _)| asked(user)).map(|(user, at)| (user.clone(), *at)).collect())
    }

    fn present(&self, seqs: RangeInclusive<u64>) -> Result<Option<u64>, ApiError> {
        let count = self.elsewhere.iter().filter(|seq| seqs.contains(seq)).count() as u64;
        Ok((!self.expired).then_some(count))
    }
}

fn days() -> Buckets {
    let range = TimeRange { start: TimestampUs(START), end: TimestampUs(START + 90 * DAY_US) };
    Buckets::cover(range, BucketUnit::Day, &TimeZone::UTC, 1_000).unwrap()
}

/// Feeds entries in their order; places are their numbers from 1 on unless they say others.
fn run(settings: &SecuritySettings, baseline: Baseline, past: &Given, entries: &[Entry]) -> Findings {
    let mut watches = watches(settings, baseline, &days());
    let mut out = Findings::default();
    for (entry, seq) in entries.iter().zip(1..) {
        let row = Row {
            at: TimestampUs(START + entry.at),
            received: TimestampUs(START + entry.at + entry.received),
            seq: entry.seq.unwrap_or(seq),
            id: None,
            user: entry.user.as_deref(),
            address: entry.address.as_deref(),
            agent: entry.agent.as_deref(),
            action: entry.action,
            failed: entry.failed,
            kinds: Kinds::of(entry.action, entry.failed, &settings.actions),
        };
        for watch in &mut watches {
            watch.take(&row, &mut out);
        }
    }
    for watch in watches {
        watch.finish(past, &mut out).unwrap();
    }
    out
}

/// Only these rules.
fn only(rules: &[Rule]) -> SecuritySettings {
    let rules_off = Rule::ALL.into_iter().filter(|rule| !rules.contains(rule)).collect();
    SecuritySettings { rules_off, ..SecuritySettings::default() }
}

/// What one rule finds without anything before.
pub(super) fn found(rule: Rule, entries: &[Entry]) -> Vec<Draft> {
    run(&only(&[rule]), Baseline::default(), &Given::default(), entries).into_sorted()
}

/// (first, last, count) in microseconds from the start.
fn spans(drafts: &[Draft]) -> Vec<(i64, i64, u64)> {
    drafts.iter().map(|draft| (draft.first.0 - START, draft.last.0 - START, draft.count)).collect()
}

/// `n` entries, the first at 0 and the last at `span`.
fn spread(n: i64, span: i64, one: impl Fn(i64) -> Entry) -> Vec<Entry> {
    (0..n).map(|k| Entry { at: if n > 1 { span * k / (n - 1) } else { 0 }, ..one(k) }).collect()
}

#[test]
fn spraying_begins_at_ten_users_within_ten_minutes_inclusive() {
    let failed = |k: i64| from("a", entry(0, "user.login_failed", &format!("u{k}")));
    let by_outcome = |k: i64| Entry { failed: true, action: "user.login", ..failed(k) };
    let nothing: Vec<(i64, i64, u64)> = Vec::new();
    for (entries, expected) in [
        (spread(9, 9 * MINUTE, failed), nothing.clone()),
        (spread(10, 10 * MINUTE, failed), vec![(0, 10 * MINUTE, 10)]),
        (spread(10, 10 * MINUTE + SECOND, failed), nothing.clone()),
        (spread(10, 10 * MINUTE + 1, failed), nothing.clone()),
        (spread(10, 0, failed), vec![(0, 0, 10)]),
        (spread(10, MINUTE, by_outcome), vec![(0, MINUTE, 10)]),
        // Logins that succeed, the same user again, another address, nobody, no address.
        (spread(10, MINUTE, |k| Entry { action: "user.login", ..failed(k) }), nothing.clone()),
        (spread(50, MINUTE, |k| failed(k % 9)), nothing.clone()),
        (spread(18, MINUTE, |k| from(if k % 2 == 0 { "a" } else { "b" }, failed(k))), nothing.clone()),
        (spread(50, MINUTE, |k| Entry { user: None, ..failed(k) }), nothing.clone()),
        (spread(50, MINUTE, |k| Entry { address: None, ..failed(k) }), nothing),
    ] {
        assert_eq!(spans(&found(Rule::PasswordSpraying, &entries)), expected, "{entries:?}");
    }
}

#[test]
fn stretches_that_share_a_record_are_one_finding_and_others_are_two() {
    let failed = |at: i64, k: i64| from("a", entry(at, "login_failed", &format!("u{k}")));
    let mut entries: Vec<_> = (0..30).map(|k| failed(k * MINUTE, k)).collect();
    assert_eq!(spans(&found(Rule::PasswordSpraying, &entries)), [(0, 29 * MINUTE, 30)]);
    entries.extend((0..10).map(|k| failed(60 * MINUTE + k, k)));
    let drafts = found(Rule::PasswordSpraying, &entries);
    assert_eq!(spans(&drafts), [(0, 29 * MINUTE, 30), (60 * MINUTE, 60 * MINUTE + 9, 10)]);
    assert_eq!(
        drafts[0].evidence.iter().map(|mark| mark.seq).collect::<Vec<_>>(),
        (1..=20).collect::<Vec<_>>()
    );
    assert!(drafts.iter().all(|draft| draft.severity == Severity::Error && draft.subject.value == "a"));
}

#[test]
fn stuffing_begins_at_twenty_addresses_within_ten_minutes_inclusive() {
    let failed = |k: i64| from(&format!("a{k}"), entry(0, "auth.login_failed", "u"));
    for (entries, expected) in [
        (spread(19, MINUTE, failed), 0),
        (spread(20, 10 * MINUTE, failed), 1),
        (spread(20, 10 * MINUTE + SECOND, failed), 0),
        (spread(60, MINUTE, |k| failed(k % 19)), 0),
        (spread(40, MINUTE, |k| Entry { user: Some(format!("u{}", k % 3)), ..failed(k) }), 0),
    ] {
        assert_eq!(found(Rule::CredentialStuffing, &entries).len(), expected, "{entries:?}");
    }
}

#[test]
fn twenty_deletions_or_exports_within_five_minutes_are_many() {
    for (rule, action) in [(Rule::MassDelete, "project.deleted"), (Rule::MassExport, "data.export")] {
        let one = |_| entry(0, action, "u");
        for (entries, expected) in [
            (spread(19, MINUTE, one), 0),
            (spread(20, 5 * MINUTE, one), 1),
            (spread(20, 5 * MINUTE + SECOND, one), 0),
            (spread(20, MINUTE, |k| Entry { failed: k == 0, ..one(k) }), 0),
            (spread(20, MINUTE, |k| entry(0, action, ["u", "v"][usize::try_from(k % 2).unwrap()])), 0),
            (spread(20, MINUTE, |k| Entry { user: None, ..one(k) }), 0),
            (spread(20, MINUTE, |_| entry(0, "insights.audit.exported", "u")), 0),
        ] {
            assert_eq!(found(rule, &entries).len(), expected, "{entries:?}");
        }
    }
}

#[test]
fn ten_times_the_usual_day_is_many_and_a_day_of_a_burst_is_told_once() {
    let deletions =
        |usual: u64| Baseline { deletions: HashMap::from([(Arc::from("u"), usual)]), ..Baseline::default() };
    let run = |usual, entries: &[Entry]| {
        run(&only(&[Rule::MassDelete]), deletions(usual), &Given::default(), entries).into_sorted()
    };
    let on_a_day = |n| spread(n, 12 * 60 * MINUTE, |_| entry(0, "x.deleted", "u"));
    // The median is 1: ten are many. 1.5: fifteen are.
    assert_eq!(run(2, &on_a_day(9)).len(), 0);
    assert_eq!(run(2, &on_a_day(10)).len(), 1);
    assert_eq!(run(3, &on_a_day(14)).len(), 0);
    let many = run(3, &on_a_day(15));
    assert_eq!(many[0].text, "15 deletions by u on one day, 1.5 on a usual one");
    // Ten over two days are not, nor are those of somebody without a usual day.
    let over_midnight = spread(10, 2 * 60 * MINUTE, |_| entry(0, "x.deleted", "u"));
    let over_midnight: Vec<_> =
        over_midnight.into_iter().map(|e| Entry { at: e.at + 23 * 60 * MINUTE, ..e }).collect();
    assert_eq!(run(2, &over_midnight).len(), 0);
    assert_eq!(found(Rule::MassDelete, &on_a_day(50)).len(), 0);
    // A burst on such a day is the one finding.
    let burst = spread(20, MINUTE, |_| entry(0, "x.deleted", "u"));
    assert_eq!(run(2, &burst).len(), 1);
    for (days, twice) in
        [(vec![], 0), (vec![4], 8), (vec![5, 1], 6), (vec![9, 1, 2], 4), (vec![1, 2, 3, 4], 5)]
    {
        assert_eq!(twice_the_median(days), twice);
    }
}

#[test]
fn a_new_address_or_agent_is_told_once_of_users_that_are_known() {
    let known = |value: &str| {
        let mut known = super::baseline::Known::default();
        known.add(&"u".into(), Some(value));
        known
    };
    let login = |at, user: &str, address: &str| Entry {
        agent: Some(format!("agent of {address}")),
        ..from(address, entry(at, "user.login", user))
    };
    let entries = [
        login(0, "u", "home"),
        login(1, "u", "bar"),
        login(2, "u", "bar"),
        login(3, "v", "bar"),
        Entry { failed: true, ..login(4, "u", "jail") },
        Entry { address: None, agent: None, ..login(5, "u", "") },
        login(6, "u", "airport"),
    ];
    let baseline =
        Baseline { addresses: known("home"), agents: known("agent of bar"), ..Baseline::default() };
    let settings = only(&[Rule::NewAddress, Rule::NewAgent]);
    let drafts = run(&settings, baseline, &Given::default(), &entries).into_sorted();
    let told: Vec<_> = drafts.iter().map(|d| (d.rule, d.value.as_deref().unwrap(), d.count)).collect();
    let expected = [
        (Rule::NewAgent, "agent of home", 1),
        (Rule::NewAddress, "bar", 2),
        (Rule::NewAddress, "airport", 1),
        (Rule::NewAgent, "agent of airport", 1),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_second_factor_that_goes_is_told_once_a_user() {
    for (action, expected) in [
        ("user.2fa_disabled", 1),
        ("security.2fa.disabled", 1),
        ("account.mfa_disabled", 1),
        ("user.2fa_enabled", 0),
        ("user.2fa_disabled_failed", 0),
    ] {
        assert_eq!(found(Rule::TwoFactorDisabled, &[entry(0, action, "u")]).len(), expected, "{action}");
    }
    let action = "user.2fa_disabled";
    let failed = Entry { failed: true, ..entry(3, action, "w") };
    let nobody = Entry { user: None, ..entry(4, action, "") };
    let entries = [entry(0, action, "u"), entry(1, action, "u"), entry(2, action, "v"), failed, nobody];
    assert_eq!(spans(&found(Rule::TwoFactorDisabled, &entries)), [(0, 1, 2), (2, 2, 1), (4, 4, 1)]);
}

#[test]
fn thirty_days_of_silence_are_long_and_failures_break_none() {
    let past =
        |at: i64| Given { last: HashMap::from([("u".into(), TimestampUs(START + at))]), ..Given::default() };
    let active = |at: i64| Baseline {
        active: HashMap::from([(Arc::from("u"), TimestampUs(START + at))]),
        ..Baseline::default()
    };
    let settings = only(&[Rule::DormantAccountActive]);
    let none = Given::default;
    let back = |at| vec![entry(at, "project.updated", "u")];
    let failed = |at| Entry { failed: true, ..entry(at, "user.login", "u") };
    let own = |at| entry(at, "insights.audit.read", "u");
    for (baseline, past, entries, expected) in [
        (Baseline::default(), past(-30 * DAY_US), back(0), vec![0]),
        (Baseline::default(), past(-30 * DAY_US + 1), back(0), vec![]),
        (Baseline::default(), past(-31 * DAY_US), back(DAY_US), vec![DAY_US]),
        // Never seen before.
        (Baseline::default(), none(), back(0), vec![]),
        // Seen in the look-back, then silent into the window, and silent inside it.
        (active(-20 * DAY_US), none(), back(10 * DAY_US), vec![10 * DAY_US]),
        (active(-20 * DAY_US), none(), back(10 * DAY_US - 1), vec![]),
        (active(-1), none(), [back(0), back(30 * DAY_US)].concat(), vec![30 * DAY_US]),
        (Baseline::default(), none(), [back(0), back(31 * DAY_US)].concat(), vec![31 * DAY_US]),
        // What failed is neither a sign of life nor a return.
        (Baseline::default(), past(-40 * DAY_US), [vec![failed(0), own(1)], back(2)].concat(), vec![2]),
        (Baseline::default(), past(-40 * DAY_US), vec![failed(0), own(1)], vec![]),
    ] {
        let found = run(&settings, baseline, &past, &entries).into_sorted();
        let at: Vec<_> = found.iter().map(|draft| draft.first.0 - START).collect();
        assert_eq!(at, expected, "{past:?} {entries:?}");
    }
}

#[test]
fn the_first_privileged_action_of_a_user_is_told() {
    let baseline = Baseline { privileged: [Arc::from("known")].into(), ..Baseline::default() };
    let entries = [
        entry(0, "role.granted", "known"),
        entry(1, "project.updated", "u"),
        entry(2, "role.granted", "u"),
        entry(3, "permission.changed", "u"),
        entry(4, "insights.key.created", "v"),
        entry(5, "insights.retention.changed", "w"),
        Entry { user: None, ..entry(6, "role.granted", "") },
    ];
    let settings = only(&[Rule::FirstPrivilegedAction]);
    let drafts = run(&settings, baseline, &Given::default(), &entries).into_sorted();
    let told: Vec<_> = drafts.iter().map(|d| (d.first.0 - START, d.value.as_deref().unwrap())).collect();
    assert_eq!(told, [(2, "role.granted"), (4, "insights.key.created")]);
}

#[test]
fn a_place_without_a_record_is_a_gap_unless_it_lies_at_another_time() {
    let at = |seqs: &[u64]| -> Vec<Entry> {
        let one = |(seq, at): (&u64, i64)| Entry { seq: Some(*seq), ..entry(at, "x", "u") };
        seqs.iter().zip(0..).map(one).collect()
    };
    let settings = only(&[Rule::AuditGap]);
    for (seqs, elsewhere, expired, expected) in [
        (vec![5, 6, 7], vec![], false, vec![]),
        (vec![7, 5, 6], vec![], false, vec![]),
        (vec![1, 3], vec![], false, vec![1]),
        (vec![1, 3], vec![2], false, vec![]),
        (vec![1, 3], vec![], true, vec![]),
        (vec![1, 9, 4, 5], vec![2], false, vec![1, 3]),
        (vec![u64::MAX, 0, 1], vec![], false, vec![u64::MAX - 2]),
    ] {
        let past = Given { elsewhere, expired, ..Given::default() };
        let drafts = run(&settings, Baseline::default(), &past, &at(&seqs)).into_sorted();
        let mut counts: Vec<_> = drafts.iter().map(|draft| draft.count).collect();
        counts.sort_unstable();
        assert_eq!(counts, expected, "{seqs:?}");
        assert!(drafts.iter().all(|draft| draft.severity == Severity::Critical && draft.evidence.len() == 2));
    }
}

#[test]
fn a_clock_that_went_back_or_is_ahead_is_told() {
    let received = |seq, at: i64, received: i64| Entry {
        seq: Some(seq),
        received: received - at,
        ..entry(at, "x", "u")
    };
    let limit = 10 * MINUTE;
    let values = |entries: &[Entry]| -> Vec<(String, u64)> {
        let drafts = found(Rule::ClockStep, entries);
        drafts.into_iter().map(|draft| (draft.value.unwrap(), draft.count)).collect()
    };
    let back = |n| vec![("set_back".to_owned(), n)];
    assert_eq!(values(&[received(1, 0, limit), received(2, 0, 0)]), []);
    assert_eq!(values(&[received(1, 0, limit + 1), received(2, 0, 0)]), back(1));
    // Whatever the order of time in which neighbours come; late records are fine.
    assert_eq!(values(&[received(2, -limit, 0), received(1, 0, limit + 1)]), back(1));
    let shuffled = [received(3, 0, 0), received(1, 0, 2 * limit + 2), received(2, 0, limit + 1)];
    assert_eq!(values(&shuffled), back(2));
    assert_eq!(values(&[received(1, 0, 0), received(2, -50 * DAY_US, 1)]), []);
    assert_eq!(values(&[received(1, limit, 0)]), []);
    assert_eq!(values(&[received(1, limit + 1, 0)]), [("ahead".to_owned(), 1)]);
}

#[test]
fn subjects_beyond_the_limit_are_counted_and_the_rest_still_works() {
    let limit = i64::try_from(SUBJECTS_MAX).unwrap();
    let mut entries: Vec<_> =
        (0..limit + 5).map(|k| from(&format!("a{k}"), entry(k, "login_failed", "u"))).collect();
    entries.extend((0..10).map(|k| from("a0", entry(limit + 10 + k, "login_failed", &format!("u{k}")))));
    let settings = only(&[Rule::PasswordSpraying]);
    let findings = run(&settings, Baseline::default(), &Given::default(), &entries);
    assert_eq!((findings.untracked, findings.all()), (5, 1));
    // When their windows are over, there is room again.
    let later = (0..10).map(|k| from("b", entry(30 * MINUTE + k, "login_failed", &format!("u{k}"))));
    entries.extend(later);
    let findings = run(&settings, Baseline::default(), &Given::default(), &entries);
    assert_eq!((findings.untracked, findings.all()), (5, 2));
}

#[test]
fn at_most_a_thousand_findings_are_kept_and_all_are_counted() {
    let max = i64::try_from(FINDINGS_MAX).unwrap();
    let action = "user.2fa_disabled";
    let mut entries: Vec<_> =
        (0..3 * max).rev().map(|k| entry(10 * max - k, "role.granted", &format!("u{k}"))).collect();
    entries.push(entry(20 * max, action, "u"));
    let settings = only(&[Rule::TwoFactorDisabled, Rule::FirstPrivilegedAction]);
    let findings = run(&settings, Baseline::default(), &Given::default(), &entries);
    assert_eq!((findings.all(), findings.of_severity(Severity::Notice)), (3_001, 3_000));
    let kept = findings.into_sorted();
    assert_eq!((kept.len(), kept[0].rule), (FINDINGS_MAX, Rule::TwoFactorDisabled));
    assert!(kept[1..].iter().map(|draft| draft.first).is_sorted());
    assert_eq!(kept[1].first.0 - START, 7 * max + 1);
}

#[test]
fn hostile_records_never_panic() {
    let long = "\u{1f600}".repeat(1_024);
    let values = [None, Some(String::new()), Some(long), Some("\0\u{202e}".to_owned())];
    let actions =
        ["", "user.login", "login_failed", "*.deleted", ".deleted", "x.exported", "role.", "insights."];
    let times = [i64::MIN / 2, -1, 0, 0, i64::MAX / 4];
    let mut entries = Vec::new();
    for at in times {
        for value in &values {
            for action in actions {
                let entry = Entry {
                    at,
                    received: -at,
                    seq: (at < 0).then_some(u64::MAX),
                    user: value.clone(),
                    address: value.clone(),
                    agent: value.clone(),
                    action,
                    failed: at == 0,
                };
                entries.extend(std::iter::repeat_n(entry, 25));
            }
        }
    }
    let findings = run(&SecuritySettings::default(), Baseline::default(), &Given::default(), &entries);
    assert!(findings.into_sorted().iter().all(|draft| draft.text.len() < 4_096));
}
