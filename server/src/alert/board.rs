//! The alerts of one rule: an evaluation's readings against what is remembered of every series. Pure.

use std::collections::BTreeMap;

use insights_engine::time::TimestampUs;

use super::label::Labels;
use super::length::Length;
use super::room::{CrowdedOut, Room, Taken};
use super::state::{AlertState, Change, Observation, Policy, Series};

/// Most series of a rule; what goes beyond is counted, not watched.
pub const SERIES_MAX: usize = 1_000;
/// Most bytes of the labels of all series of a rule: its state must fit into a few catalog records.
pub const SERIES_BYTES_MAX: usize = 192 << 10;
/// A series of which nothing was known for so long is forgotten: its host or label is gone.
pub const FORGOTTEN_AFTER: Length = Length::days(1);

/// What an evaluation found, by the labels of the series.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Readings {
    /// Each series that was found.
    pub series: BTreeMap<Labels, Observation>,
    /// Series that are left out because there are too many.
    pub omitted: u64,
    /// Whether values are counts of what is new, to be added up while an alert fires.
    pub are_new: bool,
    /// Whether the server may be the cause of silence: it was away for a part of the time that was looked at.
    pub in_doubt: bool,
}

/// A change of the state of an alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The labels of the series.
    pub series: Labels,
    /// What changed.
    pub change: Change,
    /// When.
    pub at: TimestampUs,
    /// Since when it had been as it was before.
    pub before: TimestampUs,
    /// The number that was found; none when nothing was.
    pub value: Option<f64>,
}

/// The alerts of one rule.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Board {
    /// What is remembered, by the labels of the series.
    pub series: BTreeMap<Labels, Series>,
    /// Series that the last evaluation had to leave out because the rule has too many.
    pub omitted: u64,
    /// Series that it had to leave out because all rules together have too many.
    pub crowded_out: CrowdedOut,
}

impl Board {
    /// Takes what an evaluation of time `now` found, as far as there is `room`; gives the changes that it makes, in the
    /// order of labels.
    pub fn take(
        &mut self,
        policy: &Policy,
        now: TimestampUs,
        readings: Readings,
        room: Room,
    ) -> Vec<Transition> {
        let Readings { series: mut found, omitted, are_new, in_doubt } = readings;
        let judged = |seen: Observation| if in_doubt { policy.in_doubt(seen) } else { seen };
        let mut changes = Vec::new();
        for (labels, series) in &mut self.series {
            let observation = judged(found.remove(labels).unwrap_or(Observation::Nothing));
            let before = series.value.filter(|_| are_new && series.state == AlertState::Firing);
            note(labels, series, policy, now, observation, &mut changes);
            if let Some(before) = before {
                series.value = Some(before + series.value.unwrap_or(0.0));
            }
        }
        (self.omitted, self.crowded_out) = (omitted, CrowdedOut::default());
        self.forget(now);
        let wanted = found.keys().fold(self.taken(), |taken, labels| taken.and(taken_by(labels)));
        if wanted.series > SERIES_MAX || !wanted.fits(room.for_well) {
            self.series.retain(|_, series| !series.is_forgettable() || series.seen == now);
        }
        // What is bad comes first: that what is well is left out changes nothing before it is not.
        let found = found.into_iter().map(|(labels, observation)| (labels, judged(observation)));
        let (bad, well): (Vec<_>, Vec<_>) = found.partition(|(_, observation)| policy.is_bad(*observation));
        let mut taken = self.taken();
        let mut crowded_out = [0, 0];
        for ((found, room), crowded_out) in
            [(bad, room.for_alerts), (well, room.for_well)].into_iter().zip(&mut crowded_out)
        {
            for (labels, observation) in found {
                let with = taken.and(taken_by(&labels));
                if with.series > SERIES_MAX || with.label_bytes > SERIES_BYTES_MAX {
                    self.omitted += 1;
                } else if !with.fits(room) {
                    *crowded_out += 1;
                } else {
                    let mut series = Series { since: now, seen: now, ..Series::default() };
                    note(&labels, &mut series, policy, now, observation, &mut changes);
                    self.series.insert(labels, series);
                    taken = with;
                }
            }
        }
        let [bad, well] = crowded_out;
        self.crowded_out = CrowdedOut { well, bad };
        changes
    }

