//! All routes behind their middleware.

use axum::Router;
use axum::middleware::from_fn_with_state;
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::decompression::RequestDecompressionLayer;

use super::error::{ApiError, Code};
use super::middleware::edge::{Edge, edge};
use super::middleware::problem;
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

/// All other routes. Their answers are compressed when asked for; fast rather than small, because a
/// report waits for nobody.
fn other_routes() -> Router<AppState> {
    Router::new()
        .merge(route::analytics::routes())
        .merge(route::performance::routes())
        .merge(route::metric_query::routes())
        .merge(route::reports::routes())
        .merge(route::events::routes())
        .merge(route::export::routes())
        .merge(route::audit_records::routes())
        .merge(route::metric_catalogue::routes())
        .merge(route::organizations::routes())
        .merge(route::retention::routes())
        .merge(route::organization_settings::routes())
        .merge(route::erasures::routes())
        .merge(route::tasks::routes())
        .merge(route::live::routes())
        .merge(route::alerts::routes())
        .merge(route::channels::routes())
        .merge(route::deliveries::routes())
        .merge(route::keys::routes())
        .merge(route::openapi::routes())
        .merge(route::docs::routes())
        .merge(route::own_metrics::routes())
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
}

/// The service of this server.
pub fn router(state: AppState) -> Router {
    let edge = state.edge.clone();
    let routes = Router::new().merge(ingest_routes()).merge(other_routes()).merge(route::health::routes());
    let routes = routes.with_state(state);
    behind_edge(routes, edge)
}

/// Routes behind the middleware that all of them share.
fn behind_edge(routes: Router, state: Edge) -> Router {
    let routes = routes
        .fallback(async || ApiError::not_found())
        .method_not_allowed_fallback(async || {
            ApiError::new(Code::MethodNotAllowed, "the Allow header names the methods of this path")
        })
        // Both at once: every call of `layer` puts a box around each request's future.
        .layer((CatchPanicLayer::custom(problem::after_panic), RequestDecompressionLayer::new()));
    // A router of its own around it: the edge changes the path before routes are looked up.
    Router::new().fallback_service(routes).layer(from_fn_with_state(state, edge))
}

#[cfg(test)]
mod tests;
