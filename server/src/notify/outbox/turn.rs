//! Whose turn it is, and what an attempt changes.
//!
//! One attempt at a time for each channel, so many for an organization and for all of them together; within a channel and a group in the order
//! of enqueueing: a later message waits until the one before it has arrived or was given up. A channel that does not
//! answer so holds up nobody but itself, and a group that is refused not the other groups of its channel.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use insights_engine::append::CatalogPut;
use insights_engine::id::TenantId;
use insights_engine::time::TimestampUs;

use super::{Entry, Line, Outbox};
use crate::notify::backoff::{ATTEMPTS_MAX, RETRY_AFTER_MAX, wait_after};
use crate::notify::channel::ChannelId;
use crate::notify::delivery::{Attempt, Delivery, DeliveryId, DeliveryState, Recipient};

/// Most attempts that are made at once.
pub const AT_ONCE_MAX: usize = 16;
/// Most attempts that are made at once for one organization: its receivers may all hang.
pub const AT_ONCE_OF_ORGANIZATION_MAX: usize = 4;
/// How often what fires is said again to a channel that forgets.
pub const SAID_AGAIN_EVERY: Duration = Duration::from_mins(1);
/// How long what fires is said again after its last message: whoever sent it says so anew before that is over.
pub const SAID_AGAIN_FOR: Duration = Duration::from_hours(24);

/// An attempt that is to be made; its line is taken until [`Outbox::settle`].
#[derive(Debug, Clone)]
pub struct Turn {
    /// The delivery.
    pub delivery: Delivery,
    /// Whether it has arrived before, and is only said again.
    pub is_again: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It arrived.
    Delivered {
        /// The status of the answer.
        status: Option<u16>,
        /// Whether it is to be said again, until a later message of its group.
        again: bool,
    },
    /// A mail that the relay took for some of its recipients, or for none.
    Mailed {
        /// The status of the answer to the mail.
        status: Option<u16>,
        /// What became of each that it was tried with.
        recipients: Vec<Recipient>,
    },
    /// It did not.
    Failed {
        /// The status of the answer, where there was one.
        status: Option<u16>,
        /// What went wrong, without secrets.
        error: String,
        /// How long the receiver asks to wait.
        retry_after: Option<Duration>,
        /// Whether another attempt would be the same.
        is_final: bool,
    },
}

pub(super) fn after(at: TimestampUs, wait: Duration) -> TimestampUs {
    TimestampUs(at.0.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)))
}

impl Outbox {
    /// The first of each group of a line, oldest first, with when it is due.
    fn heads<'a>(&'a self, seqs: &'a BTreeSet<u64>) -> impl Iterator<Item = (TimestampUs, u64)> + 'a {
        let mut groups = BTreeSet::new();
        seqs.iter().filter_map(move |seq| {
            let Entry { delivery, is_durable, .. } = self.entries.get(seq)?;
            let is_first = groups.insert(&delivery.message.group_key);
            (is_first && *is_durable).then_some((delivery.due?, *seq))
        })
    }

    /// How many attempts each organization has going on.
    fn going_on_of(&self) -> BTreeMap<TenantId, usize> {
        let mut counts = BTreeMap::new();
        for (organization, _) in self.going_on.keys() {
            *counts.entry(organization.clone()).or_default() += 1;
        }
        counts
    }

    /// The next delivery of each line that may have an attempt, with when it is due.
    fn next_of_lines(&self) -> impl Iterator<Item = (TimestampUs, u64, &Line)> {
        let of = self.going_on_of();
        let free = self.lines.iter().filter(move |(line, _)| {
            !self.going_on.contains_key(*line)
                && of.get(&line.0).is_none_or(|count| *count < AT_ONCE_OF_ORGANIZATION_MAX)
        });
        free.filter_map(|(line, seqs)| {
            let (due, seq) = self.heads(seqs).min()?;
            Some((self.held.get(line).map_or(due, |until| due.max(*until)), seq, line))
        })
    }

