//! The wall clock of records without a timestamp, and how instants are written.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the time of a record without a timestamp comes from.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// The system's clock.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub(crate) fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// A clock of the caller's.
    pub(crate) fn of(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// What time it is.
    pub(crate) fn now(&self) -> SystemTime {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Writes an instant as RFC 3339 in UTC with microseconds, as the server keeps it.
///
/// An instant outside the years -9999 to 9999 is written as none, which the server takes as its own time.
#[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
pub(crate) fn rfc3339<S: serde::Serializer>(
    at: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at.and_then(timestamp) {
        Some(at) => serializer.collect_str(&at),
        None => serializer.serialize_none(),
    }
}

/// The instant in microseconds, rounded towards the epoch.
fn timestamp(at: SystemTime) -> Option<jiff::Timestamp> {
    let us = match at.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).ok()?,
        Err(before) => -i64::try_from(before.duration().as_micros()).ok()?,
    };
    jiff::Timestamp::from_microsecond(us).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn instants_are_written_in_utc_with_microseconds() {
        let shown = |at: SystemTime| timestamp(at).unwrap().to_string();
        assert_eq!(shown(UNIX_EPOCH), "1970-01-01T00:00:00Z");
        assert_eq!(
            shown(UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789)),
            "2023-11-14T22:13:20.123456Z"
        );
        assert_eq!(shown(UNIX_EPOCH - Duration::from_secs(1)), "1969-12-31T23:59:59Z");
        assert!(timestamp(UNIX_EPOCH + Duration::from_secs(1 << 40)).is_none());
    }
}
