//! How the report routes answer: format, cost, and what all of them check first.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::IntoParams;

use super::error::ApiError;
use super::timing;
use crate::export::Format;
use crate::report::flat::{self, Row};

/// Parameters of a report; everything else is in the body.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReportQuery {
    /// The format; without it `Accept` decides. NDJSON and CSV are the series alone, a row a bucket
    format: Option<Format>,
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
    let format = Format::wanted(query.format, accept);
    let mut json = serde_json::to_value(answer).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "an answer could not be written");
        ApiError::internal()
    })?;
    if let Some(cost) = json.get_mut("cost").and_then(Value::as_object_mut) {
        let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        cost.insert("elapsed_us".to_owned(), elapsed_us.into());
    }
    let bytes = match format {
        Format::Json => json.to_string().into_bytes(),
        Format::Ndjson => flat::ndjson(rows(&json)),
        Format::Csv => flat::csv(&rows(&json)),
    };
    let mut response =
        ([(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()))], bytes).into_response();
    timing::add(&mut response, elapsed);
    Ok(response)
}
