//! When a delivery that failed is tried again: eight attempts over about a day, spread by chance.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::delivery::DeliveryId;

/// Most attempts of a delivery; after the last it is a dead letter.
pub const ATTEMPTS_MAX: u32 = 8;
/// Longest wait that a receiver may ask for with `Retry-After`.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);
/// Shortest wait, so that no attempt follows the one before at once.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest wait after each attempt but the last. The wait is anything up to it ("full jitter": of all
/// ways it spreads those who failed together best), so half of their sum passes as a rule: 21 hours.
const WAITS_MAX: [Duration; ATTEMPTS_MAX as usize - 1] = [
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_hours(1),
    Duration::from_hours(4),
    Duration::from_hours(12),
    Duration::from_hours(24),
];

/// How long a delivery waits after its `failed`th attempt has failed, counted from 1; none when that was the last.
///
/// The chance is a hash of both, so that nothing has to be kept and a test can repeat it.
pub fn wait_after(id: &DeliveryId, failed: u32) -> Option<Duration> {
    let index = usize::try_from(failed.checked_sub(1)?).ok()?;
    let wait_max = WAITS_MAX.get(index)?;
    let hash = Sha256::new().chain_update(id.as_str()).chain_update(failed.to_le_bytes()).finalize();
    let chance = hash.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let range_us = u64::try_from(wait_max.saturating_sub(WAIT_MIN).as_micros()).unwrap_or(u64::MAX);
    Some(WAIT_MIN + Duration::from_micros(chance % range_us.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(id: &str) -> Vec<Duration> {
        let id = DeliveryId::parse(id).unwrap();
        (1..).map_while(|failed| wait_after(&id, failed)).collect()
    }

    #[test]
    fn eight_attempts_take_about_a_day_and_never_two() {
        let days: Vec<f64> = (0..1_000)
            .map(|n| waits(&format!("msg_{n}")).iter().sum::<Duration>().as_secs_f64() / 86_400.0)
            .collect();
        let mean = days.iter().sum::<f64>() / 1_000.0;
        assert!((0.8..0.95).contains(&mean), "{mean}");
        assert!(days.iter().all(|day| *day < 2.0));
        assert_eq!(waits("msg_0").len(), 7);
    }

    #[test]
    fn waits_are_spread_over_their_whole_range() {
        for (failed, wait_max) in (1_u32..).zip(WAITS_MAX) {
            let parts: Vec<f64> = (0..1_000)
                .filter_map(|n| wait_after(&DeliveryId::parse(&format!("msg_{n}")).unwrap(), failed))
                .inspect(|wait| assert!(*wait >= WAIT_MIN && *wait <= wait_max))
                .map(|wait| wait.as_secs_f64() / wait_max.as_secs_f64())
                .collect();
            let below = |part: f64| parts.iter().filter(|p| **p < part).count();
            assert!((150..350).contains(&below(0.25)) && (650..850).contains(&below(0.75)), "{failed}");
        }
    }

    #[test]
    fn no_attempt_and_too_many_have_no_wait() {
        let id = DeliveryId::parse("msg_1").unwrap();
        assert_eq!((wait_after(&id, 0), wait_after(&id, ATTEMPTS_MAX)), (None, None));
    }
}
