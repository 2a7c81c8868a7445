//! Every alert of an organization that is not well, with what keeps it silent.

use std::collections::BTreeMap;
use std::sync::Arc;

use insights_engine::id::TenantId;

use super::book::{Book, Entry};
use super::label::{ALERTNAME, Labels, SEVERITY, fingerprint};
use super::mute::{Active, Muted};
use super::rule::Rule;
use super::state::{AlertState, Series};
use crate::domain::audit::Severity;

/// An alert.
#[derive(Debug, Clone)]
pub struct Alert {
    /// Its rule.
    pub rule: Arc<Rule>,
    /// The labels of its series.
    pub series_labels: Labels,
    /// How it is.
    pub series: Series,
    /// All its labels.
    pub labels: Labels,
    /// What tells it from every other.
    pub fingerprint: String,
    /// What keeps it silent.
    pub muted: Muted,
    /// The graver alert of the same things that is told of instead.
    pub inhibited_by: Option<String>,
    /// Whether its rule is gone.
    pub is_removed: bool,
}

impl Alert {
    /// Whether nobody is to be told of it now.
    pub fn is_muted(&self) -> bool {
        self.muted.is_muted() || self.inhibited_by.is_some()
    }
}

/// The series of a rule that are looked at, as they were at one moment.
#[derive(Debug)]
pub struct Picked {
    rule: Arc<Rule>,
    is_removed: bool,
    series: Vec<(Labels, Series)>,
}

/// Copies the series of an organization that `wanted` chooses by state, and those that may inhibit them: all that is
/// done while the book is held.
pub fn pick(book: &Book, organization: &TenantId, wanted: impl Fn(&Series) -> bool) -> Vec<Picked> {
    let of = |entry: &Entry| {
        let all = entry.board.series.iter();
        let picked = all.filter(|(_, series)| wanted(series) || is_grave(&entry.rule, series));
        let series: Vec<_> = picked.map(|(labels, series)| (labels.clone(), *series)).collect();
        let (rule, is_removed) = (Arc::clone(&entry.rule), entry.is_removed);
        (!series.is_empty()).then_some(Picked { rule, is_removed, series })
    };
    book.entries(Some(organization)).filter_map(of).collect()
}

/// Whether an alert keeps lesser ones silent.
fn is_grave(rule: &Rule, series: &Series) -> bool {
    series.state == AlertState::Firing && rule.document.severity == Severity::Critical
}

/// The alerts among `picked` that `wanted` chooses by state, with what of `active` keeps them silent.
pub fn alerts(picked: Vec<Picked>, active: &Active, wanted: impl Fn(&Series) -> bool) -> Vec<Alert> {
    let mut found = Vec::new();
    let mut grave = Vec::new();
    for Picked { rule, is_removed, series } in picked {
        for (series_labels, series) in series {
            let labels = rule.labels_of(&series_labels);
            let fingerprint = fingerprint(&rule.id, &series_labels);
            if is_grave(&rule, &series) {
                grave.push((labels.clone(), fingerprint.clone()));
            }
            if wanted(&series) {
                found.push(Alert {
                    rule: Arc::clone(&rule),
                    series_labels,
                    series,
                    muted: active.of(&labels),
                    labels,
                    fingerprint,
                    inhibited_by: None,
                    is_removed,
                });
            }
        }
    }
    inhibit(&mut found, &grave);
    found
}

/// Mutes alerts of at most the severity warning beside a critical one about the same: one with the same values of all
/// labels that the lesser alert is grouped by, its name and severity apart.
fn inhibit(alerts: &mut [Alert], grave: &[(Labels, String)]) {
    // The critical ones by the values of a list of labels, made once for each list.
    let mut by_names: BTreeMap<Vec<String>, BTreeMap<Vec<String>, String>> = BTreeMap::new();
    for alert in alerts.iter_mut().filter(|alert| alert.rule.document.severity <= Severity::Warning) {
        let names: Vec<String> =
            alert.rule.document.group_by.iter().filter(|name| is_about(name)).cloned().collect();
        let Some(values) = values(&names, &alert.labels) else { continue };
        let index = by_names.entry(names).or_insert_with_key(|names| {
            let of = |(labels, fingerprint): &(Labels, String)| {
                Some((self::values(names, labels)?, fingerprint.clone()))
            };
            grave.iter().filter_map(of).collect()
        });
        alert.inhibited_by = index.get(&values).cloned();
    }
}

