//! Sessions: chains of events with gaps under thirty minutes, joined in any order, folded into buckets.
//!
//! The key of a chain is the client's session id; without one it is the person (user, else visitor).
//! An event with neither belongs to no session; it counts as an event alone.
//!
//! A window never cuts a session: it counts, whole, in the bucket of its first event. A session that
//! began before the window shows in `active_sessions` and in allocated time alone. To know where a
//! chain begins and ends, events around the window are read too: [`Chains::unsettled`] says whether
//! further ones could change a number, see [`Margin`].

use insights_engine::id::TenantNo;
use insights_engine::query::{Field, ScanColumn, ScanVector};
use insights_engine::schema::{Scalar, stream};
use insights_engine::session::{self, Chain, DURATION_US_MAX, GAP_US, NO_USER, SessionEvent, SessionTotals};
use insights_engine::time::{Buckets, TimeRange, TimestampUs};
use insights_engine::{Error, Result};

use super::fields::{code, column, instants, interactive, leaf, person};
use super::window::Window;

/// Most chains that one question may hold in memory.
const CHAINS_MAX: usize = 8_000_000;

/// Fewest events that are gathered before they are made into chains.
const EVENTS_MIN: usize = 1 << 16;

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
    all: Joined,
    /// Those of the events inside the window alone: a window cuts a chain into at most three pieces.
    inside: Joined,
    /// Events that are not interactive unless their type, a code, turns out to be a page view.
    passive: Vec<(SessionEvent, u32)>,
}

/// Events that become chains from time to time, so that memory is that of the chains.
#[derive(Debug, Default)]
struct Joined {
    chains: Vec<Chain>,
    events: Vec<SessionEvent>,
}

impl Joined {
    fn push(&mut self, event: SessionEvent) {
        self.events.push(event);
        // As many new events as there are chains: joining costs the same for each event, however many.
        if self.events.len() >= self.chains.len().max(EVENTS_MIN) {
            self.join();
        }
    }

    fn join(&mut self) {
        if !self.events.is_empty() {
            self.chains = session::join(&self.chains, &session::chains(&mut self.events));
            self.events.clear();
        }
    }
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
        Self { window, all: Joined::default(), inside: Joined::default(), passive: Vec::new() }
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
            let Some(key) = key(vector.tenant, code(sessions, row), code(persons, row)) else { continue };
            let event = SessionEvent {
                key,
                time: TimestampUs(*time),
                user: NO_USER,
                page: false,
                action: false,
                interactive: true,
            };
            if is_passive(interactive, row) {
                self.passive.push((event, code(types, row).unwrap_or(u32::MAX)));
            } else {
                self.push(event);
            }
        }
        if self.all.chains.len() + self.passive.len() > CHAINS_MAX {
            return Err(Error::QueryLimit { what: "sessions", limit: CHAINS_MAX as u64 });
        }
        Ok(())
    }

    /// Adds what waited for the names of the event types; nothing is added after it.
    pub(crate) fn finish(&mut self, is_page_view: impl Fn(u32) -> bool) {
        for (event, event_type) in std::mem::take(&mut self.passive) {
            self.push(SessionEvent { interactive: is_page_view(event_type), ..event });
        }
        self.all.join();
        self.inside.join();
    }

    fn push(&mut self, event: SessionEvent) {
        self.all.push(event);
        if self.window.contains(event.time) {
            self.inside.push(event);
        }
    }

    /// Whether events outside of `read` could change a number.
    pub(crate) fn unsettled(&self, read: TimeRange) -> Unsettled {
        let mut out = Unsettled { before: false, after: false };
        for chain in &self.all.chains {
            let enters = chain.first < self.window.start && chain.last >= self.window.start;
            out.before |= enters && chain.first.0.saturating_sub(GAP_US) < read.start.0;
            let open = chain.duration_us() < DURATION_US_MAX || chain.interactive < 2;
            let ends = chain.last.0.saturating_add(GAP_US);
            out.after |= self.window.contains(chain.first) && open && ends > read.end.0;
        }
        out
    }

    /// (bucket, begin, duration) of every session that counts in the window.
    pub(crate) fn started<'a>(
        &'a self,
        window: &'a Window,
    ) -> impl Iterator<Item = (usize, TimestampUs, i64)> + 'a {
        let cut = window.cut_buckets();
        self.all.chains.iter().filter_map(|c| Some((c.started_in(cut)?, c.first, c.duration_us())))
    }

    /// The numbers of the window and of its buckets.
    pub(crate) fn fold(&self, window: &Window) -> Sessions {
        let cut = window.cut_buckets();
        let totals = session::totals(&self.all.chains, cut);
        Sessions {
            started: totals.iter().map(|t| t.started).sum(),
            bounces: totals.iter().map(|t| t.bounces).sum(),
            duration_us: totals.iter().map(|t| t.duration_us).sum(),
            allocated_us: totals.iter().map(|t| t.allocated_us).sum(),
            median_us: median(self.started(window).map(|(_, _, duration)| duration).collect()),
            active: self.active(cut),
            series: totals,
        }
    }

    /// In how many sessions each bucket has an event.
    fn active(&self, cut: &Buckets) -> Vec<u64> {
        let mut out = vec![0; cut.len()];
        for chain in &self.inside.chains {
            // Buckets are not shorter than gaps, so a chain has an event in each bucket between its ends.
            if let (Some(first), Some(last)) = (cut.index_of(chain.first), cut.index_of(chain.last)) {
                out.get_mut(first..=last).into_iter().flatten().for_each(|count| *count += 1);
            }
        }
        out
    }
}

/// The number of a chain's key: tenant, whether the client named the session, code of session or person.
fn key(tenant: TenantNo, session: Option<u32>, person: Option<u32>) -> Option<u64> {
    let (named, code) = session.map(|code| (1, code)).or_else(|| person.map(|code| (0, code)))?;
    // A store has far fewer than 2^31 tenants.
    Some(u64::from(tenant.0) << 33 | named << 32 | u64::from(code))
}

/// Sessions of a window.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Sessions {
    /// Sessions that began in it.
    pub(crate) started: u64,
    /// Those with exactly one interactive event.
    pub(crate) bounces: u64,
    /// Their durations, added up.
    pub(crate) duration_us: i64,
    /// The median of their durations, interpolated.
    pub(crate) median_us: Option<f64>,
    /// Time of sessions that falls into the window.
    pub(crate) allocated_us: i64,
    /// Of each bucket the sessions that have an event in it.
    pub(crate) active: Vec<u64>,
    /// Of each bucket everything else.
    pub(crate) series: Vec<SessionTotals>,
}

/// Whether `event_data.interactive` is `false`.
fn is_passive(column: &ScanColumn, row: usize) -> bool {
    matches!(leaf(column, row), Some(Scalar::Bool(false)))
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
