//! Numbers of reports, by the code of the reports themselves.

use std::collections::BTreeMap;

use insights_engine::time::TimestampUs;
use serde_json::{Value, json};

use super::Place;
use crate::alert::board::Readings;
use crate::alert::condition::{Change, ReportCondition, ReportKind};
use crate::alert::label::Labels;
use crate::alert::state::Observation;
use crate::domain::instant::Rfc3339;
use crate::http::error::ApiError;
use crate::report::analytics::{Sources, analytics};
use crate::report::answer::numbers;
use crate::report::performance::performance;
use crate::report::request::{AnalyticsRequest, PerformanceRequest};

/// Most names that an error lists.
const NAMED_MAX: usize = 40;

/// What is found at each instant: a report each.
pub(super) fn look(
    place: &Place<'_>,
    condition: &ReportCondition,
    instants: &[TimestampUs],
) -> Result<Vec<Readings>, ApiError> {
    instants.iter().map(|at| at_instant(place, condition, *at)).collect()
}

fn at_instant(place: &Place<'_>, condition: &ReportCondition, at: TimestampUs) -> Result<Readings, ApiError> {
    let found = numbers_of(place, condition, at)?;
    let Some(number) = found.get(&condition.number) else { return Err(unknown(condition, &found)) };
    let observation = number.filter(|n| n.is_finite()).map_or(Observation::Nothing, Observation::Value);
    Ok(Readings { series: BTreeMap::from([(Labels::new(), observation)]), ..Readings::default() })
}

/// Every number of the report on the time before `at`, by its path.
fn numbers_of(
    place: &Place<'_>,
    condition: &ReportCondition,
    at: TimestampUs,
) -> Result<BTreeMap<String, Option<f64>>, ApiError> {
    // The first step of the path is the part of the report: no other is computed.
    let part = condition.number.split('.').next().unwrap_or_default();
    let mut body = json!({
        "start": Rfc3339(TimestampUs(at.0.saturating_sub(condition.window.us()))).to_string(),
        "end": Rfc3339(at).to_string(),
        "metrics": [part],
        // The widest buckets: only sums are looked at.
        "group_by": "month",
    });
    let compare = condition.compare.map(|_| "previous_period");
    for (name, said) in [("app_id", condition.app_id.as_deref()), ("compare", compare)] {
        if let Some((members, said)) = body.as_object_mut().zip(said) {
            members.insert(name.to_owned(), said.into());
        }
    }
    let mut found = BTreeMap::new();
    match condition.report {
        ReportKind::Performance => {
            let request = PerformanceRequest::read(&body, at).map_err(|error| named(condition, error))?;
            let answer = performance(place.asking, place.scope, &request)?;
            numbers(&value(&answer.metrics)?, "", &mut found);
        }
        ReportKind::Analytics => {
            let request =
                AnalyticsRequest::read(&body, place.config, at).map_err(|error| named(condition, error))?;
            let sources = Sources { asking: place.asking, scope: place.scope, platform: place.platform };
            let answer = analytics(sources, &request)?;
            match condition.compare {
                None => numbers(&value(&answer.metrics)?, "", &mut found),
                Some(change) => changes(&value(&answer.comparison)?, change, &mut found),
            }
        }
    }
    Ok(found)
}

/// The changes of every number of a summary, by its path.
fn changes(comparison: &Value, change: Change, found: &mut BTreeMap<String, Option<f64>>) {
    let name = match change {
        Change::Absolute => "absolute",
        Change::Relative => "relative",
    };
    let families = comparison.get("metrics").and_then(Value::as_object);
    for (family, compared) in families.into_iter().flatten() {
        for (number, change) in compared.get("change").and_then(Value::as_object).into_iter().flatten() {
            let value = change.get(name).and_then(Value::as_f64);
            found.insert(format!("{family}.summary.{number}"), value);
        }
    }
}

fn value(of: &impl serde::Serialize) -> Result<Value, ApiError> {
    serde_json::to_value(of).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a report could not be read");
        ApiError::internal()
    })
}

/// A path that begins with no part of the report is wrong as a path.
fn named(condition: &ReportCondition, error: ApiError) -> ApiError {
    if error.errors().iter().any(|problem| problem.pointer.starts_with("/metrics")) {
        let parts = match condition.report {
            ReportKind::Analytics => "user_activity, system_performance, app_metrics",
            ReportKind::Performance => "response_time, error_rate, uptime",
        };
        let detail = format!("a number of the report begins with one of {parts}");
        return ApiError::invalid_at("/condition/number", "invalid", detail);
    }
    error
}

fn unknown(condition: &ReportCondition, found: &BTreeMap<String, Option<f64>>) -> ApiError {
    let names: Vec<&str> = found.keys().map(String::as_str).take(NAMED_MAX).collect();
    let detail = format!("there is no number {:?}; there are {}", condition.number, names.join(", "));
    ApiError::invalid_at("/condition/number", "invalid", detail)
}
