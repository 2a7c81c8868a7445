//! Every rule with its alerts, in memory: what is due, what an evaluation changes, what is told.
//!
//! Nothing here waits or asks a clock. What must outlive the server is written by the driver before it counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use sha2::{Digest, Sha256};

use super::agenda::{Agenda, Kind};
use super::board::{Board, Readings, Transition};
use super::evaluate::Since;
use super::length::Length;
use super::record;
use super::room::{CrowdedOut, Room, Taken};
use super::rule::Rule;
use super::state::{AlertState, Policy};

/// The organization and the id of something of this room.
pub type Key = (TenantId, String);

/// A rule and its alerts.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The rule.
    pub rule: Arc<Rule>,
    /// Its alerts.
    pub board: Board,
    /// When it was evaluated last.
    pub evaluated: Option<TimestampUs>,
    /// Why the last evaluation failed.
    pub error: Option<String>,
    /// Whether the rule is gone and only those who were told of its alerts are to be told of their end.
    pub is_removed: bool,
    /// The parts of the state as they were written last, without the numbers.
    pub parts: Vec<Vec<u8>>,
    /// Up to where errors were looked at.
    since: Since,
    /// When it is evaluated next; none while it is, or when it is not to be.
    next: Option<TimestampUs>,
    /// Whether an evaluation is going on.
    is_running: bool,
    /// What its series count as in the sums of the book.
    taken: Taken,
}

/// An evaluation that has begun.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// The rule as it was when the evaluation began.
    pub rule: Arc<Rule>,
    /// The instant that it stands for.
    pub at: TimestampUs,
    /// Up to where errors were looked at.
    pub since: Since,
}

/// What happened to rules since the start of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Evaluations that are over, those that failed among them.
    pub evaluated: u64,
    /// Evaluations that failed: what the rule says then is what it said before.
    pub failed: u64,
}

/// How the rules of all organizations stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// What happened since the start.
    pub counts: Counts,
    /// Rules.
    pub rules: u64,
    /// Alerts that fire.
    pub firing: u64,
    /// Alerts that are pending.
    pub pending: u64,
    /// Series that are kept.
    pub series: u64,
    /// Series that are not kept because there is no room.
    pub crowded_out: u64,
    /// Evaluations that go on.
    pub evaluating: u64,
    /// How late the most overdue rule is.
    pub lag: Length,
}

/// Every rule with its alerts.
#[derive(Debug, Default)]
pub struct Book {
    entries: BTreeMap<Key, Entry>,
    agenda: Agenda,
    /// When the alerts of an organization are looked at for something to tell.
    telling: BTreeMap<TenantId, TimestampUs>,
    /// What the series of each organization take.
    taken_of: BTreeMap<TenantId, Taken>,
    /// What all series take.
    taken: Taken,
    counts: Counts,
}

fn kind_of(rule: &Rule) -> Kind {
    Kind::of(&rule.document.condition)
}

/// The key of a rule.
pub fn key_of(rule: &Rule) -> Key {
    (rule.organization.clone(), rule.id.clone())
}

/// The first instant after `after` at which a rule is evaluated: every rule at a place of its own in its interval, and
/// always at the same, so that neither a thousand rules nor a restart make a wave.
pub fn next_instant(rule: &Rule, after: TimestampUs) -> TimestampUs {
    let interval = rule.document.interval.us().max(1);
    let hash = Sha256::digest(&rule.id);
    let number = hash.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes) & i64::MAX);
    // Whole seconds, where there are some: windows then begin and end with them.
    let seconds = interval / 1_000_000;
    let offset = if seconds > 0 { number % seconds * 1_000_000 } else { 0 };
    let passed = (after.0.saturating_sub(offset)).div_euclid(interval);
    TimestampUs(passed.saturating_add(1).saturating_mul(interval).saturating_add(offset))
}

impl Entry {
    /// A rule without alerts; errors are news from `looked_until` on.
    pub fn new(rule: Rule, looked_until: TimestampUs) -> Self {
        Self {
            rule: Arc::new(rule),
            board: Board::default(),
            evaluated: None,
            error: None,
            is_removed: false,
            parts: Vec::new(),
            since: Since::new(looked_until),
            next: None,
            is_running: false,
            taken: Taken::default(),
        }
    }

    /// The same alerts under another rule with the same condition.
    #[must_use]
    pub fn with_rule(self, rule: Arc<Rule>) -> Self {
        Self { rule, error: None, next: None, ..self }
    }
}

impl Book {
    /// Adds a rule, or puts one in the place of another, and plans its next evaluation after `now`.
    pub fn put(&mut self, mut entry: Entry, now: TimestampUs) {
        let key = key_of(&entry.rule);
        self.unplan(&key);
        let before = self.entries.get(&key);
        entry.is_running = before.is_some_and(|before| before.is_running);
        entry.taken = before.map(|before| before.taken).unwrap_or_default();
        self.entries.insert(key.clone(), entry);
        self.count_series(&key);
        self.plan(&key, now);
    }