    /// The attempts whose turn it is at `now`: first ones before those that repeat, then the longest overdue first.
    /// Their lines are taken from now on.
    pub fn turns(&mut self, now: TimestampUs) -> Vec<Turn> {
        let due = self.next_of_lines().filter(|(due, _, _)| *due <= now);
        let mut due: Vec<_> = due.map(|(due, seq, line)| (self.repeats(seq), due, seq, line)).collect();
        due.sort_unstable();
        let mut free = AT_ONCE_MAX.saturating_sub(self.going_on.len());
        let mut of = self.going_on_of();
        due.retain(|(_, _, _, (organization, _))| {
            let count = of.entry(organization.clone()).or_default();
            let is_chosen = free > 0 && *count < AT_ONCE_OF_ORGANIZATION_MAX;
            (free, *count) = (free - usize::from(is_chosen), *count + usize::from(is_chosen));
            is_chosen
        });
        let chosen: Vec<(u64, Line)> = due.into_iter().map(|(_, _, seq, line)| (seq, line.clone())).collect();
        let mut turns = Vec::with_capacity(chosen.len());
        for (seq, line) in chosen {
            let Some(entry) = self.entries.get_mut(&seq) else { continue };
            self.held.remove(&line);
            self.going_on.insert(line, seq);
            let is_again = entry.delivery.state == DeliveryState::Delivered;
            if !is_again {
                entry.delivery.state = DeliveryState::Delivering;
            }
            turns.push(Turn { delivery: entry.delivery.clone(), is_again });
        }
        turns
    }

    /// Whether the next attempt of a delivery is not its first.
    fn repeats(&self, seq: u64) -> bool {
        self.entries
            .get(&seq)
            .is_some_and(|e| e.delivery.attempts > 0 || e.delivery.state == DeliveryState::Delivered)
    }

    /// When to look again at the latest; none when nothing is to come but by the end of an attempt.
    pub fn next(&self) -> Option<TimestampUs> {
        if self.going_on.len() >= AT_ONCE_MAX {
            return None;
        }
        self.next_of_lines().map(|(due, _, _)| due).min()
    }

    /// Says how an attempt ended, and gives the records of what changed. Its line stays taken until it is
    /// [`Self::release`]d, so that two records of one delivery are not under way at once.
    pub fn settle(&mut self, turn: &Turn, outcome: Outcome, now: TimestampUs) -> Vec<CatalogPut> {
        let seq = turn.delivery.seq;
        let line = (turn.delivery.organization().clone(), turn.delivery.channel.clone());
        let mut puts = Vec::new();
        match outcome {
            Outcome::Delivered { status, again } => {
                self.counts.delivered += u64::from(!turn.is_again);
                let due = self.again_at(seq, now).filter(|_| again);
                let put = self.change(seq, |delivery| {
                    delivery.state = DeliveryState::Delivered;
                    delivery.due = due;
                    delivery.ended = Some(delivery.ended.unwrap_or(now));
                    delivery.last = Some(Attempt::new(now, status, None));
                    if due.is_none() {
                        delivery.close();
                    }
                });
                // Saying it again changes nothing that has to be known after a restart, unless it is the last time.
                puts.extend(put.filter(|_| !turn.is_again || due.is_none()));
                self.wake_line(&line, now);
            }
            Outcome::Mailed { status, recipients } => {
                puts.extend(self.mailed(turn, status, recipients, now));
            }
            Outcome::Failed { status, error, retry_after, is_final } => {
                self.counts.failed += 1;
                let retry_after = retry_after.map(|wait| wait.min(RETRY_AFTER_MAX));
                if let Some(wait) = retry_after {
                    self.held.insert(line, after(now, wait));
                }
                let attempt = Attempt::new(now, status, Some(error));
                puts.extend(self.failed(turn, attempt, retry_after.unwrap_or_default(), is_final));
            }
        }
        self.trim(turn.delivery.organization(), &mut puts);
        puts
    }

