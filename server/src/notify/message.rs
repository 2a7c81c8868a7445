//! What is told: a message about a group of alerts, cut to limits before it is kept.

use std::collections::BTreeMap;

use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::audit::Severity;
pub use crate::domain::lang::Lang;

/// Most alerts in a message; further ones are counted in [`Message::truncated_alerts`].
pub const ALERTS_MAX: usize = 50;
/// Most labels, and most annotations, of an alert or a group.
pub const LABELS_MAX: usize = 32;
/// Most bytes of a key of a group.
pub const GROUP_KEY_BYTES_MAX: usize = 1 << 10;
/// Most bytes of a message as it is kept: a record of the catalog has 64 KiB, and the rest of it needs room.
pub const MESSAGE_BYTES_MAX: usize = 48 << 10;
/// Most bytes of a title, a name of a rule, a label's name.
const NAME_BYTES_MAX: usize = 256;
/// Most bytes of a value of a label or an annotation.
const VALUE_BYTES_MAX: usize = 1 << 10;

/// Whether something is wrong, or is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlertStatus {
    /// It is wrong now.
    Firing,
    /// It was, and is over.
    Resolved,
}

impl AlertStatus {
    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// One alert of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertNotice {
    /// The rule.
    pub rule_id: String,
    /// What people call the rule.
    pub name: String,
    /// Whether it fires or is over.
    pub status: AlertStatus,
    /// How grave it is.
    pub severity: Severity,
    /// What tells it apart from other alerts of its rule.
    pub labels: BTreeMap<String, String>,
    /// Words for people, their places filled in.
    pub annotations: BTreeMap<String, String>,
    /// The number that was looked at, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Since when it fires.
    #[serde(rename = "starts_us")]
    pub starts_at: TimestampUs,
    /// Since when it is over.
    #[serde(default, rename = "ends_us", skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<TimestampUs>,
    /// The same for the same rule and labels, so that a receiver can put two notices together.
    pub fingerprint: String,
}

/// A message about a group of alerts of one organization.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Whose alerts they are; a channel of another organization never gets it.
    pub organization: TenantId,
    /// What is one story to its readers: messages of one key arrive in the order in which they were enqueued, and are
    /// one thread of e-mail.
    pub group_key: String,
    /// Firing as long as one of the alerts is.
    pub status: AlertStatus,
    /// The gravest of the alerts.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// The alerts, the most important first: what is over [`ALERTS_MAX`] is only counted.
    pub alerts: Vec<AlertNotice>,
    /// How many more there are.
    pub truncated_alerts: u64,
    /// The labels that the group is made by.
    pub group_labels: BTreeMap<String, String>,
    /// The labels that all of the alerts have.
    pub common_labels: BTreeMap<String, String>,
    /// When it was said.
    pub at: TimestampUs,
    /// The language of the title and the annotations; the words around them are in the channel's.
    pub lang: Lang,
}

/// A message as it is kept: its organization is in the key of the record.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredMessage {
    group_key: String,
    status: AlertStatus,
    severity: Severity,
    title: String,
    alerts: Vec<AlertNotice>,
    truncated_alerts: u64,
    group_labels: BTreeMap<String, String>,
    common_labels: BTreeMap<String, String>,
    at_us: i64,
    lang: Lang,
}

impl StoredMessage {
    /// The message, which is of `organization`.
    pub(super) fn of(self, organization: TenantId) -> Message {
        Message {
            organization,
            group_key: self.group_key,
            status: self.status,
            severity: self.severity,
            title: self.title,
            alerts: self.alerts,
            truncated_alerts: self.truncated_alerts,
            group_labels: self.group_labels,
            common_labels: self.common_labels,
            at: TimestampUs(self.at_us),
            lang: self.lang,
        }
    }
}

impl From<&Message> for StoredMessage {
    fn from(message: &Message) -> Self {
        Self {
            group_key: message.group_key.clone(),
            status: message.status,
            severity: message.severity,
            title: message.title.clone(),
            alerts: message.alerts.clone(),
            truncated_alerts: message.truncated_alerts,
            group_labels: message.group_labels.clone(),
            common_labels: message.common_labels.clone(),
            at_us: message.at.0,
            lang: message.lang,
        }
    }
}

