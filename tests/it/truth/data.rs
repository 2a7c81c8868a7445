//! What is sent: events and metric points as their client knows them.

use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// The moment of every question: a Tuesday, between two seconds of nothing.
pub(crate) const NOW: &str = "2024-11-05T13:37:21Z";

/// Microseconds of an instant in RFC 3339.
pub(crate) fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_microsecond()
}

/// RFC 3339 of an instant.
pub(crate) fn text(at: i64) -> String {
    Timestamp::from_microsecond(at).unwrap().to_string()
}

/// An event.
#[expect(clippy::struct_field_names, reason = "the field's name on the wire")]
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) at: i64,
    pub(crate) event_type: &'static str,
    pub(crate) user: Option<String>,
    pub(crate) visitor: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) app: Option<&'static str>,
    pub(crate) data: Value,
    pub(crate) single: Option<Single>,
}

/// An event that is sent alone: the answer names its session, and the client hands that name back with what
/// follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Single {
    /// Of which visit it is.
    pub(crate) visit: i64,
    /// Whether it is the first one, so that there is no name yet.
    pub(crate) first: bool,
}

/// What stands for the name that the server gives to the session of a visit of nobody.
pub(crate) fn nobody(visit: i64) -> String {
    format!("s_nobody.{visit}")
}

impl Event {
    pub(crate) fn json(&self) -> Value {
        // Who is nobody is told apart by the connection.
        let address = self.single.map(|single| format!("10.0.{}.{}", single.visit / 250, single.visit % 250));
        json!({"event_type": self.event_type, "user_id": self.user, "anonymous_id": self.visitor, "session_id": self.session,
            "app_id": self.app, "timestamp": text(self.at), "event_data": self.data, "ip_address": address})
    }
}

/// A metric point.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) at: i64,
    /// As it is sent; `response_time` is kept as `response.time`.
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) app: Option<&'static str>,
    pub(crate) host: Option<&'static str>,
    pub(crate) user: Option<&'static str>,
    pub(crate) labels: Vec<(&'static str, &'static str)>,
}

impl Point {
    pub(crate) fn of(at: i64, name: &'static str, value: f64) -> Self {
        Self { at, name, value, app: None, host: None, user: None, labels: Vec::new() }
    }

    pub(crate) fn json(&self) -> Value {
        let labels: serde_json::Map<String, Value> =
            self.labels.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({"name": self.name, "value": self.value, "app_id": self.app, "host": self.host, "user_id": self.user,
            "labels": labels, "timestamp": text(self.at)})
    }

    /// The one spelling of its name.
    pub(crate) fn metric(&self) -> &'static str {
        if self.name == "response_time" { "response.time" } else { self.name }
    }
}
