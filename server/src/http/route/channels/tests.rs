//! Who makes which channels, what is shown of them, and what becomes of their messages.

use axum::http::Method;
use insights_engine::append::CatalogKind;
use insights_engine::id::TenantId;
use serde_json::{Value, json};

use super::*;
use crate::notify::send::signature;
use crate::notify::testing::{Receiver, answer, config};
use crate::testing::{ROOT, TestApp};

const PATH: &str = "/api/insights/alerts/channels/";

fn webhook(url: &str) -> Value {
    json!({ "name": "on call", "type": "webhook", "url": url })
}

async fn post(app: &TestApp, key: &str, body: &Value) -> crate::testing::Answer {
    app.call(Method::POST, PATH, key, body).await
}

/// Makes a channel and gives its id.
async fn make(app: &TestApp, key: &str, body: &Value) -> String {
    let answer = post(app, key, body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn get(app: &TestApp, key: &str, id: &str) -> Value {
    app.call(Method::GET, &format!("{PATH}{id}/"), key, &Value::Null).await.json()
}

#[tokio::test]
async fn a_secret_is_shown_once_and_a_url_only_as_far_as_it_is_none() {
    let app = TestApp::new();
    let admin = app.key("acme", &["admin"]).await;
    let made = post(&app, &admin, &webhook("https://hooks.example/in/T0KEN?t=T0KEN")).await.json();
    assert!(signature::key_of(made["secret"].as_str().unwrap()).is_ok(), "{made}");
    assert_eq!((&made["url"], &made["has_secret"]), (&json!("https://hooks.example/..."), &json!(true)));
    let id = made["id"].as_str().unwrap();
    let shown = get(&app, &admin, id).await;
    assert_eq!((shown.get("secret"), &shown["id"]), (None, &made["id"]));
    for format in ["json", "ndjson", "csv"] {
        let list = app.call(Method::GET, &format!("{PATH}?format={format}"), &admin, &Value::Null).await;
        let text = String::from_utf8(list.bytes).unwrap();
        assert!(text.contains(id) && !text.contains("whsec_") && !text.contains("T0KEN"), "{text}");
    }
    let slack = json!({"name": "s", "type": "slack", "url": "https://hooks.slack.com/services/T0KEN"});
    let made = post(&app, &admin, &slack).await.json();
    assert_eq!((made.get("secret"), &made["has_secret"]), (None, &json!(false)));
    let debug = format!("{:?} {:?}", app.state.notify, app.state.notify.channels());
    assert!(!debug.contains("T0KEN") && !debug.contains("whsec_"), "{debug}");
}

#[tokio::test]
async fn every_wrong_place_is_named() {
    let app = TestApp::new();
    let admin = app.key("acme", &["admin"]).await;
    let cases = [
        (json!({"type": "webhook", "url": "https://x.example/"}), "/name"),
        (json!({"name": " ", "type": "webhook", "url": "https://x.example/"}), "/name"),
        (json!({"name": "n", "type": "pager", "url": "https://x.example/"}), "/type"),
        (json!({"name": "n", "type": "webhook"}), "/url"),
        (json!({"name": "n", "type": "webhook", "url": "ftp://x.example/"}), "/url"),
        (json!({"name": "n", "type": "webhook", "url": "https://u:p@x.example/"}), "/url"),
        (json!({"name": "n", "type": "webhook", "url": "http://127.0.0.1/"}), "/url"),
        (json!({"name": "n", "type": "slack", "url": "http://0x7f.1/"}), "/url"),
        (json!({"name": "n", "type": "alertmanager", "url": "http://[::ffff:10.0.0.1]:9093"}), "/url"),
        (json!({"name": "n", "type": "webhook", "url": "https://x.example/", "secret": "hush"}), "/secret"),
        (json!({"name": "n", "type": "webhook", "url": "https://x.example/", "to": ["a@b.c"]}), "/to"),
        (json!({"name": "n", "type": "slack", "url": "https://x.example/", "secret": "x"}), "/secret"),
        (
            json!({"name": "n", "type": "slack", "url": "https://x.example/", "rotate_secret": true}),
            "/rotate_secret",
        ),
        (
            json!({"name": "n", "type": "alertmanager", "url": "https://x.example/", "secret": "a b"}),
            "/secret",
        ),
        (json!({"name": "n", "type": "email", "to": ["a@example.com"]}), "/type"),
        (json!({"name": "n", "type": "webhook", "url": "https://x.example/", "lang": "de"}), "/lang"),
        (json!({"name": "n", "type": "webhook", "url": "https://x.example/", "colour": 1}), "/colour"),
    ];
    for (body, pointer) in cases {
        let answer = post(&app, &admin, &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{body}");
    }
    assert!(app.state.notify.channels().list(None).is_empty());
    let unknown =
        json!({"name": "n", "type": "webhook", "url": "https://x.example/", "organization_id": "nobody"});
    assert_eq!(post(&app, ROOT, &unknown).await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn channels_are_for_admins_of_their_organization_alone() {
    let app = TestApp::new();
    let admin = app.key("acme", &["admin"]).await;
    let reader = app.key("acme", &["read", "audit:read", "track"]).await;
    let other = app.key("beta", &["admin"]).await;
    let id = make(&app, &admin, &webhook("https://x.example/")).await;
    let unknown = format!("{PATH}ch_unknown/");
    let own = format!("{PATH}{id}/");
    let body = webhook("https://y.example/");
    for (method, path) in [
        (Method::GET, own.clone()),
        (Method::PUT, own.clone()),
        (Method::DELETE, own.clone()),
        (Method::POST, format!("{own}test/")),
    ] {
        let sent = if method == Method::PUT { body.clone() } else { Value::Null };
        let denied = app.call(method.clone(), &path, &reader, &sent).await;
        assert_eq!(denied.status, StatusCode::FORBIDDEN, "{method} {path}");
        let foreign = app.call(method.clone(), &path, &other, &sent).await;
        let missing = app.call(method.clone(), &path.replace(&own, &unknown), &other, &sent).await;
        assert_eq!((foreign.status, missing.status), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND));
        assert_eq!(foreign.json()["detail"], missing.json()["detail"]);
    }
    for path in [PATH, "/api/insights/alerts/deliveries/"] {
        assert_eq!(app.call(Method::GET, path, &reader, &Value::Null).await.status, StatusCode::FORBIDDEN);
        let theirs = app.call(Method::GET, path, &other, &Value::Null).await.json();
        assert_eq!(theirs["results"], json!([]));
    }
    let foreign =
        json!({"name": "n", "type": "webhook", "url": "https://x.example/", "organization_id": "acme"});
    assert_eq!(post(&app, &other, &foreign).await.status, StatusCode::FORBIDDEN);
    assert_eq!(get(&app, ROOT, &id).await["organization_id"], "acme");
}

#[tokio::test]
async fn a_change_keeps_what_is_left_out_and_can_make_a_new_secret() {
    let app = TestApp::new();
    let admin = app.key("acme", &["admin"]).await;
    let made = post(&app, &admin, &webhook("https://x.example/in?t=1")).await.json();
    let id = ChannelId::parse(made["id"].as_str().unwrap()).unwrap();
    let path = format!("{PATH}{id}/");
    let target = || app.state.notify.channels().find(&id).unwrap().target.clone();
    let before = target();
    // What was read, sent back: nothing but the name changes.
    let same = json!({"name": "n", "type": "webhook", "url": made["url"], "lang": "fr", "enabled": false});
    let changed = app.call(Method::PUT, &path, &admin, &same).await.json();
    assert_eq!(
        (&changed["name"], &changed["lang"], &changed["enabled"]),
        (&json!("n"), &json!("fr"), &json!(false))
    );
    assert_eq!((changed.get("secret"), target()), (None, before.clone()));
    let rotate = json!({"name": "n", "type": "webhook", "rotate_secret": true});
    let rotated = app.call(Method::PUT, &path, &admin, &rotate).await.json();
    assert_ne!(rotated["secret"], made["secret"]);
    assert_eq!(target().url(), before.url());
    assert_eq!(target().secret().unwrap().expose(), rotated["secret"].as_str().unwrap());
    // Another type needs everything of its own.
    let other = json!({"name": "n", "type": "slack"});
    assert_eq!(app.call(Method::PUT, &path, &admin, &other).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let moved = json!({"name": "n", "type": "webhook", "organization_id": "beta"});
    assert_eq!(app.call(Method::PUT, &path, &admin, &moved).await.status, StatusCode::FORBIDDEN);
    let by_root = app.call(Method::PUT, &path, ROOT, &moved).await.json();
    assert_eq!(by_root["errors"][0]["pointer"], "/organization_id");
    let token = json!({"name": "n", "type": "alertmanager", "url": "https://am.example", "secret": "t"});
    app.call(Method::PUT, &path, &admin, &token).await;
    assert_eq!(target().secret().unwrap().expose(), "t");
    let without = json!({"name": "n", "type": "alertmanager", "secret": ""});
    app.call(Method::PUT, &path, &admin, &without).await;
    assert!(target().secret().is_none() && target().url().is_some());
    let again =
        crate::notify::channels::Channels::load(|kind, prefix| app.state.store.catalog_scan(kind, prefix));
    assert_eq!(again.list(None), app.state.notify.channels().list(None), "a restart finds the same");
}

#[tokio::test]
async fn a_secret_does_not_follow_a_url_to_another_origin() {
    let app = TestApp::new();
    let admin = app.key("acme", &["admin"]).await;
    let id = make(&app, &admin, &webhook("https://x.example/in")).await;
    let path = format!("{PATH}{id}/");
    let secret = || {
        let channel = app.state.notify.channels().find(&ChannelId::parse(&id).unwrap()).unwrap();
        channel.target.secret().map(|secret| secret.expose().to_owned())
    };
    let first = secret();
    let beside = app.call(Method::PUT, &path, &admin, &webhook("https://x.example:443/other")).await.json();
    assert_eq!((beside.get("secret"), secret()), (None, first));
    for elsewhere in ["https://y.example/in", "https://y.example:8443/in", "http://y.example:8443/in"] {
        let before = secret();
        let moved = app.call(Method::PUT, &path, &admin, &webhook(elsewhere)).await.json();
        assert_eq!(moved["secret"].as_str(), secret().as_deref(), "a new one is made and shown: {moved}");
        assert_ne!(secret(), before);
    }
    let am = |url: &str, more: Value| {
        let mut body = json!({"name": "am", "type": "alertmanager", "url": url});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    app.call(Method::PUT, &path, &admin, &am("https://am.example/", json!({"secret": "t0ken"}))).await;
    let refused = app.call(Method::PUT, &path, &admin, &am("https://evil.example/", json!({}))).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused.json()["errors"][0]["pointer"], "/secret");
    assert_eq!(secret().as_deref(), Some("t0ken"));
    app.call(Method::PUT, &path, &admin, &am("https://am.example/prefix", json!({}))).await;
    assert_eq!(secret().as_deref(), Some("t0ken"), "the same origin may have it");
    for (url, given, kept) in
        [("https://b.example/", "other", Some("other")), ("https://c.example/", "", None)]
    {
        let moved = app.call(Method::PUT, &path, &admin, &am(url, json!({"secret": given}))).await;
        assert_eq!((moved.status, secret().as_deref()), (StatusCode::OK, kept));
    }
    // Without a token there is none to give away.
    let moved = app.call(Method::PUT, &path, &admin, &am("https://d.example/", json!({}))).await;
    assert_eq!((moved.status, secret()), (StatusCode::OK, None));
}

#[tokio::test]
async fn an_organization_has_so_many_channels_and_no_more() {
    let app = TestApp::new();
    let admin = app.key("acme", &["admin"]).await;
    for _ in 0..CHANNELS_MAX {
        make(&app, &admin, &webhook("https://x.example/")).await;
    }
    let answer = post(&app, &admin, &webhook("https://x.example/")).await;
    assert_eq!((answer.status, &answer.json()["code"]), (StatusCode::CONFLICT, &json!("conflict")));
    let other = app.key("beta", &["admin"]).await;
    make(&app, &other, &webhook("https://x.example/")).await;
    let first = app.call(Method::GET, &format!("{PATH}?limit=30"), &admin, &Value::Null).await.json();
    let next = format!("{PATH}?limit=30&cursor={}", first["next_cursor"].as_str().unwrap());
    let second = app.call(Method::GET, &next, &admin, &Value::Null).await.json();
    let count = |page: &Value| page["results"].as_array().unwrap().len();
    assert_eq!((count(&first), count(&second), &second["next_cursor"]), (30, 20, &Value::Null));
}

#[tokio::test]
async fn a_test_says_what_became_of_it() {
    let app = TestApp::with(config());
    let admin = app.key("acme", &["admin"]).await;
    let mut receiver = Receiver::answering(|n| answer(if n == 0 { 200 } else { 418 }, "")).await;
    let mut body = webhook(&receiver.url("/in"));
    (body["lang"], body["enabled"]) = (json!("fr"), json!(false));
    let id = make(&app, &admin, &body).await;
    let path = format!("{PATH}{id}/test/");
    let tested = app.call(Method::POST, &path, &admin, &Value::Null).await.json();
    assert_eq!((&tested["delivered"], &tested["status"]), (&json!(true), &json!(200)), "{tested}");
    let request = receiver.next().await;
    assert_eq!(request.json()["data"]["title"], "Test d'un canal de notification");
    assert!(request.headers["webhook-signature"].starts_with("v1,"));
    let tested = app.call(Method::POST, &path, &admin, &Value::Null).await.json();
    assert_eq!((&tested["delivered"], &tested["error"]), (&json!(false), &json!("the answer is 418")));
    let log = "/api/insights/audit/?include=insights&action_type=insights.channel.tested";
    while app.call(Method::GET, log, ROOT, &Value::Null).await.json()["results"]
        .as_array()
        .unwrap()
        .is_empty()
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nothing_of_a_channel_or_an_organization_stays_behind() {
    let app = TestApp::with(config());
    let admin = app.key("acme", &["admin"]).await;
    let other = app.key("beta", &["admin"]).await;
    let receiver = Receiver::answering(|_| answer(500, "")).await;
    let records = |prefix: &str| app.state.store.catalog_scan(CatalogKind::Setting, prefix.as_bytes()).len();
    let mut ids = Vec::new();
    for key in [&admin, &admin, &other] {
        let id = make(&app, key, &webhook(&receiver.url("/"))).await;
        ids.push(ChannelId::parse(&id).unwrap());
    }
    for organization in ["acme", "beta"] {
        let mut message = crate::notify::message::tests::message("g", app.state.clock.now());
        message.organization = TenantId::new(organization).unwrap();
        app.state.notify.enqueue(&ids, message).await.unwrap();
    }
    app.state.notify.step().await;
    assert_eq!((records("notify/channel/"), records("notify/outbox/")), (3, 3));
    let gone = app.call(Method::DELETE, &format!("{PATH}{}/", ids[0]), &admin, &Value::Null).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!((records("notify/channel/"), records("notify/outbox/")), (2, 2));
    let erased = app.call(Method::DELETE, "/api/insights/organizations/acme/", &admin, &Value::Null).await;
    assert_eq!(erased.status, StatusCode::ACCEPTED);
    assert_eq!((records("notify/channel/acme/"), records("notify/outbox/acme/")), (0, 0));
    assert_eq!((records("notify/"), app.state.notify.deliveries(None).len()), (2, 1));
    assert_eq!(app.state.notify.channels().list(None).len(), 1);
}
