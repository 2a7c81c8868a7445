//! Reports that are kept: their numbers are those of the judge, however and whenever they are fetched.

use std::collections::{BTreeMap, BTreeSet};

use insights_server::Config;
use serde_json::{Map, Value, json};

use super::bed::{Bed, audit_records};
use super::calendar::{Edge, Range, Span};
use super::data::{NOW, Point, at};
use super::expected;
use super::flat::{flat, flat_differences};
use super::judge::{differences, near};
use super::naive::{self, Activity};
use super::platform::{Organization, golden};
use super::questions::{self, joined};
use super::random::{self, Random};

const REPORTS: &str = "/api/insights/reports/";
/// Audit records of `acme`.
const AUDIT: usize = 330;
/// Most rows of a list.
const LIST_MAX: usize = 100;

/// A report and whose it is.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    of: &'static str,
    kind: &'static str,
    app: Option<&'static str>,
    span: Span,
}

impl Wanted {
    fn new(of: &'static str, kind: &'static str, app: Option<&'static str>, span: Span) -> Self {
        let range = span.range();
        let hours = kind == "daily" || (app.is_some() && range.len() <= 48 * super::data::HOUR);
        let span = Span { group_by: if hours { "hour" } else { "day" }, week_start: "monday", ..span };
        Self { of, kind, app, span }
    }

    fn body(&self) -> Value {
        let window = self.span.body();
        let mut body = json!({"type": self.kind, "timezone": window["timezone"],
            "start_date": window["start_date"], "end_date": window["end_date"]});
        if let Some(app) = self.app {
            body["app_id"] = json!(app);
        }
        body
    }

    /// Its `report` as it must be, but for the meaning of its numbers and lists of routes.
    fn expected(&self, all: &[Organization]) -> Value {
        let of = all.iter().find(|one| one.name == self.of).unwrap();
        let span = self.span;
        // However instants were written, they are told in the time zone of the report.
        let edge = |edge: Edge| match edge {
            Edge::Day(date) => date.to_string(),
            Edge::At(at) => span.text(at),
        };
        let head = json!({"version": 1, "type": self.kind, "organization_id": self.of, "app_id": self.app,
            "start_date": edge(span.start), "end_date": edge(span.end), "timezone": span.zone,
            "window": span.bounds(span.range()), "group_by": span.group_by, "omitted": {}});
        let Some(app) = self.app else {
            let mut answer = expected::analytics(all, of, &Activity::default(), &span, true);
            let mut body = head;
            for name in ["metrics", "comparison", "exactness"] {
                body[name] = answer[name].take();
            }
            cut_lists(&mut body);
            if self.kind == "daily" {
                body["audit"] = audit_counts(if self.of == "acme" { AUDIT } else { 0 }, span.range());
            }
            return body;
        };
        let previous = span.previous(at(NOW));
        let parts = |span: &Span| naive::performance(&of.points, app, span, 500.0, false);
        let (metrics, mut before) = (parts(&span), parts(&previous));
        let mut compared = Map::new();
        for (name, part) in metrics.as_object().unwrap() {
            for list in ["series", "incidents"] {
                before[name].as_object_mut().unwrap().remove(list);
            }
            compared.insert(name.clone(), naive::comparison(part, &before[name]));
        }
        joined(
            head,
            &json!({"metrics": metrics, "exactness": expected::performance(of, app, &span, 500.0, false)["exactness"],
                "comparison": {"window": span.bounds(previous.range()), "metrics": compared}}),
        )
    }
}

/// Lists have a hundred rows; what is beyond is counted.
fn cut_lists(body: &mut Value) {
    for (family, list) in [
        ("user_activity", "event_types"),
        ("user_activity", "pages"),
        ("user_activity", "features"),
        ("app_metrics", "apps"),
    ] {
        let rows = body["metrics"][family][list].as_array_mut().unwrap();
        let omitted = rows.len().saturating_sub(LIST_MAX);
        rows.truncate(LIST_MAX);
        if omitted > 0 {
            body["omitted"][list] = json!(omitted);
        }
    }
}

/// What the audit log saw in a window.
fn audit_counts(count: usize, window: Range) -> Value {
    let all = audit_records("acme", count);
    let text = |record: &Value, name: &str| record[name].as_str().unwrap().to_owned();
    let records: Vec<&Value> =
        all.iter().filter(|record| window.has(at(record["timestamp"].as_str().unwrap()))).collect();
    let failures = |some: &[&Value]| some.iter().filter(|record| record["outcome"] == "failure").count();
    let severity = |name: &&str| records.iter().filter(|record| record["severity"] == **name).count();
    let mut actions: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for record in &records {
        actions.entry(text(record, "action_type")).or_default().push(record);
    }
    let mut actions: Vec<_> = actions.into_iter().collect();
    actions.sort_by_key(|(_, some)| std::cmp::Reverse(some.len()));
    let row = |(name, some): &(String, Vec<&Value>)| json!({"action_type": name, "count": some.len(), "failures": failures(some)});
    let severities = ["info", "notice", "warning", "error", "critical"];
    json!({"records": records.len(), "failures": failures(&records),
        "by_severity": severities.iter().map(|name| ((*name).to_owned(), json!(severity(name)))).collect::<Map<_, _>>(),
        "actions": actions.iter().map(row).collect::<Value>(), "actions_omitted": 0})
}

