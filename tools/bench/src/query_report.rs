//! Figures of questions, as a table for people and as JSON for programs.

use serde::Serialize;

use crate::ask::{Asked, Asking};
use crate::histogram::Histogram;
use crate::report::{Latency, memory_line, ms};

/// The median and a high quantile, milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Pair {
    p50: f64,
    p99: f64,
}

impl Pair {
    /// Those of a histogram of microseconds; `None` when it is empty.
    pub(crate) fn of(us: &Histogram) -> Option<Self> {
        let of = |numerator| ms(us.quantile(numerator, 100));
        (us.count() > 0).then(|| Self { p50: of(50), p99: of(99) })
    }
}

/// The figures of one question.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    question: String,
    requests: u64,
    errors: u64,
    latency_ms: Latency,
    /// Time in the server, as answers say it.
    server_ms: Option<Pair>,
    /// The same requests to a server that does nothing.
    floor_ms: Option<Pair>,
    bytes_p50: u64,
}

impl Line {
    /// The figures of what was asked, and of its floor where that was measured.
    pub(crate) fn new(asked: &Asked, floor: Option<&Histogram>) -> Self {
        Self {
            question: asked.question.name(),
            requests: asked.latencies.count(),
            errors: asked.errors,
            latency_ms: Latency::of(&asked.latencies),
            server_ms: Pair::of(&asked.server),
            floor_ms: floor.and_then(Pair::of),
            bytes_p50: asked.bytes.quantile(50, 100),
        }
    }

    /// Requests that were answered.
    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    /// Requests that were not.
    pub(crate) fn errors(&self) -> u64 {
        self.errors
    }
}

/// The figures of one run.
#[derive(Debug, Serialize)]
pub(crate) struct QueryReport {
    organization: Option<String>,
    clients: u32,
    rate: Option<u32>,
    windows: u32,
    questions: Vec<Line>,
    errors: u64,
    /// The most anonymous memory that the server had meanwhile; over HTTP, to a key that may read `/metrics`.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_memory_peak_bytes: Option<u64>,
}

impl QueryReport {
    /// The figures of a run.
    pub(crate) fn new(organization: Option<String>, asking: Asking, windows: u32, lines: Vec<Line>) -> Self {
        let errors = lines.iter().map(|line| line.errors).sum();
        let Asking { clients, rate } = asking;
        Self {
            organization,
            clients,
            rate,
            windows,
            questions: lines,
            errors,
            server_memory_peak_bytes: None,
        }
    }

    /// With the peak of the server's anonymous memory.
    pub(crate) fn with_server_memory(self, peak: Option<u64>) -> Self {
        Self { server_memory_peak_bytes: peak, ..self }
    }

    /// Requests that failed.
    pub(crate) fn errors(&self) -> u64 {
        self.errors
    }

    /// Lines for people.
    pub(crate) fn table(&self) -> String {
        let note = if self.rate.is_some() { "from when each request was due" } else { "closed loop" };
        let mut lines = vec![
            format!(
                "organization {}, {} clients, {} windows, latencies in ms ({note})",
                self.organization.as_deref().unwrap_or("of the key"),
                self.clients,
                self.windows
            ),
            format!(
                "{:<16} {:>8} {:>7} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9}",
                "question", "requests", "failed", "p50", "p90", "p99", "max", "server", "floor", "bytes"
            ),
        ];
        let pair = |pair: Option<Pair>| pair.map_or("-".to_owned(), |pair| format!("{:.3}", pair.p50));
        lines.extend(self.questions.iter().map(|line| {
            let Latency { p50, p90, p99, max, .. } = line.latency_ms;
            format!(
                "{:<16} {:>8} {:>7} {p50:>8.3} {p90:>8.3} {p99:>8.3} {max:>8.3} {:>9} {:>9} {:>9}",
                line.question,
                line.requests,
                line.errors,
                pair(line.server_ms),
                pair(line.floor_ms),
                line.bytes_p50
            )
        }));
        lines.extend(self.server_memory_peak_bytes.map(memory_line));
        lines.push(
            "server, floor: medians, of the time in the server and of a server that does nothing".to_owned(),
        );
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::Question;

    #[test]
    fn a_line_has_its_floor_and_the_time_in_the_server_where_they_are_known() {
        let mut asked = Asked::new(Question::Analytics);
        asked.latencies.record(1500);
        asked.server.record(900);
        asked.bytes.record(77);
        let asking = Asking { clients: 2, rate: Some(3) };
        let lines =
            vec![Line::new(&asked, Some(&asked.server)), Line::new(&Asked::new(Question::AuditPage), None)];
        let report = QueryReport::new(Some("acme".to_owned()), asking, 10, lines);
        let json: serde_json::Value = serde_json::from_str(&crate::report::json(&report)).unwrap();
        assert_eq!(json["questions"][0]["question"], "analytics");
        assert_eq!(json["questions"][0]["floor_ms"]["p50"], 0.9);
        assert_eq!(json["questions"][0]["latency_ms"]["max"], 1.5);
        assert!(json["questions"][1]["server_ms"].is_null());
        assert!(report.table().contains("audit-page"));
        assert_eq!(report.errors(), 0);
    }
}
