//! How the report routes answer: format, cost, and what all of them check first.

use std::time::Duration;

use axum::RequestPartsExt;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::error::ApiError;
use super::extract::{Json, parse_query};
use super::middleware::context::RequestContext;
use super::{report_query, timing};
use crate::app::AppState;
use crate::auth::{Principal, Scopes};
use crate::domain::lang::Lang;
use crate::export::Format;
use crate::organization::OrganizationSettings;
use crate::report::answer::ReportAnswer;
use crate::report::flat::{self, Row};

/// Parameters of a report; everything else is in the body.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReportQuery {
    /// The format; without it `Accept` decides. NDJSON, CSV and `rows` are the series alone, a row a bucket
    #[param(inline)]
    pub(crate) format: Option<ReportFormat>,
    /// The language of `definitions`; without it `Accept-Language` decides
    #[param(inline)]
    pub(crate) lang: Option<Lang>,
}

/// A format of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReportFormat {
    /// The whole answer as one JSON value
    Json,
    /// A row a line
    Ndjson,
    /// RFC 4180 with a header line, safe against formulas
    Csv,
    /// A JSON array of rows, each with every column, for tools that want a table
    Rows,
}

impl ReportFormat {
    /// The format of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "json" => Self::Json,
            "ndjson" => Self::Ndjson,
            "csv" => Self::Csv,
            "rows" => Self::Rows,
            _ => return None,
        })
    }

    /// The format that is wanted: `asked` when it is given, else the one that `accept`, a header, likes best.
    fn wanted(asked: Option<Self>, accept: Option<&str>) -> Self {
        asked.unwrap_or_else(|| match Format::wanted(None, accept) {
            Format::Json => Self::Json,
            Format::Ndjson => Self::Ndjson,
            Format::Csv => Self::Csv,
        })
    }

    /// The value of `Content-Type`.
    const fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::Rows => Format::Json.content_type(),
            Self::Ndjson => Format::Ndjson.content_type(),
            Self::Csv => Format::Csv.content_type(),
        }
    }
}

/// A report that is asked for: by `POST` with a body, or by `GET` with parameters that stand for one.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The application.
    pub(crate) state: AppState,
    /// Who asks.
    pub(crate) principal: Principal,
    /// The request.
    pub(crate) context: RequestContext,
    /// What is asked.
    pub(crate) body: Value,
    query: ReportQuery,
    headers: HeaderMap,
    began: Duration,
}

impl FromRequest<AppState> for Asked {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let principal: Principal = parts.extract_with_state(state).await?;
        let context = parts.extensions.get::<RequestContext>().cloned().unwrap_or_default();
        let (headers, text) = (parts.headers.clone(), parts.uri.query().unwrap_or_default().to_owned());
        let (query, body) = if parts.method == Method::POST {
            let query = parse_query(&text)?;
            let Json(body) = Json::from_request(Request::from_parts(parts, body), state).await?;
            (query, body)
        } else {
            report_query::read(&text)?
        };
        let mut body = body;
        in_own_zone(state, &principal, &mut body);
        let began = state.clock.monotonic();
        Ok(Self { state: state.clone(), principal, context, body, query, headers, began })
    }
}

/// Days are those of the organization unless the question names a time zone.
fn in_own_zone(state: &AppState, principal: &Principal, body: &mut Value) {
    let Some(members) = body.as_object_mut() else { return };
    if members.get("timezone").is_some_and(|zone| !zone.is_null()) {
        return;
    }
    // Whoever may not ask is refused elsewhere.
    let named = members.get("organization_id").and_then(Value::as_str);
    let Ok(scope) = principal.read_organization(named, Scopes::READ) else { return };
    let zone = scope.organization().and_then(|own| OrganizationSettings::of(&state.store, own).timezone);
    if let Some(zone) = zone {
        members.insert("timezone".to_owned(), zone.name.into());
    }
}

impl Asked {
    /// The format that is wanted.
    pub(crate) fn format(&self) -> ReportFormat {
        let accept = self.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        ReportFormat::wanted(self.query.format, accept)
    }

    /// The language that is wanted.
    fn lang(&self) -> Lang {
        let accepted = self.headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Lang::wanted(self.query.lang, accepted)
    }

    /// Writes an answer in the format that is wanted; `rows` takes the flat rows out of its JSON.
    ///
    /// # Errors
    ///
    /// `internal` when the answer cannot be written.
    pub(crate) fn respond(
        &self,
        mut answer: impl ReportAnswer,
        rows: fn(&Value) -> Vec<Row>,
    ) -> Result<Response, ApiError> {
        let elapsed = self.state.clock.monotonic().saturating_sub(self.began);
        answer.complete(elapsed, self.lang());
        let format = self.format();
        let bytes = write(&answer, format, rows).map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "an answer could not be written");
            ApiError::internal()
        })?;
        let content_type = HeaderValue::from_static(format.content_type());
        let mut response = ([(header::CONTENT_TYPE, content_type)], bytes).into_response();
        timing::add(&mut response, elapsed);
        Ok(response)
    }
}

fn write(
    answer: &impl Serialize,
    format: ReportFormat,
    rows: fn(&Value) -> Vec<Row>,
) -> serde_json::Result<Vec<u8>> {
    // As it is: a tree of it first would take as long as reading what it is made of.
    if format == ReportFormat::Json {
        return serde_json::to_vec(answer);
    }
    let rows = rows(&serde_json::to_value(answer)?);
    Ok(match format {
        ReportFormat::Ndjson => flat::ndjson(rows),
        ReportFormat::Csv => flat::csv(&rows),
        ReportFormat::Json | ReportFormat::Rows => flat::table(&rows),
    })
}
