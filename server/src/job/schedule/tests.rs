//! Schedules against a walk over every minute.

use proptest::prelude::*;

use super::*;

const MINUTE_US: i64 = 60 * 1_000_000;
/// Zones with gaps and folds of an hour, of half an hour, at midnight, of a whole day, and none.
const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Asuncion", "Asia/Kathmandu"];

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn at(text: &str) -> TimestampUs {
    TimestampUs(text.parse::<Timestamp>().unwrap().as_microsecond())
}

fn next(schedule: &str, zone_name: &str, after: &str) -> String {
    let next = Schedule::parse(schedule).unwrap().next_after(at(after), &zone(zone_name)).unwrap();
    Timestamp::from_microsecond(next.0).unwrap().to_string()
}

#[test]
fn an_interval_is_counted_from_1970() {
    assert_eq!(next("every 300s", "UTC", "2024-01-01T00:00:00Z"), "2024-01-01T00:05:00Z");
    assert_eq!(next("every 5m", "Europe/Berlin", "2024-01-01T00:04:59.999999Z"), "2024-01-01T00:05:00Z");
    assert_eq!(next("every 1h", "UTC", "1969-12-31T23:30:00Z"), "1970-01-01T00:00:00Z");
    assert_eq!(Schedule::parse("every 5m").unwrap().to_string(), "every 300s");
}

#[test]
fn a_local_time_that_does_not_exist_is_the_first_instant_after() {
    // 02:00 to 03:00 is left out on 2024-03-31; 03:00 summer time is 01:00Z.
    assert_eq!(next("30 2 * * *", "Europe/Berlin", "2024-03-30T12:00:00Z"), "2024-03-31T01:00:00Z");
    assert_eq!(next("30 2 * * *", "Europe/Berlin", "2024-03-31T01:00:00Z"), "2024-04-01T00:30:00Z");
    // Clocks in Paraguay went from midnight to 01:00.
    assert_eq!(next("0 0 * * *", "America/Asuncion", "2023-09-30T12:00:00Z"), "2023-10-01T04:00:00Z");
    // Samoa had no 30 December 2011.
    assert_eq!(next("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z"), "2011-12-30T10:00:00Z");
}

#[test]
fn a_local_time_that_exists_twice_comes_once() {
    assert_eq!(next("30 2 * * *", "Europe/Berlin", "2024-10-26T12:00:00Z"), "2024-10-27T00:30:00Z");
    assert_eq!(next("30 2 * * *", "Europe/Berlin", "2024-10-27T00:30:00Z"), "2024-10-28T01:30:00Z");
    assert_eq!(next("30 2 * * *", "Europe/Berlin", "2024-10-27T01:10:00Z"), "2024-10-28T01:30:00Z");
    assert_eq!(next("*/20 * * * *", "Europe/Berlin", "2024-10-27T00:40:00Z"), "2024-10-27T02:00:00Z");
}

#[test]
fn what_is_no_schedule_is_refused() {
    for bad in ["", "every", "every 0s", "every 10ms", "every day", "* * * *", "0 0 0 * * *", "60 * * * *"] {
        assert!(Schedule::parse(bad).is_err(), "{bad}");
    }
    assert!(
        Schedule::parse("0 0 30 2 *")
            .unwrap()
            .next_after(at("2024-01-01T00:00:00Z"), &TimeZone::UTC)
            .is_none()
    );
}

#[test]
fn of_several_zones_the_first_comes_and_the_offset_is_added() {
    let zones = ["Europe/Berlin", "America/New_York"].map(|name| (name.to_owned(), zone(name)));
    let daily = Schedule::parse("0 0 * * *").unwrap();
    let timetable = Timetable::new(daily, zones.to_vec(), Duration::from_secs(90));
    let mut times = Vec::new();
    let mut after = at("2024-01-01T00:00:00Z");
    for _ in 0..3 {
        after = timetable.next_after(after).unwrap();
        times.push(Timestamp::from_microsecond(after.0).unwrap().to_string());
    }
    assert_eq!(times, ["2024-01-01T05:01:30Z", "2024-01-01T23:01:30Z", "2024-01-02T05:01:30Z"]);
}

#[test]
fn an_offset_belongs_to_the_name() {
    let jitter = Duration::from_mins(10);
    assert_eq!(offset_of("a", jitter), offset_of("a", jitter));
    assert_ne!(offset_of("a", jitter), offset_of("b", jitter));
    assert!(offset_of("a", jitter) < jitter);
    assert_eq!(offset_of("a", Duration::ZERO), Duration::ZERO);
}

