//! The parameters `start` and `end` of lists: dates are whole UTC days, instants are half-open.

use insights_engine::time::{DAY_US, TimeRange, TimestampUs};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::filter::present;
use crate::domain::instant;
use crate::http::error::{ApiError, FieldError};
use crate::http::report_query::with_plus;

/// The event times from `start` to `end`; without one of them the window is open on that side.
///
/// # Errors
///
/// `invalid` with `/start` or `/end` when it is neither a date nor an instant, or when the start is after the end.
pub fn window(start: Option<&str>, end: Option<&str>) -> Result<TimeRange, ApiError> {
    let mut errors = Vec::new();
    let mut edge = |text: Option<&str>, pointer: &str, after_days: i64, open: TimestampUs| match present(text)
        .map(parse)
    {
        None => open,
        Some(Ok((at, is_date))) => TimestampUs(at.0 + if is_date { after_days * DAY_US } else { 0 }),
        Some(Err(detail)) => {
            errors.push(FieldError::new(pointer, "invalid", detail));
            open
        }
    };
    let start_at = edge(start, "/start", 0, TimeRange::ALL.start);
    let end_at = edge(end, "/end", 1, TimeRange::ALL.end);
    // A day that is told as the end ends after it: the day before a start is not the start.
    let is_day = |text: Option<&str>| present(text).is_some_and(|text| matches!(parse(text), Ok((_, true))));
    let is_backwards = start_at > end_at || (start_at == end_at && is_day(start) && is_day(end));
    if errors.is_empty() && is_backwards {
        errors.push(FieldError::new("/start", "invalid", "the start is after the end"));
    }
    if errors.is_empty() {
        Ok(TimeRange { start: start_at, end: end_at })
    } else {
        Err(ApiError::invalid(errors))
    }
}

/// An instant, or the start of a date, and whether it was a date.
fn parse(text: &str) -> Result<(TimestampUs, bool), String> {
    let text = &with_plus(text);
    if let Ok(date) = text.parse::<Date>()
        && text.len() == 10
    {
        let midnight = date.to_zoned_datetime(TimeZone::UTC).map_err(|error| error.to_string())?;
        return Ok((TimestampUs(midnight.timestamp().as_microsecond()), true));
    }
    instant::parse(text).map(|at| (at, false)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(start: Option<&str>, end: Option<&str>) -> Option<(i64, i64)> {
        window(start, end).ok().map(|w| (w.start.0, w.end.0))
    }

    #[test]
    fn dates_are_whole_days_and_instants_half_open() {
        assert_eq!(days(Some("1970-01-02"), Some("1970-01-03")), Some((DAY_US, 3 * DAY_US)));
        assert_eq!(
            days(Some("1970-01-02T00:00:00Z"), Some("1970-01-03T00:00:00Z")),
            Some((DAY_US, 2 * DAY_US))
        );
        assert_eq!(days(Some("86400"), None), Some((DAY_US, i64::MAX)));
        // A `+` that was not encoded.
        assert_eq!(
            days(Some("1970-01-02T01:00:00 01:00"), Some("1970-01-02T00:00:00Z")),
            Some((DAY_US, DAY_US))
        );
        assert_eq!(days(None, None), Some((i64::MIN, i64::MAX)));
    }

    #[test]
    fn what_is_no_time_is_named() {
        let error = window(Some("soon"), Some("1970-13-01")).unwrap_err();
        let pointers: Vec<_> = error.errors().iter().map(|e| e.pointer.as_str()).collect();
        assert_eq!(pointers, ["/start", "/end"]);
        for (start, end) in [("1970-01-03", "1970-01-01"), ("1970-01-03", "1970-01-02")] {
            assert_eq!(window(Some(start), Some(end)).unwrap_err().errors()[0].pointer, "/start");
        }
    }
}
