//! Reports that are asked by query parameters, as tools do that can only get.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::testing::{Answer, TestApp};

async fn get(app: &TestApp, key: &str, path_and_query: &str) -> Answer {
    app.call(Method::GET, &format!("/api/insights/{path_and_query}"), key, &Value::Null).await
}

/// An answer without what differs from one moment to the next.
fn lasting(answer: &Answer) -> Value {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    let mut json = answer.json();
    let members = json.as_object_mut().unwrap();
    for name in ["generated_at", "cost", "cached"] {
        members.remove(name);
    }
    json
}

fn lines(answer: &Answer) -> usize {
    std::str::from_utf8(&answer.bytes).unwrap().lines().count()
}

async fn filled() -> (TestApp, String) {
    let app = TestApp::new();
    let key = app.key("acme", &["track", "metrics:write", "read"]).await;
    let events = json!([
        {"event_type": "page_view", "user_id": "u1", "timestamp": "2023-11-13T10:00:00Z", "app_id": "a", "event_data": {"page": "/"}},
        {"event_type": "=cmd", "user_id": "u2", "timestamp": "2023-11-14T10:00:00Z", "app_id": "a"},
    ]);
    let points = json!([
        {"name": "response.time", "value": 120, "app_id": "a", "timestamp": "2023-11-13T10:00:00Z"},
        {"name": "requests.count", "value": 4, "app_id": "a", "timestamp": "2023-11-13T10:00:00Z"},
    ]);
    for (path, body) in [("track", events), ("metrics", points)] {
        let sent = app.call(Method::POST, &format!("/api/insights/{path}/"), &key, &body).await;
        assert_eq!(sent.json()["rejected"], 0, "{}", sent.json());
    }
    (app, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_answered_as_the_body_they_stand_for() {
    let (app, key) = filled().await;
    for (path, query, body) in [
        (
            "analytics/",
            "start_date=2023-11-13&end_date=2023-11-14&metrics=user_activity,app_metrics&timezone=Asia/Kolkata&compare=previous_period\
             &filters=%5B%5B%22app_id%22%2C%22is%22%2C%22a%22%5D%5D&exact=true&breakdown=event_type",
            json!({"start_date": "2023-11-13", "end_date": "2023-11-14", "metrics": ["user_activity", "app_metrics"],
                   "timezone": "Asia/Kolkata", "compare": "previous_period", "filters": [["app_id", "is", "a"]],
                   "exact": true, "breakdown": "event_type"}),
        ),
        (
            "performance/",
            "app_id=a&start_date=2023-11-13&end_date=2023-11-14&group_by=hour&apdex_t_ms=100&metrics=response_time&metrics=error_rate",
            json!({"app_id": "a", "start_date": "2023-11-13", "end_date": "2023-11-14", "group_by": "hour",
                   "apdex_t_ms": 100, "metrics": ["response_time", "error_rate"]}),
        ),
        (
            "metrics/query/",
            "names=response.time,requests.count&start=1699833600&end=2023-11-14T00:00:00Z&step=1h&aggregates=avg,count&by=app_id",
            json!({"names": ["response.time", "requests.count"], "start": 1_699_833_600, "end": "2023-11-14T00:00:00Z",
                   "step": "1h", "aggregates": ["avg", "count"], "by": ["app_id"]}),
        ),
    ] {
        let posted = app.call(Method::POST, &format!("/api/insights/{path}"), &key, &body).await;
        let got = get(&app, &key, &format!("{path}?{query}")).await;
        assert_eq!(lasting(&got), lasting(&posted), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_a_table_whose_rows_all_have_every_column() {
    let (app, key) = filled().await;
    let query = "start_date=2023-11-13&end_date=2023-11-14&metrics=user_activity&breakdown=event_type";
    let rows = get(&app, &key, &format!("analytics/?{query}&format=rows")).await;
    assert_eq!(rows.status, StatusCode::OK);
    let rows = rows.json();
    let rows = rows.as_array().expect("an array is the root");
    assert_eq!(rows.len(), 2, "a row for each bucket");
    let columns = |row: &Value| row.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(columns(&rows[0]), columns(&rows[1]));
    assert_eq!(rows[0]["user_activity.events"], 1);
    assert_eq!(
        (&rows[0]["user_activity.breakdown.=cmd"], &rows[1]["user_activity.breakdown.=cmd"]),
        (&json!(0), &json!(1))
    );
    // The same rows as NDJSON and CSV have.
    let ndjson = get(&app, &key, &format!("analytics/?{query}&format=ndjson")).await;
    assert_eq!(lines(&ndjson), rows.len());
    let csv = get(&app, &key, &format!("analytics/?{query}&format=csv")).await;
    assert_eq!(lines(&csv), rows.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_parameters_are_refused_with_their_names() {
    let (app, key) = filled().await;
    let window = "start_date=2023-11-13&end_date=2023-11-14";
    for (query, pointer) in [
        (format!("analytics/?{window}&colour=red"), "/colour"),
        (format!("analytics/?{window}&filters=%7B"), "/filters"),
        (format!("analytics/?{window}&exact=maybe"), "/exact"),
        (format!("analytics/?{window}&group_by=day&group_by=hour"), "/group_by"),
        (format!("analytics/?{window}&format=xml"), "/format"),
        (format!("performance/?{window}"), "/app_id"),
        ("metrics/query/?name=cpu.usage".to_owned(), "/start"),
    ] {
        let answer = get(&app, &key, &query).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        let json = answer.json();
        let pointers: Vec<_> =
            json["errors"].as_array().unwrap().iter().map(|e| e["pointer"].as_str().unwrap()).collect();
        assert!(pointers.iter().any(|found| found.starts_with(pointer)), "{query}: {pointers:?}");
    }
    let foreign = get(&app, &key, &format!("analytics/?{window}&organization_id=other")).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
}
