//! What kind a metric of an organization has: known beforehand, or declared by its first point.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use insights_engine::append::{CatalogKind, CatalogPut};
use insights_engine::schema::stream::MetricKind;
use parking_lot::Mutex;

use crate::domain::metric::MetricRecord;

/// Reads a metric's record from the catalog, by its key.
type Lookup = dyn Fn(&[u8]) -> Option<Arc<[u8]>> + Send + Sync;

/// The kinds of metrics, as the catalog has them and as requests in flight declare them.
pub struct MetricKinds {
    lookup: Box<Lookup>,
    /// Declared by requests that are not kept yet.
    claimed: Mutex<HashMap<Vec<u8>, MetricKind>>,
}

impl fmt::Debug for MetricKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricKinds").field("claimed", &self.claimed.lock().len()).finish_non_exhaustive()
    }
}

impl MetricKinds {
    /// Kinds over a catalog.
    pub fn new(lookup: impl Fn(&[u8]) -> Option<Arc<[u8]>> + Send + Sync + 'static) -> Self {
        Self { lookup: Box::new(lookup), claimed: Mutex::default() }
    }

    /// The declarations of one request.
    pub fn claims(self: &Arc<Self>) -> Claims {
        Claims { kinds: Arc::clone(self), met: HashMap::new(), puts: Vec::new() }
    }
}

/// What one request declares; given back when dropped, which is after the request is kept or refused.
#[derive(Debug)]
pub struct Claims {
    kinds: Arc<MetricKinds>,
    /// The kinds of names that this request met, by organization, then name.
    met: HashMap<String, HashMap<String, MetricKind>>,
    puts: Vec<CatalogPut>,
}

impl Claims {
    /// The kind of an organization's metric; `asked` when nobody has declared it before.
    pub fn kind_of(
        &mut self,
        organization: &str,
        name: &str,
        asked: MetricKind,
        unit: Option<&str>,
    ) -> MetricKind {
        if let Some(kind) = self.met.get(organization).and_then(|met| met.get(name)) {
            return *kind;
        }
        let kind = self.declare(MetricRecord::key(organization, name), asked, unit);
        self.met.entry(organization.to_owned()).or_default().insert(name.to_owned(), kind);
        kind
    }

    fn declare(&mut self, key: Vec<u8>, asked: MetricKind, unit: Option<&str>) -> MetricKind {
        // Under the lock, so that of two first points one declares and the other obeys.
        let mut claimed = self.kinds.claimed.lock();
        let stored = (self.kinds.lookup)(&key).and_then(|bytes| MetricRecord::decode(&bytes));
        if let Some(record) = stored {
            return record.kind;
        }
        let kind = *claimed.entry(key.clone()).or_insert(asked);
        // Also when another request in flight has declared it: that one may yet fail.
        let record = MetricRecord { kind, unit: unit.map(str::to_owned) };
        self.puts.push(CatalogPut { kind: CatalogKind::Metric, key, value: Some(record.encode()) });
        kind
    }

    /// The records that declare what is new.
    pub fn puts(&self) -> &[CatalogPut] {
        &self.puts
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        let mut claimed = self.kinds.claimed.lock();
        for put in &self.puts {
            claimed.remove(&put.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(kind: MetricKind) -> Arc<MetricKinds> {
        let bytes: Arc<[u8]> = MetricRecord { kind, unit: None }.encode().into();
        let key = MetricRecord::key("acme", "jobs");
        Arc::new(MetricKinds::new(move |asked| (asked == key).then(|| Arc::clone(&bytes))))
    }

    #[test]
    fn a_stored_kind_holds_and_nothing_is_declared() {
        let kinds = stored(MetricKind::Counter);
        let mut claims = kinds.claims();
        assert_eq!(claims.kind_of("acme", "jobs", MetricKind::Gauge, None), MetricKind::Counter);
        assert!(claims.puts().is_empty());
        assert_eq!(claims.kind_of("other", "jobs", MetricKind::Gauge, Some("s")), MetricKind::Gauge);
        assert_eq!(claims.puts().len(), 1, "another organization declares its own");
    }

    #[test]
    fn of_two_requests_in_flight_the_first_declares() {
        let kinds = Arc::new(MetricKinds::new(|_| None));
        let mut first = kinds.claims();
        let mut second = kinds.claims();
        assert_eq!(first.kind_of("acme", "jobs", MetricKind::Counter, None), MetricKind::Counter);
        assert_eq!(second.kind_of("acme", "jobs", MetricKind::Gauge, None), MetricKind::Counter);
        drop((first, second));
        let mut third = kinds.claims();
        assert_eq!(
            third.kind_of("acme", "jobs", MetricKind::Gauge, None),
            MetricKind::Gauge,
            "nothing was kept"
        );
    }
}
