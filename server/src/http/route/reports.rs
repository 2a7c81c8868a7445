//! Reports that are documents: made when they are asked for, kept when their time is over, listed and fetched.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::get;
use insights_engine::id::TenantId;
use insights_engine::query::Cursor;
use insights_engine::time::TimeRange;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::app::AppState;
use crate::auth::{Principal, ReadScope, Scopes};
use crate::domain::identifier::is_identifier;
use crate::domain::instant::Rfc3339;
use crate::domain::lang::Lang;
use crate::domain::own_act::OwnAct;
use crate::export::{Csv, Format};
use crate::http::cursor;
use crate::http::document::{self, Document, DocumentFormat, DocumentQuery};
use crate::http::error::ApiError;
use crate::http::extract::{Json, Query};
use crate::http::list::answer::{next_link, question};
use crate::http::list::filter::{accept, present};
use crate::http::list::parameters::LIMIT_MAX;
use crate::http::list::{Limit, table, window};
use crate::http::middleware::context::RequestContext;
use crate::organization::OrganizationSettings;
use crate::report::answer::{Bounds, CostBlock, DamagedRange};
use crate::report::definitions::{self, Definitions, MetricDefinition};
use crate::report::stored::ReportType;
use crate::report::stored::ask::{StoredRequest, organization_of};
use crate::report::stored::html::Stamp;
use crate::report::stored::record::Found;
use crate::report::stored::shelf::{self, Made, Maker, Wanted};

/// Most reports that `limit=all` lists.
const REPORTS_MAX: usize = 10_000;

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(
    paths(list, make, one),
    components(schemas(ReportBody, ReportDocument, ReportList, ReportRow, ReportType, DocumentFormat))
)]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/insights/reports/", get(list).post(make))
        .route("/api/insights/reports/{id}/", get(one))
}

/// Which report is wanted.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the body in the OpenAPI document; it is read field by field")]
pub(crate) struct ReportBody {
    /// What it is about
    #[schema(rename = "type")]
    r#type: ReportType,
    /// Whose; a superuser must name it
    organization_id: Option<String>,
    /// The application; of an application report alone
    app_id: Option<String>,
    /// The local day, in the place of `start_date` and `end_date`
    #[schema(example = "2024-01-31")]
    date: Option<String>,
    /// The first local day, or the first instant inside (RFC 3339, or a Unix time)
    #[schema(example = "2024-01-01")]
    start_date: Option<String>,
    /// The last local day, or the first instant after; at most 366 days after the start
    #[schema(example = "2024-01-31")]
    end_date: Option<String>,
    /// The IANA time zone of days; that of the organization without it
    timezone: Option<String>,
    /// Answer without what is damaged; such a report is not kept
    #[schema(default = false)]
    allow_partial: Option<bool>,
}

/// A report.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReportDocument {
    /// Its id; null when it is not kept
    id: Option<String>,
    /// What it is about
    #[serde(rename = "type")]
    #[schema(value_type = ReportType)]
    kind: Value,
    /// Whose
    organization_id: String,
    /// Of which application
    app_id: Option<String>,
    /// The first local day, or the first instant
    #[schema(value_type = String)]
    start_date: Value,
    /// The last local day, or the first instant after
    #[schema(value_type = String)]
    end_date: Value,
    /// The window as instants
    #[schema(value_type = Bounds)]
    window: Value,
    /// The time zone of days
    #[schema(value_type = String)]
    timezone: Value,
    /// When it was made
    generated_at: String,
    /// Whether it is kept, and the same whenever it is fetched
    stored: bool,
    /// SHA-256 of `report` as canonical JSON, without what names users; null when it is not kept
    sha256: Option<String>,
    /// Present and true when something could not be read
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    partial: bool,
    /// What could not be read; absent when nothing is missing
    #[serde(skip_serializing_if = "Value::is_null")]
    #[schema(value_type = Vec<DamagedRange>)]
    damaged: Value,
    /// The report
    #[schema(value_type = Object)]
    report: Value,
    /// What its numbers mean, by their names
    #[schema(value_type = BTreeMap<String, MetricDefinition>)]
    definitions: Definitions,
    /// What it cost to make it; only in the answer that made it
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<CostBlock>,
}

/// A report in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReportRow {
    /// Its id
    id: String,
    /// What it is about
    #[serde(rename = "type")]
    kind: ReportType,
    /// Whose
    organization_id: String,
    /// Of which application
    app_id: Option<String>,
    /// The first local day, or the first instant
    start_date: String,
    /// The last local day, or the first instant after
    end_date: String,
    /// The window as instants
    window: Bounds,
    /// The time zone of days
    timezone: String,
    /// When it was made
    generated_at: String,
    /// SHA-256 of its canonical JSON, without what names users
    sha256: String,
    /// Bytes of that
    bytes: u64,
}

/// Reports, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReportList {
    /// Those of the page
    results: Vec<ReportRow>,
    /// The cursor of the next page, null at the end
    next_cursor: Option<String>,
}

