//! `app_metrics` and `metrics/query/` over HTTP against loops over plain points.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "counts and minutes of tests are small"
)]

use std::collections::{BTreeMap, BTreeSet};

use axum::http::{Method, StatusCode};
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::testing::TestApp;

const MINUTE: i64 = 60_000_000;
/// 2023-11-13T00:00:00Z.
const START: i64 = 1_699_833_600_000_000;
const HOURS: usize = 6;

#[derive(Debug, Clone)]
struct Point {
    minute: i64,
    name: &'static str,
    app: Option<&'static str>,
    value: f64,
}

fn any_point() -> impl Strategy<Value = Point> {
    let name =
        prop_oneof![Just("requests.count"), Just("errors.count"), Just("response.time"), Just("queue.depth")];
    let app = proptest::option::of(proptest::sample::select(&["a", "b", "c"][..]));
    // Some minutes lie outside of the six hours.
    (-60_i64..420, name, app, 0_u32..2_000).prop_map(|(minute, name, app, value)| {
        // Counts are whole; the rest may have a fraction.
        let value = if name.ends_with("count") { f64::from(value) } else { f64::from(value) / 8.0 };
        Point { minute, name, app, value }
    })
}

/// A quantile between the two nearest values.
fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = q * (sorted.len().checked_sub(1)? as f64);
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    Some(sorted[low] + (sorted[high] - sorted[low]) * (place - place.floor()))
}

fn average(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Requests, errors, rate and response times of some points.
fn numbers(points: &[&Point]) -> Value {
    let of = |name: &str| points.iter().filter(|p| p.name == name).map(|p| p.value).collect::<Vec<f64>>();
    let (requests, errors, times) = (
        of("requests.count").iter().sum::<f64>(),
        of("errors.count").iter().sum::<f64>(),
        of("response.time"),
    );
    let rate = (requests > 0.0).then(|| errors / requests);
    json!({
        "requests": requests, "errors": errors, "error_rate": rate,
        "uptime": rate.map(|rate| (1.0 - rate).max(0.0)),
        "response_time": {"count": times.len(), "avg": average(&times), "p50": quantile(&times, 0.5), "p95": quantile(&times, 0.95)},
    })
}

/// Every number of `expected` is in `found`, up to rounding.
fn holds(found: &Value, expected: &Value, place: &str) {
    match expected {
        Value::Object(members) => {
            for (name, inner) in members {
                holds(&found[name], inner, &format!("{place}.{name}"));
            }
        }
        Value::Number(number) => {
            let (a, b) = (found.as_f64(), number.as_f64().unwrap());
            assert!(
                a.is_some_and(|a| (a - b).abs() <= 1e-9 * b.abs().max(1.0)),
                "{place}: {found} {expected}"
            );
        }
        _ => assert_eq!(found, expected, "{place}"),
    }
}

fn in_hour(point: &Point, hour: usize) -> bool {
    point.minute.div_euclid(60) == i64::try_from(hour).unwrap()
}

async fn check(app: &TestApp, organization: &str, points: &[Point]) {
    let key = app.key(organization, &["read", "metrics:write"]).await;
    let body: Vec<Value> = points
        .iter()
        .map(|p| {
            let at = Timestamp::from_microsecond(START + p.minute * MINUTE).unwrap().to_string();
            json!({"name": p.name, "value": p.value, "app_id": p.app, "timestamp": at})
        })
        .collect();
    let kept = app.call(Method::POST, "/api/insights/metrics/", &key, &json!(body)).await;
    assert_eq!((kept.status, kept.json()["accepted"].clone()), (StatusCode::ACCEPTED, json!(points.len())));

    let window =
        json!({"start": START, "end": START + 60 * HOURS as i64 * MINUTE, "group_by": "hour", "exact": true});
    let with = |extra: Value| {
        let mut body = window.clone();
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    let answer = app
        .call(Method::POST, "/api/insights/analytics/", &key, &with(json!({"metrics": ["app_metrics"]})))
        .await;
    let family = &answer.json()["metrics"]["app_metrics"];
    let inside: Vec<&Point> = points.iter().filter(|p| (0..60 * HOURS as i64).contains(&p.minute)).collect();
    holds(&family["summary"], &numbers(&inside), "summary");
    let apps: BTreeSet<&str> =
        inside.iter().filter(|p| p.name != "queue.depth").filter_map(|p| p.app).collect();
    assert_eq!(family["apps"].as_array().unwrap().len(), apps.len());
    for row in family["apps"].as_array().unwrap() {
        let of_app: Vec<&Point> =
            inside.iter().copied().filter(|p| p.app == row["app_id"].as_str()).collect();
        holds(row, &numbers(&of_app), "app");
    }
    for (hour, row) in family["series"].as_array().unwrap().iter().enumerate() {
        let of_hour: Vec<&Point> = inside.iter().copied().filter(|p| in_hour(p, hour)).collect();
        let expected = numbers(&of_hour);
        let times = &expected["response_time"];
        let expected = json!({"requests": expected["requests"], "errors": expected["errors"], "error_rate": expected["error_rate"],
            "response_time": {"avg": times["avg"], "p95": times["p95"]}});
        holds(row, &expected, "series");
    }

    let question =
        json!({"name": "queue.depth", "by": ["app_id"], "aggregates": ["count", "sum", "min", "max", "p95"]});
    let answer = app.call(Method::POST, "/api/insights/metrics/query/", &key, &with(question)).await;
    let mut by_app: BTreeMap<Option<&str>, Vec<&Point>> = BTreeMap::new();
    for point in inside.iter().filter(|p| p.name == "queue.depth") {
        by_app.entry(point.app).or_default().push(point);
    }
    let answer = answer.json();
    let series = answer["series"].as_array().unwrap();
    assert_eq!(series.len(), by_app.len());
    for one in series {
        let points = &by_app[&one["labels"]["app_id"].as_str()];
        for (hour, point) in one["points"].as_array().unwrap().iter().enumerate() {
            let values: Vec<f64> = points.iter().filter(|p| in_hour(p, hour)).map(|p| p.value).collect();
            let least = values.iter().copied().reduce(f64::min);
            let expected = json!({"count": values.len(), "sum": values.iter().sum::<f64>(), "min": least,
                "max": values.iter().copied().reduce(f64::max), "p95": quantile(&values, 0.95)});
            holds(point, &expected, "point");
        }
    }
}

#[test]
fn metrics_agree_with_loops_over_plain_points() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let app = TestApp::new();
    let mut runner = TestRunner::new(Config { cases: 32, failure_persistence: None, ..Config::default() });
    let cases = std::cell::Cell::new(0_u32);
    runner
        .run(&proptest::collection::vec(any_point(), 1..200), |points| {
            let case = cases.get() + 1;
            cases.set(case);
            runtime.block_on(check(&app, &format!("org-{case}"), &points));
            if case.is_multiple_of(3) {
                app.flush();
            }
            Ok(())
        })
        .unwrap();
}
