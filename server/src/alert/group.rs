//! When a group of alerts is told of, and what keeps its messages few: waiting for others, an interval, repetition,
//! a limit in a storm. Pure.

use insights_engine::time::TimestampUs;
use serde::{Deserialize, Serialize};

use super::length::Length;
use crate::domain::audit::Severity;

/// Messages about new critical alerts that a group sends within its interval before the next ones wait for its end:
/// a new error is told of at once, a storm of them is one message.
pub const BURST_MAX: usize = 3;

/// An alert of a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member {
    /// How grave it is.
    pub severity: Severity,
    /// Whether it fires; else it has ended.
    pub is_firing: bool,
    /// Since when.
    pub since: TimestampUs,
    /// When somebody was last told that it fires.
    pub told: Option<TimestampUs>,
    /// Whether nobody is to be told now.
    pub is_muted: bool,
    /// How long its group waits for others.
    pub wait: Length,
    /// The least time between messages about what is new.
    pub interval: Length,
    /// How soon the same is told again.
    pub repeat: Length,
}

/// What a group has said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Said {
    /// When it sent its last messages, the latest last; at most [`BURST_MAX`].
    pub at_us: Vec<i64>,
}

impl Said {
    /// A message is sent at `now`.
    pub fn add(&mut self, now: TimestampUs) {
        self.at_us.push(now.0);
        let over = self.at_us.len().saturating_sub(BURST_MAX);
        self.at_us.drain(..over);
    }

    fn last(&self) -> Option<TimestampUs> {
        self.at_us.last().copied().map(TimestampUs)
    }

    /// When the next critical news may be sent.
    fn burst_over(&self, interval: Length) -> Option<TimestampUs> {
        let first = self.at_us.first().filter(|_| self.at_us.len() >= BURST_MAX)?;
        Some(after(TimestampUs(*first), interval))
    }
}

/// What is to be done about a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// There is nothing to tell, as things are.
    Nothing,
    /// There will be, at this time.
    Wait(TimestampUs),
    /// It is told of now.
    Say,
}

/// What is to be done at `now` about a group with these alerts, which has said what it has said.
pub fn decide(now: TimestampUs, members: &[Member], said: &Said) -> Decision {
    let mut due: Option<TimestampUs> = None;
    let mut consider = |at: TimestampUs| due = Some(due.map_or(at, |due| due.min(at)));
    let audible = || members.iter().filter(|member| !member.is_muted);
    let interval = members.iter().map(|member| member.interval).min().unwrap_or_default();
    let next = said.last().map(|last| after(last, interval));
    for member in audible() {
        match (member.is_firing, member.told) {
            (true, None) if member.severity == Severity::Critical => {
                consider(said.burst_over(interval).map_or(member.since, |at| at.max(member.since)));
            }
            (true, None) => consider(next.unwrap_or_else(|| after(member.since, member.wait))),
            // An alert that was told of and has ended; one that was not is nobody's business.
            (false, Some(_)) => consider(next.unwrap_or(member.since)),
            (false, None) => {}
            (true, Some(told)) => consider(after(told, member.repeat)),
        }
    }
    match due {
        None => Decision::Nothing,
        Some(at) if at <= now => Decision::Say,
        Some(at) => Decision::Wait(at),
    }
}

fn after(at: TimestampUs, length: Length) -> TimestampUs {
    TimestampUs(at.0.saturating_add(length.us()))
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
