//! The rules of alerts: list, make, show, change, delete.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use insights_engine::time::TimestampUs;
use serde::Serialize;
use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

use super::{allowed, organization_of, writable};
use crate::alert::book::{Entry, key_of};
use crate::alert::condition::{
    AbsenceCondition, Change, Condition, ErrorsCondition, Expected, HeartbeatCondition, MetricCondition,
    ReportCondition, ReportKind,
};
use crate::alert::length::Length;
use crate::alert::rule::{NoData, RULES_MAX, Rule, RuleDocument};
use crate::alert::state::AlertState;
use crate::alert::threshold::{Comparator, Threshold};
use crate::alert::{change, driver};
use crate::app::AppState;
use crate::auth::api_key::random_text;
use crate::auth::{Principal, Scopes};
use crate::domain::instant::Rfc3339;
use crate::domain::own_act::OwnAct;
use crate::export::Csv;
use crate::http::error::{ApiError, FieldError};
use crate::http::extract::{Json, NoParameters, Query};
use crate::http::list::{Pages, TableQuery, table};
use crate::http::middleware::context::RequestContext;
use crate::report::body::Fields;

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(
    paths(list, create, show, set, delete),
    components(schemas(
        RuleList,
        RuleView,
        RuleBody,
        RuleDocument,
        Condition,
        MetricCondition,
        ReportCondition,
        AbsenceCondition,
        HeartbeatCondition,
        ErrorsCondition,
        Expected,
        Threshold,
        Comparator,
        Change,
        ReportKind,
        NoData,
        Length
    ))
)]
pub(super) struct Api;

/// Characters of the id of a rule: 62^12 of them, so two are never the same.
const ID_CHARS: usize = 12;

/// The routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/insights/alerts/rules/", get(list).post(create))
        .route("/api/insights/alerts/rules/{id}/", get(show).put(set).delete(delete))
}

/// A rule that is asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RuleBody {
    /// Whose; a superuser must name it
    organization_id: Option<String>,
    /// The rule itself
    #[serde(flatten)]
    rule: RuleDocument,
}

/// A rule, and how its alerts stand.
#[derive(Debug, Serialize, ToSchema)]
struct RuleView {
    /// Its id
    id: String,
    /// Whose it is
    organization_id: String,
    /// What it says
    #[serde(flatten)]
    rule: RuleDocument,
    /// When it was made
    #[schema(format = DateTime)]
    created_at: String,
    /// When it was changed last
    #[schema(format = DateTime)]
    updated_at: String,
    /// The gravest state of its alerts
    state: AlertState,
    /// Alerts that are pending
    pending: usize,
    /// Alerts that fire
    firing: usize,
    /// Series that are not watched: there are more than 1,000, or there is no room for them
    omitted_series: u64,
    /// When it was evaluated last
    #[schema(format = DateTime)]
    last_evaluated_at: Option<String>,
    /// Why the last evaluation failed; its alerts stay as they were
    error: Option<String>,
    /// What somebody should look at: that the server has no room for all of its series
    finding: Option<String>,
}

impl RuleView {
    fn of(entry: &Entry) -> Self {
        let (rule, board) = (&entry.rule, &entry.board);
        let count = |state| board.series.values().filter(|series| series.state == state).count();
        let text = |at: TimestampUs| Rfc3339(at).to_string();
        Self {
            id: rule.id.clone(),
            organization_id: rule.organization.to_string(),
            rule: rule.document.clone(),
            created_at: text(rule.created),
            updated_at: text(rule.updated),
            state: board.state(),
            pending: count(AlertState::Pending),
            firing: count(AlertState::Firing),
            omitted_series: board.omitted.saturating_add(board.crowded_out.series()),
            last_evaluated_at: entry.evaluated.map(text),
            error: entry.error.clone(),
            finding: board.crowded_out.finding(rule.document.lang),
        }
    }
}

/// Rules, newest first.
#[derive(Debug, Serialize, ToSchema)]
struct RuleList {
    /// Those of the page
    results: Vec<RuleView>,
    /// The cursor of the next page, null at the end
    next_cursor: Option<String>,
}