    /// Takes a rule away.
    pub fn remove(&mut self, key: &Key) -> Option<Entry> {
        self.unplan(key);
        self.claim(key, Taken::default());
        self.entries.remove(key)
    }

    /// Takes the rules of an organization away.
    pub fn remove_all(&mut self, organization: &TenantId) {
        self.entries.retain(|(of, _), _| of != organization);
        self.taken = self.taken.without(self.taken_of.remove(organization).unwrap_or_default());
        self.agenda.unplan_all(organization);
        self.telling.remove(organization);
    }

    /// A rule and its alerts.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Gives a rule other alerts, with the parts of their state as they were written.
    pub fn set_board(&mut self, key: &Key, board: Board, parts: Vec<Vec<u8>>) {
        if let Some(entry) = self.entries.get_mut(key) {
            (entry.board, entry.parts) = (board, parts);
        }
        self.count_series(key);
    }

    /// Adds the alerts of a part of a rule's state, as it was written.
    pub fn restore(&mut self, key: &Key, part: &[u8], now: TimestampUs) {
        if let Some(entry) = self.entries.get_mut(key) {
            record::restore(&mut entry.board, part, now);
            entry.parts.push(record::essence(part));
        }
        self.count_series(key);
    }

    /// Judges what an evaluation found: the alerts of the rule as they would be then, with the parts of their state as
    /// they are written, and the changes. None when the rule was changed or removed meanwhile: it is not judged by what
    /// it was. Nothing counts before [`Self::finish`] but the room that the series take.
    pub fn judge(
        &mut self,
        evaluation: &Evaluation,
        readings: Readings,
    ) -> Option<(Board, Vec<Vec<u8>>, Vec<Transition>)> {
        let (rule, key) = (&evaluation.rule, key_of(&evaluation.rule));
        let is_current = |entry: &&Entry| Arc::ptr_eq(&entry.rule, rule) && !entry.is_removed;
        let entry = self.entries.get(&key).filter(is_current)?;
        let (mut board, parts) = (entry.board.clone(), entry.parts.clone());
        let of_organization = self.taken_of.get(&rule.organization).copied().unwrap_or_default();
        let room = Room::beside(of_organization.without(entry.taken), self.taken.without(entry.taken));
        let was_whole = board.crowded_out.series() == 0;
        let changes = board.take(&Policy::of(&rule.document), evaluation.at, readings, room);
        let CrowdedOut { well, bad } = board.crowded_out;
        if was_whole && well + bad > 0 {
            let (rule, organization) = (rule.id.as_str(), &rule.organization);
            tracing::warn!(rule, %organization, well, bad, "there is no room for all series of a rule");
        }
        // Until it is written both count: others must not take the room meanwhile.
        let claimed = entry.taken.max(board.taken());
        self.claim(&key, claimed);
        Some((board, parts, changes))
    }

