//! Figures of a load of records, as a table for people and as JSON for programs.

use std::time::Duration;

use serde::Serialize;

use crate::fsync::Fsyncs;
use crate::histogram::Histogram;
use crate::load::{Load, Outcome};
use crate::progress::to_f64;

/// Quantiles of latencies, milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Latency {
    /// Those of a histogram of microseconds.
    pub(crate) fn of(us: &Histogram) -> Self {
        let of = |numerator, denominator| ms(us.quantile(numerator, denominator));
        Self { p50: of(50, 100), p90: of(90, 100), p99: of(99, 100), p999: of(999, 1000), max: ms(us.max()) }
    }
}

/// Microseconds as milliseconds.
pub(crate) fn ms(us: u64) -> f64 {
    to_f64(us) / 1000.0
}

/// Latencies of raw syncs on the same disk, milliseconds.
#[derive(Debug, Serialize)]
struct Raw {
    p50: f64,
    p99: f64,
}

/// The figures of one load of records.
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
    /// Of one core, of all the processor time that this process spent; without a server alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows_per_cpu_s: Option<f64>,
    latency_ms: Latency,
    errors: u64,
    raw_fdatasync_ms: Raw,
    /// The most anonymous memory that the server had meanwhile; over HTTP, to a key that may read `/metrics`.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_memory_peak_bytes: Option<u64>,
}

impl Report {
    /// The figures of a run; `cpu` is what this process spent when the engine was in it.
    pub(crate) fn new(load: &Load, outcome: &Outcome, cpu: Option<Duration>, syncs: &Fsyncs) -> Self {
        let seconds = outcome.elapsed.as_secs_f64();
        let raw = Latency::of(syncs.latencies());
        Self {
            stream: load.stream.name(),
            batch: load.batch,
            clients: load.clients,
            rate: load.rate,
            rows: outcome.rows,
            requests: outcome.latencies.count(),
            bytes: outcome.bytes,
            seconds: (seconds * 1000.0).round() / 1000.0,
            rows_per_s: (to_f64(outcome.rows) / seconds).round(),
            rows_per_cpu_s: cpu.map(|cpu| (to_f64(outcome.rows) / cpu.as_secs_f64()).round()),
            latency_ms: Latency::of(&outcome.latencies),
            errors: outcome.errors,
            raw_fdatasync_ms: Raw { p50: raw.p50, p99: raw.p99 },
            server_memory_peak_bytes: None,
        }
    }

    /// With the peak of the server's anonymous memory.
    pub(crate) fn with_server_memory(self, peak: Option<u64>) -> Self {
        Self { server_memory_peak_bytes: peak, ..self }
    }

    /// Lines for people.
    pub(crate) fn table(&self) -> String {
        let Latency { p50, p90, p99, p999, max } = &self.latency_ms;
        let note = if self.rate.is_some() { "from when each request was due" } else { "closed loop" };
        let mut lines = vec![
            format!("stream      {} in batches of {} from {} clients", self.stream, self.batch, self.clients),
            format!("records     {} in {:.1} s: {:.0}/s", self.rows, self.seconds, self.rows_per_s),
            format!("requests    {} answered, {} failed", self.requests, self.errors),
            format!("body        {:.1} MB/s", to_f64(self.bytes) / self.seconds / 1e6),
            format!(
                "latency ms  p50 {p50:.2}  p90 {p90:.2}  p99 {p99:.2}  p99.9 {p999:.2}  max {max:.2}  ({note})"
            ),
            format!(
                "fdatasync   p50 {:.2} ms  p99 {:.2} ms, raw, before and after",
                self.raw_fdatasync_ms.p50, self.raw_fdatasync_ms.p99
            ),
        ];
        if let Some(rows) = self.rows_per_cpu_s {
            lines.push(format!("a core      {rows:.0} records a second of processor time, flushes included"));
        }
        lines.extend(self.server_memory_peak_bytes.map(memory_line));
        lines.join("\n")
    }
}

/// What people are told of a server's memory.
pub(crate) fn memory_line(peak: u64) -> String {
    format!("memory      {:.1} MiB anonymous, the server's peak", to_f64(peak) / 1_048_576.0)
}

/// One line of JSON.
pub(crate) fn json(report: &impl Serialize) -> String {
    serde_json::to_string(report).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Stream;
    use crate::records::Spread;

    #[test]
    fn the_json_has_the_figures_that_scripts_rely_on() {
        let load = Load {
            stream: Stream::Events,
            batch: 1000,
            clients: 8,
            rate: None,
            organizations: Vec::new(),
            spread: Spread::ONE,
            fresh: false,
            seed: 1,
        };
        let mut outcome = Outcome { rows: 3000, elapsed: Duration::from_secs(2), ..Outcome::default() };
        for us in [1000, 2000, 4000] {
            outcome.latencies.record(us);
        }
        let syncs = Fsyncs::in_directory(&std::env::temp_dir()).unwrap();
        let report = Report::new(&load, &outcome, Some(Duration::from_secs(3)), &syncs);
        let json: serde_json::Value = serde_json::from_str(&json(&report)).unwrap();
        assert_eq!(json["rows"], 3000);
        assert_eq!(json["rows_per_s"], 1500.0);
        assert_eq!(json["rows_per_cpu_s"], 1000.0);
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
