//! The whole report again, by loops over plain records: every rule, with what was before the window, over a store.

use std::collections::{BTreeMap, BTreeSet};

use insights_engine::append::Append;
use insights_engine::compaction::Effort;
use insights_engine::id::{Stream, TenantId};
use insights_engine::schema::{BatchBuilder, stream};
use insights_engine::time::{DAY_US, TimestampUs};
use serde_json::Value;

use super::judge::{RULES, judged};
use super::platform::{END, report};
use super::{Entry, MINUTE, Rule, SECOND};
use crate::domain::instant;
use crate::testing::{NOW, TestApp};

/// Days of the window, and of what the rules look back on.
const DAYS: i64 = 20;
const LOOK_BACK_DAYS: i64 = 30;
const START: i64 = END.0 - DAYS * DAY_US;
/// Within which clocks may differ.
const STEP: i64 = 10 * MINUTE;

/// Small steps of a 64-bit generator (Steele et al., `SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, n: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        i64::try_from((z ^ (z >> 31)) % u64::try_from(n).unwrap()).unwrap()
    }

    fn once_in(&mut self, n: i64) -> bool {
        self.below(n) == 0
    }

    fn choose(&mut self, from: &[&'static str]) -> &'static str {
        from[usize::try_from(self.below(i64::try_from(from.len()).unwrap())).unwrap()]
    }
}

/// A record as its client knows it, but for `seq`, its place in the log.
#[derive(Debug, Clone, Default)]
struct Record {
    at: i64,
    received: i64,
    seq: u64,
    user: Option<String>,
    address: Option<String>,
    agent: Option<String>,
    action: &'static str,
    failed: bool,
}

impl Record {
    fn new(at: i64, action: &'static str, user: i64) -> Self {
        let (user, address, agent) =
            (format!("u{user}"), format!("home-{user}"), format!("agent-{}", user % 3));
        Self { at, action, user: Some(user), address: Some(address), agent: Some(agent), ..Self::default() }
    }

    fn is_failed_login(&self) -> bool {
        self.action == "user.login_failed" || (self.action == "user.login" && self.failed)
    }

    fn is_login(&self) -> bool {
        self.action == "user.login" && !self.failed
    }

    /// Whether its user was there.
    fn is_a_sign_of_life(&self) -> bool {
        !self.failed && !self.is_failed_login() && !self.action.starts_with("insights.")
    }

    fn did(&self, action: &str) -> bool {
        self.action == action && !self.failed
    }

    fn entry(&self) -> Entry {
        let (user, address) = (self.user.clone(), self.address.clone());
        Entry { at: self.at, user, address, action: self.action, failed: self.failed, ..Entry::default() }
    }
}

/// Eighty days of an organization: ordinary ones, and on them everything that the rules are about, often just not.
fn records(random: &mut Random) -> Vec<Record> {
    let mut all = Vec::new();
    let any = |random: &mut Random| END.0 - 80 * DAY_US + random.below(80 * DAY_US);
    for _ in 0..400 {
        let (at, user) = (any(random), random.below(14));
        // Some are away for weeks, and come back.
        if user > 8 && (at / DAY_US + user * 17) % 61 < 45 {
            continue;
        }
        let action =
            random.choose(&["user.login", "user.login", "x.updated", "insights.audit.read", "user.logout"]);
        let mut record = Record { failed: random.once_in(8), ..Record::new(at, action, user) };
        if random.once_in(6) {
            record.address = [None, Some(format!("elsewhere-{}", random.below(4)))]
                [usize::from(random.once_in(2))]
            .clone();
        }
        if random.once_in(6) {
            record.agent = Some(format!("agent-{}", random.below(6)));
        }
        if random.once_in(15) {
            record.user = None;
        }
        all.push(record);
    }
    for _ in 0..30 {
        let (at, user) = (any(random), random.below(6));
        let action = random.choose(&["user.2fa_disabled", "role.granted", "x.deleted", "x.exported"]);
        let mut record = Record { failed: random.once_in(4), ..Record::new(at, action, user) };
        if random.once_in(5) {
            record.user = None;
        }
        all.push(record);
    }
    for _ in 0..14 {
        let at = any(random);
        burst(random, at, &mut all);
    }
    for user in 0..4 {
        habit(random, user, &mut all);
    }
    all
}

/// Many within a short time: enough, or not quite.
fn burst(random: &mut Random, at: i64, all: &mut Vec<Record>) {
    let (kind, user, count) = (random.below(4), random.below(8), 7 + random.below(20));
    let within =
        [8, 10, 11][usize::try_from(random.below(3)).unwrap()] * MINUTE / if kind > 1 { 2 } else { 1 };
    for n in 0..count {
        let at = at + within * n / (count - 1);
        let mut record = match kind {
            0 => Record { address: Some("bad".to_owned()), ..Record::new(at, "user.login_failed", n) },
            1 => Record { address: Some(format!("bad-{n}")), ..Record::new(at, "user.login", user) },
            2 => Record::new(at, "x.deleted", user),
            _ => Record::new(at, "x.exported", user),
        };
        record.failed = kind < 2;
        all.push(record);
    }
}

/// A few deletions or exports on many days, and on one many.
fn habit(random: &mut Random, user: i64, all: &mut Vec<Record>) {
    let (action, usual) = (random.choose(&["x.deleted", "x.exported"]), 1 + random.below(2));
    for day in 0..3 + random.below(6) {
        let midnight = START - (2 + 3 * day) * DAY_US;
        all.extend((0..usual).map(|n| Record::new(midnight + (1 + n) * 60 * MINUTE, action, user)));
    }
    let midnight = START + random.below(DAYS) * DAY_US;
    let many = 8 + random.below(14);
    all.extend((0..many).map(|n| Record::new(midnight + n * 61 * MINUTE, action, user)));
}

/// The order in which they came, a few at a time: some late, some of a clock that is ahead; now and then the server's
/// clock is set back for a moment.
fn received(random: &mut Random, mut all: Vec<Record>) -> Vec<Record> {
    all.retain(|record| record.at < END.0);
    for record in &mut all {
        record.received = record.at + random.below(SECOND);
        if random.once_in(12) {
            record.received += random.below(6 * 60 * MINUTE);
        } else if random.once_in(60) {
            record.received = record.at - random.below(2 * STEP);
        }
    }
    all.sort_by_key(|record| record.received);
    let (mut left, mut at) = (0, 0);
    for record in all.iter_mut().rev() {
        if left == 0 {
            left = 1 + random.below(6);
            at = record.received - if random.once_in(40) { 2 * STEP } else { 0 };
        }
        left -= 1;
        record.received = at;
    }
    for (record, seq) in all.iter_mut().zip(1..) {
        record.seq = seq;
    }
    all
}

/// A finding: rule, subject, what was new, first, last, records.
type Told = (&'static str, String, Option<String>, i64, i64, u64);

/// One finding of all of these, which are in order.
fn told(rule: Rule, subject: &str, value: Option<&str>, of: &[&Record]) -> Told {
    let (first, last) = (of.iter().map(|r| r.at).min().unwrap(), of.iter().map(|r| r.at).max().unwrap());
    (rule.name(), subject.to_owned(), value.map(str::to_owned), first, last, of.len() as u64)
}

/// What the report must find, in no order.
fn expected(all: &[Record]) -> Vec<Told> {
    let mut sorted: Vec<&Record> = all.iter().collect();
    sorted.sort_by_key(|record| (record.at, record.seq));
    let inside: Vec<&Record> = sorted.iter().copied().filter(|r| (START..END.0).contains(&r.at)).collect();
    let looked = START - LOOK_BACK_DAYS * DAY_US..START;
    let before: Vec<&Record> = sorted.iter().copied().filter(|r| looked.contains(&r.at)).collect();
    let mut out = Vec::new();
    let entries: Vec<Entry> = inside.iter().map(|record| record.entry()).collect();
    for (rule, least, window, counts) in RULES {
        let bursts = judged(&entries, least, window, counts);
        let tell = |(subject, first, last, count): &(String, i64, i64, u64)| {
            (rule.name(), subject.clone(), None, *first, *last, *count)
        };
        out.extend(bursts.iter().map(tell));
        match rule {
            Rule::MassDelete => out.extend(many_a_day(rule, "x.deleted", &before, &inside, &bursts)),
            Rule::MassExport => out.extend(many_a_day(rule, "x.exported", &before, &inside, &bursts)),
            _ => {}
        }
    }
    out.extend(new_logins(Rule::NewAddress, |record| record.address.as_deref(), &before, &inside));
    out.extend(new_logins(Rule::NewAgent, |record| record.agent.as_deref(), &before, &inside));
    out.extend(no_second_factor(&inside));
    out.extend(dormant(&sorted));
    out.extend(privileged(&before, &inside));
    out.extend(clocks(all, &inside));
    out.sort();
    out
}

/// Days on which a user did ten times what is usual, but for those of bursts.
fn many_a_day(
    rule: Rule,
    action: &str,
    before: &[&Record],
    inside: &[&Record],
    bursts: &[(String, i64, i64, u64)],
) -> Vec<Told> {
    let mut days: BTreeMap<(&str, i64), Vec<&Record>> = BTreeMap::new();
    for record in before.iter().chain(inside).filter(|record| record.did(action)) {
        if let Some(user) = &record.user {
            days.entry((user, record.at.div_euclid(DAY_US))).or_default().push(record);
        }
    }
    let mut out = Vec::new();
    for ((user, day), some) in &days {
        let is_before = |day: i64| day * DAY_US < START;
        let mut usual: Vec<usize> = days
            .iter()
            .filter(|((of, day), _)| of == user && is_before(*day))
            .map(|(_, some)| some.len())
            .collect();
        usual.sort_unstable();
        if is_before(*day) || usual.len() < 5 {
            continue;
        }
        let twice = usual[(usual.len() - 1) / 2] + usual[usual.len() / 2];
        let is_told = |(of, first, last, _): &(String, i64, i64, u64)| {
            of == user && [first, last].iter().any(|at| at.div_euclid(DAY_US) == *day)
        };
        if 2 * some.len() >= 10 * twice && !bursts.iter().any(is_told) {
            out.push(told(rule, user, None, some));
        }
    }
    out
}

fn new_logins(
    rule: Rule,
    of: fn(&Record) -> Option<&str>,
    before: &[&Record],
    inside: &[&Record],
) -> Vec<Told> {
    let user = |record: &&&Record| record.is_login() && record.user.is_some();
    let known: BTreeSet<&str> = before.iter().filter(user).filter_map(|r| r.user.as_deref()).collect();
    let pairs: BTreeSet<(&str, &str)> = before
        .iter()
        .filter(user)
        .filter_map(|record| Some((record.user.as_deref()?, of(record)?)))
        .collect();
    let mut new: BTreeMap<(&str, &str), Vec<&Record>> = BTreeMap::new();
    for record in inside.iter().filter(user) {
        if let (Some(user), Some(value)) = (record.user.as_deref(), of(record))
            && known.contains(user)
            && !pairs.contains(&(user, value))
        {
            new.entry((user, value)).or_default().push(record);
        }
    }
    new.into_iter().map(|((user, value), some)| told(rule, user, Some(value), &some)).collect()
}

fn no_second_factor(inside: &[&Record]) -> Vec<Told> {
    let mut by_subject: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in inside.iter().filter(|record| record.did("user.2fa_disabled")) {
        let subject = record.user.as_deref().or(record.address.as_deref()).unwrap_or("acme");
        by_subject.entry(subject).or_default().push(record);
    }
    by_subject.into_iter().map(|(who, some)| told(Rule::TwoFactorDisabled, who, None, &some)).collect()
}

/// Of each user the signs of life in the window that come thirty days after the one before.
fn dormant(sorted: &[&Record]) -> Vec<Told> {
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    let mut out = Vec::new();
    for record in sorted.iter().filter(|record| record.is_a_sign_of_life()) {
        let Some(user) = record.user.as_deref() else { continue };
        let before = last.insert(user, record.at);
        if record.at >= START && before.is_some_and(|before| record.at - before >= 30 * DAY_US) {
            out.push(told(Rule::DormantAccountActive, user, None, &[record]));
        }
    }
    out
}

fn privileged(before: &[&Record], inside: &[&Record]) -> Vec<Told> {
    let grants = |record: &&&Record| record.action == "role.granted" && record.user.is_some();
    let mut known: BTreeSet<&str> = before.iter().filter(grants).filter_map(|r| r.user.as_deref()).collect();
    let mut out = Vec::new();
    for record in inside.iter().filter(grants) {
        let user = record.user.as_deref().unwrap();
        if known.insert(user) {
            out.push(told(Rule::FirstPrivilegedAction, user, Some("role.granted"), &[record]));
        }
    }
    out
}

/// Records of a time after their receipt, and neighbours of the log whose times of receipt go back.
fn clocks(all: &[Record], inside: &[&Record]) -> Vec<Told> {
    let ahead: Vec<&Record> =
        inside.iter().copied().filter(|record| record.at - record.received > STEP).collect();
    let is_inside = |record: &Record| inside.iter().any(|other| other.seq == record.seq);
    let back: Vec<&Record> = all
        .windows(2)
        .filter(|pair| pair[0].received - pair[1].received > STEP && pair.iter().all(is_inside))
        .map(|pair| &pair[1])
        .collect();
    [("ahead", ahead), ("set_back", back)]
        .into_iter()
        .filter(|(_, some)| !some.is_empty())
        .map(|(value, some)| told(Rule::ClockStep, "acme", Some(value), &some))
        .collect()
}

/// The findings of a report, sorted as those that are expected.
fn found(report: &Value) -> Vec<Told> {
    let name = |text: &str| Rule::from_name(text).unwrap().name();
    let at = |value: &Value| instant::parse(value.as_str().unwrap()).unwrap().0;
    let mut out: Vec<Told> = Vec::new();
    for finding in report["findings"].as_array().unwrap() {
        let count = finding["count"].as_u64().unwrap();
        assert_eq!(finding["evidence"].as_array().unwrap().len() as u64, count.min(20), "{finding}");
        out.push((
            name(finding["rule"].as_str().unwrap()),
            finding["subject"]["value"].as_str().unwrap().to_owned(),
            finding["value"].as_str().map(str::to_owned),
            at(&finding["first"]),
            at(&finding["last"]),
            count,
        ));
    }
    out.sort();
    out
}

fn append(app: &TestApp, all: &[Record]) {
    let runtime = tokio::runtime::Handle::current();
    for some in all.chunk_by(|one, other| one.received == other.received) {
        app.clock.set(TimestampUs(some[0].received));
        let mut batch = BatchBuilder::new(TenantId::new("acme").unwrap(), Stream::Audit);
        for record in some {
            batch
                .i64(&stream::TIME, record.at)
                .str(&stream::USER_ID, record.user.as_deref())
                .str(&stream::IP_ADDRESS, record.address.as_deref())
                .str(&stream::USER_AGENT, record.agent.as_deref())
                .str(&stream::ACTION_TYPE, Some(record.action))
                .u64(&stream::OUTCOME, u64::from(record.failed))
                .finish_row();
        }
        let appended = app.state.store.append(Append { batches: vec![batch.build()], ..Append::default() });
        tokio::task::block_in_place(|| runtime.block_on(appended)).unwrap();
    }
    app.clock.set(NOW);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_finding_is_that_of_loops_over_the_records_and_there_is_no_other() {
    let mut hits: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..5 {
        let mut random = Random(seed);
        let all = records(&mut random);
        let all = received(&mut random, all);
        let app = TestApp::new();
        append(&app, &all);
        let expected = expected(&all);
        for stage in ["in memory", "in segments", "merged"] {
            match stage {
                "in segments" => app.flush(),
                "merged" => drop(app.engine().compact(Effort::Full).unwrap()),
                _ => {}
            }
            let report = report(&app, "acme", DAYS).await;
            assert_eq!(found(&report), expected, "seed {seed}, {stage}");
            assert_eq!(report["truncated"], serde_json::json!({"findings": 0, "records": 0}));
            assert_eq!(report["summary"]["findings"], expected.len());
        }
        for (rule, ..) in &expected {
            *hits.entry(rule).or_default() += 1;
        }
    }
    // All but gaps, which no log has that was written by the server alone.
    assert_eq!(hits.len(), Rule::ALL.len() - 1, "{hits:?}");
}
