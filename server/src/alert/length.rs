//! A length of time as rules write it: `30s`, `5m`, `4h`.

use std::fmt;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::config::units::parse_duration;

/// A length of time, in microseconds; on the wire `90s`, `5m`, `4h`, `2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, ToSchema)]
#[schema(value_type = String, example = "5m")]
pub struct Length(i64);

impl Length {
    /// None at all.
    pub const ZERO: Self = Self(0);

    /// So many seconds.
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds * 1_000_000)
    }

    /// So many minutes.
    pub const fn minutes(minutes: i64) -> Self {
        Self::seconds(minutes * 60)
    }

    /// So many hours.
    pub const fn hours(hours: i64) -> Self {
        Self::minutes(hours * 60)
    }

    /// So many days of 24 hours.
    pub const fn days(days: i64) -> Self {
        Self::hours(days * 24)
    }

    /// So many microseconds.
    pub const fn of_us(us: i64) -> Self {
        Self(us)
    }

    /// In microseconds.
    pub const fn us(self) -> i64 {
        self.0
    }

    /// Reads `30s`, `5m`, `4h`, `2d`; a bare number is seconds.
    ///
    /// # Errors
    ///
    /// What is expected, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let length = parse_duration(text)?;
        i64::try_from(length.as_micros()).map(Self).map_err(|_| format!("{text:?} is too long"))
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s")];
        let unit = units.into_iter().find(|(us, _)| self.0 != 0 && self.0 % us == 0);
        match unit {
            Some((us, name)) => write!(f, "{}{name}", self.0 / us),
            None if self.0 == 0 => f.write_str("0s"),
            None => write!(f, "{}ms", self.0 / 1_000),
        }
    }
}

impl Serialize for Length {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_written_in_its_largest_whole_unit_and_comes_back() {
        let written = [
            ("0s", Length::ZERO),
            ("90s", Length::seconds(90)),
            ("5m", Length::minutes(5)),
            ("4h", Length::hours(4)),
            ("2d", Length::days(2)),
            ("1500ms", Length(1_500_000)),
        ];
        for (text, length) in written {
            assert_eq!(length.to_string(), text);
            assert_eq!(Length::parse(text), Ok(length));
        }
        assert_eq!(Length::parse("60"), Ok(Length::minutes(1)));
        for bad in ["", "soon", "-5m", "5 parsecs", "99999999999999d"] {
            assert!(Length::parse(bad).is_err(), "{bad}");
        }
    }
}
