//! `app_metrics`: requests, errors, response times and uptime of an organization's applications.

use std::collections::BTreeMap;

use insights_engine::query::{Answer, Filter};
use insights_engine::schema::stream;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::{Quantity, ratio};
use super::fields;
use super::metric_numbers::{Numbers, Points, Stat, by_app, by_name, groups, key_str};
use super::probes::{self, AppTimeline};
use super::reader::Reader;
use super::uptime::{Account, accounts};
use super::window::Window;
use crate::http::error::ApiError;

/// Counter of requests.
pub(crate) const REQUESTS: &str = "requests.count";
/// Counter of failed requests.
pub(crate) const ERRORS: &str = "errors.count";
/// Response times.
pub(crate) const RESPONSE_TIME: &str = "response.time";

/// Most rows of the list of applications.
const APPS_MAX: usize = 1_000;

const SUMMARY: [Stat; 8] = [
    Stat::Count,
    Stat::Avg,
    Stat::Min,
    Stat::Max,
    Stat::Quantile(0.5),
    Stat::Quantile(0.9),
    Stat::Quantile(0.95),
    Stat::Quantile(0.99),
];
const COUNTER: [Stat; 1] = [Stat::Sum];
const SERIES: [Stat; 2] = [Stat::Avg, Stat::Quantile(0.95)];

/// The family `app_metrics`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct AppMetrics {
    /// The whole window, all applications together.
    pub(crate) summary: AppSummary,
    /// By application, those with the most requests first, at most 1,000.
    pub(crate) apps: Vec<AppRow>,
    /// One row for every bucket.
    pub(crate) series: Vec<AppBucket>,
}

/// Requests, errors, response times and uptime.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
pub(crate) struct AppSummary {
    /// Requests.
    pub(crate) requests: Quantity,
    /// Requests that failed.
    pub(crate) errors: Quantity,
    /// Errors of requests; null without requests.
    pub(crate) error_rate: Option<f64>,
    /// Time up of the time up or down; without probes 1 minus the error rate, at least 0.
    pub(crate) uptime: Option<f64>,
    /// Response times, in milliseconds.
    pub(crate) response_time: ResponseTimes,
}

/// One application.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct AppRow {
    /// The application.
    pub(crate) app_id: String,
    /// Its numbers.
    #[serde(flatten)]
    pub(crate) numbers: AppSummary,
}

/// Response times, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
pub(crate) struct ResponseTimes {
    /// Observations.
    pub(crate) count: u64,
    /// The mean.
    pub(crate) avg: Option<f64>,
    /// The least.
    pub(crate) min: Option<f64>,
    /// The greatest.
    pub(crate) max: Option<f64>,
    /// The median.
    pub(crate) p50: Option<f64>,
    /// 90 % are at most this.
    pub(crate) p90: Option<f64>,
    /// 95 % are at most this.
    pub(crate) p95: Option<f64>,
    /// 99 % are at most this.
    pub(crate) p99: Option<f64>,
}

/// One bucket.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct AppBucket {
    /// Its natural start.
    pub(crate) bucket: String,
    /// Whether the window cuts it.
    pub(crate) partial: bool,
    /// Requests.
    pub(crate) requests: Quantity,
    /// Requests that failed.
    pub(crate) errors: Quantity,
    /// Errors of requests; null without requests.
    pub(crate) error_rate: Option<f64>,
    /// Response times, in milliseconds.
    pub(crate) response_time: BucketTimes,
}

/// Response times of one bucket, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
pub(crate) struct BucketTimes {
    /// The mean.
    pub(crate) avg: Option<f64>,
    /// 95 % are at most this.
    pub(crate) p95: Option<f64>,
}

/// Points of applications: of one, or of all; points that name no application count in the total alone.
pub(crate) fn of_app(app_id: Option<&str>) -> Filter {
    app_id.map_or_else(Filter::all, |id| fields::is(&stream::APP_ID, id))
}

/// The points that count requests and errors.
pub(crate) fn counters() -> Filter {
    fields::is_one_of(&stream::NAME, &[REQUESTS, ERRORS])
}

