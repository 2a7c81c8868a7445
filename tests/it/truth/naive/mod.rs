//! The numbers of the reports by plain loops over plain records, as they are defined.

mod activity;
mod change;
mod filter;
mod metrics;
mod performance;
mod query;
mod uptime;

use serde_json::{Value, json};

use super::judge::near;

pub(crate) use activity::{Activity, user_activity};
pub(crate) use change::comparison;
pub(crate) use metrics::{app_metrics, system_performance};
pub(crate) use performance::performance;
pub(crate) use query::{MetricQuestion, metric_query};

pub(crate) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The quantile between the two nearest values.
pub(crate) fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = q * (sorted.len().checked_sub(1)?) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(low + (high - low) * place.fract())
}

/// A quantile as an answer must show it: itself, or near it.
fn shown_quantile(values: &[f64], q: f64, exact: bool) -> Value {
    match quantile(values, q) {
        Some(value) if exact => json!(value),
        Some(value) => near(value),
        None => Value::Null,
    }
}

pub(crate) fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}
