//! `user_activity` over HTTP against loops over plain events, in time zones with changing clocks.

#![expect(clippy::cast_precision_loss, reason = "counts and microseconds of tests are small")]

use std::collections::{BTreeMap, BTreeSet};

use axum::http::{Method, StatusCode};
use insights_engine::time::{TimeRange, TimestampUs};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::testing::{ROOT, TestApp};

const MINUTE: i64 = 60_000_000;
const PAGE_VIEWS: [&str; 4] = ["page_view", "page.viewed", "pageview", "$pageview"];

/// An event as a client would describe it.
#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "the names of the wire")]
struct Event {
    at: i64,
    event_type: &'static str,
    user: Option<&'static str>,
    visitor: Option<&'static str>,
    session: Option<&'static str>,
    page: Option<&'static str>,
    feature: Option<&'static str>,
    interactive: Option<bool>,
}

impl Event {
    fn json(&self) -> Value {
        json!({
            "event_type": self.event_type, "user_id": self.user, "anonymous_id": self.visitor, "session_id": self.session,
            "timestamp": Timestamp::from_microsecond(self.at).unwrap().to_string(),
            "event_data": self.data(),
        })
    }

    fn data(&self) -> Value {
        let mut data = json!({});
        for (name, text) in [("url", self.page), ("feature", self.feature)] {
            if let Some(text) = text {
                data[name] = json!(text);
            }
        }
        if let Some(interactive) = self.interactive {
            data["interactive"] = json!(interactive);
        }
        data
    }

    fn is_page_view(&self) -> bool {
        PAGE_VIEWS.contains(&self.event_type)
    }

    fn is_action(&self) -> bool {
        !self.is_page_view() && self.interactive != Some(false)
    }

    fn identity(&self) -> Option<&'static str> {
        self.user.or(self.visitor).or(self.session)
    }

    fn feature(&self) -> Option<&'static str> {
        self.feature.or(self.is_action().then_some(self.event_type))
    }
}

/// The local start of the hour, day or month of an instant: by the calendar alone.
fn bucket_of(at: i64, zone: &TimeZone, group_by: &str) -> i64 {
    let zoned = Timestamp::from_microsecond(at).unwrap().to_zoned_datetime(zone.clone());
    let start = match group_by {
        // Back by what the local clock shows past the hour.
        "hour" => {
            let past = i64::from(zoned.minute()) * 60 + i64::from(zoned.second());
            let whole = Timestamp::from_second(zoned.timestamp().as_second() - past).unwrap();
            return whole.as_microsecond();
        }
        "day" => zoned.date(),
        "week" => {
            zoned.date().checked_sub(i64::from(zoned.weekday().to_monday_zero_offset()).days()).unwrap()
        }
        _ => zoned.date().first_of_month(),
    };
    start.to_zoned_datetime(zone.clone()).unwrap().timestamp().as_microsecond()
}

/// A list of `{name: key, count, users}`, the most frequent first.
fn ranked<'a>(name: &str, events: impl Iterator<Item = (Option<&'a str>, &'a Event)>) -> Value {
    let mut counts: BTreeMap<&str, (u64, BTreeSet<&str>)> = BTreeMap::new();
    for (key, event) in events {
        if let Some(key) = key {
            let entry = counts.entry(key).or_default();
            entry.0 += 1;
            entry.1.extend(event.identity());
        }
    }
    let mut rows: Vec<_> = counts.into_iter().collect();
    rows.sort_by_key(|(key, (count, _))| (std::cmp::Reverse(*count), *key));
    rows.into_iter()
        .map(|(key, (count, users))| json!({name: key, "count": count, "users": users.len()}))
        .collect()
}

