//! A rule: what is looked at, when that is an alert, and who is told.

use std::collections::BTreeMap;

use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::condition::Condition;
use super::label::{
    ALERTNAME, ANNOTATION_BYTES_MAX, LABEL_BYTES_MAX, LABEL_NAME_BYTES_MAX, Labels, SEVERITY,
};
use super::length::Length;
use super::read;
use crate::domain::audit::Severity;
use crate::http::error::FieldError;
use crate::notify::{ChannelId, Lang};
use crate::report::body::Fields;

/// Most rules of an organization.
pub const RULES_MAX: usize = 500;
/// Most characters of the name of a rule.
const NAME_CHARS_MAX: usize = 128;
/// Most channels of a rule.
const CHANNELS_MAX: usize = 10;
/// Most labels that a rule groups by.
const GROUP_BY_MAX: usize = 8;
/// Most bytes of a stored rule, under the 64 KiB of a catalog record.
const STORED_BYTES_MAX: usize = 48 << 10;
/// Version of a stored rule.
const VERSION: u32 = 1;

/// The shortest interval, but of errors.
const INTERVAL_LEAST: Length = Length::seconds(10);
/// How often errors are looked for, at the least and by default.
pub const ERRORS_INTERVAL: Length = Length::seconds(5);

/// What becomes of an alert about which nothing is known any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NoData {
    /// All is well.
    #[default]
    Ok,
    /// That is an alert.
    Alerting,
    /// It stays as it was.
    Keep,
}

/// A rule as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RuleDocument {
    /// What people call it, 1 to 128 characters; the label `alertname` of its alerts
    pub name: String,
    /// Whether it is evaluated
    #[schema(required = false)]
    pub enabled: bool,
    /// How grave its alerts are; their label `severity`: `warning`, of errors `critical`. What is critical is told
    /// without waiting
    #[schema(required = false)]
    pub severity: Severity,
    /// What it looks at
    pub condition: Condition,
    /// How long the condition must hold before an alert fires
    #[serde(rename = "for")]
    #[schema(required = false)]
    pub hold: Length,
    /// How long a firing alert goes on after the condition has ended; of errors how long none must come, by default
    /// `repeat_interval`
    #[schema(required = false)]
    pub keep_firing_for: Length,
    /// How often it is evaluated: 60 s, at the least 10 s; errors 5 s
    #[schema(required = false)]
    pub interval: Length,
    /// What it means when nothing is known: `ok`, `alerting` or `keep`, the default of heartbeats
    #[schema(required = false)]
    pub no_data: NoData,
    /// Labels that its alerts get
    #[schema(required = false)]
    pub labels: BTreeMap<String, String>,
    /// Texts for people, with `{{value}}`, `{{threshold}}` and `{{labels.<name>}}`
    #[schema(required = false)]
    pub annotations: BTreeMap<String, String>,
    /// Ids of the channels that are told
    #[schema(value_type = Vec<String>, required = false)]
    pub channels: Vec<ChannelId>,
    /// How soon the same is told again while it goes on
    #[schema(required = false)]
    pub repeat_interval: Length,
    /// Alerts with the same values of these labels, and the same channels, are told in one message
    #[schema(required = false)]
    pub group_by: Vec<String>,
    /// How long the first message of a group waits for others; nothing waits that is critical
    #[schema(required = false)]
    pub group_wait: Length,
    /// The least time between messages of a group about what is new in it
    #[schema(required = false)]
    pub group_interval: Length,
    /// The language of messages
    #[schema(required = false)]
    pub lang: Lang,
}

/// A rule that is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub organization: TenantId,
    /// When it was made.
    pub created: TimestampUs,
    /// When it was changed last.
    pub updated: TimestampUs,
    /// What it says.
    pub document: RuleDocument,
}