impl table::Table for RuleList {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "organization_id",
        "name",
        "enabled",
        "severity",
        "state",
        "pending",
        "firing",
        "created_at",
        "updated_at",
        "last_evaluated_at",
        "error",
        "omitted_series",
        "finding",
    ];
    type Row = RuleView;

    fn rows(&self) -> &[RuleView] {
        &self.results
    }

    fn write_csv(row: &RuleView, csv: &mut Csv) {
        csv.text(&row.id);
        csv.text(&row.organization_id);
        csv.text(&row.rule.name);
        csv.plain(row.rule.enabled);
        csv.text(row.rule.severity.name());
        csv.text(row.state.name());
        csv.plain(row.pending);
        csv.plain(row.firing);
        csv.plain(&row.created_at);
        csv.plain(&row.updated_at);
        csv.plain(row.last_evaluated_at.as_deref().unwrap_or_default());
        csv.text(row.error.as_deref().unwrap_or_default());
        csv.plain(row.omitted_series);
        csv.text(row.finding.as_deref().unwrap_or_default());
    }
}

/// Alert rules
///
/// Newest first, each with how its alerts stand. Needs `read`.
#[utoipa::path(get, path = "/api/insights/alerts/rules/", tag = "alerts", params(TableQuery),
    responses((status = 200, description = "The rules", body = RuleList)))]
async fn list(
    State(state): State<AppState>,
    principal: Principal,
    headers: HeaderMap,
    uri: Uri,
    Query(query): Query<TableQuery>,
) -> Result<Response, ApiError> {
    let scope = principal.read_scope(query.organization_id.as_deref(), Scopes::READ)?;
    let pages =
        Pages::wanted(&state, &uri, ("alert_rules", scope.organization()), query.page(&headers)).await?;
    let mut rules: Vec<Arc<Rule>> = {
        let book = state.alerts.book();
        let kept = book.entries(scope.organization()).filter(|entry| !entry.is_removed);
        kept.map(|entry| Arc::clone(&entry.rule)).collect()
    };
    rules.sort_by(|a, b| (b.created, &a.id).cmp(&(a.created, &b.id)));
    let (rules, next_cursor) =
        pages.cut(rules, |rule| (rule.created.0.cast_unsigned(), rule.id.as_str())).await?;
    // Only those of the page are looked at as a whole; one that was deleted meanwhile is left out.
    let results = {
        let book = state.alerts.book();
        let entries = rules.iter().filter_map(|rule| book.get(&key_of(rule)));
        entries.filter(|entry| !entry.is_removed).map(RuleView::of).collect()
    };
    let rules = RuleList { results, next_cursor };
    pages.respond(&rules, rules.next_cursor.as_deref())
}

/// Reads a rule and the organization that its body names.
fn read(body: &Value) -> (Option<String>, Result<RuleDocument, Vec<FieldError>>) {
    let mut fields = match Fields::of(body) {
        Ok(fields) => fields,
        Err(problem) => return (None, Err(vec![problem])),
    };
    let organization = organization_of(&mut fields);
    let rule = RuleDocument::of_fields(&mut fields);
    let problems = fields.finish();
    (organization, rule.filter(|_| problems.is_empty()).ok_or(problems))
}

/// Makes an alert rule
///
/// It is evaluated from its next instant on. Needs `admin`.
#[utoipa::path(post, path = "/api/insights/alerts/rules/", tag = "alerts", request_body = RuleBody,
    responses(
        (status = 201, description = "The rule", body = RuleView),
        (status = 422, description = "The rule is invalid, or there are too many"),
    ))]
async fn create(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Query(NoParameters {}): Query<NoParameters>,
    Json(body): Json<Value>,
) -> Result<Response, ApiError> {
    principal.require(Scopes::ADMIN)?;
    let (named, document) = read(&body);
    let organization = writable(&state, &principal, named.as_deref())?;
    let now = state.clock.now();
    let document = document.map_err(ApiError::invalid)?;
    let id = format!("rule_{}", random_text(&state.entropy, ID_CHARS));
    let rule = Rule { id, organization: organization.clone(), created: now, updated: now, document };
    driver::check(&state, &rule).await?;
    let turn = state.alerts.turn(&organization).await;
    if state.alerts.book().count(&organization) >= RULES_MAX {
        let detail = format!("an organization has at most {RULES_MAX} rules");
        return Err(ApiError::invalid_at("", "invalid", detail));
    }
    let entry = change::put(&state, rule).await?;
    drop(turn);
    let id = &entry.rule.id;
    state.own_acts.record(&principal, &context, OwnAct::AlertRuleCreated, Some(&organization), id);
    Ok((StatusCode::CREATED, axum::Json(RuleView::of(&entry))).into_response())
}

