//! Telling people: the alerts of an organization in groups, and for each group whether a message is due. Pure but for
//! [`dispatch`], which enqueues messages together with the records that they were said: neither are there without the others.

use std::collections::{BTreeMap, BTreeSet};

use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::book::{Book, Entry, Key, key_of};
use super::group::{Decision, Member, Said, decide};
use super::label::{ALERTNAME, Labels, SEVERITY, fill, hexadecimal};
use super::length::Length;
use super::overview::Alert;
use super::record;
use super::rule::place;
use super::state::AlertState;
use crate::app::AppState;
use crate::domain::audit::Severity;
use crate::notify::{self, AlertNotice, AlertStatus, ChannelId, Message};
use crate::store::Store;

/// What the keys of groups start with.
pub(super) const PREFIX: &str = "alert/group/";
/// Version of a group in the catalog.
const VERSION: u32 = 1;
/// How soon muted alerts are looked at again: a silence may have ended.
const MUTED_AGAIN: Length = Length::seconds(30);
/// Most messages of one append; the next ones follow at once.
const MESSAGES_MAX: usize = 16;
/// How soon a message that could not be enqueued is tried again.
const RETRY_AFTER: Length = Length::seconds(10);

/// What the groups of all organizations have said, by organization and group.
pub type Groups = BTreeMap<Key, Said>;

/// A group in the catalog.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    version: u32,
    #[serde(flatten)]
    said: Said,
}

/// The groups of the store.
pub fn load(store: &Store) -> Groups {
    let of = |(key, value): (Vec<u8>, std::sync::Arc<[u8]>)| {
        let stored: Stored = serde_json::from_slice(&value).ok()?;
        (stored.version == VERSION).then_some((place(PREFIX, &key)?, stored.said))
    };
    store.catalog_scan(CatalogKind::Setting, PREFIX.as_bytes()).into_iter().filter_map(of).collect()
}

/// What a group has said as a catalog record; nothing when the group is gone.
fn put(organization: &TenantId, group: &str, said: Option<&Said>) -> CatalogPut {
    let value =
        said.and_then(|said| serde_json::to_vec(&Stored { version: VERSION, said: said.clone() }).ok());
    let key = format!("{PREFIX}{}/{group}", organization.as_str()).into_bytes();
    CatalogPut { kind: CatalogKind::Setting, key, value }
}

/// Alerts that are told of together.
#[derive(Debug, Default)]
struct Group {
    channels: Vec<ChannelId>,
    labels: Labels,
    alerts: Vec<Alert>,
}

/// The alerts that fire or have ended, by the groups that they belong to.
fn groups(alerts: Vec<Alert>) -> BTreeMap<String, Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for alert in alerts {
        let document = &alert.rule.document;
        let of = |name: &String| (name.clone(), alert.labels.get(name).cloned().unwrap_or_default());
        let labels: Labels = document.group_by.iter().map(of).collect();
        let group = groups.entry(group_key(&document.channels, &labels)).or_default();
        if group.alerts.is_empty() {
            (group.channels, group.labels) = (document.channels.clone(), labels);
        }
        group.alerts.push(alert);
    }
    groups
}

/// What names a group: 32 hexadecimal digits of its channels and labels.
fn group_key(channels: &[ChannelId], labels: &Labels) -> String {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update([0xff]);
        hash.update(text);
    };
    for channel in channels {
        add(channel.as_str());
    }
    add("");
    for (name, value) in labels {
        add(name);
        add(value);
    }
    hexadecimal(hash.finalize().iter().take(16))
}

/// What a group is called in messages.
fn told_as(organization: &TenantId, key: &str) -> String {
    format!("{}/{key}", organization.as_str())
}

fn member(alert: &Alert) -> Member {
    let document = &alert.rule.document;
    Member {
        severity: document.severity,
        is_firing: alert.series.state == AlertState::Firing,
        since: alert.series.since,
        told: alert.series.told,
        is_muted: alert.is_muted(),
        wait: document.group_wait,
        interval: document.group_interval,
        repeat: document.repeat_interval,
    }
}

