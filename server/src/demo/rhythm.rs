//! When people work: a day's curve, quiet nights and weekends.

use insights_engine::time::{DAY_US, TimestampUs};

/// Microseconds of an hour.
pub(crate) const HOUR_US: i64 = DAY_US / 24;
/// Microseconds of a minute.
pub(crate) const MINUTE_US: i64 = HOUR_US / 60;

/// How busy each local hour of a working day is; the mean is about 1.
const WORKDAY: [f64; 24] = [
    0.10, 0.06, 0.05, 0.05, 0.06, 0.12, 0.35, 0.80, 1.70, 2.45, 2.60, 2.30, 1.40, 1.75, 2.40, 2.45, 2.10,
    1.50, 0.80, 0.45, 0.35, 0.30, 0.22, 0.15,
];
/// How busy a day of the weekend is, against a working day.
const WEEKEND: f64 = 0.22;

/// How busy the platform is at an instant, for people `offset_h` hours ahead of UTC: about 1 on average over a
/// working day. Straight lines between the hours.
pub(crate) fn demand(at: TimestampUs, offset_h: i64) -> f64 {
    let local = TimestampUs(at.0 + offset_h * HOUR_US);
    let of_day = local.0.rem_euclid(DAY_US);
    let hour = usize::try_from(of_day / HOUR_US).unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "microseconds of one hour")]
    let part = (of_day % HOUR_US) as f64 / HOUR_US as f64;
    let curve = |index: usize| WORKDAY.get(index % 24).copied().unwrap_or(0.0);
    let level = curve(hour) * (1.0 - part) + curve(hour + 1) * part;
    if is_weekend(local) { level * WEEKEND } else { level }
}

/// Whether a local instant is on a Saturday or a Sunday. 1970-01-01 was a Thursday.
pub(crate) fn is_weekend(local: TimestampUs) -> bool {
    matches!((local.day() + 3).rem_euclid(7), 5 | 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mornings_are_busy_nights_and_sundays_are_quiet() {
        let monday = TimestampUs(4 * DAY_US);
        let at = |hours: i64| TimestampUs(monday.0 + hours * HOUR_US);
        assert!(demand(at(10), 0) > 20.0 * demand(at(3), 0));
        assert!(demand(at(10 - 24), 0) < 0.3 * demand(at(10), 0));
        assert!((demand(at(1), 9) - demand(at(10), 0)).abs() < 1e-9);
        assert!(is_weekend(TimestampUs(2 * DAY_US)) && !is_weekend(monday));
    }
}