impl RuleDocument {
    /// Reads a rule.
    ///
    /// # Errors
    ///
    /// Every problem, each with its pointer.
    pub fn read(body: &Value) -> Result<Self, Vec<FieldError>> {
        read::below(body, "", Self::of_fields)
    }

    /// Reads the members of a rule.
    pub(crate) fn of_fields(fields: &mut Fields<'_>) -> Option<Self> {
        let name = read::short_text(fields, "name", NAME_CHARS_MAX);
        let name = read::required(fields, "name", name);
        let enabled = fields.get("enabled").is_none() || fields.flag("enabled");
        let severities = Severity::ALL.map(Severity::name);
        let severity = fields.choice("severity", &severities).and_then(|place| Severity::ALL.get(place));
        let condition = read::object(fields, "condition", Condition::read);
        let condition = read::required(fields, "condition", condition);
        let times = Times::read(fields, matches!(condition, Some(Condition::Errors(_))));
        let no_data = match fields.choice("no_data", &["ok", "alerting", "keep"]) {
            Some(1) => NoData::Alerting,
            Some(2) => NoData::Keep,
            // A heartbeat that is not remembered any more has not come back.
            None if matches!(condition, Some(Condition::Heartbeat(_))) => NoData::Keep,
            Some(_) | None => NoData::Ok,
        };
        let labels = labels(fields);
        let annotations = read::texts(fields, "annotations", ANNOTATION_BYTES_MAX);
        let channels = channels(fields);
        let group_by = group_by(fields);
        let lang = match fields.choice("lang", &["en", "fr"]) {
            Some(1) => Lang::Fr,
            Some(_) | None => Lang::En,
        };
        let default = if times.is_errors { Severity::Critical } else { Severity::Warning };
        Some(Self {
            name: name?,
            enabled,
            severity: severity.copied().unwrap_or(default),
            condition: condition?,
            hold: times.hold,
            keep_firing_for: times.keep_firing_for,
            interval: times.interval,
            no_data,
            labels,
            annotations,
            channels,
            repeat_interval: times.repeat_interval,
            group_by,
            group_wait: times.group_wait,
            group_interval: times.group_interval,
            lang,
        })
    }
}

/// The lengths of time of a rule.
struct Times {
    is_errors: bool,
    interval: Length,
    hold: Length,
    keep_firing_for: Length,
    repeat_interval: Length,
    group_wait: Length,
    group_interval: Length,
}

impl Times {
    fn read(fields: &mut Fields<'_>, is_errors: bool) -> Self {
        let (default, least) =
            if is_errors { (ERRORS_INTERVAL, ERRORS_INTERVAL) } else { (Length::minutes(1), INTERVAL_LEAST) };
        let interval = read::length(fields, "interval", (least, Length::days(1))).unwrap_or(default);
        let hold = read::length(fields, "for", (Length::ZERO, Length::days(7))).unwrap_or_default();
        if is_errors && hold != Length::ZERO {
            fields.problem("for", "invalid", "an error that came is an alert at once");
        }
        // Alertmanagers are kept informed for a day after a message.
        let repeat = read::length(fields, "repeat_interval", (Length::minutes(1), Length::days(1)));
        let repeat_interval = repeat.unwrap_or(Length::hours(4));
        let keep = read::length(fields, "keep_firing_for", (Length::ZERO, Length::days(30)));
        let group_wait = read::length(fields, "group_wait", (Length::ZERO, Length::hours(1)));
        let group_interval = read::length(fields, "group_interval", (Length::seconds(10), Length::days(1)));
        Self {
            is_errors,
            interval,
            hold,
            keep_firing_for: keep.unwrap_or(if is_errors { repeat_interval } else { Length::ZERO }),
            repeat_interval,
            group_wait: group_wait.unwrap_or(Length::seconds(30)),
            group_interval: group_interval.unwrap_or(Length::minutes(5)),
        }
    }
}

