//! What people do with channels and deliveries: change, remove, test, send again, look.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use insights_engine::append::CatalogPut;
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use tokio::sync::MutexGuard;
use url::Host;

use super::channel::Channel;
use super::delivery::{Delivery, DeliveryId, DeliveryState, Recipient, RecipientState};
use super::message::{AlertNotice, AlertStatus, Message};
use super::outbox::{Counts, Outcome};
use super::send::texts::{Text, text};
use super::target_url::TargetUrl;
use super::{Notify, driver};
use crate::domain::audit::Severity;

/// Most channels that are tested at once.
pub(super) const TESTS_AT_ONCE_MAX: usize = 4;

/// What became of a message that tests a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// Whether it arrived.
    pub delivered: bool,
    /// The status of the answer.
    pub status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// How long it took.
    pub duration_ms: u64,
}

/// What became of a delivery that was to be sent again.
#[derive(Debug, Clone, PartialEq)]
pub enum Redelivered {
    /// It is in line again.
    Queued(Box<Delivery>),
    /// It is no dead letter.
    NotDead,
}

/// How the outbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// What happened since the start.
    pub counts: Counts,
    /// Deliveries that wait or are being sent.
    pub waiting: u64,
    /// Deliveries that arrived and are still listed.
    pub delivered: u64,
    /// Dead letters.
    pub dead: u64,
    /// Since when the oldest waits.
    pub oldest: Option<TimestampUs>,
    /// Bytes of all records.
    pub bytes: u64,
}

impl Notify {
    /// Waits until nobody else changes channels, for a change that looks first.
    pub async fn changing(&self) -> MutexGuard<'_, ()> {
        self.0.changing.lock().await
    }

    /// Sets a channel whose record is durable; what waited because its receiver had asked for it waits no longer.
    pub fn set_channel(&self, channel: Channel) {
        self.0.outbox.lock().unhold(&channel.organization, &channel.id);
        self.0.channels.insert(channel);
        self.0.changed.notify_one();
    }

    /// Removes a channel and every delivery to it.
    ///
    /// # Errors
    ///
    /// Those of the store: then the channel is still there.
    pub async fn remove_channel(&self, channel: &Channel) -> insights_engine::Result<()> {
        let (organization, id) = (&channel.organization, &channel.id);
        self.0.store.put(vec![Channel::removal(organization, id)]).await?;
        self.0.channels.remove(organization, id);
        let removals = self.0.outbox.lock().remove_channel(organization, id);
        self.keep(removals).await;
        Ok(())
    }

    /// The removals of all records of an organization, for its erasure.
    pub fn removals(&self, organization: &TenantId) -> Vec<CatalogPut> {
        let channels = self.0.channels.list(Some(organization));
        let channels = channels.iter().map(|channel| Channel::removal(organization, &channel.id));
        channels.chain(self.0.outbox.lock().removals(organization)).collect()
    }

    /// Forgets the channels and deliveries of an organization that is erased, and removes the records of those that
    /// came meanwhile.
    pub async fn forget(&self, organization: &TenantId) {
        self.0.channels.remove_all(organization);
        let removals = self.0.outbox.lock().remove_all(organization);
        self.keep(removals).await;
    }

    /// Whether a URL names an address that may not be connected to. Where a name leads is seen when it is connected to.
    pub fn is_refused(&self, url: &TargetUrl) -> bool {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            Some(Host::Domain(_)) | None => return false,
        };
        self.0.guard.check(address).is_err()
    }

    /// Whether there is a relay for e-mail.
    pub fn sends_mail(&self) -> bool {
        self.0.sender.sends_mail()
    }

    /// Sends a message that tests a channel, past the outbox; none when too many are being tested.
    pub async fn test(&self, channel: Arc<Channel>) -> Option<Tested> {
        let _permit = self.0.tests.try_acquire().ok()?;
        let now = self.0.clock.now();
        let began = self.0.clock.monotonic();
        let message = test_message(&channel, now);
        let id = DeliveryId::random(&self.0.entropy);
        let attempt = self.0.sender.send(&channel, &id, &message, &[], now);
        let outcome = tokio::time::timeout(driver::ATTEMPT_TIMEOUT, attempt).await;
        let took = self.0.clock.monotonic().saturating_sub(began);
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (delivered, status, error) = match outcome {
            Ok(Outcome::Delivered { status, .. }) => (true, status, None),
            Ok(Outcome::Mailed { status, recipients }) => mailed(status, &recipients),
            Ok(Outcome::Failed { status, error, .. }) => (false, status, Some(error)),
            Err(_) => (false, None, Some("the attempt took too long".to_owned())),
        };
        Some(Tested { delivered, status, error, duration_ms })
    }

    /// The deliveries of an organization, or all of them, newest first.
    pub fn deliveries(&self, organization: Option<&TenantId>) -> Vec<Delivery> {
        self.0.outbox.lock().list(organization)
    }

    /// A delivery by its id.
    pub fn delivery(&self, id: &DeliveryId) -> Option<Delivery> {
        self.0.outbox.lock().get(id).cloned()
    }

    /// Puts a dead letter in line again.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn redeliver(&self, id: &DeliveryId) -> insights_engine::Result<Redelivered> {
        let put = self.0.outbox.lock().redeliver(id, self.0.clock.now());
        let Some(put) = put else { return Ok(Redelivered::NotDead) };
        self.0.store.put(vec![put]).await?;
        self.0.changed.notify_one();
        // It may have been sent, or made room for another, since.
        Ok(self.delivery(id).map_or(Redelivered::NotDead, |delivery| Redelivered::Queued(Box::new(delivery))))
    }

    /// How the outbox stands.
    pub fn standing(&self) -> Standing {
        let outbox = self.0.outbox.lock();
        let mut standing = Standing {
            counts: outbox.counts(),
            oldest: outbox.oldest(),
            bytes: outbox.bytes(),
            ..Standing::default()
        };
        for (state, count) in DeliveryState::ALL.into_iter().zip(outbox.by_state()) {
            match state {
                DeliveryState::Queued | DeliveryState::Delivering => standing.waiting += count,
                DeliveryState::Delivered => standing.delivered += count,
                DeliveryState::Dead => standing.dead += count,
            }
        }
        standing
    }
}

