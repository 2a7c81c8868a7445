//! Every API key of this store in memory, with when each was used last.
//!
//! The catalog is the truth; this follows it: a key counts once its record is durable, and is gone
//! as soon as its removal is.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;
use parking_lot::RwLock;
use subtle::ConstantTimeEq;

use super::api_key::{self, ApiKey};

/// What a catalog record that holds the last use of a key is named, followed by the key's id.
const LAST_USE_PREFIX: &str = "key_last_use/";

/// A key that was never used.
const NEVER: i64 = i64::MIN;

/// A key and when it was used last.
#[derive(Debug)]
pub struct KeyEntry {
    /// The key.
    pub key: ApiKey,
    last_use_us: AtomicI64,
    /// The last use that the catalog knows.
    stored_use_us: AtomicI64,
}

impl KeyEntry {
    fn new(key: ApiKey, last_use_us: i64) -> Self {
        Self { key, last_use_us: AtomicI64::new(last_use_us), stored_use_us: AtomicI64::new(last_use_us) }
    }

    /// When it was used last.
    pub fn last_use(&self) -> Option<TimestampUs> {
        let at = self.last_use_us.load(Ordering::Relaxed);
        (at != NEVER).then_some(TimestampUs(at))
    }
}

/// Every API key of this store.
#[derive(Debug, Default)]
pub struct Keyring {
    keys: RwLock<HashMap<Arc<str>, Arc<KeyEntry>>>,
}

impl Keyring {
    /// The keyring of catalog records; `scan` gives those of a kind with a prefix.
    ///
    /// A record that cannot be read is left out and logged: its key does not work.
    pub fn load<V: AsRef<[u8]>>(scan: impl Fn(CatalogKind, &[u8]) -> Vec<(Vec<u8>, V)>) -> Self {
        let uses: HashMap<Vec<u8>, i64> = scan(CatalogKind::Setting, LAST_USE_PREFIX.as_bytes())
            .into_iter()
            .filter_map(|(name, value)| {
                let id = name.strip_prefix(LAST_USE_PREFIX.as_bytes())?.to_vec();
                Some((id, i64::from_le_bytes(value.as_ref().try_into().ok()?)))
            })
            .collect();
        let mut keys = HashMap::new();
        for (id, value) in scan(CatalogKind::ApiKey, b"") {
            let Some(key) = ApiKey::from_record(&id, value.as_ref()) else {
                tracing::error!(id = %String::from_utf8_lossy(&id), "an API key's record cannot be read");
                continue;
            };
            let last_use = uses.get(&id).copied().unwrap_or(NEVER);
            keys.insert(Arc::clone(&key.id), Arc::new(KeyEntry::new(key, last_use)));
        }
        Self { keys: RwLock::new(keys) }
    }

    /// The key that a text is, when it is right and has not expired; this counts as a use.
    pub fn verify(&self, text: &str, now: TimestampUs) -> Option<Arc<KeyEntry>> {
        let (id, secret) = api_key::split(text)?;
        let entry = self.keys.read().get(id).map(Arc::clone);
        // An unknown id costs what a wrong secret costs.
        let expected = entry.as_ref().map_or([0; 32], |entry| entry.key.hash);
        let right = bool::from(api_key::hash(secret).ct_eq(&expected));
        let entry = entry.filter(|entry| right && !entry.key.is_expired(now))?;
        entry.last_use_us.fetch_max(now.0, Ordering::Relaxed);
        Some(entry)
    }

    /// Adds a key whose record is durable.
    pub fn insert(&self, key: ApiKey) {
        self.keys.write().insert(Arc::clone(&key.id), Arc::new(KeyEntry::new(key, NEVER)));
    }

    /// Forgets a key whose removal is durable.
    pub fn remove(&self, id: &str) {
        self.keys.write().remove(id);
    }

    /// A key by its id.
    pub fn get(&self, id: &str) -> Option<Arc<KeyEntry>> {
        self.keys.read().get(id).map(Arc::clone)
    }

