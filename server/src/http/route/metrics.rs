//! Metric points in.

use axum::Router;
use utoipa::OpenApi;

use crate::app::AppState;

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi()]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new()
}
