//! The outbox alone: order, limits, and what attempts change, by hand.

use std::time::Duration;

use proptest::prelude::*;

use super::room::{DEAD_MAX, DELIVERED_MAX, WAITING_MAX};
use super::turn::{AT_ONCE_MAX, SAID_AGAIN_EVERY};
use super::*;
use crate::notify::backoff::ATTEMPTS_MAX;
use crate::notify::message::tests::message;

const NOW: TimestampUs = TimestampUs(1_000_000);

fn at(now: TimestampUs, later: Duration) -> TimestampUs {
    TimestampUs(now.0 + i64::try_from(later.as_micros()).unwrap())
}

/// Enqueues a message of a group for a channel, and confirms it.
fn add(outbox: &mut Outbox, channel: &str, group: &str, id: &str) -> Vec<CatalogPut> {
    let to = (ChannelId::parse(channel).unwrap(), DeliveryId::parse(id).unwrap());
    let (seqs, puts) = outbox.add(vec![to], &Arc::new(message(group, NOW)), NOW).unwrap();
    outbox.confirm(&seqs);
    puts
}

fn ids(turns: &[Turn]) -> Vec<&str> {
    turns.iter().map(|turn| turn.delivery.id.as_str()).collect()
}

fn arrived() -> Outcome {
    Outcome::Delivered { status: Some(200), again: false }
}

fn failed(status: Option<u16>, retry_after: Option<Duration>) -> Outcome {
    Outcome::Failed { status, error: "no".to_owned(), retry_after, is_final: false }
}

fn end(outbox: &mut Outbox, turn: &Turn, outcome: Outcome, now: TimestampUs) -> Vec<CatalogPut> {
    let puts = outbox.settle(turn, outcome, now);
    outbox.release(turn);
    puts
}

fn state(outbox: &Outbox, id: &str) -> Option<DeliveryState> {
    outbox.get(&DeliveryId::parse(id).unwrap()).map(|delivery| delivery.state)
}

#[test]
fn a_channel_is_told_one_message_at_a_time_and_others_meanwhile() {
    let mut outbox = Outbox::default();
    for (channel, id) in [("a", "1"), ("a", "2"), ("b", "3")] {
        add(&mut outbox, channel, id, id);
    }
    let turns = outbox.turns(NOW);
    assert_eq!(ids(&turns), ["1", "3"]);
    assert!(outbox.turns(NOW).is_empty() && outbox.next().is_none());
    end(&mut outbox, &turns[1], arrived(), NOW);
    assert!(outbox.turns(NOW).is_empty(), "the first of `a` is still going on");
    end(&mut outbox, &turns[0], arrived(), NOW);
    assert_eq!(ids(&outbox.turns(NOW)), ["2"]);
}

#[test]
fn a_group_keeps_its_order_and_does_not_hold_up_other_groups() {
    let mut outbox = Outbox::default();
    for (group, id) in [("x", "x1"), ("x", "x2"), ("y", "y1")] {
        add(&mut outbox, "a", group, id);
    }
    let turns = outbox.turns(NOW);
    assert_eq!(ids(&turns), ["x1"]);
    end(&mut outbox, &turns[0], failed(Some(400), None), NOW);
    let turns = outbox.turns(NOW);
    assert_eq!(ids(&turns), ["y1"], "x2 waits for x1");
    end(&mut outbox, &turns[0], arrived(), NOW);
    let due = outbox.next().unwrap();
    assert!(due > NOW && outbox.turns(TimestampUs(due.0 - 1)).is_empty());
    assert_eq!(ids(&outbox.turns(due)), ["x1"]);
}

