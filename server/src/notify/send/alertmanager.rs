//! The body of `POST /api/v2/alerts` of Alertmanager.
//!
//! What fires ends by itself a few minutes later unless it is said again, so that a server that is gone does not leave
//! alerts behind; what is over has its end. Alertmanager puts alerts with the same labels together.

use std::collections::BTreeMap;
use std::time::Duration;

use insights_engine::time::TimestampUs;
use serde::Serialize;

use crate::domain::instant::Rfc3339;
use crate::notify::message::{AlertNotice, AlertStatus, Message};
use crate::notify::outbox::turn::SAID_AGAIN_EVERY;

/// How long what fires lasts without being said again: three attempts may fail.
const LASTS: Duration = SAID_AGAIN_EVERY.saturating_mul(4);

#[derive(Debug, Serialize)]
struct PostableAlert<'a> {
    labels: BTreeMap<String, &'a str>,
    annotations: BTreeMap<String, &'a str>,
    #[serde(rename = "startsAt")]
    starts_at: Rfc3339,
    #[serde(rename = "endsAt")]
    ends_at: Rfc3339,
}

/// The body of a message that is sent at `now`.
pub fn body(message: &Message, now: TimestampUs) -> Vec<u8> {
    let alerts: Vec<_> = message.alerts.iter().map(|alert| postable(message, alert, now)).collect();
    serde_json::to_vec(&alerts).unwrap_or_default()
}

fn postable<'a>(message: &'a Message, alert: &'a AlertNotice, now: TimestampUs) -> PostableAlert<'a> {
    // What tells alerts apart is in these: two organizations never share one.
    let own = [
        ("alertname", alert.name.as_str()),
        ("organization", message.organization.as_str()),
        ("rule_id", alert.rule_id.as_str()),
        ("severity", alert.severity.name()),
    ];
    let mut labels: BTreeMap<String, &str> = named(&alert.labels);
    labels.extend(own.into_iter().map(|(name, value)| (name.to_owned(), value)));
    let lasts_us = i64::try_from(LASTS.as_micros()).unwrap_or(i64::MAX);
    let ends_at = match alert.status {
        AlertStatus::Firing => TimestampUs(now.0.saturating_add(lasts_us)),
        AlertStatus::Resolved => alert.ends_at.unwrap_or(now),
    };
    PostableAlert {
        labels,
        annotations: named(&alert.annotations),
        starts_at: Rfc3339(alert.starts_at),
        ends_at: Rfc3339(ends_at),
    }
}

/// Labels under names that every version of Alertmanager takes; an empty value is no label.
fn named(labels: &BTreeMap<String, String>) -> BTreeMap<String, &str> {
    let with_value = labels.iter().filter(|(_, value)| !value.is_empty());
    with_value.map(|(name, value)| (label_name(name), value.as_str())).collect()
}

/// A name of letters, digits and `_` that does not start with a digit.
fn label_name(name: &str) -> String {
    let digit = name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty();
    let start = if digit { "_" } else { "" };
    let rest = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' });
    start.chars().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::notify::message::tests::message;

    #[test]
    fn what_fires_ends_by_itself_and_what_is_over_has_its_end() {
        let mut told = message("shop", TimestampUs(1_000_000));
        let mut over = told.alerts[0].clone();
        over.labels = [("http.route", "/a"), ("9", "x"), ("empty", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        (over.status, over.ends_at) = (AlertStatus::Resolved, Some(TimestampUs(5_000_000)));
        told.alerts.push(over);
        let now = TimestampUs(10_000_000);
        let expected = json!([
            {
                "labels": {"alertname": "Errors of the shop", "app": "shop", "organization": "acme",
                           "rule_id": "rule-1", "severity": "critical"},
                "annotations": {"summary": "12 % of requests fail"},
                "startsAt": "1970-01-01T00:00:01Z", "endsAt": "1970-01-01T00:04:10Z",
            },
            {
                "labels": {"_9": "x", "alertname": "Errors of the shop", "http_route": "/a", "organization": "acme",
                           "rule_id": "rule-1", "severity": "critical"},
                "annotations": {"summary": "12 % of requests fail"},
                "startsAt": "1970-01-01T00:00:01Z", "endsAt": "1970-01-01T00:00:05Z",
            },
        ]);
        assert_eq!(serde_json::from_slice::<Value>(&body(&told, now)).unwrap(), expected);
    }
}