/// Chains of the events of each session, or person, with gaps under half an hour.
fn chains(events: &[Event]) -> Vec<Vec<&Event>> {
    let mut keys: BTreeMap<(bool, &str), Vec<&Event>> = BTreeMap::new();
    for event in events {
        let key = event.session.map(|s| (true, s)).or(event.user.or(event.visitor).map(|p| (false, p)));
        if let Some(key) = key {
            keys.entry(key).or_default().push(event);
        }
    }
    let mut out: Vec<Vec<&Event>> = Vec::new();
    for mut events in keys.into_values() {
        events.sort_by_key(|e| e.at);
        for (index, event) in events.iter().enumerate() {
            if index == 0 || event.at - events[index - 1].at >= 30 * MINUTE {
                out.push(Vec::new());
            }
            out.last_mut().unwrap().push(event);
        }
    }
    out
}

/// The numbers of a range of instants.
fn numbers(events: &[Event], chains: &[Vec<&Event>], range: TimeRange) -> Value {
    let inside = |at: i64| range.contains(TimestampUs(at));
    let some: Vec<&Event> = events.iter().filter(|e| inside(e.at)).collect();
    let duration = |chain: &[&Event]| (chain[chain.len() - 1].at - chain[0].at).min(24 * 60 * MINUTE);
    let started: Vec<i64> = chains.iter().filter(|c| inside(c[0].at)).map(|c| duration(c)).collect();
    let overlap =
        |c: &Vec<&Event>| ((c[0].at + duration(c)).min(range.end.0) - c[0].at.max(range.start.0)).max(0);
    let average =
        (!started.is_empty()).then(|| started.iter().sum::<i64>() as f64 / started.len() as f64 / 1e6);
    json!({
        "events": some.len(),
        "active_users": some.iter().filter_map(|e| e.identity()).collect::<BTreeSet<_>>().len(),
        "sessions": started.len(),
        "active_sessions": chains.iter().filter(|c| c.iter().any(|e| inside(e.at))).count(),
        "avg_session_duration_s": average,
        "pages_visited": some.iter().filter(|e| e.is_page_view()).count(),
        "actions_performed": some.iter().filter(|e| e.is_action()).count(),
        "time_on_platform_s": chains.iter().map(overlap).sum::<i64>() as f64 / 1e6,
    })
}

fn any_event(from: i64) -> impl Strategy<Value = Event> {
    let minute = prop_oneof![2 => 0_i64..5_760, 1 => 1_400_i64..1_500];
    let event_type = prop_oneof![
        Just("click"),
        Just("page_view"),
        Just("$pageview"),
        Just("login"),
        Just("pageview"),
        Just("save")
    ];
    let some = |texts: &'static [&'static str]| proptest::option::of(proptest::sample::select(texts));
    let who = (some(&["u1", "u2", "u3"]), some(&["v1", "v2"]), some(&["s1", "s2"]));
    let data = (some(&["/a", "/b"]), some(&["f1", "f2", "click"]), proptest::option::of(any::<bool>()));
    (minute, event_type, who, data).prop_map(move |(minute, event_type, who, data)| Event {
        at: from + minute * MINUTE,
        event_type,
        user: who.0,
        visitor: who.1,
        session: who.2,
        page: data.0,
        feature: data.1,
        interactive: data.2,
    })
}

/// Whether two JSON values are equal, numbers up to rounding.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-6 * a.abs().max(1.0),
        _ => a == b,
    }
}

