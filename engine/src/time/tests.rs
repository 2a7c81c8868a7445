//! Buckets in time zones with days of 23 and 25 hours.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// With half and three-quarter hours, half-hour summer time, days without a midnight and a day that
/// does not exist (Apia, 2011-12-30).
const ZONES: [&str; 10] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "America/Sao_Paulo",
    "Asia/Beirut",
    "Pacific/Apia",
    "America/Havana",
];

const QUARTER_US: i64 = 15 * 60 * 1_000_000;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn at(text: &str) -> TimestampUs {
    TimestampUs(text.parse::<Timestamp>().unwrap().as_microsecond())
}

fn cover(start: &str, end: &str, unit: BucketUnit, zone_name: &str) -> Vec<TimestampUs> {
    let window = TimeRange::new(at(start), at(end)).unwrap();
    Buckets::cover(window, unit, &zone(zone_name), 10_000).unwrap().edges
}

/// Widths in minutes.
fn widths(edges: &[TimestampUs]) -> Vec<i64> {
    edges.windows(2).map(|w| (w[1].0 - w[0].0) / 60_000_000).collect()
}

/// What all instants of a bucket have in common, as the local clock and calendar show it.
fn label(at: TimestampUs, unit: BucketUnit, zone: &TimeZone) -> String {
    let local = zoned(at, zone).unwrap();
    let date = local.date();
    match unit {
        BucketUnit::Step(_) => unreachable!("steps have no label"),
        BucketUnit::Hour => format!("{date} {} {}", local.hour(), local.offset()),
        BucketUnit::Day => date.to_string(),
        BucketUnit::Week(start) => {
            let mut day = date;
            while day.weekday() != start.weekday() {
                day = day.yesterday().unwrap();
            }
            day.to_string()
        }
        BucketUnit::Month => format!("{} {}", date.year(), date.month()),
    }
}

#[test]
fn days_of_summer_time_have_23_and_25_hours() {
    let spring =
        cover("2024-03-30T00:00:00+01:00", "2024-04-01T00:00:00+02:00", BucketUnit::Day, "Europe/Berlin");
    assert_eq!(widths(&spring), [24 * 60, 23 * 60]);
    let autumn =
        cover("2024-10-26T00:00:00+02:00", "2024-10-28T00:00:00+01:00", BucketUnit::Day, "Europe/Berlin");
    assert_eq!(widths(&autumn), [24 * 60, 25 * 60]);
    let lord_howe = cover(
        "2024-04-07T00:00:00+11:00",
        "2024-04-07T23:00:00+10:30",
        BucketUnit::Day,
        "Australia/Lord_Howe",
    );
    assert_eq!(widths(&lord_howe), [24 * 60 + 30]);
}

#[test]
fn a_repeated_hour_is_two_buckets() {
    let edges =
        cover("2024-10-27T01:30:00+02:00", "2024-10-27T03:30:00+01:00", BucketUnit::Hour, "Europe/Berlin");
    let local: Vec<String> = edges
        .iter()
        .map(|e| zoned(*e, &zone("Europe/Berlin")).unwrap().strftime("%H:%M%:z").to_string())
        .collect();
    assert_eq!(local, ["01:00+02:00", "02:00+02:00", "02:00+01:00", "03:00+01:00", "04:00+01:00"]);
}

#[test]
fn half_an_hour_set_back_makes_one_short_bucket() {
    let edges = cover(
        "2024-04-07T01:00:00+11:00",
        "2024-04-07T03:00:00+10:30",
        BucketUnit::Hour,
        "Australia/Lord_Howe",
    );
    assert_eq!(widths(&edges), [60, 30, 60]);
    let from_inside = cover(
        "2024-04-07T01:45:00+10:30",
        "2024-04-07T02:00:00+10:30",
        BucketUnit::Hour,
        "Australia/Lord_Howe",
    );
    assert_eq!(from_inside, edges[1..3]);
}

#[test]
fn hours_follow_the_offset_of_the_zone() {
    let edges = cover("2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z", BucketUnit::Hour, "Asia/Kathmandu");
    assert_eq!(edges, [at("2023-12-31T23:15:00Z"), at("2024-01-01T00:15:00Z"), at("2024-01-01T01:15:00Z")]);
}

#[test]
fn a_day_without_midnight_starts_at_its_first_instant() {
    let sao_paulo =
        cover("2018-11-03T12:00:00-03:00", "2018-11-05T00:00:00-02:00", BucketUnit::Day, "America/Sao_Paulo");
    assert_eq!(sao_paulo[1], at("2018-11-04T01:00:00-02:00"));
    assert_eq!(widths(&sao_paulo), [24 * 60, 23 * 60]);
    let beirut =
        cover("2024-03-30T12:00:00+02:00", "2024-04-01T00:00:00+03:00", BucketUnit::Day, "Asia/Beirut");
    assert_eq!(beirut[1], at("2024-03-31T01:00:00+03:00"));
}

#[test]
fn a_day_that_does_not_exist_has_no_bucket() {
    let apia =
        cover("2011-12-29T00:00:00-10:00", "2012-01-01T00:00:00+14:00", BucketUnit::Day, "Pacific/Apia");
    assert_eq!(widths(&apia), [24 * 60, 24 * 60]);
}

