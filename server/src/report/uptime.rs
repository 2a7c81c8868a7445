//! Uptime from probes: when an application was up, down, in maintenance, or unknown; pure.
//!
//! The probes of one application are one sequence ordered by time, whoever sent them; several at one
//! instant are one probe, which is up when any of them is. Two failed probes in a row are down from
//! the first of them; a failed probe alone leaves the state as it was, and before any state an
//! application counts as up. A successful probe is up at once. A probe in maintenance takes its time
//! out of the account, leaves the state as it was, and breaks a row of failures. A state holds until
//! the next probe, but at most ten minutes or twice the usual interval between probes, whichever is
//! longer; after that nothing is known until the next probe.

use insights_engine::probes::Probe;
use insights_engine::time::{TimeRange, TimestampUs};

/// Shortest time that a probe's state may hold.
const HOLD_US_MIN: i64 = 600 * 1_000_000;

/// How far before and after a window probes are read: they settle the state at its edges.
pub(crate) const AROUND_US: i64 = 86_400 * 1_000_000;

/// What is known of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// It works.
    Up,
    /// It does not.
    Down,
    /// It is not expected to.
    Maintenance,
}

/// A stretch of time in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// From when to when.
    pub(crate) range: TimeRange,
    /// The state.
    pub(crate) state: State,
}

/// Time by state.
#[expect(clippy::struct_field_names, reason = "units stand last in names")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Account {
    /// Microseconds up.
    pub(crate) up_us: i64,
    /// Microseconds down.
    pub(crate) down_us: i64,
    /// Microseconds of maintenance.
    pub(crate) maintenance_us: i64,
}

impl Account {
    /// Time up of the time up or down, 0 to 1; `None` when there is neither.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of centuries fit a double")]
    pub(crate) fn ratio(self) -> Option<f64> {
        let known = self.up_us + self.down_us;
        (known > 0).then(|| self.up_us as f64 / known as f64)
    }

    /// Microseconds about which something is known.
    pub(crate) fn known_us(self) -> i64 {
        self.up_us + self.down_us + self.maintenance_us
    }

    fn add(&mut self, state: State, us: i64) {
        match state {
            State::Up => self.up_us += us,
            State::Down => self.down_us += us,
            State::Maintenance => self.maintenance_us += us,
        }
    }
}

impl std::ops::AddAssign for Account {
    fn add_assign(&mut self, other: Self) {
        self.up_us += other.up_us;
        self.down_us += other.down_us;
        self.maintenance_us += other.maintenance_us;
    }
}

/// The stretches between the first probe and `until`, ascending; what lies between them is unknown.
pub(crate) fn timeline(probes: Vec<Probe>, until: TimestampUs) -> Vec<Stretch> {
    let probes = one_an_instant(probes);
    let hold = hold_us(&probes);
    let mut out: Vec<Stretch> = Vec::new();
    let mut down = false;
    for (index, probe) in probes.iter().enumerate() {
        let next = probes.get(index + 1);
        let fails = |p: &Probe| !p.up && !p.maintenance;
        let previous = index.checked_sub(1).and_then(|i| probes.get(i));
        if probe.up && !probe.maintenance {
            down = false;
        } else if fails(probe) && (previous.is_some_and(fails) || next.is_some_and(fails)) {
            down = true;
        }
        let state = match (probe.maintenance, down) {
            (true, _) => State::Maintenance,
            (false, true) => State::Down,
            (false, false) => State::Up,
        };
        let limit = TimestampUs(probe.at.0.saturating_add(hold));
        let end = next.map_or(limit, |n| n.at.min(limit)).min(until);
        if probe.at >= end {
            continue;
        }
        match out.last_mut() {
            Some(last) if last.state == state && last.range.end == probe.at => last.range.end = end,
            _ => out.push(Stretch { range: TimeRange { start: probe.at, end }, state }),
        }
    }
    out
}

/// Time by state in each of `ranges`, which ascend and do not overlap.
pub(crate) fn accounts(stretches: &[Stretch], ranges: &[TimeRange]) -> Vec<Account> {
    let mut from = 0;
    ranges
        .iter()
        .map(|range| {
            let mut account = Account::default();
            from +=
                stretches.get(from..).map_or(0, |rest| rest.partition_point(|s| s.range.end <= range.start));
            for stretch in stretches.get(from..).unwrap_or_default() {
                if stretch.range.start >= range.end {
                    break;
                }
                let end = stretch.range.end.min(range.end);
                account.add(stretch.state, end.0 - stretch.range.start.max(range.start).0);
            }
            account
        })
        .collect()
}

/// When it was down inside `range`, cut to it.
pub(crate) fn incidents(stretches: &[Stretch], range: TimeRange) -> Vec<TimeRange> {
    let down = stretches.iter().filter(|s| s.state == State::Down);
    let cut =
        down.map(|s| TimeRange { start: s.range.start.max(range.start), end: s.range.end.min(range.end) });
    cut.filter(|r| r.start < r.end).collect()
}

fn one_an_instant(mut probes: Vec<Probe>) -> Vec<Probe> {
    probes.sort_unstable();
    probes.dedup_by(|later, kept| {
        let same = later.at == kept.at;
        if same {
            kept.up |= later.up;
            kept.maintenance |= later.maintenance;
        }
        same
    });
    probes
}

/// Ten minutes, or twice the median gap between probes when that is longer.
fn hold_us(probes: &[Probe]) -> i64 {
    let mut gaps: Vec<i64> =
        probes.windows(2).filter_map(|w| Some(w.last()?.at.0 - w.first()?.at.0)).collect();
    gaps.sort_unstable();
    let upper = gaps.get(gaps.len() / 2).copied().unwrap_or(0);
    let lower = gaps.get(gaps.len().saturating_sub(1) / 2).copied().unwrap_or(0);
    // Twice the median: the mean of the two middle ones, doubled.
    (lower.saturating_add(upper)).max(HOLD_US_MIN)
}

#[cfg(test)]
#[path = "uptime_tests.rs"]
mod tests;
