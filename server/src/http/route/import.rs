//! History of any age in.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use insights_engine::id::Stream;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use super::audit::AuditBodies;
use super::metrics::PointBodies;
use super::track::EventBodies;
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
#[openapi(paths(import), components(schemas(StreamName)))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/import/", post(import))
}

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StreamName {
    /// Product events.
    Events,
    /// Audit records.
    Audit,
    /// Metric points.
    Metrics,
}

impl From<StreamName> for Stream {
    fn from(name: StreamName) -> Self {
        match name {
            StreamName::Events => Self::Events,
            StreamName::Audit => Self::Audit,
            StreamName::Metrics => Self::Metrics,
        }
    }
}

/// What is imported, and how.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// What the records are.
    pub stream: StreamName,
    /// Whether one invalid record spoils the whole batch: then nothing is kept, and the answer is 422.
    #[serde(default)]
    pub strict: bool,
}

/// The records of one stream.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ImportBodies {
    /// Of `stream=events`.
    Events(EventBodies),
    /// Of `stream=audit`.
    Audit(AuditBodies),
    /// Of `stream=metrics`.
    Points(PointBodies),
}

/// Takes records of any age, for history from elsewhere.
///
/// The grammar and the answer are those of ingest; only the late window does not hold. For superusers
/// and keys with the scope `admin`.
#[utoipa::path(
    post,
    path = "/api/insights/import/",
    tag = "ingest",
    params(ImportQuery, ("Idempotency-Key" = Option<String>, Header, description = "Names the request, 1 to 255 visible ASCII characters")),
    request_body(content = ImportBodies, content_type = "application/json"),
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
async fn import(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    key: IdempotencyHeader,
    Query(ImportQuery { stream, strict }): Query<ImportQuery>,
    body: Body,
) -> Result<(StatusCode, Json<Answer>), ApiError> {
    principal.require(Scopes::ADMIN)?;
    // A person may administer, but writes nothing except events as themselves.
    if !principal.may_attribute() {
        return Err(ApiError::forbidden());
    }
    let idempotency_key = key.0?;
    let options = Options { stream: stream.into(), import: true, strict, idempotency_key };
    let answer = write(&state, principal, context, body, options).await?;
    Ok((StatusCode::ACCEPTED, Json(answer)))
}
