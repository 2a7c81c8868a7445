//! Instants on the wire: RFC 3339 text, or a number of s, ms, us or ns since 1970 told apart by magnitude.

use std::fmt;

use insights_engine::time::TimestampUs;

/// The first instant that RFC 3339 can write: 0000-01-01T00:00:00Z.
pub const MIN: TimestampUs = TimestampUs(-62_167_219_200_000_000);
/// The last instant that RFC 3339 can write: 9999-12-31T23:59:59.999999Z.
pub const MAX: TimestampUs = TimestampUs(253_402_300_799_999_999);

/// Numbers below this are seconds (up to the year 5138).
const SECONDS_BELOW: u64 = 100_000_000_000;
/// Numbers below this are milliseconds (from March 1973 on).
const MILLISECONDS_BELOW: u64 = SECONDS_BELOW * 1_000;
/// Numbers below this are microseconds; greater ones are nanoseconds.
const MICROSECONDS_BELOW: u64 = MILLISECONDS_BELOW * 1_000;

/// Text or a number that is no instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an instant is RFC 3339 with an offset, such as 2024-01-31T12:00:00Z, or a Unix time in s, ms, us or ns"
)]
pub struct InvalidInstant;

/// Reads RFC 3339, or a decimal number as [`from_integer`] and [`from_double`] do.
///
/// Digits beyond microseconds are cut. A leap second (`:60`) is the last microsecond before the next minute.
///
/// # Errors
///
/// [`InvalidInstant`] for anything else: no offset, a day that does not exist, years outside 0000 to 9999.
pub fn parse(text: &str) -> Result<TimestampUs, InvalidInstant> {
    let bytes = text.as_bytes();
    if bytes.get(4) == Some(&b'-') && bytes.get(7) == Some(&b'-') {
        return rfc3339(bytes).ok_or(InvalidInstant).and_then(in_range);
    }
    decimal(text).ok_or(InvalidInstant)?
}

/// An instant of a whole number, the unit told by its magnitude.
///
/// # Errors
///
/// [`InvalidInstant`] outside of the years 0000 to 9999.
pub fn from_integer(n: i64) -> Result<TimestampUs, InvalidInstant> {
    scaled(n, 0)
}

/// An instant of a number with a fraction, the unit told by its magnitude; rounded to microseconds.
///
/// # Errors
///
/// [`InvalidInstant`] when it is not finite, or outside of the years 0000 to 9999.
pub fn from_double(n: f64) -> Result<TimestampUs, InvalidInstant> {
    // Far above every instant in nanoseconds, and so the cast below is exact enough and in range.
    if !n.is_finite() || n.abs() >= 9.0e18 {
        return Err(InvalidInstant);
    }
    #[expect(clippy::cast_possible_truncation, reason = "finite and within an i64, checked above")]
    let whole = n.trunc() as i64;
    let unit_us = match whole.unsigned_abs() {
        m if m < SECONDS_BELOW => 1_000_000.0,
        m if m < MILLISECONDS_BELOW => 1_000.0,
        _ => return scaled(whole, 0),
    };
    #[expect(clippy::cast_possible_truncation, reason = "less than a unit, in microseconds")]
    let fraction = (n.fract() * unit_us).round() as i64;
    scaled(whole, fraction)
}

/// `whole` in the unit of its magnitude, and `fraction_us` more.
fn scaled(whole: i64, fraction_us: i64) -> Result<TimestampUs, InvalidInstant> {
    let us = match whole.unsigned_abs() {
        m if m < SECONDS_BELOW => whole * 1_000_000,
        m if m < MILLISECONDS_BELOW => whole * 1_000,
        m if m < MICROSECONDS_BELOW => whole,
        _ => whole.div_euclid(1_000),
    };
    in_range(TimestampUs(us + fraction_us))
}

fn in_range(at: TimestampUs) -> Result<TimestampUs, InvalidInstant> {
    if at < MIN || at > MAX { Err(InvalidInstant) } else { Ok(at) }
}

