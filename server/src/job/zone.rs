//! Time zones by their names.

use insights_engine::time::{TimeRange, TimestampUs};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// Longest name of a zone, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// A zone of the IANA database and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// The name.
    pub name: String,
    /// The rules.
    pub rules: TimeZone,
}

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), rules: TimeZone::UTC }
    }

    /// The zone of a name.
    ///
    /// # Errors
    ///
    /// What is expected, in words.
    pub fn find(name: &str) -> Result<Self, String> {
        if name == "UTC" {
            return Ok(Self::utc());
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "_+-/".contains(c);
        // Names that could be read as paths never reach the time zone database.
        let sane = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name.chars().all(plain)
            && !name.starts_with('/');
        let rules = sane.then(|| TimeZone::get(name).ok()).flatten();
        let rules = rules.ok_or_else(|| format!("{name:?} is no time zone of the IANA database"))?;
        Ok(Self { name: name.to_owned(), rules })
    }

    /// The last day that is over at `now`.
    pub fn yesterday(&self, now: TimestampUs) -> Option<Date> {
        let now = Timestamp::from_microsecond(now.0).ok()?;
        self.rules.to_datetime(now).date().yesterday().ok()
    }

    /// A local day, from its first instant to the first of the next.
    pub fn day(&self, day: Date) -> Option<TimeRange> {
        let start = |day: Date| {
            let at = day.to_zoned_datetime(self.rules.clone()).ok()?.start_of_day().ok()?;
            Some(TimestampUs(at.timestamp().as_microsecond()))
        };
        Some(TimeRange { start: start(day)?, end: start(day.tomorrow().ok()?)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_may_have_23_or_25_hours() {
        let zone = Zone::find("Europe/Berlin").unwrap();
        let hours = |month, day| {
            let range = zone.day(jiff::civil::date(2024, month, day)).unwrap();
            (range.end.0 - range.start.0) / 3_600_000_000
        };
        assert_eq!((hours(3, 31), hours(4, 1), hours(10, 27)), (23, 24, 25));
        let now = TimestampUs("2024-03-31T22:30:00Z".parse::<Timestamp>().unwrap().as_microsecond());
        assert_eq!(zone.yesterday(now), Some(jiff::civil::date(2024, 3, 31)));
        assert_eq!(Zone::utc().yesterday(now), Some(jiff::civil::date(2024, 3, 30)));
    }

    #[test]
    fn what_is_no_zone_is_none() {
        for bad in ["", "/etc/localtime", "../UTC", "Mars/Base", "a b", &"x".repeat(65)] {
            assert!(Zone::find(bad).is_err(), "{bad}");
        }
    }
}
