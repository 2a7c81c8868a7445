//! The analytics report of an organization.

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use serde_json::Value;
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::app::AppState;
use crate::auth::Scopes;
use crate::http::error::ApiError;
use crate::http::report::{Asked, ReportQuery};
use crate::report::analytics::{AnalyticsAnswer, Sources, analytics};
use crate::report::flat;
use crate::report::request::AnalyticsRequest;
use crate::store::Asking;

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(report, report_by_parameters), components(schemas(AnalyticsBody, AnalyticsAnswer)))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/analytics/", get(report_by_parameters).post(report))
}

/// What an analytics report is asked.
#[derive(Debug, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the body in the OpenAPI document; it is read field by field")]
pub(crate) struct AnalyticsBody {
    /// Whose; a superuser who names none gets all organizations
    organization_id: Option<String>,
    /// The first local day, or the first instant inside (RFC 3339, or a Unix time)
    #[schema(example = "2024-01-01")]
    start_date: String,
    /// The last local day, or the first instant after
    #[schema(example = "2024-01-31")]
    end_date: String,
    /// `user_activity`, `system_performance`, `app_metrics`; all three when absent
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
    /// One application; `system_performance` is of hosts and not narrowed
    app_id: Option<String>,
    /// Which events `user_activity` counts: `[field, op, value]` joined by and, or nested `{"and": []}`, `{"or": []}`,
    /// `{"not": []}`; ops are `is`, `is_not`, `contains`, `starts_with`, `in`, `gt`, `gte`, `lt`, `lte`, `exists`; fields are columns or
    /// `event_data.<path>`
    #[schema(value_type = Option<Vec<Object>>)]
    #[param(value_type = Option<String>)]
    filters: Option<Value>,
    /// `previous_period`
    compare: Option<String>,
    /// Quantiles that interpolate over all rows
    #[schema(default = false)]
    exact: Option<bool>,
    /// `event_type`, `page`, `feature`, `app_id`, `user_id` or `event_data.<path>`
    breakdown: Option<String>,
    /// Answer without what is damaged
    #[schema(default = false)]
    allow_partial: Option<bool>,
}

/// Analytics
///
/// Who did what, how the hosts and how the applications are, in a window and in each of its buckets.
#[utoipa::path(post, path = "/api/insights/analytics/", tag = "reports", params(ReportQuery),
    request_body = AnalyticsBody,
    responses((status = 200, description = "The report", body = AnalyticsAnswer)))]
async fn report(asked: Asked) -> Result<Response, ApiError> {
    answer(asked).await
}

/// Analytics by query parameters
///
/// The same by query parameters, for tools that only get: lists are joined by commas, `filters` are JSON, and
/// `format=rows` is a table.
#[utoipa::path(get, path = "/api/insights/analytics/", tag = "reports", params(ReportQuery, AnalyticsBody),
    responses((status = 200, description = "The report", body = AnalyticsAnswer)))]
async fn report_by_parameters(asked: Asked) -> Result<Response, ApiError> {
    answer(asked).await
}

async fn answer(asked: Asked) -> Result<Response, ApiError> {
    let Asked { state, principal, context, body, .. } = &asked;
    principal.require(Scopes::READ)?;
    let request = AnalyticsRequest::read(body, &state.config, state.clock.now())?;
    let scope = principal.read_scope(request.common.organization_id.as_deref(), Scopes::READ)?;
    let platform =
        state.config.share_system_metrics.then(|| principal.read_platform_metrics()).transpose()?;
    let within = scope.clone();
    let report = move |asking: &Asking| {
        analytics(Sources { asking, scope: &within, platform: platform.as_ref() }, &request)
    };
    let answer = state.store.ask(report).await??;
    state.own_acts.read(principal, context, &scope, "analytics");
    asked.respond(answer, |json| json.get("metrics").map(flat::of_families).unwrap_or_default())
}
