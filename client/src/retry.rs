//! When a request is sent again: exponential backoff with full jitter, and what the server asks for.

use std::time::{Duration, SystemTime};

/// How often and after how long a batch is sent again.
///
/// The wait before the nth repetition is evenly spread over 0 to `delay_min * 2^(n-1)`, at most `delay_max`
/// ("full jitter": clients that failed together do not come back together). A `Retry-After` of the server is
/// waited for on top of that, at most `retry_after_max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Most times that a batch is sent, the first included. At least 1.
    pub attempts_max: u32,
    /// Upper bound of the first wait.
    pub delay_min: Duration,
    /// Upper bound of every wait.
    pub delay_max: Duration,
    /// Longest wait that a server can ask for.
    pub retry_after_max: Duration,
}

impl Default for RetryPolicy {
    /// 40 attempts, from 200 ms to 30 s: about 8 minutes without a server before a batch is given up.
    fn default() -> Self {
        Self {
            attempts_max: 40,
            delay_min: Duration::from_millis(200),
            delay_max: Duration::from_secs(30),
            retry_after_max: Duration::from_mins(10),
        }
    }
}

impl RetryPolicy {
    /// Every batch is sent once.
    pub fn never() -> Self {
        Self { attempts_max: 1, ..Self::default() }
    }

    /// How long to wait after `attempts` attempts, or nothing when that were enough.
    ///
    /// `random` is evenly spread over all values; `retry_after` is what the server asked for.
    pub(crate) fn delay(
        &self,
        attempts: u32,
        retry_after: Option<Duration>,
        random: u64,
    ) -> Option<Duration> {
        if attempts >= self.attempts_max {
            return None;
        }
        let doublings = attempts.saturating_sub(1).min(31);
        let bound = self.delay_min.saturating_mul(1 << doublings).min(self.delay_max);
        // The upper 32 bits as a fraction of 2^32: exact, and no float.
        let share = u128::from(random >> 32);
        let nanos = (bound.as_nanos() * share) >> 32;
        let jitter = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(bound);
        Some(retry_after.unwrap_or_default().min(self.retry_after_max).saturating_add(jitter))
    }
}

/// Reads `Retry-After`: seconds, or the date of RFC 9110 section 10.2.3.
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(u64::from(seconds)));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(SystemTime::try_from(at).ok()?.duration_since(now).unwrap_or_default())
}

/// Random numbers for jitter (`SplitMix64`, Steele et al. 2014): not for secrets.
#[derive(Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    /// A sequence that the seed determines.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_end_with_the_attempts() {
        let policy = RetryPolicy { attempts_max: 12, ..RetryPolicy::default() };
        let most = |attempts| policy.delay(attempts, None, u64::MAX).map(|d| d.as_millis());
        assert_eq!(most(1), Some(199));
        assert_eq!(most(2), Some(399));
        assert_eq!(most(8), Some(25_599));
        assert_eq!(most(9), Some(29_999));
        assert_eq!(most(11), Some(29_999));
        assert_eq!(most(12), None);
        assert_eq!(policy.delay(3, None, 0), Some(Duration::ZERO));
        assert_eq!(RetryPolicy::never().delay(1, None, 0), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let of = |value| retry_after(value, now).map(|d| d.as_secs());
        assert_eq!(of("7"), Some(7));
        assert_eq!(of(" 0 "), Some(0));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:57 GMT"), Some(20));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0));
        for wrong in ["", "-1", "soon", "99999999999", "1.5"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_wait_is_what_the_server_asked_for_and_at_most_the_jitter_more(
            attempts in 1_u32..60, asked in 0_u64..2_000, random: u64,
        ) {
            let policy = RetryPolicy { attempts_max: 100, ..RetryPolicy::default() };
            let asked = Duration::from_secs(asked);
            let wait = policy.delay(attempts, Some(asked), random).unwrap();
            let floor = asked.min(policy.retry_after_max);
            prop_assert!(wait >= floor && wait <= floor + policy.delay_max);
        }
    }
}
