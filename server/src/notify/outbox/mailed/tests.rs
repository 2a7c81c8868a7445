//! Mails that not everybody gets, by hand.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::notify::channel::ChannelId;
use crate::notify::delivery::DeliveryId;
use crate::notify::message::tests::message;
use crate::notify::outbox::Outcome;

const NOW: TimestampUs = TimestampUs(1_000_000);

fn add(outbox: &mut Outbox, group: &str, id: &str) {
    let to = (ChannelId::parse("mail").unwrap(), DeliveryId::parse(id).unwrap());
    let (seqs, _) = outbox.add(vec![to], &Arc::new(message(group, NOW)), NOW).unwrap();
    outbox.confirm(&seqs);
}

/// Recipients by their first letter: `t`aken, `d`eferred, `r`efused.
fn recipients(of: &[&str]) -> Vec<Recipient> {
    let recipient = |address: &&str| match address.chars().next() {
        Some('t') => Recipient::taken(address[1..].to_owned()),
        state => Recipient {
            address: address[1..].to_owned(),
            state: if state == Some('d') { RecipientState::Deferred } else { RecipientState::Refused },
            status: Some(if state == Some('d') { 452 } else { 550 }),
            error: Some("no".to_owned()),
        },
    };
    of.iter().map(recipient).collect()
}

/// Makes the attempt that is due next, and gives when that was.
fn attempt(outbox: &mut Outbox, outcome: Outcome) -> TimestampUs {
    let now = outbox.next().unwrap();
    let turn = outbox.turns(now).remove(0);
    let puts = outbox.settle(&turn, outcome, now);
    assert!(!puts.is_empty(), "what became of recipients is kept");
    outbox.release(&turn);
    now
}

fn mailed(outbox: &mut Outbox, of: &[&str]) -> TimestampUs {
    attempt(outbox, Outcome::Mailed { status: Some(250), recipients: recipients(of) })
}

/// The state of a delivery, whether it is tried again, and its recipients.
fn told(outbox: &Outbox, id: &str) -> (DeliveryState, bool, String) {
    let delivery = outbox.get(&DeliveryId::parse(id).unwrap()).unwrap();
    let of = |recipient: &Recipient| {
        let state = match recipient.state {
            RecipientState::Taken => 't',
            RecipientState::Deferred => 'd',
            RecipientState::Refused => 'r',
        };
        format!("{state}{}", recipient.address)
    };
    let recipients: Vec<String> = delivery.recipients.iter().map(of).collect();
    (delivery.state, delivery.due.is_some(), recipients.join(" "))
}

#[test]
fn one_that_is_refused_for_good_keeps_nobody_from_the_mail() {
    let mut outbox = Outbox::default();
    add(&mut outbox, "x", "1");
    mailed(&mut outbox, &["ta", "rb", "tc"]);
    assert_eq!(told(&outbox, "1"), (DeliveryState::Delivered, false, "ta rb tc".to_owned()));
    let counts = outbox.counts();
    assert_eq!((counts.delivered, counts.dead, counts.failed, counts.recipients_refused), (1, 0, 0, 1));
    let last = outbox.get(&DeliveryId::parse("1").unwrap()).unwrap().last.clone().unwrap();
    assert_eq!(
        (last.status, last.error.as_deref()),
        (Some(550), Some("the relay refused 1 of 3 recipients"))
    );
}

#[test]
fn one_that_is_refused_for_now_is_tried_again_alone_and_holds_up_nothing() {
    let mut outbox = Outbox::default();
    add(&mut outbox, "x", "1");
    let first = mailed(&mut outbox, &["ta", "db", "rc"]);
    assert_eq!(told(&outbox, "1"), (DeliveryState::Delivered, true, "ta db rc".to_owned()));
    let turn = outbox.turns(outbox.next().unwrap()).remove(0);
    assert!(turn.is_again && outbox.next().is_none());
    assert_eq!(turn.delivery.recipients.len(), 3, "the mailer knows whom not to ask");
    assert_eq!(turn.delivery.message.alerts.len(), 1, "it is the same mail");
    outbox.release(&turn);
    // A restart in between forgets nobody.
    let kept = outbox.get(&DeliveryId::parse("1").unwrap()).unwrap().put();
    let mut outbox = Outbox::load(|_, _| vec![(kept.key.clone(), kept.value.clone().unwrap())]);
    let second = mailed(&mut outbox, &["tb"]);
    assert!(second > first);
    assert_eq!(told(&outbox, "1"), (DeliveryState::Delivered, false, "ta tb rc".to_owned()));
    assert!(outbox.next().is_none());
}

