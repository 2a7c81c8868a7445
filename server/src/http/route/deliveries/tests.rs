//! What is listed of deliveries, and dead letters that are sent again.

use axum::http::Method;
use serde_json::{Value, json};

use super::*;
use crate::notify::ChannelId;
use crate::notify::message::tests::message;
use crate::notify::testing::{Receiver, answer, config};
use crate::testing::{ROOT, TestApp};

const PATH: &str = "/api/insights/alerts/deliveries/";

async fn list(app: &TestApp, key: &str, query: &str) -> Value {
    let answer = app.call(Method::GET, &format!("{PATH}{query}"), key, &Value::Null).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_dead_letter_is_listed_with_its_reason_and_sent_again_under_its_id() {
    let app = TestApp::with(config());
    let admin = app.key("acme", &["admin"]).await;
    let other = app.key("beta", &["admin"]).await;
    let mut receiver = Receiver::answering(|n| answer(if n == 0 { 410 } else { 200 }, "")).await;
    let body = json!({"name": "n", "type": "webhook", "url": receiver.url("/")});
    let made = app.call(Method::POST, "/api/insights/alerts/channels/", &admin, &body).await.json();
    let channel = ChannelId::parse(made["id"].as_str().unwrap()).unwrap();
    app.state.notify.enqueue(&[channel], message("g", app.state.clock.now())).await.unwrap();
    let queued = list(&app, &admin, "?state=queued").await;
    assert_eq!(queued["results"][0]["next_attempt_at"], "2023-11-14T22:13:20Z");
    assert_eq!(queued["results"][0]["last_attempt"], Value::Null);
    app.state.notify.step().await;
    let first = receiver.next().await;
    let dead = list(&app, &admin, "?state=dead").await["results"][0].clone();
    assert_eq!((&dead["attempts"], &dead["next_attempt_at"]), (&json!(1), &Value::Null));
    let attempt = json!({"at": "2023-11-14T22:13:20Z", "status": 410, "error": "the answer is 410"});
    assert_eq!(dead["last_attempt"], attempt);
    let again = format!("{PATH}{}/redeliver/", dead["id"].as_str().unwrap());
    for (key, path) in [(&other, again.clone()), (&admin, format!("{PATH}msg_unknown/redeliver/"))] {
        let missing = app.call(Method::POST, &path, key, &Value::Null).await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND, "{path}");
    }
    let accepted = app.call(Method::POST, &again, &admin, &Value::Null).await;
    assert_eq!((accepted.status, &accepted.json()["state"]), (StatusCode::ACCEPTED, &json!("queued")));
    let twice = app.call(Method::POST, &again, &admin, &Value::Null).await;
    assert_eq!(twice.status, StatusCode::CONFLICT);
    app.state.notify.step().await;
    let second = receiver.next().await;
    assert_eq!(first.headers["webhook-id"], second.headers["webhook-id"]);
    assert_eq!(first.body, second.body);
    let delivered = list(&app, &admin, "?state=delivered").await;
    assert_eq!(delivered["results"][0]["last_attempt"]["status"], 200);
    assert_eq!(list(&app, ROOT, "").await["results"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn deliveries_come_in_pages_and_formats_and_by_channel() {
    let app = TestApp::with(config());
    let admin = app.key("acme", &["admin"]).await;
    let mut channels = Vec::new();
    for _ in 0..2 {
        let body = json!({"name": "n", "type": "webhook", "url": "https://x.example/"});
        let made = app.call(Method::POST, "/api/insights/alerts/channels/", &admin, &body).await.json();
        channels.push(ChannelId::parse(made["id"].as_str().unwrap()).unwrap());
    }
    for n in 0..5 {
        let mut told = message(&n.to_string(), app.state.clock.now());
        told.title = format!("=title {n}");
        app.state.notify.enqueue(&channels, told).await.unwrap();
    }
    let first = list(&app, &admin, "?limit=6").await;
    let next = first["next_cursor"].as_str().unwrap();
    let second = list(&app, &admin, &format!("?limit=6&cursor={next}")).await;
    let results = |page: &Value| page["results"].as_array().unwrap().clone();
    let titles: Vec<String> = [results(&first), results(&second)]
        .concat()
        .iter()
        .map(|delivery| delivery["title"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((titles.len(), &titles[0][..], &titles[9][..]), (10, "=title 4", "=title 0"));
    assert_eq!(results(&list(&app, &admin, &format!("?channel_id={}", channels[0])).await).len(), 5);
    assert!(results(&list(&app, &admin, "?state=dead").await).is_empty());
    let csv = app.call(Method::GET, &format!("{PATH}?format=csv"), &admin, &Value::Null).await;
    let text = String::from_utf8(csv.bytes).unwrap();
    assert!(text.starts_with("id,organization_id,channel_id,state,") && text.contains("'=title 4"), "{text}");
    let wrong = app.call(Method::GET, &format!("{PATH}?state=lost"), &admin, &Value::Null).await;
    assert_eq!(wrong.json()["errors"][0]["pointer"], "/state");
}