#[test]
fn what_is_not_durable_yet_is_not_sent_and_keeps_its_place() {
    let mut outbox = Outbox::default();
    let to = |id: &str| vec![(ChannelId::parse("a").unwrap(), DeliveryId::parse(id).unwrap())];
    let (first, puts) = outbox.add(to("1"), &Arc::new(message("x", NOW)), NOW).unwrap();
    assert_eq!(puts.len(), 1);
    add(&mut outbox, "a", "x", "2");
    assert!(outbox.turns(NOW).is_empty() && outbox.list(None).len() == 1);
    outbox.confirm(&first);
    assert_eq!(ids(&outbox.turns(NOW)), ["1"]);
    let (third, _) = outbox.add(to("3"), &Arc::new(message("x", NOW)), NOW).unwrap();
    outbox.retract(&third);
    assert_eq!(outbox.list(None).len(), 2);
}

#[test]
fn eight_failures_make_a_dead_letter_which_can_be_sent_again() {
    let mut outbox = Outbox::default();
    add(&mut outbox, "a", "x", "1");
    let mut now = NOW;
    for attempt in 1..=ATTEMPTS_MAX {
        now = outbox.next().unwrap();
        let turns = outbox.turns(now);
        let puts = end(&mut outbox, &turns[0], failed(None, None), now);
        assert_eq!(puts.len(), 1, "each attempt is kept");
        assert_eq!(turns[0].delivery.attempts, attempt - 1);
    }
    assert_eq!((state(&outbox, "1"), outbox.next()), (Some(DeliveryState::Dead), None));
    assert!(now < at(NOW, Duration::from_hours(44)));
    assert_eq!((outbox.counts().failed, outbox.counts().dead), (8, 1));
    let id = DeliveryId::parse("1").unwrap();
    assert!(outbox.redeliver(&id, now).is_some());
    assert!(outbox.redeliver(&id, now).is_none(), "it is in line already");
    let turns = outbox.turns(now);
    end(&mut outbox, &turns[0], arrived(), now);
    let delivery = outbox.get(&id).unwrap();
    assert_eq!((delivery.state, delivery.message.alerts.len()), (DeliveryState::Delivered, 0));
}

#[test]
fn a_final_failure_is_a_dead_letter_at_once() {
    let mut outbox = Outbox::default();
    add(&mut outbox, "a", "x", "1");
    let turns = outbox.turns(NOW);
    let outcome =
        Outcome::Failed { status: Some(410), error: "gone".to_owned(), retry_after: None, is_final: true };
    end(&mut outbox, &turns[0], outcome, NOW);
    assert_eq!(state(&outbox, "1"), Some(DeliveryState::Dead));
}

#[test]
fn retry_after_holds_the_channel_and_a_channel_that_answers_gets_what_waits() {
    let mut outbox = Outbox::default();
    for id in ["1", "2", "3"] {
        add(&mut outbox, "a", id, id);
    }
    let turns = outbox.turns(NOW);
    end(&mut outbox, &turns[0], failed(Some(503), Some(Duration::from_secs(90))), NOW);
    let then = at(NOW, Duration::from_secs(90));
    assert_eq!((outbox.turns(NOW).len(), outbox.next()), (0, Some(then)));
    for id in ["2", "3", "1"] {
        // The first is not tried when its own wait is over, but now: the channel answers again.
        let turns = outbox.turns(then);
        assert_eq!(ids(&turns), [id]);
        end(&mut outbox, &turns[0], arrived(), then);
    }
}

#[test]
fn the_oldest_leaves_a_full_line_and_ended_ones_are_few() {
    let mut outbox = Outbox::default();
    for n in 0..=WAITING_MAX {
        add(&mut outbox, "a", "x", &format!("w{n}"));
    }
    assert_eq!(state(&outbox, "w0"), Some(DeliveryState::Dead));
    assert_eq!(outbox.by_state(), [WAITING_MAX as u64, 0, 0, 1]);
    let mut outbox = Outbox::default();
    for n in 0..DEAD_MAX + 20 {
        add(&mut outbox, "a", "x", &format!("d{n}"));
        let turn = outbox.turns(NOW).remove(0);
        let outcome = match n % 2 {
            0 => arrived(),
            _ => Outcome::Failed { status: None, error: "no".to_owned(), retry_after: None, is_final: true },
        };
        end(&mut outbox, &turn, outcome, NOW);
    }
    let [_, _, delivered, dead] = outbox.by_state();
    assert_eq!((delivered, dead), (DELIVERED_MAX as u64, DEAD_MAX as u64 / 2 + 10));
}

