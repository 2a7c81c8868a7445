//! Windows and buckets by walking along the calendar, a quarter of an hour at a time.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, ZonedDateTime};
use serde_json::{Value, json};

use super::data::MINUTE;

/// Every offset of the zones here, and every moment at which their clocks are set, is a multiple of this.
const QUARTER: i64 = 15 * MINUTE;

/// A half-open range of instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Range {
    pub(crate) fn has(self, at: i64) -> bool {
        self.start <= at && at < self.end
    }

    /// What is in both.
    pub(crate) fn common(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        Self { start, end: self.end.min(other.end).max(start) }
    }

    pub(crate) fn len(self) -> i64 {
        self.end - self.start
    }
}

/// One bucket: its natural start, and what of it lies in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) start: i64,
    pub(crate) cut: Range,
    pub(crate) partial: bool,
}

/// One end of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// A local day, inclusive.
    Day(Date),
    /// An instant.
    At(i64),
}

impl Edge {
    fn json(self) -> Value {
        match self {
            Self::Day(date) => json!(date.to_string()),
            Self::At(at) => json!(super::data::text(at)),
        }
    }
}

/// What a question says of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) zone: &'static str,
    pub(crate) group_by: &'static str,
    pub(crate) week_start: &'static str,
    pub(crate) start: Edge,
    pub(crate) end: Edge,
}

impl Span {
    /// Whole days, with weeks of Monday.
    pub(crate) fn days(zone: &'static str, group_by: &'static str, first: &str, last: &str) -> Self {
        let day = |text: &str| Edge::Day(text.parse().unwrap());
        Self { zone, group_by, week_start: "monday", start: day(first), end: day(last) }
    }

    /// From one instant to another.
    pub(crate) fn instants(zone: &'static str, group_by: &'static str, start: i64, end: i64) -> Self {
        Self { zone, group_by, week_start: "monday", start: Edge::At(start), end: Edge::At(end) }
    }

    /// The members of a body.
    pub(crate) fn body(&self) -> Value {
        json!({"timezone": self.zone, "group_by": self.group_by, "week_start": self.week_start,
            "start_date": self.start.json(), "end_date": self.end.json()})
    }

    pub(crate) fn time_zone(&self) -> TimeZone {
        TimeZone::get(self.zone).unwrap()
    }

    /// The instants of the window.
    pub(crate) fn range(&self) -> Range {
        let zone = self.time_zone();
        let start = match self.start {
            Edge::Day(date) => midnight(date, &zone),
            Edge::At(at) => at,
        };
        let end = match self.end {
            Edge::Day(date) => midnight(date.tomorrow().unwrap(), &zone),
            Edge::At(at) => at,
        };
        Range { start, end }
    }

    /// The window of the same length right before; of one that is not over the same elapsed part.
    pub(crate) fn previous(&self, now: i64) -> Self {
        let range = self.range();
        let start = match (self.start, self.end) {
            (Edge::Day(first), Edge::Day(last)) => {
                let mut day = first;
                for _ in 0..=(last - first).get_days() {
                    day = day.yesterday().unwrap();
                }
                midnight(day, &self.time_zone())
            }
            _ => range.start - range.len(),
        };
        let end = if now < range.end { start + (now - range.start).max(0) } else { range.start };
        Self { start: Edge::At(start), end: Edge::At(end.min(range.start)), ..*self }
    }

    /// An instant as answers write it.
    pub(crate) fn text(&self, at: i64) -> String {
        if self.zone == "UTC" {
            return super::data::text(at);
        }
        local(at, &self.time_zone()).strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string()
    }

    /// `{"start", "end"}` as answers write it.
    pub(crate) fn bounds(&self, range: Range) -> Value {
        json!({"start": self.text(range.start), "end": self.text(range.end)})
    }

    /// The buckets that overlap the window.
    pub(crate) fn buckets(&self) -> Vec<Bucket> {
        let (zone, window) = (self.time_zone(), self.range());
        if window.start >= window.end {
            return Vec::new();
        }
        let label = |at: i64| self.label(&local(at, &zone));
        let mut at = window.start.div_euclid(QUARTER) * QUARTER;
        let mut here = label(at);
        // Back to where the first bucket begins.
        while label(at - QUARTER) == here {
            at -= QUARTER;
        }
        let mut all = Vec::new();
        while at < window.end {
            let start = at;
            let next = loop {
                at += QUARTER;
                let next = label(at);
                if next != here {
                    break next;
                }
            };
            here = next;
            let whole = Range { start, end: at };
            let cut = whole.common(window);
            all.push(Bucket { start, cut, partial: cut != whole });
        }
        all
    }

    /// What all instants of one bucket have in common.
    fn label(&self, local: &ZonedDateTime) -> String {
        let date = local.date();
        match self.group_by {
            "hour" => format!("{date} {} {}", local.hour(), local.offset()),
            "day" => date.to_string(),
            "week" => first_of_week(date, self.week_start).to_string(),
            "month" => format!("{} {}", date.year(), date.month()),
            step => {
                // Steps count from the first midnight.
                let origin = midnight(self.first_day(), &self.time_zone());
                let past = local.timestamp().as_microsecond() - origin;
                past.div_euclid(step_us(step)).to_string()
            }
        }
    }

    fn first_day(&self) -> Date {
        local(self.range().start, &self.time_zone()).date()
    }
}

/// `30m` in microseconds.
fn step_us(step: &str) -> i64 {
    let minutes: i64 = step.strip_suffix('m').unwrap().parse().unwrap();
    assert_eq!(minutes * MINUTE % QUARTER, 0, "the walk goes by quarters of an hour");
    minutes * MINUTE
}

fn first_of_week(mut date: Date, week_start: &str) -> Date {
    let first = match week_start {
        "sunday" => Weekday::Sunday,
        "saturday" => Weekday::Saturday,
        _ => Weekday::Monday,
    };
    while date.weekday() != first {
        date = date.checked_sub(1.day()).unwrap();
    }
    date
}

fn local(at: i64, zone: &TimeZone) -> ZonedDateTime {
    Timestamp::from_microsecond(at).unwrap().to_zoned_datetime(zone.clone())
}

/// The first instant of a local day.
fn midnight(date: Date, zone: &TimeZone) -> i64 {
    date.to_zoned_datetime(zone.clone()).unwrap().timestamp().as_microsecond()
}

/// A row with the key of its bucket.
pub(crate) fn in_bucket(span: &Span, bucket: Bucket, mut row: Value) -> Value {
    row["bucket"] = json!(span.text(bucket.start));
    row["partial"] = json!(bucket.partial);
    row
}
