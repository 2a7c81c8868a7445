//! The bodies of report requests, read whole: all that is wrong is said at once, before any work.

use insights_engine::id::Stream;
use insights_engine::query::Filter;
use insights_engine::schema::stream;
use insights_engine::time::TimestampUs;
use serde_json::Value;

use super::apdex;
use super::body::Fields;
use super::breakdown::{Breakdown, KEYS_MAX};
use super::fields::{both, is};
use super::filters;
use super::metric_query::{By, MetricQuestion, Wanted};
use super::system_performance::SYSTEM_METRICS;
use super::user_activity::Selection;
use super::window::{CELLS_MAX, NoWindow, WEEK_START, WEEK_STARTS, Width, Window};
use crate::config::Config;
use crate::domain::metric::{canonical_name, is_metric_name};
use crate::http::error::{ApiError, Code, FieldError};

/// Most metrics of one question.
const NAMES_MAX: usize = 100;
/// Most numbers of one question.
const AGGREGATES_MAX: usize = 20;
/// Most fields that series are told apart by.
const BY_MAX: usize = 8;

/// What every report is asked.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    /// The organization, if one is named.
    pub(crate) organization_id: Option<String>,
    /// The window and its buckets.
    pub(crate) window: Window,
    /// The start as it was asked for.
    pub(crate) start: Value,
    /// The end as it was asked for.
    pub(crate) end: Value,
    /// The width of the buckets as it was asked for.
    pub(crate) group_by: String,
    /// The day on which weeks begin.
    pub(crate) week_start: &'static str,
    /// Whether quantiles interpolate over all rows.
    pub(crate) exact: bool,
    /// Whether damage is answered with what is left.
    pub(crate) allow_partial: bool,
}

/// A family of the analytics report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// `user_activity`.
    UserActivity,
    /// `system_performance`.
    SystemPerformance,
    /// `app_metrics`.
    AppMetrics,
}

/// A part of the performance report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PerformanceMetric {
    /// `response_time`.
    ResponseTime,
    /// `error_rate`.
    ErrorRate,
    /// `uptime`.
    Uptime,
}

/// `POST analytics/`, read.
#[derive(Debug, Clone)]
pub(crate) struct AnalyticsRequest {
    /// What every report is asked.
    pub(crate) common: Common,
    /// Which families.
    pub(crate) families: Vec<Family>,
    /// Of which application.
    pub(crate) app_id: Option<String>,
    /// Of which events; for `user_activity` alone.
    pub(crate) selection: Selection,
    /// By what the buckets of `user_activity` are broken down.
    pub(crate) breakdown: Option<Breakdown>,
    /// Whether the previous period is set beside.
    pub(crate) compare: bool,
}

/// `POST performance/`, read.
#[derive(Debug, Clone)]
pub(crate) struct PerformanceRequest {
    /// What every report is asked.
    pub(crate) common: Common,
    /// Of which application.
    pub(crate) app_id: String,
    /// Which parts.
    pub(crate) metrics: Vec<PerformanceMetric>,
    /// T of Apdex, in milliseconds.
    pub(crate) apdex_t_ms: f64,
}

/// `POST metrics/query/`, read.
#[derive(Debug, Clone)]
pub(crate) struct MetricQueryRequest {
    /// What every report is asked.
    pub(crate) common: Common,
    /// The question.
    pub(crate) question: MetricQuestion,
}