impl Message {
    /// The message cut to what is kept and sent: texts at their limits, alerts at [`ALERTS_MAX`] and at
    /// [`MESSAGE_BYTES_MAX`] together. What is left out is counted.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        cut(&mut self.title, NAME_BYTES_MAX);
        cut(&mut self.group_key, GROUP_KEY_BYTES_MAX);
        bound_labels(&mut self.group_labels);
        bound_labels(&mut self.common_labels);
        self.leave_out(ALERTS_MAX);
        for alert in &mut self.alerts {
            for text in [&mut alert.rule_id, &mut alert.name, &mut alert.fingerprint] {
                cut(text, NAME_BYTES_MAX);
            }
            bound_labels(&mut alert.labels);
            bound_labels(&mut alert.annotations);
        }
        let mut left = MESSAGE_BYTES_MAX;
        for labels in [&mut self.group_labels, &mut self.common_labels] {
            // Two maps at their limits leave less than a quarter of the message; that is enough for one story.
            while encoded_bytes(labels) > MESSAGE_BYTES_MAX / 4 && labels.pop_last().is_some() {}
            left -= encoded_bytes(labels).min(left);
        }
        left -= (encoded_bytes(&self.title) + encoded_bytes(&self.group_key)).min(left);
        let fitting = self.alerts.iter().take_while(|alert| {
            let bytes = encoded_bytes(alert) + 1;
            let fits = bytes <= left;
            left -= bytes.min(left);
            fits
        });
        let fitting = fitting.count();
        self.leave_out(fitting);
        self
    }

    /// Counts the alerts beyond the first `kept` instead of telling them.
    fn leave_out(&mut self, kept: usize) {
        let more = self.alerts.len().saturating_sub(kept);
        self.truncated_alerts = self.truncated_alerts.saturating_add(more as u64);
        self.alerts.truncate(kept);
    }

    /// The message without its alerts: what is kept of one that arrived.
    pub(super) fn headline(&self) -> Self {
        Self { alerts: Vec::new(), ..self.clone() }
    }
}

/// Bytes of a value as JSON.
fn encoded_bytes(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |bytes| bytes.len())
}

/// Cuts a text to so many bytes, between two characters.
pub(super) fn cut(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
}

fn bound_labels(labels: &mut BTreeMap<String, String>) {
    while labels.len() > LABELS_MAX {
        labels.pop_last();
    }
    if labels.keys().any(|name| name.len() > NAME_BYTES_MAX) {
        let all = std::mem::take(labels);
        labels.extend(all.into_iter().map(|(mut name, value)| {
            cut(&mut name, NAME_BYTES_MAX);
            (name, value)
        }));
    }
    for value in labels.values_mut() {
        cut(value, VALUE_BYTES_MAX);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message of the organization `acme` about one alert.
    pub(crate) fn message(group_key: &str, at: TimestampUs) -> Message {
        let labels = BTreeMap::from([("app".to_owned(), "shop".to_owned())]);
        let alert = AlertNotice {
            rule_id: "rule-1".to_owned(),
            name: "Errors of the shop".to_owned(),
            status: AlertStatus::Firing,
            severity: Severity::Critical,
            labels: labels.clone(),
            annotations: BTreeMap::from([("summary".to_owned(), "12 % of requests fail".to_owned())]),
            value: Some(12.0),
            threshold: Some(5.0),
            starts_at: at,
            ends_at: None,
            fingerprint: "00c0ffee".to_owned(),
        };
        Message {
            organization: TenantId::new("acme").unwrap(),
            group_key: group_key.to_owned(),
            status: AlertStatus::Firing,
            severity: Severity::Critical,
            title: "Errors of the shop".to_owned(),
            alerts: vec![alert],
            truncated_alerts: 0,
            group_labels: labels.clone(),
            common_labels: labels,
            at,
            lang: Lang::En,
        }
    }

    #[test]
    fn a_message_within_its_limits_stays_as_it_is() {
        let message = message("shop", TimestampUs(7));
        assert_eq!(message.clone().bounded(), message);
    }

    #[test]
    fn a_storm_is_cut_and_counted() {
        let mut storm = message("shop", TimestampUs(7));
        storm.alerts = vec![storm.alerts[0].clone(); 1_000];
        storm.truncated_alerts = 5;
        let told = storm.bounded();
        assert_eq!((told.alerts.len(), told.truncated_alerts), (ALERTS_MAX, 955));
    }

    proptest! {
        #[test]
        fn any_message_fits_a_record_and_loses_no_count(
            text in "\\PC{0,3000}", labels in 0_usize..80, alerts in 0_usize..80,
        ) {
            let mut large = message(&text, TimestampUs(7));
            large.title = text.clone();
            let filled: BTreeMap<_, _> = (0..labels).map(|n| (format!("{n}{text}"), text.clone())).collect();
            large.group_labels = filled.clone();
            large.common_labels = filled.clone();
            large.alerts[0].annotations = filled;
            large.alerts = vec![large.alerts[0].clone(); alerts];
            let told = large.bounded();
            prop_assert_eq!(told.alerts.len() as u64 + told.truncated_alerts, alerts as u64);
            let bytes = encoded_bytes(&StoredMessage::from(&told));
            prop_assert!(bytes <= MESSAGE_BYTES_MAX + 512, "{bytes}");
        }
    }
}
