//! The state of one alert and how it changes: a pure machine, whose only time is what it is given.
//!
//! ok -> pending (the condition holds, but not for long enough) -> firing -> resolved, which is ok again as soon as
//! those who were told of the alert know.

use insights_engine::time::TimestampUs;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::length::Length;
use super::rule::{NoData, RuleDocument};
use super::threshold::Threshold;

/// How an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// All is well.
    #[default]
    Ok,
    /// It was an alert, and those who were told of it have not been told of its end.
    Resolved,
    /// The condition holds, but not for long enough.
    Pending,
    /// It is an alert.
    Firing,
}

impl AlertState {
    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Resolved => "resolved",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// What an evaluation found of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Observation {
    /// A number.
    Value(f64),
    /// Nothing, though something could have been there.
    Nothing,
    /// Nobody knows: the server was away for a part of the time that is looked at.
    Unknown,
}

/// How a rule judges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// What numbers are compared with.
    pub threshold: Threshold,
    /// How long the condition must hold.
    pub hold: Length,
    /// How long a firing alert goes on after it has ended.
    pub keep_firing_for: Length,
    /// What nothing means.
    pub no_data: NoData,
    /// Whether a bad number may be the silence of a server that was away.
    pub tells_silence: bool,
}

impl Policy {
    /// How a rule judges.
    pub fn of(document: &RuleDocument) -> Self {
        Self {
            threshold: document.condition.threshold(),
            hold: document.hold,
            keep_firing_for: document.keep_firing_for,
            no_data: document.no_data,
            tells_silence: document.condition.tells_silence(),
        }
    }

    /// Whether an observation of a series that was well is bad.
    pub fn is_bad(&self, observation: Observation) -> bool {
        match observation {
            Observation::Value(value) => self.threshold.is_bad(value, false),
            Observation::Nothing => self.no_data == NoData::Alerting,
            Observation::Unknown => false,
        }
    }

    /// An observation of which the server that made it may be the cause.
    pub fn in_doubt(&self, observation: Observation) -> Observation {
        match observation {
            Observation::Value(value) if !self.tells_silence || !self.threshold.is_bad(value, false) => {
                observation
            }
            Observation::Value(_) | Observation::Nothing | Observation::Unknown => Observation::Unknown,
        }
    }
}

/// What is remembered of one series.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Series {
    /// How it is.
    pub state: AlertState,
    /// Since when.
    pub since: TimestampUs,
    /// When the alert began to fire last.
    pub started: TimestampUs,
    /// The last number.
    pub value: Option<f64>,
    /// Whether the last evaluation found nothing.
    pub no_data: bool,
    /// Since when the condition of a firing alert does not hold any more.
    pub clear_since: Option<TimestampUs>,
    /// When something was last known of it.
    pub seen: TimestampUs,
    /// When somebody was last told that it fires; none when nobody was.
    pub told: Option<TimestampUs>,
}

/// A kind of change, as history has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AlertChange)]
pub enum Change {
    /// The condition holds, but not for long enough.
    Pending,
    /// It holds for long enough.
    Firing,
    /// Nothing is known, and that is an alert.
    NoData,
    /// A firing alert has ended.
    Resolved,
    /// The condition ended before it held for long enough.
    Cleared,
}

impl Change {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Firing, Self::NoData, Self::Resolved, Self::Cleared];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::NoData => "no_data",
            Self::Resolved => "resolved",
            Self::Cleared => "cleared",
        }
    }
}

/// How the condition is at an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Holds,
    Ended,
    Unchanged,
}

impl Series {
    /// Takes an observation made at `now`; gives the change that it makes.
    pub fn observe(&mut self, policy: &Policy, now: TimestampUs, observation: Observation) -> Option<Change> {
        let is_firing = self.state == AlertState::Firing;
        let verdict = match observation {
            Observation::Value(value) => {
                (self.value, self.no_data, self.seen) = (Some(value), false, now);
                if policy.threshold.is_bad(value, is_firing) { Verdict::Holds } else { Verdict::Ended }
            }
            Observation::Nothing => {
                (self.value, self.no_data) = (None, true);
                match policy.no_data {
                    NoData::Ok => Verdict::Ended,
                    NoData::Alerting => Verdict::Holds,
                    NoData::Keep => Verdict::Unchanged,
                }
            }
            Observation::Unknown => Verdict::Unchanged,
        };
        match (self.state, verdict) {
            (_, Verdict::Unchanged) | (AlertState::Ok | AlertState::Resolved, Verdict::Ended) => None,
            (AlertState::Ok | AlertState::Resolved, Verdict::Holds) if policy.hold == Length::ZERO => {
                Some(self.fire(now))
            }
            (AlertState::Ok | AlertState::Resolved, Verdict::Holds) => {
                Some(self.become_state(AlertState::Pending, now, Change::Pending))
            }
            (AlertState::Pending, Verdict::Holds) => {
                (lasted(self.since, now) >= policy.hold).then(|| self.fire(now))
            }
            (AlertState::Pending, Verdict::Ended) => {
                Some(self.become_state(self.after_the_end(), now, Change::Cleared))
            }
            (AlertState::Firing, Verdict::Holds) => {
                self.clear_since = None;
                None
            }
            (AlertState::Firing, Verdict::Ended) => {
                let since = *self.clear_since.get_or_insert(now);
                (lasted(since, now) >= policy.keep_firing_for).then(|| self.end(now))
            }
        }
    }

    /// Ends whatever goes on, because the rule does.
    pub fn retire(&mut self, now: TimestampUs) -> Option<Change> {
        match self.state {
            AlertState::Ok | AlertState::Resolved => None,
            AlertState::Pending => Some(self.become_state(self.after_the_end(), now, Change::Cleared)),
            AlertState::Firing => Some(self.end(now)),
        }
    }

    /// The time in which the server was away has not passed for what is waited for.
    pub fn pass_over(&mut self, gap: Length) {
        if self.state == AlertState::Pending {
            self.since.0 = self.since.0.saturating_add(gap.us());
        }
        if let Some(since) = &mut self.clear_since {
            since.0 = since.0.saturating_add(gap.us());
        }
    }

    /// Whether there is nothing about it that a restart must not forget.
    pub fn is_forgettable(&self) -> bool {
        self.state == AlertState::Ok
    }

    fn fire(&mut self, now: TimestampUs) -> Change {
        let change = if self.no_data { Change::NoData } else { Change::Firing };
        if self.state != AlertState::Resolved || self.told.is_none() {
            self.started = now;
        }
        self.become_state(AlertState::Firing, now, change)
    }

    fn end(&mut self, now: TimestampUs) -> Change {
        self.become_state(self.after_the_end(), now, Change::Resolved)
    }

    /// What comes after an alert: those who were told of it are to be told of its end.
    fn after_the_end(&self) -> AlertState {
        if self.told.is_some() { AlertState::Resolved } else { AlertState::Ok }
    }

    fn become_state(&mut self, state: AlertState, now: TimestampUs, change: Change) -> Change {
        (self.state, self.since, self.clear_since) = (state, now, None);
        change
    }
}

/// How long something has lasted; nothing, when the clock was set back.
fn lasted(since: TimestampUs, now: TimestampUs) -> Length {
    Length::of_us(now.0.saturating_sub(since.0).max(0))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
