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

fn said_again() -> Outcome {
    Outcome::Delivered { status: Some(200), again: true }
}

#[test]
fn what_is_over_is_told_when_its_beginning_arrives_after_it_was_enqueued() {
    let mut outbox = Outbox::default();
    let mut catalog = BTreeMap::new();
    apply(&mut catalog, add(&mut outbox, "am", "x", "1"));
    let turn = outbox.turns(NOW).remove(0);
    apply(&mut catalog, add(&mut outbox, "am", "x", "2"));
    apply(&mut catalog, end(&mut outbox, &turn, said_again(), NOW));
    let mut restarted = Outbox::load(|_, _| catalog.clone().into_iter().collect());
    for outbox in [&mut outbox, &mut restarted] {
        let turn = outbox.turns(NOW).remove(0);
        assert_eq!(turn.delivery.id.as_str(), "2");
        end(outbox, &turn, arrived(), NOW);
        assert_eq!(outbox.next(), None);
    }
}

#[test]
fn what_is_over_is_told_when_it_is_enqueued_while_its_beginning_is_said_again() {
    for outcome in [said_again(), failed(None, None)] {
        let mut outbox = Outbox::default();
        add(&mut outbox, "am", "x", "1");
        let turn = outbox.turns(NOW).remove(0);
        end(&mut outbox, &turn, said_again(), NOW);
        let now = at(NOW, SAID_AGAIN_EVERY);
        let turn = outbox.turns(now).remove(0);
        add(&mut outbox, "am", "x", "2");
        end(&mut outbox, &turn, outcome, now);
        let turn = outbox.turns(now).remove(0);
        assert_eq!(turn.delivery.id.as_str(), "2");
        end(&mut outbox, &turn, arrived(), now);
        assert_eq!(outbox.next(), None);
    }
}

#[test]
fn saying_again_to_one_that_does_not_answer_ends_with_its_day_or_a_final_no() {
    let last = at(NOW, turn::SAID_AGAIN_FOR.checked_sub(SAID_AGAIN_EVERY).unwrap());
    for (now, is_final) in [(last, false), (at(NOW, SAID_AGAIN_EVERY), true)] {
        let mut outbox = Outbox::default();
        add(&mut outbox, "am", "x", "1");
        let turn = outbox.turns(NOW).remove(0);
        end(&mut outbox, &turn, said_again(), NOW);
        let turn = outbox.turns(now).remove(0);
        let outcome = Outcome::Failed { status: None, error: "no".to_owned(), retry_after: None, is_final };
        assert_eq!(end(&mut outbox, &turn, outcome, now).len(), 1, "a restart does not begin it anew");
        assert_eq!((outbox.next(), state(&outbox, "1")), (None, Some(DeliveryState::Delivered)));
    }
}

#[test]
fn what_fires_is_not_said_again_when_nobody_tells_how_it_ended() {
    let acme = TenantId::new("acme").unwrap();
    // Told already, being told, to be told.
    for (attempts, settled) in [(1, 1), (1, 0), (0, 0)] {
        let (mut outbox, mut catalog) = (Outbox::default(), BTreeMap::new());
        apply(&mut catalog, add(&mut outbox, "am", "x", "1"));
        apply(&mut catalog, add(&mut outbox, "am", "y", "2"));
        let turns = if attempts == 1 { outbox.turns(NOW) } else { Vec::new() };
        for turn in turns.iter().take(settled) {
            apply(&mut catalog, end(&mut outbox, turn, said_again(), NOW));
        }
        let other = ChannelId::parse("other").unwrap();
        assert!(outbox.stop_saying(&acme, "x", Some(&other)).is_empty());
        let puts = outbox.stop_saying(&acme, "x", None);
        assert_eq!((puts.len(), outbox.stop_saying(&acme, "x", None).len()), (1, 0));
        apply(&mut catalog, puts);
        for turn in turns.iter().skip(settled) {
            apply(&mut catalog, end(&mut outbox, turn, said_again(), NOW));
        }
        let mut restarted = Outbox::load(|_, _| catalog.clone().into_iter().collect());
        for outbox in [&mut outbox, &mut restarted] {
            let mut told = Vec::new();
            for _ in 0..4 {
                let now = outbox.next().unwrap();
                let turn = outbox.turns(now).remove(0);
                end(outbox, &turn, said_again(), now);
                told.push(turn.delivery.id.to_string());
            }
            assert_eq!(told.iter().filter(|id| *id == "1").count(), 1 - attempts, "{told:?}");
        }
    }
}

/// Enqueues a message of an organization for a channel at `now`, and confirms it.
fn add_of(outbox: &mut Outbox, organization: &str, channel: &str, id: &str, now: TimestampUs) {
    let mut message = message(id, now);
    message.organization = TenantId::new(organization).unwrap();
    let to = (ChannelId::parse(channel).unwrap(), DeliveryId::parse(id).unwrap());
    let (seqs, _) = outbox.add(vec![to], &Arc::new(message), now).unwrap();
    outbox.confirm(&seqs);
}

