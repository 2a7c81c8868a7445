//! Every channel of this store in memory.
//!
//! The catalog is the truth; this follows it: a channel counts once its record is durable, and is gone as soon as its
//! removal is.

use std::collections::BTreeMap;
use std::sync::Arc;

use insights_engine::append::CatalogKind;
use insights_engine::id::TenantId;
use parking_lot::RwLock;

use super::channel::{Channel, ChannelId};

/// Most channels of an organization.
pub const CHANNELS_MAX: usize = 50;

/// Every channel of this store.
#[derive(Debug, Default)]
pub struct Channels {
    channels: RwLock<BTreeMap<(TenantId, ChannelId), Arc<Channel>>>,
}

impl Channels {
    /// The channels of catalog records; `scan` gives those with a prefix. One that cannot be read is left out and
    /// logged: nothing is sent to it.
    pub fn load<V: AsRef<[u8]>>(scan: impl Fn(CatalogKind, &[u8]) -> Vec<(Vec<u8>, V)>) -> Self {
        let mut channels = BTreeMap::new();
        for (key, value) in scan(CatalogKind::Setting, Channel::prefix().as_bytes()) {
            match Channel::from_record(&key, value.as_ref()) {
                Some(channel) => {
                    channels.insert((channel.organization.clone(), channel.id.clone()), Arc::new(channel));
                }
                None => {
                    tracing::error!(key = %String::from_utf8_lossy(&key), "a channel's record cannot be read");
                }
            }
        }
        Self { channels: RwLock::new(channels) }
    }

    /// A channel of an organization.
    pub fn get(&self, organization: &TenantId, id: &ChannelId) -> Option<Arc<Channel>> {
        self.channels.read().get(&(organization.clone(), id.clone())).map(Arc::clone)
    }

    /// A channel by its id alone, for those who see every organization.
    pub fn find(&self, id: &ChannelId) -> Option<Arc<Channel>> {
        self.channels
            .read()
            .iter()
            .find(|((_, other), _)| other == id)
            .map(|(_, channel)| Arc::clone(channel))
    }

    /// The channels of an organization, or all of them; newest first, equal instants by id.
    pub fn list(&self, organization: Option<&TenantId>) -> Vec<Arc<Channel>> {
        let channels = self.channels.read();
        let wanted =
            channels.values().filter(|channel| organization.is_none_or(|o| channel.organization == *o));
        let mut list: Vec<_> = wanted.map(Arc::clone).collect();
        list.sort_by(|a, b| (b.created, &a.id).cmp(&(a.created, &b.id)));
        list
    }

    /// How many channels an organization has.
    pub fn count(&self, organization: &TenantId) -> usize {
        self.channels.read().keys().filter(|(other, _)| other == organization).count()
    }

    /// Sets a channel whose record is durable.
    pub fn insert(&self, channel: Channel) {
        let key = (channel.organization.clone(), channel.id.clone());
        self.channels.write().insert(key, Arc::new(channel));
    }

    /// Forgets a channel whose removal is durable.
    pub fn remove(&self, organization: &TenantId, id: &ChannelId) {
        self.channels.write().remove(&(organization.clone(), id.clone()));
    }

    /// Forgets the channels of an organization that is erased.
    pub fn remove_all(&self, organization: &TenantId) {
        self.channels.write().retain(|(other, _), _| other != organization);
    }
}

#[cfg(test)]
mod tests {
    use super::super::channel::tests::webhook;
    use super::*;

    #[test]
    fn channels_are_found_in_their_own_organization_alone() {
        let channels = Channels::default();
        let channel = webhook("ch_1", "https://example.com/");
        let (acme, beta) = (channel.organization.clone(), TenantId::new("beta").unwrap());
        let put = channel.put();
        let id = channel.id.clone();
        channels.insert(channel);
        assert!(channels.get(&acme, &id).is_some() && channels.get(&beta, &id).is_none());
        assert_eq!((channels.count(&acme), channels.count(&beta)), (1, 0));
        assert_eq!((channels.list(None).len(), channels.list(Some(&beta)).len()), (1, 0));
        let again = Channels::load(|_, _| vec![(put.key.clone(), put.value.clone().unwrap())]);
        assert_eq!(again.list(None), channels.list(None));
        channels.remove_all(&acme);
        assert!(channels.list(None).is_empty());
    }
}
