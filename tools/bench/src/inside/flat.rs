//! Whether a report stays as fast as it is when there are more rows, or more organizations beside its own.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::calls::{Call, calls};
use super::fill::{Filled, Filling, ROWS_OF_OTHERS, fill};
use super::open::Inside;
use crate::args::{Flat, Stream};
use crate::error::BenchError;
use crate::histogram::Histogram;
use crate::load::micros;
use crate::progress::{Done, Progress, to_f64};
use crate::question::{DAYS, Question, Subject};
use crate::report::{Latency, ms};

/// Added to what is allowed: below it differences are the clock's and the scheduler's.
const SLACK_US: u64 = 100;
const ORGANIZATION: &str = "bench";
const APP: &str = "app-0";

/// One store and what its report took.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    store: &'static str,
    rows: u64,
    rows_of_the_organization: u64,
    organizations: u64,
    /// Records a second of the time spent in appends and the last flush.
    appended_rows_per_s: f64,
    merged_s: f64,
    report_ms: Latency,
    rows_scanned: u64,
    cells_read: u64,
}

/// A store beside the small one.
#[derive(Debug, Serialize)]
pub(crate) struct Ratio {
    store: &'static str,
    /// The median of its report by that of the small store's.
    report: f64,
    /// Its records a second by those of the small store.
    append: f64,
    flat: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct FlatReport {
    days: i64,
    users: u64,
    rounds: u32,
    tolerance_percent: u32,
    stores: Vec<Line>,
    ratios: Vec<Ratio>,
    pub(crate) flat: bool,
}

/// Fills three stores below the directory and asks them in turn, so that what else the machine does meets all alike.
///
/// # Errors
///
/// When a store is there already, or the engine fails.
pub(crate) fn run(args: &Flat) -> Result<FlatReport, BenchError> {
    let small = Filling {
        organization: ORGANIZATION.to_owned(),
        streams: vec![Stream::Events, Stream::Metrics],
        rows: args.rows,
        days: DAYS.unsigned_abs(),
        users: args.users.into(),
        others: 0,
        rows_of_others: ROWS_OF_OTHERS,
        seed: args.seed,
    };
    let large = Filling { rows: args.rows_max, ..small.clone() };
    let many = Filling { others: u64::from(args.organizations) - 1, ..small.clone() };
    let fillings = [("small", small), ("rows", large), ("organizations", many)];
    let paths = fillings.each_ref().map(|(name, _)| args.dir.join(name));
    if let Some(path) = paths.iter().find(|path| path.exists()) {
        let text = format!("{} is there already: remove it, or name another --dir", path.display());
        return Err(BenchError::NothingToAsk(text));
    }
    let mut stores = Vec::new();
    for ((name, filling), path) in fillings.iter().zip(&paths) {
        stores.push(Store::new(name, filling, path)?);
    }
    for _ in 0..args.rounds {
        stores.iter_mut().try_for_each(Store::ask)?;
    }
    let report = judge(args, &stores);
    stores.into_iter().try_for_each(|store| store.inside.close())?;
    Ok(report)
}

/// A store that is open and full.
struct Store<'a> {
    name: &'static str,
    filling: &'a Filling,
    filled: Filled,
    inside: Inside<'a>,
    calls: Vec<Call>,
    report: Histogram,
}

impl<'a> Store<'a> {
    fn new(name: &'static str, filling: &'a Filling, path: &'a Path) -> Result<Self, BenchError> {
        let inside = Inside::open(path)?;
        let done = Done::default();
        let progress = Progress::towards(filling.rows(), &done, "records");
        let filled = fill(&inside, filling, &done)?;
        drop(progress);
        let now = jiff::Timestamp::now();
        let today = now.to_zoned_datetime(jiff::tz::TimeZone::UTC).start_of_day();
        let subject = Subject {
            organization: Some(ORGANIZATION.to_owned()),
            app: APP.to_owned(),
            user: String::new(),
            page: String::new(),
            browser: String::new(),
            end: today.map_or(now, |day| day.timestamp()),
            cursor: None,
        };
        let calls = calls(Question::Analytics, &subject, None, 0).map_err(|error| inside.error(error))?;
        Ok(Self { name, filling, filled, inside, calls, report: Histogram::default() })
    }

    /// Asks for the report once.
    fn ask(&mut self) -> Result<(), BenchError> {
        let began = Instant::now();
        let view = self.inside.engine.view();
        let done = self.calls.iter().try_for_each(|call| call.run(&view));
        done.map_err(|error| self.inside.error(error))?;
        self.report.record(micros(began.elapsed()));
        Ok(())
    }

