//! What the client and its layers send is what the server takes, field by field.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::{delete, get};
use insights_client::{
    AuditRecord, Client, ContentObject, Event, Identity, InsightsLayer, MetricsLayer, Outcome, Point,
    Severity, Stats,
};
use insights_tests::{NOW, ROOT, World};
use serde_json::{Value, json};
use tower::ServiceExt;

/// Long enough for everything that ends at all.
const LONG: Duration = Duration::from_mins(1);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(NOW.0 as u64)
}

fn client(url: String, key: &str) -> Client {
    Client::builder(url, key).clock(now).build().unwrap()
}

/// The numbers of each stream: sent, and anything else than sent.
fn numbers(stats: &Stats) -> [(u64, u64); 3] {
    let of =
        |stream: &insights_client::StreamStats| (stream.sent, stream.tracked - stream.sent + stream.retried);
    [of(&stats.events), of(&stats.audit), of(&stats.metrics)]
}

/// Asserts that every member of `expected` is in `actual`.
fn check(actual: &Value, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&actual[name], value, "{name} of {actual}");
    }
}

#[test]
fn every_field_arrives_as_it_was_set() {
    let world = World::new();
    let event = Event::new("project.opened")
        .data("tab", 2)
        .session_id("s-1")
        .user_id("u-7")
        .app_id("shop")
        .ip_address([10, 0, 0, 1])
        .user_agent("curl/8")
        .timestamp(now() - LONG)
        .organization_id("acme")
        .id("e-1");
    let record = AuditRecord::new("project.deleted")
        .description("Apollo is gone")
        .user_id("u-7")
        .user_name("Anna")
        .content_object(ContentObject::new("project", "p-3").repr("Apollo").url("/projects/p-3"))
        .target("p-4")
        .severity(Severity::Critical)
        .outcome(Outcome::Failure)
        .metadata("why", "cleaning")
        .change("state", "active", "deleted")
        .request_id("r-1")
        .trace_id("0af7651916cd43dd8448eb211c80319c")
        .id("a-1");
    let stats = world.serve_while(|url| async {
        let client =
            Client::builder(url, ROOT).clock(now).organization("acme").app("console").build().unwrap();
        client.track(event);
        client.audit(record);
        client.metric(
            Point::gauge("queue.depth", 12.5).unit("jobs").host("h-1").user_id("u-7").label("queue", "mail"),
        );
        client.metric(Point::counter("orders.placed", 2.0).id("m-1"));
        client.metric(Point::histogram("response.time", 7.25));
        client.metric(Point::new("cpu.usage", 50.0));
        client.shutdown(LONG).await.unwrap();
        client.stats()
    });
    assert_eq!(numbers(&stats), [(1, 0), (1, 0), (4, 0)], "{stats:?}");

    let key = world.key("acme", &["read", "audit:read"]);
    let events = world.get("/api/insights/events/", &key).expect(200);
    check(
        &events["results"][0],
        &json!({"event_type": "project.opened", "event_data": {"tab": 2}, "session_id": "s-1", "user_id": "u-7",
                "app_id": "shop", "ip_address": "10.0.0.1", "user_agent": "curl/8", "id": "e-1"}),
    );
    let records = world.get("/api/insights/audit/", &key).expect(200);
    check(
        &records["results"][0],
        &json!({"action_type": "project.deleted", "description": "Apollo is gone", "user_name": "Anna",
                "app_id": "console", "severity": "critical", "outcome": "failure", "targets": ["p-4"],
                "metadata": {"why": "cleaning"}, "changes": {"state": ["active", "deleted"]}, "request_id": "r-1",
                "trace_id": "0af7651916cd43dd8448eb211c80319c", "id": "a-1"}),
    );
    check(
        &records["results"][0]["content_object"],
        &json!({"type": "project", "id": "p-3", "repr": "Apollo", "url": "/projects/p-3"}),
    );
}

#[test]
fn what_the_server_rejects_is_counted_and_the_rest_arrives() {
    let world = World::new();
    let key = world.key("acme", &["track"]);
    let stats = world.serve_while(|url| async {
        let client = client(url, &key);
        client.track(Event::new("good"));
        client.track(Event::new(""));
        client.track(Event::new("good"));
        client.audit(AuditRecord::new("not.in.its.scopes"));
        client.shutdown(LONG).await.unwrap();
        client.stats()
    });
    assert_eq!((stats.events.sent, stats.events.rejected), (2, 1));
    assert!(stats.events.last_error.unwrap().contains("/event_type"));
    assert_eq!((stats.audit.sent, stats.audit.rejected), (0, 1));
    assert!(stats.audit.last_error.unwrap().starts_with("status 403: forbidden"));
}

#[test]
fn the_layers_of_a_service_fill_its_log_and_its_metrics() {
    let world = World::new();
    let key = world.key("acme", &["audit:write", "metrics:write", "audit:read", "read"]);
    let stats = world.serve_while(|url| async {
        let client = client(url, &key);
        let metrics = MetricsLayer::new(client.clone());
        let who = |_: &axum::http::request::Parts| Identity::default().user_id("u-7").app_id("shop");
        let app: Router = Router::new()
            .route("/projects/{id}", delete(|| async { "gone" }).get(|| async { "there" }))
            .route("/broken", get(|| async { axum::http::StatusCode::BAD_GATEWAY }))
            .layer(InsightsLayer::new(client.clone()).identify(who))
            .layer(metrics.clone());
        for (method, path) in [("DELETE", "/projects/3"), ("GET", "/projects/4"), ("GET", "/broken")] {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            drop(app.clone().oneshot(request).await.unwrap());
        }
        metrics.report();
        client.shutdown(LONG).await.unwrap();
        client.stats()
    });
    // Of points: requests in flight, three counts, one of errors, three durations.
    assert_eq!(numbers(&stats), [(0, 0), (2, 0), (8, 0)], "{stats:?}");
    let records = world.get("/api/insights/audit/?order=asc", &key).expect(200);
    let expected = |action: &str, severity: &str, outcome: &str| json!({"action_type": action, "severity": severity, "outcome": outcome, "user_id": "u-7", "app_id": "shop"});
    check(&records["results"][0], &expected("delete.projects.id", "info", "success"));
    check(&records["results"][1], &expected("get.broken", "error", "failure"));
}
