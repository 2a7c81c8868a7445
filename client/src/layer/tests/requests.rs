//! What the metrics layer counts.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use proptest::prelude::*;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{Memory, request, response};
use crate::layer::{Identity, MetricsLayer};
use crate::record::Point;

/// Sums of a report by metric, and by metric and route.
fn sums(points: &[Point]) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for point in
        points.iter().filter(|point| ["requests.count", "errors.count"].contains(&point.name.as_str()))
    {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
        let value = point.value as u64;
        *sums.entry(point.name.clone()).or_default() += value;
        *sums
            .entry(format!("{} {} {}", point.name, point.labels["method"], point.labels["route"]))
            .or_default() += value;
    }
    sums
}

fn durations(points: &[Point]) -> Vec<f64> {
    points.iter().filter(|point| point.name == "response.time").map(|point| point.value).collect()
}

/// A body that breaks off.
struct Broken;

impl http_body::Body for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(Some(Err(std::io::Error::other("broken"))))
    }
}

/// Answers with the status that the path names, and fails for 0.
async fn by_path(request: Request<Body>) -> Result<Response<Body>, std::io::Error> {
    match request.uri().path().rsplit('/').next().unwrap().parse().unwrap() {
        0 => Err(std::io::Error::other("broken")),
        status => Ok(response(status)),
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_counted_and_timed_to_the_end_of_its_body() {
    let memory = Memory::new();
    let layer = MetricsLayer::builder(memory.clone())
        .identify(|_: &http::request::Parts| Identity::default().app_id("shop"))
        .build();
    let service = layer.layer(service_fn(|_: Request<Body>| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok::<_, Infallible>(response(200))
    }));
    let answer = service.oneshot(request(&Method::GET, "/a/1")).await.unwrap();
    tokio::time::advance(Duration::from_millis(400)).await;
    assert_eq!(layer.in_flight(), 1);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "text");
    assert_eq!(layer.in_flight(), 0);
    layer.report();
    let points = memory.points();
    assert_eq!(sums(&points)["requests.count GET /a/{id}"], 1);
    assert!(!sums(&points).contains_key("errors.count"));
    assert_eq!(durations(&points), [500.0]);
    assert!(points[1..].iter().all(|point| point.app_id.as_deref() == Some("shop")));
    assert_eq!((points[0].name.as_str(), points[0].value), ("requests.in_flight", 0.0));
}

