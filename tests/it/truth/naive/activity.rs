//! `user_activity`: events, identities, sessions, pages, features.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::calendar::{Range, Span, in_bucket};
use super::super::data::{DAY, Event, MINUTE};
use super::{mean, ratio, seconds, shown_quantile};

/// What is asked of the family.
#[derive(Debug, Clone, Default)]
pub(crate) struct Activity {
    pub(crate) app: Option<&'static str>,
    pub(crate) filters: Option<Value>,
    pub(crate) breakdown: Option<&'static str>,
    pub(crate) exact: bool,
}

/// Most keys of a breakdown that have a name.
const KEYS: usize = 50;

pub(super) fn is_view(event: &Event) -> bool {
    ["page_view", "page.viewed", "pageview", "$pageview"].contains(&event.event_type)
}

pub(super) fn is_action(event: &Event) -> bool {
    !is_view(event) && event.data.get("interactive") != Some(&json!(false))
}

fn identity(event: &Event) -> Option<&str> {
    event.user.as_deref().or(event.visitor.as_deref()).or(event.session.as_deref())
}

fn page(event: &Event) -> Option<String> {
    let mut of = ["page", "path", "url"].iter().filter_map(|name| event.data.get(*name)?.as_str());
    is_view(event).then(|| of.next().map(str::to_owned)).flatten()
}

fn feature(event: &Event) -> Option<String> {
    let named = event.data.get("feature").and_then(Value::as_str);
    named.or(is_action(event).then_some(event.event_type)).map(str::to_owned)
}

/// A chain of events.
#[derive(Debug)]
pub(super) struct Session<'a> {
    events: Vec<&'a Event>,
}

impl Session<'_> {
    pub(super) fn start(&self) -> i64 {
        self.events[0].at
    }

    pub(super) fn duration(&self) -> i64 {
        (self.events[self.events.len() - 1].at - self.start()).min(DAY)
    }

    fn is_bounce(&self) -> bool {
        self.events.iter().filter(|event| is_view(event) || is_action(event)).count() == 1
    }

    fn overlap(&self, range: Range) -> i64 {
        Range { start: self.start(), end: self.start() + self.duration() }.common(range).len()
    }
}

/// Cuts the events of each client's session, or person, where a gap is half an hour or more.
pub(super) fn sessions<'a>(events: &[&'a Event]) -> Vec<Session<'a>> {
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

/// The events that take part.
pub(super) fn selected<'a>(
    events: &'a [Event],
    app: Option<&str>,
    filters: Option<&Value>,
) -> Vec<&'a Event> {
    let of_app = events.iter().filter(|event| app.is_none() || event.app == app);
    of_app.filter(|event| filters.is_none_or(|filters| event.passes(filters))).collect()
}