/// The points of response times.
pub(crate) fn times() -> Filter {
    fields::is(&stream::NAME, RESPONSE_TIME)
}

/// Points of one metric or a few, of one application or all.
pub(crate) fn of_apps(names: Filter, app_id: Option<&str>, exact: bool) -> Points {
    Points { filter: fields::both(names, of_app(app_id)), exact }
}

/// Reads and folds the family.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn app_metrics(
    reader: &Reader<'_>,
    window: &Window,
    app_id: Option<&str>,
    exact: bool,
) -> Result<AppMetrics, ApiError> {
    let (counters, times) = (of_apps(counters(), app_id, exact), of_apps(times(), app_id, exact));
    // Apart: of requests and errors nothing but the sum is asked. Applications may be many, and what is asked together
    // stays together or not at all.
    let of_counters = || {
        let total = counters.query(reader, window, false, [by_name()], &COUNTER);
        let buckets = counters.query(reader, window, true, [by_name()], &COUNTER);
        let [total, buckets] = reader.aggregate_all([total, buckets])?;
        let apps =
            reader.aggregate(counters.query(reader, window, false, [by_app(), by_name()], &COUNTER))?;
        Ok((Parts { total, apps, buckets }, probes::timelines(reader, window, app_id)?))
    };
    let of_times = || {
        let total = times.query(reader, window, false, [], &SUMMARY);
        let buckets = times.query(reader, window, true, [], &SERIES);
        let [total, buckets] = reader.aggregate_all([total, buckets])?;
        let apps = reader.aggregate(times.query(reader, window, false, [by_app()], &SUMMARY))?;
        Ok(Parts { total, apps, buckets })
    };
    let ((counters, timelines), times) = reader.both(of_counters, of_times)?;
    Ok(AppMetrics {
        summary: fold_summary(window, &counters.total, &times.total, &timelines),
        apps: fold_apps(window, &counters.apps, &times.apps, &timelines),
        series: fold_series(window, &counters.buckets, &times.buckets),
    })
}

/// What the engine answers of counters, or of response times.
#[derive(Debug)]
struct Parts {
    /// Of the window.
    total: Answer,
    /// By application.
    apps: Answer,
    /// By bucket.
    buckets: Answer,
}

/// Only the numbers of the window.
///
/// # Errors
///
/// Those of the engine on the wire.
pub(crate) fn summary(
    reader: &Reader<'_>,
    window: &Window,
    app_id: Option<&str>,
    exact: bool,
) -> Result<AppSummary, ApiError> {
    let counters = of_apps(counters(), app_id, exact).query(reader, window, false, [by_name()], &COUNTER);
    let times = of_apps(times(), app_id, exact).query(reader, window, false, [], &SUMMARY);
    let [counters, times] = reader.aggregate_all([counters, times])?;
    let timelines = probes::timelines(reader, window, app_id)?;
    Ok(fold_summary(window, &counters, &times, &timelines))
}

impl AppSummary {
    /// Takes the sum of a counter.
    fn count(&mut self, name: &str, sum: Quantity) {
        match name {
            REQUESTS => self.requests = sum,
            ERRORS => self.errors = sum,
            _ => {}
        }
    }

    /// Computes the rates; `known` is the account of the probes.
    fn finish(&mut self, known: Account) {
        self.error_rate = ratio(self.errors.0, self.requests.0);
        self.uptime = known.ratio().or_else(|| uptime_of_requests(self.requests.0, self.errors.0));
    }
}

/// Uptime without probes: the part of requests that did not fail.
pub(crate) fn uptime_of_requests(requests: f64, errors: f64) -> Option<f64> {
    ratio(errors, requests).map(|rate| (1.0 - rate).max(0.0))
}

impl ResponseTimes {
    /// The numbers of one group.
    pub(crate) fn of(numbers: Numbers<'_>) -> Self {
        Self {
            count: numbers.count(),
            avg: numbers.get(Stat::Avg),
            min: numbers.get(Stat::Min),
            max: numbers.get(Stat::Max),
            p50: numbers.get(Stat::Quantile(0.5)),
            p90: numbers.get(Stat::Quantile(0.9)),
            p95: numbers.get(Stat::Quantile(0.95)),
            p99: numbers.get(Stat::Quantile(0.99)),
        }
    }
}

