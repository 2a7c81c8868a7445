//! Pointers into what is wrong, limits, encodings, budgets.

use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::routing::post;
use hyper::body::Frame;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::Config;
use crate::testing::{Answer, ROOT, TestApp};

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    name: String,
    #[serde(default)]
    list: Vec<u8>,
    #[serde(default, deserialize_with = "identifier_text")]
    id: Option<String>,
    #[serde(default)]
    limit: Option<u16>,
}

fn wrong(body: &str) -> (Code, String, String) {
    let error = parse_json::<Sample>(body.as_bytes()).unwrap_err();
    let (pointer, code) =
        error.errors().first().map(|e| (e.pointer.clone(), e.code.to_string())).unwrap_or_default();
    (error.code(), pointer, code)
}

#[test]
fn what_is_wrong_has_a_pointer() {
    for (body, pointer, code) in [
        ("{}", "/name", "required"),
        (r#"{"name": 5}"#, "/name", "invalid_type"),
        (r#"{"name": "a", "list": [1, 2, "x"]}"#, "/list/2", "invalid_type"),
        (r#"{"name": "a", "list": [1, 2, 300]}"#, "/list/2", "invalid"),
        (r#"{"name": "a", "na/me~": 1}"#, "/na~1me~0", "unknown_field"),
        (r#"{"name": "a", "id": {}}"#, "/id", "invalid"),
        ("5", "", "invalid_type"),
    ] {
        assert_eq!(wrong(body), (Code::Invalid, pointer.to_owned(), code.to_owned()), "{body}");
    }
}

#[test]
fn an_array_is_not_taken_for_an_object() {
    for (body, code) in [(r#"["a"]"#, Code::Invalid), ("null", Code::Invalid), ("[", Code::MalformedJson)] {
        assert_eq!(parse_object::<Sample>(body.as_bytes()).unwrap_err().code(), code, "{body}");
    }
    assert_eq!(parse_object::<Sample>(b" \n{\"name\": \"a\"}").unwrap().name, "a");
}

#[test]
fn what_is_no_json_is_malformed() {
    for body in ["", "{", "{\"name\": \"a\"} x", "{\"name\": \"\u{1}\"}", "nul"] {
        assert_eq!(wrong(body).0, Code::MalformedJson, "{body}");
    }
}

#[test]
fn an_identifier_may_be_a_number_and_an_empty_one_is_absent() {
    let id =
        |text: &str| parse_json::<Sample>(format!(r#"{{"name": "a", "id": {text}}}"#).as_bytes()).unwrap().id;
    assert_eq!(id("42").as_deref(), Some("42"));
    assert_eq!(id("18446744073709551615").as_deref(), Some("18446744073709551615"));
    assert_eq!(id("\"x\"").as_deref(), Some("x"));
    assert_eq!(id("\"\""), None);
    assert_eq!(id("null"), None);
}

#[test]
fn a_query_parameter_is_named_by_its_pointer() {
    assert_eq!(parse_query::<Sample>("name=a&limit=5").unwrap().limit, Some(5));
    for (query, pointer, code) in [
        ("", "/name", "required"),
        ("name=a&limit=x", "/limit", "invalid"),
        ("name=a&nmae=b", "/nmae", "unknown_field"),
    ] {
        let error = parse_query::<Sample>(query).unwrap_err();
        let first = error.errors().first().map(|e| (e.pointer.as_str(), &*e.code));
        assert_eq!(first, Some((pointer, code)), "{query}");
    }
}

/// An application that answers how many bytes it read.
fn counting(config: Config) -> TestApp {
    let mut app = TestApp::with(config);
    let routes: Router<AppState> = Router::new()
        .route("/count/", post(async |body: Body| format!("{} {:?}", body.bytes.len(), body.media)))
        .layer(tower_http::decompression::RequestDecompressionLayer::new());
    app.app = routes.with_state(app.state.clone());
    app
}

async fn post_bytes(app: &TestApp, headers: &[(&str, &str)], body: impl Into<axum::body::Body>) -> Answer {
    let mut request = axum::http::Request::builder().method(Method::POST).uri("/count/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    app.send(request.body(body.into()).unwrap()).await
}

fn small() -> Config {
    let mut config = Config::default();
    config.limits.ingest_body_bytes_max = 100_000;
    config.limits.bodies_in_flight_bytes_max = 256 << 10;
    config
}

#[tokio::test]
async fn a_body_is_json_or_lines_of_it_or_unsupported() {
    let app = counting(small());
    for (media, expected) in [
        ("application/json", "2 Json"),
        ("Application/JSON; charset=utf-8", "2 Json"),
        ("application/x-ndjson", "2 Ndjson"),
    ] {
        assert_eq!(post_bytes(&app, &[("content-type", media)], "{}").await.bytes, expected.as_bytes());
    }
    assert_eq!(post_bytes(&app, &[], "{}").await.bytes, b"2 Json");
    let answer = post_bytes(&app, &[("content-type", "text/xml")], "{}").await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn the_limit_counts_decompressed_bytes() {
    let app = counting(small());
    let zip = |bytes: usize| zstd_of(&vec![b' '; bytes]);
    let good = post_bytes(&app, &[("content-encoding", "zstd")], zip(100_000)).await;
    assert_eq!(good.bytes, b"100000 Json");
    let bomb = zip(50_000_000);
    assert!(bomb.len() < 100_000);
    let answer = post_bytes(&app, &[("content-encoding", "zstd")], bomb).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let plain = post_bytes(&app, &[], vec![b' '; 100_001]).await;
    assert_eq!(plain.status, StatusCode::PAYLOAD_TOO_LARGE);
    let broken = post_bytes(&app, &[("content-encoding", "zstd")], "not zstd").await;
    assert_eq!(
        (broken.status, broken.json()["code"].as_str()),
        (StatusCode::BAD_REQUEST, Some("malformed_json"))
    );
}

/// One zstd frame of raw blocks around repeated bytes: enough to be decoded, without an encoder.
fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    // Magic, a header with an 8-byte content size and a window of 8 MiB, then blocks that repeat one byte.
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0xc0, 0x68];
    out.write_all(&(bytes.len() as u64).to_le_bytes()).unwrap();
    let mut chunks = bytes.chunks(128 << 10).peekable();
    while let Some(chunk) = chunks.next() {
        let last = u32::from(chunks.peek().is_none());
        let header = last | (1 << 1) | (u32::try_from(chunk.len()).unwrap() << 3);
        out.extend_from_slice(&header.to_le_bytes()[..3]);
        out.push(chunk[0]);
    }
    out
}

#[tokio::test]
async fn bodies_in_flight_have_a_budget_that_comes_back() {
    let app = counting(small());
    let held = Arc::clone(&app.state.bodies).try_acquire_many_owned(200).unwrap();
    let answer = post_bytes(&app, &[], vec![b' '; 90_000]).await;
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("overloaded"))
    );
    drop(held);
    assert_eq!(post_bytes(&app, &[], vec![b' '; 90_000]).await.status, StatusCode::OK);
    assert_eq!(app.state.bodies.available_permits(), 256);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_malformed() {
    let app = counting(small());
    let answer = post_bytes(&app, &[], axum::body::Body::new(Broken(Some(Bytes::from("{"))))).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

/// A body of one frame, after which the connection is gone.
struct Broken(Option<Bytes>);

impl axum::body::HttpBody for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let data = self.0.take().ok_or_else(|| std::io::Error::other("reset"));
        Poll::Ready(Some(data.map(Frame::data)))
    }
}

#[tokio::test]
async fn the_json_of_a_route_has_a_smaller_limit() {
    let app = TestApp::new();
    let body = json!({ "name": "x".repeat(2 << 20) });
    let answer = app.call(Method::POST, "/api/insights/keys/", ROOT, &body).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

proptest! {
    #[test]
    fn no_body_and_no_query_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100), query in ".{0,60}") {
        let _ = parse_json::<Sample>(&bytes);
        let _ = parse_query::<Sample>(&query);
    }
}
