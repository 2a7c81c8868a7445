//! Instants, half-open ranges of time, and the buckets of `group_by` in a time zone.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan, ZonedDateTime};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Microseconds of a UTC day.
pub const DAY_US: i64 = 86_400_000_000;

/// Microseconds of an hour.
const HOUR_US: i64 = 3_600_000_000;

/// An instant in microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct TimestampUs(pub i64);

impl TimestampUs {
    /// The UTC day that holds the instant, in days since 1970-01-01.
    pub fn day(self) -> i32 {
        i32::try_from(self.0.div_euclid(DAY_US)).unwrap_or(if self.0 < 0 { i32::MIN } else { i32::MAX })
    }

    /// The instant as a `jiff` timestamp.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] outside of the years -9999 to 9999.
    pub fn to_jiff(self) -> Result<Timestamp> {
        Timestamp::from_microsecond(self.0)
            .map_err(|_| Error::invalid("an instant outside of the years -9999 to 9999"))
    }
}

/// A half-open range of instants, `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeRange {
    /// The first instant inside.
    pub start: TimestampUs,
    /// The first instant after.
    pub end: TimestampUs,
}

impl TimeRange {
    /// All instants but the last one that an `i64` can hold.
    pub const ALL: Self = Self { start: TimestampUs(i64::MIN), end: TimestampUs(i64::MAX) };

    /// The range from `start` up to, not including, `end`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when `start` is after `end`.
    pub fn new(start: TimestampUs, end: TimestampUs) -> Result<Self> {
        if start > end {
            return Err(Error::invalid("a time range starts after its end"));
        }
        Ok(Self { start, end })
    }

    /// Whether `at` is inside.
    pub fn contains(self, at: TimestampUs) -> bool {
        self.start <= at && at < self.end
    }

    /// Whether an instant of `min..=max` may be inside.
    pub fn overlaps(self, min: TimestampUs, max: TimestampUs) -> bool {
        min < self.end && self.start <= max
    }
}

/// The width of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BucketUnit {
    /// A fixed number of microseconds, aligned to the local midnight of the window's first day.
    Step(i64),
    /// An hour of the local clock; shorter where the clock was set inside it, and two where it repeats.
    Hour,
    /// A civil day: 23, 24 or 25 hours.
    Day,
    /// Seven civil days from the first day of the week.
    Week(WeekStart),
    /// A calendar month.
    Month,
}

/// The first day of a week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum WeekStart {
    /// ISO 8601.
    #[default]
    Monday,
    /// The week starts on Sunday.
    Sunday,
    /// The week starts on Saturday.
    Saturday,
}

impl WeekStart {
    fn weekday(self) -> Weekday {
        match self {
            Self::Monday => Weekday::Monday,
            Self::Sunday => Weekday::Sunday,
            Self::Saturday => Weekday::Saturday,
        }
    }
}

/// Consecutive half-open buckets that cover a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets {
    /// The starts of the buckets, ascending, and the end of the last one: one more than buckets.
    edges: Vec<TimestampUs>,
}

impl Buckets {
    /// The buckets of `unit` in `zone` that overlap `window`; the first and the last keep their natural edges.
    ///
    /// # Errors
    ///
    /// [`Error::QueryLimit`] when there would be more than `buckets_max`, [`Error::Invalid`] for a
    /// step that is not positive or an instant out of range.
    pub fn cover(window: TimeRange, unit: BucketUnit, zone: &TimeZone, buckets_max: usize) -> Result<Self> {
        if window.start >= window.end {
            return Ok(Self { edges: Vec::new() });
        }
        let mut at = floor(window.start, unit, zone)?;
        let mut edges = vec![at];
        while at < window.end {
            if edges.len() > buckets_max {
                return Err(Error::QueryLimit { what: "buckets", limit: buckets_max as u64 });
            }
            at = next(at, unit, zone)?;
            edges.push(at);
        }
        Ok(Self { edges })
    }

    /// One bucket that is the window itself.
    pub fn whole(window: TimeRange) -> Self {
        Self { edges: vec![window.start, window.end] }
    }

    /// The buckets between instants that are given.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when an edge does not lie after the one before it.
    pub fn between(edges: Vec<TimestampUs>) -> Result<Self> {
        if edges.is_sorted_by(|a, b| a < b) {
            Ok(Self { edges })
        } else {
            Err(Error::invalid("edges of buckets that do not ascend"))
        }
    }

    /// The same buckets, the first and the last cut to the window that they cover.
    #[must_use]
    pub fn cut_to(&self, window: TimeRange) -> Self {
        let edges = self.edges.iter().map(|edge| (*edge).max(window.start).min(window.end));
        Self { edges: edges.collect() }
    }

