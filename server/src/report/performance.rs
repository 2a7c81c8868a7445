//! The performance of one application: response times with Apdex, error rate, uptime with incidents.

use std::time::Duration;

use insights_engine::query::Answer;
use insights_engine::schema::stream;
use insights_engine::time::TimeRange;
use serde::Serialize;
use utoipa::ToSchema;

use super::analytics::Envelope;
use super::answer::{CostBlock, Exactness, Quantity, ReportAnswer, ratio, seconds};
use super::apdex::{Apdex, apdex};
use super::app_metrics::{ERRORS, REQUESTS, RESPONSE_TIME, ResponseTimes, of_app, uptime_of_requests};
use super::definitions::{self, Definitions, MetricDefinition};
use super::fields;
use super::metric_numbers::{Points, Stat, by_name, groups, key_str};
use super::probes::{self, AppTimeline};
use super::reader::Reader;
use super::request::{PerformanceMetric, PerformanceRequest};
use super::uptime::{Account, accounts, incidents};
use super::window::Window;
use crate::auth::ReadScope;
use crate::domain::lang::Lang;
use crate::http::error::ApiError;
use crate::store::Asking;

const SUMMARY: [Stat; 9] = [
    Stat::Count,
    Stat::Sum,
    Stat::Avg,
    Stat::Min,
    Stat::Max,
    Stat::Quantile(0.5),
    Stat::Quantile(0.9),
    Stat::Quantile(0.95),
    Stat::Quantile(0.99),
];
const SERIES: [Stat; 5] =
    [Stat::Count, Stat::Avg, Stat::Quantile(0.5), Stat::Quantile(0.95), Stat::Quantile(0.99)];
const COUNTS: [Stat; 1] = [Stat::Sum];

/// `response_time` of one application, in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ResponseTimeReport {
    /// `ms`.
    #[schema(value_type = String)]
    pub(crate) unit: &'static str,
    /// The whole window.
    #[serde(flatten)]
    pub(crate) numbers: ResponseTimes,
    /// How satisfied users are with it.
    pub(crate) apdex: Apdex,
    /// One row for every bucket.
    pub(crate) series: Vec<ResponseTimeBucket>,
}

/// One bucket of response times.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ResponseTimeBucket {
    /// Its natural start.
    pub(crate) bucket: String,
    /// Whether the window cuts it.
    pub(crate) partial: bool,
    /// Observations.
    pub(crate) count: u64,
    /// The mean.
    pub(crate) avg: Option<f64>,
    /// The median.
    pub(crate) p50: Option<f64>,
    /// 95 % are at most this.
    pub(crate) p95: Option<f64>,
    /// 99 % are at most this.
    pub(crate) p99: Option<f64>,
}

/// `error_rate` of one application.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ErrorRateReport {
    /// Requests.
    pub(crate) requests: Quantity,
    /// Requests that failed.
    pub(crate) errors: Quantity,
    /// Errors of requests, over the whole window; null without requests.
    pub(crate) rate: Option<f64>,
    /// One row for every bucket.
    pub(crate) series: Vec<ErrorRateBucket>,
}

/// One bucket of requests.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ErrorRateBucket {
    /// Its natural start.
    pub(crate) bucket: String,
    /// Whether the window cuts it.
    pub(crate) partial: bool,
    /// Requests.
    pub(crate) requests: Quantity,
    /// Requests that failed.
    pub(crate) errors: Quantity,
    /// Errors of requests; null without requests.
    pub(crate) rate: Option<f64>,
}

/// What an uptime is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UptimeBasis {
    /// Time up of the time up or down, by probes.
    Probe,
    /// Requests that did not fail, where there are no probes.
    Requests,
}

/// `uptime` of one application.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct UptimeReport {
    /// 0 to 1; null when nothing is known.
    pub(crate) ratio: Option<f64>,
    /// The ratio times 100.
    pub(crate) percent: Option<f64>,
    /// What it is computed from.
    pub(crate) basis: UptimeBasis,
    /// The part of the elapsed window about which something is known, 0 to 1: up, down or maintenance
    /// by probes; by requests the part of its buckets that have some.
    pub(crate) coverage: f64,
    /// Time down, in seconds.
    pub(crate) down_s: Quantity,
    /// Time of maintenance, in seconds; it is not in the ratio.
    pub(crate) maintenance_s: Quantity,
    /// When it was down, cut to the window.
    pub(crate) incidents: Vec<Incident>,
    /// One row for every bucket.
    pub(crate) series: Vec<UptimeBucket>,
}

/// A time of being down.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Incident {
    /// The first failed probe.
    pub(crate) start: String,
    /// The next successful probe, or until when the state is known.
    pub(crate) end: String,
    /// How long.
    pub(crate) duration_s: Quantity,
}

/// One bucket of uptime.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct UptimeBucket {
    /// Its natural start.
    pub(crate) bucket: String,
    /// Whether the window cuts it.
    pub(crate) partial: bool,
    /// 0 to 1; null when nothing is known.
    pub(crate) ratio: Option<f64>,
}

