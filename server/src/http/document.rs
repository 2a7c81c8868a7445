//! How a stored report is answered: which format and language, and the bytes in it.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::error::ApiError;
use super::list::answer::PARTIAL;
use super::list::filter::accept;
use crate::domain::lang::Lang;
use crate::domain::preference::liked;
use crate::export::Format;
use crate::report::flat::{self, Row};
use crate::report::stored::ReportType;
use crate::report::stored::html::{self, Stamp};

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
    /// One page for people, with charts, for reading and for printing
    Html,
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
    #[param(inline)]
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
        let of = |range: &str| match range.to_ascii_lowercase().as_str() {
            "text/html" | "application/xhtml+xml" => Some(Self::Html),
            range => Format::of_media_range(range).map(|format| match format {
                Format::Json => Self::Json,
                Format::Ndjson => Self::Ndjson,
                Format::Csv => Self::Csv,
            }),
        };
        liked(accept, of).unwrap_or(Self::Json)
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::Rows => Format::Json.content_type(),
            Self::Ndjson => Format::Ndjson.content_type(),
            Self::Csv => Format::Csv.content_type(),
            Self::Html => "text/html; charset=utf-8",
        }
    }
}

/// A report to answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Document<'a> {
    /// What it is about.
    pub(crate) kind: ReportType,
    /// Its body.
    pub(crate) body: &'a Value,
    /// What identifies it.
    pub(crate) stamp: Stamp<'a>,
}

/// A report in a format and a language; `answer` is what JSON answers.
///
/// # Errors
///
/// `internal` when it cannot be written, which only a mistake of ours can cause.
pub(crate) fn respond(
    (format, lang): (DocumentFormat, Lang),
    document: Document<'_>,
    answer: &impl Serialize,
) -> Result<Response, ApiError> {
    let Document { kind, body, stamp } = document;
    let bytes = match format {
        DocumentFormat::Json => serde_json::to_vec(answer).map_err(|_| ApiError::internal())?,
        DocumentFormat::Ndjson => flat::ndjson(rows(kind, body)),
        DocumentFormat::Csv => flat::csv(&rows(kind, body)),
        DocumentFormat::Rows => flat::table(&rows(kind, body)),
        DocumentFormat::Html => html::page(kind, body, stamp, lang).into_bytes(),
    };
    let content_type = HeaderValue::from_static(format.content_type());
    let mut response = ([(header::CONTENT_TYPE, content_type)], bytes).into_response();
    let headers = response.headers_mut();
    if format != DocumentFormat::Json && body.get("partial").and_then(Value::as_bool) == Some(true) {
        headers.insert(PARTIAL, HeaderValue::from_static("true"));
    }
    if format == DocumentFormat::Html {
        let policy = HeaderValue::from_str(&html::POLICY).map_err(|_| ApiError::internal())?;
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(lang.name()));
    }
    Ok(response)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_gets_a_page_and_a_program_gets_json() {
        for (accept, expected) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", DocumentFormat::Html),
            ("*/*", DocumentFormat::Json),
            ("", DocumentFormat::Json),
            ("text/csv", DocumentFormat::Csv),
            ("application/json, text/html;q=0.5", DocumentFormat::Json),
        ] {
            assert_eq!(DocumentFormat::accepted(accept), expected, "{accept}");
        }
    }
}
