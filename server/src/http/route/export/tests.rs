//! Exports over the router: whole, in three formats, of one's own organization.

use axum::http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use crate::export::rows::hex;
use crate::testing::{Answer, ROOT, TestApp};

async fn post(app: &TestApp, route: &str, key: &str, body: Value) {
    let answer = app.call(Method::POST, &format!("/api/insights/{route}/"), key, &body).await;
    assert!(answer.status.is_success(), "{answer:?}");
}

async fn export(app: &TestApp, key: &str, query: &str) -> Answer {
    app.call(Method::GET, &format!("/api/insights/export/?{query}"), key, &Value::Null).await
}

/// The lines of an export in NDJSON, after its trailer was found to be right.
fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let text = std::str::from_utf8(&answer.bytes).unwrap();
    let last = text.trim_end().rfind('\n').map_or(0, |at| at + 1);
    let (records, trailer) = text.split_at(last);
    let trailer: Value = serde_json::from_str(trailer).unwrap();
    let records_of: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected =
        json!({ "complete": true, "records": records_of.len(), "sha256": hex(&Sha256::digest(records)) });
    assert_eq!(trailer["trailer"], expected);
    records_of
}

/// Sixteen thousand points, several pages, half of them in a segment; events and audit records of two organizations.
async fn filled() -> (TestApp, String) {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    let other = app.key("other", &["admin"]).await;
    for half in 0..2 {
        let points: Vec<Value> = (0..8_000)
            .map(|n| json!({ "name": "queue.depth", "value": half * 8_000 + n, "labels": { "q": "=a" }, "host": "h1" }))
            .collect();
        post(&app, "metrics", &key, json!(points)).await;
        post(&app, "metrics", &key, json!({ "name": "response_time", "value": 1.5, "app_id": "shop" })).await;
        if half == 0 {
            app.flush();
        }
    }
    for user in ["ann", "bob"] {
        post(
            &app,
            "track",
            &key,
            json!({ "event_type": "click", "user_id": user, "event_data": { "page": "/a" } }),
        )
        .await;
        post(&app, "audit", &key, json!({ "action_type": "user.login", "user_id": user })).await;
    }
    post(&app, "track", &other, json!({ "event_type": "click", "user_id": "ann" })).await;
    (app, key)
}