/// A question: two days of four, in a zone, by a width.
type Question = (&'static str, &'static str, &'static str);

async fn check(app: &TestApp, organization: &str, question: Question, events: &[Event]) {
    let (zone_name, group_by, first) = question;
    let body: Vec<Value> = events.iter().map(Event::json).collect();
    let path = "/api/insights/import/?stream=events";
    let key = app.key(organization, &["read", "admin"]).await;
    let kept = app.call(Method::POST, path, &key, &json!(body)).await;
    assert_eq!((kept.status, kept.json()["accepted"].clone()), (StatusCode::ACCEPTED, json!(events.len())));

    let zone = TimeZone::get(zone_name).unwrap();
    let first: jiff::civil::Date = first.parse().unwrap();
    let midnight = |days: i64| {
        let date = first.checked_add(days.days()).unwrap();
        TimestampUs(date.to_zoned_datetime(zone.clone()).unwrap().timestamp().as_microsecond())
    };
    let range = TimeRange { start: midnight(0), end: midnight(2) };
    let body = json!({"organization_id": organization, "start_date": first.to_string(), "metrics": ["user_activity"],
        "end_date": first.tomorrow().unwrap().to_string(), "group_by": group_by, "timezone": zone_name});
    let answer = app.call(Method::POST, "/api/insights/analytics/", ROOT, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    let family = &answer.json()["metrics"]["user_activity"];

    let chains = chains(events);
    let summary = numbers(events, &chains, range);
    for name in
        ["events", "active_users", "sessions", "pages_visited", "actions_performed", "time_on_platform_s"]
    {
        assert!(same(&family["summary"][name], &summary[name]), "{name}: {} {}", family["summary"], summary);
    }
    assert!(same(&family["summary"]["session_duration"]["avg_s"], &summary["avg_session_duration_s"]));
    let inside: Vec<&Event> = events.iter().filter(|e| range.contains(TimestampUs(e.at))).collect();
    let views = inside.iter().filter(|e| e.is_page_view());
    assert_eq!(family["event_types"], ranked("event_type", inside.iter().map(|e| (Some(e.event_type), *e))));
    assert_eq!(family["pages"], ranked("page", views.map(|e| (e.page, *e))));
    let features = ranked("feature", inside.iter().map(|e| (e.feature(), *e)));
    assert_eq!(family["features"], features);
    assert_eq!(family["summary"]["features_used"], features.as_array().unwrap().len());

    // Each bucket holds the instants of one local hour, day, week or month, cut to the window.
    let mut starts: Vec<i64> = vec![range.start.0];
    let mut minute = range.start.0;
    while minute < range.end.0 {
        if bucket_of(minute, &zone, group_by) != bucket_of(*starts.last().unwrap(), &zone, group_by) {
            starts.push(minute);
        }
        minute += MINUTE;
    }
    let series = family["series"].as_array().unwrap();
    assert_eq!(series.len(), starts.len());
    for (index, row) in series.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(range.end.0);
        let cut = TimeRange { start: TimestampUs(starts[index]), end: TimestampUs(end) };
        let key: Timestamp = row["bucket"].as_str().unwrap().parse().unwrap();
        assert_eq!(key.as_microsecond(), bucket_of(starts[index], &zone, group_by));
        for (name, expected) in numbers(events, &chains, cut).as_object().unwrap() {
            assert!(same(&row[name], expected), "{name} of {row}: {expected}");
        }
    }
}

/// One store, an organization for each case; what is in memory and what is flushed take turns.
#[test]
fn user_activity_agrees_with_loops_over_plain_events() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let app = TestApp::new();
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let cases = std::cell::Cell::new(0_u32);
    for question in [
        ("UTC", "day", "2023-11-04"),
        ("America/New_York", "hour", "2023-11-04"),
        ("Europe/Paris", "day", "2023-10-28"),
        ("Asia/Kathmandu", "hour", "2023-11-04"),
        ("Australia/Lord_Howe", "week", "2023-09-30"),
        ("America/Sao_Paulo", "month", "2023-10-31"),
    ] {
        let from: Timestamp = format!("{}T00:00:00Z", question.2).parse().unwrap();
        let events = proptest::collection::vec(any_event(from.as_microsecond() - 1_440 * MINUTE), 1..150);
        runner
            .run(&events, |events| {
                let case = cases.get() + 1;
                cases.set(case);
                runtime.block_on(check(&app, &format!("org-{case}"), question, &events));
                if case.is_multiple_of(3) {
                    app.flush();
                }
                Ok(())
            })
            .unwrap();
    }
}