    /// Ends every alert, because the rule does.
    pub fn retire(&mut self, now: TimestampUs) -> Vec<Transition> {
        let mut changes = Vec::new();
        for (labels, series) in &mut self.series {
            let (before, value) = (series.since, series.value);
            if let Some(change) = series.retire(now) {
                changes.push(Transition { series: labels.clone(), change, at: now, before, value });
            }
        }
        self.drop_well();
        changes
    }

    /// Forgets every series that is well.
    pub fn drop_well(&mut self) {
        self.series.retain(|_, series| !series.is_forgettable());
    }

    /// The gravest state of its series.
    pub fn state(&self) -> AlertState {
        self.series.values().map(|series| series.state).max().unwrap_or_default()
    }

    /// Whether of one of its alerts the end is to be told.
    pub fn has_ended(&self) -> bool {
        self.series.values().any(|series| series.state == AlertState::Resolved)
    }

    /// Forgets series that are well and of which nothing was known for long.
    fn forget(&mut self, now: TimestampUs) {
        let is_gone = |series: &Series| now.0.saturating_sub(series.seen.0) > FORGOTTEN_AFTER.us();
        self.series
            .retain(|labels, series| labels.is_empty() || !series.is_forgettable() || !is_gone(series));
    }

    /// What its series take in memory.
    pub fn taken(&self) -> Taken {
        self.series.keys().map(taken_by).fold(Taken::default(), Taken::and)
    }
}

fn note(
    labels: &Labels,
    series: &mut Series,
    policy: &Policy,
    now: TimestampUs,
    observation: Observation,
    changes: &mut Vec<Transition>,
) {
    let before = series.since;
    if let Some(change) = series.observe(policy, now, observation) {
        changes.push(Transition { series: labels.clone(), change, at: now, before, value: series.value });
    }
}

/// What a series takes: of labels what they take in a record, about.
fn taken_by(labels: &Labels) -> Taken {
    let label_bytes = labels.iter().map(|(name, value)| name.len() + value.len() + 6).sum();
    Taken { series: 1, label_bytes }
}

#[cfg(test)]
mod tests {
    use super::super::rule::NoData;
    use super::super::threshold::{Comparator, Threshold};
    use super::*;

    fn policy(no_data: NoData) -> Policy {
        Policy {
            threshold: Threshold::fixed(Comparator::Gte, 1.0),
            hold: Length::ZERO,
            keep_firing_for: Length::ZERO,
            no_data,
            tells_silence: false,
        }
    }

    fn host(name: &str) -> Labels {
        Labels::from([("host".to_owned(), name.to_owned())])
    }

    fn readings(of: &[(&str, f64)]) -> Readings {
        let series = of.iter().map(|(name, value)| (host(name), Observation::Value(*value)));
        Readings { series: series.collect(), ..Readings::default() }
    }

    fn told(changes: &[Transition]) -> Vec<(String, Change)> {
        changes.iter().map(|t| (t.series["host"].clone(), t.change)).collect()
    }

    fn at(second: i64) -> TimestampUs {
        TimestampUs(second * 1_000_000)
    }

    #[test]
    fn every_series_has_a_state_of_its_own_and_one_that_is_gone_has_no_data() {
        let mut board = Board::default();
        let changes = board.take(
            &policy(NoData::Alerting),
            at(0),
            readings(&[("a", 1.0), ("b", 0.0)]),
            Room::UNLIMITED,
        );
        assert_eq!(told(&changes), [("a".to_owned(), Change::Firing)]);
        let changes = board.take(&policy(NoData::Alerting), at(60), readings(&[("a", 0.0)]), Room::UNLIMITED);
        assert_eq!(told(&changes), [("a".to_owned(), Change::Resolved), ("b".to_owned(), Change::NoData)]);
        assert_eq!((changes[0].at, changes[0].before), (at(60), at(0)));
        assert_eq!(board.state(), AlertState::Firing);
        let ended = board.retire(at(90));
        assert_eq!(told(&ended), [("b".to_owned(), Change::Resolved)]);
        assert!(board.series.is_empty());
    }

