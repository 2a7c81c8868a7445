//! The OpenAPI document of this server.

use std::sync::LazyLock;

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::app::AppState;
use crate::openapi::document;

/// The document never changes while the server runs.
static JSON: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(document().to_json().unwrap_or_default()));

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/openapi.json", get(openapi))
}

/// The document; it holds nothing of anybody, so it may be kept.
async fn openapi() -> Response {
    let headers =
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")];
    (headers, JSON.clone()).into_response()
}
