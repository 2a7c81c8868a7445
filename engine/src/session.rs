//! Sessions: chains of events of one key with gaps under 30 minutes, cut, joined and folded into buckets.
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
    pub events: u64,
    /// Those that show a page.
    pub pages: u64,
    /// Those that are actions.
    pub actions: u64,
    /// Those that the user did.
    pub interactive: u64,
    /// The least number of a user that an event has, or [`NO_USER`]: the same in whatever order chains
    /// are joined.
    pub user: u32,
}

impl Chain {
    fn of(event: &SessionEvent) -> Self {
        Self {
            key: event.key,
            first: event.time,
            last: event.time,
            events: 1,
            pages: u64::from(event.page),
            actions: u64::from(event.action),
            interactive: u64::from(event.interactive),
            user: event.user,
        }
    }

    /// Whether a chain that does not start before this one is of the same session.
    fn reaches(&self, later: &Self) -> bool {
        self.key == later.key && later.first.0.saturating_sub(self.last.0) < GAP_US
    }

    fn absorb(&mut self, other: &Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.events += other.events;
        self.pages += other.pages;
        self.actions += other.actions;
        self.interactive += other.interactive;
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

/// The chains of two lists as one; each list is sorted by (key, first), and so is the result.
///
/// Joining is commutative and associative: it gives the chains of all events of both.
pub fn join(left: &[Chain], right: &[Chain]) -> Vec<Chain> {
    let (mut left, mut right) = (left.iter().copied().peekable(), right.iter().copied().peekable());
    let order = |chain: &Chain| (chain.key, chain.first);
    fold(std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some(a), Some(b)) if order(b) < order(a) => right.next(),
        (Some(_), _) => left.next(),
        (None, _) => right.next(),
    }))
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

/// What the sessions of one bucket add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionTotals {
    /// Sessions that started in the bucket.
    pub started: u64,
    /// Of those, the ones where the user did exactly one thing.
    pub bounces: u64,
    /// The whole durations of those that started in the bucket.
    pub duration_us: i64,
    /// Events of those that started in the bucket.
    pub events: u64,
    /// Their pages.
    pub pages: u64,
    /// Their actions.
    pub actions: u64,
    /// Time of any session inside the bucket.
    pub allocated_us: i64,
}

/// The totals of each bucket. A session begun before the first bucket adds allocated time alone.
pub fn totals(chains: &[Chain], buckets: &Buckets) -> Vec<SessionTotals> {
    let mut out = vec![SessionTotals::default(); buckets.len()];
    for chain in chains {
        if let Some(total) = chain.started_in(buckets).and_then(|index| out.get_mut(index)) {
            total.started += 1;
            total.bounces += u64::from(chain.is_bounce());
            total.duration_us += chain.duration_us();
            total.events += chain.events;
            total.pages += chain.pages;
            total.actions += chain.actions;
        }
        chain.allocate(buckets, |index, us| {
            if let Some(total) = out.get_mut(index) {
                total.allocated_us += us;
            }
        });
    }
    out
}

#[cfg(test)]
mod tests;
