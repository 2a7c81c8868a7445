//! Maintenance windows: list, plan, delete.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use insights_engine::time::TimestampUs;
use serde::Serialize;
use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

use super::{allowed, read_new, unmute};
use crate::alert::maintenance::{MAINTENANCE_MAX, Maintenance, MaintenanceDocument, When};
use crate::app::AppState;
use crate::auth::api_key::random_text;
use crate::auth::{Principal, Scopes};
use crate::domain::instant::Rfc3339;
use crate::domain::own_act::OwnAct;
use crate::export::Csv;
use crate::http::error::ApiError;
use crate::http::extract::{Json, NoParameters, Query};
use crate::http::list::{Pages, TableQuery, table};
use crate::http::middleware::context::RequestContext;

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(
    paths(list, create, remove),
    components(schemas(MaintenanceList, MaintenanceView, MaintenanceBody, MaintenanceDocument, When))
)]
pub(super) struct Api;

/// Characters of the id of a window.
const ID_CHARS: usize = 12;

/// The routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/insights/alerts/maintenance/", get(list).post(create))
        .route("/api/insights/alerts/maintenance/{id}/", delete(remove))
}

/// A maintenance window that is asked for.
#[derive(Debug, Serialize, ToSchema)]
struct MaintenanceBody {
    /// Whose; a superuser must name it
    organization_id: Option<String>,
    /// The window itself
    #[serde(flatten)]
    maintenance: MaintenanceDocument,
}

/// A maintenance window.
#[derive(Debug, Serialize, ToSchema)]
struct MaintenanceView {
    /// Its id
    id: String,
    /// Whose it is
    organization_id: String,
    /// What it says
    #[serde(flatten)]
    maintenance: MaintenanceDocument,
    /// Whether it is going on now
    active: bool,
    /// The credential that made it
    created_by: String,
    /// When it was made
    #[schema(format = DateTime)]
    created_at: String,
}

impl MaintenanceView {
    fn of(window: &Maintenance, now: TimestampUs) -> Self {
        Self {
            id: window.id.clone(),
            organization_id: window.organization.to_string(),
            maintenance: window.document.clone(),
            active: window.is_active(now),
            created_by: window.created_by.clone(),
            created_at: Rfc3339(window.created).to_string(),
        }
    }
}

/// Maintenance windows, newest first.
#[derive(Debug, Serialize, ToSchema)]
struct MaintenanceList {
    /// Those of the page
    results: Vec<MaintenanceView>,
    /// The cursor of the next page, null at the end
    next_cursor: Option<String>,
}

impl table::Table for MaintenanceList {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "organization_id",
        "name",
        "starts_at",
        "ends_at",
        "schedule",
        "timezone",
        "duration",
        "active",
        "created_by",
        "created_at",
    ];
    type Row = MaintenanceView;

    fn rows(&self) -> &[MaintenanceView] {
        &self.results
    }

    fn write_csv(row: &MaintenanceView, csv: &mut Csv) {
        csv.text(&row.id);
        csv.text(&row.organization_id);
        csv.text(&row.maintenance.name);
        match &row.maintenance.when {
            When::Once { starts_at, ends_at } => {
                csv.plain(Rfc3339(*starts_at));
                csv.plain(Rfc3339(*ends_at));
                (0..3).for_each(|_| csv.empty());
            }
            When::Again { schedule, timezone, duration } => {
                (0..2).for_each(|_| csv.empty());
                csv.text(schedule);
                csv.text(timezone);
                csv.plain(duration);
            }
        }
        csv.plain(row.active);
        csv.text(&row.created_by);
        csv.plain(&row.created_at);
    }
}

/// Maintenance windows
///
/// Newest first. Needs `read`.
#[utoipa::path(get, path = "/api/insights/alerts/maintenance/", tag = "alerts", params(TableQuery),
    responses((status = 200, description = "The windows", body = MaintenanceList)))]
async fn list(
    State(state): State<AppState>,
    principal: Principal,
    headers: HeaderMap,
    uri: Uri,
    Query(query): Query<TableQuery>,
) -> Result<Response, ApiError> {
    let scope = principal.read_scope(query.organization_id.as_deref(), Scopes::READ)?;
    let pages =
        Pages::wanted(&state, &uri, ("maintenance", scope.organization()), query.page(&headers)).await?;
    let mut windows: Vec<Maintenance> =
        state.alerts.mutes().maintenance(scope.organization()).cloned().collect();
    windows.sort_by(|a, b| (b.created, &a.id).cmp(&(a.created, &b.id)));
    let place = |window: &Maintenance| window.created.0.cast_unsigned();
    let (windows, next_cursor) = pages.cut(windows, |window| (place(window), &window.id)).await?;
    let now = state.clock.now();
    let results = windows.iter().map(|window| MaintenanceView::of(window, now)).collect();
    let list = MaintenanceList { results, next_cursor };
    pages.respond(&list, list.next_cursor.as_deref())
}

/// Plans a maintenance window
///
/// Once, from `starts_at` until `ends_at`, or again and again by `schedule`, `timezone` and `duration`. Nobody is told
/// of alerts while it lasts; they are evaluated all the same. Needs `admin`.
#[utoipa::path(post, path = "/api/insights/alerts/maintenance/", tag = "alerts", request_body = MaintenanceBody,
    responses(
        (status = 201, description = "The window", body = MaintenanceView),
        (status = 422, description = "It is invalid, or there are too many"),
    ))]
async fn create(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Query(NoParameters {}): Query<NoParameters>,
    Json(body): Json<Value>,
) -> Result<Response, ApiError> {
    principal.require(Scopes::ADMIN)?;
    let now = state.clock.now();
    let (organization, document) = read_new(&state, &principal, &body, MaintenanceDocument::of_fields)?;
    let window = Maintenance {
        id: format!("maintenance_{}", random_text(&state.entropy, ID_CHARS)),
        organization: organization.clone(),
        created_by: principal.credential().to_string(),
        created: now,
        document,
    };
    let turn = state.alerts.turn(&organization).await;
    if state.alerts.mutes().maintenance(Some(&organization)).count() >= MAINTENANCE_MAX {
        let detail = format!("an organization has at most {MAINTENANCE_MAX} maintenance windows");
        return Err(ApiError::invalid_at("", "invalid", detail));
    }
    state.store.put(vec![window.put()]).await?;
    state.alerts.mutes().put_maintenance(window.clone());
    drop(turn);
    state.own_acts.record(&principal, &context, OwnAct::MaintenanceCreated, Some(&organization), &window.id);
    Ok((StatusCode::CREATED, axum::Json(MaintenanceView::of(&window, now))).into_response())
}

/// Deletes a maintenance window
///
/// Needs `admin`.
#[utoipa::path(delete, path = "/api/insights/alerts/maintenance/{id}/", tag = "alerts",
    params(("id" = String, Path, description = "The id of the window")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is none that the credential may see"),
    ))]
async fn remove(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<StatusCode, ApiError> {
    principal.require(Scopes::ADMIN)?;
    let window = state.alerts.mutes().maintenance(None).find(|window| window.id == id).cloned();
    let window = window.ok_or_else(ApiError::not_found)?;
    allowed(&principal, &window.organization, Scopes::ADMIN)?;
    unmute(&state, &window.organization, window.removal(), |mutes| mutes.remove_maintenance(&window)).await?;
    let organization = Some(&window.organization);
    state.own_acts.record(&principal, &context, OwnAct::MaintenanceDeleted, organization, &id);
    Ok(StatusCode::NO_CONTENT)
}
