//! What the answers of all reports have in common: window, exactness, cost, damage, comparison.

use std::collections::BTreeMap;
use std::time::Duration;

use insights_engine::query::{Cost, Damage};
use insights_engine::time::TimeRange;
use serde::{Serialize, Serializer};
use serde_json::Value;
use utoipa::ToSchema;

use super::reader::Totals;
use super::window::Window;
use crate::domain::lang::Lang;

/// Greatest relative error of a quantile from the histogram.
pub(crate) const QUANTILE_ERROR: f64 = 0.0055;

/// A sum of numbers, written as a whole number when it is one.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, ToSchema)]
#[schema(value_type = f64)]
pub(crate) struct Quantity(pub(crate) f64);

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// Up to here every whole double is one integer.
        const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
        if self.0.fract() == 0.0 && self.0.abs() <= WHOLE_MAX {
            #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53, checked above")]
            return serializer.serialize_i64(self.0 as i64);
        }
        serializer.serialize_f64(self.0)
    }
}

/// Microseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "microseconds of centuries fit a double")]
pub(crate) fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

/// A part of a whole; `None` when the whole is nothing.
pub(crate) fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

/// The instants of a window, half-open, RFC 3339 in the answer's time zone.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Bounds {
    /// The first instant inside.
    pub(crate) start: String,
    /// The first instant after.
    pub(crate) end: String,
}

impl Bounds {
    /// The bounds of a range, in the time zone of `window`.
    pub(crate) fn of(range: TimeRange, window: &Window) -> Self {
        Self { start: window.text(range.start), end: window.text(range.end) }
    }
}

/// How near a number is to the truth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct ErrorBound {
    /// Whether it is the truth.
    pub(crate) exact: bool,
    /// The greatest relative error; null when rows could not be read, so that nobody knows.
    pub(crate) relative_error: Option<f64>,
}

impl ErrorBound {
    /// Exact.
    pub(crate) const EXACT: Self = Self { exact: true, relative_error: Some(0.0) };
    /// Of rows that are not all there.
    const UNKNOWN: Self = Self { exact: false, relative_error: None };
}

/// How near the numbers of an answer are to the truth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct Exactness {
    /// Distinct users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) active_users: Option<ErrorBound>,
    /// Sessions and all that is computed of them, but the median duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sessions: Option<ErrorBound>,
    /// Quantiles of metrics, and the median duration of sessions.
    pub(crate) quantiles: ErrorBound,
}

impl Exactness {
    /// The exactness of numbers of metrics alone; `exact` quantiles interpolate over rows.
    pub(crate) fn of_metrics(exact: bool) -> Self {
        let histogram = ErrorBound { exact: false, relative_error: Some(QUANTILE_ERROR) };
        let quantiles = if exact { ErrorBound::EXACT } else { histogram };
        Self { active_users: None, sessions: None, quantiles }
    }

    /// The exactness of numbers of events and metrics.
    pub(crate) fn of_events(exact: bool) -> Self {
        let exact_too = Some(ErrorBound::EXACT);
        Self { active_users: exact_too, sessions: exact_too, ..Self::of_metrics(exact) }
    }
}

impl Exactness {
    /// The same, unless something could not be read: then nothing is known.
    pub(crate) fn of_what_was_read(self, totals: &Totals) -> Self {
        if totals.damaged.is_empty() {
            return self;
        }
        let unknown = |bound: Option<ErrorBound>| bound.map(|_| ErrorBound::UNKNOWN);
        Self {
            active_users: unknown(self.active_users),
            sessions: unknown(self.sessions),
            quantiles: ErrorBound::UNKNOWN,
        }
    }
}

/// The answer of a report, but for what is known when it is written.
pub(crate) trait ReportAnswer: Serialize {
    /// Says how long it took, and what its numbers mean in the language of the reader.
    fn complete(&mut self, elapsed: Duration, lang: Lang);
}

/// What an answer cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub(crate) struct CostBlock {
    /// Rows that were looked at.
    pub(crate) rows_scanned: u64,
    /// Rollup cells that were folded.
    pub(crate) cells_read: u64,
    /// Bytes read from segments.
    pub(crate) bytes_read: u64,
    /// Time from question to answer.
    pub(crate) elapsed_us: u64,
}

