//! Metrics: the ones known beforehand with kind, unit and description, and what a name may be.

use insights_engine::schema::stream::MetricKind;

/// Longest name of a metric, in bytes.
pub const METRIC_NAME_BYTES_MAX: usize = 128;
/// Most labels of a point.
pub const LABELS_MAX: usize = 32;
/// Longest name of a label, in bytes.
pub const LABEL_NAME_BYTES_MAX: usize = 128;
/// Longest value of a label, in bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 1024;
/// Longest unit, in bytes.
pub const UNIT_BYTES_MAX: usize = 32;

/// A metric that is known without having been declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownMetric {
    /// Its name, dotted.
    pub name: &'static str,
    /// What its points say.
    pub kind: MetricKind,
    /// The unit of its values, if they have one.
    pub unit: Option<&'static str>,
    /// What it measures.
    pub description: &'static str,
}

const fn known(
    name: &'static str,
    kind: MetricKind,
    unit: Option<&'static str>,
    description: &'static str,
) -> KnownMetric {
    KnownMetric { name, kind, unit, description }
}

/// The metrics that are known beforehand, sorted by name.
pub static KNOWN: [KnownMetric; 18] = [
    known("actions.performed", MetricKind::Counter, None, "Actions of users"),
    known("app.cpu", MetricKind::Gauge, None, "Processor use of an application"),
    known("app.memory", MetricKind::Gauge, None, "Memory use of an application"),
    known("app.storage", MetricKind::Gauge, None, "Storage use of an application"),
    known("cpu.usage", MetricKind::Gauge, Some("percent"), "Processor use of a host"),
    known("db.connections", MetricKind::Gauge, None, "Open database connections"),
    known("disk.usage", MetricKind::Gauge, Some("percent"), "Disk use of a host"),
    known("errors.count", MetricKind::Counter, None, "Requests of an application that failed"),
    known("memory.usage", MetricKind::Gauge, Some("percent"), "Memory use of a host"),
    known("network.in", MetricKind::Counter, Some("bytes"), "Bytes a host received"),
    known("network.out", MetricKind::Counter, Some("bytes"), "Bytes a host sent"),
    known("pages.visited", MetricKind::Counter, None, "Page views of users"),
    known("request.latency", MetricKind::Observation, Some("ms"), "Time the platform took for a request"),
    known("requests.count", MetricKind::Counter, None, "Requests of an application"),
    known("response.time", MetricKind::Observation, Some("ms"), "Time an application took for a response"),
    known("server.errors", MetricKind::Counter, None, "Errors of the platform's servers"),
    known(
        "session.duration",
        MetricKind::Observation,
        Some("s"),
        "Time from the first to the last event of a session",
    ),
    known("uptime", MetricKind::Gauge, None, "Outcome of one probe: 1 up, 0 down"),
];

/// The one spelling of a metric's name: a known metric is dotted, also when it was written with `_`.
///
/// Other names are kept as given, so `a_b` and `a.b` stay two metrics unless one of them is known.
pub fn canonical_name(name: &str) -> &str {
    match known_metric(name) {
        Some(metric) => metric.name,
        None => name,
    }
}

/// The known metric of a name in either spelling.
pub fn known_metric(name: &str) -> Option<&'static KnownMetric> {
    let found = KNOWN.binary_search_by(|metric| {
        let spelled = name.bytes().map(|b| if b == b'_' { b'.' } else { b });
        metric.name.bytes().cmp(spelled)
    });
    found.ok().and_then(|index| KNOWN.get(index))
}

/// Whether `text` can name a metric: a letter or `_`, then `[A-Za-z0-9._:/-]`.
pub fn is_metric_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first
        && text.len() <= METRIC_NAME_BYTES_MAX
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'/' | b'-'))
}

/// The name of a kind on the wire.
pub const fn kind_name(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Gauge => "gauge",
        MetricKind::Counter => "counter",
        MetricKind::CumulativeCounter => "cumulative_counter",
        MetricKind::Observation | MetricKind::Histogram => "histogram",
    }
}