/// Whether a label says what an alert is about.
fn is_about(name: &str) -> bool {
    name != ALERTNAME && name != SEVERITY
}

/// The values of labels, when every one of them is there, and there is one.
fn values(names: &[String], labels: &Labels) -> Option<Vec<String>> {
    if names.is_empty() {
        return None;
    }
    names.iter().map(|name| labels.get(name).filter(|value| !value.is_empty()).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use insights_engine::time::TimestampUs;
    use serde_json::{Value, json};

    use super::super::board::Readings;
    use super::super::mute::Mutes;
    use super::super::room::Room;
    use super::super::rule::RuleDocument;
    use super::super::silence::{Silence, SilenceDocument};
    use super::super::state::{Observation, Policy};
    use super::*;

    fn organization() -> TenantId {
        TenantId::new("acme").unwrap()
    }

    /// Adds a rule whose alerts of these hosts fire.
    fn firing(book: &mut Book, id: &str, more: &Value, hosts: &[&str]) {
        let mut body = json!({"name": id, "condition": {"type": "metric", "metric": "m", "by": ["host"], "window": "1m",
            "op": "gt", "threshold": 0}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let document = RuleDocument::read(&body).unwrap();
        let now = TimestampUs(0);
        let rule = Rule { id: id.into(), organization: organization(), created: now, updated: now, document };
        let mut entry = Entry::new(rule, now);
        let of =
            |host: &&str| (Labels::from([("host".to_owned(), (*host).to_owned())]), Observation::Value(1.0));
        let series = hosts.iter().map(of).collect();
        let readings = Readings { series, ..Readings::default() };
        entry.board.take(&Policy::of(&entry.rule.document), now, readings, Room::UNLIMITED);
        book.put(entry, now);
    }

    fn told(book: &Book, mutes: &Mutes) -> Vec<String> {
        let told = |alert: &Alert| {
            let by = alert.inhibited_by.as_ref().map_or("", |_| " inhibited");
            let silent = if alert.muted.is_muted() { " silenced" } else { "" };
            format!("{} {}{by}{silent}", alert.rule.id, alert.labels["host"])
        };
        let active = mutes.active(&organization(), TimestampUs(1));
        alerts(pick(book, &organization(), |_| true), &active, |_| true).iter().map(told).collect()
    }

    #[test]
    fn a_critical_alert_inhibits_lesser_ones_about_the_same() {
        let mut book = Book::default();
        firing(&mut book, "down", &json!({"severity": "critical"}), &["web-1"]);
        firing(&mut book, "slow", &json!({"group_by": ["alertname", "host"]}), &["web-1", "web-2"]);
        // Grouped by its name alone it is about nothing that could be the same.
        firing(&mut book, "full", &json!({}), &["web-1"]);
        firing(&mut book, "grave", &json!({"severity": "error", "group_by": ["host"]}), &["web-1"]);
        let expected = ["down web-1", "full web-1", "grave web-1", "slow web-1 inhibited", "slow web-2"];
        assert_eq!(told(&book, &Mutes::default()), expected);
    }

    #[test]
    fn a_silence_holds_for_the_alerts_it_is_about() {
        let mut book = Book::default();
        firing(&mut book, "down", &json!({"severity": "critical"}), &["web-1", "web-2"]);
        let body = json!({"matchers": [{"label": "host", "op": "=", "value": "web-2"}, {"label": "alertname", "op": "=", "value": "down"}],
            "ends_at": 3600, "comment": "known"});
        let silence = |id: &str, organization: &str| Silence {
            id: id.into(),
            organization: TenantId::new(organization).unwrap(),
            created_by: "key".into(),
            created: TimestampUs(0),
            document: SilenceDocument::read(&body, TimestampUs(0)).unwrap(),
        };
        let mut mutes = Mutes::default();
        mutes.put_silence(silence("s0", "beta"));
        assert_eq!(told(&book, &mutes), ["down web-1", "down web-2"]);
        mutes.put_silence(silence("s1", "acme"));
        assert_eq!(told(&book, &mutes), ["down web-1", "down web-2 silenced"]);
    }
}