#[test]
fn a_later_message_of_the_group_ends_the_rest_of_the_one_before() {
    let mut outbox = Outbox::default();
    add(&mut outbox, "x", "1");
    mailed(&mut outbox, &["ta", "db"]);
    add(&mut outbox, "x", "2");
    assert_eq!(told(&outbox, "1"), (DeliveryState::Delivered, false, "ta db".to_owned()));
    let now = mailed(&mut outbox, &["ta", "tb"]);
    assert_eq!(now, NOW, "it waits for nobody");
    // The same when it comes while the rest is being tried, or the first attempt is going on.
    for (id, later) in [("3", "4"), ("5", "6")] {
        add(&mut outbox, "x", id);
        if id == "5" {
            mailed(&mut outbox, &["ta", "db"]);
        }
        let turn = outbox.turns(outbox.next().unwrap()).remove(0);
        add(&mut outbox, "x", later);
        let outcome = Outcome::Mailed { status: None, recipients: recipients(&["ta", "db"]) };
        outbox.settle(&turn, outcome, NOW);
        outbox.release(&turn);
        assert_eq!(told(&outbox, id), (DeliveryState::Delivered, false, "ta db".to_owned()));
        mailed(&mut outbox, &["ta", "tb"]);
    }
    assert!(outbox.next().is_none());
    assert_eq!(outbox.counts().recipients_refused, 0, "each of them got the later one");
}

#[test]
fn the_rest_is_given_up_after_as_many_attempts_as_a_message_and_nothing_is_a_dead_letter() {
    let mut outbox = Outbox::default();
    add(&mut outbox, "x", "1");
    mailed(&mut outbox, &["ta", "db"]);
    for n in 1..ATTEMPTS_MAX {
        assert!(told(&outbox, "1").1, "{n}");
        if n % 2 == 0 {
            mailed(&mut outbox, &["db"]);
        } else {
            // The relay itself is away.
            let error = "away".to_owned();
            attempt(&mut outbox, Outcome::Failed { status: None, error, retry_after: None, is_final: false });
        }
    }
    assert_eq!(told(&outbox, "1"), (DeliveryState::Delivered, false, "ta db".to_owned()));
    assert_eq!((outbox.counts().dead, outbox.counts().recipients_refused), (0, 1));
    assert_eq!(outbox.next(), None);
}

#[test]
fn a_mail_that_nobody_got_waits_and_is_a_dead_letter_in_the_end() {
    let mut outbox = Outbox::default();
    add(&mut outbox, "x", "1");
    add(&mut outbox, "x", "2");
    mailed(&mut outbox, &["ra", "db"]);
    assert_eq!(told(&outbox, "1"), (DeliveryState::Queued, true, "ra db".to_owned()));
    let later = outbox.next().unwrap();
    assert!(later > NOW, "the next of its group waits for it");
    mailed(&mut outbox, &["rb"]);
    assert_eq!(told(&outbox, "1"), (DeliveryState::Dead, false, "ra rb".to_owned()));
    assert_eq!((outbox.counts().dead, outbox.counts().recipients_refused), (1, 2));
    // Sent again by somebody who has mended the addresses, everybody is asked anew.
    mailed(&mut outbox, &["ta", "tb"]);
    assert!(outbox.redeliver(&DeliveryId::parse("1").unwrap(), later).is_some());
    assert_eq!(told(&outbox, "1"), (DeliveryState::Queued, true, String::new()));
}

#[test]
fn who_has_not_got_it_is_told_although_nobody_tells_how_it_ended() {
    let mut outbox = Outbox::default();
    add(&mut outbox, "x", "1");
    mailed(&mut outbox, &["ta", "db"]);
    let organization = message("x", NOW).organization;
    outbox.stop_saying(&organization, "x", None);
    assert!(told(&outbox, "1").1);
    let tried = mailed(&mut outbox, &["tb"]);
    assert!(tried < after(NOW, Duration::from_mins(1)));
    assert_eq!(told(&outbox, "1"), (DeliveryState::Delivered, false, "ta tb".to_owned()));
}
