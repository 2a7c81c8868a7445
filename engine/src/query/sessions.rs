//! Sessions of a window: chains of its rows and of those around it, as far as they can change a number.

use super::request::{Cost, Damage};
use super::session_cells::{Folded, SessionCells};
use super::session_request::{SessionAnswer, SessionRequest};
use super::session_rows::{Known, SessionRows};
use super::session_sums::{SessionSums, Unsettled, started};
use super::snapshot::Snapshot;
use super::standing::{Advance, Mark, Moment};
use crate::disk::meter;
use crate::error::Result;
use crate::id::Lsn;
use crate::session::{DURATION_US_MAX, GAP_US, SessionTotals, active_chains};
use crate::time::{Buckets, TimeRange, TimestampUs};

/// How far around the window events are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Margin {
    before_us: i64,
    after_us: i64,
}

impl Margin {
    /// Most sessions begin and end within two hours.
    const FIRST: Self = Self { before_us: 7_200_000_000, after_us: 7_200_000_000 };

    /// Before the window this settles every number: a chain that touches the edge of this margin began
    /// more than a capped duration before the window, and allocates no time to it.
    const BEFORE_US_MAX: i64 = DURATION_US_MAX + GAP_US;
    /// After the window: a chain of more than a year without a gap is not followed further.
    const AFTER_US_MAX: i64 = 400 * DURATION_US_MAX;

    /// What is read of events for `window`.
    fn around(self, window: TimeRange) -> TimeRange {
        let start = TimestampUs(window.start.0.saturating_sub(self.before_us));
        TimeRange { start, end: TimestampUs(window.end.0.saturating_add(self.after_us)) }
    }

    /// More of what is not settled; `None` when more would change nothing.
    fn wider(self, unsettled: Unsettled) -> Option<Self> {
        let before_us = if unsettled.before { Self::BEFORE_US_MAX } else { self.before_us };
        let after_us =
            if unsettled.after { (self.after_us * 13).min(Self::AFTER_US_MAX) } else { self.after_us };
        let wider = Self { before_us, after_us };
        (wider != self).then_some(wider)
    }
}

/// Answers a question for sessions.
///
/// # Errors
///
/// [`crate::Error::Invalid`] for a field that events do not have, [`crate::Error::QueryLimit`] over the
/// budget of memory, and what the parts answer where they are damaged (unless `allow_partial`).
pub fn sessions(snapshot: &Snapshot, request: &SessionRequest) -> Result<SessionAnswer> {
    Ok(StandingSessions::start(snapshot, request)?.0)
}

/// A question for sessions that stays, as [`super::StandingQueries`] do.
#[derive(Debug)]
pub struct StandingSessions {
    request: SessionRequest,
    /// The buckets, cut to the window.
    cut: Buckets,
    margin: Margin,
    known: Known,
    rows: SessionRows,
    /// What the chains add up to that cells have closed.
    folded: Folded,
    mark: Mark,
    /// By the last reading.
    bytes_read: u64,
    sums: SessionSums,
}

impl StandingSessions {
    /// Answers a question as [`sessions`] does, and keeps it; not when its answer is not whole, nor when it lists
    /// events or sessions one by one.
    pub(crate) fn start(
        snapshot: &Snapshot,
        request: &SessionRequest,
    ) -> Result<(SessionAnswer, Option<Self>)> {
        let window = request.window;
        let cut = request.buckets.cut_to(window);
        if window.start >= window.end {
            return Ok((SessionAnswer { exact: true, ..SessionAnswer::default() }, None));
        }
        let narrow = has_narrow(&cut);
        let bytes_before = meter::bytes_read();
        let mut rows = SessionRows::new(request, narrow)?;
        let mut cells = SessionCells::new(snapshot, request, &cut, narrow);
        let mut folded = Folded::new(&cut);
        let mut read_range = |rows: &mut SessionRows, range: TimeRange| {
            if range.start >= range.end {
                return Ok(());
            }
            cells.add(snapshot, range, rows, &mut folded)?;
            rows.read(snapshot, range, |part, run| cells.leaves(part, run))
        };
        let mut margin = Margin::FIRST;
        let mut read = margin.around(window);
        read_range(&mut rows, read)?;
        loop {
            rows.gather.join();
            let unsettled = Unsettled::of(rows.gather.pieces(), window, read);
            let Some(wider) = margin.wider(unsettled) else { break };
            let next = wider.around(window);
            read_range(&mut rows, TimeRange { start: next.start, end: read.start })?;
            read_range(&mut rows, TimeRange { start: read.end, end: next.end })?;
            (margin, read) = (wider, next);
        }
        let expired = cells.expired(snapshot, request);
        let (known, mark) = (Known { read, closed: cells.closed }, Mark::of(snapshot));
        let bytes_read = meter::bytes_read().saturating_sub(bytes_before);
        let request = request.clone();
        let mut sums = SessionSums::default();
        sums.update(&mut rows.gather, &cut, (window, read));
        let mut standing = Self { request, cut, margin, known, rows, folded, mark, bytes_read, sums };
        let mut answer = standing.numbers();
        if narrow {
            standing.count_active(&mut answer);
        }
        answer.expired = expired;
        answer.exact = answer.damaged.is_empty() && expired.is_none();
        let may_stay = answer.exact && !narrow && !standing.request.exact;
        Ok((answer, may_stay.then_some(standing)))
    }

