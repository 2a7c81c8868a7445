//! Metric points of two readings of the host. Pure: the same readings give the same points.

use insights_engine::id::{Stream, TenantId};
use insights_engine::schema::stream::{
    HOST, ID, KIND, LABELS, MetricKind, NAME, RECEIVED, TIME, VALUE, WRITING_KEY,
};
use insights_engine::schema::{Batch, BatchBuilder, Document, Value};
use insights_engine::time::TimestampUs;
use sha2::{Digest, Sha256};

use super::host::{Reading, Space};
use super::proc_stat;

/// The label that names a file system.
const MOUNT: &str = "mount";

/// A reading, when it was taken, and what the server had counted of itself by then.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample {
    /// The reading.
    pub reading: Reading,
    /// Microseconds of the monotonic clock.
    pub monotonic_us: u64,
    /// Answers of this server with a status of 500 or more since it started.
    pub server_errors: u64,
}

/// One metric point of the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The metric.
    pub name: &'static str,
    /// What its value says.
    pub kind: MetricKind,
    /// The mount, where it is about one.
    pub mount: Option<String>,
    /// The value.
    pub value: f64,
}

/// The points of a sample; what is about a time between two of them needs the earlier one.
pub fn points(earlier: Option<&Sample>, later: &Sample) -> Vec<Point> {
    let mut out = Vec::new();
    let mut push = |name, kind, mount: Option<&str>, value: f64| {
        out.push(Point { name, kind, mount: mount.map(str::to_owned), value });
    };
    if let Some(percent) = earlier.and_then(|earlier| cpu(earlier, later)) {
        push("cpu.usage", MetricKind::Gauge, None, percent);
    }
    if let Some(percent) = memory(&later.reading) {
        push("memory.usage", MetricKind::Gauge, None, percent);
    }
    let mounts = &later.reading.mounts;
    for mount in mounts {
        push("disk.usage", MetricKind::Gauge, Some(&mount.path), used_percent(mount.space));
    }
    if let Some(worst) = mounts.iter().map(|mount| used_percent(mount.space)).max_by(f64::total_cmp) {
        push("disk.usage", MetricKind::Gauge, None, worst);
    }
    if let Some(earlier) = earlier {
        let (received, sent) = traffic(&earlier.reading, &later.reading);
        push("network.in", MetricKind::Counter, None, count(received));
        push("network.out", MetricKind::Counter, None, count(sent));
        let errors = increment(earlier.server_errors, later.server_errors);
        push("server.errors", MetricKind::Counter, None, count(errors));
    }
    out
}

/// Processor use between two samples, in percent: of the quota when it is lower than the cores of the host.
fn cpu(earlier: &Sample, later: &Sample) -> Option<f64> {
    let (before, after) = (earlier.reading.limits.cpu, later.reading.limits.cpu);
    if let (Some(before), Some(after)) = (before, after)
        && after.cores < count(later.reading.cores as u64)
    {
        let passed_us = later.monotonic_us.checked_sub(earlier.monotonic_us).filter(|us| *us > 0)?;
        let used_us = after.used_us.checked_sub(before.used_us)?;
        // Accounting of a period may reach a little over it.
        return Some((count(used_us) / (count(passed_us) * after.cores) * 100.0).min(100.0));
    }
    proc_stat::percent(earlier.reading.cpu?, later.reading.cpu?)
}

/// Memory use, in percent: of the control group's limit when it is lower than the memory of the host.
fn memory(reading: &Reading) -> Option<f64> {
    let host = reading.memory;
    if let Some(limit) = reading.limits.memory
        && host.is_none_or(|host| limit.limit < host.total)
    {
        let available = limit.limit.saturating_sub(limit.used);
        return Some(used_percent(Space { total: limit.limit, available }));
    }
    host.map(used_percent)
}

/// What is not available, in percent of all.
fn used_percent(space: Space) -> f64 {
    if space.total == 0 {
        return 0.0;
    }
    let used = space.total.saturating_sub(space.available);
    count(used) / count(space.total) * 100.0
}

/// Bytes received and sent between two readings, over all interfaces that are in both: what an interface has
/// counted before it was seen is not of this time.
fn traffic(earlier: &Reading, later: &Reading) -> (u64, u64) {
    let known = later.network.iter().filter_map(|(name, after)| Some((earlier.network.get(name)?, after)));
    known.fold((0, 0), |(received, sent), (before, after)| {
        let more_received = increment(before.received, after.received);
        (received.saturating_add(more_received), sent.saturating_add(increment(before.sent, after.sent)))
    })
}

/// What a counter grew by; one that is lower than before has begun again at zero.
fn increment(before: u64, after: u64) -> u64 {
    after.checked_sub(before).unwrap_or(after)
}

#[expect(clippy::cast_precision_loss, reason = "a metric is a double; exact up to 2^53 bytes")]
fn count(n: u64) -> f64 {
    n as f64
}

/// The points as rows of an organization.
///
/// Their ids are made of the task's time, so that a run that is repeated adds nothing.
pub fn batch(
    organization: TenantId,
    writer: &str,
    scheduled: TimestampUs,
    time: TimestampUs,
    host: Option<&str>,
    points: &[Point],
) -> Batch {
    let mut batch = BatchBuilder::new(organization, Stream::Metrics);
    for point in points {
        let labels = point.mount.as_ref().map(|mount| {
            Document::encode(&Value::Object(vec![(MOUNT.to_owned(), Value::Str(mount.clone()))]))
        });
        batch
            .i64(&TIME, time.0)
            .i64(&RECEIVED, time.0)
            .str(&ID, Some(&id(writer, scheduled, host, point)))
            .str(&WRITING_KEY, Some(writer))
            .str(&NAME, Some(point.name))
            .str(&HOST, host)
            .bytes(&LABELS, labels.as_ref().map(Document::as_bytes))
            .u64(&KIND, point.kind as u64)
            .f64(&VALUE, point.value)
            .finish_row();
    }
    batch.build()
}

/// The id of a point: the same for the same task, time, metric, host and mount.
fn id(writer: &str, scheduled: TimestampUs, host: Option<&str>, point: &Point) -> String {
    let mut hash = Sha256::new();
    let time = scheduled.0.to_string();
    for part in [writer, &time, point.name, host.unwrap_or(""), point.mount.as_deref().unwrap_or("")] {
        // With its length in front, no two lists of parts have the same bytes.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    digest.iter().take(16).fold("task-".to_owned(), |mut id, byte| {
        use std::fmt::Write as _;
        write!(id, "{byte:02x}").unwrap_or_default();
        id
    })
}

#[cfg(test)]
#[path = "point_tests.rs"]
mod tests;