/// Reads the common members; `None` when their problems are noted.
///
/// # Errors
///
/// `too_many_cells`.
pub(super) fn common(
    fields: &mut Fields<'_>,
    width: Width,
    now: TimestampUs,
) -> Result<Option<Common>, ApiError> {
    let organization_id = fields.identifier("organization_id");
    let exact = fields.flag("exact");
    let allow_partial = fields.flag("allow_partial");
    let window = Window::read(fields, width, now);
    let mut echo =
        |names: [&'static str; 2]| fields.either(&names).map_or(Value::Null, |(_, value)| value.clone());
    let (start, end) = (echo(["start_date", "start"]), echo(["end_date", "end"]));
    let names: &[&str] = if width == Width::GroupByOrStep { &["group_by", "step"] } else { &["group_by"] };
    let group_by = fields.either(names).and_then(|(_, value)| value.as_str()).unwrap_or("day").to_owned();
    let week_start = fields.get("week_start").and_then(Value::as_str);
    let week_start = WEEK_STARTS.into_iter().find(|start| week_start == Some(*start)).unwrap_or(WEEK_START);
    match window {
        Ok(window) => Ok(Some(Common {
            organization_id,
            window,
            start,
            end,
            group_by,
            week_start,
            exact,
            allow_partial,
        })),
        Err(NoWindow::Noted) => Ok(None),
        Err(NoWindow::TooMany) => Err(too_many(format!("the window has more than {CELLS_MAX} buckets"))),
    }
}

fn too_many(detail: String) -> ApiError {
    ApiError::new(Code::TooManyCells, detail)
}

/// Refuses a question whose answer would have too many cells.
fn check_cells(buckets: usize, columns: usize) -> Result<(), ApiError> {
    let cells = buckets.saturating_mul(columns);
    if cells > CELLS_MAX {
        return Err(too_many(format!(
            "{buckets} buckets of {columns} series are {cells} cells; at most {CELLS_MAX}"
        )));
    }
    Ok(())
}

/// The members of a body.
///
/// # Errors
///
/// `invalid` when it is no object.
pub(super) fn begin(body: &Value) -> Result<Fields<'_>, ApiError> {
    Fields::of(body).map_err(|problem| ApiError::invalid(vec![problem]))
}

/// Everything was read, or everything that is wrong.
///
/// # Errors
///
/// `invalid`.
pub(super) fn finish<T>(fields: Fields<'_>, request: Option<T>) -> Result<T, ApiError> {
    let problems = fields.finish();
    match request {
        Some(request) if problems.is_empty() => Ok(request),
        _ => Err(ApiError::invalid(problems)),
    }
}

fn read_filters(fields: &mut Fields<'_>, stream: Stream) -> Filter {
    let Some(value) = fields.get("filters") else { return Filter::all() };
    filters::parse(value, "/filters", stream).unwrap_or_else(|problems| {
        fields.problems.extend(problems);
        Filter::all()
    })
}

/// One of some names, each at most once; all of them when nothing is said.
fn read_choices<T: Copy + PartialEq>(
    fields: &mut Fields<'_>,
    name: &'static str,
    known: &[(&str, T)],
) -> Vec<T> {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let one = |text: &str| {
        let found = known.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice);
        found.ok_or_else(|| format!("one of {} is expected", names.join(", ")))
    };
    let mut chosen: Vec<T> = Vec::new();
    for choice in fields.list(name, known.len() * 2, one).unwrap_or_default() {
        if !chosen.contains(&choice) {
            chosen.push(choice);
        }
    }
    if chosen.is_empty() { known.iter().map(|(_, choice)| *choice).collect() } else { chosen }
}

impl AnalyticsRequest {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// `invalid` with every problem, `too_many_cells`.
    pub(crate) fn read(body: &Value, config: &Config, now: TimestampUs) -> Result<Self, ApiError> {
        let mut fields = begin(body)?;
        let common = common(&mut fields, Width::GroupBy, now)?;
        let known = [
            ("user_activity", Family::UserActivity),
            ("system_performance", Family::SystemPerformance),
            ("app_metrics", Family::AppMetrics),
        ];
        let families = read_choices(&mut fields, "metrics", &known);
        let app_id = fields.identifier("app_id");
        let filter = read_filters(&mut fields, Stream::Events);
        let filter = match &app_id {
            Some(app) => both(is(&stream::APP_ID, app), filter),
            None => filter,
        };
        let breakdown = fields.text("breakdown").map(Breakdown::parse);
        if breakdown == Some(None) {
            let known = "event_type, page, feature, app_id, user_id or event_data.<path> is expected";
            fields.problem("breakdown", "invalid", known);
        }
        let compare = fields.choice("compare", &["previous_period"]).is_some();
        let page_view_types = config.page_view_event_types.clone();
        let exact = common.as_ref().is_some_and(|common| common.exact);
        let selection = Selection { filter, page_view_types, exact };
        let breakdown = breakdown.flatten();
        let request = common.map(|common| Self { common, families, app_id, selection, breakdown, compare });
        let request = finish(fields, request)?;
        let columns = request.families.iter().map(|family| match family {
            Family::UserActivity if request.breakdown.is_some() => KEYS_MAX + 1,
            Family::UserActivity | Family::AppMetrics => 1,
            Family::SystemPerformance => SYSTEM_METRICS.len(),
        });
        check_cells(request.common.window.buckets.len(), columns.max().unwrap_or(1))?;
        Ok(request)
    }
}

