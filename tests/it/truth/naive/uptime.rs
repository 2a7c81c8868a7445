//! Uptime by probes: how long each outcome stands, and what of that lies where. Probes of one instant are one: up when
//! any of them is up, in maintenance when any of them is.

use std::collections::BTreeMap;

use super::super::calendar::Range;
use super::super::data::{MINUTE, NOW, Point, SECOND, at};
use super::super::platform::PROBED;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Up,
    Down,
    Maintenance,
}

/// What is known at one instant.
#[derive(Debug, Clone, Copy)]
struct Probe {
    at: i64,
    up: bool,
    maintained: bool,
}

/// Microseconds by state.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Account {
    pub(super) up: i64,
    pub(super) down: i64,
    pub(super) maintenance: i64,
}

impl Account {
    pub(super) fn ratio(self) -> Option<f64> {
        super::ratio(self.up as f64, (self.up + self.down) as f64)
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self {
            up: self.up + other.up,
            down: self.down + other.down,
            maintenance: self.maintenance + other.maintenance,
        }
    }
}

/// What is known of an application: a stretch for each probe.
#[derive(Debug)]
pub(super) struct Timeline(Vec<(Range, State)>);

impl Timeline {
    pub(super) fn of(points: &[Point], app: Option<&str>) -> Self {
        let mut instants: BTreeMap<i64, Vec<&Point>> = BTreeMap::new();
        for point in points.iter().filter(|point| point.name == "uptime" && point.app == app) {
            instants.entry(point.at).or_default().push(point);
        }
        let probe = |(at, of): (i64, Vec<&Point>)| Probe {
            at,
            up: of.iter().any(|one| one.value >= 0.5),
            maintained: of.iter().any(|one| one.labels.contains(&("maintenance", "true"))),
        };
        let probes: Vec<Probe> = instants.into_iter().map(probe).collect();
        let fails = |place: Option<usize>| {
            place.and_then(|place| probes.get(place)).is_some_and(|probe| !probe.up && !probe.maintained)
        };
        // A state stands for ten minutes, or for two of the usual intervals.
        let apart = PROBED.iter().find(|(name, _)| *name == app).map_or(0, |(_, seconds)| seconds * SECOND);
        let stands = (10 * MINUTE).max(2 * apart);
        let mut down = false;
        let stretch = |(place, probe): (usize, &Probe)| {
            if !probe.maintained && probe.up {
                down = false;
            } else if fails(Some(place)) && (fails(place.checked_sub(1)) || fails(Some(place + 1))) {
                down = true;
            }
            let next = probes.get(place + 1).map_or(i64::MAX, |next| next.at);
            let end = next.min(probe.at + stands).min(at(NOW));
            let state = match (probe.maintained, down) {
                (true, _) => State::Maintenance,
                (false, true) => State::Down,
                (false, false) => State::Up,
            };
            (Range { start: probe.at, end }, state)
        };
        Self(probes.iter().enumerate().map(stretch).collect())
    }

    pub(super) fn account(&self, range: Range) -> Account {
        let time = |wanted: State| {
            let of = self.0.iter().filter(|(_, state)| *state == wanted);
            of.map(|(stretch, _)| stretch.common(range).len()).sum()
        };
        Account { up: time(State::Up), down: time(State::Down), maintenance: time(State::Maintenance) }
    }

    /// Whether anything is known of a range.
    pub(super) fn knows(&self, range: Range) -> bool {
        self.0.iter().any(|(stretch, _)| stretch.common(range).len() > 0)
    }

    /// When it was down inside a range.
    pub(super) fn incidents(&self, range: Range) -> Vec<Range> {
        let mut all: Vec<Range> = Vec::new();
        for (stretch, state) in &self.0 {
            let cut = stretch.common(range);
            if *state != State::Down || cut.len() == 0 {
                continue;
            }
            match all.last_mut() {
                Some(last) if last.end == cut.start => last.end = cut.end,
                _ => all.push(cut),
            }
        }
        all
    }
}