    fn failed(
        &mut self,
        turn: &Turn,
        attempt: Attempt,
        retry_after: Duration,
        is_final: bool,
    ) -> Option<CatalogPut> {
        let now = attempt.at;
        if turn.is_again && turn.delivery.has_deferred() {
            return self.rest_failed(turn, attempt, is_final);
        }
        if turn.is_again {
            return self.failed_again(turn.delivery.seq, attempt, is_final);
        }
        let failed = turn.delivery.attempts.saturating_add(1);
        let wait = wait_after(&turn.delivery.id, failed).filter(|_| !is_final && failed < ATTEMPTS_MAX);
        self.counts.dead += u64::from(wait.is_none());
        self.change(turn.delivery.seq, |delivery| {
            delivery.last = Some(attempt);
            delivery.attempts = failed;
            delivery.due = wait.map(|wait| after(now, wait.max(retry_after)));
            if wait.is_some() {
                delivery.state = DeliveryState::Queued;
            } else {
                delivery.state = DeliveryState::Dead;
                delivery.ended = Some(now);
            }
        })
    }

    /// What arrived could not be said again: it is tried anew until its day is over, unless that is of no use.
    fn failed_again(&mut self, seq: u64, attempt: Attempt, is_final: bool) -> Option<CatalogPut> {
        let due = self.again_at(seq, attempt.at).filter(|_| !is_final);
        let put = self.change(seq, |delivery| {
            delivery.last = Some(attempt);
            delivery.due = due;
            if due.is_none() {
                delivery.close();
            }
        });
        put.filter(|_| due.is_none())
    }

    /// When a delivery whose attempt ends at `now` is said again; none when its day is over, when that was ended
    /// meanwhile, or when a later message says how its group is: that one must not wait behind it.
    fn again_at(&self, seq: u64, now: TimestampUs) -> Option<TimestampUs> {
        let delivery = &self.entries.get(&seq)?.delivery;
        let is_wanted = delivery.due.is_some() && !delivery.once && !self.has_later(delivery);
        let said_until = after(delivery.message.at, SAID_AGAIN_FOR);
        Some(after(now, SAID_AGAIN_EVERY)).filter(|due| is_wanted && *due < said_until)
    }

    /// Whether there is a later message of the same group to the same channel, whatever became of it.
    pub(super) fn has_later(&self, delivery: &Delivery) -> bool {
        let share = self.shares.get(delivery.organization());
        let later = share.into_iter().flat_map(|share| share.seqs.range(delivery.seq.saturating_add(1)..));
        later.filter_map(|seq| self.entries.get(seq)).any(|Entry { delivery: later, .. }| {
            later.channel == delivery.channel && later.message.group_key == delivery.message.group_key
        })
    }

    /// A channel that answers gets what waits for another attempt now rather than when its wait is over.
    pub(super) fn wake_line(&mut self, line: &Line, now: TimestampUs) {
        for seq in self.lines.get(line).into_iter().flatten() {
            if let Some(Entry { delivery, .. }) = self.entries.get_mut(seq)
                && delivery.state == DeliveryState::Queued
                && delivery.last.as_ref().is_some_and(|last| last.status.is_none_or(|status| status >= 500))
            {
                delivery.due = delivery.due.map(|due| due.min(now));
            }
        }
    }

    /// Frees the line of an attempt that is settled.
    pub fn release(&mut self, turn: &Turn) {
        self.going_on.remove(&(turn.delivery.organization().clone(), turn.delivery.channel.clone()));
    }

    /// Puts a dead letter in line again with all its attempts; gives its record. None when it is no dead letter.
    pub fn redeliver(&mut self, id: &DeliveryId, now: TimestampUs) -> Option<CatalogPut> {
        let seq = *self.ids.get(id)?;
        (self.entries.get(&seq)?.delivery.state == DeliveryState::Dead).then_some(())?;
        self.change(seq, |delivery| {
            delivery.state = DeliveryState::Queued;
            delivery.attempts = 0;
            // Whatever was wrong with them has been mended.
            delivery.recipients.clear();
            (delivery.due, delivery.ended) = (Some(now), None);
        })
    }

    /// Forgets that a receiver asked to wait: its channel was changed.
    pub fn unhold(&mut self, organization: &TenantId, channel: &ChannelId) {
        self.held.remove(&(organization.clone(), channel.clone()));
    }
}