    /// The rule of an id that is not removed; ids are of one organization alone.
    pub fn find(&self, id: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|((_, known), entry)| known == id && !entry.is_removed)
            .map(|(_, entry)| entry)
    }

    /// The rules of an organization, or of all, those that are removed included.
    pub fn entries(&self, organization: Option<&TenantId>) -> impl Iterator<Item = &Entry> {
        let from = organization.map(|organization| (organization.clone(), String::new()));
        let all = match &from {
            Some(from) => self.entries.range(from..),
            None => self.entries.range::<Key, _>(..),
        };
        let organization = organization.cloned();
        all.take_while(move |((of, _), _)| {
            organization.as_ref().is_none_or(|organization| of == organization)
        })
        .map(|(_, entry)| entry)
    }

    /// The organizations that have an alert of which somebody is or was told, or is to be.
    pub fn organizations_with_alerts(&self) -> BTreeSet<TenantId> {
        let has_alerts = |entry: &&Entry| {
            let is_told = |state| matches!(state, AlertState::Firing | AlertState::Resolved);
            entry.board.series.values().any(|series| is_told(series.state))
        };
        self.entries.values().filter(has_alerts).map(|entry| entry.rule.organization.clone()).collect()
    }

    /// The server was away for so long: nothing that is waited for has come nearer.
    pub fn pass_over(&mut self, gap: Length) {
        for entry in self.entries.values_mut() {
            entry.board.series.values_mut().for_each(|series| series.pass_over(gap));
        }
    }

    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many rules an organization has.
    pub fn count(&self, organization: &TenantId) -> usize {
        self.entries(Some(organization)).filter(|entry| !entry.is_removed).count()
    }

    /// The evaluations that are due and may begin; they count as begun until [`Self::finish`]. One that was missed is not
    /// made up for: the next tells more.
    pub fn due(&mut self, now: TimestampUs) -> Vec<Evaluation> {
        let mut due = Vec::new();
        while let Some((at, key)) = self.agenda.begin(now) {
            // What is planned is there: whatever is taken away is unplanned.
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            let mut at = at;
            // Later ones have passed too: the last of them is the one that counts.
            let last = next_instant(
                &entry.rule,
                TimestampUs(now.0.saturating_sub(entry.rule.document.interval.us())),
            );
            if last <= now && last > at {
                at = last;
            }
            (entry.next, entry.is_running) = (None, true);
            due.push(Evaluation { rule: Arc::clone(&entry.rule), at, since: entry.since });
        }
        due
    }

    /// When to look for evaluations that may begin; none when that is only after the end of another.
    pub fn next_evaluation(&self) -> Option<TimestampUs> {
        self.agenda.next()
    }

    /// How the rules stand at `now`.
    pub fn standing(&self, now: TimestampUs) -> Standing {
        let late = self.agenda.oldest().map_or(0, |due| now.0.saturating_sub(due.0));
        let mut standing = Standing {
            counts: self.counts,
            evaluating: self.agenda.begun() as u64,
            series: self.taken.series as u64,
            lag: Length::of_us(late.max(0)),
            ..Standing::default()
        };
        for entry in self.entries.values() {
            standing.rules += u64::from(!entry.is_removed);
            standing.crowded_out += entry.board.crowded_out.series();
            for series in entry.board.series.values() {
                standing.firing += u64::from(series.state == AlertState::Firing);
                standing.pending += u64::from(series.state == AlertState::Pending);
            }
        }
        standing
    }

    /// When something may be to be told next.
    pub fn next_telling(&self) -> Option<TimestampUs> {
        self.telling.values().copied().min()
    }

    /// The alerts of an organization are to be looked at, for something to tell, at `at` or before.
    pub fn tell(&mut self, organization: TenantId, at: TimestampUs) {
        self.telling.entry(organization).and_modify(|known| *known = at.min(*known)).or_insert(at);
    }

    /// The organizations whose alerts are to be looked at now: at most so many, those that wait longest first.
    pub fn due_to_tell(&mut self, now: TimestampUs, most: usize) -> Vec<TenantId> {
        let due = self.telling.iter().filter(|(_, at)| **at <= now);
        let mut due: Vec<_> = due.map(|(organization, at)| (*at, organization.clone())).collect();
        due.sort_unstable();
        due.truncate(most);
        for (_, organization) in &due {
            self.telling.remove(organization);
        }
        due.into_iter().map(|(_, organization)| organization).collect()
    }

    /// The store has answered an evaluation: others may ask.
    pub fn answered(&mut self, evaluation: &Evaluation) {
        self.agenda.answered(kind_of(&evaluation.rule), &key_of(&evaluation.rule));
    }

    /// An evaluation is over, and another one may begin: `changed` is the board that it made, none when it failed; a rule
    /// that was changed or removed meanwhile keeps what it has.
    pub fn finish(
        &mut self,
        evaluation: &Evaluation,
        changed: Result<(Board, Vec<Vec<u8>>, Since), String>,
        now: TimestampUs,
    ) {
        let key = key_of(&evaluation.rule);
        self.counts.evaluated += 1;
        self.counts.failed += u64::from(changed.is_err());
        self.settle(&key, evaluation, changed, now);
        self.count_series(&key);
        self.plan(&key, now.max(evaluation.at));
        // After that, so that an organization with one rule does not forget when its turn was.
        self.agenda.end(kind_of(&evaluation.rule), &key);
    }

    fn settle(
        &mut self,
        key: &Key,
        evaluation: &Evaluation,
        changed: Result<(Board, Vec<Vec<u8>>, Since), String>,
        now: TimestampUs,
    ) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.is_running = false;
        if Arc::ptr_eq(&entry.rule, &evaluation.rule) && !entry.is_removed {
            match changed {
                Ok((board, parts, since)) => {
                    let is_alert = |board: &Board| board.state() > AlertState::Pending || board.has_ended();
                    if is_alert(&board) || is_alert(&entry.board) {
                        let organization = evaluation.rule.organization.clone();
                        self.telling.insert(organization, now);
                    }
                    (entry.board, entry.parts, entry.since) = (board, parts, since);
                    (entry.evaluated, entry.error) = (Some(evaluation.at), None);
                }
                Err(error) => entry.error = Some(error),
            }
        }
    }

    /// Counts what the series of a rule take as it is.
    fn count_series(&mut self, key: &Key) {
        if let Some(taken) = self.entries.get(key).map(|entry| entry.board.taken()) {
            self.claim(key, taken);
        }
    }

    /// Has the series of a rule count as `taken`.
    fn claim(&mut self, key: &Key, taken: Taken) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let before = std::mem::replace(&mut entry.taken, taken);
        let of_organization = self.taken_of.entry(key.0.clone()).or_default();
        *of_organization = of_organization.without(before).and(taken);
        if *of_organization == Taken::default() {
            self.taken_of.remove(&key.0);
        }
        self.taken = self.taken.without(before).and(taken);
    }

    /// Plans the next evaluation after `after`.
    fn plan(&mut self, key: &Key, after: TimestampUs) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.is_running || entry.is_removed || !entry.rule.document.enabled || entry.next.is_some() {
            return;
        }
        let next = next_instant(&entry.rule, after);
        entry.next = Some(next);
        self.agenda.plan(kind_of(&entry.rule), key.clone(), next);
    }

    fn unplan(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Some(next) = entry.next.take() {
            self.agenda.unplan(kind_of(&entry.rule), key, next);
        }
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
