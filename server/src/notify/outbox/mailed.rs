//! E-mails that were taken for some of their recipients: the others are tried again alone, while the mail itself has arrived
//! and nobody waits for the rest of it.
//!
//! The rest is over with the next message of the group, which goes to all of them: what is late is then old, and "firing"
//! must not come after "resolved".

use insights_engine::append::CatalogPut;
use insights_engine::time::TimestampUs;

use super::turn::after;
use super::{Outbox, Turn};
use crate::notify::backoff::{ATTEMPTS_MAX, wait_after};
use crate::notify::delivery::{Attempt, Delivery, DeliveryState, Recipient, RecipientState};

/// How many recipients are in a state.
fn count(recipients: &[Recipient], state: RecipientState) -> usize {
    recipients.iter().filter(|recipient| recipient.state == state).count()
}

/// What is known of recipients, with what was found out last.
fn with(mut known: Vec<Recipient>, found: Vec<Recipient>) -> Vec<Recipient> {
    for recipient in found {
        match known.iter_mut().find(|known| known.address == recipient.address) {
            Some(known) => *known = recipient,
            None => known.push(recipient),
        }
    }
    known
}

/// What is said of an attempt after which not all are taken.
fn attempt(recipients: &[Recipient], status: Option<u16>, now: TimestampUs) -> Attempt {
    let left_out = recipients.iter().filter(|recipient| recipient.state != RecipientState::Taken);
    let left_out: Vec<&Recipient> = left_out.collect();
    let Some(first) = left_out.first() else { return Attempt::new(now, status, None) };
    let error = if left_out.len() == recipients.len() {
        "the relay refused every recipient".to_owned()
    } else {
        format!("the relay refused {} of {} recipients", left_out.len(), recipients.len())
    };
    Attempt::new(now, first.status.or(status), Some(error))
}

impl Outbox {
    /// Says what became of the recipients of a mail, and gives the record.
    pub(super) fn mailed(
        &mut self,
        turn: &Turn,
        status: Option<u16>,
        found: Vec<Recipient>,
        now: TimestampUs,
    ) -> Option<CatalogPut> {
        let before = count(&turn.delivery.recipients, RecipientState::Refused);
        let recipients = with(turn.delivery.recipients.clone(), found);
        let is_taken = count(&recipients, RecipientState::Taken) > 0;
        let deferred = count(&recipients, RecipientState::Deferred);
        let refused = count(&recipients, RecipientState::Refused);
        let is_whole = deferred + refused == 0;
        let attempts = turn.delivery.attempts.saturating_add(u32::from(!is_whole));
        // Nobody waits for the rest of what has arrived; who got nothing is waited for.
        let is_wanted = deferred > 0 && (!is_taken || self.is_rest_wanted(turn));
        let wait = wait_after(&turn.delivery.id, attempts).filter(|_| is_wanted && attempts < ATTEMPTS_MAX);
        // The next message goes to those who are not asked for again because of it.
        let given_up = if wait.is_none() && !self.has_later(&turn.delivery) { deferred } else { 0 };
        self.counts.recipients_refused += (refused.saturating_sub(before) + given_up) as u64;
        self.counts.failed += u64::from(!is_taken);
        self.counts.dead += u64::from(!is_taken && wait.is_none());
        self.counts.delivered += u64::from(is_taken && !turn.is_again);
        let last = attempt(&recipients, status, now);
        let put = self.change(turn.delivery.seq, |delivery| {
            (delivery.recipients, delivery.attempts, delivery.last) = (recipients, attempts, Some(last));
            delivery.due = wait.map(|wait| after(now, wait));
            match (is_taken, wait) {
                (true, _) => delivery.arrived(now),
                (false, Some(_)) => delivery.state = DeliveryState::Queued,
                (false, None) => (delivery.state, delivery.ended) = (DeliveryState::Dead, Some(now)),
            }
        });
        if is_taken {
            let line = (turn.delivery.organization().clone(), turn.delivery.channel.clone());
            self.wake_line(&line, now);
        }
        put
    }

    /// The rest of a mail that has arrived could not be tried: the relay took nothing at all.
    pub(super) fn rest_failed(
        &mut self,
        turn: &Turn,
        attempt: Attempt,
        is_final: bool,
    ) -> Option<CatalogPut> {
        let attempts = turn.delivery.attempts.saturating_add(1);
        let is_wanted = !is_final && attempts < ATTEMPTS_MAX && self.is_rest_wanted(turn);
        let wait = wait_after(&turn.delivery.id, attempts).filter(|_| is_wanted);
        if wait.is_none() && !self.has_later(&turn.delivery) {
            self.counts.recipients_refused +=
                count(&turn.delivery.recipients, RecipientState::Deferred) as u64;
        }
        let now = attempt.at;
        self.change(turn.delivery.seq, |delivery| {
            (delivery.attempts, delivery.last) = (attempts, Some(attempt));
            delivery.due = wait.map(|wait| after(now, wait));
            delivery.arrived(now);
        })
    }

    /// Whether the rest of a mail that has arrived for some is to be tried again: there is no later one of its group.
    fn is_rest_wanted(&self, turn: &Turn) -> bool {
        let delivery = self.entries.get(&turn.delivery.seq).map(|entry| &entry.delivery);
        delivery.is_some_and(|delivery| delivery.due.is_some() && !self.has_later(delivery))
    }
}

impl Delivery {
    /// It has arrived, if not for all of its recipients; what is not tried again is of no more use.
    fn arrived(&mut self, now: TimestampUs) {
        self.state = DeliveryState::Delivered;
        self.ended = Some(self.ended.unwrap_or(now));
        if self.due.is_none() {
            self.close();
        }
    }
}

#[cfg(test)]
mod tests;
