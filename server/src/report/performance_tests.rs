//! Golden tests of the performance report's folds.

use insights_engine::probes::Probe;
use insights_engine::query::{Group, KeyValue, Number};
use insights_engine::time::TimestampUs;
use serde_json::json;

use super::*;
use crate::report::body::Fields;
use crate::report::uptime::timeline;
use crate::report::window::Width;

const HOUR: i64 = 3_600_000_000;

/// Three hours of 2024-01-01, asked for at half past two.
fn window() -> Window {
    let body = json!({"start": "2024-01-01T00:00:00Z", "end": "2024-01-01T03:00:00Z", "group_by": "hour"});
    let now = TimestampUs(1_704_067_200_000_000 + 5 * HOUR / 2);
    Window::read(&mut Fields::of(&body).unwrap(), Width::GroupBy, now).unwrap()
}

fn group(key: Vec<KeyValue>, values: &[f64]) -> Group {
    Group { key, values: values.iter().map(|n| Number::F64(*n)).collect() }
}

#[test]
fn response_times_are_those_of_the_whole_window() {
    let w = window();
    let apdex = Apdex { t_ms: Quantity(500.0), score: Some(0.75) };
    let mut total = group(vec![], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    total.values[0] = Number::U64(100);
    let total = Answer { groups: vec![total], ..Answer::default() };
    let got = fold_response_time(&w, &total, &Answer::default(), apdex);
    assert_eq!(got.apdex, apdex);
    assert_eq!((got.numbers.count, got.numbers.avg, got.numbers.p99), (100, Some(2.0), Some(8.0)));
    assert_eq!(got.series.len(), 3);
    let nothing = fold_response_time(&w, &Answer::default(), &Answer::default(), apdex);
    assert_eq!(nothing.numbers, ResponseTimes::default());
}

#[test]
fn the_rate_of_the_window_is_over_its_sums() {
    let name = |text: &str| KeyValue::Str(text.into());
    let buckets = Answer {
        groups: vec![
            group(vec![KeyValue::Bucket(0), name(ERRORS)], &[1.0]),
            group(vec![KeyValue::Bucket(0), name(REQUESTS)], &[2.0]),
            group(vec![KeyValue::Bucket(2), name(REQUESTS)], &[98.0]),
            group(vec![KeyValue::Bucket(1), name(ERRORS)], &[1.0]),
        ],
        ..Answer::default()
    };
    let got = fold_error_rate(&window(), &buckets);
    // Two errors of a hundred requests, never the mean of 50 % and 0 %.
    assert_eq!((got.requests, got.errors, got.rate), (Quantity(100.0), Quantity(2.0), Some(0.02)));
    let rates: Vec<_> = got.series.iter().map(|row| row.rate).collect();
    assert_eq!(rates, [Some(0.5), None, Some(0.0)]);
    let uptime = fold_requests(&window(), &got);
    assert_eq!((uptime.ratio, uptime.basis), (Some(0.98), UptimeBasis::Requests));
    // Three buckets have begun, two of them have requests.
    assert!((uptime.coverage - 2.0 / 3.0).abs() < 1e-12);
}

#[test]
fn uptime_of_probes_is_weighted_by_time() {
    let w = window();
    let start = w.range.start.0;
    // Probes every five minutes of the first two hours; those of 00:30, 00:35 and 00:40 fail.
    let probe = |i: i64| Probe {
        at: TimestampUs(start + i * HOUR / 12),
        up: !(6..9).contains(&i),
        maintenance: false,
    };
    let stretches = timeline((0..24).map(probe).collect(), w.complete_until());
    let got = fold_probes(&w, &[AppTimeline { app_id: None, stretches }]);
    // The last probe is of 01:55 and holds ten minutes: 125 minutes are known, 15 of them down.
    assert_eq!(got.ratio, Some(110.0 / 125.0));
    assert_eq!(got.down_s, Quantity(900.0));
    assert!((got.coverage - 125.0 / 150.0).abs() < 1e-12);
    let incident = Incident {
        start: "2024-01-01T00:30:00Z".to_owned(),
        end: "2024-01-01T00:45:00Z".to_owned(),
        duration_s: Quantity(900.0),
    };
    assert_eq!(got.incidents, [incident]);
    let ratios: Vec<_> = got.series.iter().map(|row| row.ratio).collect();
    assert_eq!(ratios, [Some(0.75), Some(1.0), Some(1.0)]);
}

#[test]
fn nothing_known_is_null_and_not_zero() {
    let w = window();
    let got = serde_json::to_value(fold_requests(&w, &fold_error_rate(&w, &Answer::default()))).unwrap();
    assert_eq!(got["ratio"], json!(null));
    assert_eq!(
        (&got["basis"], &got["coverage"], &got["incidents"]),
        (&json!("probe"), &json!(0.0), &json!([]))
    );
    assert_eq!(got["series"][0], json!({"bucket": "2024-01-01T00:00:00Z", "partial": false, "ratio": null}));
}