/// The kind of a `type` on the wire.
pub fn kind_from_name(name: &str) -> Option<MetricKind> {
    match name {
        "gauge" => Some(MetricKind::Gauge),
        "counter" => Some(MetricKind::Counter),
        "histogram" => Some(MetricKind::Observation),
        _ => None,
    }
}

/// What the catalog keeps of a metric that an organization declared by its first point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricRecord {
    /// What its points say.
    pub kind: MetricKind,
    /// The unit of its values, if the first point named one.
    pub unit: Option<String>,
}

/// Version of [`MetricRecord::encode`].
const RECORD_VERSION: u8 = 1;

impl MetricRecord {
    /// The catalog's key of an organization's metric: the organization, a zero byte, the name.
    pub fn key(organization: &str, name: &str) -> Vec<u8> {
        [organization.as_bytes(), &[0], name.as_bytes()].concat()
    }

    /// What the keys of all metrics of an organization start with.
    pub fn key_prefix(organization: &str) -> Vec<u8> {
        [organization.as_bytes(), &[0]].concat()
    }

    /// The name in a key of the catalog.
    pub fn name_of_key(key: &[u8]) -> Option<&str> {
        let zero = key.iter().position(|b| *b == 0)?;
        std::str::from_utf8(key.get(zero + 1..)?).ok()
    }

    /// Its bytes: version, kind, and the unit in UTF-8 up to the end. The catalog's frame has the checksum.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![RECORD_VERSION, self.kind as u8];
        out.extend_from_slice(self.unit.as_deref().unwrap_or("").as_bytes());
        out
    }

    /// Reads [`Self::encode`]'s bytes; `None` when they are not.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[version, kind], unit) = bytes.split_first_chunk()?;
        if version != RECORD_VERSION {
            return None;
        }
        let unit = std::str::from_utf8(unit).ok()?;
        let unit = (!unit.is_empty()).then(|| unit.to_owned());
        Some(Self { kind: MetricKind::from_tag(kind.into())?, unit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_metrics_are_sorted_and_found_in_both_spellings() {
        assert!(KNOWN.is_sorted_by(|a, b| a.name < b.name));
        for metric in &KNOWN {
            assert_eq!(known_metric(metric.name), Some(metric));
            assert_eq!(canonical_name(&metric.name.replace('.', "_")), metric.name);
            assert!(is_metric_name(metric.name));
        }
        assert_eq!(canonical_name("response_time"), "response.time");
        assert_eq!(canonical_name("queue_depth"), "queue_depth");
        assert_eq!(known_metric("response"), None);
    }

    #[test]
    fn a_metric_name_starts_with_a_letter() {
        for good in ["a", "_x", "http_requests_total", "job:rate:5m", "disk/sda1"] {
            assert!(is_metric_name(good), "{good}");
        }
        for bad in ["", "1a", ".a", "a b", "a\n", "caf\u{e9}", &"a".repeat(129)] {
            assert!(!is_metric_name(bad), "{bad}");
        }
    }

    #[test]
    fn the_bytes_of_a_metric_record_are_fixed() {
        let record = MetricRecord { kind: MetricKind::Counter, unit: Some("jobs".into()) };
        assert_eq!(record.encode(), b"\x01\x01jobs");
        assert_eq!(MetricRecord::decode(b"\x01\x01jobs"), Some(record));
        assert_eq!(
            MetricRecord::decode(b"\x01\x00"),
            Some(MetricRecord { kind: MetricKind::Gauge, unit: None })
        );
        for bad in [&b""[..], b"\x01", b"\x00\x00", b"\x01\x09", b"\x01\x01\xff"] {
            assert_eq!(MetricRecord::decode(bad), None);
        }
        let key = MetricRecord::key("acme", "queue.depth");
        assert!(key.starts_with(&MetricRecord::key_prefix("acme")));
        assert_eq!(MetricRecord::name_of_key(&key), Some("queue.depth"));
    }
}