/// The time by state of all applications together inside the window.
fn account<'a>(window: &Window, apps: impl Iterator<Item = &'a AppTimeline>) -> Account {
    let mut sum = Account::default();
    for app in apps {
        for account in accounts(&app.stretches, &[window.range]) {
            sum += account;
        }
    }
    sum
}

fn fold_summary(window: &Window, counters: &Answer, times: &Answer, timelines: &[AppTimeline]) -> AppSummary {
    let mut summary = AppSummary::default();
    for (key, numbers) in groups(counters, &COUNTER) {
        if let Some(name) = key.first().and_then(key_str) {
            summary.count(name, sum(numbers));
        }
    }
    if let Some((_, numbers)) = groups(times, &SUMMARY).next() {
        summary.response_time = ResponseTimes::of(numbers);
    }
    summary.finish(account(window, timelines.iter()));
    summary
}

fn sum(numbers: Numbers<'_>) -> Quantity {
    Quantity(numbers.get(Stat::Sum).unwrap_or(0.0))
}

fn fold_apps(window: &Window, counters: &Answer, times: &Answer, timelines: &[AppTimeline]) -> Vec<AppRow> {
    let mut apps: BTreeMap<&str, AppSummary> = BTreeMap::new();
    for (key, numbers) in groups(counters, &COUNTER) {
        if let [app, name] = key
            && let (Some(app), Some(name)) = (key_str(app), key_str(name))
        {
            apps.entry(app).or_default().count(name, sum(numbers));
        }
    }
    for (key, numbers) in groups(times, &SUMMARY) {
        if let Some(app) = key.first().and_then(key_str) {
            apps.entry(app).or_default().response_time = ResponseTimes::of(numbers);
        }
    }
    let mut known: BTreeMap<&str, Vec<&AppTimeline>> = BTreeMap::new();
    for timeline in timelines {
        if let Some(app) = timeline.app_id.as_deref() {
            apps.entry(app).or_default();
            known.entry(app).or_default().push(timeline);
        }
    }
    let row = |(app, mut numbers): (&str, AppSummary)| {
        numbers.finish(account(window, known.remove(app).unwrap_or_default().into_iter()));
        AppRow { app_id: app.to_owned(), numbers }
    };
    let mut rows: Vec<AppRow> = apps.into_iter().map(row).collect();
    // Stable: applications with as many requests stay in the order of their ids.
    rows.sort_by(|a, b| b.numbers.requests.0.total_cmp(&a.numbers.requests.0));
    rows.truncate(APPS_MAX);
    rows
}

fn fold_series(window: &Window, counters: &Answer, times: &Answer) -> Vec<AppBucket> {
    let row = |bucket| AppBucket {
        bucket: window.key(bucket),
        partial: window.is_partial(bucket),
        requests: Quantity(0.0),
        errors: Quantity(0.0),
        error_rate: None,
        response_time: BucketTimes::default(),
    };
    let mut series: Vec<AppBucket> = (0..window.buckets.len()).map(row).collect();
    for (key, numbers) in groups(counters, &COUNTER) {
        let [bucket, name] = key else { continue };
        let Some(row) = fields::key_bucket(bucket).and_then(|b| series.get_mut(b)) else { continue };
        match key_str(name) {
            Some(REQUESTS) => row.requests = sum(numbers),
            Some(ERRORS) => row.errors = sum(numbers),
            _ => {}
        }
    }
    for (key, numbers) in groups(times, &SERIES) {
        let row = key.first().and_then(fields::key_bucket).and_then(|b| series.get_mut(b));
        if let Some(row) = row {
            let (avg, p95) = (numbers.get(Stat::Avg), numbers.get(Stat::Quantile(0.95)));
            row.response_time = BucketTimes { avg, p95 };
        }
    }
    for row in &mut series {
        row.error_rate = ratio(row.errors.0, row.requests.0);
    }
    series
}