    /// The keys of an organization, or all of them; newest first, equal instants by id.
    pub fn list(&self, organization: Option<&TenantId>) -> Vec<Arc<KeyEntry>> {
        let mut keys: Vec<_> = self
            .keys
            .read()
            .values()
            .filter(|entry| organization.is_none() || entry.key.organization() == organization)
            .map(Arc::clone)
            .collect();
        keys.sort_by(|a, b| (b.key.created, &a.key.id).cmp(&(a.key.created, &b.key.id)));
        keys
    }

    /// The catalog records of the last uses that are newer than what is stored.
    pub fn last_uses(&self) -> Vec<CatalogPut> {
        let keys = self.keys.read();
        let changed = keys.values().filter_map(|entry| {
            let at = entry.last_use_us.load(Ordering::Relaxed);
            let stored = entry.stored_use_us.swap(at, Ordering::Relaxed);
            (at != stored).then(|| last_use_put(&entry.key.id, Some(at)))
        });
        changed.collect()
    }
}

/// The record of a key's last use; without one, its removal.
pub fn last_use_put(id: &str, at_us: Option<i64>) -> CatalogPut {
    CatalogPut {
        kind: CatalogKind::Setting,
        key: format!("{LAST_USE_PREFIX}{id}").into_bytes(),
        value: at_us.map(|at| at.to_le_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use insights_engine::entropy::Entropy;

    use super::super::api_key::Grant;
    use super::*;

    fn key(created: i64, expires: Option<i64>) -> (ApiKey, String) {
        let entropy = Entropy::from_seed([u8::try_from(created).unwrap(); 32]);
        let (at, expires) = (TimestampUs(created), expires.map(TimestampUs));
        ApiKey::issue("name", Grant::Superuser, expires, at, "test", &entropy)
    }

    #[test]
    fn a_key_works_until_it_is_removed_or_expires() {
        let ring = Keyring::default();
        let (first, text) = key(1, Some(100));
        let id = Arc::clone(&first.id);
        assert!(ring.verify(&text, TimestampUs(5)).is_none());
        ring.insert(first);
        assert!(ring.verify(&text, TimestampUs(99)).is_some());
        assert!(ring.verify(&text, TimestampUs(100)).is_none());
        ring.remove(&id);
        assert!(ring.verify(&text, TimestampUs(5)).is_none());
    }

    #[test]
    fn a_wrong_secret_is_no_use_of_a_key() {
        let ring = Keyring::default();
        let (first, text) = key(1, None);
        let id = Arc::clone(&first.id);
        ring.insert(first);
        assert!(ring.verify(&format!("{text}x"), TimestampUs(5)).is_none());
        assert_eq!(ring.get(&id).unwrap().last_use(), None);
    }

    #[test]
    fn a_last_use_is_stored_once_and_found_again() {
        let ring = Keyring::default();
        let (first, text) = key(1, None);
        let records = [(first.id.as_bytes().to_vec(), first.put().value.unwrap())];
        ring.insert(first);
        assert_eq!(ring.last_uses(), []);
        ring.verify(&text, TimestampUs(7)).unwrap();
        ring.verify(&text, TimestampUs(6)).unwrap();
        let puts = ring.last_uses();
        assert_eq!(puts.len(), 1);
        assert_eq!(ring.last_uses(), []);
        let again = Keyring::load(|kind, _| match kind {
            CatalogKind::ApiKey => records.to_vec(),
            _ => puts.iter().map(|p| (p.key.clone(), p.value.clone().unwrap())).collect(),
        });
        assert_eq!(again.list(None)[0].last_use(), Some(TimestampUs(7)));
        assert_eq!(again.last_uses(), []);
    }

    #[test]
    fn keys_are_listed_newest_first() {
        let ring = Keyring::default();
        for created in [2, 3, 1] {
            ring.insert(key(created, None).0);
        }
        let created: Vec<_> = ring.list(None).iter().map(|entry| entry.key.created.0).collect();
        assert_eq!(created, [3, 2, 1]);
        assert!(ring.list(Some(&TenantId::new("acme").unwrap())).is_empty());
    }
}