#[test]
fn weeks_start_when_asked() {
    for (start, first) in [
        (WeekStart::Monday, "2024-01-01T00:00:00Z"),
        (WeekStart::Sunday, "2023-12-31T00:00:00Z"),
        (WeekStart::Saturday, "2023-12-30T00:00:00Z"),
    ] {
        let edges = cover("2024-01-03T10:00:00Z", "2024-01-03T11:00:00Z", BucketUnit::Week(start), "UTC");
        assert_eq!(edges[0], at(first));
        assert_eq!(widths(&edges), [7 * 24 * 60]);
    }
}

#[test]
fn months_have_their_days() {
    let edges = cover("2024-01-31T00:00:00Z", "2024-04-01T00:00:00Z", BucketUnit::Month, "UTC");
    assert_eq!(widths(&edges), [31 * 1440, 29 * 1440, 31 * 1440]);
}

#[test]
fn limits_and_nonsense_are_refused() {
    let window = TimeRange::new(at("2024-01-01T00:00:00Z"), at("2024-01-03T00:00:00Z")).unwrap();
    let limit = Buckets::cover(window, BucketUnit::Hour, &TimeZone::UTC, 47);
    assert!(matches!(limit, Err(Error::QueryLimit { what: "buckets", limit: 47 })));
    assert_eq!(Buckets::cover(window, BucketUnit::Hour, &TimeZone::UTC, 48).unwrap().len(), 48);
    for step in [0, -1] {
        assert!(matches!(
            Buckets::cover(window, BucketUnit::Step(step), &TimeZone::UTC, 10),
            Err(Error::Invalid { .. })
        ));
    }
    for unit in [BucketUnit::Day, BucketUnit::Hour, BucketUnit::Month, BucketUnit::Step(1)] {
        assert!(Buckets::cover(TimeRange::ALL, unit, &zone("Europe/Berlin"), 10).is_err());
    }
    let empty = TimeRange { start: window.start, end: window.start };
    assert!(Buckets::cover(empty, BucketUnit::Day, &TimeZone::UTC, 10).unwrap().is_empty());
    assert!(TimeRange::new(window.end, window.start).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Walks the window by quarters of an hour, which every offset of these years is a multiple of.
    #[test]
    fn edges_are_where_the_calendar_turns(
        zone_name in select(ZONES.to_vec()),
        day in 14_600_i64..20_000,
        quarters in 1_i64..1200,
        offset in 0_i64..QUARTER_US,
        unit in select(vec![
            BucketUnit::Hour, BucketUnit::Day, BucketUnit::Month, BucketUnit::Week(WeekStart::Monday),
            BucketUnit::Week(WeekStart::Sunday), BucketUnit::Week(WeekStart::Saturday),
        ]),
    ) {
        let zone = zone(zone_name);
        let first = day * DAY_US;
        let window = TimeRange { start: TimestampUs(first + offset), end: TimestampUs(first + quarters * QUARTER_US) };
        let buckets = Buckets::cover(window, unit, &zone, 10_000).unwrap();
        if window.start >= window.end {
            prop_assert!(buckets.is_empty());
            return Ok(());
        }
        let mut turns = Vec::new();
        for quarter in 1..quarters {
            let (before, here) = (TimestampUs(first + (quarter - 1) * QUARTER_US), TimestampUs(first + quarter * QUARTER_US));
            if label(before, unit, &zone) != label(here, unit, &zone) && here > window.start {
                turns.push(here);
            }
        }
        let inside: Vec<TimestampUs> = buckets.edges.iter().copied().filter(|e| *e > window.start && *e < window.end).collect();
        prop_assert_eq!(&inside, &turns);
        // The outer edges are natural ones: the label turns there and nowhere in between.
        for edge in [buckets.edges[0], buckets.edges[buckets.len()]] {
            prop_assert_ne!(label(TimestampUs(edge.0 - 1), unit, &zone), label(edge, unit, &zone));
        }
        prop_assert_eq!(label(buckets.edges[0], unit, &zone), label(window.start, unit, &zone));
        prop_assert_eq!(buckets.index_of(window.start), Some(0));
        prop_assert_eq!(buckets.index_of(TimestampUs(window.end.0 - 1)), Some(buckets.len() - 1));
    }

    #[test]
    fn steps_count_from_local_midnight(zone_name in select(ZONES.to_vec()), day in 14_600_i64..20_000, past in 0_i64..DAY_US, minutes in 1_i64..300) {
        let zone = zone(zone_name);
        let start = TimestampUs(day * DAY_US + past);
        let window = TimeRange { start, end: TimestampUs(start.0 + DAY_US) };
        let step = minutes * 60_000_000;
        let buckets = Buckets::cover(window, BucketUnit::Step(step), &zone, 10_000).unwrap();
        let origin = midnight(zoned(start, &zone).unwrap().date(), &zone).unwrap();
        prop_assert!(buckets.edges.windows(2).all(|w| w[1].0 - w[0].0 == step));
        prop_assert_eq!((buckets.edges[0].0 - origin.0).rem_euclid(step), 0);
        prop_assert!(buckets.edges[0] <= start && start.0 - buckets.edges[0].0 < step);
    }
}

#[test]
fn buckets_between_instants_have_those_edges_and_no_others() {
    let buckets = Buckets::between(vec![TimestampUs(-5), TimestampUs(0), TimestampUs(7)]).unwrap();
    assert_eq!(buckets.len(), 2);
    assert_eq!(
        [-6, -5, -1, 0, 6, 7].map(|at| buckets.index_of(TimestampUs(at))),
        [None, Some(0), Some(0), Some(1), Some(1), None]
    );
    assert!(Buckets::between(Vec::new()).unwrap().is_empty());
    assert!(Buckets::between(vec![TimestampUs(0), TimestampUs(0)]).is_err());
}
