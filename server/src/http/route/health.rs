//! Whether the process is up, and whether it can do its work.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use crate::app::AppState;
use crate::http::damage::DamagedRange;
use crate::http::error::{ApiError, Code, PROBLEM_JSON, Problem};

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(healthz, readyz), components(schemas(Alive, Ready, DamagedRange)))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

/// The process is up.
#[derive(Debug, Serialize, ToSchema)]
struct Alive {
    #[schema(example = "ok")]
    status: &'static str,
}

/// The server can do its work.
#[derive(Debug, Serialize, ToSchema)]
struct Ready {
    #[schema(example = "ready")]
    status: &'static str,
    /// What cannot be read; everything else is served.
    damaged: Vec<DamagedRange>,
}

/// Whether the process is up
#[utoipa::path(get, path = "/healthz", tag = "server", security(()),
    responses((status = 200, description = "The process answers", body = Alive)))]
async fn healthz() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// Whether writes are taken and reads answered
///
/// Damage alone does not make the server unready: what is whole is served.
#[utoipa::path(get, path = "/readyz", tag = "server", security(()),
    responses(
        (status = 200, description = "Writes are taken and reads answered", body = Ready),
        (status = 503, description = "Writes are refused", body = Problem, content_type = PROBLEM_JSON)))]
async fn readyz(State(state): State<AppState>) -> Response {
    let health = state.store.health();
    if let Some(reason) = health.read_only {
        // The reason may name a file: it is for the log.
        tracing::warn!(reason, "not ready: writes are refused");
        return ApiError::new(Code::NotReady, "writes are refused; reads go on").into_response();
    }
    Json(Ready { status: "ready", damaged: health.damaged.iter().map(DamagedRange::from).collect() })
        .into_response()
}
