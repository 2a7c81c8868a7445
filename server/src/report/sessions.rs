//! Sessions: chains of events with gaps under thirty minutes, joined in any order, folded into buckets.
//!
//! The key of a chain is the client's session id; without one it is the person (user, else visitor).
//! An event with neither belongs to no session; it counts as an event alone.
//!
//! A window never cuts a session: it counts, whole, in the bucket of its first event. A session that
//! began before the window shows in `active_sessions` and in allocated time alone. To know where a
//! chain begins and ends, events around the window are read too: [`Chains::unsettled`] says whether
//! further ones could change a number, see [`Margin`].

use std::collections::HashMap;

use insights_engine::query::{Field, ScanColumn, ScanVector};
use insights_engine::schema::{Scalar, stream};
use insights_engine::session::{DURATION_US_MAX, GAP_US};
use insights_engine::time::{TimeRange, TimestampUs};
use insights_engine::{Error, Result};

use super::fields::{code, column, instants, interactive, leaf, person};
use super::window::Window;

/// Most chains that one question may hold in memory.
const CHAINS_MAX: usize = 8_000_000;

/// Whose chain: (tenant, whether the client named it, code of the session or the person).
type Key = (u32, bool, u32);

/// One chain so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chain {
    first: i64,
    last: i64,
    /// Interactive events, at most 2: a bounce has exactly one.
    interactive: u8,
    /// The first and the last event inside the window; `first_inside > last_inside` when there is none.
    first_inside: i64,
    last_inside: i64,
}

impl Chain {
    fn join(&mut self, other: &Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.interactive = (self.interactive + other.interactive).min(2);
        self.first_inside = self.first_inside.min(other.first_inside);
        self.last_inside = self.last_inside.max(other.last_inside);
    }

    fn duration_us(&self) -> i64 {
        (self.last - self.first).min(DURATION_US_MAX)
    }
}

/// How far around the window events are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Margin {
    before_us: i64,
    after_us: i64,
}

impl Margin {
    /// Most sessions begin and end within two hours.
    pub(crate) const FIRST: Self = Self { before_us: 7_200_000_000, after_us: 7_200_000_000 };

    /// Before the window this settles every number: a chain that touches the edge of this margin began
    /// more than a capped duration before the window, and allocates no time to it.
    const BEFORE_US_MAX: i64 = DURATION_US_MAX + GAP_US;
    /// After the window: a chain of more than a year without a gap is not followed further.
    const AFTER_US_MAX: i64 = 400 * DURATION_US_MAX;

    /// What is read of events for `window`.
    pub(crate) fn around(self, window: TimeRange) -> TimeRange {
        let start = TimestampUs(window.start.0.saturating_sub(self.before_us));
        TimeRange { start, end: TimestampUs(window.end.0.saturating_add(self.after_us)) }
    }

    /// More of what is not settled; `None` when more would change nothing.
    pub(crate) fn wider(self, unsettled: Unsettled) -> Option<Self> {
        let before_us = if unsettled.before { Self::BEFORE_US_MAX } else { self.before_us };
        let after_us =
            if unsettled.after { (self.after_us * 13).min(Self::AFTER_US_MAX) } else { self.after_us };
        let wider = Self { before_us, after_us };
        (wider != self).then_some(wider)
    }
}

/// On which sides of what was read further events could change a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsettled {
    before: bool,
    after: bool,
}

/// All chains of the events that were read.
#[derive(Debug)]
pub(crate) struct Chains {
    window: TimeRange,
    chains: HashMap<Key, Vec<Chain>>,
    count: usize,
    /// Events that are not interactive unless their type, a code, turns out to be a page view.
    passive: Vec<(Key, i64, u32)>,
}

impl Chains {
    /// The fields of a scan that [`Self::add`] takes.
    pub(crate) fn scan_fields() -> Vec<Field> {
        vec![
            column(&stream::TIME),
            column(&stream::SESSION_ID),
            person(),
            column(&stream::EVENT_TYPE),
            interactive(),
        ]
    }

    /// Of which field of [`Self::scan_fields`] [`Self::finish`] needs the names.
    pub(crate) const TYPE_FIELD: usize = 3;

    /// No event yet.
    pub(crate) fn new(window: TimeRange) -> Self {
        Self { window, chains: HashMap::new(), count: 0, passive: Vec::new() }
    }

    /// Adds the events of a vector of [`Self::scan_fields`].
    ///
    /// # Errors
    ///
    /// [`Error::QueryLimit`] when there are too many sessions.
    pub(crate) fn add(&mut self, vector: &ScanVector) -> Result<()> {
        let [times, sessions, persons, types, interactive] = vector.columns.as_slice() else {
            return Err(Error::invalid("a scan of other fields"));
        };
        for (row, time) in instants(times)?.iter().enumerate() {
            let tenant = vector.tenant.0;
            let key = match (code(sessions, row), code(persons, row)) {
                (Some(session), _) => (tenant, true, session),
                (None, Some(person)) => (tenant, false, person),
                (None, None) => continue,
            };
            if is_passive(interactive, row) {
                self.passive.push((key, *time, code(types, row).unwrap_or(u32::MAX)));
            } else {
                self.event(key, *time, true);
            }
        }
        if self.count > CHAINS_MAX {
            return Err(Error::QueryLimit { what: "sessions", limit: CHAINS_MAX as u64 });
        }
        Ok(())
    }

    /// Adds what waited for the names of the event types.
    pub(crate) fn finish(&mut self, is_page_view: impl Fn(u32) -> bool) {
        for (key, time, event_type) in std::mem::take(&mut self.passive) {
            self.event(key, time, is_page_view(event_type));
        }
    }

