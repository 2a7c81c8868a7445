//! A delivery: one message on its way to one channel, and its record in the catalog.

use std::fmt;
use std::sync::Arc;

use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::entropy::Entropy;
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::channel::ChannelId;
use super::message::{Message, StoredMessage, cut};
use crate::auth::api_key::random_text;
use crate::domain::identifier::is_identifier;

/// What the key of a delivery's record starts with; the organization and the id follow.
const PREFIX: &str = "notify/outbox/";
/// Version of the stored record.
const VERSION: u32 = 1;
/// Characters of an id: 62^22 of them, more than 128 bits.
const ID_CHARS: usize = 22;
/// Most bytes of the text of a failure.
const ERROR_BYTES_MAX: usize = 500;

/// The id of a delivery: the same at every attempt, so that a receiver knows one it has seen. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(Arc<str>);

impl DeliveryId {
    /// The id that a text is; none when it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        is_identifier(text).then(|| Self(text.into()))
    }

    /// A new one.
    pub fn random(entropy: &Entropy) -> Self {
        Self(format!("msg_{}", random_text(entropy, ID_CHARS)).into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// It waits for its first attempt, or its next.
    Queued,
    /// An attempt is going on. Kept as queued: one the server does not outlive is made again.
    Delivering,
    /// It arrived.
    Delivered,
    /// A dead letter: it did not arrive, and is not tried again by itself.
    Dead,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Queued, Self::Delivering, Self::Delivered, Self::Dead];

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Delivering => "delivering",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

/// What became of the last attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended.
    #[serde(rename = "at_us")]
    pub at: TimestampUs,
    /// The status of the answer: of HTTP or SMTP; none without an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What went wrong; none when it arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Attempt {
    /// An attempt; a long error is cut.
    pub fn new(at: TimestampUs, status: Option<u16>, mut error: Option<String>) -> Self {
        if let Some(error) = &mut error {
            cut(error, ERROR_BYTES_MAX);
        }
        Self { at, status, error }
    }
}

/// What the relay made of one recipient of an e-mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RecipientState {
    /// It took the mail for it.
    Taken,
    /// It refused it for now: it is asked again while there are attempts, and until a later message of the group.
    Deferred,
    /// It refused it for good, or it is none of the channel's people any more.
    Refused,
}

/// One recipient of an e-mail of which not all were taken at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The address.
    pub address: String,
    /// What became of it.
    pub state: RecipientState,
    /// The status of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it was not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Recipient {
    /// One that was taken.
    pub fn taken(address: String) -> Self {
        Self { address, state: RecipientState::Taken, status: None, error: None }
    }
}

/// One message on its way to one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// Its place among all deliveries of this store: those of one channel and group arrive in this order.
    pub seq: u64,
    /// Where to.
    pub channel: ChannelId,
    /// How far it is.
    pub state: DeliveryState,
    /// How many attempts have failed since it was queued.
    pub attempts: u32,
    /// When it was enqueued.
    pub enqueued: TimestampUs,
    /// When it is due, while it is queued. Of one that arrived: when it is said again, where the channel wants that, or
    /// tried again with the rest of its recipients.
    pub due: Option<TimestampUs>,
    /// When it arrived or was given up.
    pub ended: Option<TimestampUs>,
    /// Its last attempt.
    pub last: Option<Attempt>,
    /// Whether it is told once whatever the channel wants: nobody will tell how what it says ended.
    pub once: bool,
    /// What became of its recipients, when it is an e-mail of which not all were taken at once.
    pub recipients: Vec<Recipient>,
    /// What is told. Of one that arrived only the headline, unless it is said again.
    pub message: Arc<Message>,
}

/// The stored record; its organization and its id are in the key.
#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    seq: u64,
    channel: ChannelId,
    state: DeliveryState,
    attempts: u32,
    enqueued_us: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_us: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<Attempt>,
    #[serde(default, skip_serializing_if = "is_false")]
    once: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<Recipient>,
    message: StoredMessage,
}

