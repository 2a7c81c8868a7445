//! What happens now: a stream of server-sent events, or one look at it.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::http::error::ApiError;
use crate::http::extract::Query;
use crate::http::list::stream_body::{PieceSender, channel};
use crate::http::middleware::context::RequestContext;
use crate::live::Viewer;
use crate::live::feed::{LiveNumbers, LiveSecond, LiveView};

/// The media type of server-sent events (WHATWG HTML, section 9.2).
const EVENT_STREAM: &str = "text/event-stream";
/// The header of a client that comes back.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// What a stream begins with: how long a client waits before it comes back, in milliseconds.
const PREAMBLE: &[u8] = b"retry: 2000\n\n";
/// A comment, so that whatever is in between does not take the connection for dead.
const HEARTBEAT: &[u8] = b": still here\n\n";
/// Time without a message after which there is a comment.
const HEARTBEAT_AFTER: Duration = Duration::from_secs(15);
/// How long one stream lasts: then the client comes back, and its credential is looked at again.
const STREAM_MAX: Duration = Duration::from_mins(15);

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(live), components(schemas(LiveView, LiveNumbers, LiveSecond)))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/live/", get(live))
}

/// Parameters of the live view.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LiveQuery {
    /// Whose; a superuser who names none sees all organizations
    organization_id: Option<String>,
    /// `sse`, a stream, or `json`, one look; without it `Accept` decides, and a stream is the default
    #[param(inline)]
    format: Option<LiveFormat>,
}

/// A format of the live view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LiveFormat {
    /// A stream of server-sent events: `snapshot` first, then `update`s
    Sse,
    /// The snapshot alone
    Json,
}

/// Live view
///
/// Events, requests, errors and active users of the last five minutes, as they come in. A stream sends a `snapshot`, then
/// an `update` with each second, sooner when something has changed, four times a second at most: the sums, and the seconds
/// that have changed, whose numbers replace those before. Every message has an `id`; a client that comes back with it as `Last-Event-ID` gets
/// one update with all it has missed, or a snapshot when that is too long ago. A stream ends after 15 minutes.
#[utoipa::path(get, path = "/api/insights/live/", tag = "reports",
    params(LiveQuery, ("Last-Event-ID" = Option<String>, Header, description = "The id of the last message before")),
    responses((status = 200, description = "The last minutes", content(
        (LiveView = "application/json"), (String = "text/event-stream")))))]
async fn live(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    headers: HeaderMap,
    Query(query): Query<LiveQuery>,
) -> Result<Response, ApiError> {
    let scope = principal.read_scope(query.organization_id.as_deref(), Scopes::READ)?;
    state.own_acts.read(&principal, &context, &scope, "live");
    let seen = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let viewer = state.live.view(&state, &scope, seen).await?;
    if wanted(query.format, &headers) == LiveFormat::Json {
        let json = viewer.document(|shown| serde_json::to_vec(shown).unwrap_or_default().into());
        return Ok(
            ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response()
        );
    }
    let (sender, body) = channel();
    tokio::spawn(send(viewer, sender));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM)),
        // nginx would wait for more before it passes on what there is.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::new(body)).into_response())
}

/// The format that is wanted.
fn wanted(asked: Option<LiveFormat>, headers: &HeaderMap) -> LiveFormat {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let names = |media: &str| {
        accept.split(',').filter_map(|range| range.split(';').next()).any(|range| range.trim() == media)
    };
    let is_json = names("application/json") && !names(EVENT_STREAM);
    asked.unwrap_or(if is_json { LiveFormat::Json } else { LiveFormat::Sse })
}

/// Sends what the viewer is to see until it leaves, its time is up, or the server stops.
async fn send(mut viewer: Viewer, sender: PieceSender) {
    let end = tokio::time::sleep(STREAM_MAX);
    tokio::pin!(end);
    let mut next = Bytes::from_static(PREAMBLE);
    loop {
        if sender.send(Ok(next)).await.is_err() {
            return;
        }
        next = tokio::select! {
            biased;
            () = &mut end => return,
            () = sender.closed() => return,
            next = tokio::time::timeout(HEARTBEAT_AFTER, viewer.next()) => match next {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(_) => Bytes::from_static(HEARTBEAT),
            },
        };
    }
}

#[cfg(test)]
mod tests;
