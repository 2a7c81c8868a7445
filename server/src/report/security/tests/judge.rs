//! Obvious and slow: every windowed rule again, by looking at all records for each record.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Entry, MINUTE, Rule, found};

/// What happens, when, by whom and from where, in few words. Each set is mostly about one of the rules.
fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let one = (0..60_i64, 0..16_u8, 0..24_u8, 0..32_u8);
    (0..4_u8, prop::collection::vec(one, 0..300)).prop_map(|(about, mut rows)| {
        rows.sort_by_key(|row| row.0);
        let entry = |(at, drawn, user, address): (i64, u8, u8, u8)| {
            let (action, users, addresses) = match (drawn, about) {
                (0, _) => ("x.updated", 3, 3),
                (1, _) => ("x.deleted", 3, 3),
                (2, _) => ("x.exported", 3, 3),
                (3 | 4, _) => ("user.login", 24, 32),
                (_, 0) => ("user.login_failed", 24, 3),
                (_, 1) => ("user.login_failed", 3, 32),
                (_, 2) => ("x.deleted", 3, 3),
                _ => ("x.exported", 3, 3),
            };
            let (user, address) = (user % users, address % addresses);
            Entry {
                // Quarters of minutes, so that records meet the border of a window exactly.
                at: at * MINUTE / 4,
                action,
                user: (user > 0).then(|| format!("u{user}")),
                address: (address > 0).then(|| format!("a{address}")),
                failed: drawn == 4,
                ..Entry::default()
            }
        };
        rows.into_iter().map(entry).collect()
    })
}

/// What a record counts for: whose window, and which member of it; `None` where it counts for nothing.
pub(super) type Counts = fn(&Entry) -> Option<(String, Option<String>)>;

fn is_failed_login(entry: &Entry) -> bool {
    entry.action == "user.login_failed" || (entry.action == "user.login" && entry.failed)
}

pub(super) const RULES: [(Rule, usize, i64, Counts); 4] = [
    (Rule::PasswordSpraying, 10, 10 * MINUTE, |e| {
        is_failed_login(e).then(|| Some((e.address.clone()?, Some(e.user.clone()?)))).flatten()
    }),
    (Rule::CredentialStuffing, 20, 10 * MINUTE, |e| {
        is_failed_login(e).then(|| Some((e.user.clone()?, Some(e.address.clone()?)))).flatten()
    }),
    (Rule::MassDelete, 20, 5 * MINUTE, |e| {
        (e.action == "x.deleted").then(|| Some((e.user.clone()?, None))).flatten()
    }),
    (Rule::MassExport, 20, 5 * MINUTE, |e| {
        (e.action == "x.exported").then(|| Some((e.user.clone()?, None))).flatten()
    }),
];

/// (subject, first, last, records) of each stretch, sorted.
pub(super) fn judged(
    entries: &[Entry],
    least: usize,
    window: i64,
    counts: Counts,
) -> Vec<(String, i64, i64, u64)> {
    let mut by_subject: BTreeMap<String, Vec<(i64, Option<String>)>> = BTreeMap::new();
    for entry in entries {
        if let Some((subject, member)) = counts(entry) {
            by_subject.entry(subject).or_default().push((entry.at, member));
        }
    }
    let mut out = Vec::new();
    for (subject, records) in by_subject {
        // For each record as the last one: does what lies in the time before it suffice?
        let mut stretches: Vec<(usize, usize)> = Vec::new();
        for last in 0..records.len() {
            let inside: Vec<usize> =
                (0..=last).filter(|k| records[last].0 - records[*k].0 <= window).collect();
            let members: BTreeSet<_> = inside.iter().map(|k| &records[*k].1).collect();
            let size = if records[last].1.is_some() { members.len() } else { inside.len() };
            if size >= least {
                stretches.push((inside[0], last));
            }
        }
        // Those that share a record are one.
        let mut merged: Vec<(usize, usize)> = Vec::new();
        for (first, last) in stretches {
            match merged.last_mut() {
                Some(before) if first <= before.1 => before.1 = last,
                _ => merged.push((first, last)),
            }
        }
        out.extend(merged.into_iter().map(|(first, last)| {
            (subject.clone(), records[first].0, records[last].0, (last - first + 1) as u64)
        }));
    }
    out.sort();
    out
}

proptest! {
    #[test]
    fn windowed_rules_agree_with_looking_at_everything(entries in entries()) {
        for (rule, least, window, counts) in RULES {
            let expected = judged(&entries, least, window, counts);
            let mut actual: Vec<_> = found(rule, &entries)
                .into_iter()
                .map(|d| (d.subject.value, d.first.0 - super::START, d.last.0 - super::START, d.count))
                .collect();
            actual.sort();
            prop_assert_eq!(actual, expected, "{:?}", rule);
        }
    }
}

/// The judge must have something to judge.
#[test]
fn random_rows_have_findings_of_every_windowed_rule() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut hits = [0; RULES.len()];
    for _ in 0..300 {
        let rows = entries().new_tree(&mut runner).unwrap().current();
        for ((_, least, window, counts), hits) in RULES.into_iter().zip(&mut hits) {
            *hits += usize::from(!judged(&rows, least, window, counts).is_empty());
        }
    }
    assert!(hits.iter().all(|hits| *hits > 0), "{hits:?}");
}
