//! Reports that are documents: computed when they are asked for.

use axum::Router;
use axum::response::Response;
use axum::routing::post;
use utoipa::{OpenApi, ToSchema};

use crate::app::AppState;
use crate::auth::Scopes;
use crate::domain::own_act::OwnAct;
use crate::http::error::ApiError;
use crate::http::report::{Asked, ReportFormat, ReportQuery};
use crate::report::flat;
use crate::report::reader::Reader;
use crate::report::request::DocumentRequest;
use crate::report::security::{SecurityReport, security};

/// The part of the OpenAPI document that is about these routes.
#[derive(Debug, OpenApi)]
#[openapi(paths(report), components(schemas(ReportBody, SecurityReport)))]
pub struct Api;

/// The routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/api/insights/reports/", post(report))
}

/// Which report is wanted.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the body in the OpenAPI document; it is read field by field")]
pub(crate) struct ReportBody {
    /// `security`
    #[schema(rename = "type")]
    r#type: String,
    /// Whose; a superuser must name it
    organization_id: Option<String>,
    /// The first local day, or the first instant inside (RFC 3339, or a Unix time)
    #[schema(example = "2024-01-01")]
    start_date: String,
    /// The last local day, or the first instant after
    #[schema(example = "2024-01-31")]
    end_date: String,
    /// The IANA time zone of days
    #[schema(default = "UTC")]
    timezone: Option<String>,
    /// Answer without what is damaged
    #[schema(default = false)]
    allow_partial: Option<bool>,
}

/// Security report
///
/// What happened in an organization's audit log that an administrator must look at. Needs the scopes `read` and
/// `audit:read`. NDJSON and CSV are the findings alone, a row a finding.
#[utoipa::path(post, path = "/api/insights/reports/", tag = "reports", params(ReportQuery),
    request_body = ReportBody,
    responses((status = 200, description = "The report", body = SecurityReport)))]
async fn report(asked: Asked) -> Result<Response, ApiError> {
    let Asked { state, principal, context, body, .. } = &asked;
    let needs = Scopes::READ | Scopes::AUDIT_READ;
    principal.require(needs)?;
    let request = DocumentRequest::read(body, state.clock.now())?;
    let scope = principal.read_organization(request.common.organization_id.as_deref(), needs)?;
    let (within, settings) = (scope.clone(), state.config.security.clone());
    let compute = move |asking: &crate::store::Asking| {
        let reader = Reader::new(asking, &within, request.common.allow_partial);
        security(reader, &request.common.window, &settings)
    };
    let answer = state.store.ask(compute).await??;
    let act = match asked.format() {
        ReportFormat::Json => OwnAct::AuditRead,
        ReportFormat::Ndjson | ReportFormat::Csv | ReportFormat::Rows => OwnAct::AuditExported,
    };
    state.own_acts.record(principal, context, act, scope.organization(), "reports");
    asked.respond(&answer, |json| json.get("findings").map(flat::of_list).unwrap_or_default())
}

#[cfg(test)]
mod tests;
