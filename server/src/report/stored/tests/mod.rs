//! Stored reports over the whole application.

mod damage;
mod erasure;
mod expiry;
mod nightly;
mod numbers;
mod records;
mod shelf;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::testing::{Answer, TestApp};

const REPORTS: &str = "/api/insights/reports/";

/// Asks for a report, which must be given.
async fn made(app: &TestApp, key: &str, body: Value) -> Value {
    let answer = app.call(Method::POST, REPORTS, key, &body).await;
    assert!(answer.status.is_success(), "{body}: {}", answer.json());
    answer.json()
}

/// Fetches something.
async fn get(app: &TestApp, key: &str, path: &str) -> Answer {
    app.call(Method::GET, path, key, &Value::Null).await
}

/// Asks a question of another route, which must be answered.
async fn asked(app: &TestApp, key: &str, path: &str, body: &Value) -> Value {
    let answer = app.call(Method::POST, path, key, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{body}: {}", answer.json());
    answer.json()
}

/// Sends records, which must be taken.
async fn send(app: &TestApp, key: &str, route: &str, records: &[Value]) {
    let path = format!("/api/insights/{route}/");
    let answer = app.call(Method::POST, &path, key, &json!(records)).await;
    assert!(answer.status.is_success(), "{}", answer.json());
    let rejected = answer.json().get("rejected").cloned().unwrap_or_default();
    assert!(rejected == json!(0) || rejected.is_null(), "{}", answer.json());
}

/// The path of a report.
fn path_of(report: &Value) -> String {
    format!("{REPORTS}{}/", report["id"].as_str().unwrap())
}
