//! The report of one application: response times, errors, uptime with incidents, the previous period, its routes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::ask::StoredRequest;
use super::body::{self, to_value};
use super::compute::{Computed, Source, cut};
use super::routes;
use crate::http::error::{ApiError, Code};
use crate::report::answer::{Bounds, Comparison, FamilyComparison};
use crate::report::apdex;
use crate::report::performance::{PerformanceAnswer, performance};
use crate::report::reader::Reader;
use crate::report::request::{Common, PerformanceMetric, PerformanceRequest};
use crate::report::window::{WEEK_START, Window};

/// Most incidents of a report.
const INCIDENTS_MAX: usize = 1_000;
/// The parts that are lists: they are not compared.
const LISTS: [&str; 2] = ["series", "incidents"];

/// Computes the report of an application.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn application(source: &Source<'_>, request: &StoredRequest) -> Result<Computed, ApiError> {
    let app_id = request.app_id.as_deref().unwrap_or_default();
    let window = &request.window;
    let answer = ask(source, request, app_id, window)?;
    let mut computed =
        Computed { body: Value::Null, damaged: answer.envelope.damaged.clone(), cost: answer.cost };
    let mut metrics = parts(&answer)?;
    let comparison = compare(source, request, app_id, &metrics, &mut computed)?;
    let mut omitted = Map::new();
    let incidents = metrics.get_mut("uptime").and_then(|uptime| uptime.get_mut("incidents"));
    if let Some(left_out) = incidents.and_then(|rows| cut(rows, INCIDENTS_MAX)) {
        omitted.insert("incidents".to_owned(), left_out.into());
    }
    let reader = Reader::new(source.asking, source.scope, request.allow_partial);
    let routes = routes::routes(&reader, window, app_id);
    computed.add(&reader.finish(), window);
    let mut body = body::head(request, source.organization)?;
    let hours = window.buckets.get(0).is_some_and(|first| first.end.0 - first.start.0 <= HOUR_US);
    body.insert("group_by".to_owned(), if hours { "hour" } else { "day" }.into());
    body.insert("metrics".to_owned(), metrics.into());
    body.insert("exactness".to_owned(), to_value(&answer.exactness)?);
    body.insert("comparison".to_owned(), to_value(&comparison)?);
    body.insert("routes".to_owned(), to_value(&routes?)?);
    body.insert("omitted".to_owned(), omitted.into());
    computed.body = body.into();
    Ok(computed)
}

/// Microseconds of an hour.
const HOUR_US: i64 = 3_600_000_000;

fn ask(
    source: &Source<'_>,
    request: &StoredRequest,
    app_id: &str,
    window: &Window,
) -> Result<PerformanceAnswer, ApiError> {
    let (start, end) = body::dates(window);
    let question = PerformanceRequest {
        common: Common {
            organization_id: Some(source.organization.to_string()),
            window: window.clone(),
            start: json!(start),
            end: json!(end),
            group_by: "day".to_owned(),
            week_start: WEEK_START,
            exact: false,
            allow_partial: request.allow_partial,
        },
        app_id: app_id.to_owned(),
        metrics: vec![
            PerformanceMetric::ResponseTime,
            PerformanceMetric::ErrorRate,
            PerformanceMetric::Uptime,
        ],
        apdex_t_ms: apdex::T_MS,
    };
    performance(source.asking, source.scope, &question)
}

fn parts(answer: &PerformanceAnswer) -> Result<Map<String, Value>, ApiError> {
    match to_value(&answer.metrics)? {
        Value::Object(parts) => Ok(parts),
        _ => Err(ApiError::internal()),
    }
}

/// The previous period; nothing when there is none, or it is not kept any more.
fn compare(
    source: &Source<'_>,
    request: &StoredRequest,
    app_id: &str,
    now: &Map<String, Value>,
    computed: &mut Computed,
) -> Result<Comparison, ApiError> {
    let Some(previous) = request.window.previous() else { return Ok(Comparison::default()) };
    let answer = match ask(source, request, app_id, &previous) {
        Ok(answer) => answer,
        Err(error) if error.code() == Code::RowsExpired => return Ok(Comparison::default()),
        Err(error) => return Err(error),
    };
    computed.add_answer(answer.cost, answer.envelope.damaged.clone());
    let mut then = parts(&answer)?;
    let mut metrics = BTreeMap::new();
    for (name, part) in now {
        let Some(mut then) = then.remove(name) else { continue };
        for list in LISTS {
            then.as_object_mut().and_then(|members| members.remove(list));
        }
        metrics.insert(name.clone(), FamilyComparison::of(part, then));
    }
    Ok(Comparison { window: Some(Bounds::of(previous.range, &previous)), metrics: Some(metrics) })
}
