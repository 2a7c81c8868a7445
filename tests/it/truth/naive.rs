//! The numbers of the reports by plain loops, as they are defined.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use super::data::{DAY, Event, MINUTE, Point};

/// A half-open range of instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Range {
    fn has(self, at: i64) -> bool {
        self.start <= at && at < self.end
    }
}

/// One bucket: its natural start, and what of it lies in the window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    pub(crate) start: i64,
    pub(crate) cut: Range,
    pub(crate) partial: bool,
}

fn midnight(date: Date, zone: &TimeZone) -> i64 {
    date.to_zoned_datetime(zone.clone()).unwrap().timestamp().as_microsecond()
}

/// The instants of whole local days.
pub(crate) fn window(first: Date, last: Date, zone: &TimeZone) -> Range {
    Range { start: midnight(first, zone), end: midnight(last.tomorrow().unwrap(), zone) }
}

/// The buckets of a window, in zones whose clocks do not change in it.
pub(crate) fn buckets(window: Range, zone: &TimeZone, group_by: &str) -> Vec<Bucket> {
    let local = |at: i64| Timestamp::from_microsecond(at).unwrap().to_zoned_datetime(zone.clone());
    let monday =
        |date: Date| date.checked_sub(i64::from(date.weekday().to_monday_zero_offset()).days()).unwrap();
    let mut all = Vec::new();
    let mut at = window.start;
    while at < window.end {
        let date = local(at).date();
        let (start, end) = match group_by {
            "hour" => (at, at + 60 * MINUTE),
            "day" => (midnight(date, zone), midnight(date.tomorrow().unwrap(), zone)),
            "week" => {
                (midnight(monday(date), zone), midnight(monday(date).checked_add(7.days()).unwrap(), zone))
            }
            _ => {
                let first = date.first_of_month();
                (midnight(first, zone), midnight(first.checked_add(1.month()).unwrap(), zone))
            }
        };
        let cut = Range { start: start.max(window.start), end: end.min(window.end) };
        all.push(Bucket { start, cut, partial: cut != Range { start, end } });
        at = end;
    }
    all
}

fn is_view(event: &Event) -> bool {
    ["page_view", "page.viewed", "pageview", "$pageview"].contains(&event.event_type)
}

fn is_action(event: &Event) -> bool {
    !is_view(event) && event.interactive != Some(false)
}

fn identity(event: &Event) -> Option<&str> {
    event.user.as_deref().or(event.visitor.as_deref()).or(event.session.as_deref())
}

fn feature(event: &Event) -> Option<&'static str> {
    event.feature.or(is_action(event).then_some(event.event_type))
}

/// A chain of events.
#[derive(Debug)]
struct Session<'a> {
    events: Vec<&'a Event>,
}

impl Session<'_> {
    fn start(&self) -> i64 {
        self.events[0].at
    }

    fn duration(&self) -> i64 {
        (self.events[self.events.len() - 1].at - self.start()).min(DAY)
    }

    fn is_bounce(&self) -> bool {
        self.events.iter().filter(|event| is_view(event) || is_action(event)).count() == 1
    }

    fn overlap(&self, range: Range) -> i64 {
        ((self.start() + self.duration()).min(range.end) - self.start().max(range.start)).max(0)
    }
}

/// Cuts the events of each client's session, or person, where a gap is half an hour or more.
fn sessions<'a>(events: &[&'a Event]) -> Vec<Session<'a>> {
    let mut keys: BTreeMap<(bool, &str), Vec<&Event>> = BTreeMap::new();
    for event in events {
        let person = event.user.as_deref().or(event.visitor.as_deref()).map(|person| (false, person));
        if let Some(key) = event.session.as_deref().map(|session| (true, session)).or(person) {
            keys.entry(key).or_default().push(event);
        }
    }
    let mut all: Vec<Session<'_>> = Vec::new();
    for mut events in keys.into_values() {
        events.sort_by_key(|event| event.at);
        for (index, event) in events.iter().enumerate() {
            if index == 0 || event.at - events[index - 1].at >= 30 * MINUTE {
                all.push(Session { events: Vec::new() });
            }
            all.last_mut().unwrap().events.push(event);
        }
    }
    all
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The quantile between the two nearest values.
pub(crate) fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = q * (sorted.len().checked_sub(1)?) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(low + (high - low) * place.fract())
}

fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

fn ranked<'a>(name: &str, events: impl Iterator<Item = (Option<&'a str>, &'a Event)>) -> Value {
    let mut rows: BTreeMap<&str, (u64, BTreeSet<&str>)> = BTreeMap::new();
    for (key, event) in events {
        if let Some(key) = key {
            let row = rows.entry(key).or_default();
            row.0 += 1;
            row.1.extend(identity(event));
        }
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(|(key, (count, _))| (std::cmp::Reverse(*count), *key));
    rows.into_iter()
        .map(|(key, (count, users))| json!({name: key, "count": count, "users": users.len()}))
        .collect()
}

/// The family `user_activity` of the events that `app` selects.
pub(crate) fn user_activity(events: &[Event], app: Option<&str>, window: Range, buckets: &[Bucket]) -> Value {
    let selected: Vec<&Event> = events.iter().filter(|event| app.is_none() || event.app == app).collect();
    let sessions = sessions(&selected);
    let row = |range: Range| {
        let some: Vec<&&Event> = selected.iter().filter(|event| range.has(event.at)).collect();
        let begun: Vec<f64> =
            sessions.iter().filter(|s| range.has(s.start())).map(|s| seconds(s.duration())).collect();
        json!({
            "events": some.len(),
            "active_users": some.iter().filter_map(|event| identity(event)).collect::<BTreeSet<_>>().len(),
            "sessions": begun.len(),
            "active_sessions": sessions.iter().filter(|s| s.events.iter().any(|event| range.has(event.at))).count(),
            "avg_session_duration_s": mean(&begun),
            "pages_visited": some.iter().filter(|event| is_view(event)).count(),
            "actions_performed": some.iter().filter(|event| is_action(event)).count(),
            "time_on_platform_s": seconds(sessions.iter().map(|s| s.overlap(range)).sum()),
        })
    };
    let inside: Vec<&Event> = selected.iter().copied().filter(|event| window.has(event.at)).collect();
    let begun: Vec<&Session<'_>> = sessions.iter().filter(|s| window.has(s.start())).collect();
    let durations: Vec<f64> = begun.iter().map(|s| seconds(s.duration())).collect();
    let bounces: Vec<f64> = begun.iter().map(|s| f64::from(s.is_bounce())).collect();
    let features = ranked("feature", inside.iter().map(|event| (feature(event), *event)));
    let mut summary = row(window);
    let members = summary.as_object_mut().unwrap();
    members.retain(|name, _| name != "active_sessions" && name != "avg_session_duration_s");
    members.insert(
        "session_duration".into(),
        json!({"avg_s": mean(&durations), "median_s": quantile(&durations, 0.5)}),
    );
    members.insert("bounce_rate".into(), json!(mean(&bounces)));
    members.insert("features_used".into(), json!(features.as_array().unwrap().len()));
    json!({
        "summary": summary,
        "event_types": ranked("event_type", inside.iter().map(|event| (Some(event.event_type), *event))),
        "pages": ranked("page", inside.iter().filter(|event| is_view(event)).map(|event| (event.page, *event))),
        "features": features,
        "series": buckets.iter().map(|bucket| in_bucket(*bucket, row(bucket.cut))).collect::<Value>(),
    })
}

/// A row with the start of its bucket.
fn in_bucket(bucket: Bucket, mut row: Value) -> Value {
    row["bucket"] = json!(bucket.start);
    row["partial"] = json!(bucket.partial);
    row
}