/// `-?digits(.digits)?`; `None` when it is not a number at all.
fn decimal(text: &str) -> Option<Result<TimestampUs, InvalidInstant>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let Ok(whole) = whole.parse::<i64>() else { return Some(Err(InvalidInstant)) };
    let unit_digits = match whole.unsigned_abs() {
        m if m < SECONDS_BELOW => 6,
        m if m < MILLISECONDS_BELOW => 3,
        _ => 0,
    };
    let padded = fraction.bytes().chain(std::iter::repeat(b'0')).take(unit_digits);
    let fraction_us = padded.fold(0_i64, |us, b| us * 10 + i64::from(b - b'0'));
    Some(scaled(sign * whole, sign * fraction_us))
}

/// `YYYY-MM-DD(T|t| )HH:MM:SS(.d+)?(Z|z|(+|-)HH:MM)`, and nothing after it.
fn rfc3339(b: &[u8]) -> Option<TimestampUs> {
    let fixed: &[u8; 19] = b.first_chunk()?;
    let separators = matches!(fixed[10], b'T' | b't' | b' ') && fixed[13] == b':' && fixed[16] == b':';
    let (year, month, day) = (pair(b, 0)? * 100 + pair(b, 2)?, pair(b, 5)?, pair(b, 8)?);
    let (hour, minute, second) = (pair(b, 11)?, pair(b, 14)?, pair(b, 17)?);
    let exists = (1..=12).contains(&month) && (1..=days_of_month(year, month)).contains(&day);
    if !separators || !exists || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction_us, rest) = fraction(b.get(19..)?)?;
    let offset_s = offset(rest)?;
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset_s;
    let us = seconds * 1_000_000;
    Some(TimestampUs(if second == 60 { us - 1 } else { us + fraction_us }))
}

/// Microseconds of an optional fraction, and what follows it.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let len = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at_checked(len)?;
    if digits.is_empty() {
        return None;
    }
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(6);
    Some((padded.fold(0, |us, b| us * 10 + i64::from(b - b'0')), rest))
}

/// Seconds that the local clock is ahead of UTC.
fn offset(rest: &[u8]) -> Option<i64> {
    match rest {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (pair(rest, 1)?, pair(rest, 4)?);
            let seconds = hours * 3_600 + minutes * 60;
            (hours <= 23 && minutes <= 59).then_some(if *sign == b'+' { seconds } else { -seconds })
        }
        _ => None,
    }
}

/// Two decimal digits at `at`.
fn pair(b: &[u8], at: usize) -> Option<i64> {
    match b.get(at..at + 2)? {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
        }
        _ => None,
    }
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar (Howard Hinnant's `days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Writes an instant as RFC 3339 in UTC, with six digits of a second when it is no whole second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rfc3339(pub TimestampUs);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.0.div_euclid(1_000_000);
        let us = self.0.0.rem_euclid(1_000_000);
        let second_of_day = seconds.rem_euclid(86_400);
        let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
        let (hour, minute, second) = (second_of_day / 3_600, second_of_day / 60 % 60, second_of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if us != 0 {
            write!(f, ".{us:06}")?;
        }
        f.write_str("Z")
    }
}