impl PerformanceRequest {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// `invalid` with every problem, `too_many_cells`.
    pub(crate) fn read(body: &Value, now: TimestampUs) -> Result<Self, ApiError> {
        let mut fields = begin(body)?;
        let common = common(&mut fields, Width::GroupBy, now)?;
        let app_id = fields.identifier("app_id");
        let wrong = fields.problems.iter().any(|problem| problem.pointer == "/app_id");
        if app_id.is_none() && !wrong {
            fields.problem("app_id", "required", "name an application");
        }
        let known = [
            ("response_time", PerformanceMetric::ResponseTime),
            ("error_rate", PerformanceMetric::ErrorRate),
            ("uptime", PerformanceMetric::Uptime),
        ];
        let metrics = read_choices(&mut fields, "metrics", &known);
        let apdex_t_ms = match fields.get("apdex_t_ms") {
            None => apdex::T_MS,
            Some(value) => value.as_f64().filter(|t| *t > 0.0).unwrap_or_else(|| {
                fields.problem("apdex_t_ms", "invalid", "a positive number is expected");
                apdex::T_MS
            }),
        };
        let request = common.zip(app_id).map(|(common, app_id)| Self { common, app_id, metrics, apdex_t_ms });
        let request = finish(fields, request)?;
        check_cells(request.common.window.buckets.len(), 1)?;
        Ok(request)
    }
}

impl MetricQueryRequest {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// `invalid` with every problem, `too_many_cells`.
    pub(crate) fn read(body: &Value, config: &Config, now: TimestampUs) -> Result<Self, ApiError> {
        let mut fields = begin(body)?;
        let common = common(&mut fields, Width::GroupByOrStep, now)?;
        let names = read_names(&mut fields);
        let wanted = |name: &str| {
            let known = "one of avg, sum, min, max, count, last, rate, p50 and other percentiles is expected";
            Wanted::parse(name).ok_or_else(|| known.to_owned())
        };
        let mut wanted = fields.list("aggregates", AGGREGATES_MAX, wanted).unwrap_or_default();
        if wanted.is_empty() {
            wanted.extend(Wanted::parse("avg"));
        }
        let by = |name: &str| {
            By::parse(name).ok_or_else(|| "a column or the name of a label is expected".to_owned())
        };
        let by = fields.list("by", BY_MAX, by).unwrap_or_default();
        let mut filter = read_filters(&mut fields, Stream::Metrics);
        for column in [stream::APP_ID, stream::HOST, stream::USER_ID] {
            let value = if column == stream::HOST {
                fields.text(column.name).map(str::to_owned).filter(|host| !host.is_empty())
            } else {
                fields.identifier(column.name)
            };
            if let Some(value) = value {
                filter = both(is(&column, &value), filter);
            }
        }
        let request = common.map(|common| {
            let exact = common.exact;
            let page_view_types = config.page_view_event_types.clone();
            Self { common, question: MetricQuestion { names, wanted, by, filter, exact, page_view_types } }
        });
        let request = finish(fields, request)?;
        check_cells(request.common.window.buckets.len(), request.question.names.len())?;
        Ok(request)
    }
}

/// `name`, or `names`, in their one spelling, each once.
fn read_names(fields: &mut Fields<'_>) -> Vec<String> {
    let one = |name: &str| {
        let known = "the name of a metric is expected: a letter, then [A-Za-z0-9._:/-]";
        is_metric_name(name).then(|| canonical_name(name).to_owned()).ok_or_else(|| known.to_owned())
    };
    let single = fields.list("name", NAMES_MAX, one);
    let several = fields.list("names", NAMES_MAX, one);
    let absent = single.is_none() && several.is_none();
    let mut names: Vec<String> = Vec::new();
    for name in single.into_iter().chain(several).flatten() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let named_problem = |p: &FieldError| p.pointer.starts_with("/name");
    if names.is_empty() && (absent || !fields.problems.iter().any(named_problem)) {
        fields.problem("name", "required", "name a metric in name, or several in names");
    }
    names
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