#[test]
fn dead_letters_make_room_and_what_waits_is_refused_room() {
    let large = |group: &str| {
        let mut large = message(group, NOW);
        large.alerts[0].annotations = (0..30).map(|n| (n.to_string(), "x".repeat(1_000))).collect();
        Arc::new(large.bounded())
    };
    let mut outbox = Outbox::default();
    let mut n = 0;
    let mut fill = |outbox: &mut Outbox| -> usize {
        let before = n;
        loop {
            let channel = format!("c{}", n / 90);
            let to =
                vec![(ChannelId::parse(&channel).unwrap(), DeliveryId::parse(&format!("m{n}")).unwrap())];
            match outbox.add(to, &large(&n.to_string()), NOW) {
                Ok((seqs, _)) => outbox.confirm(&seqs),
                Err(_) => return n - before,
            }
            n += 1;
        }
    };
    let taken = fill(&mut outbox);
    assert!((100..200).contains(&taken) && outbox.bytes() <= room::ORGANIZATION_BYTES_MAX, "{taken}");
    assert_eq!(outbox.counts().refused, 1);
    for turn in outbox.turns(NOW) {
        let outcome =
            Outcome::Failed { status: None, error: "no".to_owned(), retry_after: None, is_final: true };
        end(&mut outbox, &turn, outcome, NOW);
    }
    let dead = outbox.by_state()[3];
    assert_eq!(fill(&mut outbox) as u64, dead, "one place for each dead letter");
    assert_eq!((outbox.by_state()[3], outbox.counts().forgotten), (0, dead));
    let other = TenantId::new("beta").unwrap();
    let mut theirs = message("x", NOW);
    theirs.organization = other.clone();
    let to = vec![(ChannelId::parse("c").unwrap(), DeliveryId::parse("t").unwrap())];
    let (seqs, _) = outbox.add(to, &Arc::new(theirs), NOW).expect("others have room of their own");
    outbox.confirm(&seqs);
    assert_eq!(outbox.list(Some(&other)).len(), 1);
}

#[test]
fn what_fires_is_said_again_until_a_later_message_of_its_group() {
    let mut outbox = Outbox::default();
    add(&mut outbox, "am", "x", "1");
    let again = Outcome::Delivered { status: Some(200), again: true };
    let turn = outbox.turns(NOW).remove(0);
    assert_eq!(end(&mut outbox, &turn, again.clone(), NOW).len(), 1);
    let mut now = NOW;
    for _ in 0..3 {
        now = at(now, SAID_AGAIN_EVERY);
        assert_eq!(outbox.next(), Some(now));
        let turn = outbox.turns(now).remove(0);
        assert!(turn.is_again && turn.delivery.message.alerts.len() == 1);
        assert!(end(&mut outbox, &turn, again.clone(), now).is_empty(), "nothing to keep");
    }
    assert_eq!(outbox.counts().delivered, 1);
    let puts = add(&mut outbox, "am", "x", "2");
    assert_eq!(puts.len(), 2, "the one before is done with");
    let turn = outbox.turns(now).remove(0);
    assert_eq!(turn.delivery.id.as_str(), "2");
    end(&mut outbox, &turn, arrived(), now);
    assert_eq!(outbox.next(), None);
    add(&mut outbox, "am", "y", "3");
    let turn = outbox.turns(now).remove(0);
    let last = at(NOW, turn::SAID_AGAIN_FOR);
    end(&mut outbox, &turn, again, last);
    assert_eq!(outbox.next(), None, "nothing is said again for ever");
}

