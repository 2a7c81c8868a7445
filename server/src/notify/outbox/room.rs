//! The limits of the outbox, and who leaves when there is no room: what arrived, then dead letters, the oldest first;
//! what has not been sent never does, unless a later message of its own channel needs the place, or all room is taken:
//! then the organization that has most of it gives of its oldest.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use insights_engine::append::CatalogPut;
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;

use super::Outbox;
use crate::notify::channel::ChannelId;
use crate::notify::delivery::{Attempt, Delivery, DeliveryState};
use crate::notify::message::AlertStatus;

/// Most deliveries that wait for one channel; the oldest becomes a dead letter when another comes.
pub const WAITING_MAX: usize = 100;
/// Most deliveries that have arrived and are still listed, of an organization.
pub const DELIVERED_MAX: usize = 100;
/// Most dead letters of an organization.
pub const DEAD_MAX: usize = 500;
/// Most deliveries of an organization.
pub const DELIVERIES_MAX: usize = 2_000;
/// Most bytes of the records of an organization.
pub const ORGANIZATION_BYTES_MAX: u64 = 4 << 20;
/// Most bytes of all records: all of them are in memory.
pub const BYTES_MAX: u64 = 32 << 20;
/// How long what arrived and dead letters are kept.
pub const ENDED_KEPT: Duration = Duration::from_hours(30 * 24);

/// There is no room for a message: too much that has not been sent is waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the outbox is full: {what}")]
pub struct Full {
    what: &'static str,
}

/// What an organization keeps.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) seqs: BTreeSet<u64>,
    pub(super) bytes: u64,
}

/// What an organization has, and what of it may give way to others, the oldest first: numbers and bytes of records.
#[derive(Debug, Default)]
struct Giving {
    bytes: u64,
    waiting: VecDeque<(u64, u64)>,
}

/// Bytes of a record.
pub(super) fn bytes(put: &CatalogPut) -> u64 {
    put.value.as_ref().map_or(0, Vec::len) as u64
}

impl Outbox {
    /// Makes room for so many deliveries of an organization and so many bytes; adds the removals to `puts`. Nothing
    /// leaves when that would not be enough.
    pub(super) fn make_room(
        &mut self,
        organization: &TenantId,
        count: usize,
        bytes: u64,
        puts: &mut Vec<CatalogPut>,
    ) -> Result<(), Full> {
        let mut leaving = BTreeSet::new();
        let share = self.shares.get(organization);
        let (mut kept, mut kept_bytes) = share.map_or((0, 0), |share| (share.seqs.len(), share.bytes));
        let mut all_bytes = self.bytes;
        if kept + count > DELIVERIES_MAX || kept_bytes + bytes > ORGANIZATION_BYTES_MAX {
            for (seq, of_record) in self.in_order_of_leaving(Some(organization)) {
                if kept + count <= DELIVERIES_MAX && kept_bytes + bytes <= ORGANIZATION_BYTES_MAX {
                    break;
                }
                leaving.insert(seq);
                kept -= 1;
                kept_bytes -= of_record;
                all_bytes -= of_record;
            }
        }
        if kept + count > DELIVERIES_MAX {
            return Err(Full { what: "too many deliveries of the organization" });
        }
        if kept_bytes + bytes > ORGANIZATION_BYTES_MAX {
            return Err(Full { what: "too many bytes of the organization" });
        }
        if all_bytes + bytes > BYTES_MAX {
            for (seq, of_record) in self.in_order_of_leaving(None) {
                if all_bytes + bytes > BYTES_MAX && leaving.insert(seq) {
                    all_bytes -= of_record;
                }
            }
            let wanted = (all_bytes + bytes).saturating_sub(BYTES_MAX);
            all_bytes -= self.give_way(organization, bytes, wanted, &mut leaving);
        }
        if all_bytes + bytes > BYTES_MAX {
            return Err(Full { what: "too many bytes of all organizations" });
        }
        for seq in leaving {
            self.forget(seq, puts);
        }
        Ok(())
    }

