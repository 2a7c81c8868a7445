//! Notifications: messages about alerts on their way to the channels of an organization.
//!
//! A message is durable before [`Notify::enqueue`] returns (the outbox), and is sent by [`drive`] until its
//! receiver has taken it or eight attempts have failed: at least once, over restarts too, each time under the same id.
//! Which addresses a channel may lead to says [`net::guard`].

pub mod backoff;
pub mod channel;
pub mod channels;
pub mod delivery;
mod driver;
mod manage;
pub mod message;
pub mod net;
pub mod outbox;
pub mod send;
pub mod target_url;
#[cfg(test)]
pub(crate) mod testing;

use std::fmt;
use std::sync::Arc;

use insights_engine::append::CatalogPut;
use insights_engine::clock::Clock;
use insights_engine::entropy::Entropy;
use insights_engine::id::TenantId;
use parking_lot::Mutex;
use tokio::sync;

use crate::config::NotifyConfig;
use crate::store::Store;
pub use channel::ChannelId;
use channels::Channels;
use delivery::DeliveryId;
pub use driver::drive;
pub use manage::{Redelivered, Standing, Tested};
pub use message::{AlertNotice, AlertStatus, Lang, Message};
use net::client::HttpClient;
use net::connect::Connector;
use net::guard::Guard;
use net::resolve::{Resolve, SystemResolver};
use outbox::{Full, Outbox};
use send::Sender;

/// Most channels of one message.
pub const CHANNELS_OF_MESSAGE_MAX: usize = channels::CHANNELS_MAX;

/// A message that was not enqueued.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no room: too much waits that could not be sent.
    #[error(transparent)]
    Full(#[from] Full),
    /// More channels than an organization can have.
    #[error("a message goes to {CHANNELS_OF_MESSAGE_MAX} channels at most")]
    TooManyChannels,
    /// The store did not take it.
    #[error("the message was not written")]
    Store(#[from] insights_engine::Error),
}

/// What became of a message that was enqueued.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Enqueued {
    /// The deliveries that were made, one for each channel that is told.
    pub deliveries: Vec<DeliveryId>,
    /// Channels that are not told: gone, disabled, or not told of what is over.
    pub skipped: Vec<ChannelId>,
}

/// The channels and the outbox of a server. Cheap to clone.
#[derive(Clone)]
pub struct Notify(Arc<Shared>);

struct Shared {
    store: Store,
    clock: Arc<dyn Clock>,
    entropy: Arc<Entropy>,
    channels: Channels,
    outbox: Mutex<Outbox>,
    sender: Sender,
    guard: Guard,
    /// Held by whoever changes a channel.
    changing: sync::Mutex<()>,
    /// Channels that may be tested at once.
    tests: sync::Semaphore,
    /// Something may be due that was not: a message was enqueued, or an attempt has ended.
    changed: sync::Notify,
}

impl Notify {
    /// The channels and the outbox as the store has left them.
    pub fn new(store: Store, config: &NotifyConfig, clock: Arc<dyn Clock>, entropy: Arc<Entropy>) -> Self {
        Self::with_resolver(store, config, clock, entropy, Arc::new(SystemResolver))
    }

    /// The same with another way from names to addresses.
    pub fn with_resolver(
        store: Store,
        config: &NotifyConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<Entropy>,
        resolver: Arc<dyn Resolve>,
    ) -> Self {
        let channels = Channels::load(|kind, prefix| store.catalog_scan(kind, prefix));
        let outbox = Mutex::new(Outbox::load(|kind, prefix| store.catalog_scan(kind, prefix)));
        let guard = Guard::new(config.allowed_networks.clone());
        let http = HttpClient::new(Connector::new(resolver, guard.clone()), &config.authorities);
        Self(Arc::new(Shared {
            store,
            clock,
            entropy,
            channels,
            outbox,
            sender: Sender::new(http, config.smtp.as_ref(), &config.authorities),
            guard,
            changing: sync::Mutex::new(()),
            tests: sync::Semaphore::new(manage::TESTS_AT_ONCE_MAX),
            changed: sync::Notify::new(),
        }))
    }

    /// Enqueues a message for channels of its organization; durable when it returns.
    ///
    /// A channel that is gone, disabled, or does not want to hear that something is over is skipped, and what it was
    /// told of the group before is not said again. The message is [`Message::bounded`] first.
    ///
    /// # Errors
    ///
    /// [`Error`]: nothing was enqueued.
    pub async fn enqueue(&self, channels: &[ChannelId], message: Message) -> Result<Enqueued, Error> {
        self.enqueue_with(channels, message, Vec::new()).await
    }

