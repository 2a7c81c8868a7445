//! The four routes that take records, over HTTP: statuses, headers, scopes, and the OpenAPI document.

use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::{Value, json};

use crate::ingest::idempotency;
use crate::testing::{ROOT, TestApp};

async fn post(app: &TestApp, path: &str, key: &str, body: &Value) -> (u16, Value) {
    let answer = app.call(Method::POST, path, key, body).await;
    (answer.status.as_u16(), answer.json())
}

#[tokio::test]
async fn each_route_answers_with_its_status_and_counts() {
    let app = TestApp::new();
    let key = app.key("acme", &["track", "audit:write", "metrics:write", "admin"]).await;
    let event = json!({"event_type": "a"});
    let point = json!({"name": "cpu.usage", "value": 1});
    let action = json!({"action_type": "project.created"});
    let table = [
        ("/api/insights/track/", &event, 202),
        ("/api/insights/track", &event, 202),
        ("/api/insights/metrics/", &point, 202),
        ("/api/insights/audit/", &action, 201),
        ("/api/insights/import/?stream=events", &event, 202),
        ("/api/insights/import/?stream=audit", &action, 202),
        ("/api/insights/import/?stream=metrics", &point, 202),
        ("/api/insights/import/?stream=logs", &event, 422),
        ("/api/insights/import/", &event, 422),
        ("/api/insights/track/?strict=perhaps", &event, 422),
    ];
    for (path, body, status) in table {
        let (got, answer) = post(&app, path, &key, body).await;
        assert_eq!(got, status, "{path}: {answer}");
        if status < 300 {
            assert_eq!((&answer["accepted"], &answer["errors"]), (&json!(1), &json!([])), "{path}");
            assert_eq!(answer.get("records").is_some(), body == &action, "{path}");
            assert_eq!(answer.get("session_id").is_some(), body == &event, "{path}");
        }
    }
    let (status, problem) = post(&app, "/api/insights/track/", &key, &json!([{"event_type": "a"}, {}])).await;
    assert_eq!((status, &problem["rejected"]), (202, &json!(1)));
    let (status, problem) = post(&app, "/api/insights/track/?strict=true", &key, &json!([event, {}])).await;
    assert_eq!(
        (status, &problem["code"], &problem["errors"][0]["index"]),
        (422, &json!("invalid"), &json!(1))
    );
    let (status, problem) = post(&app, "/api/insights/track/", &key, &json!({})).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("/event_type")));
    assert!(problem["errors"][0].get("index").is_none());
}

#[tokio::test]
async fn without_the_scope_or_a_credential_nothing_is_taken() {
    let app = TestApp::new();
    let reader = app.key("acme", &["read"]).await;
    let tracker = app.key("acme", &["track"]).await;
    let event = json!({"event_type": "a"});
    for path in ["track/", "metrics/", "audit/", "import/?stream=events"] {
        let path = format!("/api/insights/{path}");
        assert_eq!(post(&app, &path, "wrong", &event).await.0, 401, "{path}");
        assert_eq!(post(&app, &path, &reader, &event).await.0, 403, "{path}");
    }
    assert_eq!(post(&app, "/api/insights/import/?stream=events", &tracker, &event).await.0, 403);
    let foreign = json!([event, {"event_type": "a", "organization_id": "other"}]);
    assert_eq!(post(&app, "/api/insights/track/", &tracker, &foreign).await.0, 403);
    assert_eq!(post(&app, "/api/insights/track/", ROOT, &event).await.0, 422);
}

#[tokio::test]
async fn an_idempotency_key_is_visible_ascii_and_bound_to_its_body() {
    let app = TestApp::new();
    let send = async |key: &str, body: &str| {
        let request = Request::post("/api/insights/track/")
            .header(header::AUTHORIZATION, format!("Bearer {ROOT}"))
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .header(idempotency::IDEMPOTENCY_KEY, key);
        let answer = app.send(request.body(Body::from(body.to_owned())).unwrap()).await;
        (answer.status.as_u16(), answer.json())
    };
    let body = "{\"event_type\":\"a\",\"organization_id\":\"acme\"}\n{}";
    let first = send("once", body).await;
    assert_eq!((first.0, &first.1["accepted"], &first.1["rejected"]), (202, &json!(1), &json!(1)));
    assert_eq!(send("once", body).await, first);
    let (status, problem) = send("once", &body.replace("acme", "other")).await;
    assert_eq!((status, &problem["code"]), (422, &json!("idempotency_mismatch")));
    assert_eq!(send("two words", body).await.0, 422);
}

#[test]
fn the_document_describes_every_route_with_its_bodies() {
    let document = serde_json::to_value(crate::openapi::document()).unwrap();
    for path in ["track", "audit", "metrics", "import"] {
        let operation = &document["paths"][format!("/api/insights/{path}/")]["post"];
        assert!(operation["requestBody"]["content"]["application/json"]["schema"].is_object(), "{path}");
        assert!(operation["responses"]["422"].is_object(), "{path}");
    }
    for schema in ["EventBody", "AuditBody", "PointBody", "IngestAnswer", "AuditReceipt"] {
        assert!(document["components"]["schemas"][schema].is_object(), "{schema}");
    }
}