impl CostBlock {
    /// What the engine counted, and the time it took.
    pub(crate) fn of(cost: Cost, elapsed: Duration) -> Self {
        Self {
            rows_scanned: cost.rows_scanned,
            cells_read: cost.cells_read,
            bytes_read: cost.bytes_read,
            elapsed_us: micros(elapsed),
        }
    }

    /// Says how long it took.
    pub(crate) fn took(&mut self, elapsed: Duration) {
        self.elapsed_us = micros(elapsed);
    }
}

fn micros(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

/// A window of a stream that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct DamagedRange {
    /// The stream.
    #[schema(value_type = String)]
    pub(crate) stream: &'static str,
    /// The first instant that may be missing.
    pub(crate) start: String,
    /// The first instant after.
    pub(crate) end: String,
}

impl DamagedRange {
    /// Each damage once, in order.
    pub(crate) fn of(damaged: &[Damage], window: &Window) -> Vec<Self> {
        let mut out: Vec<Self> = Vec::new();
        for damage in damaged {
            let Bounds { start, end } = Bounds::of(damage.range, window);
            let range = Self { stream: damage.stream.name(), start, end };
            if !out.contains(&range) {
                out.push(range);
            }
        }
        out
    }
}

/// A change from the previous period.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct Change {
    /// Now minus then; null when either is.
    pub(crate) absolute: Option<Quantity>,
    /// The change as a part of then; null when then was 0.
    pub(crate) relative: Option<f64>,
}

/// One family of the previous period.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct FamilyComparison {
    /// The summary of the previous period.
    pub(crate) summary: Value,
    /// The change of each number of the summary, by its dotted name.
    pub(crate) change: BTreeMap<String, Change>,
}

/// The previous period beside this one; an empty object when none was asked for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, ToSchema)]
pub(crate) struct Comparison {
    /// The previous window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) window: Option<Bounds>,
    /// Its families.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metrics: Option<BTreeMap<String, FamilyComparison>>,
}

impl FamilyComparison {
    /// Compares two summaries of the same shape.
    pub(crate) fn of(now: &Value, then: Value) -> Self {
        let (mut before, mut change) = (BTreeMap::new(), BTreeMap::new());
        numbers(&then, "", &mut before);
        let mut after = BTreeMap::new();
        numbers(now, "", &mut after);
        for (name, now) in after {
            let then = before.get(&name).copied().flatten();
            let absolute = now.zip(then).map(|(now, then)| now - then);
            let relative =
                absolute.zip(then).filter(|(_, then)| *then != 0.0).map(|(by, then)| by / then.abs());
            change.insert(name, Change { absolute: absolute.map(Quantity), relative });
        }
        Self { summary: then, change }
    }
}

/// The numbers and nulls of a value by their dotted names; lists and text are left out.
pub(crate) fn numbers(value: &Value, name: &str, out: &mut BTreeMap<String, Option<f64>>) {
    match value {
        Value::Object(members) => {
            for (key, inner) in members {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                numbers(inner, &name, out);
            }
        }
        Value::Number(number) => drop(out.insert(name.to_owned(), number.as_f64())),
        Value::Null => drop(out.insert(name.to_owned(), None)),
        Value::Bool(_) | Value::String(_) | Value::Array(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_sums_are_written_as_whole_numbers() {
        let text = |n: f64| serde_json::to_string(&Quantity(n)).unwrap();
        assert_eq!([text(12.0), text(-0.5), text(1e300)], ["12", "-0.5", "1e+300"]);
    }

    #[test]
    fn a_change_is_relative_to_the_previous_period() {
        let now = json!({"events": 15, "rate": null, "time": {"avg": 4.0}, "fresh": 2, "text": "x"});
        let then = json!({"events": 10, "rate": 1.0, "time": {"avg": 5.0}, "fresh": 0, "text": "y"});
        let change = serde_json::to_value(FamilyComparison::of(&now, then).change).unwrap();
        let expected = json!({
            "events": {"absolute": 5, "relative": 0.5},
            "rate": {"absolute": null, "relative": null},
            "time.avg": {"absolute": -1, "relative": -0.2},
            "fresh": {"absolute": 2, "relative": null},
        });
        assert_eq!(change, expected);
    }
}