/// The values of a metric in a range.
fn values(points: &[Point], name: &str, app: Option<&str>, range: Range) -> Vec<f64> {
    let of = points.iter().filter(|point| point.name == name && range.has(point.at));
    of.filter(|point| app.is_none() || point.app == app).map(|point| point.value).collect()
}

fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

fn distribution(values: &[f64], quantiles: &[(&str, f64)]) -> Value {
    let mut all = json!({"count": values.len(), "avg": mean(values), "min": values.iter().copied().reduce(f64::min), "max": values.iter().copied().reduce(f64::max)});
    for (name, q) in quantiles {
        all[*name] = json!(quantile(values, *q));
    }
    all
}

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)];

/// What is known of an application, minute by minute: up, or down.
fn states(points: &[Point], app: &str, range: Range) -> Vec<Option<bool>> {
    let mut probes: Vec<(i64, bool)> = points
        .iter()
        .filter(|point| point.name == "uptime" && point.app == Some(app))
        .map(|point| (point.at, point.value >= 0.5))
        .collect();
    probes.sort_unstable();
    // Down is a failure beside another one; alone it is none.
    let is_down = |index: usize| {
        let fails = |index: Option<usize>| index.and_then(|i| probes.get(i)).is_some_and(|(_, up)| !up);
        fails(Some(index)) && (fails(index.checked_sub(1)) || fails(Some(index + 1)))
    };
    let state = |minute: i64| {
        let last = probes.partition_point(|(at, _)| *at <= minute).checked_sub(1)?;
        (minute - probes[last].0 < 10 * MINUTE).then(|| !is_down(last))
    };
    (0..(range.end - range.start) / MINUTE).map(|minute| state(range.start + minute * MINUTE)).collect()
}

/// Minutes up and minutes down.
fn account(states: &[Option<bool>]) -> (f64, f64) {
    let count = |wanted| states.iter().filter(|state| **state == Some(wanted)).count() as f64;
    (count(true), count(false))
}

fn uptime(accounts: &[(f64, f64)], requests: f64, errors: f64) -> Option<f64> {
    let (up, down) = accounts.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    ratio(up, up + down).or_else(|| ratio(errors, requests).map(|rate| 1.0 - rate))
}

fn app_numbers(points: &[Point], app: Option<&str>, range: Range) -> Value {
    let sum = |name: &str| values(points, name, app, range).iter().sum::<f64>();
    let (requests, errors) = (sum("requests.count"), sum("errors.count"));
    let apps: Vec<&str> = app.map_or_else(|| vec!["shop", "blog"], |app| vec![app]);
    let accounts: Vec<(f64, f64)> = apps.iter().map(|app| account(&states(points, app, range))).collect();
    json!({"requests": requests, "errors": errors, "error_rate": ratio(errors, requests), "uptime": uptime(&accounts, requests, errors),
        "response_time": distribution(&values(points, "response_time", app, range), &QUANTILES)})
}

/// The family `app_metrics`.
pub(crate) fn app_metrics(points: &[Point], window: Range, buckets: &[Bucket]) -> Value {
    let mut apps: Vec<Value> = ["blog", "shop"]
        .iter()
        .map(|app| {
            let mut row = app_numbers(points, Some(app), window);
            row["app_id"] = json!(app);
            row
        })
        .collect();
    apps.sort_by(|a, b| b["requests"].as_f64().unwrap().total_cmp(&a["requests"].as_f64().unwrap()));
    let row = |bucket: &Bucket| {
        let mut row = app_numbers(points, None, bucket.cut);
        row.as_object_mut().unwrap().remove("uptime");
        row["response_time"] =
            json!({"avg": row["response_time"]["avg"], "p95": row["response_time"]["p95"]});
        in_bucket(*bucket, row)
    };
    json!({"summary": app_numbers(points, None, window), "apps": apps, "series": buckets.iter().map(row).collect::<Value>()})
}