impl serde::Serialize for Rfc3339 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The date of a day since 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2024-02-29T12:34:56Z.
    const LEAP_DAY_S: i64 = 1_709_210_096;

    #[test]
    fn instants_in_text_are_read_in_every_agreed_form() {
        let s = LEAP_DAY_S * 1_000_000;
        let table = [
            ("2024-02-29T12:34:56Z", Some(s)),
            ("2024-02-29t12:34:56z", Some(s)),
            ("2024-02-29 12:34:56Z", Some(s)),
            ("2024-02-29T12:34:56.5Z", Some(s + 500_000)),
            ("2024-02-29T12:34:56.000001Z", Some(s + 1)),
            ("2024-02-29T12:34:56.123456789Z", Some(s + 123_456)),
            ("2024-02-29T13:34:56+01:00", Some(s)),
            ("2024-02-29T07:04:56-05:30", Some(s)),
            ("2024-02-29T12:34:56-00:00", Some(s)),
            ("2024-03-01T00:04:56+11:30", Some(s)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1969-12-31T23:59:59.999999Z", Some(-1)),
            ("0000-01-01T00:00:00Z", Some(MIN.0)),
            ("9999-12-31T23:59:59.999999Z", Some(MAX.0)),
            ("2016-12-31T23:59:60Z", Some(1_483_228_800_000_000 - 1)),
            ("1709210096", Some(s)),
            ("1709210096.25", Some(s + 250_000)),
            ("1709210096123", Some(s + 123_000)),
            ("1709210096123.5", Some(s + 123_500)),
            ("1709210096123456", Some(s + 123_456)),
            ("1709210096123456789", Some(s + 123_456)),
            ("0", Some(0)),
            ("-1.5", Some(-1_500_000)),
            ("", None),
            ("now", None),
            ("2024-02-29", None),
            ("2024-02-29T12:34:56", None),
            ("2023-02-29T12:34:56Z", None),
            ("2024-13-01T00:00:00Z", None),
            ("2024-00-01T00:00:00Z", None),
            ("2024-04-31T00:00:00Z", None),
            ("2024-02-29T24:00:00Z", None),
            ("2024-02-29T12:60:00Z", None),
            ("2024-02-29T12:34:61Z", None),
            ("2024-02-29T12:34:56.Z", None),
            ("2024-02-29T12:34:56+0100", None),
            ("2024-02-29T12:34:56+24:00", None),
            ("2024-02-29T12:34:56Z ", None),
            ("2024-02-29T12:34:56Z[UTC]", None),
            ("24-02-29T12:34:56Z", None),
            ("0000-01-01T00:00:00+01:00", None),
            ("1.", None),
            (".5", None),
            ("1e9", None),
            ("+1", None),
            ("99999999999999999999", None),
            ("-99999999999", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).ok().map(|t| t.0), expected, "{text}");
        }
    }

    #[test]
    fn the_magnitude_of_a_number_tells_its_unit() {
        let s = LEAP_DAY_S * 1_000_000;
        assert_eq!(from_integer(LEAP_DAY_S), Ok(TimestampUs(s)));
        assert_eq!(from_integer(LEAP_DAY_S * 1_000 + 7), Ok(TimestampUs(s + 7_000)));
        assert_eq!(from_integer(s + 7), Ok(TimestampUs(s + 7)));
        assert_eq!(from_integer(s * 1_000 + 7_999), Ok(TimestampUs(s + 7)));
        assert_eq!(from_integer(99_999_999_999), Ok(TimestampUs(99_999_999_999_000_000)));
        assert_eq!(from_integer(100_000_000_000), Ok(TimestampUs(100_000_000_000_000)));
        assert_eq!(from_double(1_709_210_096.25), Ok(TimestampUs(s + 250_000)));
        assert_eq!(from_double(1_709_210_096_123.5), Ok(TimestampUs(s + 123_500)));
        assert_eq!(from_double(-0.5), Ok(TimestampUs(-500_000)));
        for bad in [f64::NAN, f64::INFINITY, 1e19, -1e300] {
            assert_eq!(from_double(bad), Err(InvalidInstant));
        }
    }

    proptest! {
        #[test]
        fn every_instant_is_read_back_as_it_was_written(us in MIN.0..=MAX.0) {
            let text = Rfc3339(TimestampUs(us)).to_string();
            prop_assert_eq!(parse(&text), Ok(TimestampUs(us)), "{}", text);
            let by_jiff: jiff::Timestamp = text.parse().unwrap();
            prop_assert_eq!(by_jiff.as_microsecond(), us);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn no_number_panics(n: i64, d: f64) {
            let _ = (from_integer(n), from_double(d));
        }
    }
}