/// Rows of a key, its events and its users, the most frequent first.
fn ranked<'a>(name: &str, events: impl Iterator<Item = (Option<String>, &'a Event)>) -> Value {
    let mut rows: BTreeMap<String, (u64, BTreeSet<&str>)> = BTreeMap::new();
    for (key, event) in events {
        if let Some(key) = key {
            let row = rows.entry(key).or_default();
            row.0 += 1;
            row.1.extend(identity(event));
        }
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    rows.into_iter()
        .map(|(key, (count, users))| json!({name: key, "count": count, "users": users.len()}))
        .collect()
}

/// The numbers of a range that the summary and a bucket have in common.
fn numbers(events: &[&Event], sessions: &[Session<'_>], range: Range) -> Value {
    let some: Vec<&&Event> = events.iter().filter(|event| range.has(event.at)).collect();
    json!({
        "events": some.len(),
        "active_users": some.iter().filter_map(|event| identity(event)).collect::<BTreeSet<_>>().len(),
        "sessions": sessions.iter().filter(|session| range.has(session.start())).count(),
        "pages_visited": some.iter().filter(|event| is_view(event)).count(),
        "actions_performed": some.iter().filter(|event| is_action(event)).count(),
        "time_on_platform_s": seconds(sessions.iter().map(|session| session.overlap(range)).sum()),
    })
}

/// How long the sessions lasted that began in a range.
fn durations(sessions: &[Session<'_>], range: Range) -> Vec<f64> {
    sessions.iter().filter(|s| range.has(s.start())).map(|s| seconds(s.duration())).collect()
}

/// The family, of the events of one organization.
pub(crate) fn user_activity(events: &[Event], asked: &Activity, span: &Span) -> Value {
    let selected = selected(events, asked.app, asked.filters.as_ref());
    let sessions = sessions(&selected);
    let window = span.range();
    let inside: Vec<&Event> = selected.iter().copied().filter(|event| window.has(event.at)).collect();
    let keys = asked.breakdown.map(|by| frequent(by, &inside));
    let row = |range: Range| {
        let mut row = numbers(&selected, &sessions, range);
        let with_event = |session: &&Session<'_>| session.events.iter().any(|event| range.has(event.at));
        row["active_sessions"] = json!(sessions.iter().filter(with_event).count());
        row["avg_session_duration_s"] = json!(mean(&durations(&sessions, range)));
        if let (Some(by), Some((keys, more))) = (asked.breakdown, &keys) {
            row["breakdown"] =
                counted(by, keys, *more, inside.iter().copied().filter(|event| range.has(event.at)));
        }
        row
    };
    let features = ranked("feature", inside.iter().map(|event| (feature(event), *event)));
    let lasted = durations(&sessions, window);
    let bounces = sessions.iter().filter(|s| window.has(s.start()) && s.is_bounce()).count();
    let mut summary = numbers(&selected, &sessions, window);
    summary["session_duration"] =
        json!({"avg_s": mean(&lasted), "median_s": shown_quantile(&lasted, 0.5, asked.exact)});
    summary["bounce_rate"] = json!(ratio(bounces as f64, lasted.len() as f64));
    summary["features_used"] = json!(features.as_array().unwrap().len());
    json!({
        "summary": summary,
        "event_types": ranked("event_type", inside.iter().map(|event| (Some(event.event_type.to_owned()), *event))),
        "pages": ranked("page", inside.iter().map(|event| (page(event), *event))),
        "features": features,
        "series": span.buckets().iter().map(|bucket| in_bucket(span, *bucket, row(bucket.cut))).collect::<Value>(),
    })
}

/// A key of a breakdown: numbers before texts.
type Key = (Option<i64>, String);

fn key(by: &str, event: &Event) -> Option<Key> {
    let value = match by {
        "page" => return page(event).map(|page| (None, page)),
        "feature" => return feature(event).map(|feature| (None, feature)),
        field => event.field(field)?,
    };
    match value {
        Value::String(text) => Some((None, text)),
        other => Some((other.as_i64(), other.to_string())),
    }
}

/// The most frequent keys, and whether there are more.
fn frequent(by: &str, events: &[&Event]) -> (Vec<Key>, bool) {
    let mut counts: BTreeMap<Key, usize> = BTreeMap::new();
    for key in events.iter().filter_map(|event| key(by, event)) {
        *counts.entry(key).or_default() += 1;
    }
    let mut keys: Vec<(Key, usize)> = counts.into_iter().collect();
    keys.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let more = keys.len() > KEYS;
    (keys.into_iter().take(KEYS).map(|(key, _)| key).collect(), more)
}

fn counted<'a>(by: &str, keys: &[Key], more: bool, events: impl Iterator<Item = &'a Event>) -> Value {
    let found: Vec<Key> = events.filter_map(|event| key(by, event)).collect();
    let count = |of: &Key| found.iter().filter(|key| *key == of).count();
    let mut rows: Vec<Value> = keys.iter().map(|key| json!({"key": key.1, "count": count(key)})).collect();
    if more {
        let others = found.iter().filter(|key| !keys.contains(key)).count();
        rows.push(json!({"key": "__other__", "count": others}));
    }
    Value::Array(rows)
}