/// What a group says of its alerts, those that fire first, the gravest and latest in front; and the fingerprints of those
/// that found room. Of too many the news come first, then what was told longest ago: all of them have their turn.
fn message<'a>(
    organization: &TenantId,
    key: &str,
    group: &'a Group,
    now: TimestampUs,
) -> (Message, BTreeSet<&'a str>) {
    let mut told: Vec<&Alert> = group.alerts.iter().filter(|alert| is_told(alert)).collect();
    let rank = |alert: &Alert| (alert.series.state, alert.rule.document.severity, alert.series.since);
    told.sort_by(|a, b| rank(b).cmp(&rank(a)).then_with(|| a.fingerprint.cmp(&b.fingerprint)));
    let mut message = message_of(organization, key, group, &told, now).bounded();
    if message.truncated_alerts > 0 {
        told.sort_by_key(|alert| match (alert.series.state, alert.series.told) {
            (AlertState::Firing, Some(told)) => (true, told),
            _ => (false, now),
        });
        message = message_of(organization, key, group, &told, now).bounded();
    }
    // One that has no room in a message of its own is counted; it must not be tried for ever.
    let inside = told.iter().take(message.alerts.len().max(1)).map(|alert| alert.fingerprint.as_str());
    let inside = inside.collect();
    (message, inside)
}

fn message_of(
    organization: &TenantId,
    key: &str,
    group: &Group,
    told: &[&Alert],
    now: TimestampUs,
) -> Message {
    let is_firing = told.iter().any(|alert| alert.series.state == AlertState::Firing);
    let severity = told.iter().map(|alert| alert.rule.document.severity).max().unwrap_or(Severity::Info);
    Message {
        organization: organization.clone(),
        group_key: told_as(organization, key),
        status: if is_firing { AlertStatus::Firing } else { AlertStatus::Resolved },
        severity,
        title: title(&group.labels, told),
        common_labels: common(told),
        group_labels: group.labels.clone(),
        lang: told.first().map(|alert| alert.rule.document.lang).unwrap_or_default(),
        alerts: told.iter().map(|alert| notice(alert)).collect(),
        truncated_alerts: 0,
        at: now,
    }
}

/// Whether a message that is sent now tells of an alert: one that fires, or of whose end somebody is to know.
fn is_told(alert: &Alert) -> bool {
    !alert.is_muted() && (alert.series.state == AlertState::Firing || alert.series.told.is_some())
}

/// The names of the rules, and what the group is about.
fn title(group: &Labels, told: &[&Alert]) -> String {
    let names: BTreeSet<&str> = told.iter().map(|alert| alert.rule.document.name.as_str()).collect();
    let mut names: Vec<&str> = names.into_iter().collect();
    let more = names.len().saturating_sub(3);
    names.truncate(3);
    let mut title = names.join(", ");
    if more > 0 {
        title = format!("{title} (+{more})");
    }
    let about =
        group.iter().filter(|(name, value)| *name != ALERTNAME && *name != SEVERITY && !value.is_empty());
    let about: Vec<String> = about.map(|(name, value)| format!("{name}={value}")).collect();
    if about.is_empty() { title } else { format!("{title} [{}]", about.join(" ")) }
}

/// The labels that all of them have with the same value.
fn common(told: &[&Alert]) -> Labels {
    let Some((first, others)) = told.split_first() else { return Labels::new() };
    let mut labels = first.labels.clone();
    for other in others {
        labels.retain(|name, value| other.labels.get(name) == Some(value));
    }
    labels
}

