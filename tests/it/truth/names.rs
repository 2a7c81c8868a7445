//! Names that the server gives to sessions: one for each chain of events, and nothing else in the numbers.

use std::collections::BTreeMap;

use insights_server::Config;

use super::bed::Bed;
use super::data::{DAY, Event, MINUTE, NOW, at};
use super::platform::{Organization, golden};
use super::random::{self, Random};

/// Who an event without a session of its client is of.
type Person<'a> = (bool, &'a str);

fn person(event: &Event) -> Option<Person<'_>> {
    let user = event.user.as_deref().map(|user| (true, user));
    user.or_else(|| event.visitor.as_deref().map(|visitor| (false, visitor)))
}

/// When the chain of a person that holds `event` begins, as far as `before` and the event itself say.
fn start_of_chain(before: &[&Event], event: &Event) -> i64 {
    let own = |other: &&&Event| other.session.is_none() && person(other) == person(event);
    let mut times: Vec<i64> = before.iter().filter(own).map(|other| other.at).collect();
    times.push(event.at);
    times.sort_unstable();
    let place = times.iter().position(|time| *time == event.at).unwrap();
    let chained = |pair: &&[i64]| pair[1] - pair[0] < 30 * MINUTE;
    let steps = times[..=place].windows(2).rev().take_while(chained).count();
    times[place - steps]
}

#[test]
fn one_by_one_events_are_named_by_the_chain_that_they_are_in_so_far() {
    for (seed, merged) in [(random::seed(), false), (random::seed() + 1, true)] {
        let mut all = golden(seed);
        let acme = all.remove(0);
        check_names(acme, seed, merged);
    }
}

fn check_names(acme: Organization, seed: u64, merged: bool) {
    let (single, batched): (Vec<Event>, Vec<Event>) =
        acme.events.into_iter().partition(|event| event.single.is_some());
    let rest = Organization { events: batched, ..Organization { name: "acme", ..Organization::default() } };
    let mut bed = Bed::full(Config::default(), std::slice::from_ref(&rest));
    if merged {
        bed.merge();
        bed.world.restart();
    }
    let mut sent: Vec<&Event> = rest.events.iter().collect();
    let mut names: BTreeMap<(Person<'_>, i64), String> = BTreeMap::new();
    let mut nobody: BTreeMap<i64, String> = BTreeMap::new();
    // What is older than the late window is history, whose chains nobody asks for.
    let recent = |event: &&Event| event.at > at(NOW) - 29 * DAY;
    let mut order: Vec<&Event> = single.iter().filter(recent).collect();
    Random(seed).shuffle(&mut order);
    order.sort_by_key(|event| !event.single.unwrap().first);
    let mut known = 0;
    for (place, event) in order.into_iter().enumerate() {
        if event.single.is_some_and(|single| !single.first) && !bed.knows(event) {
            continue;
        }
        if place == 40 {
            // What was remembered is forgotten.
            bed.world.flush();
            bed.world.restart();
        }
        let name = bed.send_single("acme", event);
        match person(event) {
            Some(person) => {
                let chain = (person, start_of_chain(&sent, event));
                let before = names.insert(chain, name.clone());
                known += u64::from(before.is_some());
                assert!(before.is_none_or(|before| before == name), "{chain:?} has two names: {event:?}");
            }
            // Of nobody the first name stays.
            None => assert_eq!(nobody.entry(event.single.unwrap().visit).or_insert(name.clone()), &name),
        }
        sent.push(event);
    }
    let mut different: Vec<&String> = names.values().chain(nobody.values()).collect();
    let count = different.len();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), count, "two chains have one name");
    assert!(known > 4 && !nobody.is_empty() && count > 10, "{known} {} {count}", nobody.len());
}