/// Ids of channels, each once.
fn channels(fields: &mut Fields<'_>) -> Vec<ChannelId> {
    let one = |id: &str| ChannelId::parse(id).ok_or_else(|| "the id of a channel is expected".to_owned());
    let mut channels = fields.list("channels", CHANNELS_MAX, one).unwrap_or_default();
    channels.sort();
    channels.dedup();
    channels
}

/// The labels of a rule; those that every alert has are not its own to set.
fn labels(fields: &mut Fields<'_>) -> Labels {
    let labels = read::texts(fields, "labels", LABEL_BYTES_MAX);
    for taken in [ALERTNAME, SEVERITY].into_iter().filter(|name| labels.contains_key(*name)) {
        let detail = format!("every alert has {taken} already: the rule's own");
        fields.problems.push(FieldError::new(format!("/labels/{taken}"), "invalid", detail));
    }
    labels
}

/// Names of labels, each once; those of metrics may have any characters.
fn group_by(fields: &mut Fields<'_>) -> Vec<String> {
    let one = |name: &str| match name.len() {
        1..=LABEL_NAME_BYTES_MAX => Ok(name.to_owned()),
        _ => Err("the name of a label is expected".to_owned()),
    };
    let given = fields.list("group_by", GROUP_BY_MAX, one);
    let mut names = given.unwrap_or_else(|| vec![ALERTNAME.to_owned()]);
    names.sort();
    names.dedup();
    names
}

/// A rule in the catalog: the document as it is on the wire, and when it was made and changed.
#[derive(Debug, Deserialize)]
struct Stored {
    version: u32,
    created_us: i64,
    updated_us: i64,
    rule: Value,
}

impl Rule {
    /// What the keys of rules start with.
    pub const PREFIX: &'static str = "alert/rule/";

    /// The key of a rule in the catalog.
    pub fn key(organization: &TenantId, id: &str) -> Vec<u8> {
        format!("{}{}/{id}", Self::PREFIX, organization.as_str()).into_bytes()
    }

    /// The rule as a catalog record.
    ///
    /// # Errors
    ///
    /// What is wrong, in words, when it is too large to be one.
    pub fn put(&self) -> Result<CatalogPut, String> {
        let value = json!({
            "version": VERSION,
            "created_us": self.created.0,
            "updated_us": self.updated.0,
            "rule": self.document,
        });
        let value = value.to_string().into_bytes();
        if value.len() > STORED_BYTES_MAX {
            return Err(format!("a rule has at most {STORED_BYTES_MAX} bytes"));
        }
        Ok(CatalogPut {
            kind: CatalogKind::Setting,
            key: Self::key(&self.organization, &self.id),
            value: Some(value),
        })
    }

    /// The rule of a catalog record; `None` for one of a later version.
    pub fn of_record(key: &[u8], value: &[u8]) -> Option<Self> {
        let (organization, id) = place(Self::PREFIX, key)?;
        let stored: Stored = serde_json::from_slice(value).ok()?;
        let document = RuleDocument::read(&stored.rule).ok().filter(|_| stored.version == VERSION)?;
        Some(Self {
            id,
            organization,
            created: TimestampUs(stored.created_us),
            updated: TimestampUs(stored.updated_us),
            document,
        })
    }

    /// The labels of the alert of one of its series.
    pub fn labels_of(&self, series: &Labels) -> Labels {
        let mut labels = self.document.labels.clone();
        labels.extend(series.iter().map(|(name, value)| (name.clone(), value.clone())));
        labels.insert(ALERTNAME.to_owned(), self.document.name.clone());
        labels.insert(SEVERITY.to_owned(), self.document.severity.name().to_owned());
        labels
    }
}

/// The organization and the id in a key of this room.
pub(super) fn place(prefix: &str, key: &[u8]) -> Option<(TenantId, String)> {
    let rest = std::str::from_utf8(key).ok()?.strip_prefix(prefix)?;
    let (organization, id) = rest.split_once('/')?;
    Some((TenantId::new(organization).ok()?, id.to_owned()))
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
