//! Every delivery of this store in memory, and what becomes of each: pure, nothing waits and nothing is sent here.
//!
//! The catalog is the truth across restarts; each change here gives the records that make it durable. [`room`] keeps
//! it within its limits, [`turn`] says whose turn it is and what an attempt changes.

mod mailed;
pub mod room;
pub mod turn;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;

use super::channel::ChannelId;
use super::delivery::{Delivery, DeliveryId, DeliveryState};
use super::message::Message;
pub use room::Full;
pub use turn::{Outcome, Turn};

/// Where a delivery stands in line: the channels of an organization are told one message at a time.
type Line = (TenantId, ChannelId);

/// A delivery and what is known of its record.
#[derive(Debug, Clone)]
struct Entry {
    delivery: Delivery,
    /// Bytes of its record.
    bytes: u64,
    /// Whether its record is on disk. Until then it is not sent, and what comes after it in its group waits.
    is_durable: bool,
}

/// What happened since the start of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Deliveries that were enqueued.
    pub enqueued: u64,
    /// Attempts that arrived; those that repeat what had arrived are not among them.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Deliveries that became dead letters.
    pub dead: u64,
    /// Recipients of e-mails that were given up, whatever became of the others.
    pub recipients_refused: u64,
    /// Deliveries that were not taken, as there was no room.
    pub refused: u64,
    /// Dead letters that were forgotten before their time, as their place was needed.
    pub forgotten: u64,
}

/// Every delivery of this store.
#[derive(Debug, Default)]
pub struct Outbox {
    entries: BTreeMap<u64, Entry>,
    ids: HashMap<DeliveryId, u64>,
    /// The deliveries that are to be sent, by line.
    lines: BTreeMap<Line, BTreeSet<u64>>,
    /// What each organization keeps.
    shares: BTreeMap<TenantId, room::Share>,
    bytes: u64,
    /// The lines with an attempt that is going on, and the delivery.
    going_on: BTreeMap<Line, u64>,
    /// The lines whose receivers asked to wait, and until when.
    held: BTreeMap<Line, TimestampUs>,
    next_seq: u64,
    counts: Counts,
}

impl Outbox {
    /// The deliveries of catalog records; `scan` gives those with a prefix. One that cannot be read is left out and
    /// logged.
    pub fn load<V: AsRef<[u8]>>(scan: impl Fn(CatalogKind, &[u8]) -> Vec<(Vec<u8>, V)>) -> Self {
        let mut outbox = Self::default();
        for (key, value) in scan(CatalogKind::Setting, Delivery::prefix().as_bytes()) {
            let value = value.as_ref();
            match Delivery::from_record(&key, value) {
                Some(delivery) => outbox.insert(delivery, value.len() as u64, true),
                None => {
                    tracing::error!(key = %String::from_utf8_lossy(&key), "a delivery's record cannot be read");
                }
            }
        }
        outbox
    }

    /// Puts a message in line for each of `channels`. Gives the numbers of the deliveries, which are sent once they are
    /// [`Self::confirm`]ed, and the records that must be durable before.
    ///
    /// # Errors
    ///
    /// [`Full`]: nothing has changed but what was forgotten to make room.
    pub fn add(
        &mut self,
        channels: Vec<(ChannelId, DeliveryId)>,
        message: &Arc<Message>,
        now: TimestampUs,
    ) -> Result<(Vec<u64>, Vec<CatalogPut>), Full> {
        let mut puts = Vec::new();
        let mut new = Vec::with_capacity(channels.len());
        for (channel, id) in channels {
            let delivery = Delivery {
                id,
                seq: self.next_seq,
                channel,
                state: DeliveryState::Queued,
                attempts: 0,
                enqueued: now,
                due: Some(now),
                ended: None,
                last: None,
                once: false,
                recipients: Vec::new(),
                message: Arc::clone(message),
            };
            self.next_seq += 1;
            new.push((delivery.put(), delivery));
        }
        let bytes = new.iter().map(|(put, _)| room::bytes(put)).sum();
        let room = self.make_room(&message.organization, new.len(), bytes, &mut puts);
        if let Err(full) = room {
            self.counts.refused += new.len() as u64;
            return Err(full);
        }
        let mut seqs = Vec::with_capacity(new.len());
        for (put, delivery) in new {
            self.supersede(&delivery, &mut puts);
            self.displace(&delivery, now, &mut puts);
            seqs.push(delivery.seq);
            self.insert(delivery, room::bytes(&put), false);
            puts.push(put);
        }
        self.counts.enqueued += seqs.len() as u64;
        Ok((seqs, puts))
    }

