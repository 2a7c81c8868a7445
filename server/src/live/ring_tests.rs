//! A ring against a list of everything that happened.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

/// What happens to a ring.
#[derive(Debug, Clone)]
enum Step {
    Event { ago_s: i64, who: Option<u64> },
    Requests { ago_s: i64, count: u8 },
    Errors { ago_s: i64, count: u8 },
    Pass { s: i64 },
    Publish,
}

fn step() -> impl Strategy<Value = Step> {
    let ago = prop_oneof![4 => -70..320_i64, 2 => -2..3_i64];
    prop_oneof![
        6 => (ago.clone(), prop::option::of(0..12_u64)).prop_map(|(ago_s, who)| Step::Event { ago_s, who }),
        2 => (ago.clone(), 1..9_u8).prop_map(|(ago_s, count)| Step::Requests { ago_s, count }),
        1 => (ago, 1..9_u8).prop_map(|(ago_s, count)| Step::Errors { ago_s, count }),
        2 => prop_oneof![8 => 0..4_i64, 1 => 0..400_i64].prop_map(|s| Step::Pass { s }),
        3 => Just(Step::Publish),
    ]
}

/// (second, who, events, requests, errors) of everything the ring could take when it came.
type Happened = Vec<(i64, Option<u64>, u64, f64, f64)>;

/// An exact judge in whole numbers, which doubles hold.
fn judged(happened: &Happened, now_s: i64, span_s: i64) -> Totals {
    let mut totals = Totals::default();
    // Who was seen again ahead of the clock is active when that time has come.
    let mut last: HashMap<u64, i64> = HashMap::new();
    for (at, who, events, requests, errors) in happened {
        if (now_s - span_s + 1..=now_s).contains(at) {
            totals.events += events;
            totals.requests += requests;
            totals.errors += errors;
        }
        if let Some(who) = who {
            let last = last.entry(*who).or_insert(*at);
            *last = (*last).max(*at);
        }
    }
    totals.active_users = last.values().filter(|at| (now_s - span_s + 1..=now_s).contains(at)).count() as u64;
    totals
}

/// A viewer that keeps what it was shown.
#[derive(Debug, Default)]
struct Viewer {
    version: u64,
    seconds: BTreeMap<i64, (u64, f64, f64)>,
}

impl Viewer {
    fn look(&mut self, ring: &Ring) {
        for (at, second) in ring.changed(self.version) {
            self.seconds.insert(at, (second.events, second.requests, second.errors));
        }
        self.version = ring.version();
        self.seconds.retain(|at, _| *at >= ring.first_s());
    }
}

proptest! {
    #[test]
    fn sums_are_those_of_a_list_and_updates_add_up_to_the_whole(steps in prop::collection::vec(step(), 0..160)) {
        let mut ring = Ring::new(10_000, Room::new(100));
        let mut happened = Happened::new();
        let (mut eager, mut now) = (Viewer::default(), 10_000);
        for (index, step) in steps.into_iter().enumerate() {
            let fits = |at: i64| (now - WINDOW_S + 1..=now + AHEAD_S).contains(&at);
            match step {
                Step::Event { ago_s, who } => {
                    ring.add_events(now - ago_s, 1);
                    if let Some(who) = who {
                        ring.see(who, now - ago_s);
                    }
                    if fits(now - ago_s) {
                        happened.push((now - ago_s, who, 1, 0.0, 0.0));
                    }
                }
                Step::Requests { ago_s, count } => {
                    ring.add_requests(now - ago_s, f64::from(count));
                    if fits(now - ago_s) {
                        happened.push((now - ago_s, None, 0, f64::from(count), 0.0));
                    }
                }
                Step::Errors { ago_s, count } => {
                    ring.add_errors(now - ago_s, f64::from(count));
                    if fits(now - ago_s) {
                        happened.push((now - ago_s, None, 0, 0.0, f64::from(count)));
                    }
                }
                Step::Pass { s } => {
                    now += s;
                    prop_assert!(ring.advance(now));
                }
                Step::Publish => {
                    ring.publish();
                    if index % 2 == 0 {
                        eager.look(&ring);
                    }
                }
            }
            for span in [MINUTE_S, WINDOW_S] {
                prop_assert_eq!(ring.totals(span), judged(&happened, now, span));
            }
        }
        ring.publish();
        eager.look(&ring);
        let mut late = Viewer::default();
        late.look(&ring);
        prop_assert_eq!(&eager.seconds, &late.seconds, "who saw every update sees what a newcomer sees");
        let events: u64 = late.seconds.values().map(|(events, ..)| events).sum();
        prop_assert_eq!(events, ring.totals(WINDOW_S).events);
        prop_assert_eq!(ring.publish(), None, "nothing has changed");
    }
}

#[test]
fn who_finds_no_room_is_said_to_be_missing_until_others_leave() {
    let room = Room::new(2);
    let mut ring = Ring::new(0, room.clone());
    for who in 0..3 {
        ring.see(who, 0);
    }
    assert_eq!((ring.totals(60).active_users, ring.counts_everybody()), (2, false));
    drop(ring);
    let mut other = Ring::new(0, room);
    other.see(7, 0);
    other.see(8, 0);
    assert!(other.counts_everybody(), "a ring that is gone gives its room back");
}

#[test]
fn identities_that_left_the_window_are_forgotten() {
    let mut ring = Ring::new(0, Room::new(usize::MAX));
    for who in 0..5_000 {
        ring.see(who, 0);
    }
    assert!(ring.advance(WINDOW_S));
    assert_eq!((ring.users.len(), ring.totals(WINDOW_S).active_users), (0, 0));
    assert!(!ring.advance(-AHEAD_S - 1 + WINDOW_S), "a clock that went back by more than it may be ahead");
    assert!(ring.advance(WINDOW_S - AHEAD_S));
}
