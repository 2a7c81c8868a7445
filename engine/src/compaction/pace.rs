//! How fast a merge may go: a budget of bytes in a second, and an end when the engine closes.

use std::time::Duration;

use crate::core::Core;
use crate::error::{Error, Result};

/// Work that is done at once before the budget counts.
const BURST: Duration = Duration::from_secs(1);

/// Longest that a merge waits before it looks again whether the engine closes.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// Bytes that a merge has read and written, and how many it may.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Bytes in a second; `None` goes as fast as it can.
    bytes_per_second: Option<u64>,
    started: Duration,
}

impl Pace {
    /// The pace of the thread.
    pub(crate) fn steady(core: &Core) -> Self {
        Self {
            bytes_per_second: Some(core.config.compaction.io_bytes_per_second),
            started: core.clock.monotonic(),
        }
    }

    /// As fast as it can: somebody waits.
    pub(crate) fn free() -> Self {
        Self { bytes_per_second: None, started: Duration::ZERO }
    }

    /// Waits until `bytes`, all since the start, are within the budget.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] when the engine closes.
    pub(crate) fn keep(&self, core: &Core, bytes: u64) -> Result<()> {
        loop {
            if core.is_closing() {
                return Err(Error::Closed);
            }
            let Some(rate) = self.bytes_per_second else { return Ok(()) };
            let due = Duration::from_micros(bytes.saturating_mul(1_000_000 / 1_000) / rate.div_ceil(1_000));
            let elapsed = core.clock.monotonic().saturating_sub(self.started) + BURST;
            let Some(ahead) = due.checked_sub(elapsed).filter(|ahead| !ahead.is_zero()) else {
                return Ok(());
            };
            core.compactor.wait(ahead.min(WAIT_MAX), core);
        }
    }
}
