//! The shared middleware, without a socket and without a store.

use axum::body::Body;
use axum::extract::Path;
use axum::http::{Request, Response, StatusCode, header};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use insights_engine::clock::ManualClock;
use insights_engine::time::TimestampUs;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::http::middleware::measure::HttpMetrics;

fn app() -> Router {
    let routes = Router::new()
        .route("/api/insights/echo/", post(async |body: String| body))
        .route("/api/insights/echo/{id}/", get(async |Path(id): Path<u32>| id.to_string()))
        .route("/api/insights/panic/", get(async || -> &'static str { panic!("the secret cause") }))
        .route("/api/insights/invalid/", get(async || ApiError::invalid_at("/a/0", "required", "is missing")))
        .route("/api/insights/denied/", get(async || ApiError::unauthenticated()))
        .route("/healthz", get(async || "ok"));
    let clock = ManualClock::new(TimestampUs(0));
    behind_edge(routes, Edge::new(&[], clock, 7, HttpMetrics::default()))
}

async fn send(request: Request<Body>) -> (Response<()>, Vec<u8>) {
    let (parts, body) = app().oneshot(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes().to_vec();
    (Response::from_parts(parts, ()), bytes)
}

async fn get_path(path: &str) -> (Response<()>, Vec<u8>) {
    send(Request::get(path).header("x-request-id", "test-1").body(Body::empty()).unwrap()).await
}

fn problem_of(answer: &(Response<()>, Vec<u8>), status: StatusCode, code: &str) -> Value {
    let (response, body) = answer;
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    let problem: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(problem["status"], status.as_u16());
    assert_eq!(problem["code"], code);
    assert!(problem["type"].as_str().unwrap().ends_with(code));
    problem
}

#[tokio::test]
async fn every_answer_has_its_id_and_forbids_sniffing() {
    let (response, _) = get_path("/healthz").await;
    assert_eq!(response.headers()["x-request-id"], "test-1");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert!(response.headers().get(header::CACHE_CONTROL).is_none());
    let (response, _) = send(Request::get("/api/insights/echo/5").body(Body::empty()).unwrap()).await;
    assert_eq!(response.headers()["x-request-id"], "00000000000000070000000000000000");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn a_path_with_and_without_its_slash_is_one_handler() {
    for path in ["/api/insights/echo/5/", "/api/insights/echo/5", "/api/insights/echo/5?a=b"] {
        let (response, body) = get_path(path).await;
        assert_eq!((response.status(), body.as_slice()), (StatusCode::OK, &b"5"[..]), "{path}");
    }
}

#[tokio::test]
async fn errors_are_problems_with_the_id_and_the_path() {
    let answer = get_path("/api/insights/invalid").await;
    let problem = problem_of(&answer, StatusCode::UNPROCESSABLE_ENTITY, "invalid");
    assert_eq!(problem["request_id"], "test-1");
    assert_eq!(problem["instance"], "/api/insights/invalid/");
    assert_eq!(problem["errors"][0]["pointer"], "/a/0");
    let answer = get_path("/api/insights/denied/").await;
    problem_of(&answer, StatusCode::UNAUTHORIZED, "unauthenticated");
    assert_eq!(answer.0.headers()[header::WWW_AUTHENTICATE], "Bearer");
}

#[tokio::test]
async fn what_the_framework_refuses_is_a_problem_too() {
    problem_of(&get_path("/api/insights/nothing").await, StatusCode::NOT_FOUND, "not_found");
    problem_of(&get_path("/elsewhere").await, StatusCode::NOT_FOUND, "not_found");
    let answer = get_path("/api/insights/echo").await;
    problem_of(&answer, StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed");
    assert_eq!(answer.0.headers()[header::ALLOW], "POST");
    let answer = get_path("/api/insights/echo/not-a-number").await;
    problem_of(&answer, StatusCode::UNPROCESSABLE_ENTITY, "invalid");
}

#[tokio::test]
async fn a_panic_is_an_internal_error_without_its_cause() {
    let answer = get_path("/api/insights/panic").await;
    let problem = problem_of(&answer, StatusCode::INTERNAL_SERVER_ERROR, "internal");
    assert!(!problem.to_string().contains("secret"));
}

#[tokio::test]
async fn an_unknown_encoding_is_unsupported() {
    let request =
        Request::post("/api/insights/echo").header("content-encoding", "lzma").body(Body::from("x")).unwrap();
    problem_of(&send(request).await, StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type");
}
