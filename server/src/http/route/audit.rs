//! Audit records in.

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
use crate::domain::audit::{Outcome, Severity};
use crate::http::error::{ApiError, Problem};
use crate::http::extract::{Body, IdempotencyHeader, Query};
use crate::http::middleware::context::RequestContext;
use crate::ingest::answer::Answer;
use crate::ingest::{Options, write};

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(audit))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/audit/", post(audit))
}

/// The object that a record is about.
#[derive(Debug, Serialize, ToSchema)]
pub struct ContentObjectBody {
    /// Its type, such as `project`.
    #[serde(rename = "type")]
    pub object_type: Option<String>,
    /// Its id.
    pub id: Option<String>,
    /// How it is shown, at most 1,024 characters.
    pub repr: Option<String>,
    /// Where it is, at most 2,048 characters.
    pub url: Option<String>,
}

/// An audit record. Fields that are not named here are read over.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditBody {
    /// What was done: words with dots between. `insights.*` is the server's own.
    #[schema(max_length = 128, example = "project.created")]
    pub action_type: String,
    /// In words, at most 8,192 characters.
    pub description: Option<String>,
    /// Who did it.
    pub user_id: Option<String>,
    /// Their name at that time, at most 256 characters.
    pub user_name: Option<String>,
    /// Whose record it is; from the credential when absent. A superuser must name it.
    pub organization_id: Option<String>,
    /// In which application.
    pub app_id: Option<String>,
    /// The object it is about.
    pub content_object: Option<ContentObjectBody>,
    /// Further objects.
    #[schema(value_type = Option<Vec<Object>>)]
    pub targets: Option<Vec<serde_json::Value>>,
    /// The client's address; that of the connection when absent.
    pub ip_address: Option<String>,
    /// The client's User-Agent; that of the connection when absent.
    pub user_agent: Option<String>,
    /// How grave it is.
    pub severity: Option<Severity>,
    /// Whether it succeeded.
    pub outcome: Option<Outcome>,
    /// Context: any object of at most 64 KiB, 256 keys an object, 8 levels.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<serde_json::Value>,
    /// Field -> [before, after]. Values of fields that are named like secrets are masked.
    #[schema(value_type = Option<Object>)]
    pub changes: Option<serde_json::Value>,
    /// The request it belongs to; this one when absent.
    pub request_id: Option<String>,
    /// The trace it belongs to; that of `traceparent` when absent.
    pub trace_id: Option<String>,
    /// When: RFC 3339 with an offset, or a Unix time in s, ms, us or ns. Now when absent.
    pub timestamp: Option<String>,
    /// The record's own id; a second record of the same id within 24 h is a duplicate.
    pub id: Option<String>,
}

/// One record or many; NDJSON has one record a line.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum AuditBodies {
    /// One record.
    One(Box<AuditBody>),
    /// Many records.
    Many(Vec<AuditBody>),
    /// Many records in an object; the key may also be `events`, `points` or `batch`.
    Wrapped {
        /// The records, at most 10,000.
        records: Vec<AuditBody>,
    },
}

/// Takes audit records.
///
/// The answer says for each record its place in its organization's log, which has no holes, and its
/// leaf in the log's tree.
#[utoipa::path(
    post,
    path = "/api/insights/audit/",
    tag = "ingest",
    params(Strictness, ("Idempotency-Key" = Option<String>, Header, description = "Names the request, 1 to 255 visible ASCII characters")),
    request_body(content(
        (AuditBodies = "application/json"),
        (AuditBody = "application/x-ndjson"),
    )),
    responses(
        (status = 201, description = "At least one record was kept, or none was sent", body = Answer),
        (status = 400, description = "`malformed_json`", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "`unauthenticated`", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`payload_too_large`", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported_media_type`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`invalid`, `idempotency_mismatch`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`, `read_only`", body = Problem, content_type = "application/problem+json"),
    ),
)]
async fn audit(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    key: IdempotencyHeader,
    Query(Strictness { strict }): Query<Strictness>,
    body: Body,
) -> Result<(StatusCode, Json<Answer>), ApiError> {
    principal.require(Scopes::AUDIT_WRITE)?;
    let idempotency_key = key.0?;
    let options = Options { stream: Stream::Audit, import: false, strict, idempotency_key };
    let answer = write(&state, principal, context, body, options).await?;
    Ok((StatusCode::CREATED, Json(answer)))
}
