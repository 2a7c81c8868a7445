//! The last five minutes of one scope, second by second: pure, it knows no clock and no store.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Seconds that are shown, the present one among them.
pub const WINDOW_S: i64 = 300;
/// Seconds of the shorter span.
pub const MINUTE_S: i64 = 60;
/// Seconds ahead of the clock that are kept: clocks of clients differ. They are shown when their time has come.
pub const AHEAD_S: i64 = 60;

/// Identities that are out of the window and still remembered before they are looked for.
const STALE_MIN: usize = 1_024;

/// How many identities all rings together may still remember.
#[derive(Debug, Clone)]
pub struct Room(Arc<AtomicUsize>);

impl Room {
    /// Room for this many.
    pub fn new(identities: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(identities)))
    }

    fn take(&self) -> bool {
        let left = |left: usize| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }

    fn give(&self, identities: usize) {
        self.0.fetch_add(identities, Ordering::Relaxed);
    }
}

/// What happened in one second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Second {
    /// Events.
    pub events: u64,
    /// Requests, from `requests.count`.
    pub requests: f64,
    /// Errors, from `errors.count`.
    pub errors: f64,
    /// Identities whose last event is of this second.
    last_seen: u32,
    /// The version of the ring that shows it first.
    version: u64,
}

impl Second {
    fn is_empty(&self) -> bool {
        self.events == 0 && self.requests == 0.0 && self.errors == 0.0
    }
}

/// Sums over a span that ends now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    /// Events.
    pub events: u64,
    /// Requests.
    pub requests: f64,
    /// Errors.
    pub errors: f64,
    /// Distinct identities with an event.
    pub active_users: u64,
}

/// The seconds from [`WINDOW_S`] - 1 before the present one to [`AHEAD_S`] after it.
#[derive(Debug)]
pub struct Ring {
    now_s: i64,
    seconds: VecDeque<Second>,
    /// Hash of an identity -> the second of its last event.
    users: HashMap<u64, i64>,
    /// Identities in `users` that are out of the window.
    stale: usize,
    room: Room,
    /// There was no room for somebody who is in the window.
    is_crowded: bool,
    version: u64,
    is_dirty: bool,
}

impl Ring {
    /// Nothing yet; `now_s` is the present second since 1970.
    pub fn new(now_s: i64, room: Room) -> Self {
        let length = usize::try_from(WINDOW_S + AHEAD_S).unwrap_or_default();
        Self {
            now_s,
            seconds: std::iter::repeat_n(Second::default(), length).collect(),
            users: HashMap::new(),
            stale: 0,
            room,
            is_crowded: false,
            version: 0,
            // An empty window is something to show, too.
            is_dirty: true,
        }
    }

    /// The present second.
    pub fn now_s(&self) -> i64 {
        self.now_s
    }

    /// The first second of the window.
    pub fn first_s(&self) -> i64 {
        self.now_s - (WINDOW_S - 1)
    }

    /// What is shown now; 0 is nothing.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether everybody who was active is counted.
    pub fn counts_everybody(&self) -> bool {
        !self.is_crowded
    }

    /// Somebody was active who is not in it.
    pub fn miss_somebody(&mut self) {
        self.is_crowded = true;
    }

    /// Lets time pass to `now_s`; false when that lies so far back that the ring is not of this time any more.
    #[must_use]
    pub fn advance(&mut self, now_s: i64) -> bool {
        let passed = now_s - self.now_s;
        if passed < 0 {
            return passed >= -AHEAD_S;
        }
        for _ in 0..passed.min(WINDOW_S + AHEAD_S) {
            let gone = self.seconds.pop_front().unwrap_or_default();
            self.stale += usize::try_from(gone.last_seen).unwrap_or_default();
            self.seconds.push_back(Second::default());
            self.now_s += 1;
            // One that was ahead is shown from now on.
            self.mark(self.now_s);
        }
        self.now_s = now_s;
        if passed > 0 {
            // What has left the window is in the sums no more.
            self.is_dirty = true;
            self.forget_stale();
        }
        true
    }

