//! Stories of erasure and retention over the whole application.

use axum::http::{Method, StatusCode, header};
use serde_json::{Value, json};

use crate::testing::{ROOT, TestApp};

const ORGANIZATION: &str = "/api/insights/organizations/acme/";

/// Two users' events, audit records and a point of `acme`, and a key that administers it.
async fn filled(app: &TestApp) -> String {
    let admin = app.key("acme", &["admin"]).await;
    for user in ["ann", "bob"] {
        let event =
            json!({"event_type": "click", "user_id": user, "event_data": {"mail": format!("{user}@x.org")}});
        let record =
            json!({"action_type": "file.read", "user_id": user, "user_name": format!("name of {user}")});
        let point = json!({"name": "jobs", "value": 1, "user_id": user});
        for (path, body, status) in [("track", event, 202), ("audit", record, 201), ("metrics", point, 202)] {
            let answer = app.call(Method::POST, &format!("/api/insights/{path}/"), &admin, &body).await;
            assert_eq!(answer.status, status, "{answer:?}");
        }
    }
    admin
}

async fn get(app: &TestApp, path: &str, key: &str) -> Value {
    let answer = app.call(Method::GET, path, key, &Value::Null).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
    answer.json()
}

/// The record of an own act; it is written beside the answer, so asking again is waiting for it.
async fn own_act(app: &TestApp, action: &str) -> Value {
    loop {
        let found =
            get(app, &format!("/api/insights/audit/?action_type={action}&include=insights"), ROOT).await;
        if let Some(record) = found["results"].get(0) {
            return record.clone();
        }
        tokio::task::yield_now().await;
    }
}

async fn erase(app: &TestApp, path: &str, key: &str) -> (String, Value) {
    let answer = app.call(Method::DELETE, path, key, &Value::Null).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    (answer.headers[header::LOCATION].to_str().unwrap().to_owned(), answer.json())
}

#[tokio::test]
async fn an_erased_user_is_hidden_at_once_and_the_receipt_says_when_it_is_done() {
    let app = TestApp::new();
    let admin = filled(&app).await;
    let before = get(&app, "/api/insights/audit/?order=asc", &admin).await;
    let (address, body) = erase(&app, &format!("{ORGANIZATION}users/ann/"), &admin).await;
    assert_eq!((&body["status"], &body["subject"]), (&json!("hidden"), &json!("user")));
    assert_eq!(body["completed_at"], Value::Null);
    assert!(address.ends_with(&format!("/erasures/{}/", body["id"].as_str().unwrap())));
    let (again, _) = erase(&app, &format!("{ORGANIZATION}users/ann/"), &admin).await;
    assert_eq!(again, address, "it is the same erasure");
    let check = async || {
        let events = get(&app, "/api/insights/events/", &admin).await;
        assert_eq!(events["results"].as_array().unwrap().len(), 1);
        assert_eq!(events["results"][0]["user_id"], "bob");
        let audit = get(&app, "/api/insights/audit/?order=asc", &admin).await;
        let erased = &audit["results"][0];
        assert_eq!((&erased["erased"], &erased["user_id"]), (&json!(true), &Value::Null));
        assert_eq!((&erased["user_name"], &erased["action_type"]), (&Value::Null, &json!("file.read")));
        assert_eq!(erased["seq"], before["results"][0]["seq"]);
        assert_eq!(erased["leaf_hash"], before["results"][0]["leaf_hash"], "the log is proven as before");
        assert_eq!(audit["results"][1]["erased"], false);
        let usage = get(&app, &format!("{ORGANIZATION}usage/"), &admin).await;
        assert_eq!(
            (&usage["streams"]["events"]["rows"], &usage["streams"]["metrics"]["rows"]),
            (&json!(1), &json!(1))
        );
    };
    check().await;
    assert_eq!(get(&app, &address, &admin).await["status"], "hidden");
    app.engine().run_erasures().unwrap();
    check().await;
    let receipt = get(&app, &address, &admin).await;
    assert_eq!(receipt["status"], "completed");
    assert_eq!(receipt["removed"], json!({"events": 1, "metrics": 1, "audit": 1}));
    let act = own_act(&app, "insights.user.erased").await;
    assert_eq!(act["content_object"]["id"], receipt["id"]);
    assert_eq!(act["organization_id"], "acme");
    assert!(!act.to_string().contains("ann"), "the record of the act does not name the user");
}

