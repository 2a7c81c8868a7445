//! When a task runs: every so often, or by a cron expression in time zones; with an offset that is the task's own.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::{CivilDate, CivilDateTime, CivilTime, Cron, CronDateTime, Resolution, Weekday};
use insights_engine::time::TimestampUs;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::config::units::parse_duration;

/// Most local times of one search that are passed over because they lie before its start: a zone that turned its
/// clock back by a day, with an expression of every minute, has 1,440.
const PASSED_OVER_MAX: usize = 2_000;

/// When something happens again.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// Every so many microseconds since 1970, which no restart shifts.
    Every(i64),
    /// At local times that match an expression of five fields: minute, hour, day, month, weekday.
    Cron(Box<Cron>),
}

impl Schedule {
    /// `every 300s` (or `5m`, `1h`), or a cron expression of five fields.
    ///
    /// # Errors
    ///
    /// What is expected, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(length) = text.trim().strip_prefix("every ") {
            let length = parse_duration(length)?;
            if length < Duration::from_secs(1) {
                return Err(format!("{text:?} is more often than once a second"));
            }
            let us = i64::try_from(length.as_micros()).map_err(|_| format!("{text:?} is too long"))?;
            return Ok(Self::Every(us));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text.trim()).map_err(|error| {
            format!("{text:?} is no schedule such as `every 300s` or `30 3 * * *`: {error}")
        })?;
        Ok(Self::Cron(Box::new(cron)))
    }

    /// The first time after `after` in a zone; `None` when there is none before the calendar ends.
    ///
    /// A local time that does not exist is the first instant after the gap; one that exists twice is the first of
    /// the two.
    pub fn next_after(&self, after: TimestampUs, zone: &TimeZone) -> Option<TimestampUs> {
        match self {
            Self::Every(us) => Some(TimestampUs(after.0.div_euclid(*us).checked_add(1)?.checked_mul(*us)?)),
            Self::Cron(cron) => {
                let start = Timestamp::from_microsecond(after.0).ok()?;
                let mut local = Civil(zone.to_datetime(start));
                // What comes first locally comes first: instants never go back as local times go on. So the first
                // that lies after the start is the next.
                for _ in 0..PASSED_OVER_MAX {
                    local = cron.find_next_occurrence(&local, false).ok()?;
                    let at = instant_of(local.0, zone)?;
                    if at > after {
                        return Some(at);
                    }
                }
                None
            }
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(us) if us % 1_000_000 == 0 => write!(f, "every {}s", us / 1_000_000),
            Self::Every(us) => write!(f, "every {}ms", us / 1_000),
            Self::Cron(cron) => f.write_str(cron.as_str()),
        }
    }
}

/// The instant of a local time.
fn instant_of(local: DateTime, zone: &TimeZone) -> Option<TimestampUs> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let at = match ambiguous.offset() {
        AmbiguousOffset::Gap { .. } => {
            // With the offset before the gap it lies behind the jump of the clock by less than the gap.
            let behind = ambiguous.later().ok()?;
            let jump = zone.preceding(behind.checked_add(SignedDuration::from_secs(1)).ok()?).next()?;
            jump.timestamp()
        }
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok()?,
    };
    Some(TimestampUs(at.as_microsecond()))
}

/// A local time without a zone, for the search.
#[derive(Debug, Clone, Copy)]
struct Civil(DateTime);

impl CronDateTime for Civil {
    fn to_civil(&self) -> CivilDateTime {
        let (date, time) = (self.0.date(), self.0.time());
        let part = |n: i8| u32::from(n.unsigned_abs());
        // What exists for one library exists for the other: both have the proleptic Gregorian calendar.
        let day = CivilDate::from_parts_unchecked(date.year().into(), part(date.month()), part(date.day()));
        let clock =
            CivilTime::from_parts_unchecked(part(time.hour()), part(time.minute()), part(time.second()));
        CivilDateTime::new(day, clock)
    }

    fn civil_weekday(&self) -> Weekday {
        let days = self.0.weekday().to_sunday_zero_offset();
        Weekday::from_days_from_sunday(u32::from(days.unsigned_abs()))
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        from_civil(civil).map(|at| Resolution::Single(Self(at))).ok_or(CronError::InvalidTime)
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

fn from_civil(civil: CivilDateTime) -> Option<DateTime> {
    let (date, time) = (civil.date(), civil.time());
    let part = |n: u32| i8::try_from(n).ok();
    let year = i16::try_from(date.year()).ok()?;
    let (month, day) = (part(date.month())?, part(date.day())?);
    let (hour, minute, second) = (part(time.hour())?, part(time.minute())?, part(time.second())?);
    DateTime::new(year, month, day, hour, minute, second, 0).ok()
}

/// A schedule of one task: in its zones, shifted by its offset.
#[derive(Debug, Clone)]
pub struct Timetable {
    schedule: Schedule,
    zones: Vec<(String, TimeZone)>,
    offset_us: i64,
}

impl Timetable {
    /// A schedule in zones, each with its name; `offset` shifts every time of it.
    pub fn new(schedule: Schedule, zones: Vec<(String, TimeZone)>, offset: Duration) -> Self {
        Self { schedule, zones, offset_us: i64::try_from(offset.as_micros()).unwrap_or(0) }
    }

    /// The first time after `after` in any of its zones.
    pub fn next_after(&self, after: TimestampUs) -> Option<TimestampUs> {
        let from = TimestampUs(after.0.checked_sub(self.offset_us)?);
        let next = self.zones.iter().filter_map(|(_, zone)| self.schedule.next_after(from, zone)).min()?;
        Some(TimestampUs(next.0.checked_add(self.offset_us)?))
    }

    /// The schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The names of its zones.
    pub fn zones(&self) -> impl Iterator<Item = &str> {
        self.zones.iter().map(|(name, _)| name.as_str())
    }

    /// Puts others in the place of its zones; false when they are the same.
    pub fn set_zones(&mut self, zones: Vec<(String, TimeZone)>) -> bool {
        let differs = !self.zones().eq(zones.iter().map(|(name, _)| name.as_str()));
        if differs {
            self.zones = zones;
        }
        differs
    }

    /// What it was made of, apart from its zones, to see whether it has changed.
    pub fn text(&self) -> String {
        format!("{} +{}us", self.schedule, self.offset_us)
    }
}

/// The offset of a task within `jitter`, always the same for its name: servers that run the same tasks do not run
/// them at once when their names differ, and one that restarts does not run a task again.
pub fn offset_of(name: &str, jitter: Duration) -> Duration {
    let hash = Sha256::digest(name);
    let number = hash.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let seconds = jitter.as_secs();
    if seconds == 0 { Duration::ZERO } else { Duration::from_secs(number % seconds) }
}

#[cfg(test)]
mod tests;
