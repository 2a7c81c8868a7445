//! Rehearsal: what a rule would have done, by the same looks and the same machine as if it had been there.
//!
//! It differs from what the rule then does in two ways alone: rows that came late are there from the start, and the
//! server is never away.

use std::collections::BTreeMap;

use insights_engine::time::{TimeRange, TimestampUs};

use super::board::{Board, Transition};
use super::book::next_instant;
use super::condition::Condition;
use super::evaluate::{Place, Since, look, questions_of};
use super::label::Labels;
use super::room::Room;
use super::rule::Rule;
use super::state::{AlertState, Change, Policy};
use crate::http::error::{ApiError, Code};
use crate::report::answer::seconds;

/// Most evaluations of a rehearsal.
const INSTANTS_MAX: usize = 50_000;
/// Most evaluations of a rule that looks at a report: each is a report of its own.
const REPORTS_MAX: usize = 1_500;
/// Most questions to the store.
const QUESTIONS_MAX: usize = 1_500;
/// Evaluations of the first look; the next ones are of as many as their series allow.
const FIRST_LOOK: usize = 100;
/// Evaluations of one look, at most.
const LOOK_MAX: usize = 1_000;
/// Evaluations times series of one look, about.
const READINGS_MAX: usize = 50_000;
/// Most changes that are told one by one.
pub const TOLD_MAX: usize = 1_000;

/// What a rule would have done.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rehearsal {
    /// How often it would have been evaluated.
    pub evaluations: usize,
    /// Series that it would have watched.
    pub series: usize,
    /// The changes, in the order of time; at most [`TOLD_MAX`].
    pub changes: Vec<Transition>,
    /// All changes.
    pub changes_all: u64,
    /// How often an alert would have fired.
    pub firings: u64,
    /// How long alerts would have fired, together, in seconds.
    pub firing_s: f64,
    /// The same by UTC day, of the days on which something fired.
    pub days: BTreeMap<i32, Day>,
}

/// The noise of a day.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Day {
    /// How often an alert would have begun to fire.
    pub firings: u64,
    /// How long those that began on it would have fired, in seconds.
    pub firing_s: f64,
}

/// Most evaluations of a rehearsal of a rule.
fn instants_max(rule: &Rule) -> usize {
    match rule.document.condition {
        Condition::Report(_) => REPORTS_MAX,
        _ => INSTANTS_MAX,
    }
}

/// The longest time that a rule can be rehearsed on, as far as evaluations count, in microseconds.
pub fn longest_us(rule: &Rule) -> i64 {
    i64::try_from(instants_max(rule)).unwrap_or(i64::MAX).saturating_mul(rule.document.interval.us().max(1))
}

/// The instants at which a rule is evaluated in a window.
///
/// # Errors
///
/// `too_many_cells` when they, or the questions that they make, are too many.
fn instants(rule: &Rule, window: TimeRange) -> Result<Vec<TimestampUs>, ApiError> {
    let limit = instants_max(rule);
    let mut instants = Vec::new();
    let mut at = next_instant(rule, TimestampUs(window.start.0.saturating_sub(1)));
    while at < window.end {
        if instants.len() >= limit {
            let detail = format!("more than {limit} evaluations; rehearse less time, or a longer interval");
            return Err(ApiError::new(Code::TooManyCells, detail));
        }
        instants.push(at);
        at = next_instant(rule, at);
    }
    let questions = questions_of(&rule.document, instants.len());
    if questions > QUESTIONS_MAX {
        let detail = format!(
            "{questions} questions, at most {QUESTIONS_MAX}; rehearse less time, a longer interval or a shorter window"
        );
        return Err(ApiError::new(Code::TooManyCells, detail));
    }
    Ok(instants)
}

/// Rehearses a rule in a window.
///
/// # Errors
///
/// Those of [`look`], and `too_many_cells`.
pub fn rehearse(place: &Place<'_>, rule: &Rule, window: TimeRange) -> Result<Rehearsal, ApiError> {
    let instants = instants(rule, window)?;
    let policy = Policy::of(&rule.document);
    let mut since = Since::rehearsed(window.start);
    let (mut board, mut account) = (Board::default(), Account::default());
    let mut rest = instants.as_slice();
    let mut count = FIRST_LOOK;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(count.min(rest.len()));
        let mut most = 1;
        for look in look(place, &rule.document, now, &mut since)? {
            most = most.max(look.readings.series.len());
            let changes = board.take(&policy, look.at, look.readings, Room::UNLIMITED);
            account.series = account.series.max(board.series.len());
            account.add(changes);
        }
        count = (READINGS_MAX / most).clamp(10, LOOK_MAX);
        rest = later;
    }
    for (labels, series) in &board.series {
        if series.state == AlertState::Firing {
            account.end(labels, window.end);
        }
    }
    Ok(Rehearsal { evaluations: instants.len(), ..account.rehearsal() })
}

/// What adds up while a rule is rehearsed.
#[derive(Debug, Default)]
struct Account {
    told: Rehearsal,
    series: usize,
    /// Since when the alerts fire that do.
    firing: BTreeMap<Labels, TimestampUs>,
}

impl Account {
    fn add(&mut self, changes: Vec<Transition>) {
        for change in changes {
            match change.change {
                Change::Firing | Change::NoData => {
                    self.firing.insert(change.series.clone(), change.at);
                    self.told.firings += 1;
                    self.told.days.entry(change.at.day()).or_default().firings += 1;
                }
                Change::Resolved => self.end(&change.series, change.at),
                Change::Pending | Change::Cleared => {}
            }
            self.told.changes_all += 1;
            if self.told.changes.len() < TOLD_MAX {
                self.told.changes.push(change);
            }
        }
    }

    fn end(&mut self, labels: &Labels, at: TimestampUs) {
        if let Some(since) = self.firing.remove(labels) {
            let length = seconds(at.0.saturating_sub(since.0));
            self.told.firing_s += length;
            self.told.days.entry(since.day()).or_default().firing_s += length;
        }
    }

    fn rehearsal(self) -> Rehearsal {
        Rehearsal { series: self.series, ..self.told }
    }
}
