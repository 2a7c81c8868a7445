//! What an organization keeps.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use insights_engine::engine::Usage;
use insights_engine::id::{Stream, TenantId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::export::{Csv, Format};
use crate::http::error::ApiError;
use crate::http::extract::Query;
use crate::http::list::{filter, table};

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(usage))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/organizations/{id}/usage/", get(usage))
}

/// An organization that exists; a superuser may name one that does not.
///
/// # Errors
///
/// `not_found`.
pub(super) fn existing(state: &AppState, organization: TenantId) -> Result<TenantId, ApiError> {
    if state.store.tenant_exists(&organization) { Ok(organization) } else { Err(ApiError::not_found()) }
}

/// What is kept of one stream.
#[derive(Debug, Default, Serialize, ToSchema)]
struct StreamUsage {
    /// Records or points
    rows: u64,
    /// Bytes on disk, its share of shared files; what is only in memory counts with its memory
    bytes: u64,
    /// Distinct series, for metrics
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<u64>,
}

/// What is kept of each stream.
#[derive(Debug, Serialize, ToSchema)]
struct Streams {
    /// Product events
    events: StreamUsage,
    /// Audit records
    audit: StreamUsage,
    /// Metric points
    metrics: StreamUsage,
}

/// What an organization keeps.
#[derive(Debug, Serialize, ToSchema)]
struct OrganizationUsage {
    /// The organization
    organization_id: String,
    /// By stream
    streams: Streams,
    /// All streams together
    total: StreamUsage,
}

/// How the usage is written.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UsageQuery {
    /// The format; without it `Accept` decides. NDJSON and CSV have a row a stream
    format: Option<Format>,
}

/// Usage of an organization
///
/// Rows, bytes and series by stream.
#[utoipa::path(get, path = "/api/insights/organizations/{id}/usage/", tag = "organizations",
    params(("id" = String, Path, description = "The organization"), UsageQuery),
    responses(
        (status = 200, description = "What it keeps", body = OrganizationUsage),
        (status = 404, description = "No such organization, for a superuser"),
    ),
)]
async fn usage(
    State(state): State<AppState>,
    principal: Principal,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Query<UsageQuery>,
) -> Result<Response, ApiError> {
    let scope = principal.read_organization(Some(&id), Scopes::READ)?;
    let organization = scope.organization().cloned().ok_or_else(ApiError::forbidden)?;
    if !state.store.tenant_exists(&organization) {
        return Err(ApiError::not_found());
    }
    let usage = state.store.usage(organization).await?;
    let format = Format::wanted(query.format, filter::accept(&headers));
    let usage = answer(id, &usage);
    if format == Format::Json {
        return Ok(Json(usage).into_response());
    }
    let OrganizationUsage { streams: Streams { events, audit, metrics }, .. } = usage;
    let rows = Stream::ALL.into_iter().zip([events, audit, metrics]);
    table::respond(
        format,
        &ByStream(rows.map(|(stream, usage)| StreamRow { stream: stream.name(), usage }).collect()),
    )
}

/// The usage of a stream as a row of NDJSON or CSV.
#[derive(Debug, Serialize)]
struct StreamRow {
    stream: &'static str,
    #[serde(flatten)]
    usage: StreamUsage,
}

#[derive(Debug, Serialize)]
struct ByStream(Vec<StreamRow>);

impl table::Table for ByStream {
    const COLUMNS: &'static [&'static str] = &["stream", "rows", "bytes", "series"];
    type Row = StreamRow;

    fn rows(&self) -> &[StreamRow] {
        &self.0
    }

    fn write_csv(StreamRow { stream, usage }: &StreamRow, csv: &mut Csv) {
        csv.text(stream);
        csv.plain(usage.rows);
        csv.plain(usage.bytes);
        csv.plain(usage.series.map(|series| series.to_string()).unwrap_or_default());
    }
}

/// The answer of the usage of each stream, in the order of [`Stream::ALL`].
fn answer(organization_id: String, usage: &[Usage; 3]) -> OrganizationUsage {
    let [events, audit, metrics] = usage;
    let of = |usage: &Usage, stream: Stream| StreamUsage {
        rows: usage.rows,
        bytes: usage.bytes,
        series: (stream == Stream::Metrics).then_some(usage.series),
    };
    let total = StreamUsage {
        rows: usage.iter().map(|u| u.rows).sum(),
        bytes: usage.iter().map(|u| u.bytes).sum(),
        series: None,
    };
    OrganizationUsage {
        organization_id,
        streams: Streams {
            events: of(events, Stream::Events),
            audit: of(audit, Stream::Audit),
            metrics: of(metrics, Stream::Metrics),
        },
        total,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_told_of_metrics_alone() {
        let usage = [1, 2, 3].map(|n| Usage { rows: n, bytes: 10 * n, series: n });
        let json = serde_json::to_value(answer("acme".into(), &usage)).unwrap();
        assert_eq!(json["streams"]["metrics"], serde_json::json!({"rows": 3, "bytes": 30, "series": 3}));
        assert_eq!(json["streams"]["events"], serde_json::json!({"rows": 1, "bytes": 10}));
        assert_eq!(json["total"], serde_json::json!({"rows": 6, "bytes": 60}));
    }
}