/// Where lists of routes are not what the points with the label `route` say.
fn wrong_routes(found: &Value, points: &[Point], app: &str, window: Range) -> Vec<String> {
    let mut own: BTreeMap<&str, Vec<&Point>> = BTreeMap::new();
    let metrics = ["requests.count", "errors.count", "response.time"];
    for point in points.iter().filter(|point| point.app == Some(app) && window.has(point.at)) {
        let route = point.labels.iter().find(|(name, _)| *name == "route");
        if let Some((_, route)) = route.filter(|_| metrics.contains(&point.metric())) {
            own.entry(route).or_default().push(point);
        }
    }
    let row = |(route, points): (&str, Vec<&Point>)| {
        let values = |name: &str| -> Vec<f64> {
            points.iter().filter(|point| point.metric() == name).map(|point| point.value).collect()
        };
        let sum = |name| values(name).iter().sum::<f64>();
        let (requests, errors, times) = (sum("requests.count"), sum("errors.count"), values("response.time"));
        let p95 = naive::quantile(&times, 0.95).map_or(Value::Null, near);
        json!({"route": route, "requests": requests, "errors": errors, "error_rate": naive::ratio(errors, requests),
            "avg_ms": naive::mean(&times), "p95_ms": p95})
    };
    let rows: Vec<Value> = own.into_iter().map(row).collect();
    let has = |row: &Value, name: &str| row[name].is_object() || row[name].as_f64() > Some(0.0);
    let list = |name: &str| -> Vec<Value> { rows.iter().filter(|row| has(row, name)).cloned().collect() };
    let mut out = differences(&json!(rows.len()), &found["count"]);
    for (name, by) in [("by_requests", "requests"), ("by_errors", "errors"), ("slowest", "p95_ms")] {
        let found = found[name].as_array().unwrap();
        let order: Vec<(f64, &str)> =
            found.iter().map(|row| (-row[by].as_f64().unwrap(), row["route"].as_str().unwrap())).collect();
        if !order.is_sorted() {
            out.push(format!("{name} is in the order {order:?}"));
        }
        let mut by_name = found.clone();
        by_name.sort_by_key(|row| row["route"].to_string());
        let mut expected = list(by);
        expected.sort_by_key(|row| row["route"].to_string());
        let found = differences(&Value::Array(expected), &Value::Array(by_name));
        out.extend(found.into_iter().map(|one| format!("{name}{one}")));
    }
    out
}

/// Takes the versions of definitions out of a report; says which numbers have none.
fn take_undefined(report: &mut Value) -> Vec<String> {
    let versions = report.as_object_mut().unwrap().remove("definition_versions").unwrap_or_default();
    let mut names: BTreeSet<String> = BTreeSet::new();
    for (part, content) in report["metrics"].as_object().unwrap() {
        match content["summary"].as_object() {
            Some(summary) => names.extend(summary.keys().cloned()),
            None => drop(names.insert(part.clone())),
        }
    }
    let lacks = |name: &String| {
        versions[name.strip_suffix("_s").unwrap_or(name)].as_u64().is_none_or(|version| version == 0)
    };
    names.into_iter().filter(lacks).map(|name| format!("/definition_versions/{name}: missing")).collect()
}

/// Where a report is not what the judge says, in any format, made or fetched.
fn wrong(bed: &Bed, wanted: &Wanted, all: &[Organization]) -> Vec<String> {
    let key = bed.key(wanted.of);
    let made = bed.world.post(REPORTS, key, &wanted.body());
    let status = made.status;
    let made = made.expect(if status == 200 { 200 } else { 201 });
    let (expected, mut report) = (wanted.expected(all), made["report"].clone());
    let mut out = take_undefined(&mut report);
    if let Some(app) = wanted.app {
        let of = all.iter().find(|one| one.name == wanted.of).unwrap();
        let routes = report.as_object_mut().unwrap().remove("routes").unwrap_or_default();
        out.extend(wrong_routes(&routes, &of.points, app, wanted.span.range()));
    }
    out.extend(differences(&expected, &report));
    let over = wanted.span.range().end <= at(NOW);
    if made["stored"] != over || (over && status != 201) || (made["id"].is_null() == over) {
        out.push(format!("stored: {}, with status {status}", made["stored"]));
    }
    let rows = flat(&expected);
    for format in ["rows", "ndjson", "csv"] {
        let posted = bed.world.post(&format!("{REPORTS}?format={format}"), key, &wanted.body());
        let found = flat_differences(&rows, &posted.text(), format);
        out.extend(found.into_iter().map(|one| format!("as {format}: {one}")));
        if let Some(id) = made["id"].as_str() {
            let fetched = bed.world.get(&format!("{REPORTS}{id}/?format={format}"), key);
            if fetched.status != 200 || fetched.body != posted.body {
                out.push(format!("as {format}, fetched: {}", fetched.text()));
            }
        }
    }
    if let Some(id) = made["id"].as_str() {
        let fetched = bed.world.get(&format!("{REPORTS}{id}/"), key).expect(200);
        if fetched["report"] != made["report"] || fetched["sha256"] != made["sha256"] {
            out.push(format!("fetched it is another: {fetched}"));
        }
    }
    out
}

