//! The OpenAPI document, put together from the routes' own types.

use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

use crate::http::route;

/// What the document says of the whole.
#[derive(Debug, OpenApi)]
#[openapi(info(title = "Insights", description = "Tracking, audit and reports of a platform."))]
struct Base;

/// The document of every route.
pub fn document() -> Document {
    let parts = [
        route::track::Api::openapi(),
        route::audit::Api::openapi(),
        route::metrics::Api::openapi(),
        route::import::Api::openapi(),
        route::analytics::Api::openapi(),
        route::performance::Api::openapi(),
        route::metric_query::Api::openapi(),
        route::events::Api::openapi(),
        route::audit_records::Api::openapi(),
        route::metric_catalogue::Api::openapi(),
        route::organizations::Api::openapi(),
        route::keys::Api::openapi(),
        route::health::Api::openapi(),
        route::own_metrics::Api::openapi(),
    ];
    parts.into_iter().fold(Base::openapi(), Document::merge_from)
}
