//! All routes behind their middleware.

use std::time::Duration;

use axum::Router;
use axum::http::request::Parts;
use axum::middleware::from_fn_with_state;
use insights_client::{Identity, InsightsLayer, MetricsLayer, Outcome};
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::decompression::RequestDecompressionLayer;

use super::error::{ApiError, Code};
use super::middleware::context::RequestContext;
use super::middleware::edge::{Edge, edge};
use super::middleware::{path, problem};
use super::route;
use crate::app::AppState;
use crate::collect::own::OWN_APP;

/// Time between two reports of the server's own requests.
const OWN_INTERVAL: Duration = Duration::from_mins(1);
/// Durations of one route and method in a report.
const OWN_SAMPLES_MAX: usize = 20;
/// Durations of all routes in a report.
const OWN_OBSERVATIONS_MAX: usize = 400;

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
        .merge(route::audit_records::routes())
        .merge(route::metric_catalogue::routes())
        .merge(route::organizations::routes())
        .merge(route::retention::routes())
        .merge(route::organization_settings::routes())
        .merge(route::erasures::routes())
        .merge(route::tasks::routes())
        .merge(route::alerts::routes())
        .merge(route::channels::routes())
        .merge(route::deliveries::routes())
        .merge(route::keys::routes())
        .merge(route::openapi::routes())
        .merge(route::docs::routes())
        .merge(route::own_metrics::routes())
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
}

/// Routes whose answers take as long as somebody reads them: their durations say nothing about the server.
fn streams() -> Router<AppState> {
    Router::new()
        .merge(route::live::routes())
        .merge(route::export::routes())
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
}

/// The service of this server.
pub fn router(state: AppState) -> Router {
    let edge = state.edge.clone();
    let requests = Router::new().merge(ingest_routes()).merge(other_routes());
    let routes = observed(requests, &state).merge(streams()).merge(route::health::routes());
    let routes = routes.with_state(state);
    behind_edge(routes, edge)
}

/// Routes whose requests are counted and timed for the platform, and whose refusals and failures are recorded, by the layers
/// that any service may use.
fn observed(routes: Router<AppState>, state: &AppState) -> Router<AppState> {
    let name = |parts: &Parts| path::label(parts.uri.path()).to_owned();
    let metrics = MetricsLayer::builder(state.own_sink.clone())
        .interval(OWN_INTERVAL)
        .sample_max(OWN_SAMPLES_MAX)
        .observations_max(OWN_OBSERVATIONS_MAX)
        .identify(|_: &Parts| Identity::default().app_id(OWN_APP))
        .route(name)
        .build();
    let audit = InsightsLayer::new(state.own_sink.clone())
        .route(name)
        .client_address(|parts| parts.extensions.get::<RequestContext>()?.ip_address)
        // What was changed is an own act already, with who changed it.
        .important(|act| act.outcome() == Outcome::Failure && act.is_important())
        .action_type(|act| {
            let is_refused = act.status().is_some_and(|status| status.is_client_error());
            (if is_refused { "insights.request.refused" } else { "insights.request.failed" }).to_owned()
        });
    routes.layer((metrics, audit))
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
