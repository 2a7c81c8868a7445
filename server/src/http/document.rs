//! How a stored report is answered: which format and language, and the bytes in it.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::error::ApiError;
use super::list::filter::accept;
use crate::domain::lang::Lang;
use crate::export::Format;
use crate::report::flat::{self, Row};
use crate::report::stored::ReportType;

/// A format of stored reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DocumentFormat {
    /// The whole report as one JSON value
    Json,
    /// A row a line: a bucket, or a finding
    Ndjson,
    /// RFC 4180 with a header line, safe against formulas
    Csv,
    /// A JSON array of rows, each with every column
    Rows,
}

/// How a report is wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DocumentQuery {
    /// Whose; a superuser must name it, here or in the body
    pub organization_id: Option<String>,
    /// The format; without it `Accept` decides
    pub format: Option<DocumentFormat>,
    /// The language of texts; without it `Accept-Language` decides
    pub lang: Option<Lang>,
}

impl DocumentQuery {
    /// The format that is wanted.
    pub fn format(&self, headers: &HeaderMap) -> DocumentFormat {
        self.format.unwrap_or_else(|| DocumentFormat::accepted(accept(headers).unwrap_or_default()))
    }

    /// The language that is wanted.
    pub fn lang(&self, headers: &HeaderMap) -> Lang {
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Lang::wanted(self.lang, accepted)
    }
}

impl DocumentFormat {
    /// The format that a header `Accept` likes best.
    fn accepted(accept: &str) -> Self {
        match Format::wanted(None, Some(accept)) {
            Format::Json => Self::Json,
            Format::Ndjson => Self::Ndjson,
            Format::Csv => Self::Csv,
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::Rows => Format::Json.content_type(),
            Self::Ndjson => Format::Ndjson.content_type(),
            Self::Csv => Format::Csv.content_type(),
        }
    }
}

/// A report in a format. `answer` is what JSON answers, `body` is the report in it.
///
/// # Errors
///
/// `internal` when it cannot be written, which only a mistake of ours can cause.
pub fn respond(
    format: DocumentFormat,
    kind: ReportType,
    answer: &impl Serialize,
    body: &Value,
) -> Result<Response, ApiError> {
    let bytes = match format {
        DocumentFormat::Json => serde_json::to_vec(answer).map_err(|_| ApiError::internal())?,
        DocumentFormat::Ndjson => flat::ndjson(rows(kind, body)),
        DocumentFormat::Csv => flat::csv(&rows(kind, body)),
        DocumentFormat::Rows => flat::table(&rows(kind, body)),
    };
    let content_type = HeaderValue::from_static(format.content_type());
    Ok(([(header::CONTENT_TYPE, content_type)], bytes).into_response())
}

/// The rows of a report: its findings, or its series side by side.
fn rows(kind: ReportType, body: &Value) -> Vec<Row> {
    match kind {
        ReportType::Security => body.get("findings").map(flat::of_list).unwrap_or_default(),
        ReportType::Daily | ReportType::Organization | ReportType::Application => {
            body.get("metrics").map(flat::of_families).unwrap_or_default()
        }
    }
}