    /// Has messages that wait leave for one of `next` with so many bytes, until `wanted` bytes are free: always the
    /// oldest of the organization that has most, so that none takes the room of all. Gives the bytes that are free.
    fn give_way(&self, next: &TenantId, bytes: u64, wanted: u64, leaving: &mut BTreeSet<u64>) -> u64 {
        // One with a record that is being written stays: the removal might be written before it.
        let going_on: BTreeSet<u64> = self.going_on.values().copied().collect();
        let mut shares: BTreeMap<&TenantId, Giving> = BTreeMap::new();
        for (seq, entry) in self.entries.iter().filter(|(seq, _)| !leaving.contains(seq)) {
            let share = shares.entry(entry.delivery.organization()).or_default();
            share.bytes += entry.bytes;
            let is_waiting = entry.delivery.state == DeliveryState::Queued;
            if is_waiting && entry.is_durable && !going_on.contains(seq) {
                share.waiting.push_back((*seq, entry.bytes));
            }
        }
        if let Some(share) = shares.get_mut(next) {
            share.bytes += bytes;
        }
        let mut freed = 0;
        while freed < wanted {
            let with_waiting = shares.values_mut().filter(|share| !share.waiting.is_empty());
            let Some(largest) = with_waiting.max_by_key(|share| share.bytes) else { break };
            let Some((seq, of_record)) = largest.waiting.pop_front() else { break };
            leaving.insert(seq);
            largest.bytes -= of_record;
            freed += of_record;
        }
        freed
    }