    fn mark(&mut self, at_s: i64) {
        let next = self.version + 1;
        if let Some(second) = self.second(at_s).filter(|second| !second.is_empty()) {
            second.version = next;
        }
    }

    fn forget_stale(&mut self) {
        if self.stale < STALE_MIN.max(self.users.len() / 2) {
            return;
        }
        let (first, before) = (self.first_s(), self.users.len());
        self.users.retain(|_, last| *last >= first);
        self.room.give(before - self.users.len());
        self.stale = 0;
        self.is_crowded = false;
    }

    fn second(&mut self, at_s: i64) -> Option<&mut Second> {
        let index = usize::try_from(at_s.checked_sub(self.first_s())?).ok()?;
        self.seconds.get_mut(index)
    }

    /// A second that something is added to; `None` when it is out of reach.
    fn open(&mut self, at_s: i64) -> Option<&mut Second> {
        let (next, is_shown) = (self.version + 1, at_s <= self.now_s);
        // What is ahead is shown when its time has come.
        self.is_dirty |= is_shown && self.second(at_s).is_some();
        let second = self.second(at_s)?;
        second.version = next;
        Some(second)
    }

    /// Adds events of a second.
    pub fn add_events(&mut self, at_s: i64, events: u64) {
        if let Some(second) = self.open(at_s) {
            second.events += events;
        }
    }

    /// Adds requests of a second.
    pub fn add_requests(&mut self, at_s: i64, requests: f64) {
        if let Some(second) = self.open(at_s) {
            second.requests += requests;
        }
    }

    /// Adds errors of a second.
    pub fn add_errors(&mut self, at_s: i64, errors: f64) {
        if let Some(second) = self.open(at_s) {
            second.errors += errors;
        }
    }

    /// Somebody, by the hash of who it is, had an event in a second.
    pub fn see(&mut self, identity: u64, at_s: i64) {
        let first = self.first_s();
        if at_s < first || at_s > self.now_s + AHEAD_S {
            return;
        }
        let before = self.users.get(&identity).copied();
        match before {
            Some(last) if last >= at_s => return,
            Some(last) if last >= first => {
                if let Some(second) = self.second(last) {
                    second.last_seen -= 1;
                }
            }
            Some(_) => self.stale -= 1,
            None if self.room.take() => {}
            None => {
                self.is_crowded = true;
                return;
            }
        }
        self.users.insert(identity, at_s);
        if let Some(second) = self.second(at_s) {
            second.last_seen += 1;
        }
    }

    /// Makes what has changed a new version; `None` when nothing has.
    pub fn publish(&mut self) -> Option<u64> {
        if !std::mem::take(&mut self.is_dirty) {
            return None;
        }
        self.version += 1;
        Some(self.version)
    }

    /// The seconds up to the present one that version `since` did not show as they are; of an empty ring none.
    pub fn changed(&self, since: u64) -> impl Iterator<Item = (i64, &Second)> {
        let shown = usize::try_from(WINDOW_S).unwrap_or_default();
        let numbered = (self.first_s()..).zip(&self.seconds).take(shown);
        numbered.filter(move |(_, second)| second.version > since && !second.is_empty())
    }

    /// Sums over the last `span_s` seconds.
    pub fn totals(&self, span_s: i64) -> Totals {
        let (shown, span) = (usize::try_from(WINDOW_S).unwrap_or(0), usize::try_from(span_s).unwrap_or(0));
        let mut totals = Totals::default();
        for second in self.seconds.iter().take(shown).skip(shown.saturating_sub(span)) {
            totals.events += second.events;
            totals.requests += second.requests;
            totals.errors += second.errors;
            totals.active_users += u64::from(second.last_seen);
        }
        totals
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.room.give(self.users.len());
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
