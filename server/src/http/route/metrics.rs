//! Metric points in.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use insights_engine::id::Stream;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::track::Strictness;
use crate::app::AppState;
use crate::auth::principal::Principal;
use crate::auth::scope::Scopes;
use crate::http::error::{ApiError, Problem};
use crate::http::extract::{Body, IdempotencyHeader, Query};
use crate::http::middleware::context::RequestContext;
use crate::ingest::answer::Answer;
use crate::ingest::{Options, write};

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(metrics))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/metrics/", post(metrics))
}

/// What the points of a metric say.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetricType {
    /// A value that goes up and down.
    Gauge,
    /// The increment since the last point.
    Counter,
    /// One observation of a distribution.
    Histogram,
}

/// A metric point. Fields that are not named here are read over.
#[derive(Debug, Serialize, ToSchema)]
pub struct PointBody {
    /// The metric: a letter or `_`, then letters, digits and `. _ : / -`. A known metric may be written
    /// with `_` for the dot.
    #[schema(max_length = 128, example = "response.time")]
    pub name: String,
    /// The value; finite.
    pub value: f64,
    /// When: RFC 3339 with an offset, or a Unix time in s, ms, us or ns. Now when absent.
    pub timestamp: Option<String>,
    /// What the points say. A known metric has its known type; any other name without a type is a
    /// gauge. The first point of a metric declares it; another type later is the error `conflict`.
    #[serde(rename = "type")]
    pub kind: Option<MetricType>,
    /// The unit of the values, at most 32 characters; the first point of a metric declares it.
    pub unit: Option<String>,
    /// Whose point it is; from the credential when absent. A superuser must name it.
    pub organization_id: Option<String>,
    /// Of which application.
    pub app_id: Option<String>,
    /// Of which host.
    pub host: Option<String>,
    /// Of which user.
    pub user_id: Option<String>,
    /// At most 32 labels: names of 1 to 128 bytes, values of at most 1 KiB.
    pub labels: Option<BTreeMap<String, String>>,
    /// The point's own id; a second point of the same id within 24 h is a duplicate.
    pub id: Option<String>,
}

/// One point or many; NDJSON has one point a line.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum PointBodies {
    /// One point.
    One(Box<PointBody>),
    /// Many points.
    Many(Vec<PointBody>),
    /// Many points in an object; the key may also be `events`, `records` or `batch`.
    Wrapped {
        /// The points, at most 10,000.
        points: Vec<PointBody>,
    },
}

/// Takes metric points.
#[utoipa::path(
    post,
    path = "/api/insights/metrics/",
    tag = "ingest",
    params(Strictness, ("Idempotency-Key" = Option<String>, Header, description = "Names the request, 1 to 255 visible ASCII characters")),
    request_body(content(
        (PointBodies = "application/json"),
        (PointBody = "application/x-ndjson"),
    )),
    responses(
        (status = 202, description = "At least one record was kept, or none was sent", body = Answer),
        (status = 400, description = "`malformed_json`", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`payload_too_large`", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`, `idempotency_mismatch`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`, `read_only`", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn metrics(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    key: IdempotencyHeader,
    Query(Strictness { strict }): Query<Strictness>,
    body: Body,
) -> Result<(StatusCode, Json<Answer>), ApiError> {
    principal.require(Scopes::METRICS_WRITE)?;
    let idempotency_key = key.0?;
    let options = Options { stream: Stream::Metrics, import: false, strict, idempotency_key };
    let answer = write(&state, principal, context, body, options).await?;
    Ok((StatusCode::ACCEPTED, Json(answer)))
}
