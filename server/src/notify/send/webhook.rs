//! The body of a webhook: `{type, timestamp, data}` as Standard Webhooks recommends, with everything that is known.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::audit::Severity;
use crate::domain::instant::Rfc3339;
use crate::notify::channel::{Channel, ChannelId};
use crate::notify::message::{AlertNotice, AlertStatus, Lang, Message};

/// What a webhook receives.
#[derive(Debug, Serialize)]
struct Body<'a> {
    /// `alert.firing` or `alert.resolved`.
    r#type: &'static str,
    /// When it was said.
    timestamp: Rfc3339,
    data: Told<'a>,
}

#[derive(Debug, Serialize)]
struct Told<'a> {
    organization_id: &'a str,
    channel_id: &'a ChannelId,
    group_key: &'a str,
    status: AlertStatus,
    severity: Severity,
    title: &'a str,
    lang: Lang,
    group_labels: &'a BTreeMap<String, String>,
    common_labels: &'a BTreeMap<String, String>,
    alerts: Vec<Alert<'a>>,
    truncated_alerts: u64,
}

#[derive(Debug, Serialize)]
struct Alert<'a> {
    rule_id: &'a str,
    name: &'a str,
    status: AlertStatus,
    severity: Severity,
    labels: &'a BTreeMap<String, String>,
    annotations: &'a BTreeMap<String, String>,
    value: Option<f64>,
    threshold: Option<f64>,
    starts_at: Rfc3339,
    ends_at: Option<Rfc3339>,
    fingerprint: &'a str,
}

impl<'a> From<&'a AlertNotice> for Alert<'a> {
    fn from(notice: &'a AlertNotice) -> Self {
        Self {
            rule_id: &notice.rule_id,
            name: &notice.name,
            status: notice.status,
            severity: notice.severity,
            labels: &notice.labels,
            annotations: &notice.annotations,
            value: notice.value,
            threshold: notice.threshold,
            starts_at: Rfc3339(notice.starts_at),
            ends_at: notice.ends_at.map(Rfc3339),
            fingerprint: &notice.fingerprint,
        }
    }
}

/// The body of a message.
pub fn body(channel: &Channel, message: &Message) -> Vec<u8> {
    let body = Body {
        r#type: match message.status {
            AlertStatus::Firing => "alert.firing",
            AlertStatus::Resolved => "alert.resolved",
        },
        timestamp: Rfc3339(message.at),
        data: Told {
            organization_id: message.organization.as_str(),
            channel_id: &channel.id,
            group_key: &message.group_key,
            status: message.status,
            severity: message.severity,
            title: &message.title,
            lang: message.lang,
            group_labels: &message.group_labels,
            common_labels: &message.common_labels,
            alerts: message.alerts.iter().map(Alert::from).collect(),
            truncated_alerts: message.truncated_alerts,
        },
    };
    serde_json::to_vec(&body).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use insights_engine::time::TimestampUs;
    use serde_json::{Value, json};

    use super::*;
    use crate::notify::channel::tests::webhook;
    use crate::notify::message::tests::message;

    #[test]
    fn a_body_tells_everything_that_is_known() {
        let told = body(&webhook("ch_1", "https://example.com/"), &message("shop", TimestampUs(1_500_000)));
        let expected = json!({
            "type": "alert.firing", "timestamp": "1970-01-01T00:00:01.500000Z",
            "data": {
                "organization_id": "acme", "channel_id": "ch_1", "group_key": "shop", "status": "firing",
                "severity": "critical", "title": "Errors of the shop", "lang": "en",
                "group_labels": {"app": "shop"}, "common_labels": {"app": "shop"}, "truncated_alerts": 0,
                "alerts": [{
                    "rule_id": "rule-1", "name": "Errors of the shop", "status": "firing", "severity": "critical",
                    "labels": {"app": "shop"}, "annotations": {"summary": "12 % of requests fail"},
                    "value": 12.0, "threshold": 5.0, "starts_at": "1970-01-01T00:00:01.500000Z", "ends_at": null,
                    "fingerprint": "00c0ffee",
                }],
            },
        });
        assert_eq!(serde_json::from_slice::<Value>(&told).unwrap(), expected);
    }
}