#[tokio::test]
async fn an_erased_organization_is_gone_with_its_keys_and_one_of_its_name_begins_anew() {
    let app = TestApp::new();
    let admin = filled(&app).await;
    let (address, body) = erase(&app, ORGANIZATION, &admin).await;
    assert_eq!(body["subject"], "organization");
    let refused = app.call(Method::GET, "/api/insights/events/", &admin, &Value::Null).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let all = get(&app, "/api/insights/events/", ROOT).await;
    assert_eq!(all["results"], json!([]));
    let gone = app.call(Method::GET, &format!("{ORGANIZATION}usage/"), ROOT, &Value::Null).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    let (again, _) = erase(&app, ORGANIZATION, ROOT).await;
    assert_eq!(again, address);
    app.engine().run_erasures().unwrap();
    let receipt = get(&app, &address, ROOT).await;
    assert_eq!(receipt["removed"]["events"], 2);
    assert_eq!(own_act(&app, "insights.organization.erased").await["organization_id"], "_platform");
    let key = app.key("acme", &["admin"]).await;
    assert_eq!(get(&app, "/api/insights/events/", &key).await["results"], json!([]));
    let record = json!({"action_type": "file.read"});
    let kept = app.call(Method::POST, "/api/insights/audit/", &key, &record).await.json();
    // The record of the key that was made may have come first.
    assert!(kept["records"][0]["seq"].as_u64().is_some_and(|seq| (1..=2).contains(&seq)), "{kept}");
    let foreign = app.call(Method::GET, &address, &key, &Value::Null).await;
    assert_eq!(foreign.status, StatusCode::NOT_FOUND, "the receipt is not the new one's");
}

#[tokio::test]
async fn what_may_not_be_erased_is_refused() {
    let app = TestApp::new();
    filled(&app).await;
    let reader = app.key("acme", &["read"]).await;
    for (path, key, status) in [
        ("/api/insights/organizations/acme/", reader.as_str(), 403),
        ("/api/insights/organizations/acme/users/ann/", &reader, 403),
        ("/api/insights/organizations/_platform/", ROOT, 422),
        ("/api/insights/organizations/nobody/", ROOT, 404),
        ("/api/insights/organizations/nobody/users/ann/", ROOT, 404),
        ("/api/insights/organizations/acme/users/a%20b/", ROOT, 422),
    ] {
        let answer = app.call(Method::DELETE, path, key, &Value::Null).await;
        assert_eq!(answer.status, status, "{path}");
    }
    let unknown = format!("{ORGANIZATION}erasures/{}/", "0".repeat(32));
    assert_eq!(app.call(Method::GET, &unknown, ROOT, &Value::Null).await.status, 404);
}

#[tokio::test]
async fn retention_hides_refuses_and_answers_for_what_it_does_not_keep() {
    let app = TestApp::new();
    let admin = filled(&app).await;
    let path = format!("{ORGANIZATION}retention/");
    let forever = get(&app, &path, &admin).await;
    assert_eq!(forever["events"]["raw_days"], Value::Null);
    let old = json!({"event_type": "click", "user_id": "ann", "timestamp": "2023-11-01T12:00:00Z"});
    let import = "/api/insights/import/?stream=events";
    assert_eq!(app.call(Method::POST, import, &admin, &old).await.status, 202);
    let document = json!({"events": {"raw_days": 7, "rollup_1d_days": 400}, "audit": {"raw_days": 1095}});
    let set = app.call(Method::PUT, &path, &admin, &document).await;
    assert_eq!(set.status, StatusCode::OK, "{set:?}");
    assert_eq!(set.json()["events"]["rollup_1d_days"], 400);
    assert_eq!(get(&app, &path, &admin).await, set.json());
    let events = get(&app, "/api/insights/events/", &admin).await;
    assert_eq!(events["results"].as_array().unwrap().len(), 2, "the old one is hidden");
    let refused = app.call(Method::POST, import, &admin, &old).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused.json()["errors"][0]["code"], "older_than_retention");
    let question = json!({
        "start_date": "2023-10-30", "end_date": "2023-11-14", "metrics": ["user_activity"],
        "filters": [["user_id", "is", "ann"]],
    });
    let expired = app.call(Method::POST, "/api/insights/analytics/", &admin, &question).await;
    assert_eq!(
        (expired.status.as_u16(), &expired.json()["code"]),
        (422, &json!("rows_expired")),
        "{expired:?}"
    );
    let wrong = app.call(Method::PUT, &path, &admin, &json!({"events": {"raw_days": 0}})).await;
    assert_eq!(wrong.json()["errors"][0]["pointer"], "/events/raw_days");
}