#[test]
fn one_organization_has_a_share_of_the_attempts_alone() {
    let mut outbox = Outbox::default();
    for n in 0..6 {
        add_of(&mut outbox, "acme", &format!("c{n}"), &format!("a{n}"), NOW);
    }
    add_of(&mut outbox, "beta", "c", "b", NOW);
    let turns = outbox.turns(NOW);
    assert_eq!(ids(&turns), ["a0", "a1", "a2", "a3", "b"]);
    assert_eq!((outbox.turns(NOW).len(), outbox.next()), (0, None), "only the end of one makes room");
    end(&mut outbox, &turns[0], arrived(), NOW);
    assert_eq!(ids(&outbox.turns(NOW)), ["a4"]);
}

#[test]
fn first_attempts_are_made_before_those_that_repeat() {
    let mut outbox = Outbox::default();
    for n in 0..AT_ONCE_MAX {
        add_of(&mut outbox, &format!("o{}", n / 4), &format!("c{n}"), &format!("m{n}"), NOW);
    }
    for turn in outbox.turns(NOW) {
        end(&mut outbox, &turn, failed(None, None), NOW);
    }
    let later = at(NOW, Duration::from_hours(1));
    add_of(&mut outbox, "beta", "c", "new", later);
    let turns = outbox.turns(later);
    assert_eq!((turns.len(), ids(&turns)[0]), (AT_ONCE_MAX, "new"));
}

#[test]
fn when_all_room_is_taken_the_largest_organization_gives_way() {
    let large = |organization: &str, n: usize| {
        let mut large = message(&n.to_string(), NOW);
        large.organization = TenantId::new(organization).unwrap();
        large.alerts[0].annotations = (0..30).map(|n| (n.to_string(), "x".repeat(1_000))).collect();
        Arc::new(large.bounded())
    };
    let mut outbox = Outbox::default();
    let add = |outbox: &mut Outbox, organization: &str, n: usize| {
        let channel = ChannelId::parse(&format!("c{}", n / 90)).unwrap();
        let id = DeliveryId::parse(&format!("{organization}-{n}")).unwrap();
        let (seqs, _) = outbox.add(vec![(channel, id)], &large(organization, n), NOW).ok()?;
        outbox.confirm(&seqs);
        Some(())
    };
    for organization in 0..room::BYTES_MAX / room::ORGANIZATION_BYTES_MAX {
        let taken =
            (0..1_000).take_while(|n| add(&mut outbox, &format!("o{organization}"), *n).is_some()).count();
        assert!(taken > 50, "{taken}");
    }
    let before = outbox.counts();
    for n in 0..40 {
        add(&mut outbox, "beta", n).expect("the newest of a small organization finds room");
    }
    let after = outbox.counts();
    assert!(outbox.bytes() <= room::BYTES_MAX && after.dead > before.dead);
    assert_eq!((after.refused, after.dead), (before.refused, after.forgotten));
    assert_eq!(outbox.list(Some(&TenantId::new("beta").unwrap())).len(), 40);
    // Each of the others gave of its oldest, and none much more than another.
    for organization in 0..8 {
        let of = TenantId::new(&format!("o{organization}")).unwrap();
        let kept = outbox.list(Some(&of));
        let first: usize = kept.last().unwrap().id.as_str().rsplit_once('-').unwrap().1.parse().unwrap();
        assert!((1..=6).contains(&first), "{first}");
        assert_eq!(kept[0].id.as_str(), format!("o{organization}-{}", first + kept.len() - 1));
    }
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
    /// in its order, and no more attempts are made at once than may be. In the end all is told that waits, however much
    /// is said again meanwhile.
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
                    let outcome = if what == 4 { arrived() } else { said_again() };
                    let puts = end(&mut outbox, &turn, outcome, now);
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
                // How it went to say something again is not kept either.
                last: delivery.last.filter(|_| delivery.state != DeliveryState::Delivered),
                ..delivery
            };
            let kept: Vec<_> = outbox.list(None).into_iter().map(as_stored).collect();
            let found: Vec<_> = again.list(None).into_iter().map(as_stored).collect();
            prop_assert_eq!(kept, found);
            let stored = catalog.values().map(|value| value.len() as u64).sum::<u64>();
            prop_assert_eq!(again.bytes(), stored);
        }
        for turn in going_on {
            end(&mut outbox, &turn, said_again(), now);
        }
        // Ten days: no wait is as long, and each hour has a turn for every channel.
        for _ in 0..240 {
            now = at(now, Duration::from_hours(1));
            for turn in outbox.turns(now) {
                end(&mut outbox, &turn, said_again(), now);
            }
        }
        let [queued, delivering, ..] = outbox.by_state();
        prop_assert_eq!((queued, delivering), (0, 0));
    }
}
