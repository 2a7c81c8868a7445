//! Whole answers as they must be, but for what they cost.

use serde_json::{Value, json};

use super::calendar::Span;
use super::data::{NOW, at};
use super::naive::{self, Activity, MetricQuestion};
use super::platform::Organization;
use super::questions::joined;

/// What every answer begins with; `generated_at` and the rest are of the moment [`NOW`].
fn envelope(organization: &str, span: &Span, exact: bool) -> Value {
    let body = span.body();
    let quantiles = if exact {
        json!({"exact": true, "relative_error": 0})
    } else {
        json!({"exact": false, "relative_error": 0.0055})
    };
    json!({"organization_id": organization, "start_date": body["start_date"], "end_date": body["end_date"],
        "group_by": span.group_by, "timezone": span.zone, "week_start": span.week_start, "window": span.bounds(span.range()),
        "generated_at": span.text(at(NOW)), "complete_until": span.text(span.range().end.min(at(NOW))),
        "exactness": {"quantiles": quantiles}})
}

/// The hosts that an organization sees, and whose they are.
fn hosts<'a>(all: &'a [Organization], of: &'a Organization) -> (&'a Organization, &'static str) {
    let has_hosts = of.points.iter().any(|point| point.app.is_none());
    let platform = all.iter().find(|one| one.name == "_platform").filter(|_| !has_hosts);
    platform.map_or((of, "organization"), |platform| (platform, "platform"))
}

/// The three families of a window.
fn families(all: &[Organization], of: &Organization, asked: &Activity, span: &Span) -> Value {
    let (hosts, scope) = hosts(all, of);
    json!({
        "user_activity": naive::user_activity(&of.events, asked, span),
        "system_performance": naive::system_performance(&hosts.points, scope, span, asked.exact),
        "app_metrics": naive::app_metrics(&of.points, asked.app, span, asked.exact),
    })
}

/// The analytics answer, with a comparison when that is asked.
pub(crate) fn analytics(
    all: &[Organization],
    of: &Organization,
    asked: &Activity,
    span: &Span,
    compare: bool,
) -> Value {
    let mut answer = envelope(of.name, span, asked.exact);
    answer["exactness"]["active_users"] = json!({"exact": true, "relative_error": 0});
    answer["exactness"]["sessions"] = json!({"exact": true, "relative_error": 0});
    let metrics = families(all, of, asked, span);
    answer["comparison"] = json!({});
    if compare {
        let previous = span.previous(at(NOW));
        let before = families(all, of, asked, &previous);
        let of = |family: &str| naive::comparison(&metrics[family]["summary"], &before[family]["summary"]);
        answer["comparison"] = json!({"window": span.bounds(previous.range()), "metrics": {
            "user_activity": of("user_activity"), "system_performance": of("system_performance"), "app_metrics": of("app_metrics")}});
    }
    answer["metrics"] = metrics;
    answer
}

/// The performance answer.
pub(crate) fn performance(of: &Organization, app: &str, span: &Span, apdex_t_ms: f64, exact: bool) -> Value {
    let metrics = naive::performance(&of.points, app, span, apdex_t_ms, exact);
    joined(envelope(of.name, span, exact), &json!({"app_id": app, "metrics": metrics}))
}

/// The answer of `metrics/query/`.
pub(crate) fn metric_query(of: &Organization, asked: &MetricQuestion, span: &Span) -> Value {
    let series = naive::metric_query(&of.points, &of.events, asked, span);
    joined(envelope(of.name, span, asked.exact), &json!({"series": series}))
}