    /// Reads the events that a later moment has.
    ///
    /// # Errors
    ///
    /// As [`sessions`]; what failed is of no use any more.
    pub(crate) fn advance(&mut self, snapshot: &Snapshot) -> Result<Advance> {
        let moment = self.mark.moment(snapshot);
        if matches!(moment, Moment::Later(_) | Moment::Same) {
            self.bytes_read = 0;
            self.folded.answer.cost = Cost::default();
            self.rows.start_counting();
        }
        let go_on = match moment {
            Moment::Later(go_on) => go_on,
            Moment::Same => return Ok(Advance::Done),
            Moment::Earlier => return Ok(Advance::Earlier),
            Moment::Other => return Ok(Advance::Lost),
        };
        let bytes_before = meter::bytes_read();
        if !self.rows.read_newer(snapshot, &self.known, go_on)? {
            return Ok(Advance::Lost);
        }
        self.bytes_read = meter::bytes_read().saturating_sub(bytes_before);
        self.mark = Mark::of(snapshot);
        self.rows.gather.join();
        self.sums.update(&mut self.rows.gather, &self.cut, (self.request.window, self.known.read));
        // What lies further out was not read: that is for one that starts anew.
        let is_settled = self.margin.wider(self.sums.unsettled).is_none();
        Ok(if is_settled { Advance::Done } else { Advance::Lost })
    }

    /// The answer of the moment that was read last; `None` when it is not whole.
    pub fn answer(&self) -> Option<SessionAnswer> {
        Some(self.numbers()).filter(|answer| answer.exact)
    }

    /// The numbers of what was read.
    fn numbers(&self) -> SessionAnswer {
        let buckets = self.cut.len();
        let series = vec![SessionTotals::default(); buckets];
        let mut answer = SessionAnswer { series, active: vec![0; buckets], ..SessionAnswer::default() };
        self.sums.add_to(&mut answer);
        if self.request.exact {
            answer.started = started(&self.rows.gather, &self.cut);
        }
        add_closed(&mut answer, &self.folded.answer);
        let (cost, damaged) = self.rows.read_so_far();
        answer.cost += cost;
        // Rows count their own; cells were read beside them.
        answer.cost.bytes_read = self.bytes_read;
        answer.damaged = damaged;
        join_damage(&mut answer.damaged);
        answer.exact = answer.damaged.is_empty();
        answer.read = Some(self.known.depends_on());
        answer
    }

    /// In how many sessions each bucket has an event, where chains do not tell.
    fn count_active(&mut self, answer: &mut SessionAnswer) {
        answer.active = vec![0; self.cut.len()];
        active_chains(&mut self.rows.events, &self.cut, |_, bucket| {
            if let Some(count) = answer.active.get_mut(bucket) {
                *count += 1;
            }
        });
    }

    /// The question.
    pub fn request(&self) -> &SessionRequest {
        &self.request
    }

    /// The frame up to which it has read, and how many events it looked at to come there.
    pub fn read(&self) -> (Lsn, u64) {
        (self.mark.lsn(), self.rows.read_so_far().0.rows_scanned)
    }

    /// Bytes of memory this takes, about.
    pub fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes()
    }
}

/// Whether a bucket between others is shorter than a gap: a chain may then pass over it without an event.
fn has_narrow(buckets: &Buckets) -> bool {
    let inner = buckets.iter().take(buckets.len().saturating_sub(1)).skip(1);
    inner.into_iter().any(|b| b.end.0.saturating_sub(b.start.0) < GAP_US)
}

/// Adds what closed chains add up to.
fn add_closed(answer: &mut SessionAnswer, closed: &SessionAnswer) {
    for (to, from) in answer.series.iter_mut().zip(&closed.series) {
        *to += *from;
    }
    for (to, from) in answer.active.iter_mut().zip(&closed.active) {
        *to += from;
    }
    answer.durations.merge(&closed.durations);
    answer.cost += closed.cost;
}

/// Puts ranges in order and joins those that touch: several passes over rows may have met one place.
fn join_damage(damaged: &mut Vec<Damage>) {
    damaged.sort_unstable_by_key(|d| (d.range.start, d.range.end));
    damaged.dedup_by(|later, kept| {
        let touch = later.range.start <= kept.range.end;
        if touch {
            kept.range.end = kept.range.end.max(later.range.end);
        }
        touch
    });
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
