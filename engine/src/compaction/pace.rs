//! How fast a merge may go: a budget of bytes in a second, the way it gives to a flush that is behind, and an
//! end when the engine closes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::core::Core;
use crate::error::{Error, Result};

/// Work that is done at once before the budget counts.
const BURST: Duration = Duration::from_secs(1);

/// Longest that a merge waits before it looks again whether the engine closes.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// How long a merge stands aside before it looks again whether the flush has caught up.
const STEP_ASIDE: Duration = Duration::from_millis(20);

/// Most of a merge's time that it stands aside, as a multiple of the time it works: segments that are not
/// merged make questions slower, so that it never stops altogether.
const ASIDE_MAX: u32 = 3;

/// Bytes that a merge has read and written, and how many it may.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Bytes in a second; `None` goes as fast as it can.
    bytes_per_second: Option<u64>,
    started: Duration,
    /// Microseconds that it has stood aside.
    aside_us: AtomicU64,
}

impl Pace {
    /// The pace of the thread.
    pub(crate) fn steady(core: &Core) -> Self {
        Self {
            bytes_per_second: Some(core.config.compaction.io_bytes_per_second),
            started: core.clock.monotonic(),
            aside_us: AtomicU64::new(0),
        }
    }

    /// As fast as it can: somebody waits.
    pub(crate) fn free() -> Self {
        Self { bytes_per_second: None, started: Duration::ZERO, aside_us: AtomicU64::new(0) }
    }

    /// Waits until `bytes`, all since the start, are within the budget, and a flush that is behind has the
    /// processor; not while somebody waits for the end of the merge.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the engine closes.
    pub(crate) fn keep(&self, core: &Core, bytes: u64) -> Result<()> {
        loop {
            if core.is_closing() {
                return Err(Error::Closed);
            }
            let rate = self.bytes_per_second.filter(|_| !core.compactor.is_waited_for());
            let Some(rate) = rate else { return Ok(()) };
            let due = Duration::from_micros(bytes.saturating_mul(1_000_000 / 1_000) / rate.div_ceil(1_000));
            let elapsed = core.clock.monotonic().saturating_sub(self.started) + BURST;
            let Some(ahead) = due.checked_sub(elapsed).filter(|ahead| !ahead.is_zero()) else {
                return self.give_way(core);
            };
            core.compactor.wait(ahead.min(WAIT_MAX), core);
        }
    }

    /// Stands aside while appends fill the memory faster than flushes empty it.
    fn give_way(&self, core: &Core) -> Result<()> {
        // Half of the way from where a flush begins to where appends wait for it.
        let (begins, full) = (core.config.memtable_flush_bytes, core.config.memtable_bytes_max);
        let is_behind = || core.tables.memory().0 >= begins + full.saturating_sub(begins) / 2;
        while is_behind() && !core.compactor.is_waited_for() {
            if core.is_closing() {
                return Err(Error::Closed);
            }
            let aside = Duration::from_micros(self.aside_us.load(Ordering::Relaxed));
            let worked = core.clock.monotonic().saturating_sub(self.started).saturating_sub(aside);
            if !may_stand_aside(worked, aside) {
                break;
            }
            let before = core.clock.monotonic();
            core.compactor.wait(STEP_ASIDE, core);
            let waited = core.clock.monotonic().saturating_sub(before);
            // A clock that stands still counts as well.
            let waited = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX).max(1);
            self.aside_us.fetch_add(waited, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Whether a merge that worked and stood aside for so long may stand aside again.
fn may_stand_aside(worked: Duration, aside: Duration) -> bool {
    aside < worked.saturating_mul(ASIDE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_has_a_quarter_of_the_time_however_long_a_flush_is_behind() {
        let (mut worked, mut aside) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..1_000 {
            worked += Duration::from_millis(7);
            while may_stand_aside(worked, aside) {
                aside += STEP_ASIDE;
            }
        }
        assert_eq!(worked, Duration::from_secs(7), "it went on after each time");
        assert!((worked * ASIDE_MAX..worked * ASIDE_MAX + STEP_ASIDE).contains(&aside), "{aside:?}");
    }
}
