//! A channel: where an organization is told, in which shape and language; and its record in the catalog.

use std::fmt;
use std::sync::Arc;

use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::entropy::Entropy;
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::message::Lang;
use super::target_url::TargetUrl;
use crate::auth::api_key::random_text;
use crate::config::Secret;
use crate::domain::identifier::is_identifier;

/// What the key of a channel's record starts with; the organization and the id follow.
const PREFIX: &str = "notify/channel/";
/// Version of the stored record.
const VERSION: u32 = 1;
/// Characters of an id: 62^16 of them, so two are never the same.
const ID_CHARS: usize = 16;

/// The id of a channel. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChannelId(Arc<str>);

impl ChannelId {
    /// The id that a text is; none when it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        is_identifier(text).then(|| Self(text.into()))
    }

    /// A new one.
    pub fn random(entropy: &Entropy) -> Self {
        Self(format!("ch_{}", random_text(entropy, ID_CHARS)).into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ChannelId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("is no id of a channel")
    }
}

impl From<ChannelId> for String {
    fn from(id: ChannelId) -> Self {
        id.as_str().to_owned()
    }
}

/// The shape in which a channel is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChannelType {
    /// A signed POST of JSON.
    Webhook,
    /// A POST that Slack, Mattermost, Rocket.Chat and Discord (`/slack`) understand.
    Slack,
    /// The API of Alertmanager, version 2.
    Alertmanager,
    /// E-mail by the server's SMTP relay.
    Email,
}

impl ChannelType {
    /// Every type.
    pub const ALL: [Self; 4] = [Self::Webhook, Self::Slack, Self::Alertmanager, Self::Email];

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::Alertmanager => "alertmanager",
            Self::Email => "email",
        }
    }
}

/// Where a channel leads, with what it needs to get in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A URL, and the key its requests are signed with.
    Webhook {
        /// Where to.
        url: TargetUrl,
        /// `whsec_` and the key in base64.
        secret: Secret,
    },
    /// A URL, which is a secret itself.
    Slack {
        /// Where to.
        url: TargetUrl,
    },
    /// The address of an Alertmanager.
    Alertmanager {
        /// Where to, without `/api/v2/alerts`.
        url: TargetUrl,
        /// A bearer token, for one behind a proxy that asks for it.
        secret: Option<Secret>,
    },
    /// Addresses of people.
    Email {
        /// To whom.
        to: Vec<String>,
    },
}

impl Target {
    /// The type of the channel.
    pub const fn kind(&self) -> ChannelType {
        match self {
            Self::Webhook { .. } => ChannelType::Webhook,
            Self::Slack { .. } => ChannelType::Slack,
            Self::Alertmanager { .. } => ChannelType::Alertmanager,
            Self::Email { .. } => ChannelType::Email,
        }
    }

    /// The URL, where there is one.
    pub const fn url(&self) -> Option<&TargetUrl> {
        match self {
            Self::Webhook { url, .. } | Self::Slack { url } | Self::Alertmanager { url, .. } => Some(url),
            Self::Email { .. } => None,
        }
    }

    /// The secret, where there is one.
    pub const fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Webhook { secret, .. } => Some(secret),
            Self::Alertmanager { secret, .. } => secret.as_ref(),
            Self::Slack { .. } | Self::Email { .. } => None,
        }
    }
}

/// A channel of an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// Whose it is.
    pub organization: TenantId,
    /// What people call it.
    pub name: String,
    /// Where it leads.
    pub target: Target,
    /// The language of the words around titles and annotations.
    pub lang: Lang,
    /// Whether it is told that something is over.
    pub send_resolved: bool,
    /// Whether it is told anything.
    pub enabled: bool,
    /// When it was made.
    pub created: TimestampUs,
    /// When it was changed last.
    pub updated: TimestampUs,
}

/// The stored record; its organization and its id are in the key.
#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    name: String,
    #[serde(rename = "type")]
    kind: ChannelType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    to: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    lang: Lang,
    send_resolved: bool,
    enabled: bool,
    created_us: i64,
    updated_us: i64,
}

impl Channel {
    fn key(organization: &TenantId, id: &ChannelId) -> Vec<u8> {
        format!("{PREFIX}{organization}/{id}").into_bytes()
    }

