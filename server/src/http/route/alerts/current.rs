//! How alerts stand now.

use std::collections::BTreeSet;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::alert::label::{Labels, fill};
use crate::alert::overview::Alert;
use crate::alert::state::{AlertState, Series};
use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::domain::audit::Severity;
use crate::domain::instant::Rfc3339;
use crate::export::{Csv, Format};
use crate::http::error::ApiError;
use crate::http::extract::Query;
use crate::http::list::{Limit, Pages, filter, table};

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(list), components(schemas(AlertList, AlertView, AlertState)))]
pub(super) struct Api;

/// The routes.
pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/alerts/", get(list))
}

/// Which alerts are listed.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Whose; a superuser who names none gets all
    organization_id: Option<String>,
    /// Of one rule
    rule_id: Option<String>,
    /// `ok`, `pending`, `firing` or `resolved`; without it all that are not `ok`
    state: Option<AlertState>,
    /// Rows of a page, 1 to 1000; `all` gives every row in NDJSON or CSV
    #[serde(default)]
    #[param(value_type = Option<String>, default = "50")]
    limit: Limit,
    /// `next_cursor` of the page before
    cursor: Option<String>,
    /// The format; without it `Accept` decides
    format: Option<Format>,
}

/// An alert.
#[derive(Debug, Serialize, ToSchema)]
struct AlertView {
    /// What tells it from every other
    fingerprint: String,
    /// The id of its rule
    rule_id: String,
    /// The name of its rule
    name: String,
    /// Whose it is
    organization_id: String,
    /// How it is: `resolved` until those who were told of it know
    state: AlertState,
    /// Since when
    #[schema(format = DateTime)]
    since: String,
    /// How grave it is
    severity: Severity,
    /// What it is about
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    labels: Labels,
    /// Texts for people
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    annotations: Labels,
    /// The last number; null when there was none
    value: Option<f64>,
    /// What it is compared with
    threshold: f64,
    /// Whether the last evaluation found nothing
    no_data: bool,
    /// When somebody was last told of it
    #[schema(format = DateTime)]
    notified_at: Option<String>,
    /// Ids of the silences that hold for it
    silenced_by: Vec<String>,
    /// Ids of the maintenance windows that hold for it
    maintenance: Vec<String>,
    /// The fingerprint of the critical alert that is told of instead
    inhibited_by: Option<String>,
}

impl AlertView {
    fn of(alert: Alert) -> Self {
        let (rule, document, series) = (&alert.rule, &alert.rule.document, &alert.series);
        let threshold = document.condition.threshold().threshold;
        let annotation = |(name, text): (&String, &String)| {
            (name.clone(), fill(text, series.value, Some(threshold), &alert.labels))
        };
        let text = |at: TimestampUs| Rfc3339(at).to_string();
        Self {
            rule_id: rule.id.clone(),
            name: document.name.clone(),
            organization_id: rule.organization.to_string(),
            state: series.state,
            since: text(series.since),
            severity: document.severity,
            annotations: document.annotations.iter().map(annotation).collect(),
            value: series.value,
            threshold,
            no_data: series.no_data,
            notified_at: series.told.map(text),
            silenced_by: alert.muted.silenced_by,
            maintenance: alert.muted.maintenance,
            inhibited_by: alert.inhibited_by,
            fingerprint: alert.fingerprint,
            labels: alert.labels,
        }
    }
}

/// Alerts, the gravest state first, then the latest.
#[derive(Debug, Serialize, ToSchema)]
struct AlertList {
    /// Those of the page
    results: Vec<AlertView>,
    /// The cursor of the next page, null at the end
    next_cursor: Option<String>,
}

impl table::Table for AlertList {
    const COLUMNS: &'static [&'static str] = &[
        "fingerprint",
        "rule_id",
        "name",
        "organization_id",
        "state",
        "since",
        "severity",
        "labels",
        "value",
        "threshold",
        "no_data",
        "notified_at",
        "silenced_by",
        "maintenance",
        "inhibited_by",
    ];
    type Row = AlertView;

    fn rows(&self) -> &[AlertView] {
        &self.results
    }

    fn write_csv(row: &AlertView, csv: &mut Csv) {
        csv.text(&row.fingerprint);
        csv.text(&row.rule_id);
        csv.text(&row.name);
        csv.text(&row.organization_id);
        csv.text(row.state.name());
        csv.plain(&row.since);
        csv.text(row.severity.name());
        let labels: Vec<String> = row.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        csv.text(&labels.join(" "));
        match row.value {
            Some(value) => csv.plain(value),
            None => csv.empty(),
        }
        csv.plain(row.threshold);
        csv.plain(row.no_data);
        csv.plain(row.notified_at.as_deref().unwrap_or_default());
        csv.text(&row.silenced_by.join(" "));
        csv.text(&row.maintenance.join(" "));
        csv.text(row.inhibited_by.as_deref().unwrap_or_default());
    }
}

/// Alerts
///
/// Those that are not `ok`, the gravest state first. Needs `read`.
#[utoipa::path(get, path = "/api/insights/alerts/", tag = "alerts", params(ListQuery),
    responses((status = 200, description = "The alerts", body = AlertList)))]
async fn list(
    State(state): State<AppState>,
    principal: Principal,
    headers: HeaderMap,
    uri: Uri,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let scope = principal.read_scope(query.organization_id.as_deref(), Scopes::READ)?;
    let format = Format::wanted(query.format, filter::accept(&headers));
    let page = (query.limit, query.cursor.as_deref(), format);
    let pages = Pages::wanted(&state, &uri, ("alerts", scope.organization()), page).await?;
    let is_wanted = |series: &Series| match query.state {
        Some(state) => series.state == state,
        None => series.state != AlertState::Ok,
    };
    let rule_id = filter::present(query.rule_id.as_deref());
    let now = state.clock.now();
    let mut alerts = Vec::new();
    for organization in organizations(&state, scope.organization()) {
        let found = state.alerts.overview(&organization, now, is_wanted);
        let wanted = found
            .into_iter()
            .filter(|alert| !alert.is_removed && rule_id.is_none_or(|rule_id| rule_id == alert.rule.id));
        alerts.extend(wanted.map(|alert| (rank(&alert.series), AlertView::of(alert))));
    }
    alerts.sort_by(|(a, one), (b, other)| (b, &one.fingerprint).cmp(&(a, &other.fingerprint)));
    let (alerts, next_cursor) = pages.cut(alerts, |(rank, alert)| (*rank, &alert.fingerprint)).await?;
    let list = AlertList { results: alerts.into_iter().map(|(_, alert)| alert).collect(), next_cursor };
    pages.respond(&list, list.next_cursor.as_deref())
}

/// The organization that is asked about, or all that have rules.
fn organizations(state: &AppState, one: Option<&TenantId>) -> BTreeSet<TenantId> {
    match one {
        Some(organization) => BTreeSet::from([organization.clone()]),
        None => state.alerts.book().entries(None).map(|entry| entry.rule.organization.clone()).collect(),
    }
}

/// The gravest state first, then the latest: milliseconds leave room for the state above them.
fn rank(series: &Series) -> u64 {
    let ms = u64::try_from(series.since.0.div_euclid(1_000)).unwrap_or(0) & ((1 << 48) - 1);
    ((series.state as u64) << 48) | ms
}
