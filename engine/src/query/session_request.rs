//! The types of a question for sessions and of its answer; no logic.

use super::fingerprint::fingerprint;
use super::request::{Budget, Cost, Damage, Filter, Scope};
use crate::rollup::Histogram;
use crate::session::SessionTotals;
use crate::time::{Buckets, TimeRange, TimestampUs};

/// What an event is to its session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionClasses {
    /// Events that show a page.
    pub page: Filter,
    /// Events that are actions.
    pub action: Filter,
    /// Events that the user did: a session of exactly one is a bounce.
    pub interactive: Filter,
}

impl SessionClasses {
    /// What cells remember of the classes that they were made with.
    pub(crate) fn hash(&self) -> u64 {
        fingerprint(&[&self.page, &self.action, &self.interactive])
    }
}

/// A question for the sessions of the events stream.
///
/// The key of a session is the client's `session_id`; without one it is the person, the user or else
/// the visitor. An event with neither is of no session. A window never cuts a session: one counts,
/// whole, where its first event is, and what lies around the window is read as far as it matters.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRequest {
    /// Whose sessions.
    pub scope: Scope,
    /// Over which event times.
    pub window: TimeRange,
    /// Cut how; the first and the last bucket are cut to the window.
    pub buckets: Buckets,
    /// The events that take part; sessions are chains of them alone.
    pub filter: Filter,
    /// How they are told apart.
    pub classes: SessionClasses,
    /// Read rows alone, and list every session that started.
    pub exact: bool,
    /// What it may use.
    pub budget: Budget,
    /// Answer without the parts that are damaged, and name them, rather than fail.
    pub allow_partial: bool,
}

/// A session that started in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartedSession {
    /// The bucket of its first event.
    pub bucket: usize,
    /// Its first event.
    pub first: TimestampUs,
    /// Its duration, capped.
    pub duration_us: i64,
}

/// The sessions of a window.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SessionAnswer {
    /// Of each bucket what its sessions add up to.
    pub series: Vec<SessionTotals>,
    /// Of each bucket in how many sessions it has an event.
    pub active: Vec<u64>,
    /// The durations, in microseconds, of all sessions that started in the window.
    pub durations: Histogram,
    /// All sessions that started in the window, when the question is exact; in no order.
    pub started: Vec<StartedSession>,
    /// Whether every number of `series` and `active` is the truth: nothing was damaged, and every
    /// chain could be joined with what follows it.
    pub exact: bool,
    /// The event times that were read.
    pub read: Option<TimeRange>,
    /// What it cost.
    pub cost: Cost,
    /// What could not be read.
    pub damaged: Vec<Damage>,
    /// Since when rows are kept, when some that the question needs have expired: the numbers lack them.
    pub expired: Option<TimestampUs>,
}

impl SessionAnswer {
    /// The totals of the window.
    pub fn totals(&self) -> SessionTotals {
        self.series.iter().fold(SessionTotals::default(), |mut sum, bucket| {
            sum += *bucket;
            sum
        })
    }
}