/// Whether a field of an expression has a number: `*`, `*/n`, `n` or a list.
fn has(field: &str, number: i64) -> bool {
    match field.split_once('/') {
        Some((_, step)) => number % step.parse::<i64>().unwrap() == 0,
        None => field == "*" || field.split(',').any(|part| part.parse() == Ok(number)),
    }
}

fn matches(expression: &str, local: DateTime) -> bool {
    let fields: Vec<&str> = expression.split(' ').collect();
    has(fields[0], local.minute().into())
        && has(fields[1], local.hour().into())
        && has(fields[2], local.day().into())
        && has(fields[3], local.month().into())
        && has(fields[4], local.weekday().to_sunday_zero_offset().into())
}

/// The times in a window by looking at every minute: what the clock shows for the first time, and what it leaves
/// out between a minute and the next.
fn walk(expression: &str, zone: &TimeZone, after: TimestampUs, minutes: i64) -> Vec<i64> {
    let local = |us: i64| zone.to_datetime(Timestamp::from_microsecond(us).unwrap());
    let first = after.0.div_euclid(MINUTE_US) + 1;
    let mut shown = std::collections::BTreeSet::new();
    let mut out = Vec::new();
    // What was shown in the day before counts as seen.
    for minute in first - 1_500..first + minutes {
        let us = minute * MINUTE_US;
        let now = local(us);
        let mut left_out = local(us - MINUTE_US);
        let mut is_due = shown.insert(now) && matches(expression, now);
        loop {
            left_out = left_out.checked_add(SignedDuration::from_mins(1)).unwrap();
            if left_out >= now {
                break;
            }
            is_due |= matches(expression, left_out);
            shown.insert(left_out);
        }
        if is_due && minute >= first {
            out.push(us);
        }
    }
    out
}

fn field(max: i64) -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        (0..max).prop_map(|n| n.to_string()),
        prop_oneof![Just(5), Just(7), Just(15)].prop_map(|n: i64| format!("*/{n}")),
        (0..max, 0..max).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_next_times_are_those_of_a_walk_over_every_minute(
        minute in field(60),
        hour in prop_oneof![Just("*".to_owned()), (0..5_i64).prop_map(|n| n.to_string()), Just("0,2".to_owned())],
        weekday in prop_oneof![Just("*".to_owned()), Just("0".to_owned()), Just("0,6".to_owned())],
        place in 0..ZONES.len(),
        start in prop_oneof![
            // Around the changes of 2024, and anywhere.
            Just("2024-03-30T20:00:00Z"), Just("2024-10-26T20:00:00Z"), Just("2024-03-10T00:00:00Z"),
            Just("2024-11-03T00:00:00Z"), Just("2024-04-06T10:00:00Z"), Just("2024-10-05T10:00:00Z"),
            Just("2023-09-30T20:00:00Z"), Just("2024-03-23T20:00:00Z"), Just("2024-02-28T20:00:00Z"),
        ],
        shift_s in 0..36_000_i64,
    ) {
        let expression = format!("{minute} {hour} * * {weekday}");
        let zone = zone(ZONES[place]);
        let start = TimestampUs(at(start).0 + shift_s * 1_000_000);
        let minutes = 30 * 60;
        let expected = walk(&expression, &zone, start, minutes);
        let schedule = Schedule::parse(&expression).unwrap();
        let (mut after, mut found) = (start, Vec::new());
        let end = (start.0.div_euclid(MINUTE_US) + 1 + minutes) * MINUTE_US;
        while let Some(next) = schedule.next_after(after, &zone) {
            prop_assert!(next > after);
            if next.0 >= end {
                break;
            }
            found.push(next.0);
            after = next;
        }
        prop_assert_eq!(found, expected, "{} in {}", expression, ZONES[place]);
    }

    #[test]
    fn no_text_panics(text in ".{0,40}") {
        if let Ok(schedule) = Schedule::parse(&text) {
            let _ = schedule.next_after(TimestampUs(0), &TimeZone::UTC);
            let _ = schedule.next_after(TimestampUs(i64::MAX), &TimeZone::UTC);
            let _ = schedule.next_after(TimestampUs(i64::MIN), &TimeZone::UTC);
        }
    }
}