#[test]
fn what_ended_long_ago_is_swept() {
    let mut outbox = Outbox::default();
    add(&mut outbox, "a", "x", "1");
    add(&mut outbox, "a", "x", "2");
    let turn = outbox.turns(NOW).remove(0);
    end(&mut outbox, &turn, arrived(), NOW);
    assert!(outbox.sweep(at(NOW, room::ENDED_KEPT)).is_empty());
    let removals = outbox.sweep(at(NOW, room::ENDED_KEPT + Duration::from_secs(1)));
    assert_eq!(removals.len(), 1);
    assert_eq!((removals[0].value.as_ref(), outbox.list(None).len()), (None, 1));
    let acme = TenantId::new("acme").unwrap();
    assert_eq!(outbox.remove_all(&acme).len(), 1);
    assert_eq!((outbox.bytes(), outbox.list(None).len()), (0, 0));
}

/// The records that a sequence of changes leaves behind.
fn apply(catalog: &mut BTreeMap<Vec<u8>, Vec<u8>>, puts: Vec<CatalogPut>) {
    for put in puts {
        match put.value {
            Some(value) => drop(catalog.insert(put.key, value)),
            None => drop(catalog.remove(&put.key)),
        }
    }
}

proptest! {
    /// Whatever happens: a restart finds every delivery as it was, what was being sent is to be sent, each group is told
    /// in its order, and no more attempts are made at once than may be.
    #[test]
    fn the_records_are_the_outbox_and_groups_keep_their_order(
        steps in prop::collection::vec((0_u8..8, 0_u8..4, 0_u8..3), 1..120)
    ) {
        let mut outbox = Outbox::default();
        let mut catalog = BTreeMap::new();
        let mut going_on: Vec<Turn> = Vec::new();
        let mut told: BTreeMap<(String, String), u64> = BTreeMap::new();
        let mut now = NOW;
        for (n, (what, channel, group)) in steps.into_iter().enumerate() {
            match what {
                0..=2 => {
                    let puts = add(&mut outbox, &format!("c{channel}"), &format!("g{group}"), &format!("m{n}"));
                    apply(&mut catalog, puts);
                }
                3 => {
                    for turn in outbox.turns(now) {
                        let story = (turn.delivery.channel.to_string(), turn.delivery.message.group_key.clone());
                        let before = told.insert(story, turn.delivery.seq);
                        prop_assert!(before.is_none_or(|before| before <= turn.delivery.seq));
                        going_on.push(turn);
                    }
                    prop_assert!(going_on.len() <= AT_ONCE_MAX);
                }
                4 | 5 if !going_on.is_empty() => {
                    let turn = going_on.remove(usize::from(channel) % going_on.len());
                    let puts = end(&mut outbox, &turn, arrived(), now);
                    apply(&mut catalog, puts);
                }
                6 if !going_on.is_empty() => {
                    let turn = going_on.remove(usize::from(channel) % going_on.len());
                    let puts = end(&mut outbox, &turn, failed(Some(500), None), now);
                    apply(&mut catalog, puts);
                }
                _ => now = outbox.next().map_or(now, |next| next.max(now)),
            }
            if n % 10 > 0 {
                continue;
            }
            let again = Outbox::load(|_, _| catalog.clone().into_iter().collect());
            let as_stored = |delivery: Delivery| Delivery {
                state: match delivery.state {
                    DeliveryState::Delivering => DeliveryState::Queued,
                    other => other,
                },
                // Being woken is not kept: after a restart the wait is that of the last attempt.
                due: delivery.due.map(|_| NOW),
                ..delivery
            };
            let kept: Vec<_> = outbox.list(None).into_iter().map(as_stored).collect();
            let found: Vec<_> = again.list(None).into_iter().map(as_stored).collect();
            prop_assert_eq!(kept, found);
            prop_assert_eq!(again.bytes(), catalog.values().map(|value| value.len() as u64).sum::<u64>());
        }
    }
}
