//! Product events in.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use insights_engine::id::Stream;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

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
#[openapi(paths(track))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/track/", post(track))
}

/// How a batch is taken.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Strictness {
    /// Whether one invalid record spoils the whole batch: then nothing is kept, and the answer is 422.
    #[serde(default)]
    pub strict: bool,
}

/// An event. Fields that are not named here are read over.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventBody {
    /// What happened, 1 to 128 characters.
    #[schema(min_length = 1, max_length = 128, example = "button_click")]
    pub event_type: String,
    /// The event's own data: any object of at most 64 KiB, 256 keys an object, 8 levels. Values come
    /// back equal; a pair of keys keeps the last one.
    #[schema(value_type = Option<Object>)]
    pub event_data: Option<serde_json::Value>,
    /// The client's session. When absent, the answer to a single event names the session that the
    /// event's user or visitor is in; such a name may be sent back.
    pub session_id: Option<String>,
    /// Who did it; from the token when absent. A user's token may only name its own user.
    pub user_id: Option<String>,
    /// Who did it, while nobody is signed in.
    pub anonymous_id: Option<String>,
    /// Whose event it is; from the credential when absent. A superuser must name it.
    pub organization_id: Option<String>,
    /// In which application.
    pub app_id: Option<String>,
    /// The client's address; that of the connection when absent, and always for a user's token.
    pub ip_address: Option<String>,
    /// The client's User-Agent, cut after 1,024 characters; that of the connection when absent, and
    /// always for a user's token.
    pub user_agent: Option<String>,
    /// When: RFC 3339 with an offset, or a Unix time in s, ms, us or ns, told apart by magnitude. Now
    /// when absent. At most an hour ahead, and not before the late window.
    pub timestamp: Option<String>,
    /// The event's own id (a `UUIDv7` is advised); a second event of the same id within 24 h is a duplicate.
    pub id: Option<String>,
}

/// One event or many; NDJSON has one event a line.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum EventBodies {
    /// One event.
    One(Box<EventBody>),
    /// Many events.
    Many(Vec<EventBody>),
    /// Many events in an object; the key may also be `records`, `points` or `batch`.
    Wrapped {
        /// The events, at most 10,000.
        events: Vec<EventBody>,
    },
}

/// Takes product events.
///
/// Acknowledged means durable. A batch is taken as far as it is valid: the answer counts, and names
/// each record that was not accepted. With an `Idempotency-Key` header the same request gives the same
/// answer for 24 h.
#[utoipa::path(
    post,
    path = "/api/insights/track/",
    tag = "ingest",
    params(Strictness, ("Idempotency-Key" = Option<String>, Header, description = "Names the request, 1 to 255 visible ASCII characters")),
    request_body(content(
        (EventBodies = "application/json"),
        (EventBody = "application/x-ndjson"),
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
async fn track(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    key: IdempotencyHeader,
    Query(Strictness { strict }): Query<Strictness>,
    body: Body,
) -> Result<(StatusCode, Json<Answer>), ApiError> {
    principal.require(Scopes::TRACK)?;
    let idempotency_key = key.0?;
    let options = Options { stream: Stream::Events, import: false, strict, idempotency_key };
    let answer = write(&state, principal, context, body, options).await?;
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

#[cfg(test)]
mod tests;