impl ReportDocument {
    fn of(made: Made, organization: &TenantId, now: &str, lang: Lang) -> Self {
        let Made { found, body, cost } = made;
        let member = |name: &str| body.get(name).cloned().unwrap_or_default();
        Self {
            kind: member("type"),
            organization_id: organization.to_string(),
            app_id: member("app_id").as_str().map(str::to_owned),
            start_date: member("start_date"),
            end_date: member("end_date"),
            window: member("window"),
            timezone: member("timezone"),
            generated_at: found
                .as_ref()
                .map_or_else(|| now.to_owned(), |found| Rfc3339(found.at).to_string()),
            stored: found.is_some(),
            sha256: found.as_ref().map(|found| found.meta.sha256.clone()),
            id: found.map(|found| found.id),
            partial: member("partial") == Value::Bool(true),
            damaged: member("damaged"),
            definitions: definitions::of_answer(&body, lang),
            report: body,
            cost,
        }
    }
}

impl From<Found> for ReportRow {
    fn from(found: Found) -> Self {
        let Found { id, organization, at, meta, .. } = found;
        Self {
            id,
            kind: meta.report_type,
            organization_id: organization.to_string(),
            app_id: meta.app_id,
            start_date: meta.start_date,
            end_date: meta.end_date,
            window: Bounds { start: meta.start, end: meta.end },
            timezone: meta.timezone,
            generated_at: Rfc3339(at).to_string(),
            sha256: meta.sha256,
            bytes: meta.bytes,
        }
    }
}

/// Makes a report, or gives the one that is kept
///
/// A report of a time that is over is kept in the audit log of its organization: asked for again it is the same bytes.
/// Needs `read`; a security report, and what a daily report says of the audit log, need `audit:read` too. NDJSON and
/// CSV are the series, a row a bucket, or the findings, a row a finding.
#[utoipa::path(post, path = "/api/insights/reports/", tag = "reports", params(DocumentQuery),
    request_body = ReportBody,
    responses(
        (status = 200, description = "The report: it was there, or is not kept", body = ReportDocument),
        (status = 201, description = "The report, which is kept from now on", body = ReportDocument)))]
async fn make(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    headers: HeaderMap,
    Query(query): Query<DocumentQuery>,
    Json(body): Json<Value>,
) -> Result<Response, ApiError> {
    let named = query.organization_id.clone().or_else(|| organization_of(&body));
    let scope = principal.read_organization(named.as_deref(), Scopes::READ)?;
    let organization = scope.organization().cloned().ok_or_else(ApiError::internal)?;
    let zone = OrganizationSettings::of(&state.store, &organization).timezone;
    let zone = zone.unwrap_or_else(|| state.config.jobs.zone.clone());
    let request = StoredRequest::read(&body, &zone, state.clock.now())?;
    principal.require(request.kind.needs())?;
    let platform =
        state.config.share_system_metrics.then(|| principal.read_platform_metrics()).transpose()?;
    let maker = Maker {
        state: &state,
        scope: &scope,
        platform: platform.as_ref(),
        organization: &organization,
        a_day_max: state.config.limits.reports_a_day_max,
    };
    let made = maker.make(request).await?;
    let is_new = made.found.is_some() && made.cost.is_some();
    let mut response = answer(&state, &principal, &context, (&query, &headers), &organization, made)?;
    if is_new {
        *response.status_mut() = StatusCode::CREATED;
    }
    Ok(response)
}

/// A stored report
///
/// The same bytes whenever it is fetched; of a user that was erased since nothing is left but that there was a finding.
#[utoipa::path(get, path = "/api/insights/reports/{id}/", tag = "reports",
    params(("id" = String, Path, description = "The id of the report"), DocumentQuery),
    responses(
        (status = 200, description = "The report", body = ReportDocument),
        (status = 404, description = "There is none that the credential may see"),
    ))]
async fn one(
    State(state): State<AppState>,
    principal: Principal,
    context: RequestContext,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Query<DocumentQuery>,
) -> Result<Response, ApiError> {
    let scope = principal.read_organization(query.organization_id.as_deref(), Scopes::READ)?;
    let organization = scope.organization().cloned().ok_or_else(ApiError::internal)?;
    if !is_identifier(&id) {
        return Err(ApiError::not_found());
    }
    let found = shelf::find(&state, &scope, &id, TimeRange::ALL).await?;
    let found = found.ok_or_else(ApiError::not_found)?;
    principal.require(found.meta.report_type.needs())?;
    let body = shelf::fetch(&state, &scope, &found).await?;
    let made = Made { found: Some(found), body, cost: None };
    answer(&state, &principal, &context, (&query, &headers), &organization, made)
}

