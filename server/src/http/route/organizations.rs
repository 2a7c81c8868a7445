//! What an organization keeps.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use insights_engine::engine::Usage;
use insights_engine::id::Stream;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::http::error::ApiError;

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(usage))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/organizations/{id}/usage/", get(usage))
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

/// Usage of an organization
///
/// Rows, bytes and series by stream.
#[utoipa::path(get, path = "/api/insights/organizations/{id}/usage/", tag = "organizations",
    params(("id" = String, Path, description = "The organization")),
    responses(
        (status = 200, description = "What it keeps", body = OrganizationUsage),
        (status = 404, description = "No such organization, for a superuser"),
    ),
)]
async fn usage(
    State(state): State<AppState>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Json<OrganizationUsage>, ApiError> {
    let scope = principal.read_organization(Some(&id), Scopes::READ)?;
    let organization = scope.organization().cloned().ok_or_else(ApiError::forbidden)?;
    if !state.store.tenant_exists(&organization) {
        return Err(ApiError::not_found());
    }
    let usage = state.store.usage(organization).await?;
    Ok(Json(answer(id, &usage)))
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
