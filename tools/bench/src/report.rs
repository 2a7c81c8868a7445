//! What was measured, as a table for people and as JSON for programs.

use serde::Serialize;

use crate::args::Ingest;
use crate::fsync::Fsyncs;
use crate::histogram::Histogram;
use crate::load::Outcome;

/// Quantiles of latencies, milliseconds.
#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// Latencies of raw syncs on the same disk, milliseconds.
#[derive(Debug, Serialize)]
struct Raw {
    p50: f64,
    p99: f64,
}

/// The figures of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    stream: &'static str,
    batch: u32,
    clients: u32,
    rate: Option<u64>,
    rows: u64,
    requests: u64,
    bytes: u64,
    seconds: f64,
    rows_per_s: f64,
    latency_ms: Latency,
    errors: u64,
    raw_fdatasync_ms: Raw,
}

impl Report {
    /// The figures of a run.
    pub(crate) fn new(args: &Ingest, outcome: &Outcome, syncs: &Fsyncs) -> Self {
        let seconds = outcome.elapsed.as_secs_f64();
        let of =
            |histogram: &Histogram, numerator, denominator| ms(histogram.quantile(numerator, denominator));
        let latencies = &outcome.latencies;
        Self {
            stream: args.stream.name(),
            batch: args.batch,
            clients: args.clients,
            rate: args.rate,
            rows: outcome.rows,
            requests: latencies.count(),
            bytes: outcome.bytes,
            seconds: (seconds * 1000.0).round() / 1000.0,
            rows_per_s: (count(outcome.rows) / seconds).round(),
            latency_ms: Latency {
                p50: of(latencies, 50, 100),
                p90: of(latencies, 90, 100),
                p99: of(latencies, 99, 100),
                p999: of(latencies, 999, 1000),
                max: ms(latencies.max()),
            },
            errors: outcome.errors,
            raw_fdatasync_ms: Raw {
                p50: of(syncs.latencies(), 50, 100),
                p99: of(syncs.latencies(), 99, 100),
            },
        }
    }

    /// One line of JSON.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Lines for people.
    pub(crate) fn table(&self) -> String {
        let Latency { p50, p90, p99, p999, max } = &self.latency_ms;
        let note = self.latency_note();
        let lines = [
            format!(
                "stream      {} in batches of {} over {} connections",
                self.stream, self.batch, self.clients
            ),
            format!("records     {} in {:.1} s: {:.0}/s", self.rows, self.seconds, self.rows_per_s),
            format!("requests    {} answered, {} failed", self.requests, self.errors),
            format!("body        {:.1} MB/s", count(self.bytes) / self.seconds / 1e6),
            format!(
                "latency ms  p50 {p50:.2}  p90 {p90:.2}  p99 {p99:.2}  p99.9 {p999:.2}  max {max:.2}  ({note})"
            ),
            format!(
                "fdatasync   p50 {:.2} ms  p99 {:.2} ms, raw, before and after",
                self.raw_fdatasync_ms.p50, self.raw_fdatasync_ms.p99
            ),
        ];
        lines.join("\n")
    }

    fn latency_note(&self) -> &'static str {
        if self.rate.is_some() { "from when each request was due" } else { "closed loop" }
    }
}

/// Microseconds as milliseconds.
fn ms(us: u64) -> f64 {
    count(us) / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "counts and times of one run are far below 2^53")]
fn count(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, Command};

    #[test]
    fn the_json_has_the_figures_that_scripts_rely_on() {
        let arguments =
            Arguments::parse_from(["insights-bench", "ingest", "--url", "http://h", "--key", "k"]);
        let Command::Ingest(args) = arguments.command;
        let mut outcome = Outcome { rows: 3000, elapsed: Duration::from_secs(2), ..Outcome::default() };
        for us in [1000, 2000, 4000] {
            outcome.latencies.record(us);
        }
        let syncs = Fsyncs::in_directory(&std::env::temp_dir()).unwrap();
        let report = Report::new(&args, &outcome, &syncs);
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["rows"], 3000);
        assert_eq!(json["rows_per_s"], 1500.0);
        assert_eq!(json["latency_ms"]["max"], 4.0);
        for name in ["seconds", "errors"] {
            assert!(json[name].is_number(), "{name}");
        }
        for name in ["p50", "p90", "p99", "p999"] {
            assert!(json["latency_ms"][name].is_number(), "{name}");
        }
        assert!(json["raw_fdatasync_ms"]["p99"].is_number());
        assert!(report.table().contains("1500/s"));
    }
}