#[tokio::test]
async fn every_record_is_in_it_once_and_the_trailer_proves_it() {
    let (app, key) = filled().await;
    let points = lines(&export(&app, &key, "stream=metrics").await);
    assert_eq!(points.len(), 16_002);
    let mut depths: Vec<i64> = points
        .iter()
        .filter(|p| p["name"] == "queue.depth")
        .map(|p| p["value"].to_string().trim_end_matches(".0").parse().unwrap())
        .collect();
    depths.sort_unstable();
    assert_eq!(depths, (0..16_000).collect::<Vec<_>>());
    let expected = json!({ "name": "response.time", "type": "histogram", "value": 1.5, "app_id": "shop" });
    let query = "stream=metrics&name=response_time&fields=name,type,value,app_id";
    assert_eq!(lines(&export(&app, &key, query).await), [expected.clone(), expected]);

    let users = |found: &[Value]| -> Vec<String> {
        found.iter().map(|event| event["user_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(users(&lines(&export(&app, &key, "stream=events").await)), ["ann", "bob"]);
    assert_eq!(users(&lines(&export(&app, &key, "stream=events&order=desc").await)), ["bob", "ann"]);
    assert_eq!(users(&lines(&export(&app, &key, "stream=events&user_id=bob").await)), ["bob"]);
    assert_eq!(lines(&export(&app, &key, "stream=events&end=2001-01-01").await), [Value::Null; 0]);
    let all = lines(&export(&app, ROOT, "stream=events&fields=organization_id").await);
    let organizations: Vec<_> = all.iter().map(|event| event["organization_id"].clone()).collect();
    assert_eq!(organizations, ["acme", "acme", "other"]);
}

#[tokio::test]
async fn the_log_is_exported_without_holes_and_that_leaves_a_record() {
    let (app, key) = filled().await;
    let before = lines(&export(&app, &key, "stream=audit").await);
    let seqs: Vec<u64> = before.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "with those of the server itself");
    loop {
        let after = lines(&export(&app, &key, "stream=audit&action_type=insights.audit.exported").await);
        if !after.is_empty() {
            assert_eq!(after.len(), 1);
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn three_formats_have_the_same_records() {
    let (app, key) = filled().await;
    let query = "stream=metrics&fields=name,value,labels";
    let ndjson = lines(&export(&app, &key, query).await);
    let json = export(&app, &key, &format!("{query}&format=json")).await;
    assert_eq!(json.headers["content-type"], "application/json");
    assert_eq!(json.json()["results"], json!(ndjson));
    assert_eq!(json.json()["trailer"]["records"], 16_002);
    let csv = export(&app, &key, &format!("{query}&format=csv")).await;
    let text = String::from_utf8(csv.bytes).unwrap();
    let (records, trailer) = text.split_at(text.rfind("# complete").unwrap());
    let sum = hex(&Sha256::digest(records));
    assert_eq!(trailer, format!("# complete=true records=16002 sha256={sum}\r\n"));
    let rows: Vec<Value> = records
        .lines()
        .skip(1)
        .map(|line| {
            let (name, rest) = line.split_once(',').unwrap();
            let (value, labels) = rest.split_once(',').unwrap();
            let labels: Value =
                serde_json::from_str(&labels.trim_matches('"').replace("\"\"", "\"")).unwrap();
            json!({ "name": name, "value": value.parse::<f64>().unwrap(), "labels": labels })
        })
        .collect();
    assert_eq!(rows, ndjson);
    let bare = export(&app, &key, &format!("{query}&format=csv&trailer=false")).await;
    assert_eq!(String::from_utf8(bare.bytes).unwrap(), records);
}

#[tokio::test]
async fn what_is_not_ones_own_and_what_makes_no_sense_is_refused() {
    let (app, key) = filled().await;
    let reader = app.key("acme", &["read"]).await;
    for (key, query, status) in [
        (&key, "stream=events&organization_id=other", StatusCode::FORBIDDEN),
        (&reader, "stream=audit", StatusCode::FORBIDDEN),
        (&key, "", StatusCode::UNPROCESSABLE_ENTITY),
        (&key, "stream=logs", StatusCode::UNPROCESSABLE_ENTITY),
        (&key, "stream=events&name=cpu.usage", StatusCode::UNPROCESSABLE_ENTITY),
        (&key, "stream=metrics&fields=nope", StatusCode::UNPROCESSABLE_ENTITY),
        (&key, "stream=events&start=soon", StatusCode::UNPROCESSABLE_ENTITY),
        (&key, "stream=events&limit=5", StatusCode::UNPROCESSABLE_ENTITY),
        (&key, "stream=events&trailer=false&allow_partial=true", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let answer = export(&app, key, query).await;
        assert_eq!(answer.status, status, "{query}: {answer:?}");
    }
    assert_eq!(lines(&export(&app, &reader, "stream=events").await).len(), 2);
}

#[tokio::test]
async fn an_export_is_cut_when_somebody_is_erased_meanwhile() {
    let (app, key) = filled().await;
    let request = axum::http::Request::get("/api/insights/export/?stream=metrics")
        .header("authorization", format!("Bearer {key}"))
        .body(axum::body::Body::empty())
        .unwrap();
    // Its pieces wait for the client: the first page alone is read now.
    let mut body = app.app.clone().oneshot(request).await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap();
    assert!(first.data_ref().unwrap().starts_with(b"{"));
    let erase = "/api/insights/organizations/acme/users/ann/";
    assert_eq!(app.call(Method::DELETE, erase, &key, &Value::Null).await.status, StatusCode::ACCEPTED);
    let rest = body.collect().await;
    assert!(rest.is_err(), "no trailer, and the connection is cut");
}