fn notice(alert: &Alert) -> AlertNotice {
    let document = &alert.rule.document;
    let threshold = Some(document.condition.threshold().threshold);
    let is_firing = alert.series.state == AlertState::Firing;
    let text = |(name, text): (&String, &String)| {
        (name.clone(), fill(text, alert.series.value, threshold, &alert.labels))
    };
    AlertNotice {
        rule_id: alert.rule.id.clone(),
        name: document.name.clone(),
        status: if is_firing { AlertStatus::Firing } else { AlertStatus::Resolved },
        severity: document.severity,
        labels: alert.labels.clone(),
        annotations: document.annotations.iter().map(text).collect(),
        value: alert.series.value,
        threshold,
        starts_at: alert.series.started,
        ends_at: (!is_firing).then_some(alert.series.since),
        fingerprint: alert.fingerprint.clone(),
    }
}

/// The rules whose alerts change because some of them are told of, or are nobody's business any more.
#[derive(Debug, Default)]
struct Changed(BTreeMap<Key, Entry>);

impl Changed {
    fn series(&mut self, book: &Book, alert: &Alert, change: impl FnOnce(&mut super::state::Series)) {
        let key = key_of(&alert.rule);
        let Some(entry) = book.get(&key) else { return };
        let entry = self.0.entry(key).or_insert_with(|| entry.clone());
        if let Some(series) = entry.board.series.get_mut(&alert.series_labels) {
            change(series);
        }
    }

    /// The states as catalog records. Of a rule that is gone nothing is kept.
    fn puts(&mut self) -> Vec<CatalogPut> {
        let kept = self.0.values_mut().filter(|entry| !entry.is_removed);
        kept.flat_map(|entry| {
            record::puts(&entry.rule.organization, &entry.rule.id, &entry.board, &mut entry.parts)
        })
        .collect()
    }

    /// Makes the changes count.
    fn commit(self, book: &mut Book) {
        for (key, entry) in self.0 {
            if entry.is_removed && entry.board.series.values().all(super::state::Series::is_forgettable) {
                book.remove(&key);
            } else {
                book.set_board(&key, entry.board, entry.parts);
            }
        }
    }
}

/// A group that is looked at: what it has said, when it is to say something now.
struct Looked<'a> {
    key: &'a str,
    group: &'a Group,
    said: Option<Said>,
}

/// Tells of what is due in an organization, and gives when to look again.
pub async fn dispatch(state: &AppState, organization: &TenantId) -> Option<TimestampUs> {
    let _turn = state.alerts.turn(organization).await;
    let now = state.clock.now();
    let is_of_interest =
        |series: &super::state::Series| matches!(series.state, AlertState::Firing | AlertState::Resolved);
    let found = state.alerts.overview(organization, now, is_of_interest);
    let is_muted = found.iter().any(Alert::is_muted);
    let mut next = is_muted.then(|| TimestampUs(now.0.saturating_add(MUTED_AGAIN.us())));
    let mut consider = |at: TimestampUs| next = Some(next.map_or(at, |next| next.min(at)));
    let groups = groups(found);
    let known = known(state, organization);
    let mut looked = Vec::with_capacity(groups.len());
    let mut messages = 0;
    for (key, group) in &groups {
        let said = known.get(key).cloned().unwrap_or_default();
        let members: Vec<Member> = group.alerts.iter().map(member).collect();
        let decision =
            if group.channels.is_empty() { Decision::Nothing } else { decide(now, &members, &said) };
        let mut is_said = decision == Decision::Say;
        match decision {
            Decision::Wait(at) => consider(at),
            Decision::Say if messages >= MESSAGES_MAX => {
                is_said = false;
                consider(now);
            }
            Decision::Say => messages += 1,
            Decision::Nothing => {}
        }
        looked.push(Looked { key, group, said: is_said.then_some(said) });
    }
    let mut gone = Vec::new();
    for key in known.keys().filter(|key| !groups.contains_key(*key)) {
        // However it ended - told, muted, its rule gone - nobody will say anything else of it.
        if state.notify.stop_saying(organization, &told_as(organization, key)).await.is_ok() {
            gone.push(key.as_str());
        }
    }
    let mut written = vec![write(state, organization, &looked, &gone, now).await];
    if messages > 1 && matches!(written.as_slice(), [Err(notify::Error::Full(_))]) {
        // There is no room for all of them; there may be for some.
        written.clear();
        for one in looked.chunks(1) {
            written.push(write(state, organization, one, &[], now).await);
        }
    }
    for written in written {
        match written {
            Ok(Some(again)) => consider(again),
            Ok(None) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(%organization, error, "messages about alerts were not enqueued");
                consider(TimestampUs(now.0.saturating_add(RETRY_AFTER.us())));
            }
        }
    }
    next
}

