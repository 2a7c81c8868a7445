//! All routes behind their middleware.

use axum::Router;

use super::error::{ApiError, Code};
use super::route;
use crate::app::AppState;

/// Routes that take records in: as little as possible stands in front of them.
fn ingest_routes() -> Router<AppState> {
    Router::new()
        .merge(route::track::routes())
        .merge(route::audit::routes())
        .merge(route::metrics::routes())
        .merge(route::import::routes())
}

/// All other routes.
fn other_routes() -> Router<AppState> {
    Router::new()
        .merge(route::analytics::routes())
        .merge(route::performance::routes())
        .merge(route::metric_query::routes())
        .merge(route::events::routes())
        .merge(route::audit_records::routes())
        .merge(route::metric_catalogue::routes())
        .merge(route::organizations::routes())
}

/// The service of this server.
pub fn router(state: AppState) -> Router {
    Router::new()
        .merge(ingest_routes())
        .merge(other_routes())
        .fallback(async || ApiError::not_found())
        .method_not_allowed_fallback(async || {
            ApiError::new(Code::MethodNotAllowed, "the Allow header names the methods of this path")
        })
        .with_state(state)
}