/// Days on which clocks are set, a window that is not over, somebody who has nothing; then any.
fn wanted(random: &mut Random, count: u64) -> Vec<Wanted> {
    let day = |zone, day| Span::days(zone, "hour", day, day);
    let mut all = vec![
        Wanted::new("acme", "daily", None, day("Europe/Paris", "2024-03-31")),
        Wanted::new("acme", "daily", None, day("Australia/Lord_Howe", "2024-04-07")),
        Wanted::new("acme", "daily", None, day("Asia/Kathmandu", "2024-11-05")),
        Wanted::new("acme", "daily", None, day("America/St_Johns", "2024-11-04")),
        Wanted::new("quiet", "daily", None, day("UTC", "2024-11-04")),
        Wanted::new(
            "bolt",
            "organization",
            None,
            Span::days("Pacific/Apia", "day", "2024-02-20", "2024-11-04"),
        ),
        Wanted::new("acme", "application", Some("shop"), day("Europe/Paris", "2024-03-31")),
        Wanted::new(
            "acme",
            "application",
            Some("mall"),
            Span::days("UTC", "day", "2024-11-01", "2024-11-04"),
        ),
        Wanted::new(
            "bolt",
            "application",
            Some("lonely"),
            Span::days("UTC", "day", "2024-02-10", "2024-11-04"),
        ),
    ];
    for _ in 0..count {
        let of = random.choose(&["acme", "acme", "bolt", "quiet"]);
        let width = random.choose(&["day", "week"]);
        let span = questions::span_of(random, width);
        all.push(match random.below(3) {
            0 => {
                let span = questions::span_of(random, "hour");
                let Edge::Day(first) = span.start else { continue };
                Wanted::new(
                    of,
                    "daily",
                    None,
                    Span { start: Edge::Day(first), end: Edge::Day(first), ..span },
                )
            }
            1 => Wanted::new(of, "organization", None, span),
            _ => {
                let app = random.choose(&["shop", "blog", "mall", "slow", "pulse", "lonely", "nothing"]);
                Wanted::new(of, "application", Some(app), span)
            }
        });
    }
    all
}

#[test]
fn numbers_of_kept_reports_are_what_loops_over_the_records_say() {
    let mut organizations = golden(random::seed());
    more_pages(&mut organizations[0]);
    let mut random = Random(random::seed() ^ 0x5707);
    let all = wanted(&mut random, random::questions(24));
    for merged in [false, true] {
        let mut bed = Bed::full(Config::default(), &organizations);
        bed.audit("acme", AUDIT);
        if merged {
            bed.merge();
            bed.world.restart();
        }
        // Each once: what was asked for before is there, and no longer made.
        let (mut out, mut seen) = (Vec::new(), BTreeSet::new());
        for wanted in all.iter().filter(|wanted| seen.insert((wanted.of, wanted.body().to_string()))) {
            let wrong = wrong(&bed, wanted, &organizations);
            if !wrong.is_empty() {
                out.push(format!(
                    "{wanted:?}: {} differences: {:#?}",
                    wrong.len(),
                    &wrong[..wrong.len().min(6)]
                ));
            }
        }
        let shown = out.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
        assert!(out.is_empty(), "seed {}, merged {merged}: {} are wrong\n{shown}", random::seed(), out.len());
    }
}

/// Views of more pages than a list has rows, on a Sunday that has few others.
fn more_pages(of: &mut Organization) {
    let template = of.events.iter().find(|event| event.event_type == "page_view").unwrap().clone();
    for number in 0..130_i64 {
        let mut event = template.clone();
        event.single = None;
        event.user = Some("reader".to_owned());
        event.session = None;
        event.at = at("2024-03-31T09:00:00Z") + number * super::data::SECOND;
        event.data = json!({"page": format!("/page/{number}")});
        of.events.push(event);
    }
}
