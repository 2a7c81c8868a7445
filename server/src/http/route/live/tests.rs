//! The live view over the router, with a clock that stands still and ticks that the tests make.

use std::future::Future;
use std::task::Poll;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use insights_engine::time::TimestampUs;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::config::Config;
use crate::domain::instant::Rfc3339;
use crate::store::Asking;
use crate::testing::{NOW, ROOT, TestApp};

const LIVE: &str = "/api/insights/live/";

/// A client that reads a stream.
struct Client {
    body: Body,
    /// Bytes that belong to no message yet.
    rest: String,
}

/// A message: its kind, its id, its data.
#[derive(Debug)]
struct Message {
    kind: String,
    id: String,
    data: Value,
}

impl Client {
    async fn connect(app: &Router, path: &str, key: &str, seen: Option<&str>) -> Self {
        let mut request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {key}"));
        if let Some(seen) = seen {
            request = request.header("last-event-id", seen);
        }
        let answer = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
        assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
        Self { body: answer.into_body(), rest: String::new() }
    }

    /// The next message; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some((block, rest)) = self.rest.split_once("\n\n") {
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    line.map(str::to_owned)
                };
                let (kind, id, data) = (field("event"), field("id"), field("data"));
                self.rest = rest.to_owned();
                if let (Some(kind), Some(id), Some(data)) = (kind, id, data) {
                    return Some(Message { kind, id, data: serde_json::from_str(&data).unwrap() });
                }
                continue;
            }
            let frame = self.body.frame().await?.unwrap();
            self.rest.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }
}

async fn track(app: &TestApp, key: &str, user: &str, ago_s: i64) {
    let at = Rfc3339(TimestampUs(NOW.0 - ago_s * 1_000_000)).to_string();
    let event = json!({ "event_type": "click", "user_id": user, "timestamp": at });
    let answer = app.call(Method::POST, "/api/insights/track/", key, &event).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
}

async fn measure(app: &TestApp, key: &str, requests: f64, errors: f64) {
    let points = json!([
        { "name": "requests.count", "value": requests, "app_id": "shop" },
        { "name": "errors_count", "value": errors, "app_id": "shop" },
        { "name": "cpu.usage", "value": 99 },
    ]);
    let answer = app.call(Method::POST, "/api/insights/metrics/", key, &points).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
}

fn sums(data: &Value) -> [u64; 4] {
    let of = |name: &str| data["last_5_minutes"][name].as_u64().unwrap();
    [of("events"), of("requests"), of("errors"), of("active_users")]
}

#[tokio::test]
async fn a_stream_shows_what_was_before_and_then_what_comes() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    track(&app, &key, "ann", 10).await;
    track(&app, &key, "bob", 200).await;
    track(&app, &key, "old", 301).await;
    app.flush();
    track(&app, &key, "ann", 70).await;
    measure(&app, &key, 8.0, 2.0).await;

    let mut client = Client::connect(&app.app, LIVE, &key, None).await;
    let first = client.next().await.unwrap();
    assert_eq!(first.kind, "snapshot");
    assert_eq!(sums(&first.data), [3, 8, 2, 2]);
    let expected = json!({ "events": 1, "requests": 8, "errors": 2, "active_users": 1 });
    assert_eq!(first.data["last_minute"], expected);
    assert_eq!(first.data["seconds"].as_array().unwrap().len(), 4);
    assert_eq!((&first.data["organization_id"], &first.data["exact"]), (&json!("acme"), &json!(true)));

    track(&app, &key, "cid", 0).await;
    app.state.live.tick(NOW);
    let second = client.next().await.unwrap();
    assert_eq!((second.kind.as_str(), sums(&second.data)), ("update", [4, 8, 2, 3]));
    let now = json!([{ "at": "2023-11-14T22:13:20Z", "events": 1, "requests": 8, "errors": 2 }]);
    assert_eq!(second.data["seconds"], now, "the seconds that have changed, as they are");

    // A second later nothing has come, and something has left.
    app.state.live.tick(TimestampUs(NOW.0 + 100_000_000));
    let third = client.next().await.unwrap();
    assert_eq!((sums(&third.data), &third.data["seconds"]), ([3, 8, 2, 2], &json!([])));
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_has_missed_and_no_more() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    let mut client = Client::connect(&app.app, LIVE, &key, None).await;
    let seen = client.next().await.unwrap().id;
    drop(client);
    for user in ["ann", "bob"] {
        track(&app, &key, user, 5).await;
        app.state.live.tick(NOW);
    }
    let mut client = Client::connect(&app.app, LIVE, &key, Some(&seen)).await;
    let missed = client.next().await.unwrap();
    assert_eq!((missed.kind.as_str(), sums(&missed.data)), ("update", [2, 0, 0, 2]));
    assert_eq!(missed.data["seconds"].as_array().unwrap().len(), 1);

    // Not ours: another server's, a future one, nonsense.
    for foreign in ["1-1", &format!("{}99", missed.id), "x", "-", ""] {
        let mut client = Client::connect(&app.app, LIVE, &key, Some(foreign)).await;
        assert_eq!(client.next().await.unwrap().kind, "snapshot", "{foreign:?}");
    }
}

