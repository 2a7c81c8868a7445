//! The window and the buckets of a report: local days, instants, time zones, the previous period.

use insights_engine::time::{BucketUnit, Buckets, TimeRange, TimestampUs, WeekStart};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Unit};
use serde_json::Value;

use super::body::{Fields, step};
use crate::domain::instant;
use crate::http::error::FieldError;

/// Most cells (buckets x series x breakdown) of an answer.
pub(crate) const CELLS_MAX: usize = 100_000;

/// Longest name of a time zone.
const ZONE_BYTES_MAX: usize = 64;

/// One end of a window as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    /// A local day, inclusive at both ends.
    Day(Date),
    /// An instant; the end is exclusive.
    At(TimestampUs),
}

/// The window of a report, cut into buckets in a time zone.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    /// The instants, half-open.
    pub(crate) range: TimeRange,
    /// The buckets that overlap it; the first and the last keep their natural edges.
    pub(crate) buckets: Buckets,
    /// The same buckets, cut to the window.
    cut: Buckets,
    /// The width of a bucket.
    unit: BucketUnit,
    /// The time zone of days and of the answer's instants.
    zone: TimeZone,
    /// The moment of the question.
    now: TimestampUs,
    /// The first and the last day, when both ends are days.
    days: Option<(Date, Date)>,
}

/// When weeks begin unless told otherwise.
pub(crate) const WEEK_START: &str = "monday";
/// What `week_start` may be.
pub(crate) const WEEK_STARTS: [&str; 3] = [WEEK_START, "sunday", "saturday"];

/// How a body names its buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// `group_by` alone.
    GroupBy,
    /// `group_by`, or `step` as in `30s`, `5m`, `1h`, `1d`.
    GroupByOrStep,
}

/// Why there is no window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoWindow {
    /// The problems are noted in the fields.
    Noted,
    /// There would be more than [`CELLS_MAX`] buckets.
    TooMany,
}

impl Window {
    /// Reads `start_date`, `end_date` (or `start`, `end`), `timezone`, `week_start`, `group_by` (and `step`).
    ///
    /// Dates are inclusive local days, instants are half-open.
    pub(crate) fn read(fields: &mut Fields<'_>, width: Width, now: TimestampUs) -> Result<Self, NoWindow> {
        let zone = read_zone(fields);
        let unit = read_unit(fields, width);
        let start = read_edge(fields, ["start_date", "start"]);
        let end = read_edge(fields, ["end_date", "end"]);
        let (Some(zone), Some(unit), Some((_, start)), Some((end_name, end))) = (zone, unit, start, end)
        else {
            return Err(NoWindow::Noted);
        };
        match Self::new(start, end, unit, zone, now) {
            Err(NoWindow::Noted) => {
                fields.problem(end_name, "invalid", "the end is before the start, or out of range");
                Err(NoWindow::Noted)
            }
            other => other,
        }
    }

    /// The window of a range. A range of whole local days is a window of days, however it was asked for.
    ///
    /// # Errors
    ///
    /// [`NoWindow`].
    pub(crate) fn of(
        range: TimeRange,
        unit: BucketUnit,
        zone: TimeZone,
        now: TimestampUs,
    ) -> Result<Self, NoWindow> {
        let day = |at: TimestampUs| {
            let date = zone.to_datetime(at.to_jiff().ok()?).date();
            (midnight(date, &zone)? == at).then_some(date)
        };
        let last = day(range.end).and_then(|end| end.yesterday().ok());
        match day(range.start).zip(last) {
            Some((first, last)) if first <= last => {
                Self::new(Edge::Day(first), Edge::Day(last), unit, zone, now)
            }
            _ => Self::new(Edge::At(range.start), Edge::At(range.end), unit, zone, now),
        }
    }

    /// The same time in buckets of another width, as [`Self::of`] has it.
    ///
    /// # Errors
    ///
    /// [`NoWindow`].
    pub(crate) fn by(&self, unit: BucketUnit) -> Result<Self, NoWindow> {
        Self::of(self.range, unit, self.zone.clone(), self.now)
    }

    /// The first and the last local day, when it is made of days.
    pub(crate) fn local_days(&self) -> Option<(Date, Date)> {
        self.days
    }

