//! The time that retention goes by: the wall clock, unless it jumped ahead.
//!
//! A wall clock that is set a year ahead by mistake must not delete a year of rows. What it shows is
//! therefore compared with the monotonic clock, which no one sets, and at the start with the last time
//! that a flush noted. A jump is believed after a day of monotonic time: a mistake is noticed until then,
//! and a machine that stood still for a week loses nothing by keeping rows a day longer.

use std::time::Duration;

use parking_lot::Mutex;

use crate::append::{CatalogKind, CatalogPut};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::time::TimestampUs;

/// How far ahead of the monotonic clock the wall clock may get.
const AHEAD_MAX: Duration = Duration::from_hours(24);
/// How far ahead of the last flush the wall clock may be at the start.
const AWAY_MAX: Duration = Duration::from_hours(7 * 24);
/// How long a jump ahead is not believed, in monotonic time.
const HOLD: Duration = Duration::from_hours(24);
/// The catalog key of the last time that was trusted.
const LAST_SEEN: &[u8] = b"last-seen";

/// Tells a wall time that never jumped ahead.
#[derive(Debug)]
pub(crate) struct TrustedClock {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// A wall time that was trusted, and the monotonic time at it.
    anchor: (TimestampUs, Duration),
    /// A jump is believed from this monotonic time on.
    held_until: Option<Duration>,
}

impl TrustedClock {
    /// The clock of a store that was opened now.
    pub(crate) fn new(clock: &dyn Clock, catalog: &Catalog) -> Self {
        let stored = catalog.get(CatalogKind::RetentionMark, LAST_SEEN);
        let last_seen = stored.and_then(|v| Some(TimestampUs(i64::from_le_bytes((*v).try_into().ok()?))));
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        let jumped = last_seen.filter(|last| wall > after(*last, AWAY_MAX));
        let inner = Inner {
            anchor: (jumped.unwrap_or(wall), monotonic),
            held_until: jumped.map(|_| monotonic + HOLD),
        };
        Self { inner: Mutex::new(inner) }
    }

    /// The time that retention goes by: never later than the wall clock's.
    pub(crate) fn now(&self, clock: &dyn Clock) -> TimestampUs {
        self.inner.lock().look(clock.now(), clock.monotonic())
    }

    /// Whether a jump ahead is not believed yet.
    pub(crate) fn is_held(&self, clock: &dyn Clock) -> bool {
        let mut inner = self.inner.lock();
        inner.look(clock.now(), clock.monotonic());
        inner.held_until.is_some()
    }

    /// The catalog record of the time that is trusted now.
    pub(crate) fn put(&self, clock: &dyn Clock) -> CatalogPut {
        let value = Some(self.now(clock).0.to_le_bytes().to_vec());
        CatalogPut { kind: CatalogKind::RetentionMark, key: LAST_SEEN.to_vec(), value }
    }
}

impl Inner {
    fn look(&mut self, wall: TimestampUs, monotonic: Duration) -> TimestampUs {
        let expected = after(self.anchor.0, monotonic.saturating_sub(self.anchor.1));
        if wall <= after(expected, AHEAD_MAX) {
            if wall < expected {
                // It was set back: what is ahead of it from now on counts from here.
                self.anchor = (wall, monotonic);
            }
            self.held_until = None;
            return wall;
        }
        let until = *self.held_until.get_or_insert(monotonic + HOLD);
        if monotonic < until {
            return expected;
        }
        self.anchor = (wall, monotonic);
        self.held_until = None;
        wall
    }
}

fn after(at: TimestampUs, by: Duration) -> TimestampUs {
    TimestampUs(at.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;
    use crate::disk::sim::SimDisk;
    use crate::manifest::Version;
    use crate::time::DAY_US;

    const HOUR: Duration = Duration::from_hours(1);

    fn catalog(last_seen: Option<TimestampUs>) -> Catalog {
        let catalog = Catalog::open(Arc::new(SimDisk::new()), &Version::default()).unwrap();
        if let Some(at) = last_seen {
            let clock = ManualClock::new(at);
            let put = TrustedClock::new(&*clock, &catalog).put(&*clock);
            catalog.apply_derived(vec![put]).unwrap();
        }
        catalog
    }

    #[test]
    fn a_clock_that_runs_is_believed() {
        let clock = ManualClock::new(TimestampUs(0));
        let trusted = TrustedClock::new(&*clock, &catalog(None));
        for _ in 0..100 {
            clock.advance(HOUR * 24);
            assert_eq!(trusted.now(&*clock), clock.now());
        }
    }

    #[test]
    fn a_jump_ahead_is_believed_after_a_day() {
        let clock = ManualClock::new(TimestampUs(0));
        let trusted = TrustedClock::new(&*clock, &catalog(None));
        clock.advance(HOUR);
        clock.set(TimestampUs(400 * DAY_US));
        assert_eq!(trusted.now(&*clock), after(TimestampUs(0), HOUR));
        clock.advance(HOUR * 23);
        assert!(trusted.is_held(&*clock));
        assert_eq!(trusted.now(&*clock), after(TimestampUs(0), HOUR * 24));
        clock.advance(HOUR);
        assert_eq!(trusted.now(&*clock), clock.now());
        assert!(!trusted.is_held(&*clock));
    }

    #[test]
    fn small_jumps_do_not_add_up_unseen() {
        let clock = ManualClock::new(TimestampUs(0));
        let trusted = TrustedClock::new(&*clock, &catalog(None));
        clock.set(after(clock.now(), HOUR * 23));
        assert_eq!(trusted.now(&*clock), clock.now());
        clock.set(after(clock.now(), HOUR * 23));
        assert!(trusted.is_held(&*clock));
    }

    #[test]
    fn a_mistake_that_is_put_right_ends_the_wait() {
        let clock = ManualClock::new(TimestampUs(DAY_US));
        let trusted = TrustedClock::new(&*clock, &catalog(None));
        clock.set(TimestampUs(400 * DAY_US));
        assert!(trusted.is_held(&*clock));
        clock.set(TimestampUs(DAY_US));
        assert_eq!(trusted.now(&*clock), TimestampUs(DAY_US));
        clock.set(TimestampUs(400 * DAY_US));
        assert!(trusted.is_held(&*clock), "the next one waits anew");
    }

    #[test]
    fn a_start_long_after_the_last_flush_waits_and_a_restart_waits_again() {
        let catalog = catalog(Some(TimestampUs(0)));
        let clock = ManualClock::new(TimestampUs(6 * DAY_US));
        assert!(!TrustedClock::new(&*clock, &catalog).is_held(&*clock));
        let clock = ManualClock::new(TimestampUs(400 * DAY_US));
        let trusted = TrustedClock::new(&*clock, &catalog);
        assert_eq!(trusted.now(&*clock), TimestampUs(0));
        clock.advance(HOUR * 23);
        catalog.apply_derived(vec![trusted.put(&*clock)]).unwrap();
        let again = TrustedClock::new(&*clock, &catalog);
        assert_eq!(again.now(&*clock), after(TimestampUs(0), HOUR * 23));
        clock.advance(HOUR * 24);
        assert!(!again.is_held(&*clock));
    }
}
