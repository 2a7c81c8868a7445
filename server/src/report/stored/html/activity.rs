//! The page of a daily and of an organization report.

use serde_json::Value;

use super::chart::Form;
use super::number::Unit;
use super::view::{Column, Plot, Tile, View};

const ACTIVITY_TILES: [Tile; 8] = [
    ("active_users", "metric.active_users", Unit::Count),
    ("sessions", "metric.sessions", Unit::Count),
    ("events", "metric.events", Unit::Count),
    ("pages_visited", "metric.pages_visited", Unit::Count),
    ("actions_performed", "metric.actions_performed", Unit::Count),
    ("session_duration.avg_s", "metric.session_duration", Unit::Seconds),
    ("bounce_rate", "metric.bounce_rate", Unit::Ratio),
    ("time_on_platform_s", "metric.time_on_platform", Unit::Seconds),
];
const APP_TILES: [Tile; 4] = [
    ("requests", "metric.requests", Unit::Count),
    ("error_rate", "metric.error_rate", Unit::Ratio),
    ("response_time.p95", "response_time_p95", Unit::Millis),
    ("uptime", "metric.uptime", Unit::Ratio),
];
const APP_COLUMNS: [Column; 6] = [
    ("application", "app_id", None),
    ("metric.requests", "requests", Some(Unit::Count)),
    ("metric.errors", "errors", Some(Unit::Count)),
    ("metric.error_rate", "error_rate", Some(Unit::Ratio)),
    ("response_time_p95", "response_time.p95", Some(Unit::Millis)),
    ("metric.uptime", "uptime", Some(Unit::Ratio)),
];
/// Metrics of hosts, and what each counts.
const HOSTS: [(&str, Unit); 8] = [
    ("cpu.usage", Unit::Percent),
    ("memory.usage", Unit::Percent),
    ("disk.usage", Unit::Percent),
    ("network.in", Unit::Bytes),
    ("network.out", Unit::Bytes),
    ("request.latency", Unit::Millis),
    ("server.errors", Unit::Count),
    ("db.connections", Unit::Count),
];

/// Writes the sections.
pub(super) fn sections(view: &mut View<'_>) {
    users(view);
    applications(view);
    hosts(view);
    if view.body.get("audit").is_some_and(Value::is_object) {
        audit(view);
    }
}

fn users(view: &mut View<'_>) {
    view.heading("user_activity");
    let family = "/metrics/user_activity";
    let changes = "/comparison/metrics/user_activity/change";
    view.tiles(&format!("{family}/summary"), changes, &ACTIVITY_TILES);
    let series = format!("{family}/series");
    let plot = |title, series, form| Plot { title, series, form, unit: Unit::Count, top: None };
    view.chart(&series, &plot("active_users_chart", &[("active_users", "metric.active_users")], Form::Lines));
    let both = [("events", "metric.events"), ("pages_visited", "metric.pages_visited")];
    view.chart(&series, &plot("events_chart", &both, Form::Bars));
    for (title, list, member) in [
        ("pages", "pages", "page"),
        ("features", "features", "feature"),
        ("event_types", "event_types", "event_type"),
    ] {
        let columns: [Column; 3] = [
            (member, member, None),
            ("count", "count", Some(Unit::Count)),
            ("metric.active_users", "users", Some(Unit::Count)),
        ];
        view.table(title, &format!("{family}/{list}"), &columns);
    }
}

fn applications(view: &mut View<'_>) {
    view.heading("app_metrics");
    let family = "/metrics/app_metrics";
    view.tiles(&format!("{family}/summary"), "/comparison/metrics/app_metrics/change", &APP_TILES);
    let series = format!("{family}/series");
    let requests = [("requests", "metric.requests"), ("errors", "metric.errors")];
    let bars =
        Plot { title: "requests_chart", series: &requests, form: Form::Bars, unit: Unit::Count, top: None };
    view.chart(&series, &bars);
    let times = [("response_time>avg", "mean"), ("response_time>p95", "p95")];
    let lines = Plot {
        title: "response_time_chart",
        series: &times,
        form: Form::Lines,
        unit: Unit::Millis,
        top: None,
    };
    view.chart(&series, &lines);
    view.table("applications", &format!("{family}/apps"), &APP_COLUMNS);
}

fn hosts(view: &mut View<'_>) {
    view.heading("system_performance");
    if view.body.pointer("/metrics/system_performance/scope").and_then(Value::as_str) == Some("platform") {
        let note = view.text("hosts_of_platform");
        view.markup.leaf("p", &[("class", "note")], note);
    }
    let usage = [
        ("cpu.usage>avg", "cpu.usage"),
        ("memory.usage>avg", "memory.usage"),
        ("disk.usage>avg", "disk.usage"),
    ];
    let plot = Plot {
        title: "hosts_chart",
        series: &usage,
        form: Form::Lines,
        unit: Unit::Percent,
        top: Some(100.0),
    };
    view.chart("/metrics/system_performance/series", &plot);
    let columns = ["metric", "mean", "p95", "greatest", "latest"];
    view.markup.open("table", &[]);
    view.markup.open("thead", &[]);
    view.markup.open("tr", &[]);
    for (index, name) in columns.into_iter().enumerate() {
        let (name, class) = (view.text(name), if index == 0 { "label" } else { "number" });
        view.markup.leaf("th", &[("class", class), ("scope", "col")], name);
    }
    view.markup.close();
    view.markup.close();
    view.markup.open("tbody", &[]);
    for (metric, unit) in HOSTS {
        let summary =
            view.body.pointer("/metrics/system_performance/summary").and_then(|all| all.get(metric));
        view.markup.open("tr", &[]);
        let name = view.text(&format!("metric.{metric}"));
        view.markup.leaf("td", &[("class", "name")], name);
        for stat in ["avg", "p95", "max", "last"] {
            let value = summary.and_then(|summary| summary.get(stat)?.as_f64());
            let text = view.shown(value, unit);
            view.markup.leaf("td", &[("class", "number")], &text);
        }
        view.markup.close();
    }
    view.markup.close();
    view.markup.close();
}

fn audit(view: &mut View<'_>) {
    view.heading("audit");
    view.markup.open("div", &[("class", "tiles")]);
    for (pointer, name) in [
        ("/audit/records", "records"),
        ("/audit/failures", "failures"),
        ("/audit/by_severity/warning", "severity.warning"),
        ("/audit/by_severity/error", "severity.error"),
        ("/audit/by_severity/critical", "severity.critical"),
    ] {
        let value = view.number(pointer);
        view.tile(name, value, Unit::Count, None);
    }
    view.markup.close();
    let columns: [Column; 3] = [
        ("action", "action_type", None),
        ("count", "count", Some(Unit::Count)),
        ("failures", "failures", Some(Unit::Count)),
    ];
    view.table("actions", "/audit/actions", &columns);
}
