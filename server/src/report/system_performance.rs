//! `system_performance`: the hosts of an organization, or of the platform when it has none.

use std::collections::BTreeMap;

use insights_engine::id::Stream;
use insights_engine::query::{Aggregate, Answer, Query};
use insights_engine::schema::stream;
use insights_engine::schema::stream::MetricKind;
use insights_engine::time::TimeRange;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Quantity;
use super::fields;
use super::metric_numbers::{Numbers, Points, Stat, by_name, groups, key_str};
use super::reader::Reader;
use super::window::Window;
use crate::domain::metric::known_metric;
use crate::http::error::ApiError;

/// The metrics of hosts.
pub(crate) const SYSTEM_METRICS: [&str; 8] = [
    "cpu.usage",
    "memory.usage",
    "disk.usage",
    "network.in",
    "network.out",
    "request.latency",
    "server.errors",
    "db.connections",
];

const SUMMARY: [Stat; 9] = [
    Stat::Count,
    Stat::Sum,
    Stat::Avg,
    Stat::Min,
    Stat::Max,
    Stat::Last,
    Stat::Quantile(0.5),
    Stat::Quantile(0.95),
    Stat::Quantile(0.99),
];
const SERIES: [Stat; 4] = [Stat::Sum, Stat::Avg, Stat::Max, Stat::Quantile(0.95)];

/// Whose hosts the numbers are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HostScope {
    /// The organization's own.
    Organization,
    /// The platform's, for an organization that has none.
    Platform,
    /// Those of every organization and of the platform.
    All,
}

/// The family `system_performance`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct SystemPerformance {
    /// Whose hosts.
    pub(crate) scope: HostScope,
    /// The whole window, by metric.
    #[schema(value_type = BTreeMap<String, SystemSummary>)]
    pub(crate) summary: BTreeMap<&'static str, SystemSummary>,
    /// One row for every bucket.
    pub(crate) series: Vec<SystemBucket>,
}

/// One metric in the whole window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct SystemSummary {
    /// Points.
    pub(crate) count: u64,
    /// The sum of the increments; of counters alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sum: Option<Quantity>,
    /// The mean.
    pub(crate) avg: Option<f64>,
    /// The least.
    pub(crate) min: Option<f64>,
    /// The greatest.
    pub(crate) max: Option<f64>,
    /// The median.
    pub(crate) p50: Option<f64>,
    /// 95 % are at most this.
    pub(crate) p95: Option<f64>,
    /// 99 % are at most this.
    pub(crate) p99: Option<f64>,
    /// The latest.
    pub(crate) last: Option<f64>,
}

/// One bucket: a member for each metric.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct SystemBucket {
    /// Its natural start.
    pub(crate) bucket: String,
    /// Whether the window cuts it.
    pub(crate) partial: bool,
    /// By metric.
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, SystemPoint>)]
    pub(crate) metrics: BTreeMap<&'static str, SystemPoint>,
}

/// One metric in one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct SystemPoint {
    /// The sum of the increments; of counters alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sum: Option<Quantity>,
    /// The mean.
    pub(crate) avg: Option<f64>,
    /// The greatest.
    pub(crate) max: Option<f64>,
    /// 95 % are at most this.
    pub(crate) p95: Option<f64>,
}

/// Reads and folds the family from one scope.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn system_performance(
    reader: &Reader<'_>,
    window: &Window,
    scope: HostScope,
    exact: bool,
) -> Result<SystemPerformance, ApiError> {
    let points = points(exact);
    let total = points.query(reader, window, false, [by_name()], &SUMMARY);
    let buckets = points.query(reader, window, true, [by_name()], &SERIES);
    let [total, buckets] = reader.aggregate_all([total, buckets])?;
    Ok(SystemPerformance { scope, summary: fold_summary(&total), series: fold_series(window, &buckets) })
}

/// Only the numbers of the window.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn summary(
    reader: &Reader<'_>,
    window: &Window,
    exact: bool,
) -> Result<BTreeMap<&'static str, SystemSummary>, ApiError> {
    let total = reader.aggregate(points(exact).query(reader, window, false, [by_name()], &SUMMARY))?;
    Ok(fold_summary(&total))
}

/// Whether the scope has ever had a host, as far as can be read: damage of another day, in a segment
/// that many organizations share, must not stop a report of this one.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn has_hosts(reader: &Reader<'_>) -> Result<bool, ApiError> {
    let query = Query {
        filter: points(false).filter,
        aggregates: vec![Aggregate::Count],
        ..reader.query(Stream::Metrics, TimeRange::ALL)
    };
    let answer = reader.glance(query)?;
    Ok(answer.groups.iter().any(|g| g.values.first().is_some_and(|n| n.as_u64() > 0)))
}

/// Points of hosts: the system's metrics, of no application.
pub(crate) fn points(exact: bool) -> Points {
    let filter = fields::both(fields::is_one_of(&stream::NAME, &SYSTEM_METRICS), fields::of_no_app());
    Points { filter, exact }
}

fn is_counter(name: &str) -> bool {
    known_metric(name).is_some_and(|metric| metric.kind == MetricKind::Counter)
}

fn sum(name: &str, numbers: Option<Numbers<'_>>) -> Option<Quantity> {
    is_counter(name).then(|| Quantity(numbers.and_then(|n| n.get(Stat::Sum)).unwrap_or(0.0)))
}

fn fold_summary(total: &Answer) -> BTreeMap<&'static str, SystemSummary> {
    let of = |name: &'static str| {
        let found = groups(total, &SUMMARY).find(|(key, _)| key.first().and_then(key_str) == Some(name));
        let numbers = found.map(|(_, numbers)| numbers);
        let get = |stat| numbers.and_then(|n| n.get(stat));
        let summary = SystemSummary {
            count: numbers.map_or(0, |n| n.count()),
            sum: sum(name, numbers),
            avg: get(Stat::Avg),
            min: get(Stat::Min),
            max: get(Stat::Max),
            p50: get(Stat::Quantile(0.5)),
            p95: get(Stat::Quantile(0.95)),
            p99: get(Stat::Quantile(0.99)),
            last: get(Stat::Last),
        };
        (name, summary)
    };
    SYSTEM_METRICS.into_iter().map(of).collect()
}

fn fold_series(window: &Window, buckets: &Answer) -> Vec<SystemBucket> {
    let point = |name: &str, numbers: Option<Numbers<'_>>| SystemPoint {
        sum: sum(name, numbers),
        avg: numbers.and_then(|n| n.get(Stat::Avg)),
        max: numbers.and_then(|n| n.get(Stat::Max)),
        p95: numbers.and_then(|n| n.get(Stat::Quantile(0.95))),
    };
    let row = |bucket| SystemBucket {
        bucket: window.key(bucket),
        partial: window.is_partial(bucket),
        metrics: SYSTEM_METRICS.into_iter().map(|name| (name, point(name, None))).collect(),
    };
    let mut series: Vec<SystemBucket> = (0..window.buckets.len()).map(row).collect();
    for (key, numbers) in groups(buckets, &SERIES) {
        let [bucket, name] = key else { continue };
        let Some(row) = fields::key_bucket(bucket).and_then(|b| series.get_mut(b)) else { continue };
        if let Some((name, cell)) =
            key_str(name).and_then(|name| row.metrics.iter_mut().find(|(n, _)| **n == name))
        {
            *cell = point(name, Some(numbers));
        }
    }
    series
}