    /// The records of these deliveries are durable: they may be sent.
    pub fn confirm(&mut self, seqs: &[u64]) {
        for seq in seqs {
            if let Some(entry) = self.entries.get_mut(seq) {
                entry.is_durable = true;
            }
        }
    }

    /// The records of these deliveries could not be written: they never were.
    pub fn retract(&mut self, seqs: &[u64]) {
        for seq in seqs {
            self.remove(*seq);
        }
    }

    /// The deliveries of an organization, or all of them, newest first.
    pub fn list(&self, organization: Option<&TenantId>) -> Vec<Delivery> {
        let durable = self.entries.values().rev().filter(|entry| entry.is_durable);
        let wanted = durable.filter(|entry| organization.is_none_or(|o| entry.delivery.organization() == o));
        wanted.map(|entry| entry.delivery.clone()).collect()
    }

    /// A delivery by its id.
    pub fn get(&self, id: &DeliveryId) -> Option<&Delivery> {
        let entry = self.entries.get(self.ids.get(id)?)?;
        entry.is_durable.then_some(&entry.delivery)
    }

    /// What happened since the start of the server.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many deliveries are in each state, in the order of [`DeliveryState::ALL`].
    pub fn by_state(&self) -> [u64; 4] {
        DeliveryState::ALL
            .map(|state| self.entries.values().filter(|entry| entry.delivery.state == state).count() as u64)
    }

    /// Since when the oldest delivery waits that has not arrived.
    pub fn oldest(&self) -> Option<TimestampUs> {
        let waiting = self.entries.values().map(|entry| &entry.delivery);
        let waiting = waiting
            .filter(|delivery| matches!(delivery.state, DeliveryState::Queued | DeliveryState::Delivering));
        waiting.map(|delivery| delivery.enqueued).min()
    }

    /// Bytes of all records.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn insert(&mut self, delivery: Delivery, bytes: u64, is_durable: bool) {
        self.next_seq = self.next_seq.max(delivery.seq.saturating_add(1));
        // A number twice is damage; the later record stays, as the earlier one would hide it.
        self.remove(delivery.seq);
        self.ids.insert(delivery.id.clone(), delivery.seq);
        let share = self.shares.entry(delivery.organization().clone()).or_default();
        share.seqs.insert(delivery.seq);
        share.bytes += bytes;
        self.bytes += bytes;
        if delivery.due.is_some() {
            let line = (delivery.organization().clone(), delivery.channel.clone());
            self.lines.entry(line).or_default().insert(delivery.seq);
        }
        self.entries.insert(delivery.seq, Entry { delivery, bytes, is_durable });
    }

    /// Takes a delivery out of memory; the caller sees to its record.
    fn remove(&mut self, seq: u64) -> Option<Entry> {
        let entry = self.entries.remove(&seq)?;
        let organization = entry.delivery.organization().clone();
        self.ids.remove(&entry.delivery.id);
        if let Some(share) = self.shares.get_mut(&organization) {
            share.seqs.remove(&seq);
            share.bytes = share.bytes.saturating_sub(entry.bytes);
            if share.seqs.is_empty() {
                self.shares.remove(&organization);
            }
        }
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        let line = (organization, entry.delivery.channel.clone());
        if let Some(seqs) = self.lines.get_mut(&line) {
            seqs.remove(&seq);
            if seqs.is_empty() {
                self.lines.remove(&line);
            }
        }
        Some(entry)
    }

    /// Changes a delivery and gives its new record.
    fn change(&mut self, seq: u64, change: impl FnOnce(&mut Delivery)) -> Option<CatalogPut> {
        let Entry { mut delivery, is_durable, .. } = self.remove(seq)?;
        change(&mut delivery);
        let put = delivery.put();
        self.insert(delivery, room::bytes(&put), is_durable);
        Some(put)
    }
}

#[cfg(test)]
mod tests;