/// What became of a test mail that was not taken for all of its recipients, and for whom not.
fn mailed(status: Option<u16>, recipients: &[Recipient]) -> (bool, Option<u16>, Option<String>) {
    let (taken, left_out): (Vec<&Recipient>, Vec<&Recipient>) =
        recipients.iter().partition(|recipient| recipient.state == RecipientState::Taken);
    let of = |recipient: &&Recipient| {
        format!("{}: {}", recipient.address, recipient.error.as_deref().unwrap_or_default())
    };
    let errors: Vec<String> = left_out.iter().map(of).collect();
    let status = left_out.iter().find_map(|recipient| recipient.status).or(status);
    (!taken.is_empty(), status, Some(errors.join("; ")).filter(|error| !error.is_empty()))
}

/// A message that tests a channel. To an Alertmanager it is over as soon as it is said.
fn test_message(channel: &Channel, now: TimestampUs) -> Message {
    let labels = BTreeMap::from([("channel".to_owned(), channel.name.clone())]);
    let summary = text(channel.lang, Text::TestSummary).to_owned();
    let title = text(channel.lang, Text::TestTitle).to_owned();
    let alert = AlertNotice {
        rule_id: "test".to_owned(),
        name: title.clone(),
        status: AlertStatus::Resolved,
        severity: Severity::Info,
        labels: labels.clone(),
        annotations: BTreeMap::from([("summary".to_owned(), summary)]),
        value: None,
        threshold: None,
        starts_at: now,
        ends_at: Some(now),
        fingerprint: "test".to_owned(),
    };
    Message {
        organization: channel.organization.clone(),
        group_key: format!("test/{}", channel.id),
        status: AlertStatus::Resolved,
        severity: Severity::Info,
        title,
        alerts: vec![alert],
        truncated_alerts: 0,
        group_labels: labels.clone(),
        common_labels: labels,
        at: now,
        lang: channel.lang,
    }
}
