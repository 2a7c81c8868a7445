//! The performance report of an application.

use serde_json::{Value, json};

use super::super::calendar::{Range, Span, in_bucket};
use super::super::data::{NOW, Point, at};
use super::metrics::{distribution, requests, uptime_of, values};
use super::uptime::Timeline;
use super::{mean, ratio, seconds, shown_quantile};

/// Its `metrics`.
pub(crate) fn performance(points: &[Point], app: &str, span: &Span, apdex_t_ms: f64, exact: bool) -> Value {
    let own: Vec<&Point> = points.iter().filter(|point| point.app == Some(app)).collect();
    let rate = |range: Range| {
        let (requests, errors) = requests(&own, range);
        json!({"requests": requests, "errors": errors, "rate": ratio(errors, requests)})
    };
    let mut error_rate = rate(span.range());
    error_rate["series"] = span.buckets().iter().map(|b| in_bucket(span, *b, rate(b.cut))).collect();
    let timeline = Timeline::of(points, Some(app));
    let uptime = if timeline.knows(span.range()) { probed(&timeline, span) } else { requested(&own, span) };
    json!({"response_time": response_time(&own, span, apdex_t_ms, exact), "error_rate": error_rate, "uptime": uptime})
}

fn response_time(own: &[&Point], span: &Span, apdex_t_ms: f64, exact: bool) -> Value {
    let times = values(own, "response.time", span.range());
    let mut points = 0.0;
    for time in &times {
        points += if *time <= apdex_t_ms {
            1.0
        } else if *time <= 4.0 * apdex_t_ms {
            0.5
        } else {
            0.0
        };
    }
    let score = ratio(points, times.len() as f64).map(|score| (score * 100.0).round() / 100.0);
    let row = |range: Range| {
        let some = values(own, "response.time", range);
        let q = |q| shown_quantile(&some, q, exact);
        json!({"count": some.len(), "avg": mean(&some), "p50": q(0.5), "p95": q(0.95), "p99": q(0.99)})
    };
    let mut all = distribution(&times, &[50, 90, 95, 99], exact);
    all["unit"] = json!("ms");
    all["apdex"] = json!({"t_ms": apdex_t_ms, "score": score});
    all["series"] = span.buckets().iter().map(|b| in_bucket(span, *b, row(b.cut))).collect();
    all
}

/// Uptime by probes.
fn probed(timeline: &Timeline, span: &Span) -> Value {
    let window = span.range();
    let account = timeline.account(window);
    let elapsed = window.end.min(at(NOW)) - window.start;
    let known = account.up + account.down + account.maintenance;
    let incident = |range: Range| {
        let mut bounds = span.bounds(range);
        bounds["duration_s"] = json!(seconds(range.len()));
        bounds
    };
    let row = |range: Range| json!({"ratio": timeline.account(range).ratio()});
    json!({"ratio": account.ratio(), "percent": account.ratio().map(|ratio| ratio * 100.0), "basis": "probe",
        "coverage": known as f64 / elapsed as f64, "down_s": seconds(account.down), "maintenance_s": seconds(account.maintenance),
        "incidents": timeline.incidents(window).into_iter().map(incident).collect::<Value>(),
        "series": span.buckets().iter().map(|b| in_bucket(span, *b, row(b.cut))).collect::<Value>()})
}

/// Uptime by requests, or of nothing.
fn requested(own: &[&Point], span: &Span) -> Value {
    let of = |range: Range| {
        let (requests, errors) = requests(own, range);
        uptime_of(requests, errors)
    };
    let buckets = span.buckets();
    let known = buckets.iter().filter(|bucket| of(bucket.cut).is_some()).count();
    let elapsed = buckets.iter().filter(|bucket| bucket.start < span.range().end.min(at(NOW))).count();
    let total = of(span.range());
    json!({"ratio": total, "percent": total.map(|ratio| ratio * 100.0),
        "basis": if total.is_some() { "requests" } else { "probe" },
        "coverage": ratio(known as f64, elapsed as f64).unwrap_or(0.0), "down_s": 0, "maintenance_s": 0, "incidents": [],
        "series": buckets.iter().map(|b| in_bucket(span, *b, json!({"ratio": of(b.cut)}))).collect::<Value>()})
}