#[tokio::test]
async fn everybody_sees_their_own_organization() {
    let app = TestApp::new();
    let (acme, other) = (app.key("acme", &["admin"]).await, app.key("other", &["admin"]).await);
    let writer = app.key("acme", &["track"]).await;
    let mut viewers = Vec::new();
    for (path, key) in [(LIVE, &acme), (LIVE, &other), (LIVE, &ROOT.to_owned())] {
        let mut client = Client::connect(&app.app, path, key, None).await;
        client.next().await.unwrap();
        viewers.push(client);
    }
    // The same name is another user in another organization.
    track(&app, &acme, "ann", 1).await;
    track(&app, &other, "ann", 1).await;
    track(&app, &other, "bob", 1).await;
    app.state.live.tick(NOW);
    let mut seen = Vec::new();
    for client in &mut viewers {
        let data = client.next().await.unwrap().data;
        seen.push((data["organization_id"].clone(), sums(&data)));
    }
    let expected =
        [(json!("acme"), [1, 0, 0, 1]), (json!("other"), [2, 0, 0, 2]), (Value::Null, [3, 0, 0, 3])];
    assert_eq!(seen, expected);
    let status = async |path: &str, key: &str| app.call(Method::GET, path, key, &Value::Null).await.status;
    assert_eq!(status("/api/insights/live/?organization_id=other", &acme).await, StatusCode::FORBIDDEN);
    assert_eq!(status(LIVE, &writer).await, StatusCode::FORBIDDEN);
    assert_eq!(status(LIVE, "nobody").await, StatusCode::UNAUTHORIZED);
    assert_eq!(status("/api/insights/live/?format=xml", &acme).await, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn one_look_is_a_document() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    track(&app, &key, "ann", 3).await;
    let answer = app.call(Method::GET, "/api/insights/live/?format=json", &key, &Value::Null).await;
    assert_eq!((answer.status, sums(&answer.json())), (StatusCode::OK, [1, 0, 0, 1]));
}

#[tokio::test]
async fn who_looks_makes_no_updates_for_others() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    let mut client = Client::connect(&app.app, LIVE, &key, None).await;
    client.next().await.unwrap();
    for n in 0..20 {
        track(&app, &key, &format!("u{n}"), 1).await;
        let look = app.call(Method::GET, "/api/insights/live/?format=json", &key, &Value::Null).await;
        assert_eq!(sums(&look.json())[0], n + 1);
        let mut other = Client::connect(&app.app, LIVE, &key, None).await;
        assert_eq!(sums(&other.next().await.unwrap().data)[0], n + 1);
    }
    app.state.live.tick(NOW);
    let update = client.next().await.unwrap();
    assert_eq!((sums(&update.data)[0], update.id.ends_with("-2")), (20, true), "one update: {}", update.id);
}