/// What the groups of an organization have said.
fn known(state: &AppState, organization: &TenantId) -> BTreeMap<String, Said> {
    let all = state.alerts.groups();
    let from = (organization.clone(), String::new());
    let of = all.range(from..).take_while(|((of, _), _)| of == organization);
    of.map(|((_, key), said)| (key.clone(), said.clone())).collect()
}

/// Says what groups have to say, lets go of what nobody is to be told of, and forgets groups of which no alert is left:
/// all of it in one append, or nothing. Gives when to look again.
async fn write(
    state: &AppState,
    organization: &TenantId,
    looked: &[Looked<'_>],
    gone: &[&str],
    now: TimestampUs,
) -> Result<Option<TimestampUs>, notify::Error> {
    let said = looked.iter().map(|Looked { key, group, said }| {
        let mut said = said.clone()?;
        said.add(now);
        let (message, inside) = message(organization, key, group, now);
        Some((said, message, inside))
    });
    let said: Vec<_> = said.collect();
    let (mut changed, mut again) = (Changed::default(), None);
    {
        let book = state.alerts.book();
        for (Looked { group, .. }, said) in looked.iter().zip(&said) {
            let inside = said.as_ref().map(|(_, _, inside)| inside);
            change(&mut changed, &book, group, inside, now, &mut again);
        }
    }
    let mut puts = changed.puts();
    let (mut messages, mut kept) = (Vec::new(), Vec::new());
    for (Looked { key, group, .. }, said) in looked.iter().zip(said) {
        if let Some((said, message, _)) = said {
            puts.push(put(organization, key, Some(&said)));
            messages.push((group.channels.clone(), message));
            kept.push(((organization.clone(), (*key).to_owned()), said));
        }
    }
    puts.extend(gone.iter().map(|key| put(organization, key, None)));
    if !messages.is_empty() {
        state.notify.enqueue_all(messages, puts).await?;
    } else if !puts.is_empty() {
        state.store.put(puts).await.map_err(notify::Error::from)?;
    }
    let mut all = state.alerts.groups();
    all.extend(kept);
    for key in gone {
        all.remove(&(organization.clone(), (*key).to_owned()));
    }
    drop(all);
    changed.commit(&mut state.alerts.book());
    Ok(again)
}

/// What becomes of the alerts of a group when its message tells of those `inside`, or when it has none.
fn change(
    changed: &mut Changed,
    book: &Book,
    group: &Group,
    inside: Option<&BTreeSet<&str>>,
    now: TimestampUs,
    again: &mut Option<TimestampUs>,
) {
    for alert in &group.alerts {
        let is_firing = alert.series.state == AlertState::Firing;
        // Nobody is told of the end of what is muted then, or has nobody to tell.
        let is_dropped = !is_firing && (alert.is_muted() || group.channels.is_empty());
        let is_inside = inside.is_some_and(|inside| inside.contains(alert.fingerprint.as_str()));
        if is_dropped || is_inside {
            changed.series(book, alert, |series| {
                if is_firing {
                    series.told = Some(now);
                } else {
                    (series.state, series.told) = (AlertState::Ok, None);
                }
            });
        }
        if inside.is_some() && is_told(alert) {
            let document = &alert.rule.document;
            // Again after the interval of the group: it may have ended, and is to be forgotten. What found no room has
            // its turn as soon as the group may speak.
            let wait = document.group_interval.min(document.repeat_interval).us();
            let at = if is_inside { TimestampUs(now.0.saturating_add(wait)) } else { now };
            *again = Some(again.map_or(at, |again| again.min(at)));
        }
    }
}
