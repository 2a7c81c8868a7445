//! What the chains of a question add up to: of all of them once, then of those that have changed.

use super::session_request::{SessionAnswer, StartedSession};
use crate::rollup::Histogram;
use crate::rollup::histogram;
use crate::session::gather::{Changes, Gather, Piece};
use crate::session::{self, DURATION_US_MAX, GAP_US, SessionTotals};
use crate::time::{Buckets, TimeRange, TimestampUs};

/// On which sides of what was read further events could change a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Unsettled {
    pub(crate) before: bool,
    pub(crate) after: bool,
}

impl Unsettled {
    /// Whether events outside of `read` could change a number.
    pub(crate) fn of<'p>(
        pieces: impl Iterator<Item = &'p Piece>,
        window: TimeRange,
        read: TimeRange,
    ) -> Self {
        let mut out = Self::default();
        for Piece { chain, .. } in pieces {
            let enters = chain.first < window.start && chain.last >= window.start;
            out.before |= enters && chain.first.0.saturating_sub(GAP_US) < read.start.0;
            let open = chain.duration_us() < DURATION_US_MAX || chain.interactive < 2;
            let ends = chain.last.0.saturating_add(GAP_US);
            out.after |= window.contains(chain.first) && open && ends > read.end.0;
        }
        out
    }
}

/// The sums of the chains of a [`Gather`], whole chains as far as events came.
#[derive(Debug, Default)]
pub(crate) struct SessionSums {
    series: Vec<SessionTotals>,
    active: Vec<u64>,
    durations: Histogram,
    /// On which sides more would have to be read.
    pub(crate) unsettled: Unsettled,
    /// Whether there are sums.
    is_known: bool,
}

impl SessionSums {
    /// Brings the sums up to date with chains that are joined.
    pub(crate) fn update(
        &mut self,
        gather: &mut Gather,
        cut: &Buckets,
        (window, read): (TimeRange, TimeRange),
    ) {
        let changes = gather.changes().filter(|_| self.is_known);
        if !changes.is_some_and(|changes| self.follow(changes, cut, (window, read))) {
            let pieces = || gather.pieces();
            self.series = session::totals(pieces().map(|piece| &piece.chain), cut);
            self.active = active(pieces(), cut);
            self.durations = Histogram::default();
            self.durations.record_all(&durations(pieces(), cut), &mut histogram::Tally::default());
            self.unsettled = Unsettled::of(pieces(), window, read);
        }
        self.is_known = true;
        gather.watch();
    }

    /// Adds the sums to an answer.
    pub(crate) fn add_to(&self, answer: &mut SessionAnswer) {
        for (to, from) in answer.series.iter_mut().zip(&self.series) {
            *to += *from;
        }
        for (to, from) in answer.active.iter_mut().zip(&self.active) {
            *to += from;
        }
        answer.durations.merge(&self.durations);
    }

    /// Takes the chains out that have changed, and adds what they are now; false when that cannot be told.
    fn follow(
        &mut self,
        changes: Changes<'_>,
        cut: &Buckets,
        (window, read): (TimeRange, TimeRange),
    ) -> bool {
        let Changes { before, .. } = changes;
        let now = || changes.now();
        let totals = session::totals(before.iter().map(|piece| &piece.chain), cut);
        for (sum, less) in self.series.iter_mut().zip(totals) {
            *sum -= less;
        }
        for (sum, more) in self.series.iter_mut().zip(session::totals(now().map(|p| &p.chain), cut)) {
            *sum += more;
        }
        for (sum, less) in self.active.iter_mut().zip(active(before.iter(), cut)) {
            *sum = sum.saturating_sub(less);
        }
        for (sum, more) in self.active.iter_mut().zip(active(now(), cut)) {
            *sum += more;
        }
        // What was settled and has not changed is settled.
        let unsettled = Unsettled::of(now(), window, read);
        self.unsettled.before |= unsettled.before;
        self.unsettled.after |= unsettled.after;
        let (removed, added) = (durations(before.iter(), cut), durations(now(), cut));
        self.durations.replace_all(&removed, &added, &mut histogram::Tally::default())
    }
}

/// By bucket how many pieces have an event in it. Buckets between others are not shorter than gaps, so that a chain
/// has an event in each bucket between its first and its last one inside the window.
fn active<'p>(pieces: impl Iterator<Item = &'p Piece>, cut: &Buckets) -> Vec<u64> {
    let mut out = vec![0; cut.len()];
    let mut near = cut.near();
    for piece in pieces {
        if let Some((first, _)) = near.of(piece.inside_first)
            && let Some((last, _)) = near.of(piece.inside_last)
        {
            out.get_mut(first..=last).into_iter().flatten().for_each(|count| *count += 1);
        }
    }
    out
}

/// The durations of those that start in a bucket, in microseconds.
#[expect(clippy::cast_precision_loss, reason = "microseconds of a day")]
fn durations<'p>(pieces: impl Iterator<Item = &'p Piece>, cut: &Buckets) -> Vec<f64> {
    let mut near = cut.near();
    let started = pieces.filter(|piece| near.of(piece.chain.first).is_some());
    started.map(|piece| piece.chain.duration_us() as f64).collect()
}

/// The sessions that start in a bucket, each.
pub(crate) fn started(gather: &Gather, cut: &Buckets) -> Vec<StartedSession> {
    let of = |piece: &Piece| {
        let first: TimestampUs = piece.chain.first;
        let bucket = piece.chain.started_in(cut)?;
        Some(StartedSession { bucket, first, duration_us: piece.chain.duration_us() })
    };
    gather.pieces().filter_map(of).collect()
}
