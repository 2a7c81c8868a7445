//! Tests of the family's folds on answers made by hand.

use insights_engine::query::{KeyValue, Number};
use insights_engine::session::SessionTotals;
use insights_engine::time::TimestampUs;
use serde_json::json;

use super::*;
use crate::report::body::Fields;
use crate::report::window::Width;

fn window() -> Window {
    let body = json!({"start_date": "2024-01-01", "end_date": "2024-01-03"});
    Window::read(&mut Fields::of(&body).unwrap(), Width::GroupBy, TimestampUs(i64::MAX)).unwrap()
}

fn answer(groups: &[(KeyValue, &[u64])]) -> Answer {
    let group = |(key, values): &(KeyValue, &[u64])| Group {
        key: vec![key.clone()],
        values: values.iter().map(|n| Number::U64(*n)).collect(),
    };
    Answer { groups: groups.iter().map(group).collect(), ..Answer::default() }
}

fn str(text: &str) -> KeyValue {
    KeyValue::Str(text.into())
}

#[test]
fn every_bucket_has_a_row_and_averages_of_nothing_are_null() {
    let none = SessionTotals::default();
    let second = SessionTotals { started: 2, duration_us: 90_000_000, allocated_us: 1_500_000, ..none };
    let parts = Parts {
        buckets: answer(&[(KeyValue::Bucket(1), &[7, 3, 2, 4])]),
        total: answer(&[(KeyValue::Absent, &[7, 3, 2, 4])]),
        event_types: answer(&[(str("a"), &[2, 1]), (str("b"), &[5, 3])]),
        pages: answer(&[(KeyValue::Absent, &[1, 1]), (str("/"), &[1, 1])]),
        features: answer(&[(str("x"), &[2, 1]), (str("y"), &[2, 2]), (KeyValue::Absent, &[1, 1])]),
        sessions: Sessions {
            totals: SessionTotals { bounces: 1, ..second },
            median_us: Some(45_000_000.0),
            active: vec![0, 3, 0],
            series: vec![none, second, none],
        },
        breakdown: None,
    };
    let got = serde_json::to_value(fold(&window(), parts)).unwrap();
    let expected = json!({
        "summary": {
            "events": 7, "active_users": 3, "sessions": 2, "session_duration": {"avg_s": 45.0, "median_s": 45.0},
            "bounce_rate": 0.5, "pages_visited": 2, "actions_performed": 4, "features_used": 2, "time_on_platform_s": 1.5,
        },
        "event_types": [{"event_type": "b", "count": 5, "users": 3}, {"event_type": "a", "count": 2, "users": 1}],
        "pages": [{"page": "/", "count": 1, "users": 1}],
        "features": [{"feature": "x", "count": 2, "users": 1}, {"feature": "y", "count": 2, "users": 2}],
        "series": [
            {"bucket": "2024-01-01T00:00:00Z", "partial": false, "events": 0, "active_users": 0, "sessions": 0,
             "active_sessions": 0, "avg_session_duration_s": null, "pages_visited": 0, "actions_performed": 0,
             "time_on_platform_s": 0},
            {"bucket": "2024-01-02T00:00:00Z", "partial": false, "events": 7, "active_users": 3, "sessions": 2,
             "active_sessions": 3, "avg_session_duration_s": 45.0, "pages_visited": 2, "actions_performed": 4,
             "time_on_platform_s": 1.5},
            {"bucket": "2024-01-03T00:00:00Z", "partial": false, "events": 0, "active_users": 0, "sessions": 0,
             "active_sessions": 0, "avg_session_duration_s": null, "pages_visited": 0, "actions_performed": 0,
             "time_on_platform_s": 0},
        ],
    });
    assert_eq!(got, expected);
}

#[test]
fn nothing_at_all_is_zeros_and_nulls() {
    let nothing = fold_summary(&Answer::default(), &Answer::default(), &Sessions::default());
    let expected = json!({
        "events": 0, "active_users": 0, "sessions": 0, "session_duration": {"avg_s": null, "median_s": null},
        "bounce_rate": null, "pages_visited": 0, "actions_performed": 0, "features_used": 0, "time_on_platform_s": 0,
    });
    assert_eq!(serde_json::to_value(nothing).unwrap(), expected);
}