#[tokio::test]
async fn errors_are_what_the_service_did_wrong() {
    let memory = Memory::new();
    let layer = MetricsLayer::new(memory.clone());
    let mut service = layer.layer(service_fn(by_path));
    for status in [200, 301, 404, 401, 500, 503, 0] {
        drop(service.call(request(&Method::GET, &format!("/s/{status}"))).await);
    }
    layer.report();
    let points = memory.points();
    assert_eq!((sums(&points)["requests.count"], sums(&points)["errors.count"]), (7, 3));
    assert_eq!(durations(&points).len(), 7);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_once() {
    for status in [200, 500] {
        let memory = Memory::new();
        let layer = MetricsLayer::new(memory.clone());
        let service = layer.layer(service_fn(move |_: Request<Body>| async move {
            Ok::<_, Infallible>(Response::builder().status(status).body(Broken).unwrap())
        }));
        let answer = service.oneshot(request(&Method::GET, "/")).await.unwrap();
        assert!(answer.into_body().collect().await.is_err());
        layer.report();
        let sums = sums(&memory.points());
        assert_eq!((sums["requests.count"], sums["errors.count"]), (1, 1));
    }
}

#[tokio::test]
async fn a_request_that_its_client_abandons_is_counted_without_a_duration_and_one_that_panics_is_an_error() {
    let memory = Memory::new();
    let layer = MetricsLayer::new(memory.clone());
    let never = |_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>();
    let mut service = layer.layer(service_fn(never));
    drop(service.call(request(&Method::GET, "/")));
    let panics = |_: Request<Body>| async {
        if true { panic!("of the test") } else { Ok::<_, Infallible>(response(200)) }
    };
    let service = layer.layer(service_fn(panics));
    assert!(tokio::spawn(service.oneshot(request(&Method::GET, "/"))).await.unwrap_err().is_panic());
    assert_eq!(layer.in_flight(), 0);
    layer.report();
    let points = memory.points();
    assert_eq!((sums(&points)["requests.count"], sums(&points)["errors.count"]), (2, 1));
    assert_eq!(durations(&points).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_workers_are_counted_exactly_while_reports_go_on() {
    const EACH: u64 = 2_000;
    let memory = Memory::new();
    let layer = MetricsLayer::builder(memory.clone()).interval(Duration::from_millis(10)).build();
    let mut workers = Vec::new();
    for worker in 0..16_u64 {
        let mut service = layer.layer(service_fn(by_path));
        let layer = layer.clone();
        workers.push(tokio::spawn(async move {
            for n in 0..EACH {
                let status = if n % 10 == 0 { 500 } else { 200 };
                let path = format!("/w{}/{status}", worker % 4);
                drop(service.ready().await.unwrap().call(request(&Method::GET, &path)).await);
                if n % 97 == 0 {
                    layer.report();
                }
            }
        }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
    layer.report();
    let sums = sums(&memory.points());
    assert_eq!((sums["requests.count"], sums["errors.count"]), (16 * EACH, 16 * EACH / 10));
    assert_eq!(sums["requests.count GET /w3/{id}"], 4 * EACH);
    assert_eq!(layer.in_flight(), 0);
}

#[tokio::test]
async fn counts_that_the_sink_does_not_take_are_in_the_next_report() {
    let memory = Memory::new();
    let layer = MetricsLayer::new(memory.clone());
    let mut service = layer.layer(service_fn(by_path));
    for room in 0..6 {
        for path in ["/a/500", "/b/200", "/c/200"] {
            drop(service.call(request(&Method::GET, path)).await);
        }
        memory.set_room(room);
        layer.report();
    }
    memory.set_room(usize::MAX);
    layer.report();
    let sums = sums(&memory.points());
    assert_eq!((sums["requests.count"], sums["errors.count"]), (18, 6));
    assert_eq!(sums["requests.count GET /b/{id}"], 6);
}

#[tokio::test(start_paused = true)]
async fn reports_come_at_every_interval_and_when_the_last_clone_is_dropped() {
    let memory = Memory::new();
    let layer = MetricsLayer::builder(memory.clone()).interval(Duration::from_secs(10)).build();
    let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(layer);
    for _ in 0..2 {
        let answer = app.clone().oneshot(request(&Method::GET, "/")).await.unwrap();
        answer.into_body().collect().await.unwrap();
        assert_eq!(memory.points().len(), 0);
        tokio::time::sleep(Duration::from_millis(10_001)).await;
        assert_eq!(sums(&memory.points())["requests.count"], 1);
    }
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(memory.points().len(), 0);
    drop(app.clone().oneshot(request(&Method::GET, "/")).await);
    drop(app);
    assert_eq!(sums(&memory.points())["requests.count"], 1);
}

#[tokio::test]
async fn routes_applications_and_methods_are_bounded_and_still_counted() {
    let memory = Memory::new();
    let layer = MetricsLayer::builder(memory.clone())
        .identify(|parts: &http::request::Parts| Identity::default().app_id(parts.uri.query().unwrap()))
        .routes_max(4)
        .apps_max(4)
        .series_max(6)
        .sample_max(3)
        .observations_max(10)
        .build();
    let mut service = layer.layer(service_fn(by_path));
    for n in 0..1_000_u32 {
        let method = Method::from_bytes(format!("M{}", n % 7).as_bytes()).unwrap();
        let path = format!("/r{}/200?a{}", n % 10, n % 11);
        drop(service.call(request(&method, &path)).await);
    }
    layer.report();
    let points = memory.points();
    assert_eq!(sums(&points)["requests.count"], 1_000);
    assert!(points.iter().filter(|point| point.name == "requests.count").count() <= 7);
    assert!((5..=10).contains(&durations(&points).len()));
}

proptest! {
    #[test]
    fn counts_are_those_of_a_naive_count(statuses in prop::collection::vec((0_u8..3, prop::sample::select(vec![0_u16, 200, 404, 500, 503])), 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let memory = Memory::new();
        let layer = Arc::new(MetricsLayer::new(memory.clone()));
        let mut service = layer.layer(service_fn(by_path));
        let mut naive = BTreeMap::new();
        for (route, status) in &statuses {
            runtime.block_on(async { drop(service.call(request(&Method::GET, &format!("/r{route}/{status}"))).await) });
            let names = if *status == 0 || *status >= 500 { &["requests.count", "errors.count"][..] } else { &["requests.count"] };
            for name in names {
                *naive.entry((*name).to_owned()).or_insert(0) += 1;
                *naive.entry(format!("{name} GET /r{route}/{{id}}")).or_insert(0) += 1;
            }
        }
        layer.report();
        prop_assert_eq!(sums(&memory.points()), naive);
    }
}