    /// What may leave, with the bytes of its record: what arrived, then dead letters, then what is said again; each
    /// with the oldest first.
    fn in_order_of_leaving(&self, organization: Option<&TenantId>) -> Vec<(u64, u64)> {
        let rank = |delivery: &Delivery| match (delivery.state, delivery.due) {
            (DeliveryState::Delivered, None) => Some(0),
            (DeliveryState::Dead, _) => Some(1),
            (DeliveryState::Delivered, Some(_)) => Some(2),
            (DeliveryState::Queued | DeliveryState::Delivering, _) => None,
        };
        let of = self.entries.iter().filter_map(|(seq, entry)| {
            let is_of = organization.is_none_or(|o| entry.delivery.organization() == o);
            let rank = rank(&entry.delivery).filter(|_| is_of)?;
            Some((rank, *seq, entry.bytes))
        });
        let mut ranked: Vec<(u8, u64, u64)> = of.collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, seq, bytes)| (seq, bytes)).collect()
    }

    fn forget(&mut self, seq: u64, puts: &mut Vec<CatalogPut>) {
        if let Some(entry) = self.remove(seq) {
            // What waited has not become a dead letter, but that is what is lost with it.
            let is_waiting = entry.delivery.state == DeliveryState::Queued;
            self.counts.dead += u64::from(is_waiting);
            self.counts.forgotten += u64::from(is_waiting || entry.delivery.state == DeliveryState::Dead);
            puts.push(entry.delivery.removal());
        }
    }

    /// Keeps what an organization's ended deliveries may be at most.
    pub(super) fn trim(&mut self, organization: &TenantId, puts: &mut Vec<CatalogPut>) {
        for (state, max) in [(DeliveryState::Delivered, DELIVERED_MAX), (DeliveryState::Dead, DEAD_MAX)] {
            let Some(share) = self.shares.get(organization) else { return };
            let is_of = |seq: &u64| {
                let delivery = self.entries.get(seq).map(|entry| &entry.delivery);
                // What is said again is still of use.
                delivery.is_some_and(|delivery| delivery.state == state && delivery.due.is_none())
            };
            let of_state: Vec<u64> = share.seqs.iter().copied().filter(is_of).collect();
            for seq in of_state.iter().take(of_state.len().saturating_sub(max)) {
                self.forget(*seq, puts);
            }
        }
    }

    /// Makes the oldest that waits in the line of `next` a dead letter when the line is full. The newest message is the
    /// one that says how things are.
    pub(super) fn displace(&mut self, next: &Delivery, now: TimestampUs, puts: &mut Vec<CatalogPut>) {
        let line = (next.organization().clone(), next.channel.clone());
        let Some(seqs) = self.lines.get(&line) else { return };
        let is_waiting =
            |seq: &&u64| self.entries.get(seq).is_some_and(|e| e.delivery.state == DeliveryState::Queued);
        if seqs.iter().filter(is_waiting).count() < WAITING_MAX {
            return;
        }
        let Some(oldest) = seqs.iter().find(is_waiting).copied() else { return };
        self.counts.dead += 1;
        let error = Some("displaced: too many later messages wait for the channel".to_owned());
        puts.extend(self.change(oldest, |delivery| {
            delivery.state = DeliveryState::Dead;
            (delivery.due, delivery.ended) = (None, Some(now));
            delivery.last = Some(Attempt::new(now, None, error));
        }));
        self.trim(next.organization(), puts);
    }

    /// Stops saying again what a later message of the same group says differently.
    pub(super) fn supersede(&mut self, later: &Delivery, puts: &mut Vec<CatalogPut>) {
        let line = (later.organization().clone(), later.channel.clone());
        let Some(seqs) = self.lines.get(&line) else { return };
        let of_group = |seq: &u64| {
            self.entries.get(seq).is_some_and(|entry| {
                let earlier = &entry.delivery;
                earlier.state == DeliveryState::Delivered
                    && earlier.message.group_key == later.message.group_key
            })
        };
        for seq in seqs.iter().copied().filter(of_group).collect::<Vec<_>>() {
            puts.extend(self.change(seq, Delivery::close));
        }
    }

    /// Ends saying again what fires in a group, to one of its channels or to all; gives the records. What has not
    /// arrived yet is still told, once; a dead letter, too, when it is sent again.
    pub fn stop_saying(
        &mut self,
        organization: &TenantId,
        group_key: &str,
        channel: Option<&ChannelId>,
    ) -> Vec<CatalogPut> {
        let Some(share) = self.shares.get(organization) else { return Vec::new() };
        let is_of = |delivery: &Delivery| {
            (delivery.due.is_some() || delivery.state == DeliveryState::Dead)
                && !delivery.once
                && delivery.message.status == AlertStatus::Firing
                && delivery.message.group_key == group_key
                && channel.is_none_or(|channel| delivery.channel == *channel)
                && !self.has_later(delivery)
        };
        let of = share.seqs.iter().filter(|seq| self.entries.get(seq).is_some_and(|e| is_of(&e.delivery)));
        let of: Vec<u64> = of.copied().collect();
        let ended = of.into_iter().filter_map(|seq| {
            self.change(seq, |delivery| {
                delivery.once = true;
                // Those who have not got it are to get it still, once.
                if delivery.state == DeliveryState::Delivered && !delivery.has_deferred() {
                    delivery.close();
                }
            })
        });
        ended.collect()
    }

    /// Forgets what ended long ago; gives the removals.
    pub fn sweep(&mut self, now: TimestampUs) -> Vec<CatalogPut> {
        let kept_us = i64::try_from(ENDED_KEPT.as_micros()).unwrap_or(i64::MAX);
        let is_old = |delivery: &Delivery| {
            delivery.due.is_none() && delivery.ended.is_some_and(|at| at.0.saturating_add(kept_us) < now.0)
        };
        let old: Vec<u64> =
            self.entries.iter().filter(|(_, e)| is_old(&e.delivery)).map(|(seq, _)| *seq).collect();
        old.into_iter().filter_map(|seq| self.remove(seq)).map(|entry| entry.delivery.removal()).collect()
    }

    /// The removals of all records of an organization.
    pub fn removals(&self, organization: &TenantId) -> Vec<CatalogPut> {
        let seqs = self.shares.get(organization).map(|share| share.seqs.iter());
        let entries = seqs.into_iter().flatten().filter_map(|seq| self.entries.get(seq));
        entries.map(|entry| entry.delivery.removal()).collect()
    }

    /// Takes everything of an organization out of memory and gives the removals.
    pub fn remove_all(&mut self, organization: &TenantId) -> Vec<CatalogPut> {
        let Some(share) = self.shares.get(organization) else { return Vec::new() };
        let seqs: Vec<u64> = share.seqs.iter().copied().collect();
        seqs.into_iter().filter_map(|seq| self.remove(seq)).map(|entry| entry.delivery.removal()).collect()
    }

    /// Takes everything of a channel that is gone out of memory and gives the removals.
    pub fn remove_channel(&mut self, organization: &TenantId, channel: &ChannelId) -> Vec<CatalogPut> {
        let Some(share) = self.shares.get(organization) else { return Vec::new() };
        let is_of = |seq: &u64| self.entries.get(seq).is_some_and(|e| e.delivery.channel == *channel);
        let seqs: Vec<u64> = share.seqs.iter().copied().filter(is_of).collect();
        seqs.into_iter().filter_map(|seq| self.remove(seq)).map(|entry| entry.delivery.removal()).collect()
    }
}