    /// The catalog record that keeps it.
    pub fn put(&self) -> CatalogPut {
        let to = match &self.target {
            Target::Email { to } => to.clone(),
            _ => Vec::new(),
        };
        let record = Record {
            version: VERSION,
            name: self.name.clone(),
            kind: self.target.kind(),
            url: self.target.url().map(|url| url.expose().to_owned()),
            to,
            secret: self.target.secret().map(|secret| secret.expose().to_owned()),
            lang: self.lang,
            send_resolved: self.send_resolved,
            enabled: self.enabled,
            created_us: self.created.0,
            updated_us: self.updated.0,
        };
        let value = serde_json::to_vec(&record).unwrap_or_default();
        CatalogPut {
            kind: CatalogKind::Setting,
            key: Self::key(&self.organization, &self.id),
            value: Some(value),
        }
    }

    /// The catalog record that removes it.
    pub fn removal(organization: &TenantId, id: &ChannelId) -> CatalogPut {
        CatalogPut { kind: CatalogKind::Setting, key: Self::key(organization, id), value: None }
    }

    /// The channel of a catalog record; none when that is of a later version, or damaged.
    pub fn from_record(key: &[u8], value: &[u8]) -> Option<Self> {
        let (organization, id) = std::str::from_utf8(key).ok()?.strip_prefix(PREFIX)?.rsplit_once('/')?;
        let record: Record = serde_json::from_slice(value).ok()?;
        if record.version != VERSION {
            return None;
        }
        let url = record.url.as_deref().map(TargetUrl::parse).transpose().ok()?;
        let secret = record.secret.map(Secret::new);
        let target = match record.kind {
            ChannelType::Webhook => Target::Webhook { url: url?, secret: secret? },
            ChannelType::Slack => Target::Slack { url: url? },
            ChannelType::Alertmanager => Target::Alertmanager { url: url?, secret },
            ChannelType::Email => Target::Email { to: record.to },
        };
        Some(Self {
            id: ChannelId::parse(id)?,
            organization: TenantId::new(organization).ok()?,
            name: record.name,
            target,
            lang: record.lang,
            send_resolved: record.send_resolved,
            enabled: record.enabled,
            created: TimestampUs(record.created_us),
            updated: TimestampUs(record.updated_us),
        })
    }

    /// What the keys of all channels start with.
    pub(super) const fn prefix() -> &'static str {
        PREFIX
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A webhook of the organization `acme`.
    pub(in crate::notify) fn webhook(id: &str, url: &str) -> Channel {
        Channel {
            id: ChannelId::parse(id).unwrap(),
            organization: TenantId::new("acme").unwrap(),
            name: "on call".to_owned(),
            target: Target::Webhook {
                url: TargetUrl::parse(url).unwrap(),
                secret: Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            },
            lang: Lang::En,
            send_resolved: true,
            enabled: true,
            created: TimestampUs(1),
            updated: TimestampUs(2),
        }
    }

    #[test]
    fn the_bytes_of_a_channel_are_fixed_and_come_back() {
        let channel = webhook("ch_1", "https://example.com/in?token=t");
        let put = channel.put();
        assert_eq!(&put.key[..], b"notify/channel/acme/ch_1");
        let value = put.value.unwrap();
        let expected = concat!(
            r#"{"version":1,"name":"on call","type":"webhook","url":"https://example.com/in?token=t","#,
            r#""secret":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw","lang":"en","send_resolved":true,"#,
            r#""enabled":true,"created_us":1,"updated_us":2}"#
        );
        assert_eq!(std::str::from_utf8(&value).unwrap(), expected);
        assert_eq!(Channel::from_record(&put.key, &value), Some(channel.clone()));
        let email = Channel { target: Target::Email { to: vec!["a@example.com".to_owned()] }, ..channel };
        let put = email.put();
        assert_eq!(Channel::from_record(&put.key, &put.value.unwrap()), Some(email));
    }

    #[test]
    fn what_is_damaged_or_of_a_later_version_is_no_channel() {
        let put = webhook("ch_1", "https://example.com/").put();
        let value = put.value.unwrap();
        let text = std::str::from_utf8(&value).unwrap();
        let later = text.replace("\"version\":1", "\"version\":2");
        let without = text.replace("\"url\"", "\"was\"");
        for wrong in [&later, &without, "{}", ""] {
            assert_eq!(Channel::from_record(&put.key, wrong.as_bytes()), None, "{wrong}");
        }
        for wrong in [&b"notify/channel/acme"[..], b"notify/channel/acme/a b", b"\xff"] {
            assert_eq!(Channel::from_record(wrong, &value), None);
        }
    }

    #[test]
    fn a_channel_is_debugged_without_its_secrets() {
        let text = format!("{:?}", webhook("ch_1", "https://example.com/services/T0/B0?token=hush"));
        assert!(!text.contains("hush") && !text.contains("T0") && !text.contains("MfKQ"), "{text}");
    }
}
