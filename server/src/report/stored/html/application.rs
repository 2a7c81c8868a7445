//! The page of the report of an application.

use serde_json::Value;

use super::chart::Form;
use super::date;
use super::number::Unit;
use super::view::{Column, Plot, View};

const ROUTE_COLUMNS: [Column; 6] = [
    ("route", "route", None),
    ("metric.requests", "requests", Some(Unit::Count)),
    ("metric.errors", "errors", Some(Unit::Count)),
    ("metric.error_rate", "error_rate", Some(Unit::Ratio)),
    ("mean", "avg_ms", Some(Unit::Millis)),
    ("p95", "p95_ms", Some(Unit::Millis)),
];

/// Writes the sections.
pub(super) fn sections(view: &mut View<'_>) {
    summary(view);
    charts(view);
    incidents(view);
    if view.body.pointer("/routes/count").is_some_and(Value::is_u64) {
        view.heading("routes");
        view.table("routes_by_requests", "/routes/by_requests", &ROUTE_COLUMNS);
        view.table("routes_slowest", "/routes/slowest", &ROUTE_COLUMNS);
        view.table("routes_by_errors", "/routes/by_errors", &ROUTE_COLUMNS);
    }
}

fn summary(view: &mut View<'_>) {
    view.heading("summary");
    view.markup.open("div", &[("class", "tiles")]);
    for (part, member, name, unit) in [
        ("error_rate", "requests", "metric.requests", Unit::Count),
        ("error_rate", "rate", "metric.error_rate", Unit::Ratio),
        ("response_time", "p50", "median", Unit::Millis),
        ("response_time", "p95", "response_time_p95", Unit::Millis),
        ("response_time", "p99", "response_time_p99", Unit::Millis),
        ("response_time", "apdex/score", "metric.apdex", Unit::Count),
        ("uptime", "ratio", "metric.uptime", Unit::Ratio),
        ("uptime", "down_s", "down", Unit::Seconds),
    ] {
        let value = view.number(&format!("/metrics/{part}/{member}"));
        let changes = view.body.pointer(&format!("/comparison/metrics/{part}/change"));
        let change = changes.and_then(|all| all.get(member.replace('/', "."))?.get("relative")?.as_f64());
        view.tile(name, value, unit, change);
    }
    view.markup.close();
}

fn charts(view: &mut View<'_>) {
    let requests = [("requests", "metric.requests"), ("errors", "metric.errors")];
    let bars =
        Plot { title: "requests_chart", series: &requests, form: Form::Bars, unit: Unit::Count, top: None };
    view.chart("/metrics/error_rate/series", &bars);
    let times = [("p50", "median"), ("p95", "p95"), ("p99", "p99")];
    let lines = Plot {
        title: "response_time_chart",
        series: &times,
        form: Form::Lines,
        unit: Unit::Millis,
        top: None,
    };
    view.chart("/metrics/response_time/series", &lines);
    let uptime = [("ratio", "metric.uptime")];
    let ratio =
        Plot { title: "uptime_chart", series: &uptime, form: Form::Bars, unit: Unit::Ratio, top: Some(1.0) };
    view.chart("/metrics/uptime/series", &ratio);
}

fn incidents(view: &mut View<'_>) {
    view.heading("incidents");
    let rows = view.rows("/metrics/uptime/incidents");
    if rows.is_empty() {
        let nothing = view.text("no_incidents");
        view.markup.leaf("p", &[("class", "nothing")], nothing);
        return;
    }
    view.markup.open("table", &[]);
    view.markup.open("thead", &[]);
    view.markup.open("tr", &[]);
    for (name, class) in [("from", "label"), ("until", "label"), ("duration", "number")] {
        let name = view.text(name);
        view.markup.leaf("th", &[("class", class), ("scope", "col")], name);
    }
    view.markup.close();
    view.markup.close();
    view.markup.open("tbody", &[]);
    for row in rows {
        let at = |member: &str| row.get(member).and_then(Value::as_str).unwrap_or_default();
        let (from, until) = (date::moment(at("start"), view.lang), date::moment(at("end"), view.lang));
        let duration = view.shown(row.get("duration_s").and_then(Value::as_f64), Unit::Seconds);
        view.markup.open("tr", &[]);
        view.markup.leaf("td", &[], &from);
        view.markup.leaf("td", &[], &until);
        view.markup.leaf("td", &[("class", "number")], &duration);
        view.markup.close();
    }
    view.markup.close();
    view.markup.close();
    let omitted = view.number("/omitted/incidents");
    view.more(0, omitted);
}
