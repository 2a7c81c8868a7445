//! Who may ask for which report, what it answers, and what it leaves behind.

#![expect(clippy::needless_pass_by_value, reason = "bodies are written where they are sent")]

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::testing::{Answer, ROOT, TestApp};

/// Asks for a report.
async fn report(app: &TestApp, key: &str, body: Value) -> Answer {
    app.call(Method::POST, "/api/insights/reports/", key, &body).await
}

/// A window that ends before the acts of the test itself, which are of its clock's one moment.
fn window(extra: Value) -> Value {
    let mut body = json!({"type": "security", "start_date": "2023-11-13T00:00:00Z",
                          "end_date": "2023-11-14T22:00:00Z"});
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

/// Ten users from one address within nine minutes, and a second factor that goes.
async fn attack(app: &TestApp, key: &str) {
    let mut records: Vec<Value> = (0..10)
        .map(|n| {
            json!({"action_type": "user.login_failed", "user_id": format!("u{n}"), "ip_address": "192.0.2.7",
                   "outcome": "failure", "timestamp": format!("2023-11-14T10:0{n}:00Z")})
        })
        .collect();
    records.push(json!({"action_type": "security.2fa_disabled", "user_id": "u3", "id": "the-second-factor",
                        "timestamp": "2023-11-14T10:30:00Z"}));
    let answer = app.call(Method::POST, "/api/insights/audit/", key, &json!(records)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attack_is_told_and_the_same_records_give_the_same_document() {
    let app = TestApp::new();
    let key = app.key("acme", &["audit:write", "audit:read", "read"]).await;
    attack(&app, &key).await;
    let answer = report(&app, &key, window(json!({}))).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
    let made = answer.json();
    let first = &made["report"];
    let rules: Vec<_> = first["findings"].as_array().unwrap().iter().map(|f| f["rule"].clone()).collect();
    assert_eq!(rules, ["password_spraying", "two_factor_disabled"], "{first}");
    let spraying = &first["findings"][0];
    assert_eq!(spraying["subject"], json!({"kind": "address", "value": "192.0.2.7"}));
    assert_eq!(spraying["threshold"], json!({"users": 10, "window_s": 600}));
    assert_eq!(
        (&spraying["first"], &spraying["last"]),
        (&json!("2023-11-14T10:00:00Z"), &json!("2023-11-14T10:09:00Z"))
    );
    assert_eq!((spraying["count"].as_u64(), spraying["severity"].as_str()), (Some(10), Some("error")));
    assert_eq!(first["findings"][1]["evidence"], json!(["the-second-factor"]));
    assert_eq!(first["summary"]["activities"]["failed_logins"], 10);
    assert_eq!(first["summary"]["records"], 11);
    // Every id leads to its record.
    for id in spraying["evidence"].as_array().unwrap() {
        let path = format!("/api/insights/audit/{}/", id.as_str().unwrap());
        assert_eq!(app.call(Method::GET, &path, &key, &Value::Null).await.status, StatusCode::OK);
    }
    app.flush();
    let again = report(&app, &key, window(json!({}))).await;
    assert_eq!((again.status, &again.json()["report"]), (StatusCode::OK, first));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_needs_both_scopes_one_organization_and_a_type_that_exists() {
    let app = TestApp::new();
    for scopes in [&["read"], &["audit:read"]] {
        let key = app.key("acme", scopes).await;
        assert_eq!(report(&app, &key, window(json!({}))).await.status, StatusCode::FORBIDDEN);
    }
    let key = app.key("acme", &["read", "audit:read"]).await;
    assert_eq!(
        report(&app, &key, window(json!({"organization_id": "other"}))).await.status,
        StatusCode::FORBIDDEN
    );
    let own = report(&app, &key, window(json!({"organization_id": "acme"}))).await;
    assert_eq!(own.status, StatusCode::CREATED, "{}", own.json());
    for (key, body, pointer) in [
        (ROOT, window(json!({})), "/organization_id"),
        (&*key, window(json!({"type": "weather"})), "/type"),
        (&*key, window(json!({"type": null})), "/type"),
        (&*key, window(json!({"group_by": "day"})), "/group_by"),
        (&*key, window(json!({"start_date": "2023-11-15T00:00:00Z"})), "/end_date"),
        (&*key, window(json!({"nope": 1})), "/nope"),
    ] {
        let answer = report(&app, key, body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.json());
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{}", answer.json());
    }
    let unknown = report(&app, &key, window(json!({"type": "weather"}))).await.json();
    assert!(unknown["errors"][0]["detail"].as_str().unwrap().contains("security"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_it_is_an_act_on_record_and_lists_have_a_row_a_finding() {
    let app = TestApp::new();
    let key = app.key("acme", &["audit:write", "audit:read", "read"]).await;
    attack(&app, &key).await;
    let path = "/api/insights/reports/?format=csv";
    let csv = app.call(Method::POST, path, &key, &window(json!({}))).await;
    let text = String::from_utf8(csv.bytes).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.contains("password_spraying") && text.contains("the-second-factor"), "{text}");
    let path = "/api/insights/audit/?action_prefix=insights.audit";
    for _ in 0..1_000 {
        let acts = app.call(Method::GET, path, ROOT, &Value::Null).await.json();
        let found = acts["results"].as_array().unwrap().iter().any(|act| {
            act["action_type"] == "insights.audit.exported" && act["content_object"]["id"] == "reports"
        });
        if found {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the act is recorded beside the answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_another_time_leaves_no_gap_in_the_log() {
    let app = TestApp::new();
    let key = app.key("acme", &["audit:write", "audit:read", "read"]).await;
    let at = |time: &str| json!({"action_type": "project.updated", "user_id": "u", "timestamp": time});
    let records = ["2023-11-14T10:00:00Z", "2023-11-10T10:00:00Z", "2023-11-14T10:01:00Z"].map(at);
    let answer = app.call(Method::POST, "/api/insights/audit/", &key, &json!(records)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.json());
    let made = report(&app, &key, window(json!({}))).await.json();
    let report = &made["report"];
    assert_eq!((&report["findings"], &report["summary"]["records"]), (&json!([]), &json!(2)), "{report}");
    // What the hole was asked of is in the cost.
    assert!(made["cost"]["rows_scanned"].as_u64() >= Some(3), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daily_report_is_kept_and_is_the_same_bytes_whenever_it_is_fetched() {
    let app = TestApp::new();
    let key = app.key("acme", &["track", "audit:write", "audit:read", "read"]).await;
    attack(&app, &key).await;
    let event = |user: &str, at: &str| json!({"event_type": "page_view", "user_id": user, "timestamp": at, "event_data": {"page": "/home"}});
    let events = [
        event("ann", "2023-11-12T09:00:00Z"),
        event("ann", "2023-11-13T09:00:00Z"),
        event("bob", "2023-11-13T10:30:00Z"),
    ];
    let sent = app.call(Method::POST, "/api/insights/track/", &key, &json!(events)).await;
    assert_eq!(sent.status, StatusCode::ACCEPTED, "{}", sent.json());
    let day = json!({"type": "daily", "date": "2023-11-13"});
    let made = report(&app, &key, day.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.json());
    let first = made.json();
    assert_eq!((&first["stored"], &first["type"]), (&json!(true), &json!("daily")));
    assert_eq!(first["window"], json!({"start": "2023-11-13T00:00:00Z", "end": "2023-11-14T00:00:00Z"}));
    assert_eq!(first["generated_at"], "2023-11-14T22:13:20Z");
    let metrics = &first["report"]["metrics"];
    assert_eq!(metrics["user_activity"]["summary"]["active_users"], 2);
    assert_eq!(metrics["user_activity"]["series"].as_array().unwrap().len(), 24);
    let change = &first["report"]["comparison"]["metrics"]["user_activity"]["change"]["active_users"];
    assert_eq!(change, &json!({"absolute": 1, "relative": 1.0}));
    // Later events and another spelling of the same day change nothing.
    let late = event("eve", "2023-11-13T11:00:00Z");
    app.call(Method::POST, "/api/insights/track/", &key, &late).await;
    app.flush();
    let same =
        json!({"type": "daily", "start_date": "2023-11-13T00:00:00Z", "end_date": "2023-11-14T00:00:00Z"});
    let again = report(&app, &key, same).await;
    assert_eq!(again.status, StatusCode::OK);
    let path = format!("/api/insights/reports/{}/", first["id"].as_str().unwrap());
    let fetched = app.call(Method::GET, &path, &key, &Value::Null).await;
    assert_eq!(fetched.status, StatusCode::OK);
    assert_eq!(fetched.bytes, again.bytes);
    let body = crate::report::stored::body::canonical(&fetched.json()["report"]);
    assert_eq!(crate::report::stored::body::sha256(&body), first["sha256"]);
    assert_eq!(fetched.json()["report"], first["report"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_is_not_over_is_answered_and_not_kept() {
    let app = TestApp::new();
    let key = app.key("acme", &["track", "read"]).await;
    let open = report(&app, &key, json!({"type": "daily", "date": "2023-11-14"})).await;
    assert_eq!(open.status, StatusCode::OK);
    let open = open.json();
    assert_eq!((&open["stored"], &open["id"], &open["sha256"]), (&json!(false), &Value::Null, &Value::Null));
    assert_eq!(open["report"].get("audit"), None, "without audit:read nothing is told of the log");
    let listed = app.call(Method::GET, "/api/insights/reports/", &key, &Value::Null).await.json();
    assert_eq!(listed["results"], json!([]));
}
