//! Silences: list, make, end.

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
use crate::alert::matcher::{MatchOp, Matcher};
use crate::alert::silence::{SILENCES_MAX, Silence, SilenceDocument};
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
use crate::report::body::Fields;

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(
    paths(list, create, end),
    components(schemas(SilenceList, SilenceView, SilenceBody, SilenceDocument, Matcher, MatchOp))
)]
pub(super) struct Api;

/// Characters of the id of a silence.
const ID_CHARS: usize = 12;

/// The routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/insights/alerts/silences/", get(list).post(create))
        .route("/api/insights/alerts/silences/{id}/", delete(end))
}

/// A silence that is asked for.
#[derive(Debug, Serialize, ToSchema)]
struct SilenceBody {
    /// Whose; a superuser must name it
    organization_id: Option<String>,
    /// The silence itself
    #[serde(flatten)]
    silence: SilenceDocument,
}

/// A silence.
#[derive(Debug, Serialize, ToSchema)]
struct SilenceView {
    /// Its id
    id: String,
    /// Whose it is
    organization_id: String,
    /// What it says
    #[serde(flatten)]
    silence: SilenceDocument,
    /// Whether it holds now
    active: bool,
    /// The credential that made it
    created_by: String,
    /// When it was made
    #[schema(format = DateTime)]
    created_at: String,
}

impl SilenceView {
    fn of(silence: &Silence, now: TimestampUs) -> Self {
        Self {
            id: silence.id.clone(),
            organization_id: silence.organization.to_string(),
            silence: silence.document.clone(),
            active: silence.is_active(now),
            created_by: silence.created_by.clone(),
            created_at: Rfc3339(silence.created).to_string(),
        }
    }
}

/// Silences, newest first.
#[derive(Debug, Serialize, ToSchema)]
struct SilenceList {
    /// Those of the page
    results: Vec<SilenceView>,
    /// The cursor of the next page, null at the end
    next_cursor: Option<String>,
}

impl table::Table for SilenceList {
    const COLUMNS: &'static [&'static str] =
        &["id", "organization_id", "starts_at", "ends_at", "active", "comment", "created_by", "created_at"];
    type Row = SilenceView;

    fn rows(&self) -> &[SilenceView] {
        &self.results
    }

    fn write_csv(row: &SilenceView, csv: &mut Csv) {
        csv.text(&row.id);
        csv.text(&row.organization_id);
        csv.plain(Rfc3339(row.silence.starts_at));
        csv.plain(Rfc3339(row.silence.ends_at));
        csv.plain(row.active);
        csv.text(&row.silence.comment);
        csv.text(&row.created_by);
        csv.plain(&row.created_at);
    }
}

/// Silences
///
/// Newest first; one that is over is shown for five days. Needs `read`.
#[utoipa::path(get, path = "/api/insights/alerts/silences/", tag = "alerts", params(TableQuery),
    responses((status = 200, description = "The silences", body = SilenceList)))]
async fn list(
    State(state): State<AppState>,
    principal: Principal,
    headers: HeaderMap,
    uri: Uri,
    Query(query): Query<TableQuery>,
) -> Result<Response, ApiError> {
    let scope = principal.read_scope(query.organization_id.as_deref(), Scopes::READ)?;
    let pages = Pages::wanted(&state, &uri, ("silences", scope.organization()), query.page(&headers)).await?;
    let now = state.clock.now();
    let mut silences: Vec<Silence> = state
        .alerts
        .mutes()
        .silences(scope.organization())
        .filter(|silence| !silence.is_forgotten(now))
        .cloned()
        .collect();
    silences.sort_by(|a, b| (b.created, &a.id).cmp(&(a.created, &b.id)));
    let place = |silence: &Silence| silence.created.0.cast_unsigned();
    let (silences, next_cursor) = pages.cut(silences, |silence| (place(silence), &silence.id)).await?;
    let results = silences.iter().map(|silence| SilenceView::of(silence, now)).collect();
    let list = SilenceList { results, next_cursor };
    pages.respond(&list, list.next_cursor.as_deref())
}

/// Makes a silence
///
/// Nobody is told of alerts for which all its comparisons hold, from `starts_at` until `ends_at`. They are evaluated
/// all the same, and those that still fire then are told of then. Needs `admin`.
#[utoipa::path(post, path = "/api/insights/alerts/silences/", tag = "alerts", request_body = SilenceBody,
    responses(
        (status = 201, description = "The silence", body = SilenceView),
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
    let of_fields = |fields: &mut Fields<'_>| SilenceDocument::of_fields(fields, now);
    let (organization, document) = read_new(&state, &principal, &body, of_fields)?;
    let silence = Silence {
        id: format!("silence_{}", random_text(&state.entropy, ID_CHARS)),
        organization: organization.clone(),
        created_by: principal.credential().to_string(),
        created: now,
        document,
    };
    let turn = state.alerts.turn(&organization).await;
    let all: Vec<Silence> = state.alerts.mutes().silences(Some(&organization)).cloned().collect();
    let (forgotten, kept): (Vec<Silence>, Vec<Silence>) =
        all.into_iter().partition(|silence| silence.is_forgotten(now));
    if kept.len() >= SILENCES_MAX {
        let detail = format!("an organization has at most {SILENCES_MAX} silences");
        return Err(ApiError::invalid_at("", "invalid", detail));
    }
    // What nobody asks for any more makes room now, when somebody looks.
    let mut puts: Vec<_> = forgotten.iter().map(Silence::removal).collect();
    puts.push(silence.put());
    state.store.put(puts).await?;
    let mut mutes = state.alerts.mutes();
    for silence in &forgotten {
        mutes.remove_silence(silence);
    }
    mutes.put_silence(silence.clone());
    drop(mutes);
    drop(turn);
    state.own_acts.record(&principal, &context, OwnAct::SilenceCreated, Some(&organization), &silence.id);
    Ok((StatusCode::CREATED, axum::Json(SilenceView::of(&silence, now))).into_response())
}

/// Ends a silence, and forgets it
///
/// Needs `admin`.
#[utoipa::path(delete, path = "/api/insights/alerts/silences/{id}/", tag = "alerts",
    params(("id" = String, Path, description = "The id of the silence")),
    responses(
        (status = 204, description = "It holds no more"),
        (status = 404, description = "There is none that the credential may see"),
    ))]
async fn end(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<StatusCode, ApiError> {
    principal.require(Scopes::ADMIN)?;
    let silence = state.alerts.mutes().silences(None).find(|silence| silence.id == id).cloned();
    let silence = silence.ok_or_else(ApiError::not_found)?;
    allowed(&principal, &silence.organization, Scopes::ADMIN)?;
    unmute(&state, &silence.organization, silence.removal(), |mutes| mutes.remove_silence(&silence)).await?;
    let organization = Some(&silence.organization);
    state.own_acts.record(&principal, &context, OwnAct::SilenceDeleted, organization, &id);
    Ok(StatusCode::NO_CONTENT)
}
