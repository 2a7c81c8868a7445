//! When a question stops before its end: its deadline passed, or nobody waits for the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, Result};

/// Tells questions that nobody waits for their answers any more. Clones share what they tell.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A token of its own, nothing told yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells it; a question stops at its next granule, with [`Error::Cancelled`].
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was told.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a question asks before each granule: a granule takes well under a millisecond, so a question
/// stops that soon after its time is up.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    cancel: Cancel,
    deadline: Option<Deadline>,
}

#[derive(Debug, Clone)]
struct Deadline {
    clock: Arc<dyn Clock>,
    /// As the clock's monotonic time.
    at: Duration,
    /// What was given, for the message.
    given: Duration,
}

impl Stop {
    /// Never stops.
    pub fn never() -> Self {
        Self::default()
    }

    /// Stops `after` from now by `clock`, or when `cancel` is told.
    pub fn after(clock: Arc<dyn Clock>, after: Duration, cancel: Cancel) -> Self {
        let at = clock.monotonic().saturating_add(after);
        Self { cancel, deadline: Some(Deadline { clock, at, given: after }) }
    }

    /// Whether to go on.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`]; [`Error::QueryDeadline`] when the time is up.
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        match &self.deadline {
            Some(deadline) if deadline.clock.monotonic() >= deadline.at => {
                Err(Error::QueryDeadline { limit: deadline.given })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::time::TimestampUs;

    #[test]
    fn a_question_stops_when_its_time_is_up_or_nobody_waits() {
        let clock = ManualClock::new(TimestampUs(0));
        let cancel = Cancel::new();
        let stop = Stop::after(Arc::clone(&clock) as Arc<dyn Clock>, Duration::from_secs(2), cancel.clone());
        clock.advance(Duration::from_millis(1_999));
        assert!(stop.check().is_ok());
        clock.advance(Duration::from_millis(1));
        assert!(
            matches!(stop.check(), Err(Error::QueryDeadline { limit }) if limit == Duration::from_secs(2))
        );
        cancel.cancel();
        assert!(matches!(stop.check(), Err(Error::Cancelled)));
        assert!(Stop::never().check().is_ok());
    }
}
