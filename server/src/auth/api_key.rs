//! API keys: their text (`ins_<id>_<secret>`), what they allow, and the record that is stored.
//!
//! The secret is 40 random characters, so a plain SHA-256 of it is enough: there is nothing to guess.
//! The record is JSON in the engine's catalog; it holds the hash, never the secret.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::entropy::Entropy;
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::scope::Scopes;

/// What every key starts with, so that scanners of repositories find leaked ones.
const PREFIX: &str = "ins_";

/// Characters of a key's id: 62^12 of them, so two are never the same.
const ID_CHARS: usize = 12;

/// Characters of a key's secret: 238 bits.
const SECRET_CHARS: usize = 40;

/// Most characters of either part that are looked at.
const PART_CHARS_MAX: usize = 64;

/// Digits and letters: no separator is among them, and a double click selects a whole part.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Splits the text of a key into its id and its secret.
pub fn split(text: &str) -> Option<(&str, &str)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let fits = |part: &str| {
        (1..=PART_CHARS_MAX).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    (fits(id) && fits(secret)).then_some((id, secret))
}

/// Whether a text looks like a key, right or wrong.
pub fn looks_like_key(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// SHA-256 of a secret.
pub fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// Random digits and letters.
pub fn random_text(entropy: &Entropy, chars: usize) -> String {
    let mut out = String::with_capacity(chars);
    while out.len() < chars {
        // 248 is the greatest multiple of 62 in a byte: above it some characters would be likelier.
        for byte in entropy.next().into_iter().filter(|byte| *byte < 248) {
            if out.len() < chars
                && let Some(char) = ALPHABET.get(usize::from(byte % 62))
            {
                out.push(char::from(*char));
            }
        }
    }
    out
}

/// What a key allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// Everything.
    Superuser,
    /// Some things in one organization.
    Organization {
        /// The organization.
        organization: TenantId,
        /// As given; `admin` implies the others when it is used.
        scopes: Scopes,
    },
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id, the middle part of its text.
    pub id: Arc<str>,
    /// What people call it.
    pub name: String,
    /// What it allows.
    pub grant: Grant,
    /// When it was made.
    pub created: TimestampUs,
    /// The credential that made it.
    pub created_by: String,
    /// From when on it is worth nothing.
    pub expires: Option<TimestampUs>,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
}

impl ApiKey {
    /// A new key and its text, which exists only here.
    pub fn issue(
        name: &str,
        grant: Grant,
        expires: Option<TimestampUs>,
        created: TimestampUs,
        created_by: &str,
        entropy: &Entropy,
    ) -> (Self, String) {
        let (id, secret) = (random_text(entropy, ID_CHARS), random_text(entropy, SECRET_CHARS));
        let text = format!("{PREFIX}{id}_{secret}");
        let key = Self {
            id: id.into(),
            name: name.to_owned(),
            grant,
            created,
            created_by: created_by.to_owned(),
            expires,
            hash: hash(&secret),
        };
        (key, text)
    }

    /// Whether it is worth nothing any more.
    pub fn is_expired(&self, now: TimestampUs) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// The organization it is bound to.
    pub fn organization(&self) -> Option<&TenantId> {
        match &self.grant {
            Grant::Superuser => None,
            Grant::Organization { organization, .. } => Some(organization),
        }
    }

    /// The catalog record that keeps it.
    pub fn put(&self) -> CatalogPut {
        let (organization_id, scopes) = match &self.grant {
            Grant::Superuser => (None, Vec::new()),
            Grant::Organization { organization, scopes } => (Some(organization.as_str()), scopes.names()),
        };
        let record = Record {
            version: VERSION,
            name: self.name.as_str().into(),
            organization_id: organization_id.map(Into::into),
            superuser: self.grant == Grant::Superuser,
            scopes: scopes.into_iter().map(Into::into).collect(),
            created_us: self.created.0,
            created_by: self.created_by.as_str().into(),
            expires_us: self.expires.map(|at| at.0),
            hash: URL_SAFE_NO_PAD.encode(self.hash).into(),
        };
        let value = serde_json::to_vec(&record).unwrap_or_default();
        CatalogPut { kind: CatalogKind::ApiKey, key: self.id.as_bytes().to_vec(), value: Some(value) }
    }