/// The rule of an id that a principal may see or change.
pub(super) fn known(
    state: &AppState,
    principal: &Principal,
    id: &str,
    needs: Scopes,
) -> Result<Entry, ApiError> {
    principal.require(needs)?;
    let entry = state.alerts.book().find(id).cloned().ok_or_else(ApiError::not_found)?;
    allowed(principal, &entry.rule.organization, needs)?;
    Ok(entry)
}

/// An alert rule
///
/// With how its alerts stand. Needs `read`.
#[utoipa::path(get, path = "/api/insights/alerts/rules/{id}/", tag = "alerts",
    params(("id" = String, Path, description = "The id of the rule")),
    responses(
        (status = 200, description = "The rule", body = RuleView),
        (status = 404, description = "There is none that the credential may see"),
    ))]
async fn show(
    State(state): State<AppState>,
    principal: Principal,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<axum::Json<RuleView>, ApiError> {
    known(&state, &principal, &id, Scopes::READ).map(|entry| axum::Json(RuleView::of(&entry)))
}

/// Changes an alert rule
///
/// The whole rule: what is left out has its default. Alerts go on when the condition stays the same, and end when it
/// does not. Needs `admin`.
#[utoipa::path(put, path = "/api/insights/alerts/rules/{id}/", tag = "alerts",
    params(("id" = String, Path, description = "The id of the rule")), request_body = RuleBody,
    responses(
        (status = 200, description = "The rule as it is from now on", body = RuleView),
        (status = 404, description = "There is none that the credential may see"),
        (status = 422, description = "The rule is invalid"),
    ))]
async fn set(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
    Json(body): Json<Value>,
) -> Result<axum::Json<RuleView>, ApiError> {
    principal.require(Scopes::ADMIN)?;
    let (named, document) = read(&body);
    if let Some(named) = &named {
        principal.write_organization(Some(named), Scopes::ADMIN)?;
    }
    let before = known(&state, &principal, &id, Scopes::ADMIN)?.rule;
    if named.is_some_and(|named| named != before.organization.as_str()) {
        return Err(ApiError::not_found());
    }
    let document = document.map_err(ApiError::invalid)?;
    let rule = Rule { updated: state.clock.now(), document, ..Rule::clone(&before) };
    driver::check(&state, &rule).await?;
    let turn = state.alerts.turn(&rule.organization).await;
    // It may have been deleted while the new one was checked.
    if state.alerts.book().get(&key_of(&rule)).is_none_or(|entry| entry.is_removed) {
        return Err(ApiError::not_found());
    }
    let entry = change::put(&state, rule).await?;
    drop(turn);
    let organization = &entry.rule.organization;
    state.own_acts.record(&principal, &context, OwnAct::AlertRuleChanged, Some(organization), &id);
    Ok(axum::Json(RuleView::of(&entry)))
}

/// Deletes an alert rule
///
/// Its alerts end; those who were told of them are told so. Needs `admin`.
#[utoipa::path(delete, path = "/api/insights/alerts/rules/{id}/", tag = "alerts",
    params(("id" = String, Path, description = "The id of the rule")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is none that the credential may see"),
    ))]
async fn delete(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    Path(id): Path<String>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<StatusCode, ApiError> {
    let rule = known(&state, &principal, &id, Scopes::ADMIN)?.rule;
    let turn = state.alerts.turn(&rule.organization).await;
    change::remove(&state, &rule).await?;
    drop(turn);
    let organization = Some(&rule.organization);
    state.own_acts.record(&principal, &context, OwnAct::AlertRuleDeleted, organization, &id);
    Ok(StatusCode::NO_CONTENT)
}