    fn new(
        start: Edge,
        end: Edge,
        unit: BucketUnit,
        zone: TimeZone,
        now: TimestampUs,
    ) -> Result<Self, NoWindow> {
        let days = match (start, end) {
            (Edge::Day(first), Edge::Day(last)) if first > last => return Err(NoWindow::Noted),
            (Edge::Day(first), Edge::Day(last)) => Some((first, last)),
            _ => None,
        };
        let start = match start {
            Edge::Day(date) => midnight(date, &zone),
            Edge::At(at) => Some(at),
        };
        let end = match end {
            Edge::Day(date) => date.tomorrow().ok().and_then(|next| midnight(next, &zone)),
            Edge::At(at) => Some(at),
        };
        let (Some(start), Some(end)) = (start, end) else { return Err(NoWindow::Noted) };
        let range = TimeRange::new(start, end).map_err(|_| NoWindow::Noted)?;
        let buckets = Buckets::cover(range, unit, &zone, CELLS_MAX).map_err(|error| match error {
            insights_engine::Error::QueryLimit { .. } => NoWindow::TooMany,
            _ => NoWindow::Noted,
        })?;
        let cut = buckets.cut_to(range);
        Ok(Self { range, buckets, cut, unit, zone, now, days })
    }

    /// A window of buckets that are given, in UTC, for a question that nobody wrote down; `None` without buckets.
    pub(crate) fn of_buckets(buckets: Buckets, now: TimestampUs) -> Option<Self> {
        let range = TimeRange { start: buckets.get(0)?.start, end: buckets.iter().last()?.end };
        let (cut, unit) = (buckets.clone(), BucketUnit::Day);
        Some(Self { range, buckets, cut, unit, zone: TimeZone::UTC, now, days: None })
    }

    /// The moment until which the answer is complete: now, or the end when that has passed.
    pub(crate) fn complete_until(&self) -> TimestampUs {
        self.range.end.min(self.now)
    }

    /// The moment of the question.
    pub(crate) fn now(&self) -> TimestampUs {
        self.now
    }

    /// The local days that a range touches.
    ///
    /// # Errors
    ///
    /// Those of [`Buckets::cover`].
    pub(crate) fn days(&self, range: TimeRange) -> insights_engine::Result<Buckets> {
        Buckets::cover(range, BucketUnit::Day, &self.zone, CELLS_MAX)
    }

    /// The IANA name of the time zone.
    pub(crate) fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// An instant in RFC 3339, in the window's time zone, `Z` for UTC.
    pub(crate) fn text(&self, at: TimestampUs) -> String {
        let Ok(at) = at.to_jiff() else { return String::new() };
        if self.zone_name() == "UTC" {
            return at.to_string();
        }
        at.display_with_offset(self.zone.to_offset(at)).to_string()
    }

    /// The key of a bucket: its natural start.
    pub(crate) fn key(&self, bucket: usize) -> String {
        self.buckets.get(bucket).map_or_else(String::new, |range| self.text(range.start))
    }

    /// Whether the window cuts a bucket.
    pub(crate) fn is_partial(&self, bucket: usize) -> bool {
        self.buckets.get(bucket).is_some_and(|b| b.start < self.range.start || b.end > self.range.end)
    }

    /// The buckets, the first and the last cut to the window.
    pub(crate) fn cut_buckets(&self) -> &Buckets {
        &self.cut
    }

    /// The period of the same length right before; of a period that is not over the same elapsed part.
    ///
    /// A window of days has as many local days before it. `None` when that is before all time.
    pub(crate) fn previous(&self) -> Option<Self> {
        let elapsed = self.complete_until().0.saturating_sub(self.range.start.0).max(0);
        let unfinished = self.complete_until() < self.range.end;
        let start = if let Some((first, last)) = self.days {
            let days = first.until((Unit::Day, last)).ok()?.get_days() + 1;
            midnight(first.checked_sub(Span::new().try_days(days).ok()?).ok()?, &self.zone)?
        } else {
            let len = self.range.end.0.checked_sub(self.range.start.0)?;
            TimestampUs(self.range.start.0.checked_sub(len)?)
        };
        let end = if unfinished { TimestampUs(start.0.saturating_add(elapsed)) } else { self.range.start };
        let end = end.min(self.range.start);
        Self::new(Edge::At(start), Edge::At(end), self.unit, self.zone.clone(), self.now).ok()
    }
}