    /// How many buckets there are.
    pub fn len(&self) -> usize {
        self.edges.len().saturating_sub(1)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The range of bucket `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<TimeRange> {
        Some(TimeRange { start: *self.edges.get(index)?, end: *self.edges.get(index + 1)? })
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = TimeRange> + '_ {
        self.edges.windows(2).filter_map(|w| match w {
            [start, end] => Some(TimeRange { start: *start, end: *end }),
            _ => None,
        })
    }

    /// The bucket that holds `at`, if one does.
    pub fn index_of(&self, at: TimestampUs) -> Option<usize> {
        let after = self.edges.partition_point(|edge| *edge <= at);
        (after > 0 && after < self.edges.len()).then(|| after - 1)
    }

    /// As [`Self::index_of`], for many instants of which most are in the bucket of the one before.
    pub(crate) fn near(&self) -> NearBuckets<'_> {
        let nothing = TimeRange { start: TimestampUs(0), end: TimestampUs(0) };
        NearBuckets { buckets: self, index: 0, range: nothing }
    }
}

/// The bucket that was asked for last.
#[derive(Debug)]
pub(crate) struct NearBuckets<'b> {
    buckets: &'b Buckets,
    index: usize,
    range: TimeRange,
}

impl NearBuckets<'_> {
    /// The bucket of an instant, and its range.
    #[inline]
    pub(crate) fn of(&mut self, at: TimestampUs) -> Option<(usize, TimeRange)> {
        if !self.range.contains(at) {
            self.index = self.buckets.index_of(at)?;
            self.range = self.buckets.get(self.index)?;
        }
        Some((self.index, self.range))
    }
}

fn zoned(at: TimestampUs, zone: &TimeZone) -> Result<ZonedDateTime> {
    Ok(at.to_jiff()?.to_zoned_datetime(zone.clone()))
}

fn out_of_range(_: jiff::Error) -> Error {
    Error::invalid("an instant outside of the years -9999 to 9999")
}

fn midnight(date: Date, zone: &TimeZone) -> Result<TimestampUs> {
    let start =
        date.to_zoned_datetime(zone.clone()).map_err(out_of_range)?.start_of_day().map_err(out_of_range)?;
    Ok(TimestampUs(start.timestamp().as_microsecond()))
}

/// The local date of the first day of the week that holds `date`.
fn week_of(date: Date, start: WeekStart) -> Result<Date> {
    let back = date.weekday().since(start.weekday());
    date.checked_sub(Span::new().try_days(i64::from(back)).map_err(out_of_range)?).map_err(out_of_range)
}

fn floor(at: TimestampUs, unit: BucketUnit, zone: &TimeZone) -> Result<TimestampUs> {
    let local = zoned(at, zone)?;
    match unit {
        BucketUnit::Step(step) => {
            if step <= 0 {
                return Err(Error::invalid("a bucket's step is positive"));
            }
            let origin = midnight(local.date(), zone)?;
            Ok(TimestampUs(at.0 - (at.0 - origin.0).rem_euclid(step)))
        }
        BucketUnit::Hour => {
            // The offset shifts the whole hour grid (zones of :30 and :45).
            let offset_us = i64::from(local.offset().seconds()) * 1_000_000;
            let start = TimestampUs(at.0 - (at.0 + offset_us).rem_euclid(HOUR_US));
            // An hour that the clock was set in begins there: half of it may be missing or repeated.
            Ok(transition_after(start, at, zone)?.unwrap_or(start))
        }
        BucketUnit::Day => midnight(local.date(), zone),
        BucketUnit::Week(start) => midnight(week_of(local.date(), start)?, zone),
        BucketUnit::Month => midnight(local.date().first_of_month(), zone),
    }
}

fn next(at: TimestampUs, unit: BucketUnit, zone: &TimeZone) -> Result<TimestampUs> {
    let after = |date: Date, span: Span| midnight(date.checked_add(span).map_err(out_of_range)?, zone);
    match unit {
        BucketUnit::Step(step) => Ok(TimestampUs(at.0.saturating_add(step))),
        BucketUnit::Hour => {
            let offset_us = i64::from(zoned(at, zone)?.offset().seconds()) * 1_000_000;
            let later = TimestampUs(at.0 + HOUR_US - (at.0 + offset_us).rem_euclid(HOUR_US));
            Ok(transition_after(at, later, zone)?.unwrap_or(later))
        }
        // Counted from where the period should have begun: its first day may not exist.
        BucketUnit::Day => after(zoned(at, zone)?.date(), 1.day()),
        BucketUnit::Week(start) => after(week_of(zoned(at, zone)?.date(), start)?, 7.days()),
        BucketUnit::Month => after(zoned(at, zone)?.date().first_of_month(), 1.month()),
    }
}

/// When the clock was set after `from`, at `to` at the latest; `None` when both have the same offset.
fn transition_after(from: TimestampUs, to: TimestampUs, zone: &TimeZone) -> Result<Option<TimestampUs>> {
    let (from, to) = (from.to_jiff()?, to.to_jiff()?);
    if zone.to_offset(from) == zone.to_offset(to) {
        return Ok(None);
    }
    let next = zone.following(from).map(|t| t.timestamp()).next().filter(|t| *t <= to);
    Ok(next.map(|t| TimestampUs(t.as_microsecond())))
}

#[cfg(test)]
mod tests;
