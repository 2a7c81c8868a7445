//! How the report routes answer: format, cost, and what all of them check first.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::error::ApiError;
use super::timing;
use crate::export::Format;
use crate::report::flat::{self, Row};

/// Parameters of a report; everything else is in the body.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReportQuery {
    /// The format; without it `Accept` decides. NDJSON, CSV and `rows` are the series alone, a row a bucket
    #[param(inline)]
    pub(crate) format: Option<ReportFormat>,
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

impl ReportQuery {
    /// The format that is wanted.
    pub(crate) fn format(&self, accept: Option<&str>) -> ReportFormat {
        ReportFormat::wanted(self.format, accept)
    }
}

/// Writes an answer in the format that is wanted; `rows` takes the flat rows out of its JSON.
///
/// # Errors
///
/// `internal` when the answer cannot be written.
pub(crate) fn respond(
    answer: &impl Serialize,
    query: &ReportQuery,
    headers: &HeaderMap,
    elapsed: Duration,
    rows: fn(&Value) -> Vec<Row>,
) -> Result<Response, ApiError> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let format = query.format(accept);
    let mut json = serde_json::to_value(answer).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "an answer could not be written");
        ApiError::internal()
    })?;
    if let Some(cost) = json.get_mut("cost").and_then(Value::as_object_mut) {
        let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        cost.insert("elapsed_us".to_owned(), elapsed_us.into());
    }
    let bytes = match format {
        ReportFormat::Json => json.to_string().into_bytes(),
        ReportFormat::Ndjson => flat::ndjson(rows(&json)),
        ReportFormat::Csv => flat::csv(&rows(&json)),
        ReportFormat::Rows => flat::table(&rows(&json)),
    };
    let mut response =
        ([(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()))], bytes).into_response();
    timing::add(&mut response, elapsed);
    Ok(response)
}