    fn appended_rows_per_s(&self) -> f64 {
        to_f64(self.filled.rows) / self.filled.appending.as_secs_f64().max(1e-6)
    }

    fn line(&self) -> Line {
        let view = self.inside.engine.view();
        let costs = self.calls.iter().filter_map(|call| call.cost(&view).ok());
        let (rows_scanned, cells_read) =
            costs.fold((0, 0), |(rows, cells), cost| (rows + cost.rows_scanned, cells + cost.cells_read));
        Line {
            store: self.name,
            rows: self.filled.rows,
            rows_of_the_organization: self.filling.rows,
            organizations: self.filling.others + 1,
            appended_rows_per_s: self.appended_rows_per_s(),
            merged_s: self.filled.merging.as_secs_f64(),
            report_ms: Latency::of(&self.report),
            rows_scanned,
            cells_read,
        }
    }
}

fn judge(args: &Flat, stores: &[Store<'_>]) -> FlatReport {
    let median = |store: &Store<'_>| store.report.quantile(50, 100);
    let mut ratios = Vec::new();
    if let Some((small, rest)) = stores.split_first() {
        ratios.extend(rest.iter().map(|store| Ratio {
            store: store.name,
            report: to_f64(median(store)) / to_f64(median(small).max(1)),
            append: store.appended_rows_per_s() / small.appended_rows_per_s(),
            flat: median(store) <= allowed(median(small), args.tolerance),
        }));
    }
    FlatReport {
        days: DAYS,
        users: args.users.into(),
        rounds: args.rounds,
        tolerance_percent: args.tolerance,
        stores: stores.iter().map(Store::line).collect(),
        flat: ratios.iter().all(|ratio| ratio.flat),
        ratios,
    }
}

/// The longest median that is still flat, microseconds.
fn allowed(small_us: u64, tolerance_percent: u32) -> u64 {
    small_us + small_us * u64::from(tolerance_percent) / 100 + SLACK_US
}

impl FlatReport {
    /// Lines for people.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![
            format!(
                "{} days of one organization with {} users, asked {} times of each store",
                self.days, self.users, self.rounds
            ),
            format!(
                "{:<14} {:>10} {:>13} {:>10} {:>10} {:>9} {:>9} {:>9} {:>9}",
                "store",
                "rows",
                "organizations",
                "rows/s in",
                "merged s",
                "p50 ms",
                "p99 ms",
                "scanned",
                "cells"
            ),
        ];
        lines.extend(self.stores.iter().map(|line| {
            let Line { store, rows, organizations, appended_rows_per_s, merged_s, rows_scanned, cells_read, .. } = line;
            let Latency { p50, p99, .. } = line.report_ms;
            format!(
                "{store:<14} {rows:>10} {organizations:>13} {appended_rows_per_s:>10.0} {merged_s:>10.1} {p50:>9.3} \
                 {p99:>9.3} {rows_scanned:>9} {cells_read:>9}"
            )
        }));
        lines.extend(self.ratios.iter().map(|Ratio { store, report, append, flat }| {
            let verdict = if *flat { "flat" } else { "GREW" };
            format!("{store:<14} {verdict}: the report takes {report:.2} times as long, appends are {append:.2} times as fast")
        }));
        let slack = ms(SLACK_US);
        lines.push(format!(
            "flat is at most {} % and {slack} ms more than the small store",
            self.tolerance_percent
        ));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_stores_are_filled_asked_and_judged_and_none_is_filled_twice() {
        let place = tempfile::tempdir().unwrap();
        let args = Flat {
            dir: place.path().join("flat"),
            rows: 2_000,
            rows_max: 4_000,
            organizations: 20,
            users: 5,
            rounds: 2,
            tolerance: 100_000,
            seed: 1,
            json: true,
        };
        let report = run(&args).unwrap();
        assert!(report.flat, "{report:?}");
        let rows: Vec<_> = report.stores.iter().map(|line| (line.rows, line.organizations)).collect();
        assert_eq!(rows, [(2_000, 1), (4_000, 1), (2_190, 20)]);
        assert!(report.stores.iter().all(|line| line.report_ms.max > 0.0), "{report:?}");
        assert!(report.stores.iter().all(|line| line.rows_scanned + line.cells_read > 0), "{report:?}");
        assert!(report.table().contains("organizations"));
        let again = run(&args).unwrap_err().to_string();
        assert!(again.contains("is there already"), "{again}");
    }

    #[test]
    fn flat_has_a_share_and_a_slack() {
        assert_eq!(allowed(1_000, 50), 1_600);
        assert_eq!(allowed(0, 50), 100);
    }
}