/// Answers a report in the format that is wanted, and records the read where it shows the audit log.
fn answer(
    state: &AppState,
    principal: &Principal,
    context: &RequestContext,
    (query, headers): (&DocumentQuery, &HeaderMap),
    organization: &TenantId,
    mut made: Made,
) -> Result<Response, ApiError> {
    let kind = made.body.get("type").and_then(Value::as_str).and_then(ReportType::from_name);
    let kind = kind.ok_or_else(ApiError::internal)?;
    if !principal.may(Scopes::AUDIT_READ)
        && let Some(members) = made.body.as_object_mut()
    {
        members.remove("audit");
    }
    let format = query.format(headers);
    if kind == ReportType::Security || made.body.get("audit").is_some() {
        let act = match format {
            DocumentFormat::Ndjson | DocumentFormat::Csv | DocumentFormat::Rows => OwnAct::AuditExported,
            DocumentFormat::Json | DocumentFormat::Html => OwnAct::AuditRead,
        };
        state.own_acts.record(principal, context, act, Some(organization), "reports");
    }
    let now = Rfc3339(state.clock.now()).to_string();
    let document = ReportDocument::of(made, organization, &now, query.lang(headers));
    let stamp = Stamp {
        id: document.id.as_deref(),
        generated_at: &document.generated_at,
        sha256: document.sha256.as_deref(),
    };
    let wanted = Document { kind, body: &document.report, stamp };
    document::respond((format, query.lang(headers)), wanted, &document)
}

/// Which reports are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Whose; a superuser must name it
    organization_id: Option<String>,
    /// About what
    #[serde(rename = "type")]
    #[param(rename = "type", inline)]
    kind: Option<ReportType>,
    /// Of which application
    app_id: Option<String>,
    /// Made from when on: a date or an instant
    start: Option<String>,
    /// Made until when: a date (all of it) or an instant (not included)
    end: Option<String>,
    /// Reports of a page, 1 to 1000; `all` gives up to 10,000 in NDJSON or CSV
    #[serde(default)]
    #[param(value_type = Option<String>, default = "50")]
    limit: Limit,
    /// `next_cursor` of the page before
    cursor: Option<String>,
    /// The format; without it `Accept` decides
    format: Option<Format>,
}

/// Stored reports, the newest first
///
/// Security reports are listed to those who may read the audit log.
#[utoipa::path(get, path = "/api/insights/reports/", tag = "reports", params(ListQuery),
    responses((status = 200, description = "The reports", body = ReportList)))]
async fn list(
    State(state): State<AppState>,
    principal: Principal,
    headers: HeaderMap,
    uri: Uri,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let scope = principal.read_organization(query.organization_id.as_deref(), Scopes::READ)?;
    if let Some(kind) = query.kind {
        principal.require(kind.needs())?;
    }
    let format = Format::wanted(query.format, accept(&headers));
    let question = question("reports", scope.organization(), &uri);
    let secret = state.store.secret(cursor::SECRET).await?;
    let after = present(query.cursor.as_deref()).map(|text| cursor::decode(text, &question, &secret));
    let wanted = Wanted {
        kind: query.kind,
        but: (!principal.may(Scopes::AUDIT_READ)).then_some(ReportType::Security),
        app_id: present(query.app_id.as_deref()).map(str::to_owned),
    };
    let range = window(query.start.as_deref(), query.end.as_deref())?;
    let (found, next) = match (query.limit, format) {
        (Limit::Page(limit), _) => {
            shelf::list(&state, &scope, range, &wanted, (limit, after.transpose()?)).await?
        }
        (Limit::All, Format::Json) => {
            return Err(ApiError::invalid_at("/limit", "invalid", "`limit=all` needs format=ndjson or csv"));
        }
        (Limit::All, Format::Ndjson | Format::Csv) => {
            all(&state, &scope, range, &wanted, after.transpose()?).await?
        }
    };
    let next_cursor = next.map(|next| cursor::encode(next, &question, &secret));
    let list = ReportList { results: found.into_iter().map(ReportRow::from).collect(), next_cursor };
    let mut response = table::respond(format, &list)?;
    if let Some(link) = list.next_cursor.as_deref().and_then(|next| next_link(&uri, next)) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// Up to [`REPORTS_MAX`] reports, and where the others start.
async fn all(
    state: &AppState,
    scope: &ReadScope,
    range: TimeRange,
    wanted: &Wanted,
    mut after: Option<Cursor>,
) -> Result<(Vec<Found>, Option<Cursor>), ApiError> {
    let mut out = Vec::new();
    loop {
        let (page, next) = shelf::list(state, scope, range, wanted, (LIMIT_MAX, after)).await?;
        out.extend(page);
        after = next;
        if after.is_none() || out.len() >= REPORTS_MAX {
            return Ok((out, after));
        }
    }
}

impl table::Table for ReportList {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "type",
        "organization_id",
        "app_id",
        "start_date",
        "end_date",
        "timezone",
        "generated_at",
        "sha256",
        "bytes",
    ];
    type Row = ReportRow;

    fn rows(&self) -> &[ReportRow] {
        &self.results
    }

    fn write_csv(row: &ReportRow, csv: &mut Csv) {
        csv.text(&row.id);
        csv.plain(row.kind.name());
        csv.text(&row.organization_id);
        csv.text(row.app_id.as_deref().unwrap_or_default());
        csv.plain(&row.start_date);
        csv.plain(&row.end_date);
        csv.text(&row.timezone);
        csv.plain(&row.generated_at);
        csv.plain(&row.sha256);
        csv.plain(row.bytes);
    }
}

#[cfg(test)]
mod tests;