    #[test]
    fn a_series_of_which_nothing_is_known_for_a_day_is_forgotten() {
        let mut board = Board::default();
        board.take(&policy(NoData::Ok), at(0), readings(&[("a", 0.0), ("b", 0.0)]), Room::UNLIMITED);
        board.take(&policy(NoData::Ok), at(86_400), readings(&[("a", 0.0)]), Room::UNLIMITED);
        assert_eq!(board.series.len(), 2);
        board.take(&policy(NoData::Ok), at(86_401), readings(&[("a", 0.0)]), Room::UNLIMITED);
        assert_eq!(board.series.keys().collect::<Vec<_>>(), [&host("a")]);
    }

    #[test]
    fn series_are_bounded_and_what_goes_beyond_is_counted() {
        let names: Vec<String> = (0..SERIES_MAX + 7).map(|n| format!("{n:05}")).collect();
        let all: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
        let mut board = Board::default();
        let changes = board.take(&policy(NoData::Ok), at(0), readings(&all), Room::UNLIMITED);
        assert_eq!((changes.len(), board.series.len(), board.omitted), (SERIES_MAX, SERIES_MAX, 7));
        // Those that are well and were not found make room: seven resolve, seven others fire.
        let changes = board.take(&policy(NoData::Ok), at(60), readings(&all[7..]), Room::UNLIMITED);
        assert_eq!((changes.len(), board.omitted), (14, 0));
        let mut board = Board::default();
        let long: Vec<String> = (0..400).map(|n| format!("{n:01000}")).collect();
        let long: Vec<(&str, f64)> = long.iter().map(|name| (name.as_str(), 1.0)).collect();
        board.take(&policy(NoData::Ok), at(0), readings(&long), Room::UNLIMITED);
        assert!(board.series.len() < 200 && board.omitted > 200);
    }

    #[test]
    fn without_room_for_all_alerts_come_first_and_nothing_is_left_out_silently() {
        let room = |for_alerts: usize, for_well: usize| {
            let of = |series| Taken { series, label_bytes: usize::MAX };
            Room { for_alerts: of(for_alerts), for_well: of(for_well) }
        };
        let kept =
            |board: &Board| board.series.keys().map(|labels| labels["host"].clone()).collect::<Vec<_>>();
        let all = [("a", 0.0), ("b", 0.0), ("c", 1.0), ("d", 0.0), ("e", 1.0)];
        let mut board = Board::default();
        let changes = board.take(&policy(NoData::Ok), at(0), readings(&all), room(4, 3));
        assert_eq!(
            (changes.len(), kept(&board), board.crowded_out.well),
            (2, vec!["a".into(), "c".into(), "e".into()], 2)
        );
        // One that was left out and is bad is an alert as soon as it is.
        let all = [("a", 0.0), ("b", 1.0), ("c", 1.0), ("d", 1.0), ("e", 1.0)];
        let changes = board.take(&policy(NoData::Ok), at(60), readings(&all), room(4, 3));
        assert_eq!(
            (told(&changes), board.crowded_out),
            (vec![("b".to_owned(), Change::Firing)], CrowdedOut { well: 0, bad: 1 })
        );
        // What is well and was not found makes room; what was kept before the room was taken stays.
        let changes = board.take(&policy(NoData::Ok), at(120), readings(&all[1..]), room(4, 0));
        assert_eq!((told(&changes), board.crowded_out.series()), (vec![("d".to_owned(), Change::Firing)], 0));
        board.take(&policy(NoData::Ok), at(180), readings(&all), room(0, 0));
        assert_eq!((kept(&board).len(), board.crowded_out.series()), (4, 1));
    }

    #[test]
    fn what_is_new_adds_up_while_an_alert_fires() {
        let mut board = Board::default();
        let keeps = Policy { keep_firing_for: Length::minutes(1), ..policy(NoData::Ok) };
        let new = |of: &[(&str, f64)]| Readings { are_new: true, ..readings(of) };
        board.take(&keeps, at(0), new(&[("a", 3.0)]), Room::UNLIMITED);
        board.take(&keeps, at(5), new(&[("a", 4.0)]), Room::UNLIMITED);
        board.take(&keeps, at(10), new(&[]), Room::UNLIMITED);
        assert_eq!(board.series[&host("a")].value, Some(7.0));
        let changes = board.take(&keeps, at(70), new(&[]), Room::UNLIMITED);
        assert_eq!(told(&changes), [("a".to_owned(), Change::Resolved)]);
    }
}
