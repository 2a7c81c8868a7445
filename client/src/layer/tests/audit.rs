//! What the audit layer records.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::{Extensions, HeaderValue};
use axum::routing::{get, post};
use http::{Method, Request, Response};
use proptest::prelude::*;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{Memory, request, response};
use crate::layer::{ClientAddress, Identity, IdentitySlot, InsightsLayer, path_template};
use crate::record::{AuditRecord, ContentObject, Outcome, Severity};

/// What a layer records of a request that a service answers with the status, or fails for none.
async fn recorded(
    layer: &InsightsLayer,
    memory: &Memory,
    method: &Method,
    status: Option<u16>,
) -> Vec<AuditRecord> {
    let service = layer.layer(service_fn(move |_: Request<Body>| async move {
        status.map(response).ok_or_else(|| std::io::Error::other("broken"))
    }));
    let answer = service.oneshot(request(method, "/projects/17?token=hush")).await;
    assert_eq!(answer.map(|answer| answer.status().as_u16()).ok(), status);
    memory.records()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #[test]
    fn any_status_and_method_gives_the_documented_record(
        status in prop::option::weighted(0.9, 200_u16..600),
        method in prop::sample::select(vec!["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PURGE"]),
    ) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let memory = Memory::new();
        let layer = InsightsLayer::new(memory.clone());
        let records = block_on(recorded(&layer, &memory, &method, status));
        // The documentation once more, independently: a table of ranges.
        let changes = ["POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str());
        let (is_important, severity, outcome) = match status {
            Some(200..=399) => (changes, Severity::Info, Outcome::Success),
            Some(401 | 403) => (true, Severity::Warning, Outcome::Failure),
            Some(400..=499) => (false, Severity::Notice, Outcome::Failure),
            None | Some(_) => (true, Severity::Error, Outcome::Failure),
        };
        prop_assert_eq!(records.len(), usize::from(is_important));
        if let Some(record) = records.first() {
            prop_assert_eq!((record.severity, record.outcome), (severity, outcome));
            prop_assert_eq!(&record.action_type, &format!("{}.projects.id", method.as_str().to_lowercase()));
            prop_assert_eq!(record.metadata.get("status").and_then(serde_json::Value::as_u64), status.map(u64::from));
            prop_assert_eq!(&record.metadata["route"], "/projects/{id}");
            let shown = format!("{record:?}");
            prop_assert!(!shown.contains("hush"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_says_who_from_where_in_which_request_and_how_long() {
    let memory = Memory::new();
    let layer = InsightsLayer::new(memory.clone());
    let service = layer.layer(service_fn(|request: Request<Body>| async move {
        tokio::time::sleep(Duration::from_millis(250)).await;
        request
            .extensions()
            .get::<IdentitySlot>()
            .unwrap()
            .set(Identity::default().user_id("u-1").app_id("shop"));
        Ok::<_, Infallible>(response(201))
    }));
    let mut request = request(&Method::POST, "/projects");
    let headers = request.headers_mut();
    headers.insert("user-agent", HeaderValue::from_static("curl/8"));
    headers.insert("x-request-id", HeaderValue::from_static("r-1"));
    headers.insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
    headers.insert(
        "traceparent",
        HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    );
    request.extensions_mut().insert(SocketAddr::from(([10, 0, 0, 1], 1)));
    service.oneshot(request).await.unwrap();
    let record = memory.records().pop().unwrap();
    assert_eq!(record.user_id.as_deref(), Some("u-1"));
    assert_eq!(record.app_id.as_deref(), Some("shop"));
    assert_eq!(record.ip_address, Some(IpAddr::from([10, 0, 0, 1])));
    assert_eq!(record.user_agent.as_deref(), Some("curl/8"));
    assert_eq!(record.request_id.as_deref(), Some("r-1"));
    assert_eq!(record.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    assert_eq!(record.metadata["duration_ms"], 250);
    assert_eq!(record.description.as_deref(), Some("POST /projects answered 201"));
}

#[tokio::test]
async fn what_is_learned_of_the_user_later_overrides_what_was_known() {
    let memory = Memory::new();
    let layer = InsightsLayer::new(memory.clone()).identify(|parts: &http::request::Parts| {
        let organization = parts.headers.get("x-org").and_then(|value| value.to_str().ok());
        Identity { organization_id: organization.map(Into::into), ..Identity::default() }.user_id("before")
    });
    let inner = |identity: Option<Identity>| {
        service_fn(move |_: Request<Body>| {
            let identity = identity.clone();
            async move {
                let mut answer = response(200);
                let extensions: &mut Extensions = answer.extensions_mut();
                if let Some(identity) = identity {
                    extensions.insert(identity);
                }
                Ok::<Response<Body>, Infallible>(answer)
            }
        })
    };
    let mut asked = request(&Method::PUT, "/a");
    asked.headers_mut().insert("x-org", HeaderValue::from_static("o-1"));
    layer.layer(inner(Some(Identity::default().user_id("after")))).oneshot(asked).await.unwrap();
    layer.layer(inner(None)).oneshot(request(&Method::PUT, "/a")).await.unwrap();
    let records = memory.records();
    let who: Vec<_> = records.iter().map(|r| (r.user_id.as_deref(), r.organization_id.as_deref())).collect();
    assert_eq!(who, [(Some("after"), Some("o-1")), (Some("before"), None)]);
}

#[tokio::test]
async fn the_caller_decides_what_is_important_and_what_it_is_called() {
    let memory = Memory::new();
    let layer = InsightsLayer::new(memory.clone())
        .important(|act| act.path().starts_with("/export") || act.is_important())
        .action_type(|act| format!("shop.{}", act.method().as_str().to_lowercase()))
        .amend(|act, record| record.content_object = Some(ContentObject::new("export", act.path())))
        .client_address(|parts| parts.extensions.get::<ClientAddress>().map(|address| address.0));
    let answer = |_: Request<Body>| async { Ok::<_, Infallible>(response(200)) };
    let mut service = layer.layer(service_fn(answer));
    service.call(request(&Method::GET, "/export")).await.unwrap();
    service.call(request(&Method::GET, "/import")).await.unwrap();
    let records = memory.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].action_type, "shop.get");
    assert_eq!(records[0].content_object, Some(ContentObject::new("export", "/export")));
}

#[tokio::test]
async fn a_panic_is_a_failure_and_goes_on() {
    let memory = Memory::new();
    let panics = |_: Request<Body>| async {
        if true { panic!("of the test") } else { Ok::<_, Infallible>(response(200)) }
    };
    let service = InsightsLayer::new(memory.clone()).layer(service_fn(panics));
    assert!(tokio::spawn(service.oneshot(request(&Method::GET, "/"))).await.unwrap_err().is_panic());
    let records = memory.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].outcome, Outcome::Failure);
}

#[tokio::test]
async fn routes_beyond_the_limit_are_other() {
    let memory = Memory::new();
    let layer = InsightsLayer::new(memory.clone()).routes_max(1);
    let mut service =
        layer.layer(service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(response(200)) }));
    for path in ["/a/1", "/b", "/a/2"] {
        service.call(request(&Method::POST, path)).await.unwrap();
    }
    let actions: Vec<_> = memory.records().into_iter().map(|record| record.action_type).collect();
    assert_eq!(actions, ["post.a.id", "post.other", "post.a.id"]);
}

#[tokio::test]
async fn the_routes_of_axum_are_named_by_axum() {
    let memory = Memory::new();
    let layer =
        InsightsLayer::new(memory.clone()).route(|parts| match parts.extensions.get::<MatchedPath>() {
            Some(path) => path.as_str().to_owned(),
            None => path_template(parts.uri.path()),
        });
    let app: Router = Router::new()
        .route("/people/{name}", post(|| async { "made" }))
        .route("/", get(|| async { "hello" }))
        .route_layer(layer);
    let answer = app.oneshot(request(&Method::POST, "/people/anna")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(memory.records()[0].action_type, "post.people.name");
}