fn midnight(date: Date, zone: &TimeZone) -> Option<TimestampUs> {
    let start = date.to_zoned_datetime(zone.clone()).ok()?.start_of_day().ok()?;
    Some(TimestampUs(start.timestamp().as_microsecond()))
}

fn read_zone(fields: &mut Fields<'_>) -> Option<TimeZone> {
    if fields.get("timezone").is_none() {
        return Some(TimeZone::UTC);
    }
    let name = fields.text("timezone")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_+-/".contains(c);
    // Names that could be read as paths never reach the time zone database.
    let sane =
        !name.is_empty() && name.len() <= ZONE_BYTES_MAX && name.chars().all(plain) && !name.starts_with('/');
    let zone = sane.then(|| TimeZone::get(name).ok()).flatten();
    if zone.is_none() {
        fields.problem("timezone", "invalid", "no time zone of that name in the IANA database");
    }
    zone
}

fn read_unit(fields: &mut Fields<'_>, width: Width) -> Option<BucketUnit> {
    let week = fields.choice("week_start", &WEEK_STARTS);
    let week_given = fields.get("week_start").is_some();
    let week = match week {
        Some(1) => WeekStart::Sunday,
        Some(2) => WeekStart::Saturday,
        None if week_given => return None,
        Some(_) | None => WeekStart::Monday,
    };
    if width == Width::GroupByOrStep && fields.get("step").is_some() {
        if fields.get("group_by").is_some() {
            fields.problem("step", "invalid", "either group_by or step, not both");
            return None;
        }
        let unit = parse_step(fields.text("step")?, week);
        if unit.is_none() {
            fields.problem("step", "invalid", "a step is a number and s, m, h, d or w, at least 1s");
        }
        return unit;
    }
    if fields.get("group_by").is_none() {
        return Some(BucketUnit::Day);
    }
    Some(match fields.choice("group_by", &["hour", "day", "week", "month"])? {
        0 => BucketUnit::Hour,
        1 => BucketUnit::Day,
        2 => BucketUnit::Week(week),
        _ => BucketUnit::Month,
    })
}

/// `30s`, `5m`, `1h`, `1d`, `1w`: one hour, day or week is that of the calendar, all else a fixed width.
fn parse_step(text: &str, week: WeekStart) -> Option<BucketUnit> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: i64 = number.parse().ok().filter(|n| *n > 0)?;
    let seconds = match (number, unit) {
        (1, "h") => return Some(BucketUnit::Hour),
        (1, "d") => return Some(BucketUnit::Day),
        (1, "w") => return Some(BucketUnit::Week(week)),
        (_, "s") => 1,
        (_, "m") => 60,
        (_, "h") => 3_600,
        (_, "d") => 86_400,
        (_, "w") => 604_800,
        _ => return None,
    };
    number.checked_mul(seconds)?.checked_mul(1_000_000).map(BucketUnit::Step)
}

fn read_edge(fields: &mut Fields<'_>, names: [&'static str; 2]) -> Option<(&'static str, Edge)> {
    let Some((name, value)) = fields.either(&names) else {
        let [name, _] = names;
        fields.problem(name, "required", "required: a date (YYYY-MM-DD) or an instant (RFC 3339)");
        return None;
    };
    let edge = parse_edge(value);
    if edge.is_none() {
        let problem = FieldError::new(
            step(name),
            if value.is_string() || value.is_number() { "invalid" } else { "invalid_type" },
            "a date (YYYY-MM-DD), an instant (RFC 3339) or a number of epoch seconds, ms, us or ns is expected",
        );
        fields.problems.push(problem);
    }
    Some((name, edge?))
}

fn parse_edge(value: &Value) -> Option<Edge> {
    match value {
        Value::String(text) if is_date(text) => text.parse().ok().map(Edge::Day),
        Value::String(text) => instant::parse(text).ok().map(Edge::At),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => instant::from_integer(whole).ok().map(Edge::At),
            None => instant::from_double(number.as_f64()?).ok().map(Edge::At),
        },
        _ => None,
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
