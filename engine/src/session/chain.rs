//! A chain of events of one key with gaps under 30 minutes, and the plain way from events to chains.
//!
//! A session is a maximal chain, whatever the order in which its events arrive: it is a connected
//! component of the events of one key under "closer than [`GAP_US`]". So chains of parts of the events
//! can be joined in any order and grouping to the chains of all of them. An event can join chains and
//! never cuts one.

use crate::time::{Buckets, TimeRange, TimestampUs};

/// Two events of one key this far apart, or further, are of two sessions.
pub const GAP_US: i64 = 30 * 60 * 1_000_000;

/// A session counts with at most this duration.
pub const DURATION_US_MAX: i64 = 24 * 3_600_000_000;

/// No user is known.
pub const NO_USER: u32 = u32::MAX;

/// What a session needs to know of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionEvent {
    /// Which chain it may be of: the client's session, else the identity; as numbered by the caller.
    pub key: u64,
    /// When it happened.
    pub time: TimestampUs,
    /// The user, as numbered by the caller, or [`NO_USER`].
    pub user: u32,
    /// It shows a page.
    pub page: bool,
    /// It is an action.
    pub action: bool,
    /// The user did it; others do not lift a bounce.
    pub interactive: bool,
}

/// One session, or the part of one that some of its events make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// Its key.
    pub key: u64,
    /// The time of its first event.
    pub first: TimestampUs,
    /// The time of its last event.
    pub last: TimestampUs,
    /// Its events.
    pub events: u32,
    /// Those that show a page.
    pub pages: u32,
    /// Those that are actions.
    pub actions: u32,
    /// Those that the user did.
    pub interactive: u32,
    /// The least number of a user that an event has, or [`NO_USER`]: the same in whatever order chains
    /// are joined.
    pub user: u32,
}

impl Chain {
    pub(crate) fn of(event: &SessionEvent) -> Self {
        Self {
            key: event.key,
            first: event.time,
            last: event.time,
            events: 1,
            pages: u32::from(event.page),
            actions: u32::from(event.action),
            interactive: u32::from(event.interactive),
            user: event.user,
        }
    }

    /// Whether a chain that does not start before this one is of the same session.
    pub(crate) fn reaches(&self, later: &Self) -> bool {
        self.key == later.key && later.first.0.saturating_sub(self.last.0) < GAP_US
    }

    pub(crate) fn absorb(&mut self, other: &Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.events = self.events.saturating_add(other.events);
        self.pages = self.pages.saturating_add(other.pages);
        self.actions = self.actions.saturating_add(other.actions);
        self.interactive = self.interactive.saturating_add(other.interactive);
        self.user = self.user.min(other.user);
    }

    /// From its first to its last event, at most [`DURATION_US_MAX`]; 0 for a single event.
    pub fn duration_us(&self) -> i64 {
        self.last.0.saturating_sub(self.first.0).min(DURATION_US_MAX)
    }

    /// Whether the user did exactly one thing.
    pub fn is_bounce(&self) -> bool {
        self.interactive == 1
    }

    /// The bucket that the session counts in: that of its first event.
    pub fn started_in(&self, buckets: &Buckets) -> Option<usize> {
        buckets.index_of(self.first)
    }

    /// Calls with each bucket that the session's (capped) duration overlaps, and for how long; the
    /// parts of all buckets that cover it add up to [`Self::duration_us`].
    pub fn allocate(&self, buckets: &Buckets, mut each: impl FnMut(usize, i64)) {
        let end = TimestampUs(self.first.0.saturating_add(self.duration_us()));
        let Some(last) = buckets.len().checked_sub(1) else { return };
        let range = |index: usize| buckets.get(index).unwrap_or(TimeRange { start: end, end });
        // A session that began before the buckets is allocated from the first one on.
        let mut index = match buckets.index_of(self.first) {
            Some(index) => index,
            None if self.first < range(0).start => 0,
            None => return,
        };
        while index <= last && range(index).start < end {
            let bucket = range(index);
            let overlap = end.min(bucket.end).0 - self.first.max(bucket.start).0;
            if overlap > 0 {
                each(index, overlap);
            }
            index += 1;
        }
    }
}

/// The sessions of some events, sorted by (key, first). The events are sorted on the way.
pub fn chains(events: &mut [SessionEvent]) -> Vec<Chain> {
    events.sort_unstable();
    fold(events.iter().map(Chain::of))
}

/// Joins neighbours of one session; `chains` are sorted by (key, first).
fn fold(chains: impl Iterator<Item = Chain>) -> Vec<Chain> {
    let mut out: Vec<Chain> = Vec::new();
    for chain in chains {
        match out.last_mut() {
            Some(open) if open.reaches(&chain) => open.absorb(&chain),
            _ => out.push(chain),
        }
    }
    out
}

/// In how many sessions each bucket has an event. The events are sorted on the way.
///
/// A session that is open in a bucket but has no event there is not active in it.
pub fn active(events: &mut [SessionEvent], buckets: &Buckets) -> Vec<u64> {
    let mut counts = vec![0; buckets.len()];
    active_chains(events, buckets, |_, bucket| {
        if let Some(count) = counts.get_mut(bucket) {
            *count += 1;
        }
    });
    counts
}

/// Calls with (place of the chain in [`chains`], bucket) once for every bucket where the chain has an
/// event. The events are sorted on the way.
pub fn active_chains(events: &mut [SessionEvent], buckets: &Buckets, mut each: impl FnMut(usize, usize)) {
    events.sort_unstable();
    let mut chain = 0;
    let mut before: Option<&SessionEvent> = None;
    let mut counted: Option<(usize, usize)> = None;
    for event in events.iter() {
        if before.is_some_and(|b| b.key != event.key || event.time.0.saturating_sub(b.time.0) >= GAP_US) {
            chain += 1;
        }
        before = Some(event);
        let here = buckets.index_of(event.time).map(|bucket| (chain, bucket));
        // Events of a chain ascend in time, so a bucket is not met again after another one.
        if here != counted
            && let Some((chain, bucket)) = here
        {
            each(chain, bucket);
            counted = here;
        }
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
