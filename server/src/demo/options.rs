//! What may be asked of a demo, and why it may be refused.

use std::path::PathBuf;

use clap::Args;
use insights_engine::time::{DAY_US, TimestampUs};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::plan::DAYS_MAX;
use super::rhythm::HOUR_US;
use crate::domain::instant::{self, Rfc3339};

/// Seed of a demo that names none.
pub(crate) const SEED_DEFAULT: u64 = 1;
/// Days of a demo that names none.
pub(crate) const DAYS_DEFAULT: u32 = 30;

/// The options of `insights-server demo` that decide what is made.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct DemoOptions {
    /// The same seed and end give the same platform
    #[arg(long)]
    pub seed: Option<u64>,
    /// The last day (all of it, UTC), or the instant in RFC 3339 where the data ends [default: the last full hour]
    #[arg(long, value_parser = parse_end)]
    pub end: Option<TimestampUs>,
    /// Days of data
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(DAYS_MAX)))]
    pub days: Option<u32>,
}

impl DemoOptions {
    /// Where the data ends: as asked, else the last full hour before `now`.
    pub(crate) fn end_or(self, now: TimestampUs) -> TimestampUs {
        self.end.unwrap_or(TimestampUs(now.0 - now.0.rem_euclid(HOUR_US)))
    }
}

/// A date is inclusive, as in a report; an instant is taken as it is.
fn parse_end(text: &str) -> Result<TimestampUs, String> {
    if let Ok(date) = text.parse::<Date>() {
        let midnight = date.to_zoned_datetime(TimeZone::UTC).map_err(|error| error.to_string())?;
        return Ok(TimestampUs(midnight.timestamp().as_microsecond() + DAY_US));
    }
    instant::parse(text).map_err(|error| error.to_string())
}

/// Why a demo was not made.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The directory has files that no demo wrote.
    #[error("{path} is not empty and holds no demo; name an empty directory with --data-dir", path = path.display())]
    NotADemo {
        /// The directory.
        path: PathBuf,
    },
    /// The directory has a demo of other options.
    #[error("the directory holds the demo of --seed {seed} --days {days} --end {end}; leave these out to go on with it", end = Rfc3339(*end))]
    OtherDemo {
        /// The seed of the demo that is there.
        seed: u64,
        /// Its days.
        days: u32,
        /// Its end.
        end: TimestampUs,
    },
    /// The directory cannot be read or written.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// The operation, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] insights_engine::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_taken_whole_and_an_instant_as_it_is() {
        assert_eq!(parse_end("1970-01-02"), Ok(TimestampUs(2 * DAY_US)));
        assert_eq!(parse_end("1970-01-02T00:00:00Z"), Ok(TimestampUs(DAY_US)));
        assert!(parse_end("tomorrow").is_err());
    }

    #[test]
    fn without_an_end_the_last_full_hour_is_taken() {
        let now = TimestampUs(DAY_US + HOUR_US + 17);
        assert_eq!(DemoOptions::default().end_or(now), TimestampUs(DAY_US + HOUR_US));
    }
}