    fn event(&mut self, key: Key, time: i64, interactive: bool) {
        let inside = self.window.contains(TimestampUs(time));
        let event = Chain {
            first: time,
            last: time,
            interactive: u8::from(interactive),
            first_inside: if inside { time } else { i64::MAX },
            last_inside: if inside { time } else { i64::MIN },
        };
        let chains = self.chains.entry(key).or_default();
        let before = chains.len();
        insert(chains, event);
        self.count = (self.count + chains.len()) - before;
    }

    /// Whether events outside of `read` could change a number.
    pub(crate) fn unsettled(&self, read: TimeRange) -> Unsettled {
        let mut out = Unsettled { before: false, after: false };
        for chain in self.chains.values().flatten() {
            let begins_before = chain.first < self.window.start.0;
            let touches_window = chain.last >= self.window.start.0 && begins_before;
            out.before |= touches_window && chain.first.saturating_sub(GAP_US) < read.start.0;
            let counts = self.window.contains(TimestampUs(chain.first));
            let open = chain.last - chain.first < DURATION_US_MAX || chain.interactive < 2;
            out.after |= counts && open && chain.last.saturating_add(GAP_US) > read.end.0;
        }
        out
    }

    /// The numbers of the window and of its buckets.
    pub(crate) fn fold(&self, window: &Window) -> Sessions {
        let mut out =
            Sessions { series: vec![SessionBucket::default(); window.buckets.len()], ..Sessions::default() };
        let clips = window.clips();
        let mut durations = Vec::new();
        for chain in self.chains.values().flatten() {
            if let Some(bucket) = window.bucket_of(TimestampUs(chain.first)) {
                let duration = chain.duration_us();
                durations.push(duration);
                out.bounces += u64::from(chain.interactive == 1);
                if let Some(row) = out.series.get_mut(bucket) {
                    row.sessions += 1;
                    row.duration_us += duration;
                }
            }
            out.count_active(chain, window);
            out.allocate(chain, window, &clips);
        }
        out.sessions = durations.len() as u64;
        out.duration_us = durations.iter().sum();
        out.allocated_us = out.series.iter().map(|row| row.allocated_us).sum();
        out.median_us = median(durations);
        out
    }
}

/// Sessions of one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SessionBucket {
    /// Sessions that began in it.
    pub(crate) sessions: u64,
    /// Sessions that have an event in it.
    pub(crate) active: u64,
    /// Durations of those that began in it, added up.
    pub(crate) duration_us: i64,
    /// Time of sessions that falls into it.
    pub(crate) allocated_us: i64,
}

/// Sessions of a window.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Sessions {
    /// Sessions that began in it.
    pub(crate) sessions: u64,
    /// Those with exactly one interactive event.
    pub(crate) bounces: u64,
    /// Their durations, added up.
    pub(crate) duration_us: i64,
    /// The median of their durations, interpolated.
    pub(crate) median_us: Option<f64>,
    /// Time of sessions that falls into the window.
    pub(crate) allocated_us: i64,
    /// By bucket.
    pub(crate) series: Vec<SessionBucket>,
}

impl Sessions {
    fn count_active(&mut self, chain: &Chain, window: &Window) {
        // Gaps are shorter than any bucket, so a chain has an event in each bucket between its first
        // and its last event inside the window.
        let first = window.bucket_of(TimestampUs(chain.first_inside));
        let last = window.bucket_of(TimestampUs(chain.last_inside));
        if let (Some(first), Some(last)) = (first, last) {
            for row in self.series.get_mut(first..=last).into_iter().flatten() {
                row.active += 1;
            }
        }
    }

    fn allocate(&mut self, chain: &Chain, window: &Window, clips: &[TimeRange]) {
        let end = chain.first + chain.duration_us();
        let from = chain.first.max(window.range.start.0);
        let Some(first) = window.bucket_of(TimestampUs(from)).filter(|_| from < end) else { return };
        for (row, clip) in self.series.iter_mut().zip(clips).skip(first) {
            let us = end.min(clip.end.0) - from.max(clip.start.0);
            if us <= 0 {
                break;
            }
            row.allocated_us += us;
        }
    }
}

/// Whether `event_data.interactive` is `false`.
fn is_passive(column: &ScanColumn, row: usize) -> bool {
    matches!(leaf(column, row), Some(Scalar::Bool(false)))
}

/// Puts a chain among the chains of one key, sorted and apart by a gap; joins what it touches.
fn insert(chains: &mut Vec<Chain>, new: Chain) {
    // Most events are the newest of their key.
    let at = match chains.last() {
        Some(last) if last.first > new.first => chains.partition_point(|c| c.first <= new.first),
        _ => chains.len(),
    };
    let near = |a: &Chain, b: &Chain| b.first.saturating_sub(a.last) < GAP_US;
    let joined = match at.checked_sub(1).and_then(|i| chains.get_mut(i)) {
        Some(before) if near(before, &new) => {
            before.join(&new);
            at - 1
        }
        _ => {
            chains.insert(at, new);
            at
        }
    };
    let (Some(this), Some(next)) = (chains.get(joined).copied(), chains.get(joined + 1).copied()) else {
        return;
    };
    if near(&this, &next) {
        if let Some(this) = chains.get_mut(joined) {
            this.join(&next);
        }
        chains.remove(joined + 1);
    }
}

/// The middle value, or the mean of the two middle ones.
#[expect(clippy::cast_precision_loss, reason = "durations are at most a day")]
fn median(mut values: Vec<i64>) -> Option<f64> {
    values.sort_unstable();
    let upper = values.get(values.len() / 2)?;
    let lower = values.get((values.len() - 1) / 2)?;
    Some((lower + upper) as f64 / 2.0)
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