/// The family `system_performance`, of the metrics that the data has.
pub(crate) fn system_performance(points: &[Point], window: Range, buckets: &[Bucket]) -> Value {
    let summary = |name: &str| {
        let values = values(points, name, None, window);
        let mut all = distribution(&values, &[("p50", 0.5), ("p95", 0.95), ("p99", 0.99)]);
        let of = points.iter().filter(|point| point.name == name && window.has(point.at));
        all["last"] = json!(of.max_by_key(|point| point.at).map(|point| point.value));
        if name == "network.in" {
            all["sum"] = json!(values.iter().sum::<f64>());
        }
        all
    };
    let row = |bucket: &Bucket| {
        let of = |name: &str| {
            let values = values(points, name, None, bucket.cut);
            json!({"avg": mean(&values), "max": values.iter().copied().reduce(f64::max), "p95": quantile(&values, 0.95)})
        };
        in_bucket(*bucket, json!({"cpu.usage": of("cpu.usage")}))
    };
    json!({"scope": "organization", "summary": {"cpu.usage": summary("cpu.usage"), "network.in": summary("network.in")},
        "series": buckets.iter().map(row).collect::<Value>()})
}

/// The performance report of an application, Apdex at 500 ms.
pub(crate) fn performance(points: &[Point], app: &str, window: Range, buckets: &[Bucket]) -> Value {
    let times = values(points, "response_time", Some(app), window);
    let within = |ms: f64| times.iter().filter(|time| **time <= ms).count() as f64;
    let score = ratio(f64::midpoint(within(500.0), within(2_000.0)), times.len() as f64);
    let mut response_time = distribution(&times, &QUANTILES);
    response_time["unit"] = json!("ms");
    response_time["apdex"] =
        json!({"t_ms": 500, "score": score.map(|score| (score * 100.0).round() / 100.0)});
    response_time["series"] = buckets
        .iter()
        .map(|bucket| {
            let some = values(points, "response_time", Some(app), bucket.cut);
            let row = json!({"count": some.len(), "avg": mean(&some), "p50": quantile(&some, 0.5), "p95": quantile(&some, 0.95), "p99": quantile(&some, 0.99)});
            in_bucket(*bucket, row)
        })
        .collect();
    let rate = |range: Range| {
        let sum = |name: &str| values(points, name, Some(app), range).iter().sum::<f64>();
        let (requests, errors) = (sum("requests.count"), sum("errors.count"));
        json!({"requests": requests, "errors": errors, "rate": ratio(errors, requests)})
    };
    let mut error_rate = rate(window);
    error_rate["series"] = buckets.iter().map(|bucket| in_bucket(*bucket, rate(bucket.cut))).collect();
    json!({"response_time": response_time, "error_rate": error_rate, "uptime": probed(points, app, window, buckets)})
}

/// Uptime by probes.
fn probed(points: &[Point], app: &str, window: Range, buckets: &[Bucket]) -> Value {
    let states = states(points, app, window);
    let (up, down) = account(&states);
    let mut incidents = Vec::new();
    let mut began = None;
    for (minute, state) in states.iter().chain([&None]).enumerate() {
        let at = window.start + minute as i64 * MINUTE;
        match (began, *state == Some(false)) {
            (None, true) => began = Some(at),
            (Some(start), false) => {
                incidents.push(json!({"start": start, "end": at, "duration_s": seconds(at - start)}));
                began = None;
            }
            _ => {}
        }
    }
    let row = |bucket: &Bucket| {
        let (up, down) = account(&self::states(points, app, bucket.cut));
        in_bucket(*bucket, json!({"ratio": ratio(up, up + down)}))
    };
    json!({"ratio": ratio(up, up + down), "percent": ratio(up, up + down).map(|ratio| ratio * 100.0), "basis": "probe",
        "coverage": (up + down) / states.len() as f64, "down_s": down * 60.0, "maintenance_s": 0, "incidents": incidents,
        "series": buckets.iter().map(row).collect::<Value>()})
}