/// The performance report of one application.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct PerformanceAnswer {
    /// The application.
    pub(crate) app_id: String,
    #[serde(flatten)]
    pub(crate) envelope: Envelope,
    /// The parts that were asked for.
    pub(crate) metrics: PerformanceParts,
    /// How near the numbers are to the truth.
    pub(crate) exactness: Exactness,
    /// What the numbers mean, by their names; filled in where the language is known.
    #[schema(value_type = BTreeMap<String, MetricDefinition>)]
    pub(crate) definitions: Definitions,
    /// What it cost.
    pub(crate) cost: CostBlock,
}

/// The parts of the performance report.
#[derive(Debug, Clone, PartialEq, Default, Serialize, ToSchema)]
pub(crate) struct PerformanceParts {
    /// Response times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_time: Option<ResponseTimeReport>,
    /// Requests that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error_rate: Option<ErrorRateReport>,
    /// Time up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) uptime: Option<UptimeReport>,
}

/// Answers the performance report; the cost has no time yet.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn performance(
    asking: &Asking,
    scope: &ReadScope,
    request: &PerformanceRequest,
) -> Result<PerformanceAnswer, ApiError> {
    let common = &request.common;
    let (window, app_id) = (&common.window, request.app_id.as_str());
    let reader = Reader::new(asking, scope, common.allow_partial);
    let asks = |metric| request.metrics.contains(&metric);
    let mut metrics = PerformanceParts::default();
    if asks(PerformanceMetric::ResponseTime) {
        let report = response_time(&reader, window, app_id, request.apdex_t_ms, common.exact)?;
        metrics.response_time = Some(report);
    }
    if asks(PerformanceMetric::ErrorRate) {
        metrics.error_rate = Some(error_rate(&reader, window, app_id)?);
    }
    if asks(PerformanceMetric::Uptime) {
        metrics.uptime = Some(uptime(&reader, window, app_id)?);
    }
    let totals = reader.finish();
    Ok(PerformanceAnswer {
        app_id: request.app_id.clone(),
        envelope: Envelope::of(common, scope, &totals),
        metrics,
        exactness: Exactness::of_metrics(common.exact).of_what_was_read(&totals),
        definitions: Definitions::new(),
        cost: CostBlock::of(totals.cost, Duration::ZERO),
    })
}

fn points(names: &[&str], app_id: &str, exact: bool) -> Points {
    Points { filter: fields::both(fields::is_one_of(&stream::NAME, names), of_app(Some(app_id))), exact }
}

impl ReportAnswer for PerformanceAnswer {
    fn complete(&mut self, elapsed: Duration, lang: Lang) {
        let PerformanceParts { response_time, error_rate, uptime } = &self.metrics;
        let has = |part: &str| match part {
            "response_time" => response_time.is_some(),
            "error_rate" => error_rate.is_some(),
            "uptime" => uptime.is_some(),
            _ => false,
        };
        self.definitions = definitions::of_families(has, lang);
        self.cost.took(elapsed);
    }
}

/// Reads and folds `response_time`.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn response_time(
    reader: &Reader<'_>,
    window: &Window,
    app_id: &str,
    apdex_t_ms: f64,
    exact: bool,
) -> Result<ResponseTimeReport, ApiError> {
    let points = points(&[RESPONSE_TIME], app_id, exact);
    let total = reader.aggregate(points.query(reader, window, false, [], &SUMMARY))?;
    let buckets = reader.aggregate(points.query(reader, window, true, [], &SERIES))?;
    let apdex = apdex(reader, window, &points, apdex_t_ms)?;
    Ok(fold_response_time(window, &total, &buckets, apdex))
}

fn fold_response_time(window: &Window, total: &Answer, buckets: &Answer, apdex: Apdex) -> ResponseTimeReport {
    let numbers =
        groups(total, &SUMMARY).next().map(|(_, numbers)| ResponseTimes::of(numbers)).unwrap_or_default();
    let row = |bucket| ResponseTimeBucket {
        bucket: window.key(bucket),
        partial: window.is_partial(bucket),
        count: 0,
        avg: None,
        p50: None,
        p95: None,
        p99: None,
    };
    let mut series: Vec<ResponseTimeBucket> = (0..window.buckets.len()).map(row).collect();
    for (key, numbers) in groups(buckets, &SERIES) {
        let Some(row) = key.first().and_then(fields::key_bucket).and_then(|b| series.get_mut(b)) else {
            continue;
        };
        row.count = numbers.count();
        row.avg = numbers.get(Stat::Avg);
        row.p50 = numbers.get(Stat::Quantile(0.5));
        row.p95 = numbers.get(Stat::Quantile(0.95));
        row.p99 = numbers.get(Stat::Quantile(0.99));
    }
    ResponseTimeReport { unit: "ms", numbers, apdex, series }
}