#[tokio::test]
async fn a_feed_that_was_never_filled_goes_when_nobody_waits_for_it() {
    let mut config = Config::default();
    config.limits.queries.queries_max = 1;
    let app = TestApp::with(config);
    let key = app.key("acme", &["admin"]).await;
    // Another question has the one place there is, until it is told to end.
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (end, ends) = std::sync::mpsc::channel::<()>();
    let store = app.state.store.clone();
    let other = tokio::spawn(async move {
        let wait = move |_: &Asking| {
            begun.send(()).unwrap();
            ends.recv().unwrap();
        };
        store.ask(wait).await.unwrap();
    });
    has_begun.await.unwrap();

    let request = Request::get(LIVE).header(header::AUTHORIZATION, format!("Bearer {key}"));
    let mut looking = Box::pin(app.app.clone().oneshot(request.body(Body::empty()).unwrap()));
    let waits = std::future::poll_fn(|cx| Poll::Ready(looking.as_mut().poll(cx).is_pending())).await;
    assert_eq!((waits, app.state.live.feeds()), (true, 1));
    drop(looking);
    app.state.live.tick(NOW);
    app.state.live.tick(TimestampUs(NOW.0 + 60_000_000));
    assert_eq!(app.state.live.feeds(), 0);
    end.send(()).unwrap();
    other.await.unwrap();
}

#[tokio::test]
async fn what_is_too_slow_for_every_update_gets_the_newest_alone() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    let mut client = Client::connect(&app.app, LIVE, &key, None).await;
    client.next().await.unwrap();
    let rounds = 50;
    for n in 0..rounds {
        track(&app, &key, &format!("u{n}"), n % 7).await;
        app.state.live.tick(NOW);
    }
    let mut messages = 0;
    let mut seconds = std::collections::BTreeMap::new();
    loop {
        let data = client.next().await.unwrap().data;
        messages += 1;
        for second in data["seconds"].as_array().unwrap() {
            seconds.insert(second["at"].to_string(), second["events"].as_i64().unwrap());
        }
        if sums(&data)[0] == 50 {
            break;
        }
    }
    assert!(messages < 10, "{messages} messages");
    assert_eq!(seconds.values().sum::<i64>(), rounds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn viewers_that_come_while_events_come_in_miss_none_and_count_none_twice() {
    let app = std::sync::Arc::new(TestApp::new());
    let key = app.key("acme", &["admin"]).await;
    let writing = tokio::spawn({
        let (app, key) = (std::sync::Arc::clone(&app), key.clone());
        async move {
            for n in 0..300 {
                track(&app, &key, &format!("u{}", n % 40), n % 250).await;
                if n % 60 == 0 {
                    app.flush();
                }
            }
        }
    });
    let mut clients = Vec::new();
    while !writing.is_finished() {
        let mut client = Client::connect(&app.app, LIVE, &key, None).await;
        client.next().await.unwrap();
        if clients.len() < 3 {
            // The next view begins anew.
            clients.push(client);
            app.state.live.forget_all();
        }
    }
    writing.await.unwrap();
    let mut last = Client::connect(&app.app, LIVE, &key, None).await;
    let seen = last.next().await.unwrap().data;
    assert_eq!(sums(&seen), [300, 0, 0, 40]);
    app.state.live.forget_all();
    let mut fresh = Client::connect(&app.app, LIVE, &key, None).await;
    assert_eq!(sums(&fresh.next().await.unwrap().data), [300, 0, 0, 40]);
}

#[tokio::test]
async fn streams_end_when_the_server_stops_and_when_the_clock_is_set_back() {
    let app = TestApp::new();
    let key = app.key("acme", &["admin"]).await;
    let mut client = Client::connect(&app.app, LIVE, &key, None).await;
    let before = client.next().await.unwrap();
    app.state.live.tick(TimestampUs(NOW.0 - 3_600_000_000));
    assert!(client.next().await.is_none(), "it comes back, to a feed of the new time");
    app.clock.advance(std::time::Duration::from_secs(1));
    let mut client = Client::connect(&app.app, LIVE, &key, Some(&before.id)).await;
    assert_eq!(client.next().await.unwrap().kind, "snapshot");
    assert_eq!(app.state.live.viewers(), 1);
    app.state.live.close();
    assert!(client.next().await.is_none());
    let answer = app.call(Method::GET, LIVE, &key, &Value::Null).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}
