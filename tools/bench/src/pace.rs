//! When requests are due: one after the other, or at a rate that does not wait for answers.

use std::time::{Duration, Instant};

/// By how much a timer of the runtime may be late: it counts whole milliseconds, rounded up.
const TIMER: Duration = Duration::from_millis(2);

/// The time that one measurement has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// Its start.
    pub(crate) started: Instant,
    /// Its end: nothing is sent from here on.
    pub(crate) deadline: Instant,
}

impl Span {
    /// So long from now on.
    pub(crate) fn of(duration: Duration) -> Self {
        let started = Instant::now();
        Self { started, deadline: started + duration }
    }

    /// How long it is meant to be.
    pub(crate) fn duration(self) -> Duration {
        self.deadline.saturating_duration_since(self.started)
    }
}

/// When the requests of one client are due.
#[derive(Debug)]
pub(crate) struct Pace {
    span: Span,
    /// The next one and the time between two; without it the loop is closed.
    open: Option<(Instant, Duration)>,
}

impl Pace {
    /// The pace of client `index` of `clients`, which together send `per_second` requests, evenly; each one as
    /// soon as it has its answer without a rate.
    pub(crate) fn of(span: Span, per_second: Option<f64>, (index, clients): (u32, u32)) -> Self {
        let open = per_second.map(|rate| {
            let between = Duration::from_secs(1).div_f64(rate);
            (span.started + between * index, between * clients)
        });
        Self { span, open }
    }

    /// Waits for the next request; the instant from which its latency counts, `None` at the end.
    ///
    /// A request that is late is sent at once and counts from when it was due: a slow server cannot make its own
    /// numbers better (no coordinated omission).
    pub(crate) async fn next(&mut self) -> Option<Instant> {
        let due = self.take();
        if let Some(due) = due {
            tokio::time::sleep_until(due.into()).await;
        }
        self.begun(due)
    }

    /// [`Self::next`] on a thread that nobody else needs: it sleeps the last moment itself, as long as it means to.
    pub(crate) async fn next_alone(&mut self) -> Option<Instant> {
        let due = self.take();
        if let Some(due) = due {
            if let Some(nearly) = due.checked_sub(TIMER) {
                tokio::time::sleep_until(nearly.into()).await;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        self.begun(due)
    }

    /// [`Self::next`] on a thread that may wait.
    pub(crate) fn next_blocking(&mut self) -> Option<Instant> {
        let due = self.take();
        if let Some(due) = due {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        self.begun(due)
    }

    /// When the next one is due, capped at the end of the span.
    fn take(&mut self) -> Option<Instant> {
        let (next, between) = self.open.as_mut()?;
        let due = *next;
        *next += *between;
        Some(due.min(self.span.deadline))
    }

    fn begun(&self, due: Option<Instant>) -> Option<Instant> {
        let now = Instant::now();
        let begun = due.unwrap_or(now);
        (begun < self.span.deadline && now < self.span.deadline).then_some(begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_shared_by_the_clients_and_does_not_wait_for_answers() {
        let span = Span::of(Duration::from_secs(1000));
        let paces = (0..4).map(|index| Pace::of(span, Some(8.0), (index, 4)));
        for (mut pace, index) in paces.zip(0_u32..) {
            for n in 0..3 {
                let due = span.started + Duration::from_millis(125) * (index + 4 * n);
                assert_eq!(pace.take(), Some(due));
            }
        }
        assert_eq!(Pace::of(span, None, (0, 4)).take(), None);
    }

    #[test]
    fn a_late_request_counts_from_when_it_was_due_and_none_is_sent_after_the_end() {
        let started = Instant::now();
        let span = Span { started, deadline: started + Duration::from_secs(1000) };
        let pace = Pace::of(span, Some(1.0), (0, 1));
        assert_eq!(pace.begun(Some(started)), Some(started));
        assert_eq!(pace.begun(Some(span.deadline)), None);
        assert_eq!(Pace::of(Span { started, deadline: started }, None, (0, 1)).begun(None), None);
    }
}
