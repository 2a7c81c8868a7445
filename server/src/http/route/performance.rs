//! The performance report of an application.

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::app::AppState;
use crate::auth::Scopes;
use crate::http::error::ApiError;
use crate::http::report::{Asked, ReportQuery};
use crate::report::flat;
use crate::report::performance::{PerformanceAnswer, performance};
use crate::report::request::PerformanceRequest;

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(report, report_by_parameters), components(schemas(PerformanceBody, PerformanceAnswer)))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/performance/", get(report_by_parameters).post(report))
}

/// What a performance report is asked.
#[derive(Debug, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the body in the OpenAPI document; it is read field by field")]
pub(crate) struct PerformanceBody {
    /// The application
    app_id: String,
    /// Whose; a superuser who names none gets all organizations
    organization_id: Option<String>,
    /// The first local day, or the first instant inside (RFC 3339, or a Unix time)
    #[schema(example = "2024-01-01")]
    start_date: String,
    /// The last local day, or the first instant after
    #[schema(example = "2024-01-31")]
    end_date: String,
    /// `response_time`, `error_rate`, `uptime`; all three when absent
    metrics: Option<Vec<String>>,
    /// `hour`, `day`, `week` or `month`
    #[schema(default = "day")]
    group_by: Option<String>,
    /// The IANA time zone of days and buckets
    #[schema(default = "UTC")]
    timezone: Option<String>,
    /// `monday`, `sunday` or `saturday`
    #[schema(default = "monday")]
    week_start: Option<String>,
    /// T of Apdex, in milliseconds
    #[schema(default = 500)]
    apdex_t_ms: Option<f64>,
    /// Quantiles that interpolate over all rows
    #[schema(default = false)]
    exact: Option<bool>,
    /// Answer without what is damaged
    #[schema(default = false)]
    allow_partial: Option<bool>,
}

/// Performance of an application
///
/// Response times with Apdex, error rate, and uptime with its incidents.
#[utoipa::path(post, path = "/api/insights/performance/", tag = "reports", params(ReportQuery),
    request_body = PerformanceBody,
    responses((status = 200, description = "The report", body = PerformanceAnswer)))]
async fn report(asked: Asked) -> Result<Response, ApiError> {
    answer(asked).await
}

/// Performance by query parameters
///
/// The same by query parameters, for tools that only get: lists are joined by commas, `filters` are JSON, and
/// `format=rows` is a table.
#[utoipa::path(get, path = "/api/insights/performance/", tag = "reports", params(ReportQuery, PerformanceBody),
    responses((status = 200, description = "The report", body = PerformanceAnswer)))]
async fn report_by_parameters(asked: Asked) -> Result<Response, ApiError> {
    answer(asked).await
}

async fn answer(asked: Asked) -> Result<Response, ApiError> {
    let Asked { state, principal, context, body, .. } = &asked;
    principal.require(Scopes::READ)?;
    let request = PerformanceRequest::read(body, state.clock.now())?;
    let scope = principal.read_scope(request.common.organization_id.as_deref(), Scopes::READ)?;
    let within = scope.clone();
    let answer = state.store.ask(move |asking| performance(asking, &within, &request)).await??;
    state.own_acts.read(principal, context, &scope, "performance");
    asked.respond(answer, |json| json.get("metrics").map(flat::of_families).unwrap_or_default())
}
