//! How long an organization's records and rollups are kept.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use insights_engine::catalog::retention::RETENTION_DAYS_MAX;
use insights_engine::catalog::{RetentionDocument, StreamRetention};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::organizations::existing;
use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::domain::own_act::OwnAct;
use crate::http::error::{ApiError, FieldError};
use crate::http::extract::{Json, NoParameters, Query};
use crate::http::middleware::context::RequestContext;

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(show, set), components(schemas(Retention, WithRollups, RowsAlone)))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/organizations/{id}/retention/", get(show).put(set))
}

/// How long a stream is kept that has rollups. Days are whole UTC days after the day of a record; null is for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WithRollups {
    /// Records
    #[schema(minimum = 1, maximum = 36500)]
    pub raw_days: Option<u32>,
    /// Rollups of 15 minutes
    #[schema(minimum = 1, maximum = 36500)]
    pub rollup_15m_days: Option<u32>,
    /// Rollups of an hour
    #[schema(minimum = 1, maximum = 36500)]
    pub rollup_1h_days: Option<u32>,
    /// Rollups of a day
    #[schema(minimum = 1, maximum = 36500)]
    pub rollup_1d_days: Option<u32>,
}

/// How long a stream is kept that has no rollups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RowsAlone {
    /// Records; null is for ever
    #[schema(minimum = 1, maximum = 36500)]
    pub raw_days: Option<u32>,
}

/// How long an organization's records and rollups are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Product events
    pub events: WithRollups,
    /// Metric points
    pub metrics: WithRollups,
    /// Audit records
    pub audit: RowsAlone,
}

impl WithRollups {
    fn of(stream: &StreamRetention) -> Self {
        Self {
            raw_days: stream.raw_days,
            rollup_15m_days: stream.rollup_15m_days,
            rollup_1h_days: stream.rollup_1h_days,
            rollup_1d_days: stream.rollup_1d_days,
        }
    }

    fn stream(self) -> StreamRetention {
        StreamRetention {
            raw_days: self.raw_days,
            rollup_15m_days: self.rollup_15m_days,
            rollup_1h_days: self.rollup_1h_days,
            rollup_1d_days: self.rollup_1d_days,
        }
    }
}

impl From<&RetentionDocument> for Retention {
    fn from(document: &RetentionDocument) -> Self {
        Self {
            events: WithRollups::of(&document.events),
            metrics: WithRollups::of(&document.metrics),
            audit: RowsAlone { raw_days: document.audit.raw_days },
        }
    }
}

impl Retention {
    /// The document of the engine.
    ///
    /// # Errors
    ///
    /// `invalid` with every limit that is out of range.
    fn document(&self) -> Result<RetentionDocument, ApiError> {
        let audit = StreamRetention { raw_days: self.audit.raw_days, ..StreamRetention::FOREVER };
        let document =
            RetentionDocument { events: self.events.stream(), audit, metrics: self.metrics.stream() };
        let streams = [("events", document.events), ("metrics", document.metrics), ("audit", document.audit)];
        let names = ["raw_days", "rollup_15m_days", "rollup_1h_days", "rollup_1d_days"];
        let mut errors = Vec::new();
        for (stream, limits) in streams {
            for (name, days) in names.into_iter().zip(limits.limits()) {
                if days.is_some_and(|days| days == 0 || days > RETENTION_DAYS_MAX) {
                    let detail = format!("a limit is 1 to {RETENTION_DAYS_MAX} days, or null");
                    errors.push(FieldError::new(format!("/{stream}/{name}"), "invalid", detail));
                }
            }
        }
        if errors.is_empty() { Ok(document) } else { Err(ApiError::invalid(errors)) }
    }
}

/// Retention of an organization
///
/// What is older is not shown, not taken, and removed by the day. Needs `read`.
#[utoipa::path(get, path = "/api/insights/organizations/{id}/retention/", tag = "organizations",
    params(("id" = String, Path, description = "The organization")),
    responses(
        (status = 200, description = "How long it is kept", body = Retention),
        (status = 404, description = "No such organization, for a superuser"),
    ),
)]
async fn show(
    State(state): State<AppState>,
    principal: Principal,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<axum::Json<Retention>, ApiError> {
    let scope = principal.read_organization(Some(&id), Scopes::READ)?;
    let organization = scope.organization().cloned().ok_or_else(ApiError::forbidden)?;
    let organization = existing(&state, organization)?;
    Ok(axum::Json(Retention::from(&state.store.retention(&organization))))
}

/// Sets the retention of an organization
///
/// The whole document: a limit that is left out is for ever. Needs `admin`. A shorter limit hides what is older at
/// once; the files of rows, and of each tier of rollups, go within an hour of the last organization that kept them.
#[utoipa::path(put, path = "/api/insights/organizations/{id}/retention/", tag = "organizations",
    params(("id" = String, Path, description = "The organization")), request_body = Retention,
    responses(
        (status = 200, description = "How long it is kept from now on", body = Retention),
        (status = 404, description = "No such organization, for a superuser"),
    ),
)]
async fn set(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
    Json(wanted): Json<Retention>,
) -> Result<axum::Json<Retention>, ApiError> {
    let organization = principal.write_organization(Some(&id), Scopes::ADMIN)?;
    let organization = existing(&state, organization)?;
    let document = wanted.document()?;
    state.store.set_retention(organization.clone(), document).await?;
    state.own_acts.record(&principal, &context, OwnAct::RetentionChanged, Some(&organization), "retention");
    Ok(axum::Json(Retention::from(&document)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_comes_back_and_its_limits_are_checked() {
        let text = r#"{"events": {"raw_days": 90, "rollup_1h_days": 400}, "audit": {"raw_days": 1095}}"#;
        let wanted: Retention = serde_json::from_str(text).unwrap();
        assert_eq!(Retention::from(&wanted.document().unwrap()), wanted);
        assert_eq!(wanted.metrics, WithRollups::default());
        for wrong in
            [r#"{"audit": {"rollup_1h_days": 1}}"#, r#"{"event": {}}"#, r#"{"events": {"raw_days": -1}}"#]
        {
            assert!(serde_json::from_str::<Retention>(wrong).is_err(), "{wrong}");
        }
        let wrong = r#"{"events": {"raw_days": 0}, "metrics": {"rollup_15m_days": 40000}}"#;
        let error = serde_json::from_str::<Retention>(wrong).unwrap().document().unwrap_err();
        let pointers: Vec<&str> = error.errors().iter().map(|e| e.pointer.as_str()).collect();
        assert_eq!(pointers, ["/events/raw_days", "/metrics/rollup_15m_days"]);
    }
}