    /// The catalog record that removes it.
    pub fn removal(id: &str) -> CatalogPut {
        CatalogPut { kind: CatalogKind::ApiKey, key: id.as_bytes().to_vec(), value: None }
    }

    /// A key from its catalog record; `None` when that is of a newer version, or damaged.
    pub fn from_record(id: &[u8], value: &[u8]) -> Option<Self> {
        let id = std::str::from_utf8(id).ok()?;
        let record: Record<'_> = serde_json::from_slice(value).ok()?;
        if record.version != VERSION {
            return None;
        }
        let grant = match (record.superuser, record.organization_id) {
            (true, None) => Grant::Superuser,
            (false, Some(organization)) => Grant::Organization {
                organization: TenantId::new(&organization).ok()?,
                // A scope of a later version is unknown here and gives nothing.
                scopes: record
                    .scopes
                    .iter()
                    .filter_map(|s| Scopes::from_name(s))
                    .fold(Scopes::NONE, Scopes::with),
            },
            (true, Some(_)) | (false, None) => return None,
        };
        Some(Self {
            id: id.into(),
            name: record.name.into_owned(),
            grant,
            created: TimestampUs(record.created_us),
            created_by: record.created_by.into_owned(),
            expires: record.expires_us.map(TimestampUs),
            hash: URL_SAFE_NO_PAD.decode(record.hash.as_bytes()).ok()?.try_into().ok()?,
        })
    }
}

/// Version of the stored record.
const VERSION: u8 = 1;

/// The stored record.
#[derive(Serialize, Deserialize)]
struct Record<'a> {
    version: u8,
    name: std::borrow::Cow<'a, str>,
    organization_id: Option<std::borrow::Cow<'a, str>>,
    superuser: bool,
    scopes: Vec<std::borrow::Cow<'a, str>>,
    created_us: i64,
    created_by: std::borrow::Cow<'a, str>,
    expires_us: Option<i64>,
    hash: std::borrow::Cow<'a, str>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> (ApiKey, String) {
        let grant = Grant::Organization {
            organization: TenantId::new("acme").unwrap(),
            scopes: Scopes::TRACK | Scopes::READ,
        };
        let entropy = Entropy::from_seed([1; 32]);
        ApiKey::issue("web", grant, Some(TimestampUs(9)), TimestampUs(1), "superuser", &entropy)
    }

    #[test]
    fn a_key_is_found_by_its_id_and_proved_by_its_secret() {
        let (key, text) = key();
        let (id, secret) = split(&text).unwrap();
        assert_eq!((id.len(), secret.len()), (ID_CHARS, SECRET_CHARS));
        assert_eq!(id, &*key.id);
        assert_eq!(hash(secret), key.hash);
        let stored = key.put().value.unwrap();
        assert!(!String::from_utf8(stored).unwrap().contains(secret));
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let (key, _) = key();
        let put = key.put();
        assert_eq!(ApiKey::from_record(&put.key, &put.value.unwrap()), Some(key.clone()));
        let superuser = ApiKey { grant: Grant::Superuser, expires: None, ..key };
        let put = superuser.put();
        assert_eq!(ApiKey::from_record(&put.key, &put.value.unwrap()), Some(superuser));
    }

    #[test]
    fn the_stored_record_is_pinned() {
        let golden = include_bytes!("../../tests/fixtures/v1/api_key.json");
        let (key, _) = key();
        assert_eq!(
            String::from_utf8(key.put().value.unwrap()).unwrap(),
            String::from_utf8_lossy(golden).trim_end()
        );
    }

    #[test]
    fn what_is_no_key_is_not_split() {
        for text in
            ["", "ins_", "ins__", "ins_a_", "ins_a", "ins_a_b c", "ins_a_b_c", "sk_a_b", "ins_\u{e9}_b"]
        {
            assert_eq!(split(text), None, "{text}");
        }
        assert_eq!(split(&format!("ins_a_{}", "b".repeat(65))), None);
    }

    #[test]
    fn a_key_expires_at_the_instant_it_names() {
        let (key, _) = key();
        assert!(!key.is_expired(TimestampUs(8)));
        assert!(key.is_expired(TimestampUs(9)));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(ins_)?.{0,80}", value in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = split(&text);
            let _ = ApiKey::from_record(text.as_bytes(), &value);
        }
    }
}