/// Reads and folds `error_rate`.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn error_rate(
    reader: &Reader<'_>,
    window: &Window,
    app_id: &str,
) -> Result<ErrorRateReport, ApiError> {
    let points = points(&[REQUESTS, ERRORS], app_id, false);
    let buckets = reader.aggregate(points.query(reader, window, true, [by_name()], &COUNTS))?;
    Ok(fold_error_rate(window, &buckets))
}

/// The sums of buckets add up to those of the window, so one question answers both.
fn fold_error_rate(window: &Window, buckets: &Answer) -> ErrorRateReport {
    let row = |bucket| ErrorRateBucket {
        bucket: window.key(bucket),
        partial: window.is_partial(bucket),
        requests: Quantity(0.0),
        errors: Quantity(0.0),
        rate: None,
    };
    let mut series: Vec<ErrorRateBucket> = (0..window.buckets.len()).map(row).collect();
    let (mut requests, mut errors) = (0.0, 0.0);
    for (key, numbers) in groups(buckets, &COUNTS) {
        let [bucket, name] = key else { continue };
        let Some(row) = fields::key_bucket(bucket).and_then(|b| series.get_mut(b)) else { continue };
        let sum = numbers.get(Stat::Sum).unwrap_or(0.0);
        if key_str(name) == Some(REQUESTS) {
            row.requests = Quantity(sum);
            requests += sum;
        } else {
            row.errors = Quantity(sum);
            errors += sum;
        }
    }
    for row in &mut series {
        row.rate = ratio(row.errors.0, row.requests.0);
    }
    ErrorRateReport {
        requests: Quantity(requests),
        errors: Quantity(errors),
        rate: ratio(errors, requests),
        series,
    }
}

/// Reads and folds `uptime`: by probes, or by requests when the application has none in the window.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn uptime(reader: &Reader<'_>, window: &Window, app_id: &str) -> Result<UptimeReport, ApiError> {
    let timelines = probes::timelines(reader, window, Some(app_id))?;
    if !timelines.is_empty() {
        return Ok(fold_probes(window, &timelines));
    }
    Ok(fold_requests(window, &error_rate(reader, window, app_id)?))
}

fn fold_probes(window: &Window, timelines: &[AppTimeline]) -> UptimeReport {
    let clips: Vec<TimeRange> = window.cut_buckets().iter().collect();
    let mut by_bucket = vec![Account::default(); clips.len()];
    let mut down = Vec::new();
    for timeline in timelines {
        for (sum, account) in by_bucket.iter_mut().zip(accounts(&timeline.stretches, &clips)) {
            *sum += account;
        }
        down.extend(incidents(&timeline.stretches, window.range));
    }
    let mut total = Account::default();
    for account in &by_bucket {
        total += *account;
    }
    down.sort_by_key(|range| range.start);
    let incident = |range: &TimeRange| Incident {
        start: window.text(range.start),
        end: window.text(range.end),
        duration_s: Quantity(seconds(range.end.0 - range.start.0)),
    };
    let elapsed = seconds(window.complete_until().0.saturating_sub(window.range.start.0).max(0));
    // An application identifier may be used by several organizations when all are asked for.
    let elapsed = (0..timelines.len()).map(|_| elapsed).sum();
    let row = |(bucket, account): (usize, &Account)| UptimeBucket {
        bucket: window.key(bucket),
        partial: window.is_partial(bucket),
        ratio: account.ratio(),
    };
    UptimeReport {
        ratio: total.ratio(),
        percent: total.ratio().map(|ratio| ratio * 100.0),
        basis: UptimeBasis::Probe,
        coverage: ratio(seconds(total.known_us()), elapsed).unwrap_or(0.0),
        down_s: Quantity(seconds(total.down_us)),
        maintenance_s: Quantity(seconds(total.maintenance_us)),
        incidents: down.iter().map(incident).collect(),
        series: by_bucket.iter().enumerate().map(row).collect(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "there are at most 100,000 buckets")]
fn fold_requests(window: &Window, requests: &ErrorRateReport) -> UptimeReport {
    let row = |row: &ErrorRateBucket| UptimeBucket {
        bucket: row.bucket.clone(),
        partial: row.partial,
        ratio: uptime_of_requests(row.requests.0, row.errors.0),
    };
    let series: Vec<UptimeBucket> = requests.series.iter().map(row).collect();
    let elapsed = window.buckets.iter().filter(|bucket| bucket.start < window.complete_until()).count();
    let known = series.iter().filter(|row| row.ratio.is_some()).count();
    let uptime = uptime_of_requests(requests.requests.0, requests.errors.0);
    // Nothing at all is what no probes look like.
    let basis = if uptime.is_some() { UptimeBasis::Requests } else { UptimeBasis::Probe };
    UptimeReport {
        ratio: uptime,
        percent: uptime.map(|ratio| ratio * 100.0),
        basis,
        coverage: ratio(known as f64, elapsed as f64).unwrap_or(0.0).min(1.0),
        down_s: Quantity(0.0),
        maintenance_s: Quantity(0.0),
        incidents: Vec::new(),
        series,
    }
}

#[cfg(test)]
#[path = "performance_tests.rs"]
mod tests;
