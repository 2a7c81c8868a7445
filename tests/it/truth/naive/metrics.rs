//! `system_performance` and `app_metrics`.

use serde_json::{Value, json};

use super::super::calendar::{Range, Span, in_bucket};
use super::super::data::Point;
use super::uptime::{Account, Timeline};
use super::{mean, ratio, shown_quantile};

/// Metrics of hosts, and whether they are counters.
const SYSTEM: [(&str, bool); 8] = [
    ("cpu.usage", false),
    ("memory.usage", false),
    ("disk.usage", false),
    ("network.in", true),
    ("network.out", true),
    ("request.latency", false),
    ("server.errors", true),
    ("db.connections", false),
];

/// The values of a metric in a range, in the order of their times.
pub(super) fn values(points: &[&Point], name: &str, range: Range) -> Vec<f64> {
    let mut of: Vec<&&Point> =
        points.iter().filter(|point| point.metric() == name && range.has(point.at)).collect();
    of.sort_by_key(|point| point.at);
    of.into_iter().map(|point| point.value).collect()
}

pub(super) fn least(values: &[f64]) -> Option<f64> {
    values.iter().copied().reduce(f64::min)
}

pub(super) fn greatest(values: &[f64]) -> Option<f64> {
    values.iter().copied().reduce(f64::max)
}

/// Count, mean, ends and some quantiles.
pub(super) fn distribution(values: &[f64], quantiles: &[u8], exact: bool) -> Value {
    let mut all =
        json!({"count": values.len(), "avg": mean(values), "min": least(values), "max": greatest(values)});
    for percent in quantiles {
        all[format!("p{percent}")] = shown_quantile(values, f64::from(*percent) / 100.0, exact);
    }
    all
}

/// The family `system_performance` of some hosts.
pub(crate) fn system_performance(points: &[Point], scope: &str, span: &Span, exact: bool) -> Value {
    let hosts: Vec<&Point> = points.iter().filter(|point| point.app.is_none()).collect();
    let summary = |(name, is_counter): (&str, bool)| {
        let values = values(&hosts, name, span.range());
        let mut all = distribution(&values, &[50, 95, 99], exact);
        all["last"] = json!(values.last());
        if is_counter {
            all["sum"] = json!(values.iter().sum::<f64>());
        }
        (name.to_owned(), all)
    };
    let cell = |(name, is_counter): (&str, bool), range: Range| {
        let values = values(&hosts, name, range);
        let mut all = json!({"avg": mean(&values), "max": greatest(&values), "p95": shown_quantile(&values, 0.95, exact)});
        if is_counter {
            all["sum"] = json!(values.iter().sum::<f64>());
        }
        (name.to_owned(), all)
    };
    let row = |range: Range| {
        SYSTEM.into_iter().map(|metric| cell(metric, range)).collect::<serde_json::Map<_, _>>()
    };
    json!({
        "scope": scope,
        "summary": SYSTEM.into_iter().map(summary).collect::<serde_json::Map<_, _>>(),
        "series": span.buckets().iter().map(|b| in_bucket(span, *b, Value::Object(row(b.cut)))).collect::<Value>(),
    })
}

/// Requests and errors of a range.
pub(super) fn requests(points: &[&Point], range: Range) -> (f64, f64) {
    let sum = |name: &str| values(points, name, range).iter().sum::<f64>();
    (sum("requests.count"), sum("errors.count"))
}

/// Uptime of requests, where there are no probes.
pub(super) fn uptime_of(requests: f64, errors: f64) -> Option<f64> {
    ratio(errors, requests).map(|rate| (1.0 - rate).max(0.0))
}

fn app_numbers(points: &[&Point], known: Account, range: Range, exact: bool) -> Value {
    let (requests, errors) = requests(points, range);
    let times = values(points, "response.time", range);
    json!({"requests": requests, "errors": errors, "error_rate": ratio(errors, requests),
        "uptime": known.ratio().or_else(|| uptime_of(requests, errors)),
        "response_time": distribution(&times, &[50, 90, 95, 99], exact)})
}

/// The family `app_metrics` of one application, or of all.
pub(crate) fn app_metrics(points: &[Point], app: Option<&str>, span: &Span, exact: bool) -> Value {
    let chosen: Vec<&Point> = points.iter().filter(|point| app.is_none() || point.app == app).collect();
    let window = span.range();
    let account = |app: Option<&str>| Timeline::of(points, app).account(window);
    let mut named: Vec<&str> = chosen.iter().filter_map(|point| point.app).collect();
    named.sort_unstable();
    named.dedup();
    let has_something = |app: &&str| {
        let metrics = ["requests.count", "errors.count", "response.time"];
        let mut inside = chosen.iter().filter(|point| point.app == Some(*app) && window.has(point.at));
        inside.any(|point| metrics.contains(&point.metric())) || Timeline::of(points, Some(app)).knows(window)
    };
    let listed: Vec<&str> = named.iter().copied().filter(has_something).collect();
    let mut apps: Vec<Value> = listed
        .into_iter()
        .map(|app| {
            let own: Vec<&Point> = chosen.iter().copied().filter(|point| point.app == Some(app)).collect();
            let mut row = app_numbers(&own, account(Some(app)), window, exact);
            row["app_id"] = json!(app);
            row
        })
        .collect();
    // Stable: equal ones stay in the order of their ids.
    apps.sort_by(|a, b| b["requests"].as_f64().unwrap().total_cmp(&a["requests"].as_f64().unwrap()));
    let row = |range: Range| {
        let (requests, errors) = requests(&chosen, range);
        let times = values(&chosen, "response.time", range);
        json!({"requests": requests, "errors": errors, "error_rate": ratio(errors, requests),
            "response_time": {"avg": mean(&times), "p95": shown_quantile(&times, 0.95, exact)}})
    };
    // What names no application is up or down all the same.
    let mut probed: Vec<Option<&str>> = named.into_iter().map(Some).collect();
    probed.extend(app.is_none().then_some(None));
    let all = probed.into_iter().fold(Account::default(), |sum, app| sum.and(account(app)));
    json!({"summary": app_numbers(&chosen, all, window, exact), "apps": apps,
        "series": span.buckets().iter().map(|b| in_bucket(span, *b, row(b.cut))).collect::<Value>()})
}
