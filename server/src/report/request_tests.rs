//! Tests of request bodies: the seed's examples, defaults, and every problem at once.

use serde_json::json;

use super::*;

const NOW: TimestampUs = TimestampUs(1_718_452_800_000_000);

fn analytics(body: &Value) -> Result<AnalyticsRequest, ApiError> {
    AnalyticsRequest::read(body, &Config::default(), NOW)
}

fn pointers(error: &ApiError) -> Vec<&str> {
    error.errors().iter().map(|e| e.pointer.as_str()).collect()
}

#[test]
fn the_bodies_of_the_first_users_are_read() {
    let body = json!({
        "organization_id": "0190f1c2-0000-7000-8000-000000000001", "start_date": "2024-01-01", "end_date": "2024-01-31",
        "metrics": ["user_activity", "system_performance", "app_metrics"], "group_by": "day",
    });
    let request = analytics(&body).unwrap();
    assert_eq!(request.families, [Family::UserActivity, Family::SystemPerformance, Family::AppMetrics]);
    assert_eq!((request.common.window.buckets.len(), request.compare), (31, false));
    let body = json!({
        "app_id": "0190f1c2-0000-7000-8000-000000000001", "start_date": "2024-01-01", "end_date": "2024-01-31",
        "metrics": ["response_time", "error_rate", "uptime"],
    });
    assert_eq!(PerformanceRequest::read(&body, NOW).unwrap().metrics.len(), 3);
}

#[test]
fn every_problem_is_said_at_once() {
    let body = json!({
        "organization_id": "a/b", "start_date": "2024-02-31", "metrics": ["user_activity", "money"], "group_by": "year",
        "timezone": "Nowhere", "filters": [["lsn", "is", 1]], "breakdown": "ip_address", "compare": "last_year", "extra": 1,
    });
    let error = analytics(&body).unwrap_err();
    let mut found = pointers(&error);
    found.sort_unstable();
    let expected = [
        "/breakdown",
        "/compare",
        "/end_date",
        "/extra",
        "/filters/0/0",
        "/group_by",
        "/metrics/1",
        "/organization_id",
        "/start_date",
        "/timezone",
    ];
    assert_eq!(found, expected);
    assert_eq!(error.code(), Code::Invalid);
    let error = PerformanceRequest::read(&json!({"apdex_t_ms": 0}), NOW).unwrap_err();
    assert_eq!(pointers(&error), ["/start_date", "/end_date", "/app_id", "/apdex_t_ms"]);
    assert_eq!(pointers(&analytics(&json!([])).unwrap_err()), [""]);
}

#[test]
fn an_answer_of_too_many_cells_is_refused() {
    let body = |group_by: &str, breakdown: Option<&str>, metrics: &str| {
        json!({"start_date": "2020-01-01", "end_date": "2023-12-31", "group_by": group_by, "breakdown": breakdown,
               "metrics": [metrics]})
    };
    // Four years have 35,064 hours and 1,461 days.
    assert!(analytics(&body("hour", None, "user_activity")).is_ok());
    assert!(analytics(&body("day", Some("page"), "user_activity")).is_ok());
    for (group_by, breakdown, metrics) in
        [("hour", Some("page"), "user_activity"), ("hour", None, "system_performance")]
    {
        let error = analytics(&body(group_by, breakdown, metrics)).unwrap_err();
        assert_eq!(error.code(), Code::TooManyCells);
    }
    let century = json!({"start_date": "1950-01-01", "end_date": "2049-12-31", "group_by": "hour"});
    assert_eq!(analytics(&century).unwrap_err().code(), Code::TooManyCells);
}

#[test]
fn a_metric_question_is_read() {
    let read = |body: &Value| MetricQueryRequest::read(body, &Config::default(), NOW);
    let body = json!({
        "names": ["response_time", "response.time", "queue_depth"], "start": 1_718_440_000, "end": 1_718_443_600,
        "step": "1m", "aggregates": ["p95", "rate"], "by": ["host", "region"], "app_id": 7,
    });
    let request = read(&body).unwrap();
    assert_eq!(request.question.names, ["response.time", "queue_depth"]);
    assert_eq!(request.question.by.len(), 2);
    let wanted: Vec<&str> = request.question.wanted.iter().map(|w| w.name.as_str()).collect();
    assert_eq!(wanted, ["p95", "rate"]);
    let error = read(&json!({"start": 1, "end": 2, "aggregates": ["p0"], "by": [""]})).unwrap_err();
    assert_eq!(pointers(&error), ["/name", "/aggregates/0", "/by/0"]);
    let error = read(&json!({"name": "a b", "start": 1, "end": 2, "host": 1})).unwrap_err();
    assert_eq!(pointers(&error), ["/name", "/host"]);
}

#[test]
fn only_questions_about_metrics_have_steps_and_weeks_begin_as_they_are_told() {
    let window = json!({"app_id": "a", "name": "x", "start_date": "2024-01-01", "end_date": "2024-01-31"});
    let with = |name: &str, value: &str| {
        let mut body = window.clone();
        body[name] = json!(value);
        body
    };
    let stepped = with("step", "1h");
    let known = MetricQueryRequest::read(&stepped, &Config::default(), NOW).unwrap().common;
    assert_eq!((known.group_by.as_str(), known.window.buckets.len()), ("1h", 31 * 24));
    // What is not looked at is not taken in silence, and not told as if it had been.
    let mut stepped = stepped;
    stepped.as_object_mut().unwrap().remove("name");
    assert_eq!(pointers(&PerformanceRequest::read(&stepped, NOW).unwrap_err()), ["/step"]);
    assert_eq!(pointers(&analytics(&stepped).unwrap_err()), ["/step"]);
    for (given, expected) in [("sunday", "sunday"), ("monday", "monday")] {
        let mut body = with("week_start", given);
        body.as_object_mut().unwrap().remove("name");
        assert_eq!(analytics(&body).unwrap().common.week_start, expected);
    }
    let mut body = window.clone();
    body.as_object_mut().unwrap().remove("name");
    assert_eq!(analytics(&body).unwrap().common.week_start, "monday");
}