    /// As [`Self::enqueue`], and writes records of the caller together with it: either all of it is durable or nothing.
    /// So a caller that keeps what it has said neither says it twice nor forgets it when the server ends in between.
    /// They are written, too, when no channel is told.
    ///
    /// # Errors
    ///
    /// [`Error`]: nothing was enqueued and nothing was written.
    pub async fn enqueue_with(
        &self,
        channels: &[ChannelId],
        message: Message,
        with: Vec<CatalogPut>,
    ) -> Result<Enqueued, Error> {
        let all = self.enqueue_all(vec![(channels.to_vec(), message)], with).await?;
        Ok(all.into_iter().next().unwrap_or_default())
    }

    /// As [`Self::enqueue_with`], several messages at once: either all of them are durable or none is.
    ///
    /// # Errors
    ///
    /// [`Error`]: nothing was enqueued and nothing was written.
    pub async fn enqueue_all(
        &self,
        messages: Vec<(Vec<ChannelId>, Message)>,
        with: Vec<CatalogPut>,
    ) -> Result<Vec<Enqueued>, Error> {
        if messages.iter().any(|(channels, _)| channels.len() > CHANNELS_OF_MESSAGE_MAX) {
            return Err(Error::TooManyChannels);
        }
        let (mut enqueued, mut seqs, mut puts) = (Vec::with_capacity(messages.len()), Vec::new(), Vec::new());
        for (channels, message) in messages {
            let (one, told) = self.told(&channels, &message);
            let message = Arc::new(message.bounded());
            let mut outbox = self.0.outbox.lock();
            match outbox.add(told, &message, self.0.clock.now()) {
                Ok((new, records)) => {
                    seqs.extend(new);
                    puts.extend(records);
                }
                Err(full) => {
                    outbox.retract(&seqs);
                    return Err(full.into());
                }
            }
            for id in &one.skipped {
                puts.extend(outbox.stop_saying(&message.organization, &message.group_key, Some(id)));
            }
            drop(outbox);
            enqueued.push(one);
        }
        puts.extend(with);
        if puts.is_empty() {
            return Ok(enqueued);
        }
        // On a task of its own: a caller that leaves must not leave deliveries behind that wait for their record.
        let this = self.clone();
        let written = tokio::spawn(async move {
            let written = this.0.store.put(puts).await;
            let mut outbox = this.0.outbox.lock();
            match written {
                Ok(_) => outbox.confirm(&seqs),
                Err(_) => outbox.retract(&seqs),
            }
            drop(outbox);
            this.0.changed.notify_one();
            written
        });
        written.await.map_err(|_| insights_engine::Error::Closed)??;
        Ok(enqueued)
    }

    /// Ends saying again what fires in a group, to each of its channels: for whoever does not tell how it ended.
    /// What waits for its first attempt is still told, once. Durable when it returns.
    ///
    /// # Errors
    ///
    /// Those of the store: then it is ended until the next start of the server.
    pub async fn stop_saying(&self, organization: &TenantId, group_key: &str) -> insights_engine::Result<()> {
        let puts = self.0.outbox.lock().stop_saying(organization, group_key, None);
        if !puts.is_empty() {
            self.0.store.put(puts).await?;
        }
        Ok(())
    }

    /// Which of `channels` are told of a message, each with a new delivery.
    fn told(&self, channels: &[ChannelId], message: &Message) -> (Enqueued, Vec<(ChannelId, DeliveryId)>) {
        let mut enqueued = Enqueued::default();
        let mut told: Vec<(ChannelId, DeliveryId)> = Vec::with_capacity(channels.len());
        for id in channels {
            if told.iter().any(|(other, _)| other == id) {
                continue;
            }
            let channel = self.0.channels.get(&message.organization, id);
            let is_told = channel.is_some_and(|channel| {
                channel.enabled && (channel.send_resolved || message.status == AlertStatus::Firing)
            });
            if is_told {
                let delivery = DeliveryId::random(&self.0.entropy);
                enqueued.deliveries.push(delivery.clone());
                told.push((id.clone(), delivery));
            } else {
                enqueued.skipped.push(id.clone());
            }
        }
        (enqueued, told)
    }

    /// The channels.
    pub fn channels(&self) -> &Channels {
        &self.0.channels
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notify").field("outbox", &*self.0.outbox.lock()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