/// The signature is that of `skip_serializing_if`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Delivery {
    /// The organization whose message it is.
    pub fn organization(&self) -> &TenantId {
        &self.message.organization
    }

    /// Whether some of its recipients are to be tried again.
    pub fn has_deferred(&self) -> bool {
        self.recipients.iter().any(|recipient| recipient.state == RecipientState::Deferred)
    }

    /// Nothing of it is to be sent any more: it is not said again, and its alerts are not kept.
    pub(super) fn close(&mut self) {
        self.due = None;
        self.message = self.message.headline().into();
    }

    fn key(&self) -> Vec<u8> {
        format!("{PREFIX}{}/{}", self.organization(), self.id).into_bytes()
    }

    /// The catalog record that keeps it.
    pub fn put(&self) -> CatalogPut {
        let record = Record {
            version: VERSION,
            seq: self.seq,
            channel: self.channel.clone(),
            state: match self.state {
                DeliveryState::Delivering => DeliveryState::Queued,
                other => other,
            },
            attempts: self.attempts,
            enqueued_us: self.enqueued.0,
            due_us: self.due.map(|at| at.0),
            ended_us: self.ended.map(|at| at.0),
            last: self.last.clone(),
            once: self.once,
            recipients: self.recipients.clone(),
            message: StoredMessage::from(&*self.message),
        };
        let value = serde_json::to_vec(&record).unwrap_or_default();
        CatalogPut { kind: CatalogKind::Setting, key: self.key(), value: Some(value) }
    }

    /// The catalog record that removes it.
    pub fn removal(&self) -> CatalogPut {
        CatalogPut { kind: CatalogKind::Setting, key: self.key(), value: None }
    }

    /// The delivery of a catalog record; none when that is of a later version, or damaged.
    pub fn from_record(key: &[u8], value: &[u8]) -> Option<Self> {
        let (organization, id) = std::str::from_utf8(key).ok()?.strip_prefix(PREFIX)?.rsplit_once('/')?;
        let record: Record = serde_json::from_slice(value).ok()?;
        let state = match record.state {
            DeliveryState::Delivering => return None,
            state => state,
        };
        let message = record.message.of(TenantId::new(organization).ok()?);
        let due = record.due_us.map(TimestampUs);
        (record.version == VERSION).then_some(())?;
        Some(Self {
            id: DeliveryId::parse(id)?,
            seq: record.seq,
            channel: record.channel,
            state,
            attempts: record.attempts,
            enqueued: TimestampUs(record.enqueued_us),
            due,
            ended: record.ended_us.map(TimestampUs),
            last: record.last,
            once: record.once,
            recipients: record.recipients,
            message: Arc::new(message),
        })
    }

    /// What the keys of all deliveries start with.
    pub(super) const fn prefix() -> &'static str {
        PREFIX
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::message::tests::message;
    use super::*;

    fn delivery() -> Delivery {
        Delivery {
            id: DeliveryId::parse("msg_1").unwrap(),
            seq: 4,
            channel: ChannelId::parse("ch_1").unwrap(),
            state: DeliveryState::Queued,
            attempts: 2,
            enqueued: TimestampUs(5),
            due: Some(TimestampUs(9)),
            ended: None,
            last: Some(Attempt::new(TimestampUs(6), Some(503), Some("unavailable".to_owned()))),
            once: false,
            recipients: Vec::new(),
            message: Arc::new(message("shop", TimestampUs(5))),
        }
    }

    #[test]
    fn the_bytes_of_a_delivery_are_fixed_and_come_back() {
        let put = delivery().put();
        assert_eq!(&put.key[..], b"notify/outbox/acme/msg_1");
        let value = put.value.unwrap();
        let expected = concat!(
            r#"{"version":1,"seq":4,"channel":"ch_1","state":"queued","attempts":2,"enqueued_us":5,"due_us":9,"#,
            r#""last":{"at_us":6,"status":503,"error":"unavailable"},"message":{"group_key":"shop","#,
            r#""status":"firing","severity":"critical","title":"Errors of the shop","alerts":[{"#,
            r#""rule_id":"rule-1","name":"Errors of the shop","status":"firing","severity":"critical","#,
            r#""labels":{"app":"shop"},"annotations":{"summary":"12 % of requests fail"},"value":12.0,"#,
            r#""threshold":5.0,"starts_us":5,"fingerprint":"00c0ffee"}],"truncated_alerts":0,"#,
            r#""group_labels":{"app":"shop"},"common_labels":{"app":"shop"},"at_us":5,"lang":"en"}}"#
        );
        assert_eq!(std::str::from_utf8(&value).unwrap(), expected);
        assert_eq!(Delivery::from_record(&put.key, &value), Some(delivery()));
    }

    #[test]
    fn what_is_told_once_stays_so() {
        let once = Delivery { once: true, ..delivery() };
        let put = once.put();
        assert_eq!(Delivery::from_record(&put.key, &put.value.unwrap()), Some(once));
    }

    #[test]
    fn what_became_of_recipients_is_kept() {
        let deferred = Recipient {
            address: "bob@example.com".to_owned(),
            state: RecipientState::Deferred,
            status: Some(452),
            error: Some("full".to_owned()),
        };
        let recipients = vec![Recipient::taken("ann@example.com".to_owned()), deferred];
        let partly = Delivery { recipients, ..delivery() };
        let put = partly.put();
        let value = put.value.unwrap();
        let expected = concat!(
            r#""recipients":[{"address":"ann@example.com","state":"taken"},"#,
            r#"{"address":"bob@example.com","state":"deferred","status":452,"error":"full"}],"message""#
        );
        assert!(std::str::from_utf8(&value).unwrap().contains(expected));
        assert_eq!(Delivery::from_record(&put.key, &value), Some(partly));
    }

    #[test]
    fn an_attempt_that_is_going_on_is_kept_as_one_to_come() {
        let going_on = Delivery { state: DeliveryState::Delivering, ..delivery() };
        let put = going_on.put();
        assert_eq!(Delivery::from_record(&put.key, &put.value.unwrap()), Some(delivery()));
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_refused_or_read_and_never_panic(at in 0_usize..800, byte: u8) {
            let put = delivery().put();
            let (mut key, mut value) = (put.key, put.value.unwrap());
            let (in_key, in_value) = (at % key.len(), at % value.len());
            value[in_value] = byte;
            let _ = Delivery::from_record(&key, &value);
            key[in_key] = byte;
            let _ = Delivery::from_record(&key, &value);
        }
    }
}
