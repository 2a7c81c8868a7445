//! What a server says of itself in `/metrics`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::client::{Client, Request, Server};
use crate::error::BenchError;
use crate::pace::Span;

/// How often the peak of a server's memory is looked for.
const PEAK_EVERY: Duration = Duration::from_millis(250);

/// The numbers of a process and of its engine at one moment. Absent is what the server does not say.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// Seconds since the start of the run.
    pub(crate) at_s: f64,
    /// Resident memory.
    pub(crate) resident_bytes: Option<f64>,
    /// Resident memory that no file is behind.
    pub(crate) anonymous_bytes: Option<f64>,
    /// Open descriptors.
    pub(crate) open_fds: Option<f64>,
    /// The engine's numbers by name, without their prefix.
    pub(crate) engine: BTreeMap<String, f64>,
}

/// The samples of OpenMetrics text that have no labels, by name.
fn parse(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.contains('{'));
    let sample = |line: &'_ str| -> Option<(usize, f64)> {
        let (name, rest) = line.split_once(' ')?;
        Some((name.len(), rest.split(' ').next()?.parse().ok()?))
    };
    lines.filter_map(|line| sample(line).and_then(|(len, value)| Some((line.get(..len)?, value)))).collect()
}

impl Sample {
    /// What the text of `/metrics` says.
    fn read(text: &str, at_s: f64) -> Self {
        let numbers = parse(text);
        let get = |name: &str| numbers.get(name).copied();
        let engine = numbers
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix("insights_engine_")?.to_owned(), *value)));
        Self {
            at_s,
            resident_bytes: get("process_resident_memory_bytes"),
            anonymous_bytes: get("process_anonymous_memory_bytes"),
            open_fds: get("process_open_fds"),
            engine: engine.collect(),
        }
    }
}

/// Reads `/metrics` once.
///
/// # Errors
///
/// When the server does not answer, or the key may not read it.
pub(crate) async fn once(client: &mut Client, at_s: f64) -> Result<Sample, BenchError> {
    let answer = client.send(&Request::get("/metrics")?).await?;
    Ok(Sample::read(&String::from_utf8_lossy(&answer), at_s))
}

/// The most anonymous memory that a server had at a look every quarter of a second; `None` where it does not say it, or
/// not to this key.
pub(crate) async fn memory_peak(server: &Server, duration: Duration) -> Option<u64> {
    let span = Span::of(duration);
    let mut client = Client::new(server.clone());
    let mut ticks = tokio::time::interval(PEAK_EVERY);
    let mut peak = None;
    while Instant::now() < span.deadline {
        ticks.tick().await;
        let sample = once(&mut client, 0.0).await.ok()?;
        peak = peak.max(sample.anonymous_bytes.map(whole));
    }
    peak
}

/// A number of the server as a whole one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bytes of one process; `as` saturates"
)]
pub(crate) fn whole(number: f64) -> u64 {
    number as u64
}

/// Reads `/metrics` again and again for a while; the samples, and how many reads failed.
pub(crate) async fn watch(server: &Server, every: Duration, duration: Duration) -> (Vec<Sample>, u64) {
    let span = Span::of(duration);
    let mut client = Client::new(server.clone());
    let (mut samples, mut errors) = (Vec::new(), 0);
    let mut ticks = tokio::time::interval(every);
    loop {
        let at = ticks.tick().await;
        if at.into_std() >= span.deadline {
            return (samples, errors);
        }
        match once(&mut client, span.started.elapsed().as_secs_f64()).await {
            Ok(sample) => samples.push(sample),
            Err(error) => {
                errors += 1;
                crate::progress::tell(errors, &error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_without_labels_are_read_from_openmetrics_text() {
        let text = "# TYPE insights_engine_segments gauge\ninsights_engine_segments 12\n\
            insights_http_requests_total{route=\"track\"} 7\nprocess_anonymous_memory_bytes 1.5e6 1700000000\n\
            process_open_fds 20\nbroken\n# EOF\n";
        let sample = Sample::read(text, 1.0);
        assert_eq!(sample.anonymous_bytes, Some(1.5e6));
        assert_eq!(sample.open_fds, Some(20.0));
        assert_eq!(sample.resident_bytes, None);
        assert_eq!(sample.engine, BTreeMap::from([("segments".to_owned(), 12.0)]));
    }
}
