//! What an organization has set for itself.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::organizations::existing;
use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::domain::own_act::OwnAct;
use crate::http::error::ApiError;
use crate::http::extract::{Json, NoParameters, Query};
use crate::http::middleware::context::RequestContext;
use crate::job::task::revisit;
use crate::job::zone::Zone;
use crate::organization::OrganizationSettings;

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(show, set), components(schemas(Settings)))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/organizations/{id}/settings/", get(show).put(set))
}

/// What an organization has set for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The IANA time zone of its days: of reports that name none, and of tasks; null is the server's
    #[schema(example = "Europe/Paris")]
    pub timezone: Option<String>,
}

impl From<OrganizationSettings> for Settings {
    fn from(settings: OrganizationSettings) -> Self {
        Self { timezone: settings.timezone.map(|zone| zone.name) }
    }
}

impl Settings {
    /// The settings, checked.
    fn checked(&self) -> Result<OrganizationSettings, ApiError> {
        let zone = self.timezone.as_deref().map(Zone::find).transpose();
        let timezone = zone.map_err(|wrong| ApiError::invalid_at("/timezone", "invalid", wrong))?;
        Ok(OrganizationSettings { timezone })
    }
}

/// Settings of an organization
///
/// Needs `read`.
#[utoipa::path(get, path = "/api/insights/organizations/{id}/settings/", tag = "organizations",
    params(("id" = String, Path, description = "The organization")),
    responses(
        (status = 200, description = "What it has set", body = Settings),
        (status = 404, description = "No such organization, for a superuser"),
    ),
)]
async fn show(
    State(state): State<AppState>,
    principal: Principal,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<axum::Json<Settings>, ApiError> {
    let scope = principal.read_organization(Some(&id), Scopes::READ)?;
    let organization = scope.organization().cloned().ok_or_else(ApiError::forbidden)?;
    let organization = existing(&state, organization)?;
    Ok(axum::Json(OrganizationSettings::of(&state.store, &organization).into()))
}

/// Sets the settings of an organization
///
/// The whole document: what is left out is the server's. Needs `admin`.
#[utoipa::path(put, path = "/api/insights/organizations/{id}/settings/", tag = "organizations",
    params(("id" = String, Path, description = "The organization")), request_body = Settings,
    responses(
        (status = 200, description = "What it has set from now on", body = Settings),
        (status = 404, description = "No such organization, for a superuser"),
    ),
)]
async fn set(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
    Json(wanted): Json<Settings>,
) -> Result<axum::Json<Settings>, ApiError> {
    let organization = principal.write_organization(Some(&id), Scopes::ADMIN)?;
    let organization = existing(&state, organization)?;
    let settings = wanted.checked()?;
    let mut puts = vec![settings.put(&state.store, &organization)];
    let before = OrganizationSettings::of(&state.store, &organization);
    if before != settings {
        let zone = settings.timezone.as_ref().unwrap_or(&state.config.jobs.zone);
        puts.extend(revisit(&state, zone));
    }
    state.store.put(puts).await?;
    state.own_acts.record(&principal, &context, OwnAct::SettingsChanged, Some(&organization), "settings");
    Ok(axum::Json(settings.into()))
}

#[cfg(test)]
mod tests {
    use axum::http::{Method, StatusCode};
    use serde_json::{Value, json};

    use crate::testing::{ROOT, TestApp};

    #[tokio::test]
    async fn reports_have_the_days_of_the_organization_unless_they_name_a_zone() {
        let app = TestApp::new();
        let (key, reader) = (app.key("acme", &["admin"]).await, app.key("acme", &["read"]).await);
        let path = "/api/insights/organizations/acme/settings/";
        let call = async |method, key: &str, body| app.call(method, path, key, &body).await;
        assert_eq!(call(Method::GET, &reader, Value::Null).await.json(), json!({ "timezone": null }));
        let paris = json!({ "timezone": "Asia/Kathmandu" });
        assert_eq!(call(Method::PUT, &reader, paris.clone()).await.status, StatusCode::FORBIDDEN);
        let wrong = call(Method::PUT, &key, json!({ "timezone": "Mars/Base" })).await;
        assert_eq!(
            (wrong.status, &wrong.json()["errors"][0]["pointer"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("/timezone"))
        );
        assert_eq!(call(Method::PUT, &key, paris.clone()).await.json(), paris);
        assert_eq!(call(Method::GET, &reader, Value::Null).await.json(), paris);

        let window =
            json!({ "start_date": "2023-11-01", "end_date": "2023-11-01", "organization_id": "acme" });
        let start = async |key: &str, zone: Option<&str>| {
            let mut body = window.clone();
            body["timezone"] = zone.into();
            let answer = app.call(Method::POST, "/api/insights/analytics/", key, &body).await.json();
            answer["window"]["start"].clone()
        };
        assert_eq!(start(&reader, None).await, "2023-11-01T00:00:00+05:45");
        assert_eq!(start(ROOT, None).await, "2023-11-01T00:00:00+05:45");
        assert_eq!(start(&reader, Some("UTC")).await, "2023-11-01T00:00:00Z");
        let by_get = "/api/insights/analytics/?start_date=2023-11-01&end_date=2023-11-01";
        let by_get = app.call(Method::GET, by_get, &reader, &Value::Null).await.json();
        assert_eq!(by_get["timezone"], "Asia/Kathmandu");

        let erased = app.call(Method::DELETE, "/api/insights/organizations/acme/", ROOT, &Value::Null).await;
        assert_eq!(erased.status, StatusCode::ACCEPTED);
        app.key("acme", &["read"]).await;
        assert_eq!(call(Method::GET, ROOT, Value::Null).await.json(), json!({ "timezone": null }));
        assert_eq!(call(Method::PUT, ROOT, json!({})).await.json(), json!({ "timezone": null }));
    }
}
