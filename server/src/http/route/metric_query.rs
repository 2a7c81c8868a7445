//! Questions about metrics.

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use serde_json::Value;
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::app::AppState;
use crate::auth::Scopes;
use crate::http::error::ApiError;
use crate::http::report::{Asked, ReportQuery};
use crate::report::flat;
use crate::report::metric_query::{MetricAnswer, metric_query};
use crate::report::request::MetricQueryRequest;

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(query, query_by_parameters), components(schemas(MetricQueryBody, MetricAnswer)))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/metrics/query/", get(query_by_parameters).post(query))
}

/// What is asked of metrics.
#[derive(Debug, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the body in the OpenAPI document; it is read field by field")]
pub(crate) struct MetricQueryBody {
    /// Whose; a superuser who names none gets all organizations
    organization_id: Option<String>,
    /// One metric
    #[schema(example = "response.time")]
    name: Option<String>,
    /// Several metrics
    names: Option<Vec<String>>,
    /// The first instant inside (RFC 3339, or a Unix time), or the first local day; `start_date` is the same
    #[schema(example = "2024-01-01T00:00:00Z")]
    start: String,
    /// The first instant after, or the last local day; `end_date` is the same
    #[schema(example = "2024-01-01T01:00:00Z")]
    end: String,
    /// `hour`, `day`, `week` or `month`; `day` when there is no `step` either
    group_by: Option<String>,
    /// The width of a bucket: a number and s, m, h, d or w
    #[schema(example = "1m")]
    step: Option<String>,
    /// avg, sum, min, max, count, last, rate (the sum a second), p50 and other percentiles; `avg` when absent
    aggregates: Option<Vec<String>>,
    /// What tells series apart: `app_id`, `host`, `user_id`, `organization_id` or names of labels
    by: Option<Vec<String>>,
    /// Points of one application
    app_id: Option<String>,
    /// Points of one host
    host: Option<String>,
    /// Points of one user
    user_id: Option<String>,
    /// Which points: as in analytics; fields are columns or `labels.<name>`
    #[schema(value_type = Option<Vec<Object>>)]
    #[param(value_type = Option<String>)]
    filters: Option<Value>,
    /// The IANA time zone of days and buckets
    #[schema(default = "UTC")]
    timezone: Option<String>,
    /// `monday`, `sunday` or `saturday`
    #[schema(default = "monday")]
    week_start: Option<String>,
    /// Quantiles that interpolate over all rows
    #[schema(default = false)]
    exact: Option<bool>,
    /// Answer without what is damaged
    #[schema(default = false)]
    allow_partial: Option<bool>,
}

/// Metrics over time
///
/// One series for each name, or for each combination of `by` that has points; one point for every bucket.
/// `session.duration`, `pages.visited` and `actions.performed` are derived from events where no points were sent.
#[utoipa::path(post, path = "/api/insights/metrics/query/", tag = "metrics", params(ReportQuery),
    request_body = MetricQueryBody,
    responses((status = 200, description = "The series", body = MetricAnswer)))]
async fn query(asked: Asked) -> Result<Response, ApiError> {
    answer(asked).await
}

/// Metrics over time by query parameters
///
/// The same by query parameters, for tools that only get: lists are joined by commas, `filters` are JSON, and
/// `format=rows` is a table.
#[utoipa::path(get, path = "/api/insights/metrics/query/", tag = "metrics", params(ReportQuery, MetricQueryBody),
    responses((status = 200, description = "The series", body = MetricAnswer)))]
async fn query_by_parameters(asked: Asked) -> Result<Response, ApiError> {
    answer(asked).await
}

async fn answer(asked: Asked) -> Result<Response, ApiError> {
    let Asked { state, principal, context, body, .. } = &asked;
    principal.require(Scopes::READ)?;
    let request = MetricQueryRequest::read(body, &state.config, state.clock.now())?;
    let scope = principal.read_scope(request.common.organization_id.as_deref(), Scopes::READ)?;
    let within = scope.clone();
    let answer = state.store.ask(move |asking| metric_query(asking, &within, &request)).await??;
    state.own_acts.read(principal, context, &scope, "metrics/query");
    asked.respond(answer, |json| json.get("series").map(flat::of_series).unwrap_or_default())
}
